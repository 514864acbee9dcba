"""The second factor: set up, asked for, turned off."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, NamedTuple

from pyotp import random_base32
from pyotp.totp import TOTP

from collegium.access import queries as access_queries
from collegium.accounts import queries as account_queries
from collegium.accounts.actions import require_staff
from collegium.events import queries as event_queries
from collegium.outbox import mails
from collegium.refusals import Conflict, Invalid
from collegium.sign_in import credentials, notices
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor import rules as two_factor_rules

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collegium.access.rules import Actor
    from collegium.db.database import ReadTransaction, WriteTransaction
    from collegium.db.statements import Row
    from collegium.security.crypto import Vault


class Secret(NamedTuple):
    """What an authenticator is told once.

    Args:
        text: to be typed in.
        link: the same as an ``otpauth:`` URL, for a QR code.
    """

    text: str
    link: str


def begin(tx: WriteTransaction, actor: Actor, vault: Vault) -> None:
    """Make a secret for an authenticator; nothing is asked for until a code confirms it.

    It is shown to, and confirmed by, the session that has begun alone: a thief who knows the
    password could otherwise leave a secret here for the owner to turn on.

    Refuses: Conflict ``second_factor.exists``; and as ``credentials.confirm``.
    """
    credentials.confirm(tx, actor)
    two_factor_rules.check_off(is_on=two_factor_queries.is_on(tx, actor.id))
    text = f"{random_base32()} {actor.token}"
    two_factor_queries.replace(tx, actor.id, vault.digest(text), vault.encrypt(text))


def unconfirmed(tx: ReadTransaction, actor: Actor, vault: Vault, site: str) -> Secret | None:
    """Give the secret that waits for its first code to the session that has begun it.

    Once it is confirmed, nobody gets it.

    Args:
        site: the name under which an authenticator lists it.
    """
    row = two_factor_queries.of_account(tx, actor.id)
    if row is None or row.confirmed is not None:
        return None
    secret, session = _opened(vault, row)
    if session != str(actor.token):
        return None
    link = TOTP(secret).provisioning_uri(name=actor.username, issuer_name=site)
    return Secret(secret, link)


def confirm(tx: WriteTransaction, actor: Actor, vault: Vault, code: str) -> list[str]:
    """Turn the second factor on; give the recovery codes, which nobody can show again.

    Everything that was obtained without it ends: sessions, API token, pairs, and the tokens of
    programs, which a session with a password alone was enough to make. The session that turns it
    on stays.

    Refuses: Conflict ``second_factor.none``, ``second_factor.exists`` and
    ``second_factor.elsewhere``, Invalid ``second_factor.wrong``; and as ``credentials.confirm``.
    """
    credentials.confirm(tx, actor)
    row = two_factor_queries.of_account(tx, actor.id)
    if row is None:
        raise Conflict("second_factor.none")
    two_factor_rules.check_off(is_on=row.confirmed is not None)
    if _opened(vault, row)[1] != str(actor.token):
        raise Conflict("second_factor.elsewhere")
    _accept_code(tx, vault, row, two_factor_rules.plain(code))
    two_factor_queries.confirm(tx, actor.id)
    credentials.drop_pending(tx, actor.id)
    token_queries.revoke_but(tx, actor.id, actor.token)
    event_queries.record(tx, "second_factor.enabled", actor, account=actor.id)
    account: Row = account_queries.by_id(tx, actor.id)
    notices.send_notice(tx, mails.SecondFactorEnabled, account, actor)
    return _new_codes(tx, vault, actor.id)


def check(tx: WriteTransaction, vault: Vault, actor: Actor, code: str) -> Invalid | None:
    """Use up a code of the authenticator, or a recovery code; give the refusal of a wrong one.

    A wrong code is counted in this transaction, which must be committed all the same: see
    ``dialects.signing_in.with_code``. The account's owner is told of the third in a row; after
    twenty only a recovery code is accepted.

    Refuses: Conflict ``second_factor.none``; and as ``credentials.confirm``.
    """
    account = credentials.confirm(tx, actor, "login.failed")
    row = two_factor_queries.of_account(tx, actor.id)
    if row is None or row.confirmed is None:
        raise Conflict("second_factor.none")
    code = two_factor_rules.plain(code)
    try:
        if two_factor_rules.is_recovery(code):
            _recover(tx, vault, actor, code)
        else:
            two_factor_rules.check_unlocked(row.wrong_codes)
            _accept_code(tx, vault, row, code)
    except Invalid as refusal:
        if refusal.code == "second_factor.wrong" and row.wrong_codes < two_factor_rules.LOCKED_AT:
            _count_wrong(tx, actor, account)
        return refusal
    two_factor_queries.forget_wrong(tx, actor.id)
    return None


def _recover(tx: WriteTransaction, vault: Vault, actor: Actor, code: str) -> None:
    if not two_factor_queries.use_code(tx, actor.id, _digest(vault, actor.id, code)):
        raise Invalid("second_factor.wrong", field="code")
    event_queries.record(tx, "second_factor.recovered", actor, account=actor.id)


def _count_wrong(tx: WriteTransaction, actor: Actor, account: Row) -> None:
    """Count a wrong code, which somebody gave who knows the password; tell the owner in time."""
    wrong = two_factor_queries.count_wrong(tx, actor.id)
    if wrong not in {two_factor_rules.TOLD_AT, two_factor_rules.LOCKED_AT}:
        return
    kind = "second_factor.locked" if wrong == two_factor_rules.LOCKED_AT else "second_factor.failed"
    # Nobody knows whether it is the owner: history names no actor, as with a failed login.
    event_queries.record(
        tx,
        kind,
        None,
        account=actor.id,
        username=account.username,
        address=actor.address or "",
        codes=wrong,
    )
    notices.send_notice(
        tx,
        mails.SecondFactorFailed,
        account,
        actor,
        codes=wrong,
        locked=wrong == two_factor_rules.LOCKED_AT,
    )


def renew_codes(tx: WriteTransaction, actor: Actor, vault: Vault) -> list[str]:
    """Give other recovery codes, once a code was checked; the earlier ones are dead."""
    event_queries.record(tx, "second_factor.codes_renewed", actor, account=actor.id)
    return _new_codes(tx, vault, actor.id)


def are_codes(tx: ReadTransaction, actor: Actor, vault: Vault, codes: Iterable[str]) -> bool:
    """Tell whether recovery codes that were given once are the actor's now."""
    digests = {_digest(vault, actor.id, two_factor_rules.plain(code)) for code in codes}
    return not digests.isdisjoint(two_factor_queries.codes(tx, actor.id))


def remove(tx: WriteTransaction, actor: Actor) -> None:
    """Turn the second factor off, once a code was checked; without any one needs staff."""
    two_factor_queries.remove(tx, actor.id)
    credentials.drop_pending(tx, actor.id)
    event_queries.record(tx, "second_factor.disabled", actor, account=actor.id)
    account: Row = account_queries.by_id(tx, actor.id)
    notices.send_notice(tx, mails.SecondFactorDisabled, account, actor)


def reset(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Turn off the second factor of somebody who has lost theirs, and mail them that it is off.

    Staff turn their own off with a code, as everybody does; without one they need another member.

    Refuses: NotFound when hidden, Forbidden for anybody but staff,
    Conflict ``second_factor.own`` and ``second_factor.none``.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_staff(actor)
    if account.id == actor.id:
        raise Conflict("second_factor.own")
    access_queries.lock_account(tx, account.id)
    if not two_factor_queries.is_on(tx, account.id):
        raise Conflict("second_factor.none")
    two_factor_queries.remove(tx, account.id)
    credentials.drop_pending(tx, account.id)
    event_queries.record(
        tx, "second_factor.disabled", actor, account=account.id, username=account.username
    )
    notices.send_notice(tx, mails.SecondFactorReset, account, actor)


def _accept_code(tx: WriteTransaction, vault: Vault, row: Row, code: str) -> None:
    """Use up the step whose code was given."""
    authenticator = TOTP(_opened(vault, row)[0])
    given = code.encode()
    found = None
    for step in two_factor_rules.steps(int(tx.now.timestamp())):
        if hmac.compare_digest(
            authenticator.at(step * two_factor_rules.STEP_SECONDS).encode(), given
        ):
            found = step
    two_factor_queries.use_step(tx, row.account_id, two_factor_rules.check_step(found, row.step))


def _opened(vault: Vault, row: Row) -> tuple[str, str]:
    """Return a secret, and the id of the session that began it; empty in rows of before."""
    secret, _, session = vault.decrypt(row.sealed, row.digest).partition(" ")
    return secret, session


def _new_codes(tx: WriteTransaction, vault: Vault, account: int) -> list[str]:
    codes = [secrets.token_hex(8) for _ in range(two_factor_rules.RECOVERY_CODES)]
    two_factor_queries.put_codes(tx, account, [_digest(vault, account, code) for code in codes])
    return two_factor_rules.shown(codes)


def _digest(vault: Vault, account: int, code: str) -> bytes:
    return vault.digest(f"recovery {account} {code}")
