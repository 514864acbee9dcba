"""Queries of invitations: visibility, lists, and state changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Date,
    Integer,
    String,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    union,
    update,
)

from collegium.access.queries import (
    OrganisationState,
    add_to_account,
    add_to_scope,
    lock_account,
    lock_scope,
    scopes_with_permission,
    viewer_params,
)
from collegium.access.rules import GRANTING, KINDS, Actor, Kinds, Permission, ScopeKind
from collegium.accounts.queries import language_at_email
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    groups,
    invitations,
    organisations,
    outbox,
    projects,
    roles,
    scopes,
)
from collegium.invitations.rules import OPEN, REMIND_BEFORE, State
from collegium.lists import account_search
from collegium.lists import filters as list_filters
from collegium.lists.listing import Filter, Listing
from collegium.lists.row_counts import stored_count
from collegium.lists.sql_hints import in_subquery, no_index_on_join, unlikely
from collegium.memberships.offers import Offer, Sponsored
from collegium.refusals import Conflict, NotFound
from collegium.scopes.groups.rules import role_of
from collegium.scopes.queries import RoleInScope, with_scope_and_role
from collegium.text.email_addresses import comparable_address


class InvitationToGroup:
    """An invitation to a group."""

    uuid: str
    scope_id: int
    account_id: int | None
    role_name: str


class InvitationRow(Sponsored, InvitationToGroup, OrganisationState):
    """An invitation, with its scope, role, inviter, sponsor and e-mail."""

    email: str
    full_name: str
    native_name: str
    phone_number: str
    organization: str
    job_title: str
    civil_number: str
    extra_text: str
    state: str
    link_version: int
    created_at: datetime
    expires_at: datetime
    created_by: int | None
    approved_by: int | None
    accepted_by: int | None
    mailed_at: datetime | None
    reminded_at: datetime | None
    expiry_notified_at: datetime | None
    renewal_requested_version: int | None
    invitee_deactivated_at: datetime | None
    grant_until: datetime | None
    language: str
    scope_uuid: str
    scope_name: str
    scope_slug: str
    scope_deleted_at: datetime | None
    organisation_name: str
    start_date: date | None
    role_description: str
    creator_username: str | None
    creator_first_name: str | None
    creator_last_name: str | None
    creator_email: str | None
    creator_is_active: bool | None
    creator_notifications_enabled: bool | None
    mail_state: str | None
    mail_locked_until: datetime | None
    mail_error: str | None


class MailedInvitation(InvitationRow):
    """An invitation for the e-mail to the invited person."""

    account_language: str | None


class ListedInvitation(RoleInScope):
    """An invitation in a list of the Waldur API."""

    uuid: str
    email: str
    state: str
    expires_at: datetime


class OpenInvitation:
    """An open invitation to an address."""

    uuid: str
    email_comparable: str
    role_id: int


class CanceledInvitation:
    """An invitation that was cancelled."""

    uuid: str
    scope_id: int


class _Target:
    scope_id: int
    account_id: int | None


_now = bindparam("now", type_=UtcDateTime)


_rows = with_scope_and_role(
    invitations,
    InvitationRow,
    "creator_picture",
    creator=Relation(accounts, invitations.c.created_by),
    sponsor=accounts.alias("sponsor"),
    mail=outbox,
)

effective_state = case(
    (
        and_(invitations.c.state == State.PENDING.value, invitations.c.expires_at <= _now),
        State.EXPIRED.value,
    ),
    else_=invitations.c.state,
)
"""The effective state as SQL: the twin of ``invitations.rules.effective_state``."""

_PENDING = invitations.c.state == State.PENDING.value
_OPEN = or_(*(invitations.c.state == state.value for state in OPEN))
_OPEN_AND_VALID = or_(
    and_(_PENDING, invitations.c.expires_at > _now),
    *(invitations.c.state == state.value for state in OPEN if state is not State.PENDING),
)

READERS = ((None, Permission.INVITATION_LIST), *GRANTING)
"""The permissions that allow reading the invitations of a scope."""


def _is_addressed(table: Any) -> ColumnElement[bool]:
    return and_(
        table.c.email_comparable == bindparam("actor_email", type_=String()),
        # Deleted addresses are stored as empty. They belong to nobody.
        table.c.email_comparable != "",
        table.c.account_id.is_(None),
    )


def _is_of_account(table: Any) -> ColumnElement[bool]:
    of_account: ColumnElement[bool] = table.c.account_id == bindparam("actor", type_=BigInt)
    return of_account


def _is_undecided(table: Any) -> ColumnElement[bool]:
    """Return the condition for invitations, scheduled ones included, that have not expired."""
    return or_(
        table.c.state == State.HELD.value,
        and_(table.c.state == State.PENDING.value, table.c.expires_at > _now),
    )


_inner = invitations.alias("inner_invitations")


def visible() -> ColumnElement[bool]:
    """Return the condition for invitations that an ordinary actor may see."""
    # As with accounts: a union of two small sets, each found through an index. An OR would not use
    # the indexes.
    return invitations.c.id.in_(
        union(
            select(_inner.c.id).where(_inner.c.scope_id.in_(scopes_with_permission(*READERS))),
            select(_inner.c.id).where(_is_addressed(_inner), _is_undecided(_inner)),
        )
    )


_RARE_STATES: Final = frozenset({State.HELD, State.REQUESTED, State.REJECTED})
"""States with few invitations."""


def _read_states(value: list[str]) -> tuple[str, dict[str, Any]]:
    stored = sorted({State.PENDING.value if state == State.EXPIRED else state for state in value})
    if len(stored) == 1:
        return "one", {"state": value, "state_stored": stored[0]}
    return "few" if _RARE_STATES.issuperset(stored) else "some", {
        "state": value,
        "state_stored": stored,
    }


def _where_state(form: str, _sees_all: bool) -> ColumnElement[bool]:
    # The stored state is indexed, the effective one is not. With a single stored state the index
    # also returns the rows in order.
    if form == "one":
        stored = invitations.c.state == bindparam("state_stored", type_=String())
    else:
        stored = any_of(invitations.c.state, "state_stored")
    return and_(unlikely(stored) if form == "few" else stored, any_of(effective_state, "state"))


_not_in_group = no_index_on_join(scopes.c.kind, invitations.c.id) != ScopeKind.GROUP.value

# Scheduled invitations sort after pending ones, as in the Waldur API.
STATE_ORDER = case(
    (invitations.c.state == State.HELD.value, "pending, held"), else_=effective_state
)

listing = Listing[ListedInvitation](
    # This list belongs to the Waldur API and contains organisations and projects only. The
    # BrainSTEM API lists groups.
    rows=_rows.where(_not_in_group),
    visible=visible,
    stored_count=stored_count(invitations),
    key=invitations.c.id,
    # ``NOT IN`` instead of a join: with a join SQLite would read all the scopes first.
    count_query=select(invitations.c.id).where(
        invitations.c.scope_id.not_in(
            select(scopes.c.id).where(scopes.c.kind == ScopeKind.GROUP.value)
        )
    ),
    filters_fit_count_query=True,
    default="-created",
    orders={"created": (invitations.c.created_at,)},
)

of_scope = Listing[InvitationRow](
    rows=_rows,
    visible=true,  # access to the scope was checked before
    key=invitations.c.id,
    count_query=select(invitations.c.id),
    filters_fit_count_query=True,
    default="-created",
    orders={
        "created": (invitations.c.created_at,),
        "email": (invitations.c.email_search,),
    },
    filters={
        "email": list_filters.EMAIL,
        "scope_id": invitations.c.scope_id == bindparam("scope_id", type_=BigInt),
        "state": Filter(_read_states, _where_state),
        "uuids": any_of(invitations.c.uuid, "uuids"),
    },
)
"""The invitations to one scope of any kind, in every state; the filter ``scope_id`` is its id."""


IS_MANAGER, IS_OWNER = (
    or_(*(roles.c.name == role_of(**{flag: True, other: both}) for both in (False, True)))
    for flag, other in (("is_manager", "is_owner"), ("is_owner", "is_manager"))
)


def visible_in_groups() -> ColumnElement[bool]:
    """Return the condition for invitations to groups that an ordinary actor may see."""
    rights = (
        (ScopeKind.GROUP, KINDS[ScopeKind.GROUP].grant),
        (ScopeKind.GROUP, Permission.INVITATION_LIST),
    )
    return invitations.c.id.in_(
        union(
            select(_inner.c.id).where(_inner.c.scope_id.in_(scopes_with_permission(*rights))),
            select(_inner.c.id).where(_is_of_account(_inner), _is_undecided(_inner)),
        )
    )


group_listing = Listing[InvitationToGroup](
    # Few joins, as in ``join_requests.queries``, so that PostgreSQL begins with the visible rows.
    rows=Relations(
        invitations,
        group=Relation(groups, on=groups.c.scope_id == invitations.c.scope_id),
        scope=scopes,
        role=roles,
    )
    .select(
        InvitationToGroup,
        *("id", "state", "created_at", "email"),
        join=["group", "scope"],
    )
    .where(_PENDING, invitations.c.expires_at > _now),
    visible=visible_in_groups,
    key=invitations.c.id,
    default="created",
    orders={
        "created": (invitations.c.created_at,),
        "id": (invitations.c.uuid,),
        "authgroup": (invitations.c.scope_id,),
        "user_account_invitation": (invitations.c.account_id,),
    },
)
"""The pending invitations to groups."""


@lru_cache(maxsize=2)
def _select_visible(*, sees_all: bool) -> Statement[InvitationRow]:
    # Invitees of a group still see their invitation after a decision, so that an action can be
    # repeated safely.
    is_visible = or_(
        invitations.c.scope_id.in_(scopes_with_permission(*READERS)),
        and_(_is_addressed(invitations), _is_undecided(invitations)),
        _is_of_account(invitations),
    )
    return Statement[InvitationRow](
        _rows.where(
            invitations.c.uuid == bindparam("uuid"),
            or_(scopes.c.kind != ScopeKind.GROUP.value, scopes.c.deleted_at.is_(None)),
            true() if sees_all else is_visible,
        )
    )


_OPEN_OF_ACCOUNT = Statement[int](
    select(invitations.c.id)
    .where(
        invitations.c.scope_id == bindparam("scope"),
        invitations.c.account_id == bindparam("account", type_=BigInt),
        _OPEN,
    )
    .order_by(invitations.c.id.desc())
    .limit(1)
)


_OPEN_TO_EMAILS = Statement[OpenInvitation](
    Relations(invitations)
    .select(OpenInvitation)
    .where(
        invitations.c.scope_id == bindparam("scope"),
        any_of(invitations.c.email_comparable, "emails"),
        _OPEN_AND_VALID,
    )
    .order_by(invitations.c.id)
)
_ACCOUNTS_WITH_OPEN = Statement[int](
    select(invitations.c.account_id).where(
        invitations.c.scope_id == bindparam("scope"),
        any_of(invitations.c.account_id, "accounts"),
        _OPEN_AND_VALID,
    )
)
_addressed_to_actor = union(
    select(_inner.c.id).where(_is_addressed(_inner), _is_undecided(_inner)),
    select(_inner.c.id).where(_is_of_account(_inner), _is_undecided(_inner)),
).subquery("addressed_to_actor")
_TO_ACTOR = Statement[InvitationRow](
    _rows.where(
        in_subquery(invitations.c.id, select(_addressed_to_actor.c.id)),
        scopes.c.deleted_at.is_(None),
    ).order_by(invitations.c.created_at.desc(), invitations.c.id.desc())
)
_SCOPE_AND_ACCOUNT = Statement[_Target](
    select(invitations.c.scope_id, invitations.c.account_id).where(
        invitations.c.uuid == bindparam("uuid")
    )
)
_BY_UUID = Statement[InvitationRow](_rows.where(invitations.c.uuid == bindparam("uuid")))
_BY_ID = Statement[InvitationRow](_rows.where(invitations.c.id == bindparam("id")))
_MAILED = Statement[MailedInvitation](
    _rows.add_columns(
        language_at_email(invitations.c.email_comparable)
        .scalar_subquery()
        .label("account_language")
    ).where(any_of(invitations.c.id, "ids", plan_once=True))
)


@lru_cache(maxsize=16)
def _insert(columns: tuple[str, ...]) -> Statement[int]:
    # Group: the caller has locked the scope, so only the account could disappear in the meantime.
    add = add_to_account if "account_id" in columns else add_to_scope
    return add(invitations, columns)


@lru_cache(maxsize=64)
def _update_if_unchanged(columns: tuple[str, ...]) -> Statement:
    return Statement(
        update(invitations)
        .where(
            invitations.c.id == bindparam("invitation"),
            invitations.c.state == bindparam("expected_state"),
            invitations.c.link_version == bindparam("expected_version", type_=Integer),
            invitations.c.email == bindparam("expected_email", type_=String()),
        )
        .values({name: bindparam(name) for name in columns})
    )


_CANCEL_OTHERS = Statement[str](
    update(invitations)
    .where(
        invitations.c.scope_id == bindparam("scope"),
        invitations.c.role_id == bindparam("role"),
        invitations.c.id != bindparam("excluded_id"),
        or_(
            invitations.c.state == State.PENDING.value,
            invitations.c.state == State.HELD.value,
        ),
        or_(
            invitations.c.email_comparable == bindparam("invited_email", type_=String()),
            invitations.c.email_comparable == bindparam("account_email", type_=String()),
        ),
        invitations.c.account_id.is_(None),
    )
    .values(state=State.CANCELED.value)
    .returning(invitations.c.uuid)
)
_CANCEL_OPEN = Statement[str](
    update(invitations)
    .where(any_of(invitations.c.id, "ids"), _OPEN)
    .values(state=State.CANCELED.value)
    .returning(invitations.c.uuid)
)
_CLEAR_INVITEE_DEACTIVATED = Statement(
    update(invitations)
    .where(
        invitations.c.email_comparable
        == select(accounts.c.email_comparable)
        .where(accounts.c.id == bindparam("account", type_=BigInt))
        .scalar_subquery(),
        invitations.c.invitee_deactivated_at.is_not(None),
    )
    .values(invitee_deactivated_at=None)
)


@lru_cache(maxsize=4)
def _close(*, in_scope: bool, of_account: bool) -> Statement[CanceledInvitation]:
    return Statement[CanceledInvitation](
        update(invitations)
        .where(
            _OPEN,
            invitations.c.scope_id == bindparam("scope") if in_scope else true(),
            invitations.c.account_id == bindparam("account", type_=BigInt)
            if of_account
            else true(),
        )
        .values(state=State.CANCELED.value)
        .returning(invitations.c.uuid, invitations.c.scope_id)
    )


_other = invitations.alias("other")
_HAS_MAIL_OF_OTHER = Statement[bool](
    select(
        exists(
            select(_other.c.id)
            .join(outbox, outbox.c.id == _other.c.mail_id)
            .where(
                _other.c.email_comparable == bindparam("email", type_=String()),
                _other.c.id != bindparam("excluded_id"),
                outbox.c.kind == bindparam("kind"),
                or_(outbox.c.state == "queued", outbox.c.state == "sent"),
            )
        ).label("has_mail")
    )
)
# Invitations for the worker's schedule, a few at a time. Each is checked again under its lock.
_EXPIRED = Statement[int](
    select(invitations.c.id)
    .where(_PENDING, invitations.c.expiry_notified_at.is_(None), invitations.c.expires_at <= _now)
    .order_by(invitations.c.expires_at)
    .limit(bindparam("limit", type_=Integer))
)


def _select_needing_reminder(next_day: ColumnElement[Any]) -> Statement[int]:
    """Select the invitations that need a reminder.

    Args:
        next_day: ``created_at`` plus 24 hours, to the microsecond.
    """
    return Statement[int](
        select(invitations.c.id)
        .join(scopes, scopes.c.id == invitations.c.scope_id)
        .outerjoin(
            organisations,
            organisations.c.scope_id == func.coalesce(scopes.c.parent_id, scopes.c.id),
        )
        .where(
            _PENDING,
            invitations.c.expiry_notified_at.is_(None),
            invitations.c.expires_at > _now,
            invitations.c.expires_at <= bindparam("soon", type_=UtcDateTime),
            invitations.c.reminded_at.is_(None),
            # An invitation with a life of a day or less gets no reminder: its first e-mail says
            # everything.
            next_day < invitations.c.expires_at,
            # Nobody can accept it while the organisation is blocked or archived. If that ends in
            # time, the reminder is sent then.
            func.coalesce(organisations.c.blocked, false()).is_(false()),
            func.coalesce(organisations.c.archived, false()).is_(false()),
        )
        .order_by(invitations.c.expires_at)
        .limit(bindparam("limit", type_=Integer))
    )


_created_at = invitations.c.created_at
_NEEDING_REMINDER = {
    # SQLite's time functions drop microseconds. Therefore only the date part is advanced.
    "sqlite": _select_needing_reminder(
        func.date(func.substr(_created_at, 1, 10, type_=String()), "+1 day", type_=String()).concat(
            func.substr(_created_at, 11, type_=String())
        )
    ),
    "postgresql": _select_needing_reminder(_created_at + literal_column("interval '24 hours'")),
}
_STARTING = Statement[int](
    select(invitations.c.id)
    .join(projects, projects.c.scope_id == invitations.c.scope_id)
    .join(scopes, scopes.c.id == invitations.c.scope_id)
    .join(organisations, organisations.c.scope_id == scopes.c.parent_id)
    .where(
        invitations.c.state == State.HELD.value,
        # Nobody can accept it while the organisation is blocked or archived.
        not_(organisations.c.blocked),
        not_(organisations.c.archived),
        projects.c.start_date <= bindparam("today", type_=Date),
    )
    .order_by(invitations.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_DELETE = Statement(delete(invitations).where(invitations.c.id == bindparam("invitation")))


def expired(tx: ReadTransaction, limit: int) -> list[int]:
    """Return the ids of expired invitations whose creators were not notified."""
    return tx.fetch_all(_EXPIRED, now=tx.now, limit=limit)


def expiring(tx: ReadTransaction, limit: int) -> list[int]:
    """Return the ids of invitations that need a reminder: a day before the end, none sent yet."""
    statement = _NEEDING_REMINDER[tx.backend]
    soon = tx.now + REMIND_BEFORE
    return tx.fetch_all(statement, now=tx.now, soon=soon, limit=limit)


def starting(tx: ReadTransaction, limit: int) -> list[int]:
    """Return the ids of scheduled invitations whose project has started."""
    return tx.fetch_all(_STARTING, today=tx.now.date(), limit=limit)


def get_visible(
    tx: ReadTransaction, actor: Actor, uuid: str, kinds: Kinds = KINDS
) -> InvitationRow:
    """Return an invitation that the actor may see.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``invitation.unknown``: it does not exist or the actor may not see it.
    """
    statement = _select_visible(sees_all=actor.sees_all)
    row = tx.fetch_one(statement, uuid=uuid, **viewer_params(tx, actor))
    if row is None or row.scope_kind not in kinds:
        raise NotFound("invitation.unknown")
    return row


def to_address(tx: ReadTransaction, actor: Actor) -> list[InvitationRow]:
    """Return the actor's open invitations: those to the address, in groups those to the account."""
    return tx.fetch_all(_TO_ACTOR, **viewer_params(tx, actor))


def by_uuid(tx: ReadTransaction, uuid: str) -> InvitationRow | None:
    """Return an invitation without a visibility check, to a caller who knows its UUID."""
    return tx.fetch_one(_BY_UUID, uuid=uuid)


def by_uuid_locked(tx: WriteTransaction, uuid: str) -> InvitationRow | None:
    """Return an invitation as ``by_uuid``, with its scope locked before the row is read.

    The invited account is locked too: a change of its address or its deactivation changes the
    invitation as well.
    """
    ids = tx.fetch_one(_SCOPE_AND_ACCOUNT, uuid=uuid)
    if ids is None:
        return None
    lock_scope(tx, ids.scope_id)
    if ids.account_id is not None:
        lock_account(tx, ids.account_id)
    return by_uuid(tx, uuid)


def open_of_account(tx: ReadTransaction, scope: int, account: int) -> InvitationRow | None:
    """Return the open invitation of an account to a group; it may have expired."""
    invitation_id = tx.fetch_one(_OPEN_OF_ACCOUNT, scope=scope, account=account)
    return None if invitation_id is None else by_id(tx, invitation_id)


def accounts_with_open(tx: ReadTransaction, scope: int, accounts: Collection[int]) -> set[int]:
    """Return the accounts among these that have an open invitation to a group."""
    return set(tx.fetch_all(_ACCOUNTS_WITH_OPEN, scope=scope, accounts=list(accounts), now=tx.now))


def open_to(tx: ReadTransaction, scope: int, emails: Collection[str]) -> list[OpenInvitation]:
    """Return the open invitations to some addresses in a scope, oldest first.

    Args:
        emails: in comparable form.
    """
    return tx.fetch_all(_OPEN_TO_EMAILS, scope=scope, emails=list(emails), now=tx.now)


def by_id(tx: ReadTransaction, invitation_id: int) -> InvitationRow | None:
    """Return an invitation by id, without a visibility check."""
    return tx.fetch_one(_BY_ID, id=invitation_id)


def mailed(tx: ReadTransaction, ids: Collection[int]) -> dict[int, MailedInvitation]:
    """Return invitations by id, without a visibility check, for the e-mails to invited people."""
    return {row.id: row for row in tx.fetch_all(_MAILED, ids=list(ids))}


def existing(tx: ReadTransaction, key: int | str) -> InvitationRow:
    """Return an invitation that exists, by its id or UUID, without a visibility check."""
    if isinstance(key, int):
        return tx.fetch_only(_BY_ID, id=key)
    return tx.fetch_only(_BY_UUID, uuid=key)


def offer_of(row: RoleInScope) -> Offer:
    """Return what an invitation offers."""
    return Offer((row.role_id,), row.role_is_active)


def _with_comparable(values: Mapping[str, Any]) -> Mapping[str, Any]:
    if "email" not in values:
        return values
    return {
        **values,
        "email_comparable": comparable_address(values["email"]),
        "email_search": account_search.addresses_of(values["email"]),
    }


def add_all(tx: WriteTransaction, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Insert invitations and return their ids, in order.

    Args:
        rows: columns, the same in all rows; with ``account_id`` for an invitation to a group, whose
            scope the caller has locked.

    Raises:
        NotFound: ``scope.unknown`` if the scope was deleted in the meantime.
        Conflict: ``group.no_account`` if the account was deactivated in the meantime.
    """
    values = [dict(_with_comparable(row)) for row in rows]
    if not values:
        return []
    ids = tx.execute_many(_insert(tuple(sorted(values[0]))), values)
    if len(ids) < len(values) and "account_id" in values[0]:
        raise Conflict("group.no_account")
    if len(ids) < len(values):
        raise NotFound("scope.unknown")
    return ids


def set_state(
    tx: WriteTransaction, invitation: InvitationRow, state: State, **changes: Any
) -> None:
    """Change an invitation by compare-and-set.

    It must have the state, link version and address that were read. The address changes when the
    invited account is deleted.

    Raises:
        Conflict: ``invitation.wrong_state`` if another transaction has changed it first.
    """
    values = _with_comparable({"state": state.value, **changes})
    updated = tx.execute(
        _update_if_unchanged(tuple(sorted(values))),
        invitation=invitation.id,
        expected_state=invitation.state,
        expected_version=invitation.link_version,
        expected_email=invitation.email,
        **values,
    )
    if not updated:
        raise Conflict("invitation.wrong_state", state=invitation.state)


def cancel_others(tx: WriteTransaction, invitation: InvitationRow, email: str) -> list[str]:
    """Cancel the other open invitations of a person to the same role and scope; return the UUIDs.

    Args:
        invitation: the accepted one, which stays.
        email: the account's own address, in addition to the invited one.
    """
    return tx.fetch_all(
        _CANCEL_OTHERS,
        scope=invitation.scope_id,
        role=invitation.role_id,
        excluded_id=invitation.id,
        invited_email=comparable_address(invitation.email),
        account_email=comparable_address(email),
    )


def cancel_open(tx: WriteTransaction, ids: Collection[int]) -> list[str]:
    """Cancel those of the invitations that are not decided yet; return their UUIDs."""
    return tx.fetch_all(_CANCEL_OPEN, ids=list(ids))


def close(tx: WriteTransaction, **targets: int) -> list[CanceledInvitation]:
    """Cancel the open invitations of an ``account``, to a ``scope``, or of both; return them."""
    statement = _close(in_scope="scope" in targets, of_account="account" in targets)
    return tx.fetch_all(statement, **targets)


def has_mail_of_other(tx: ReadTransaction, invitation: InvitationRow, kind: str) -> bool:
    """Return whether such an e-mail is queued or sent for another invitation to the address."""
    email = comparable_address(invitation.email)
    return tx.fetch_only(_HAS_MAIL_OF_OTHER, email=email, excluded_id=invitation.id, kind=kind)


def clear_invitee_deactivated(tx: WriteTransaction, account: int) -> None:
    """Clear ``invitee_deactivated_at`` of the invitations to an account that is active again."""
    tx.execute(_CLEAR_INVITEE_DEACTIVATED, account=account)


def delete_row(tx: WriteTransaction, invitation: int) -> None:
    """Delete an invitation's row; its events remain."""
    tx.execute(_DELETE, invitation=invitation)
