"""What can be done to accounts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from email_validator import EmailNotValidError, validate_email

from collegium.actions import tokens
from collegium.rules.passwords import faults
from collegium.rules.refusals import Forbidden
from collegium.store import accounts, events, slugs
from collegium.store.tokens import revoke
from collegium.store.vault import check_password, hash_password

if TYPE_CHECKING:
    from collections.abc import Mapping

    from collegium.rules.access import Actor
    from collegium.settings import Settings
    from collegium.store.db import Database, Row, Write
    from collegium.store.vault import Vault


USERNAME: Final = re.compile(r"[0-9a-z_.@+-]{1,128}")


def check_staff(actor: Actor) -> None:
    """Let only staff pass.

    Refuses: Forbidden ``permission.missing``.
    """
    if not actor.is_staff:
        raise Forbidden("permission.missing")


def create(
    tx: Write,
    actor: Actor | None,
    settings: Settings,
    vault: Vault,
    values: Mapping[str, Any],
) -> int:
    """Create an account and give its number.

    Args:
        actor: staff; None for the operator at the command line.
        values: columns of the account; ``username`` and ``email`` at least.

    Refuses: Forbidden ``permission.missing``, Invalid ``account.username_taken`` and
    ``account.slug_taken``.
    """
    if actor is not None:
        check_staff(actor)
    row = {
        "uuid": uuid4().hex,
        "joined": tx.now,
        "modified": tx.now,
        "affiliations": [],
        "token_lifetime": settings.token_lifetime,
        **values,
    }
    row["slug"] = values.get("slug") or slugs.new(tx, "user", values["username"])
    number = accounts.add(tx, row)
    events.record(tx, "account.created", actor, account=number, username=row["username"])
    tokens.issue(tx, vault, actor, number)
    return number


class Unfit(Exception):  # noqa: N818 - says what is the case
    """What an operator gave for an account cannot be taken; the text says why."""


def ensure_staff(  # what the operator's contract calls ``collegium staff``
    database: Database,
    settings: Settings,
    vault: Vault,
    username: str,
    email: str,
    password: str | None,
) -> tuple[str, str]:
    """Create a staff account, or make an account of that name one; give UUID and token.

    The password is changed only when it is another one, so that asking again ends no session.

    Refuses: Unfit for a user name, address or password that cannot be taken.
    """
    _check_fit(username, email, password)
    with database.read() as tx:
        known = accounts.by_username(tx, username)
    hashed = None
    if password is not None and not (known and check_password(known.password, password)):
        hashed = hash_password(password)
    with database.write() as tx:
        known = accounts.by_username(tx, username)
        wanted = {"is_staff": True, "is_active": True, "email": email}
        if known is None:
            number = create(tx, None, settings, vault, {"username": username, **wanted})
        else:
            number = known.id
            accounts.change(tx, number, {**wanted, "modified": tx.now})
            events.record(tx, "account.made_staff", None, account=number, username=username)
        if hashed is not None:
            set_password(tx, None, number, hashed)
        account: Row = accounts.by_number(tx, number)
        return str(account.uuid), tokens.renew(tx, vault, settings, None, account)


def _check_fit(username: str, email: str, password: str | None) -> None:
    if not USERNAME.fullmatch(username):
        message = "a user name is 1 to 128 of: a-z 0-9 _ . @ + -"
        raise Unfit(message)
    try:
        validate_email(email, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        message = f"--email: {error}"
        raise Unfit(message) from None
    if password is not None:
        found = faults(password, (username, email))
        if found:
            raise Unfit("--password: " + " ".join(found))


def set_password(tx: Write, actor: Actor | None, account: int, hashed: str) -> None:
    """Give an account another password; whoever was logged in with the old one is out.

    Args:
        hashed: by ``vault.hash_password``, made before the transaction.

    Refuses: Forbidden ``permission.missing`` for anybody but staff.
    """
    if actor is not None:
        check_staff(actor)
    accounts.change(tx, account, {"password": hashed, "modified": tx.now})
    revoke(tx, account)
    events.record(tx, "account.password_changed", actor, account=account)
