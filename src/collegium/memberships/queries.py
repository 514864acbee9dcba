"""Queries of grants: the role of an account in a scope, from, until, and by whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from uuid import uuid4

from sqlalchemy import (
    Integer,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    true,
    union,
    update,
)

from collegium.access.queries import (
    GRANTS,
    LOCK_ORDER,
    actor_grants,
    add_to_account,
    is_active,
    viewer_params,
    visible_scopes,
)
from collegium.access.rules import KINDS, Actor, ScopeKind
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    grants,
    invitations,
    join_requests,
    roles,
    scopes,
)
from collegium.db.writing import insertion, unique_or
from collegium.join_requests.rules import State
from collegium.lists import account_search
from collegium.lists import filters as list_filters
from collegium.lists.listing import Listing
from collegium.lists.sql_hints import no_index_on_join
from collegium.memberships.notices.rules import reminders_done
from collegium.memberships.rules import UNDO, GrantSource
from collegium.refusals import Conflict, or_not_found


class ActiveGrant:
    """A grant."""

    id: int
    uuid: str
    scope_id: int
    valid_until: datetime | None


class GrantRow(ActiveGrant):
    """A grant, with its account, role and scope."""

    account_id: int
    role_id: int
    account_uuid: str
    username: str
    role_uuid: str
    role_name: str
    scope_kind: str
    scope_name: str
    role_description: str
    organisation_name: str
    scope_uuid: str


class TeamRow(GrantRow):
    """A grant in the list of the members of a scope."""

    email: str
    valid_from: datetime
    granted_by_username: str | None
    granted_by_first_name: str | None
    granted_by_last_name: str | None


class PastGrant(GrantRow):
    """A grant, which may have ended, in a scope that may have been deleted."""

    source: str
    ended_at: datetime | None
    scope_uuid: str
    scope_deleted_at: datetime | None


class AccountGrant:
    """An account, in a list of grants whose accounts are loaded already."""

    account_id: int


class UnendedGrant:
    """A grant that is not ended, with the names of its role and scope."""

    id: int
    scope_id: int
    role_id: int
    valid_until: datetime | None
    role_name: str
    scope_kind: str
    scope_name: str


class MemberRole:
    """A role of a member, who is known by an address."""

    email_comparable: str
    role_id: int
    role_uuid: str
    role_name: str
    role_description: str


class MemberFacts:
    """A role of an account, with what decides whether a scope admits it."""

    id: int
    account_id: int
    role_id: int
    role_name: str
    scope_name: str
    valid_until: datetime | None
    account_uuid: str
    username: str
    email: str
    affiliations: list[str]
    identity_source: str


class FormerMember(MemberFacts):
    """A role that an account lost when its scope was deleted."""

    first_name: str
    last_name: str


class RoleGrant(ActiveGrant):
    """A grant, with the name of its role."""

    valid_from: datetime
    role_name: str


_all_rows = GRANTS.select(
    TeamRow,
    PastGrant,
    *("first_name", "last_name", "picture", "slug", "end_reason"),
    *("organisation_uuid", "granted_by_uuid"),
    *("ended_by_username", "ended_by_first_name", "ended_by_last_name"),
)
_rows = _all_rows.where(is_active(), scopes.c.deleted_at.is_(None))

_counted_rows = GRANTS.select("id", join=["account", "scope"]).where(
    is_active(), scopes.c.deleted_at.is_(None), accounts.c.is_active
)

_viewer = accounts.alias("viewer")

_ORDERS = {
    "created": (grants.c.valid_from,),
    "email": (accounts.c.email,),
    "expiration_time": (grants.c.valid_until,),
    "full_name": (accounts.c.first_name_sort, accounts.c.last_name_sort),
    "native_name": (accounts.c.native_name_sort,),
    "role": (roles.c.name_sort,),
    "username": (accounts.c.username,),
}

listing = Listing[GrantRow](
    # This list belongs to the Waldur API and contains organisations and projects only. The
    # BrainSTEM API lists the members of groups.
    rows=_rows.where(scopes.c.kind != ScopeKind.GROUP.value),
    visible=lambda: grants.c.account_id == bindparam("actor", type_=BigInt),
    key=grants.c.id,
    default="created",
    orders=_ORDERS,
    # The few scopes to exclude are found first. With a join SQLite would read all the scopes.
    count_query=select(grants.c.id).where(
        is_active(),
        grants.c.scope_id.not_in(
            select(scopes.c.id).where(
                or_(scopes.c.deleted_at.is_not(None), scopes.c.kind == ScopeKind.GROUP.value)
            )
        ),
    ),
    filters_fit_count_query=True,
)

history = Listing[GrantRow](
    # The same with all grants that have ended, in deleted scopes too, for staff and support.
    rows=_all_rows.where(no_index_on_join(scopes.c.kind, grants.c.id) != ScopeKind.GROUP.value),
    visible=false,
    key=grants.c.id,
    default="created",
    orders=_ORDERS,
    count_query=select(grants.c.id).where(
        grants.c.scope_id.not_in(select(scopes.c.id).where(scopes.c.kind == ScopeKind.GROUP.value))
    ),
    filters_fit_count_query=True,
)

of_scope = Listing[TeamRow](
    rows=_rows.where(accounts.c.is_active),
    visible=true,  # access to the scope was checked before
    key=grants.c.id,
    count_query=_counted_rows,
    filters_fit_count_query=True,
    default="created",
    orders={
        **_ORDERS,
        # No end is the latest one. The databases themselves differ in where they sort it.
        "expiration_time": (grants.c.valid_until.is_(None), grants.c.valid_until),
        # As in the filter, only visible names count: the order alone would reveal hidden ones.
        "native_name": (
            case(
                (
                    or_(
                        exists().where(
                            _viewer.c.id == bindparam("actor", type_=BigInt),
                            or_(_viewer.c.is_staff, _viewer.c.is_support),
                        ),
                        accounts.c.id == bindparam("actor", type_=BigInt),
                        not_(accounts.c.is_staff),
                    ),
                    accounts.c.native_name_sort,
                ),
                else_="",
            ),
        ),
    },
    filters={
        "full_name": list_filters.of_holder(account_search.FULL_NAME, in_one_scope=True),
        "scope": grants.c.scope_id == bindparam("scope", type_=BigInt),
        "search_string": list_filters.of_holder(
            account_search.part_of("first_name", "email", name="search_string"), in_one_scope=True
        ),
        "uuids": any_of(grants.c.uuid, "uuids"),
    },
)


@lru_cache(maxsize=2)
def _by_uuid(*, sees_all: bool) -> Statement[PastGrant]:
    has_uuid = and_(grants.c.uuid == bindparam("uuid"), scopes.c.kind != ScopeKind.GROUP.value)
    if sees_all:
        return Statement[PastGrant](_all_rows.where(has_uuid))
    return Statement[PastGrant](
        _rows.where(has_uuid, grants.c.account_id == bindparam("actor", type_=BigInt))
    )


@lru_cache(maxsize=4)
def _select_by_accounts(*, sees_all: bool, is_single: bool) -> Statement[AccountGrant]:
    # The caller has the accounts already, so these few columns suffice.
    return Statement[AccountGrant](
        GRANTS.select(
            AccountGrant,
            *("valid_from", "valid_until", "role_uuid", "role_name", "role_description"),
            *("scope_kind", "scope_uuid", "scope_name", "organisation_uuid", "organisation_name"),
            *("granted_by_username", "granted_by_first_name", "granted_by_last_name"),
        )
        .where(
            is_active(),
            scopes.c.deleted_at.is_(None),
            # With a single account an equality keeps its plan. PostgreSQL would plan an array
            # comparison anew each time, which takes longer than the query.
            grants.c.account_id == bindparam("ids", type_=BigInt)
            if is_single
            else any_of(grants.c.account_id, "ids"),
            scopes.c.kind != ScopeKind.GROUP.value,
            true()
            if sees_all
            else or_(
                grants.c.account_id == bindparam("actor", type_=BigInt),
                grants.c.scope_id.in_(visible_scopes()),
            ),
        )
        # By account first, because the rows are found in that order: sorting is then faster.
        .order_by(grants.c.account_id, grants.c.valid_from, grants.c.id)
    )


# Grants in groups are included: accounts see their own grants in every kind of scope.
_of_account = _rows.where(grants.c.account_id == bindparam("account", type_=BigInt))
_ALL_OF_ACCOUNT = Statement[GrantRow](
    _of_account.order_by(scopes.c.name_sort, grants.c.valid_from, grants.c.id)
)
_ONE_OF_ACCOUNT = Statement[GrantRow](_of_account.where(grants.c.uuid == bindparam("uuid")))

# Past states: the row of a grant alone says whether it counted at a time, whatever happened later.
_ACTIVE_AT = Statement[GrantRow](
    _all_rows.where(
        grants.c.scope_id == bindparam("scope", type_=BigInt),
        grants.c.valid_from <= bindparam("moment", type_=UtcDateTime),
        or_(
            grants.c.ended_at.is_(None), grants.c.ended_at > bindparam("moment", type_=UtcDateTime)
        ),
        or_(
            grants.c.valid_until.is_(None),
            grants.c.valid_until > bindparam("moment", type_=UtcDateTime),
        ),
    ).order_by(grants.c.valid_from, grants.c.id)
)

_same_grant = and_(
    grants.c.account_id == bindparam("account", type_=BigInt),
    grants.c.role_id == bindparam("role", type_=BigInt),
    grants.c.scope_id == bindparam("scope", type_=BigInt),
    grants.c.ended_at.is_(None),
)
_ACTIVE = Statement[ActiveGrant](GRANTS.select(ActiveGrant).where(_same_grant, is_active()))
_ANY_OF_ACCOUNT = Statement[int](
    GRANTS.select("id", join=["scope"])
    .where(
        grants.c.account_id == bindparam("account", type_=BigInt),
        is_active(),
        scopes.c.deleted_at.is_(None),
    )
    .limit(1)
)
_NOT_ENDED = Statement[UnendedGrant](
    GRANTS.select(UnendedGrant)
    .where(grants.c.account_id == bindparam("account", type_=BigInt), grants.c.ended_at.is_(None))
    # Ordered by scope: all transactions lock scopes in this order, which prevents deadlocks.
    .order_by(grants.c.scope_id, grants.c.id)
)
_scopes_to_lock = union(
    select(grants.c.scope_id).where(
        grants.c.account_id == bindparam("account", type_=BigInt), grants.c.ended_at.is_(None)
    ),
    select(join_requests.c.scope_id).where(
        join_requests.c.account_id == bindparam("account", type_=BigInt),
        join_requests.c.state == State.PENDING.value,
    ),
    # Invitations to the account lose their address when it is deleted. The state does not
    # matter: one that was cancelled could be renewed at this moment.
    select(invitations.c.scope_id)
    .join(accounts, accounts.c.email_comparable == invitations.c.email_comparable)
    .where(
        accounts.c.id == bindparam("account", type_=BigInt),
        accounts.c.email_comparable != "",
    ),
    select(invitations.c.scope_id).where(
        invitations.c.account_id == bindparam("account", type_=BigInt)
    ),
)
_SCOPES_TO_LOCK = Statement[int](
    select(scopes.c.id).where(scopes.c.id.in_(_scopes_to_lock)).order_by(*LOCK_ORDER)
)
_IS_MEMBER = Statement[int](
    select(grants.c.id)
    .where(actor_grants(), grants.c.scope_id == bindparam("scope", type_=BigInt))
    .limit(1)
)
_ACTIVE_IN_SCOPE = Statement[RoleGrant](
    GRANTS.select(RoleGrant)
    .where(
        grants.c.account_id == bindparam("account", type_=BigInt),
        grants.c.scope_id == bindparam("scope", type_=BigInt),
        is_active(),
    )
    .limit(1)
)
# The unique index still counts an expired grant as active. Therefore it is ended, as of its expiry,
# before its successor is inserted.
_END_EXPIRED = Statement(
    update(grants)
    .where(_same_grant, grants.c.valid_until <= bindparam("moment"))
    .values(ended_at=grants.c.valid_until)
)
_COLUMNS = (
    *("uuid", "account_id", "role_id", "scope_id", "valid_from", "valid_until", "granted_by"),
    *("source", "reminders_done"),
)
_INSERT = add_to_account(grants, _COLUMNS)
_INSERT_REPLACEMENT = Statement[int](insertion(grants, _COLUMNS).returning(grants.c.id))
_SET_END = Statement(
    update(grants)
    .where(grants.c.id == bindparam("grant"), is_active())
    .values(valid_until=bindparam("end"), reminders_done=bindparam("done"))
)
# A transaction that waited for the lock may have read the clock before a concurrent transaction
# wrote the grant. Then the grant must not end before it begins.
_moment = bindparam("moment", type_=UtcDateTime)
_end_time = case((grants.c.valid_from > _moment, grants.c.valid_from), else_=_moment)
_END = Statement(
    update(grants)
    .where(grants.c.id == bindparam("grant"), grants.c.ended_at.is_(None))
    .values(ended_at=_end_time, ended_by=bindparam("by"), end_reason=bindparam("reason"))
)
_SET_UUID = Statement(
    update(grants).where(grants.c.id == bindparam("grant")).values(uuid=bindparam("new_uuid"))
)
_INSERT_LOCKED = Statement(insertion(grants, _COLUMNS))
# Deactivated people are among them: they have their roles again when they are activated.
_MEMBER_FACTS = Statement[MemberFacts](
    GRANTS.select(MemberFacts)
    .where(grants.c.scope_id == bindparam("scope", type_=BigInt), is_active())
    .order_by(grants.c.id)
)
_ended_with_scope = GRANTS.select(FormerMember).where(
    accounts.c.is_active,
    roles.c.is_active,
    grants.c.scope_id == bindparam("scope", type_=BigInt),
    grants.c.ended_at == scopes.c.deleted_at,
    or_(
        grants.c.valid_until.is_(None),
        grants.c.valid_until > bindparam("now", type_=UtcDateTime),
    ),
)
_ENDED_WITH_SCOPE = Statement[FormerMember](_ended_with_scope.order_by(grants.c.id))
# Accounts are locked in the order of their ids, which prevents deadlocks.
_ENDED_WITH_SCOPE_LOCKED = Statement[FormerMember](
    _ended_with_scope.order_by(accounts.c.id, grants.c.id).with_for_update(of=accounts, read=True)
)
_END_MANY = Statement[int](
    update(grants)
    .where(any_of(grants.c.id, "grants"), grants.c.ended_at.is_(None))
    .values(ended_at=_end_time, ended_by=bindparam("by"))
    .returning(grants.c.id)
)
_END_ALL = Statement[int](
    update(grants)
    .where(grants.c.scope_id == bindparam("scope"), grants.c.ended_at.is_(None))
    .values(
        # An expired grant keeps its expiry as its end.
        ended_at=case(
            (grants.c.valid_until <= _moment, grants.c.valid_until),
            else_=_end_time,
        ),
        ended_by=bindparam("by"),
    )
    .returning(grants.c.account_id)
)
_EXPIRED = Statement[int](
    select(grants.c.id)
    .where(grants.c.ended_at.is_(None), grants.c.valid_until <= bindparam("now", type_=UtcDateTime))
    # All workers update the rows in the same order, which prevents deadlocks.
    .order_by(grants.c.valid_until, grants.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_CLOSE_EXPIRED = Statement[int](
    update(grants)
    .where(
        grants.c.id == bindparam("grant"),
        grants.c.ended_at.is_(None),
        grants.c.valid_until <= bindparam("now", type_=UtcDateTime),
    )
    .values(ended_at=grants.c.valid_until)
    .returning(grants.c.id)
)
_BY_ID = Statement[GrantRow](_all_rows.where(grants.c.id == bindparam("grant")))
_COUNT_OTHER_OWNERS = Statement[int](
    GRANTS.select(join=["account", "role"], count=func.count()).where(
        grants.c.scope_id == bindparam("scope"),
        or_(
            *(roles.c.name == name for kind in KINDS.values() for name in sorted(kind.owner_roles))
        ),
        grants.c.id != bindparam("excluded_grant"),
        grants.c.ended_at.is_(None),
        grants.c.valid_until.is_(None),
        accounts.c.is_active,
    )
)

_BY_UUID_IN_SCOPE = Statement[GrantRow](
    _rows.where(
        grants.c.uuid == bindparam("uuid"),
        grants.c.scope_id == bindparam("scope", type_=BigInt),
        accounts.c.is_active,
    )
)

_REMOVED = Statement[PastGrant](
    _all_rows.where(
        grants.c.uuid == bindparam("uuid"),
        grants.c.scope_id == bindparam("scope", type_=BigInt),
        grants.c.ended_by == bindparam("actor", type_=BigInt),
        grants.c.ended_at >= bindparam("since", type_=UtcDateTime),
        accounts.c.is_active,
        scopes.c.kind != ScopeKind.GROUP.value,
        scopes.c.deleted_at.is_(None),
    )
)

_ROLES_OF_EMAILS = Statement[MemberRole](
    GRANTS.select(MemberRole)
    .where(
        grants.c.scope_id == bindparam("scope", type_=BigInt),
        is_active(),
        accounts.c.is_active,
        any_of(accounts.c.email_comparable, "emails"),
    )
    .order_by(grants.c.valid_from, grants.c.id)
)


def get_in_scope(tx: ReadTransaction, scope: int, uuid: str) -> GrantRow:
    """Return a grant in a scope; the caller has checked access to the scope.

    Args:
        scope: id of the scope.
        uuid: of the grant, 32 hex digits.

    Raises:
        NotFound: ``grant.unknown``, also for a grant in another scope.
    """
    row = tx.fetch_one(_BY_UUID_IN_SCOPE, uuid=uuid, scope=scope, now=tx.now)
    return or_not_found(row, "grant.unknown")


def get_removed(tx: ReadTransaction, actor: Actor, scope: int, uuid: str) -> PastGrant:
    """Return a grant of an active account that the actor ended at most ``UNDO`` ago.

    Args:
        scope: id of an organisation or project; the caller has checked access to it.
        uuid: of the grant, 32 hex digits.

    Raises:
        NotFound: ``grant.unknown``.
    """
    row = tx.fetch_one(_REMOVED, uuid=uuid, scope=scope, actor=actor.id, since=tx.now - UNDO)
    return or_not_found(row, "grant.unknown")


def roles_of_emails(tx: ReadTransaction, scope: int, emails: Collection[str]) -> list[MemberRole]:
    """Return the roles in a scope of the accounts with some addresses.

    Args:
        emails: in comparable form.
    """
    return tx.fetch_all(_ROLES_OF_EMAILS, scope=scope, emails=list(emails), now=tx.now)


def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> PastGrant:
    """Return a grant that the actor may see: an active one of their own; as staff or support any.

    Raises:
        NotFound: ``grant.unknown``: it does not exist or the actor may not see it.
    """
    row = tx.fetch_one(_by_uuid(sees_all=actor.sees_all), uuid=uuid, **viewer_params(tx, actor))
    return or_not_found(row, "grant.unknown")


def by_account(
    tx: ReadTransaction, actor: Actor, ids: Sequence[int]
) -> dict[int, list[AccountGrant]]:
    """Return the visible grants of accounts by account id, with one query.

    Other accounts' grants are visible where the scope is visible to the actor.

    Args:
        ids: ids of the accounts.
    """
    grants_by_account: dict[int, list[AccountGrant]] = {}
    is_single = len(ids) == 1
    statement = _select_by_accounts(sees_all=actor.sees_all, is_single=is_single)
    for row in tx.fetch_all(
        statement, ids=ids[0] if is_single else ids, **viewer_params(tx, actor)
    ):
        grants_by_account.setdefault(row.account_id, []).append(row)
    return grants_by_account


def of_account(tx: ReadTransaction, account: int) -> list[GrantRow]:
    """Return the active grants of an account in every kind of scope."""
    return tx.fetch_all(_ALL_OF_ACCOUNT, account=account, now=tx.now)


def get_of_account(tx: ReadTransaction, account: int, uuid: str) -> GrantRow:
    """Return an active grant of an account.

    Raises:
        NotFound: ``grant.unknown``, also for a grant of another account.
    """
    row = tx.fetch_one(_ONE_OF_ACCOUNT, account=account, uuid=uuid, now=tx.now)
    return or_not_found(row, "grant.unknown")


def grants_at(tx: ReadTransaction, scope: int, moment: datetime) -> list[GrantRow]:
    """Return the grants that were active in a scope at a time, past or present.

    Args:
        moment: UTC.
    """
    return tx.fetch_all(_ACTIVE_AT, scope=scope, moment=moment)


def active_grant(tx: ReadTransaction, account: int, role: int, scope: int) -> ActiveGrant | None:
    """Return the active grant of a role to an account in a scope."""
    return tx.fetch_one(_ACTIVE, account=account, role=role, scope=scope, now=tx.now)


def has_any_grant(tx: ReadTransaction, account: int) -> bool:
    """Return whether an account has an active grant in any scope."""
    return tx.fetch_one(_ANY_OF_ACCOUNT, account=account, now=tx.now) is not None


def open_grants(tx: ReadTransaction, account: int) -> list[UnendedGrant]:
    """Return all grants of an account that have not been ended, also in deleted scopes."""
    return tx.fetch_all(_NOT_ENDED, account=account)


def scope_ids_to_lock(tx: ReadTransaction, account: int) -> list[int]:
    """Return the ids of the scopes to lock before an account is deleted.

    The account has a grant, a pending join request or an invitation in any state there. The ids are
    in the order in which all transactions lock scopes.
    """
    return tx.fetch_all(_SCOPES_TO_LOCK, account=account)


def grant_in_scope(tx: ReadTransaction, account: int, scope: int) -> RoleGrant | None:
    """Return the active grant of an account in the scope itself, in any role."""
    return tx.fetch_one(_ACTIVE_IN_SCOPE, account=account, scope=scope, now=tx.now)


def is_member(tx: ReadTransaction, actor: Actor, scope: int) -> bool:
    """Return whether the actor has a role in the scope itself, usable from their network."""
    return tx.fetch_one(_IS_MEMBER, scope=scope, **viewer_params(tx, actor)) is not None


def grant(
    tx: WriteTransaction,
    uuid: str,
    account: int,
    role: int,
    scope: int,
    until: datetime | None,
    granted_by: int | None,
    *,
    source: GrantSource = GrantSource.MANUAL,
    replaces: bool = False,
) -> int:
    """Insert a grant and return its id.

    Args:
        until: end, UTC; None for no end.
        replaces: the grant replaces another one that this transaction has ended. It is then also
            allowed for a deactivated account.

    Raises:
        Conflict: ``grant.exists``, decided by the unique index, also for concurrent transactions;
            ``account.inactive`` if the account was deactivated, even in the meantime.
    """
    tx.execute(_END_EXPIRED, account=account, role=role, scope=scope, moment=tx.now)
    with unique_or(tx, Conflict("grant.exists")):
        grant_id = tx.fetch_one(
            _INSERT_REPLACEMENT if replaces else _INSERT,
            uuid=uuid,
            account_id=account,
            role_id=role,
            scope_id=scope,
            valid_from=tx.now,
            valid_until=until,
            granted_by=granted_by,
            source=source.value,
            reminders_done=reminders_done(until, tx.now),
        )
    if grant_id is None:
        raise Conflict("account.inactive")
    return grant_id


def set_end(tx: WriteTransaction, grant_id: int, until: datetime | None) -> bool:
    """Set the end of an active grant; return False if it is not active.

    Args:
        until: UTC; None for no end.
    """
    done = reminders_done(until, tx.now)
    return tx.execute(_SET_END, grant=grant_id, end=until, done=done, now=tx.now) > 0


def end(tx: WriteTransaction, grant_id: int, by: int | None, reason: str = "") -> bool:
    """End a grant now; return whether this call ended it.

    Args:
        reason: why, in the words of the account that ends it.
    """
    return tx.execute(_END, grant=grant_id, moment=tx.now, by=by, reason=reason) > 0


def set_uuid(tx: WriteTransaction, grant_id: int, uuid: str) -> None:
    """Set the UUID of a grant."""
    tx.execute(_SET_UUID, grant=grant_id, new_uuid=uuid)


def ended_with_scope(
    tx: ReadTransaction, scope: int, *, locks_accounts: bool = False
) -> list[FormerMember]:
    """Return the roles that ended when a scope was deleted, and that could be given again.

    The accounts and the roles are active, and the roles have not expired since.

    Args:
        locks_accounts: keep the accounts as they are until the transaction ends.
    """
    statement = _ENDED_WITH_SCOPE_LOCKED if locks_accounts else _ENDED_WITH_SCOPE
    return sorted(tx.fetch_all(statement, scope=scope, now=tx.now), key=lambda former: former.id)


def grant_again(
    tx: WriteTransaction, former: Iterable[FormerMember], scope: int, granted_by: int | None
) -> None:
    """Insert grants of the roles that members had, in one call of the driver.

    Args:
        former: their accounts are locked, and nobody has one of these roles.
        scope: id of the locked scope.
    """
    tx.execute_many(
        _INSERT_LOCKED,
        (
            {
                "uuid": uuid4().hex,
                "account_id": one.account_id,
                "role_id": one.role_id,
                "scope_id": scope,
                "valid_from": tx.now,
                "valid_until": one.valid_until,
                "granted_by": granted_by,
                "source": GrantSource.MANUAL.value,
                "reminders_done": reminders_done(one.valid_until, tx.now),
            }
            for one in former
        ),
    )


def members(tx: ReadTransaction, scope: int) -> list[MemberFacts]:
    """Return all active roles in a scope, also of deactivated accounts."""
    return tx.fetch_all(_MEMBER_FACTS, scope=scope, now=tx.now)


def end_many(tx: WriteTransaction, ids: Collection[int], by: int | None) -> set[int]:
    """End grants now; return the ids of those that this call ended."""
    return set(tx.fetch_all(_END_MANY, grants=list(ids), moment=tx.now, by=by))


def end_all(tx: WriteTransaction, scope: int, by: int | None) -> list[int]:
    """End all grants in a scope; return the ids of their accounts."""
    return tx.fetch_all(_END_ALL, scope=scope, moment=tx.now, by=by)


def expired(tx: ReadTransaction, limit: int) -> list[int]:
    """Return the ids of grants that have expired and are not marked as ended."""
    return tx.fetch_all(_EXPIRED, now=tx.now, limit=limit)


def close_expired(tx: WriteTransaction, grant_id: int) -> GrantRow | None:
    """End an expired grant as of its expiry; return None if another transaction ended it first."""
    if tx.fetch_one(_CLOSE_EXPIRED, grant=grant_id, now=tx.now) is None:
        return None
    return tx.fetch_one(_BY_ID, grant=grant_id)


def count_other_owners(tx: ReadTransaction, scope: int, excluded_grant: int) -> int:
    """Return the number of other open-ended grants of an owner role to active accounts in a scope.

    Args:
        excluded_grant: id of the grant that does not count.
    """
    return tx.fetch_only(_COUNT_OTHER_OWNERS, scope=scope, excluded_grant=excluded_grant)
