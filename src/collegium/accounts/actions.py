"""Actions on accounts: create, update, deactivate, delete, API tokens, passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import Any, Final
from uuid import uuid4

from collegium.access.queries import lock_account, lock_scope
from collegium.access.rules import Actor, require_staff
from collegium.accounts import queries as account_queries
from collegium.accounts import rules as account_rules
from collegium.accounts.erasure import queries as erasure_queries
from collegium.accounts.pictures import queries as picture_queries
from collegium.accounts.profiles import actions as profile_actions
from collegium.accounts.queries import AccountDetails, AccountRow, AccountWithPassword
from collegium.agreements import acceptance
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import queries as invitation_queries
from collegium.join_requests import queries as join_request_queries
from collegium.lists import slugs
from collegium.memberships import queries as membership_queries
from collegium.memberships.leaving import is_last_owner
from collegium.memberships.queries import UnendedGrant
from collegium.outbox import mails
from collegium.refusals import Conflict, Forbidden, Invalid, NotFound, or_not_found
from collegium.scopes.actions import change_account, close_invitations
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in import credentials, notices
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import may_manage_api_token

PASSWORD_MAX: Final = 128
"""Maximum number of characters of a password in forms and APIs."""

USERNAME: Final = re.compile(r"[0-9a-z_.@+-]{1,128}")


def create(
    tx: WriteTransaction,
    actor: Actor | None,
    settings: Settings,
    vault: Vault,
    values: Mapping[str, Any],
    **data: Any,
) -> int:
    """Create an account. Return its id.

    Args:
        actor: staff; None for the operator at the command line.
        values: columns of the account, at least ``username`` and ``email``.
        data: further data for the event.

    Raises:
        Forbidden: ``permission.missing``: the actor is not staff.
        Conflict: ``account.deactivated``: the account is created for an invitation, and a
            deactivated account has its address. ``account.duplicate``: another unique value is
            taken.
        Invalid: ``account.username_taken`` or ``account.slug_taken``.
    """
    if actor is not None:
        require_staff(actor)
    if "invitation" in data and account_queries.is_email_deactivated(tx, values["email"]):
        # An invitation must not be a way around the deactivation of an account.
        raise Conflict("account.deactivated")
    row = {
        "uuid": uuid4().hex,
        "joined_at": tx.now,
        "modified_at": tx.now,
        "affiliations": [],
        "token_lifetime": settings.token_lifetime,
        **values,
    }
    if settings.auto_approve_user_tos and row.get("agreed_at") is None:
        row["agreed_at"] = tx.now
    row["picture"] = _store_picture(tx, row.get("picture"))
    row["slug"] = values.get("slug") or slugs.new(tx, "user", values["username"])
    account_id = account_queries.add(tx, row)
    event_queries.record(
        tx, actor, events.AccountCreated(account=account_id, username=row["username"], **data)
    )
    token_actions.issue_api_token(tx, vault, actor, account_id)
    return account_id


def require_self_or_staff(actor: Actor, account: AccountRow) -> None:
    """Check that the actor is staff, or the owner of the account.

    Raises:
        Forbidden: ``permission.missing``.
    """
    if not actor.is_staff and actor.id != account.id:
        raise Forbidden("permission.missing")


def update(
    tx: WriteTransaction,
    actor: Actor,
    settings: Settings,
    uuid: str,
    changes: Mapping[str, Any],
    *,
    agrees_to_policy: bool,
) -> None:
    """Update an account. Changes that the actor may not make are ignored.

    Args:
        changes: columns of the account.
        agrees_to_policy: whether the person agrees to the policy with this request.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor.
        Forbidden: ``permission.missing``: the actor is neither staff nor the owner.
        Invalid: ``account.policy``: the policy has not been agreed to. ``account.lifetime``: the
            token lifetime is too long. ``account.lifetime_elsewhere``: people change the lifetime
            of their own API token, but another token authenticated the request.
            ``account.slug_taken``.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_self_or_staff(actor, account)
    before = account_queries.lock_account_and_recheck(tx, actor, account)
    allowed = account_rules.writable(
        changes,
        by_staff=actor.is_staff,
        is_own=actor.id == account.id,
        method=before.registration_method,
        local_fields=settings.local_idp_protected_fields,
        provider_fields=provider_queries.protected_fields(tx, before),
        frozen_methods=settings.protect_user_details_for_registration_methods,
    )
    if not allowed.get("slug"):
        allowed.pop("slug", None)
    if allowed.get("token_lifetime", before.token_lifetime) != before.token_lifetime:
        is_own = actor.id == account.id
        if is_own and not may_manage_api_token((actor.impersonator or actor).token_kind):
            raise Invalid("account.lifetime_elsewhere", field="token_lifetime")
        limit = account_rules.longest_lifetime(
            is_own=is_own, own_limit=settings.token_lifetime_max, max_age=settings.token_max_age
        )
        account_rules.check_lifetime(allowed["token_lifetime"], limit)
    changed = {name: value for name, value in allowed.items() if getattr(before, name) != value}
    is_deactivation = before.is_active and changed == {"is_active": False}
    account_rules.check_policy(
        has_agreed=before.agreed_at is not None,
        agrees=agrees_to_policy,
        exempt=is_deactivation or before.is_staff or (actor.is_staff and actor.id != account.id),
    )
    if agrees_to_policy:
        changed |= _agree(tx, actor, before)
    if not changed:
        return
    changed |= _consequences(before, changed)
    if "picture" in changed:
        if before.picture is not None:
            picture_queries.delete_picture(tx, before.picture)
        changed["picture"] = _store_picture(tx, changed["picture"])
    change_account(tx, account.id, changed | {"modified_at": tx.now})
    if "is_active" in changed:
        set_active(tx, actor, account.id, is_active=changed["is_active"])
    _record_update(tx, actor, before, changed)
    profile_actions.notify_operator(tx, actor, settings, before, changed)


def _consequences(before: AccountDetails, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the further columns that change with some columns of an account."""
    columns: dict[str, Any] = {}
    if "is_active" in changed:
        # A remote directory must not activate an account that staff deactivated.
        columns["disabled_by_staff"] = not changed["is_active"]
        if changed["is_active"] and before.deactivation_reason:
            columns["deactivation_reason"] = ""
    sources = before.attribute_sources
    if not sources.keys().isdisjoint(changed):
        columns["attribute_sources"] = {
            name: source for name, source in sources.items() if name not in changed
        }
    return columns


def _agree(tx: WriteTransaction, actor: Actor, account: AccountDetails) -> dict[str, Any]:
    """Record the agreement to the current texts. Return the columns that change."""
    if account.agreed_at is not None and not account.must_agree:
        return {}
    # Nobody else can agree to a text for a person.
    if actor.id == account.id and actor.impersonator is None:
        acceptance.accept_in_language(tx, actor, account.preferred_language)
    return {"agreed_at": tx.now, "must_agree": False}


def set_active(tx: WriteTransaction, actor: Actor | None, account: int, *, is_active: bool) -> None:
    """Update credentials and invitations after an account was activated or deactivated."""
    credentials.revoke_for_activation(tx, account, is_active=is_active)
    if is_active:
        invitation_queries.clear_invitee_deactivated(tx, account)
    else:
        close_invitations(tx, actor, account)


def _store_picture(tx: WriteTransaction, picture: tuple[str, bytes] | None) -> str | None:
    """Store a picture, given as media type and bytes. Return its UUID."""
    return None if picture is None else picture_queries.add(tx, *picture)


def _record_update(
    tx: WriteTransaction, actor: Actor, before: AccountDetails, changed: Mapping[str, Any]
) -> None:
    changes = {
        name: [_event_data(getattr(before, name)), _event_data(value)]
        for name, value in changed.items()
        if name not in {"disabled_by_staff", "attribute_sources", "must_agree"}
    }
    event_queries.record(
        tx,
        actor,
        events.AccountUpdated(account=before.id, username=before.username, changes=changes),
    )
    if "is_active" in changed:
        event = events.AccountActivated if changed["is_active"] else events.AccountDeactivated
        event_queries.record(tx, actor, event(account=before.id, username=before.username))


def _event_data(value: Any) -> Any:
    return value.isoformat() if isinstance(value, (date, datetime)) else value


def delete(tx: WriteTransaction, actor: Actor, uuid: str, *, cancel_requests: bool = False) -> None:
    """Delete an account: end its grants and remove personal data.

    The row keeps its id, to which events refer, and a neutral name for the audit log.

    Args:
        cancel_requests: cancel pending join requests, which otherwise prevent the deletion.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor.
        Forbidden: ``permission.missing``: the actor is not staff.
        Conflict: ``account.last_owner``: it is the last owner of a scope. ``account.has_requests``:
            a join request of the account is pending.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_staff(actor)
    erasure_queries.lock_long_work(tx, account.id)
    grants = _lock_account_and_scopes(tx, account.id)
    account = account_queries.get_visible(
        tx, actor, uuid
    )  # it may have been deleted while this waited
    if cancel_requests:
        for request in join_request_queries.cancel_of_account(tx, account.id, actor.id):
            event_queries.record(
                tx,
                actor,
                events.JoinRequestCanceled(
                    scope=request.scope_id, account=account.id, request_uuid=request.uuid
                ),
            )
    elif join_request_queries.count_pending(tx, account.id):
        raise Conflict("account.has_requests")
    for grant in grants:
        if is_last_owner(tx, grant.scope_kind, grant.role_name, grant):
            raise Conflict("account.last_owner", scope=grant.scope_name)
        membership_queries.end(tx, grant.id, actor.id)
    close_invitations(tx, actor, account.id)
    if account.picture is not None:
        picture_queries.delete_picture(tx, account.picture)
    # Recorded before the personal data is removed. If people delete their own account, that removes
    # their name from this event too.
    event_queries.record(
        tx, actor, events.AccountDeleted(account=account.id, username=account.username)
    )
    account_queries.anonymise(tx, account.id)
    slugs.delete_counter(tx, "user", account.username, account.id)
    for invitation in erasure_queries.erase(tx, account, actor):
        event_queries.record(
            tx,
            None,
            events.InvitationCanceled(scope=invitation.scope_id, invitation=invitation.uuid),
        )


class _LockSetChangedError(Exception):
    """The account got something in a further scope while the locks were awaited."""


def _lock_account_and_scopes(tx: WriteTransaction, account: int) -> list[UnendedGrant]:
    """Lock an account and all scopes in which it has something. Return its open grants.

    The scopes are locked first, as in every action that grants a role. A concurrent request or
    grant is either seen here, or finds the account deleted.
    """
    while True:
        # Scopes that were added while this waited need a lock too, before that of the account. So
        # all locks are released and taken again; otherwise two actions could deadlock.
        with suppress(_LockSetChangedError), tx.savepoint():
            scope_ids = membership_queries.scope_ids_to_lock(tx, account)
            for scope_id in scope_ids:
                lock_scope(tx, scope_id)
            lock_account(tx, account)
            if not set(membership_queries.scope_ids_to_lock(tx, account)).issubset(scope_ids):
                raise _LockSetChangedError
            return membership_queries.open_grants(tx, account)


def read_token(
    tx: WriteTransaction, actor: Actor, vault: Vault, uuid: str
) -> tuple[AccountDetails, str]:
    """Return the API token of an account to staff, and record the access.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor. ``token.none``: it has
            no API token.
        Forbidden: ``permission.missing``: the actor is not staff, or it is their own token and
            another token authenticated the request.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_staff(actor)
    _check_owns_token(actor, account)
    token = token_queries.of_account(tx, account.id)
    if token is None or token.token_encrypted is None:
        raise NotFound("token.none")
    event_queries.record(tx, actor, events.TokenRead(account=account.id))
    return account, vault.decrypt(token.token_encrypted, token.token_hash)


def refresh_token(
    tx: WriteTransaction, actor: Actor, vault: Vault, uuid: str
) -> tuple[AccountDetails, str]:
    """Replace the API token of an account and notify the owner. The old token is invalid at once.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor.
        Forbidden: ``permission.missing``: the actor is neither staff nor the owner, or it is their
            own token and another token authenticated the request.
        Unauthenticated: ``token.unknown``: the token of the request was revoked meanwhile.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_self_or_staff(actor, account)
    _check_owns_token(actor, account)
    account_queries.lock_account_and_recheck(tx, actor, account)
    credentials.check(tx, actor)
    token = token_actions.issue_api_token(tx, vault, actor, account.id)
    account_row = account_queries.existing(tx, account.id)
    notices.send_notice(tx, mails.TokenCreated, account_row, actor)
    return account_row, token


def _check_owns_token(actor: Actor, account: AccountRow) -> None:
    """Check that people access the credentials of their own account only with its API token.

    Raises:
        Forbidden: ``permission.missing``.
    """
    person = actor.impersonator or actor
    if person.id == account.id and not may_manage_api_token(person.token_kind):
        raise Forbidden("permission.missing")


def set_password(
    tx: WriteTransaction,
    actor: Actor | None,
    account: int,
    password_hash: str,
    *,
    notify: bool = True,
) -> None:
    """Set the password of an account and sign it out everywhere.

    Args:
        password_hash: the result of ``hash_password``, computed before the transaction.
        notify: notify the owner by e-mail; not needed for a new account.

    Raises:
        Forbidden: ``permission.missing``: the actor is not staff, or it is their own account and
            another token than its API token authenticated the request.
        NotFound: ``account.unknown``: the account was deleted meanwhile.
        Unauthenticated: ``token.unknown``: the token of the request was revoked meanwhile.
    """
    owner = _lock_for_password(tx, actor, account)
    account_queries.change(tx, account, {"password": password_hash, "modified_at": tx.now})
    credentials.revoke_everything(tx, account)
    event_queries.record(tx, actor, events.PasswordChanged(account=account))
    if notify:
        notices.send_notice(tx, mails.PasswordChanged, owner, actor)


def remove_password(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Remove the password of an account, sign it out everywhere, and notify the owner.

    The owner signs in with an identity provider or a passkey, or sets a new password with a link
    by e-mail. Without a password nothing happens.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor, or was deleted
            meanwhile.
        Forbidden: ``permission.missing``: the actor is not staff, or it is their own account and
            another token than its API token authenticated the request.
        Unauthenticated: ``token.unknown``: the token of the request was revoked meanwhile.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    owner = _lock_for_password(tx, actor, account.id)
    if owner.password is None:
        return
    account_queries.change(tx, owner.id, {"password": None, "modified_at": tx.now})
    credentials.revoke_everything(tx, owner.id)
    event_queries.record(tx, actor, events.PasswordRemoved(account=owner.id))
    notices.send_notice(tx, mails.PasswordChanged, owner, actor, removed=True)


def _lock_for_password(
    tx: WriteTransaction, actor: Actor | None, account: int
) -> AccountWithPassword:
    """Lock an account whose password the actor may change, and return it."""
    lock_account(tx, account)
    owner = or_not_found(account_queries.with_password(tx, id=account), "account.unknown")
    if actor is not None:
        require_staff(actor)
        _check_owns_token(actor, owner)
        credentials.check(tx, actor)
    return owner
