"""Begin a download, and read its rows in batches, each in a read transaction of its own.

Nobody holds a transaction open while a file is sent, however slowly it is read. What the reader may
see is decided again for each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from collegium.access.queries import ScopeAccess, get_visible_by_id
from collegium.access.rules import KINDS, Actor, Permission, ScopeKind, has_permission
from collegium.accounts.queries import join_names
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.events.queries import EventRow
from collegium.events.visibility import View
from collegium.exports.rules import Format, Subject
from collegium.invitations import queries as invitation_queries
from collegium.invitations.queries import InvitationRow
from collegium.invitations.rules import effective_state
from collegium.lists.listing import Listing
from collegium.memberships import queries as membership_queries
from collegium.memberships.queries import TeamRow
from collegium.refusals import Forbidden
from collegium.sign_in import credentials

BATCH: Final = 1000
"""Maximum number of rows of one transaction."""

KEYS: Final = 20_000
"""Number of keys that are read at once, as small numbers; a read goes through the whole list."""

Row = dict[str, Any]
Filters = Mapping[str, Any]

_EVENTS: Final = {
    Subject.MEMBERS: events.MembersExported,
    Subject.INVITATIONS: events.InvitationsExported,
    Subject.HISTORY: events.HistoryExported,
}


class Export(NamedTuple):
    """A download.

    Args:
        actor: the reader.
        scope: id of the scope.
        filters: filters of the list, as of its ``Listing``, except the scope.
    """

    actor: Actor
    scope: int
    subject: Subject
    filters: Mapping[str, Any]


def check_may_read(actor: Actor, access: ScopeAccess, subject: Subject) -> None:
    """Require that the actor may open the list, as its page does.

    Raises:
        Forbidden: ``permission.missing``.
    """
    needed = (Permission.INVITATION_LIST, KINDS[access.scope.kind].grant)
    if subject is Subject.INVITATIONS and not (
        actor.sees_all or has_permission(actor, access.permissions, *needed)
    ):
        raise Forbidden("permission.missing")


def begin(tx: WriteTransaction, export: Export, file_format: Format) -> None:
    """Check that the actor may read the list, and record who downloads it.

    Raises:
        NotFound: ``<kind>.unknown``, ``scope.unknown``: the scope is gone or hidden.
        Forbidden: ``permission.missing``.
    """
    access = get_visible_by_id(tx, export.actor, export.scope)
    check_may_read(export.actor, access, export.subject)
    event = _EVENTS[export.subject](
        scope=export.scope, export_format=file_format.value, export_filters=sorted(export.filters)
    )
    event_queries.record(tx, export.actor, event)


def batches(
    read: Callable[[], AbstractContextManager[ReadTransaction]], export: Export
) -> Iterator[list[Row]]:
    """Yield the rows in batches, in the order in which they were made.

    Each batch takes the same number of statements, one more when keys are needed. What is added
    while the file is sent comes last; what is removed meanwhile may be missing.

    Args:
        read: opens a read transaction.

    Raises:
        Unauthenticated, NotFound, Forbidden: the actor has lost the session or the right meanwhile.
    """
    keys: Sequence[int] = ()
    last, is_end = 0, False
    while not is_end:
        with read() as tx:
            credentials.check(tx, export.actor)
            access = get_visible_by_id(tx, export.actor, export.scope)
            check_may_read(export.actor, access, export.subject)
            filters = _filters(export, access)
            if not keys:
                keys = _LISTS[export.subject].keys(tx, export.actor, filters, KEYS, last)
                is_end = len(keys) <= BATCH
            batch, keys = keys[:BATCH], keys[BATCH:]
            reader = _READERS[export.subject]
            found = reader(tx, export.actor, filters, batch) if batch else []
        last = batch[-1] if batch else last
        if found:
            yield found


_LISTS: Final[Mapping[Subject, Listing[Any]]] = {
    Subject.MEMBERS: membership_queries.of_scope,
    Subject.INVITATIONS: invitation_queries.of_scope,
    Subject.HISTORY: event_queries.of_scope,
}


def _filters(export: Export, access: ScopeAccess) -> Filters:
    """Return the filters of the list, with the scope."""
    scope = access.scope
    own: dict[Subject, dict[str, Any]] = {
        Subject.MEMBERS: {"scope": scope.id},
        Subject.INVITATIONS: {"scope_id": scope.id},
        Subject.HISTORY: {"scope_id": (ScopeKind(scope.kind), scope.id)},
    }
    return {**export.filters, **own[export.subject]}


def _members(tx: ReadTransaction, actor: Actor, filters: Filters, keys: Sequence[int]) -> list[Row]:
    rows: list[TeamRow] = membership_queries.of_scope.batch(tx, actor, filters, keys)
    return [
        {
            "name": _name(row),
            "email": row.email,
            "role": row.role_description or row.role_name,
            "since": row.valid_from.isoformat(),
            "until": row.valid_until.isoformat() if row.valid_until else "",
            "added_by": _name(row, "granted_by_"),
        }
        for row in rows
    ]


def _invitations(
    tx: ReadTransaction, actor: Actor, filters: Filters, keys: Sequence[int]
) -> list[Row]:
    rows: list[InvitationRow] = invitation_queries.of_scope.batch(tx, actor, filters, keys)
    return [
        {
            "email": row.email,
            "name": row.full_name,
            "role": row.role_description or row.role_name,
            "state": effective_state(row.state, row.expires_at, tx.now).value,
            "expires": row.expires_at.isoformat(),
            "invited_by": _name(row, "creator_"),
            "invited": row.created_at.isoformat(),
        }
        for row in rows
    ]


def _history(tx: ReadTransaction, actor: Actor, filters: Filters, keys: Sequence[int]) -> list[Row]:
    rows: list[EventRow] = event_queries.of_scope.batch(tx, actor, filters, keys)
    return [_event(actor, row) for row in rows]


def _event(viewer: Actor, row: EventRow) -> Row:
    """Return an event as far as the reader may see it."""
    view = View(viewer, row)
    return {
        "time": row.created_at.isoformat(),
        # What the page does not describe stays unnamed here.
        "event": row.kind if view.event.sentence else "",
        "scope": (row.scope_name or "") if view.has_scope else "",
        "actor": row.actor_name if view.has_actor else "",
        "impersonator": view.impersonator,
        "person": (view.account_full_name or view.account_username) if view.has_account else "",
        "details": view.facts,
    }


_READERS: Final = {
    Subject.MEMBERS: _members,
    Subject.INVITATIONS: _invitations,
    Subject.HISTORY: _history,
}


def _name(row: Any, prefix: str = "") -> str:
    """Return the full name of an account of a row, else its user name."""
    first, last, username = (
        getattr(row, f"{prefix}{part}") or "" for part in ("first_name", "last_name", "username")
    )
    return join_names(first, last) or username
