"""Structs of the responses of this API, and functions that build them from rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from collegium.access.rules import Actor
from collegium.accounts.profiles import queries as profile_queries
from collegium.accounts.profiles.queries import ProfileRow
from collegium.db.database import ReadTransaction
from collegium.invitations.queries import InvitationToGroup
from collegium.join_requests.queries import GroupRequest
from collegium.scopes.groups import queries as group_queries
from collegium.scopes.groups.queries import GroupRow
from collegium.scopes.groups.rules import flags_of

encode = msgspec.json.Encoder().encode


class Flags(Struct, frozen=True):
    """The role of a member of a group."""

    is_manager: bool
    is_owner: bool


class Group(Struct, frozen=True):
    """A group, with its members by e-mail address."""

    id: int
    name: str
    users: dict[str, Flags]


class OwnedGroup(Struct, frozen=True):
    """A group that the person owns."""

    id: int
    name: str


class Profile(Struct, frozen=True):
    """A person."""

    id: int
    email: str
    first_name: str
    last_name: str
    groups_own_json: list[OwnedGroup]
    website: str
    google_scholar: str
    orcid_id: str
    atlas_preference: str
    active_projects: list[int | str]


class MembershipRequest(Struct, frozen=True):
    """A request to become a member of a group."""

    id: str
    user_account_request: int | Profile
    authgroup: int | Group


class MembershipInvitation(Struct, frozen=True):
    """An invitation to a group; the account is null if the invited address has none."""

    id: str
    user_account_invitation: int | Profile | None
    authgroup: int | Group
    new_manager: bool
    new_owner: bool


class Meta(Struct, frozen=True):
    """The position of a page in its list."""

    page: int
    per_page: int
    total_results: int
    total_pages: int


# The rows come first: one client takes the first list in the response, another the first key.


class MembershipRequestPage(Struct, frozen=True):
    """A page of membership requests."""

    group_membership_requests: list[MembershipRequest]
    meta: Meta
    count: int
    next: str | None
    previous: str | None


class MembershipInvitationPage(Struct, frozen=True):
    """A page of invitations."""

    group_membership_invitations: list[MembershipInvitation]
    meta: Meta
    count: int
    next: str | None
    previous: str | None


class GroupPage(Struct, frozen=True):
    """A page of groups."""

    groups: list[Group]
    meta: Meta
    count: int
    next: str | None
    previous: str | None


class ProfilePage(Struct, frozen=True):
    """A page of people."""

    users: list[Profile]
    meta: Meta
    count: int
    next: str | None
    previous: str | None


class OneMembershipRequest(Struct, frozen=True):
    """One membership request."""

    group_membership_request: MembershipRequest


class OneMembershipInvitation(Struct, frozen=True):
    """One invitation."""

    group_membership_invitation: MembershipInvitation


class OneGroup(Struct, frozen=True):
    """One group."""

    group: Group


class OneProfile(Struct, frozen=True):
    """One person."""

    user: Profile


def requests(
    tx: ReadTransaction,
    actor: Actor,
    rows: Sequence[GroupRequest],
    embedded: frozenset[str] = frozenset(),
) -> list[MembershipRequest]:
    """Return membership requests as this API shows them.

    Args:
        embedded: fields (``user_account_request``, ``authgroup``) that hold the whole object
            instead of its id.
    """
    profiles_by_id, groups_by_id = _embedded(tx, actor, rows, embedded, "user_account_request")
    return [
        MembershipRequest(
            _hyphenated(row.uuid),
            profiles_by_id.get(row.account_id, row.account_id),
            groups_by_id.get(row.scope_id, row.scope_id),
        )
        for row in rows
    ]


def invitations(
    tx: ReadTransaction,
    actor: Actor,
    rows: Sequence[InvitationToGroup],
    embedded: frozenset[str] = frozenset(),
) -> list[MembershipInvitation]:
    """Return invitations as this API shows them.

    Args:
        embedded: fields (``user_account_invitation``, ``authgroup``) that hold the whole object
            instead of its id.
    """
    profiles_by_id, groups_by_id = _embedded(tx, actor, rows, embedded, "user_account_invitation")
    return [
        MembershipInvitation(
            _hyphenated(row.uuid),
            row.account_id and profiles_by_id.get(row.account_id, row.account_id),
            groups_by_id.get(row.scope_id, row.scope_id),
            *flags_of(row.role_name),
        )
        for row in rows
    ]


def _embedded(
    tx: ReadTransaction,
    actor: Actor,
    rows: Sequence[InvitationToGroup | GroupRequest],
    embedded: frozenset[str],
    person: str,
) -> tuple[dict[int, Profile], dict[int, Group]]:
    profiles_by_id: dict[int, Profile] = {}
    groups_by_id: dict[int, Group] = {}
    if person in embedded:
        ids = {row.account_id for row in rows if row.account_id is not None}
        found = profile_queries.by_ids(tx, ids)
        profiles_by_id = {item.id: item for item in profiles(tx, list(found.values()))}
    if "authgroup" in embedded:
        named = group_queries.by_ids(tx, {row.scope_id for row in rows})
        groups_by_id = {item.id: item for item in groups(tx, actor, list(named.values()))}
    return profiles_by_id, groups_by_id


def groups(
    tx: ReadTransaction, actor: Actor, rows: Sequence[GroupRow], *, shows_all: bool = False
) -> list[Group]:
    """Return groups; members are listed only for groups that the actor belongs to.

    Args:
        shows_all: whether the members of all groups are listed. Staff and support always see them.
    """
    ids = [row.id for row in rows]
    shows_all = shows_all or actor.sees_all
    people = group_queries.members(
        tx, ids if shows_all else group_queries.joined_by_actor(tx, actor, ids)
    )
    shown = []
    for row in rows:
        users: dict[str, Flags] = {}
        for member in people.get(row.id, ()):
            if member.is_active:
                users.setdefault(member.email, Flags(*flags_of(member.role_name)))
        shown.append(Group(row.id, row.name, users))
    return shown


def profiles(
    tx: ReadTransaction, rows: Sequence[ProfileRow], *, with_email: bool = True
) -> list[Profile]:
    """Return people as this API shows them.

    Args:
        with_email: whether e-mail addresses are included.
    """
    owned = group_queries.owned(tx, [row.id for row in rows])
    return [
        Profile(
            id=row.id,
            email=row.email if with_email else "",
            first_name=row.first_name,
            last_name=row.last_name,
            groups_own_json=[OwnedGroup(group.id, group.name) for group in owned[row.id]],
            **_workplace(row.profile),
        )
        for row in rows
    ]


def _workplace(profile: dict[str, Any]) -> dict[str, Any]:
    texts = ("website", "google_scholar", "orcid_id", "atlas_preference")
    return {
        **{name: profile.get(name, "") for name in texts},
        "active_projects": profile.get("active_projects", []),
    }


def _hyphenated(key: str) -> str:
    return str(UUID(key))
