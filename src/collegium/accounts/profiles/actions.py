"""Update profiles, and notify the operator when an owner's contact data changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collegium.access.queries import lock_account
from collegium.access.rules import Actor
from collegium.accounts import organisation_users
from collegium.accounts import queries as account_queries
from collegium.accounts.profiles import queries as profile_queries
from collegium.accounts.profiles.queries import ProfileRow
from collegium.accounts.queries import Person
from collegium.accounts.rules import DETAILS, writable
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Forbidden
from collegium.settings import Settings
from collegium.sign_in.providers import queries as provider_queries


def notify_operator(
    tx: WriteTransaction,
    actor: Actor | None,
    settings: Settings,
    before: Person,
    changed: Mapping[str, Any],
) -> None:
    """Notify the operator of changes in the profile of an organisation's owner, if so configured.

    Args:
        actor: who made the change; None if nobody is signed in.
        before: the account before the change.
        changed: the changed columns with their new values.
    """
    options = settings.notifications_profile_changes
    fields = [name for name in options.fields if name in DETAILS and name in changed]
    changes = {
        name: [getattr(before, name), changed[name]]
        for name in fields
        if getattr(before, name) != changed[name]
    }
    if not (options.enable_operator_owner_notifications and changes):
        return
    organisations = organisation_users.owned_by(tx, before.id)
    if not organisations:
        return
    event_queries.record(
        tx,
        actor,
        events.AccountProfileChanged(
            account=before.id,
            username=before.username,
            changes=changes,
            organizations=organisations,
        ),
    )
    for recipient in options.operator_notification_emails:
        outbox_queries.enqueue(
            tx, mails.ProfileChangesOperator(recipient, before.id, changes, organisations)
        )


def lock_profile_and_authorise(tx: WriteTransaction, actor: Actor, account_id: int) -> ProfileRow:
    """Lock an account whose profile the actor may change. Return the profile.

    Args:
        account_id: id of the account.

    Raises:
        NotFound: ``account.unknown``: the profile is hidden from the actor.
        Forbidden: ``permission.missing``: the actor is neither staff nor the owner.
    """
    profile_queries.get_visible(tx, actor, account_id)
    if actor.id != account_id and not actor.is_staff:
        raise Forbidden("permission.missing")
    lock_account(tx, account_id)
    return profile_queries.get_visible(tx, actor, account_id)


def change(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    account_id: int,
    names: Mapping[str, str],
    fields: Mapping[str, Any],
) -> None:
    """Update a profile that was locked by ``lock_profile_and_authorise``.

    Names that a remote directory decides are ignored.

    Args:
        account_id: id of the account.
        names: new values of ``first_name last_name``.
        fields: new values of other fields; the others stay unchanged.
    """
    before = account_queries.existing(tx, account_id)
    allowed = writable(
        names,
        by_staff=actor.is_staff,
        is_own=actor.id == account_id,
        method=before.registration_method,
        local_fields=settings.local_idp_protected_fields,
        provider_fields=provider_queries.protected_fields(tx, before),
        frozen_methods=settings.protect_user_details_for_registration_methods,
    )
    changed = {name: value for name, value in allowed.items() if getattr(before, name) != value}
    profile = profile_queries.get_visible(tx, actor, account_id).profile
    new_profile = {**profile, **fields}
    if changed:
        account_queries.change(tx, account_id, changed | {"modified_at": tx.now})
        notify_operator(tx, actor, settings, before, changed)
    if new_profile != profile:
        profile_queries.change(tx, account_id, new_profile)
    changes = {name: [getattr(before, name), value] for name, value in changed.items()}
    changes |= {
        name: [profile.get(name), value]
        for name, value in fields.items()
        if profile.get(name) != value
    }
    if changes:
        event_queries.record(
            tx,
            actor,
            events.AccountUpdated(account=account_id, username=before.username, changes=changes),
        )
