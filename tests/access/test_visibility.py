"""Authorisation checks, lists and the specification agree on what is visible.

Small random trees are asked three ways: by `get_visible` for one object, by the list, and by a
model in plain Python.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import bindparam, insert

from collegium.access import queries as access_queries
from collegium.access.rules import KINDS, Actor, Permission, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.api.waldur import invitations as invitations_api
from collegium.db.database import Database, ReadTransaction, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import role_permissions, roles
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import STORED, State, effective_state
from collegium.lists.listing import Listing
from collegium.memberships import actions as membership_actions
from collegium.memberships import queries as membership_queries
from collegium.refusals import Forbidden, NotFound
from collegium.roles import queries as role_queries
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.projects import actions as project_actions
from collegium.scopes.projects import queries as project_queries
from collegium.sign_in.tokens.actions import actor_of
from tests.support.world import World

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
LONG_AGO = NOW - timedelta(days=30)
ENDS = (None, None, NOW - timedelta(hours=1), NOW, NOW + TICK, NOW + timedelta(days=1))
ALL = 300
# The access subnets of the four organisations, and the addresses of the callers.
SUBNETS = ("", "10.0.0.0/8,192.0.2.7/32", "", "2001:db8::/32")
ADDRESSES = (None, "10.1.2.3", "192.0.2.8", "2001:db8::1")
SCOPES_WITH = {
    permission: Statement[Any](access_queries.scopes_with_permission((None, permission)))
    for permission in (
        Permission.INVITATION_LIST,
        Permission.PROJECT_GRANT,
        Permission.ORGANISATION_UPDATE,
    )
}


@dataclass(eq=False)
class Scope:
    kind: ScopeKind
    uuid: str
    id: int
    parent: Scope | None = None
    deleted: bool = False
    subnets: str = ""

    def is_accessible(self, actor: Actor) -> bool:
        """Return whether the access subnets contain the address; no address is always allowed."""
        subnets = (self.parent or self).subnets
        if not subnets or actor.ip_address is None:
            return True
        return any(ip_address(actor.ip_address) in ip_network(text) for text in subnets.split(","))


@dataclass(eq=False)
class Grant:
    account: Any
    scope: Scope
    permissions: frozenset[str]
    until: datetime | None
    id: int
    uuid: str
    ended: bool = False

    @property
    def is_active(self) -> bool:
        return not self.ended and (self.until is None or self.until > NOW)


@dataclass
class Invitation:
    uuid: str
    scope: Scope
    email: str
    state: str
    expires: datetime


@dataclass
class Model:
    """The data, and the rules of the specification in plain Python."""

    accounts: list[Any] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    invitations: list[Invitation] = field(default_factory=list)

    def _grants_of(self, actor: Actor) -> list[Grant]:
        return [
            grant
            for grant in self.grants
            if grant.account.id == actor.id and grant.is_active and grant.scope.is_accessible(actor)
        ]

    def sees_scope(self, actor: Actor, scope: Scope) -> bool:
        """A grant shows its scope, the projects in it and its organisation."""
        if scope.deleted or actor.sees_all:
            return not scope.deleted
        return any(
            scope is grant.scope or scope is grant.scope.parent or scope.parent is grant.scope
            for grant in self._grants_of(actor)
        )

    def parent_permissions(self, actor: Actor, scope: Scope) -> frozenset[str]:
        grants = (grant for grant in self._grants_of(actor) if grant.scope is scope.parent)
        return frozenset().union(*(grant.permissions for grant in grants))

    def permissions(self, actor: Actor, scope: Scope) -> frozenset[str]:
        grants = (grant for grant in self._grants_of(actor) if grant.scope is scope)
        inherited = self.parent_permissions(actor, scope)
        return inherited.union(*(grant.permissions for grant in grants))

    def sees_account(self, actor: Actor, account: Any) -> bool:
        """The own account, and active accounts except staff with a grant in a visible scope."""
        if actor.sees_all or account.id == actor.id:
            return True
        return bool(account.is_active and not account.is_staff) and any(
            grant.account.id == account.id
            and grant.is_active
            and self.sees_scope(actor, grant.scope)
            for grant in self.grants
        )

    def sees_invitation(self, actor: Actor, invitation: Invitation) -> bool:
        """Accounts that list or grant in the scope, even a deleted one; the invitee while open."""
        required = {Permission.INVITATION_LIST, KINDS[invitation.scope.kind].grant}
        if actor.sees_all or required & self.permissions(actor, invitation.scope):
            return True
        is_open = invitation.state == State.HELD or (
            invitation.state == State.PENDING and invitation.expires > NOW
        )
        return is_open and invitation.email.casefold() == actor.email.casefold()

    def sees_grant(self, actor: Actor, grant: Grant) -> bool:
        is_visible = actor.sees_all or grant.account.id == actor.id
        return is_visible and grant.is_active and not grant.scope.deleted


class Builder:
    """Creates random data by actions; custom roles are inserted directly."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.staff = world.staff.actor
        self.rng = rng
        self.model = Model()
        self._roles: dict[ScopeKind, list[Any]] = {}
        self._number = count(1)

    def build(self) -> Model:
        with self.world.database.write(LONG_AGO) as tx:
            self._create_accounts(tx)
            self._create_scopes(tx)
            self._create_roles(tx)
            for _ in range(50):
                self._grant(tx)
        for _ in range(30):
            self._invite()
        with self.world.database.write(NOW - timedelta(hours=2)) as tx:
            self._end_grants(tx)
            self._delete_scopes(tx)
            self._deactivate_accounts(tx)
        return self.model

    def _create_accounts(self, tx: WriteTransaction) -> None:
        flags: list[dict[str, Any]] = [{} for _ in range(9)]
        flags += [{"is_support": True}, {"is_staff": True}]
        for number, values in enumerate(flags):
            values |= {"username": f"p{number}", "email": f"p{number}@example.org"}
            world = self.world
            account = account_actions.create(tx, None, world.settings, world.vault, values)
            self.model.accounts.append(account_queries.by_id(tx, account))

    def _create_scopes(self, tx: WriteTransaction) -> None:
        for index, subnets in enumerate(SUBNETS):
            values = {"name": f"O{next(self._number)}", "access_subnets": subnets}
            uuid = organisation_actions.create(tx, self.staff, self.world.settings, values)
            access = access_queries.get_visible(tx, self.staff, ScopeKind.ORGANISATION, uuid)
            parent = Scope(ScopeKind.ORGANISATION, uuid, access.scope.id, subnets=subnets)
            self.model.scopes.append(parent)
            for _ in range(max(index % 2, self.rng.randrange(4))):
                name = f"P{next(self._number)}"
                uuid = project_actions.create(tx, self.staff, access, {"name": name})
                project = access_queries.get_visible(tx, self.staff, ScopeKind.PROJECT, uuid)
                self.model.scopes.append(Scope(ScopeKind.PROJECT, uuid, project.scope.id, parent))

    def _create_roles(self, tx: WriteTransaction) -> None:
        built_in = {
            ScopeKind.ORGANISATION: ("CUSTOMER.OWNER",),
            ScopeKind.PROJECT: ("PROJECT.MANAGER", "PROJECT.MEMBER"),
        }
        for kind, names in built_in.items():
            self._roles[kind] = [role_queries.by_name_or_uuid(tx, name, None) for name in names]
            for _ in range(3):
                permissions = self.rng.sample(list(Permission), self.rng.randrange(5))
                name = add_role(tx, f"CUSTOM.{next(self._number)}", kind, permissions)
                self._roles[kind].append(role_queries.by_name_or_uuid(tx, name, None))

    def _grant(self, tx: WriteTransaction) -> None:
        scope, account = self.rng.choice(self.model.scopes), self.rng.choice(self.model.accounts)
        role = self.rng.choice(self._roles[scope.kind])
        if membership_queries.active_grant(tx, account.id, role.id, scope.id):
            return
        until = self.rng.choice(ENDS)
        access = access_queries.get_visible(tx, self.staff, scope.kind, scope.uuid)
        assignment = membership_actions.RoleAssignment(access, role, account)
        membership_actions.add(tx, self.staff, assignment, until)
        row: Any = membership_queries.active_grant(tx, account.id, role.id, scope.id)
        permissions = frozenset(role_queries.permissions_of(tx, [role.id]).get(role.id, ()))
        self.model.grants.append(Grant(account, scope, permissions, until, row.id, row.uuid))

    def _invite(self) -> None:
        lifetime = timedelta(seconds=self.world.settings.invitation_lifetime)
        age = self.rng.choice([timedelta(days=1), lifetime - TICK, lifetime, lifetime + TICK])
        scope, account = self.rng.choice(self.model.scopes), self.rng.choice(self.model.accounts)
        role = self.rng.choice(self._roles[scope.kind])
        email = self.rng.choice([account.email, account.email.upper(), "nobody@example.org"])
        state = self.rng.choice([State.PENDING, *STORED])
        with self.world.database.write(NOW - age) as tx:
            access = access_queries.get_visible(tx, self.staff, scope.kind, scope.uuid)
            settings = self.world.settings
            uuid = invitation_actions.create(
                tx, self.staff, settings, access, role, {"email": email}
            )
            row: Any = invitation_queries.by_uuid(tx, uuid)
            invitation_queries.set_state(tx, row, state)
        self.model.invitations.append(Invitation(uuid, scope, email, state.value, row.expires_at))

    def _end_grants(self, tx: WriteTransaction) -> None:
        for grant in self.rng.sample(self.model.grants, 8):
            membership_queries.end(tx, grant.id, self.staff.id)
            grant.ended = True

    def _delete_scopes(self, tx: WriteTransaction) -> None:
        scopes = self.model.scopes
        projects = [scope for scope in scopes if scope.kind is ScopeKind.PROJECT]
        organisation = next(scope for scope in scopes if scope.kind is ScopeKind.ORGANISATION)
        deleted = {self.rng.choice(projects)}
        deleted |= {scope for scope in scopes if organisation in {scope, scope.parent}}
        # Projects first: only an empty organisation can be deleted.
        for scope in sorted(deleted, key=lambda scope: scope.parent is None):
            access = access_queries.get_visible(tx, self.staff, scope.kind, scope.uuid)
            if scope.kind is ScopeKind.PROJECT:
                project_actions.delete(tx, self.staff, access)
            else:
                organisation_actions.delete(tx, self.staff, access)
            scope.deleted = True
            for grant in self.model.grants:
                grant.ended = grant.ended or grant.scope is scope
            for invitation in self.model.invitations:
                if invitation.scope is scope:
                    invitation.state = State.CANCELED

    def _deactivate_accounts(self, tx: WriteTransaction) -> None:
        accounts = self.model.accounts
        for account in accounts[:2]:
            account_queries.change(tx, account.id, {"is_active": False})
        self.model.accounts = [account_queries.by_id(tx, account.id) for account in accounts]
        for grant in self.model.grants:
            grant.account = account_queries.by_id(tx, grant.account.id)


def add_role(
    tx: WriteTransaction, name: str, kind: ScopeKind, permissions: Iterable[Permission]
) -> str:
    keys = ("uuid", "name", "kind", "descriptions")
    query = insert(roles).values({key: bindparam(key) for key in keys}).returning(roles.c.id)
    parameters: tuple[Any, ...] = (uuid4().hex, name, kind.value, {})
    role_id = tx.fetch_only(Statement[int](query), **dict(zip(keys, parameters, strict=True)))
    statement = Statement(
        insert(role_permissions).values(role_id=role_id, permission=bindparam("permission"))
    )
    for permission in permissions:
        tx.execute(statement, permission=permission.value)
    return name


def viewers(model: Model) -> list[Actor]:
    accounts = [row for row in model.accounts if row.is_active]
    return [actor_of(row, address) for row in accounts for address in ADDRESSES]


def loaded(
    load: Callable[..., object], tx: ReadTransaction, actor: Actor, uuids: Iterable[str]
) -> set[str]:
    """Return the UUIDs that can be loaded; the others must raise NotFound."""
    visible = set()
    for uuid in uuids:
        try:
            load(tx, actor, uuid)
        except NotFound:
            continue
        visible.add(uuid)
    return visible


def listed(listing: Listing[Any], tx: ReadTransaction, actor: Actor) -> set[str]:
    """Return the UUIDs of a list; it has no duplicates, and its count is right."""
    rows = [row.uuid for row in listing.page(tx, actor, {}, (), ALL, 0)]
    assert len(rows) == len(set(rows)) == listing.count(tx, actor, {})
    return set(rows)


def check_scopes(tx: ReadTransaction, model: Model, actor: Actor, kind: ScopeKind) -> None:
    queries = organisation_queries if kind is ScopeKind.ORGANISATION else project_queries
    scopes = [scope for scope in model.scopes if scope.kind is kind]
    expected = {scope.uuid for scope in scopes if model.sees_scope(actor, scope)}
    # UUIDs of the other kind are unknown.
    uuids = [scope.uuid for scope in model.scopes] + [uuid4().hex]

    def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> object:
        return access_queries.get_visible(tx, actor, kind, uuid)

    assert loaded(get_visible, tx, actor, uuids) == expected
    assert loaded(queries.get_visible, tx, actor, uuids) == expected
    assert listed(queries.listing, tx, actor) == expected


def check_permissions(tx: ReadTransaction, model: Model, actor: Actor) -> None:
    for permission, statement in SCOPES_WITH.items():
        ids = {row[0] for row in tx.fetch_all(statement, **access_queries.viewer_params(tx, actor))}
        assert ids == {s.id for s in model.scopes if permission in model.permissions(actor, s)}
    for scope in model.scopes:
        if model.sees_scope(actor, scope):
            access = access_queries.get_visible(tx, actor, scope.kind, scope.uuid)
            assert access.permissions == model.permissions(actor, scope)
            assert access.parent_permissions == model.parent_permissions(actor, scope)
            assert access_queries.get_visible_by_id(tx, actor, scope.id) == access
            for permission in SCOPES_WITH:
                expected = actor.is_staff or permission in access.permissions
                assert is_allowed(tx, actor, scope, permission) is expected


def is_allowed(tx: ReadTransaction, actor: Actor, scope: Scope, permission: Permission) -> bool:
    try:
        access_queries.get_visible(tx, actor, scope.kind, scope.uuid, permission)
    except Forbidden:
        return False
    return True


def check_accounts(tx: ReadTransaction, model: Model, actor: Actor, others: set[str]) -> None:
    expected = {row.uuid for row in model.accounts if model.sees_account(actor, row)}
    expected |= others if actor.sees_all else set()
    uuids = [row.uuid for row in model.accounts] + [*others, uuid4().hex]
    assert loaded(account_queries.get_visible, tx, actor, uuids) == expected
    assert listed(account_queries.listing, tx, actor) == expected


def check_invitations(tx: ReadTransaction, model: Model, actor: Actor) -> None:
    expected = {i.uuid for i in model.invitations if model.sees_invitation(actor, i)}
    uuids = [invitation.uuid for invitation in model.invitations] + [uuid4().hex]
    assert loaded(invitation_queries.get_visible, tx, actor, uuids) == expected
    assert listed(invitation_queries.listing, tx, actor) == expected


def check_states(tx: ReadTransaction, actor: Actor) -> None:
    """Check the order by effective state, under the names of the Waldur API."""
    rows = invitations_api.LIST.listing.page(tx, actor, {}, ("state",), ALL, 0)
    states = [effective_state(row.state, row.expires_at, NOW) for row in rows]
    assert states == sorted(states, key=lambda s: "project" if s is State.HELD else s.value)


def check_grants(tx: ReadTransaction, model: Model, actor: Actor) -> None:
    expected = {grant.uuid for grant in model.grants if model.sees_grant(actor, grant)}
    all_grants = {grant.uuid for grant in model.grants}
    # Staff and support also see roles that have ended, one by one and in the history.
    found = loaded(membership_queries.get_visible, tx, actor, [*all_grants, uuid4().hex])
    assert found == (all_grants if actor.sees_all else expected)
    assert listed(membership_queries.listing, tx, actor) == expected
    history = listed(membership_queries.history, tx, actor)
    assert history == (all_grants if actor.sees_all else set())


def check_coverage(model: Model) -> None:
    """Check that the data contain every case."""
    actors = [actor for actor in viewers(model) if not actor.sees_all]
    scopes = [scope for scope in model.scopes if not scope.deleted]
    assert {True, False} == {model.sees_scope(a, scope) for a in actors for scope in scopes}
    assert {True, False} == {model.sees_invitation(a, i) for a in actors for i in model.invitations}
    assert {True, False} == {model.sees_account(a, row) for a in actors for row in model.accounts}
    assert {True, False} == {
        g.scope.is_accessible(a) for g in model.grants for a in actors if g.is_active
    }
    assert any(scope.deleted for scope in model.scopes)
    assert any(grant.is_active for grant in model.grants)
    assert any(not grant.is_active and not grant.ended for grant in model.grants)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, "new"], ids=lambda seed: f"seed_{seed}")
def test_authorisation_check_list_and_specification_agree(
    database: Database, world: World, seed: int | str
) -> None:
    if not isinstance(seed, int):
        seed = random.getrandbits(32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    model = Builder(world, random.Random(seed)).build()  # noqa: S311 - no secret
    check_coverage(model)
    with database.read(NOW) as tx:
        for actor in viewers(model):
            print(actor.username, actor.ip_address)  # noqa: T201 - the last one failed
            check_scopes(tx, model, actor, ScopeKind.ORGANISATION)
            check_scopes(tx, model, actor, ScopeKind.PROJECT)
            check_permissions(tx, model, actor)
            check_accounts(tx, model, actor, {world.staff.uuid})
            check_invitations(tx, model, actor)
            check_states(tx, actor)
            check_grants(tx, model, actor)
