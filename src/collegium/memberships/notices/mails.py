"""Contents of the e-mails to people about their roles, and of the weekly e-mail to managers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from collegium.access.labels import role_label
from collegium.access.rules import Actor
from collegium.accounts.mail_preferences import actions as preference_actions
from collegium.accounts.mail_preferences import queries as preference_queries
from collegium.accounts.mail_preferences.rules import DIGEST
from collegium.accounts.mails import load_account, name_of
from collegium.accounts.queries import AccountDetails
from collegium.db.database import ReadTransaction
from collegium.join_requests import queries as join_request_queries
from collegium.memberships.notices import queries as notice_queries
from collegium.memberships.notices.actions import SOON
from collegium.memberships.notices.queries import GrantFacts, Manager, Person
from collegium.memberships.notices.rules import REMIND_BEFORE, Kind
from collegium.memberships.rules import GrantSource
from collegium.outbox.mails import RoleItem
from collegium.outbox.outcomes import ObsoleteError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import actor_of
from collegium.text.plain import name_line

Loader = Callable[[ReadTransaction, Settings, Vault, dict[str, Any]], dict[str, Any]]

_LISTED: Final = 20
"""Maximum number of requests, and of roles, that the weekly e-mail names."""

_CONTACTS: Final = 3
"""Maximum number of people to ask that are named for a role."""

_MANAGERS_MAX: Final = 200
_OVER: Final = frozenset({Kind.ENDED, Kind.REMOVED})


def _load_recipient(
    tx: ReadTransaction, settings: Settings, vault: Vault, account_id: int, kind: str
) -> tuple[AccountDetails, dict[str, Any]]:
    """Load who gets the e-mail, and the variables that all of these templates use.

    Raises:
        ObsoleteError: the person does not want it any more, or cannot use the account.
    """
    account = load_account(tx, account_id)
    if not preference_queries.recipients(tx, [account.id]):
        raise ObsoleteError("The account gets no such e-mails any more.")
    if kind not in preference_queries.wanted(tx, [account.id])[account.id]:
        raise ObsoleteError("The person does not want this e-mail any more.")
    return account, {
        "name": name_of(account),
        "link": _link(settings, "account"),
        "unsubscribe_link": preference_actions.link(settings, vault, account.uuid, kind),
    }


def _link(settings: Settings, page: str) -> str:
    if settings.homeport_url:
        return f"{settings.homeport_url.rstrip('/')}/"
    return f"{settings.base_url.rstrip('/')}/{page}/"


def _load_roles(
    kind: Kind, tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    account, variables = _load_recipient(tx, settings, vault, payload["account"], kind)
    items: list[RoleItem] = payload["roles"]
    numbers = {one for role in items for one in (role["grant"], role["former"]) if one}
    grants = notice_queries.facts(tx, numbers)
    items = [role for role in items if _is_true(kind, grants[role["grant"]], tx)]
    if kind in _OVER:
        again = notice_queries.held_again(tx, [role["grant"] for role in items])
        items = [role for role in items if role["grant"] not in again]
    if not items:
        raise ObsoleteError("None of this is true any more.")
    scopes = {grants[role["grant"]].scope_id for role in items}
    actor = actor_of(account)
    visible = scopes if actor.sees_all else notice_queries.visible_scopes_among(tx, actor, scopes)
    people = notice_queries.people(tx, {one for role in items if (one := role["actor"])})
    managers = _load_managers(kind, tx, actor, scopes)
    return variables | {
        "more": payload["more"],
        "roles": [
            _role(
                role, grants, managers, people, sees_scope=grants[role["grant"]].scope_id in visible
            )
            for role in items
        ],
    }


def _is_true(kind: Kind, grant: GrantFacts, tx: ReadTransaction) -> bool:
    if kind in _OVER:
        return not grant.is_active
    if kind is Kind.ENDING:
        is_near = grant.valid_until is not None and grant.valid_until <= tx.now + REMIND_BEFORE[0]
        return bool(grant.is_active) and is_near
    return bool(grant.is_active)


def _load_managers(
    kind: Kind, tx: ReadTransaction, actor: Actor, scopes: set[int]
) -> dict[int, list[Manager]]:
    if kind in {Kind.GRANTED, Kind.CHANGED}:
        return {}
    return notice_queries.managers(tx, actor, scopes, _MANAGERS_MAX)


def _role(
    item: RoleItem,
    grants: Mapping[int, GrantFacts],
    managers: Mapping[int, list[Manager]],
    people: Mapping[int, Person],
    *,
    sees_scope: bool,
) -> dict[str, Any]:
    """Return what a template says about a role.

    In a scope that the person does not see any more, as in the audit log, only what they knew is
    named: not a new name of the scope, not who acted, nobody who has come since.
    """
    grant = grants[item["grant"]]
    by = people.get(item["actor"] or 0) if sees_scope else None
    contacts = [
        name_of(manager)
        for manager in managers.get(grant.scope_id, [])
        if sees_scope or (grant.ended_at is not None and manager.since < grant.ended_at)
    ]
    in_organisation = sees_scope and grant.scope_kind == "project"
    return {
        "role": _role_name(grant),
        "former_role": _role_name(grants[item["former"]]) if item["former"] else "",
        "scope_kind": grant.scope_kind,
        "scope_name": name_line(grant.scope_name if sees_scope else item["scope_name"]),
        "organisation_name": name_line(grant.organisation_name) if in_organisation else "",
        "until": grant.valid_until,
        "by": name_of(by) if by is not None else "",
        "by_rule": grant.source == GrantSource.RULE,
        "contacts": list(dict.fromkeys(contacts))[:_CONTACTS],
        "is_deleted": grant.scope_deleted_at is not None,
    }


def _role_name(grant: Any) -> str:
    return name_line(role_label(grant.role_description, grant.role_name))


def _load_digest(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    account, variables = _load_recipient(tx, settings, vault, payload["account"], DIGEST)
    # Staff see everything, but manage only what they have a role in.
    manager = replace(actor_of(account), is_staff=False, is_support=False)
    waiting = {"waits": True}
    requests = join_request_queries.deciding.page(tx, manager, waiting, (), _LISTED, 0)
    ending = {"soon": tx.now + SOON}
    roles = notice_queries.ending.page(tx, manager, ending, (), _LISTED, 0)
    approvals = notice_queries.count_requested(tx) if account.is_staff else 0
    if not requests and not roles and not approvals:
        raise ObsoleteError("Nothing waits, and nothing ends soon.")
    count = join_request_queries.deciding.count(tx, manager, waiting)
    return variables | {
        "requests": [
            _place(row) | {"who": name_of(row), "since": row.created_at} for row in requests
        ],
        "more_requests": count - len(requests),
        "approvals": approvals,
        "roles": [_place(row) | {"who": name_of(row), "until": row.valid_until} for row in roles],
        "more_roles": notice_queries.ending.count(tx, manager, ending) - len(roles),
        "link": _link(settings, "requests" if requests else "teams"),
    }


def _place(row: Any) -> dict[str, Any]:
    return {
        "role": _role_name(row),
        "scope_kind": row.scope_kind,
        "scope_name": name_line(row.scope_name),
        "organisation_name": name_line(row.organisation_name)
        if row.scope_kind == "project"
        else "",
    }


LOADERS: Final[dict[str, Loader]] = {
    **{kind.value: partial(_load_roles, kind) for kind in Kind},
    DIGEST: _load_digest,
}
