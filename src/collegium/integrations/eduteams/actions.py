"""Actions that apply the answer of a remote directory, eduTEAMS, to accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from collegium.access import queries as access_queries
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.actions import set_active
from collegium.accounts.profiles import actions as profile_actions
from collegium.accounts.queries import AccountSource
from collegium.accounts.rules import attribute_sources
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.integrations.eduteams import queries as eduteams_queries
from collegium.integrations.eduteams.queries import DirectoryAccount
from collegium.integrations.eduteams.rules import Person, invalid_field
from collegium.lists import slugs
from collegium.refusals import Conflict, Forbidden, Invalid
from collegium.scopes.actions import change_account
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.tokens import actions as token_actions
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import PublicKey

_FROM_DIRECTORY = ("email", "first_name", "last_name", "affiliations", "eduperson_assurance")


def check_may_add(actor: Actor) -> None:
    """Require that the actor may add people from the directory: staff and identity managers.

    Raises:
        Forbidden: ``permission.missing``.
    """
    if not (actor.is_staff or actor.is_identity_manager):
        raise Forbidden("permission.missing")


def check_may_pull(actor: Actor, account: AccountSource) -> None:
    """Require that the actor may update an account from the directory: staff, and its owner.

    Raises:
        Forbidden: ``permission.missing``.
        Conflict: ``directory.not_managed``.
    """
    if not actor.is_staff and actor.id != account.id:
        raise Forbidden("permission.missing")
    if not eduteams_queries.is_managed(account):
        raise Conflict("directory.not_managed")


def apply(
    tx: WriteTransaction,
    actor: Actor | None,
    settings: Settings,
    vault: Vault,
    username: str,
    person: Person | None,
    *,
    creates: bool = False,
) -> str | None:
    """Make an account equal to the directory's answer; return its UUID, or None if there is none.

    Args:
        actor: who asked; None for the scheduled synchronisation.
        username: the user name that was looked up.
        person: the directory's answer; None if it knows no such name: the account is deactivated.
        creates: whether to create an account if there is none.

    Raises:
        Conflict: ``directory.not_managed`` for an account that does not belong to the directory.
        Invalid: ``directory.invalid`` if the answer is about another person, or has no address for
            a new account.
    """
    account = _lock_by_username(tx, username)
    if person is None:
        return None if account is None else _deactivate(tx, actor, account)
    if account is not None and username != person.username and username not in person.others:
        raise invalid_field("sub")
    if account is None and not creates:
        return None
    if account is None and username != person.username:
        # The directory knows this person by two names and prefers the other one.
        account = _lock_by_username(tx, person.username)
    if account is None:
        try:
            return _create(tx, actor, settings, vault, person)
        except Invalid as refusal:
            if refusal.code != "account.username_taken":
                raise
            # A concurrent transaction has created it first.
            account = _lock_by_username(tx, person.username)
            if account is None:
                raise
    return _update(tx, actor, settings, account, person)


def apply_keys(tx: WriteTransaction, username: str, directory_keys: Iterable[PublicKey]) -> None:
    """Set the keys that the directory lists for an active account; nothing else changes.

    Raises:
        Conflict: ``directory.not_managed``.
    """
    account = _lock_by_username(tx, username)
    if account is not None and account.is_active:
        ssh_key_actions.sync_keys(tx, None, account.id, directory_keys)


def _lock_by_username(tx: WriteTransaction, username: str) -> DirectoryAccount | None:
    """Lock the account with this user name, and return it as it is under the lock.

    Raises:
        Conflict: ``directory.not_managed``.
    """
    account = eduteams_queries.by_username(tx, username)
    if account is None:
        return None
    access_queries.lock_account(tx, account.id)
    account = eduteams_queries.by_username(tx, username)
    if account is not None and not eduteams_queries.is_managed(account):
        raise Conflict("directory.not_managed")
    return account


def _create(
    tx: WriteTransaction, actor: Actor | None, settings: Settings, vault: Vault, person: Person
) -> str:
    if not person.email:
        raise invalid_field("mail")
    uuid = uuid4().hex
    account_id = account_queries.add(
        tx,
        {
            "uuid": uuid,
            "username": person.username,
            "slug": slugs.new(tx, "user", person.username),
            "email": person.email,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "affiliations": person.affiliations,
            "eduperson_assurance": person.assurance,
            "details": {"eduperson_assurance": person.assurance},
            "attribute_sources": _sources(tx),
            "registration_method": eduteams_queries.SOURCE,
            "identity_source": eduteams_queries.SOURCE,
            "notifications_enabled": False,
            "token_lifetime": settings.token_lifetime,
            "joined_at": tx.now,
            "modified_at": tx.now,
            "last_synced_at": tx.now,
        },
    )
    event_queries.record(
        tx,
        actor,
        events.AccountCreated(
            account=account_id, username=person.username, by=eduteams_queries.SOURCE
        ),
    )
    token_actions.issue_api_token(tx, vault, actor, account_id)
    ssh_key_actions.sync_keys(tx, actor, account_id, person.keys or ())
    return uuid


def _update(
    tx: WriteTransaction,
    actor: Actor | None,
    settings: Settings,
    account: DirectoryAccount,
    person: Person,
) -> str:
    columns = {
        "email": person.email or account.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "affiliations": person.affiliations,
        "eduperson_assurance": person.assurance,
        "details": {**account.details, "eduperson_assurance": person.assurance},
        # An account that staff have deactivated stays so.
        "is_active": account.is_active if account.disabled_by_staff else True,
    }
    _write_changes(tx, actor, account, columns, said=account.attribute_sources | _sources(tx))
    profile_actions.notify_operator(tx, actor, settings, account, columns)
    if person.keys is not None:
        ssh_key_actions.sync_keys(tx, actor, account.id, person.keys)
    return str(account.uuid)


def _deactivate(tx: WriteTransaction, actor: Actor | None, account: DirectoryAccount) -> str:
    _write_changes(tx, actor, account, {"is_active": False})
    return str(account.uuid)


def _sources(tx: WriteTransaction) -> dict[str, dict[str, str]]:
    return attribute_sources(_FROM_DIRECTORY, eduteams_queries.SOURCE, tx.now)


def _write_changes(
    tx: WriteTransaction,
    actor: Actor | None,
    account: DirectoryAccount,
    columns: Mapping[str, Any],
    said: Mapping[str, Any] | None = None,
) -> None:
    """Update the columns that differ, and the time of the synchronisation.

    Args:
        said: which fields the directory has confirmed; None: none.
    """
    changed = {name: value for name, value in columns.items() if getattr(account, name) != value}
    unlogged: dict[str, Any] = {"last_synced_at": tx.now}
    if changed:
        unlogged["modified_at"] = tx.now
    if said is not None:
        unlogged["attribute_sources"] = said
    change_account(tx, account.id, changed | unlogged)
    if "is_active" in changed:
        set_active(tx, actor, account.id, is_active=changed["is_active"])
    if changed:
        event_queries.record(
            tx,
            actor,
            events.AccountUpdated(
                account=account.id,
                username=account.username,
                changes={name: [getattr(account, name), value] for name, value in changed.items()},
                by=eduteams_queries.SOURCE,
            ),
        )
    if "is_active" in changed:
        event = events.AccountActivated if changed["is_active"] else events.AccountDeactivated
        event_queries.record(tx, actor, event(account=account.id, username=account.username))
