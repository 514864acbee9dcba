"""An account is deleted or changed while an action waits for it."""

import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import bindparam, select

from collegium.access.rules import ANONYMOUS
from collegium.accounts import actions as account_actions
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.db.database import Database, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import accounts, email_changes, outbox, ssh_keys, tokens
from collegium.refusals import NotFound, Unauthenticated
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from tests.proof.invariants import broken
from tests.races.test_waiting import refusal
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import Person, World

Action = Callable[[WriteTransaction, World, Person], Any]

_ACCOUNT = Statement[Any](select(accounts).where(accounts.c.id == bindparam("account")))
_OF_ACCOUNT = {
    table.name: Statement[Any](
        select(table.c.account_id).where(table.c.account_id == bindparam("account"))
    )
    for table in (email_changes, ssh_keys, tokens)
}


def _update(tx: WriteTransaction, world: World, who: Person, **changes: Any) -> None:
    account_actions.update(
        tx, world.staff.actor, world.settings, who.uuid, changes, agrees_to_policy=False
    )


def _delete(tx: WriteTransaction, world: World, who: Person) -> None:
    account_actions.delete(tx, world.staff.actor, who.uuid)


def _request_address(tx: WriteTransaction, world: World, who: Person) -> None:
    email_change_actions.request_change(
        tx, world.staff.actor, world.settings, world.vault, who.uuid, "new@example.org"
    )


BY_STAFF: dict[str, Action] = {
    "rename": lambda tx, world, who: _update(tx, world, who, first_name="Ada"),
    "move": lambda tx, world, who: _update(tx, world, who, email="ada@example.com"),
    "activate": lambda tx, world, who: _update(tx, world, who, is_active=True),
    "deactivate": lambda tx, world, who: _update(tx, world, who, is_active=False),
    "new token": lambda tx, world, who: account_actions.refresh_token(
        tx, world.staff.actor, world.vault, who.uuid
    ),
    "new address": _request_address,
    "reset link": lambda tx, world, who: password_actions.send(tx, world.staff.actor, who.uuid),
    "no address": lambda tx, world, who: email_change_actions.cancel(
        tx, world.staff.actor, who.uuid
    ),
    "second factor": lambda tx, world, who: two_factor_actions.reset(
        tx, world.staff.actor, who.uuid
    ),
}


def _rows_of(database: Database, who: Person) -> dict[str, Any]:
    """Return all rows of an account, and the mails to it."""
    with database.read() as tx:
        row: Any = tx.fetch_one(_ACCOUNT, account=who.id)
        own = {name: tx.fetch_all(query, account=who.id) for name, query in _OF_ACCOUNT.items()}
        mails = tx.fetch_all(Statement[Any](select(outbox.c.recipient)))
    return {"row": row, **own, "mails": mails}


@pytest.mark.parametrize("action", BY_STAFF)
def test_deleted_account_is_not_changed_by_a_waiting_action(
    world: World, database: Database, action: str
) -> None:
    ada = world.person("ada")
    after: dict[str, Any] = {}

    def delete(tx: WriteTransaction) -> None:
        _delete(tx, world, ada)
        after["row"] = tx.fetch_one(_ACCOUNT, account=ada.id)

    refused = refusal(database, delete, lambda tx: BY_STAFF[action](tx, world, ada))
    assert refused == (NotFound, "account.unknown")
    rows = _rows_of(database, ada)
    assert rows["row"] == after["row"]
    assert not any(rows[name] for name in (*_OF_ACCOUNT, "mails"))
    assert broken(database) == []


def test_deleted_account_stores_no_key(world: World, database: Database) -> None:
    ada = world.person("ada")
    refused = refusal(
        database,
        lambda tx: _delete(tx, world, ada),
        lambda tx: ssh_key_actions.create(tx, ada.actor, parse(new_key())),
    )
    assert refused == (Unauthenticated, "token.unknown")
    assert _rows_of(database, ada)["ssh_keys"] == []


def test_only_one_of_two_accounts_confirms_an_address(world: World, database: Database) -> None:
    people, codes = (world.person("ada"), world.person("bob")), []
    for who in people:
        with database.write() as tx:
            _request_address(tx, world, who)
            codes.append(world.vault.derive_code(who.id, "new@example.org", tx.now.isoformat()))
    first, second = (
        partial(
            email_change_actions.confirm,
            actor=ANONYMOUS,
            settings=world.settings,
            vault=world.vault,
            code=code,
        )
        for code in codes
    )
    assert refusal(database, first, second) == (NotFound, "address.unknown_code")
    with database.read() as tx:
        emails = [row.email for who in people for row in tx.fetch_all(_ACCOUNT, account=who.id)]
    assert emails == ["new@example.org", "bob@example.org"]


def test_account_deleted_during_sign_in_is_refused(
    world: World, database: Database, site: Site
) -> None:
    # An earlier release hashed the password as typed. Its next use hashes it again.
    typed = unicodedata.normalize("NFD", "Schöne Grüße vom Müller")
    ada = world.person("ada", password=PasswordHasher(1, 8, 1).hash(typed))
    body = {"username": "ada", "password": typed}
    with ThreadPoolExecutor(1) as pool:
        with database.write() as tx:
            _delete(tx, world, ada)
            response = pool.submit(site.request, "POST", "/api-auth/password/", None, json=body)
            time.sleep(1.5)
        assert response.result(timeout=20).status_code == 401
