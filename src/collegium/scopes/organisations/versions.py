"""Versions of an organisation: what its columns were after each change.

The audit log keeps what each change replaced. Starting from the present values, the changes are
undone one after the other, the newest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Integer, and_, bindparam, func, literal_column, or_, select

from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import BigInt, accounts, events
from collegium.events.types import OrganisationCreated, OrganisationUpdated
from collegium.scopes.organisations.queries import OrganisationRow

_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _VersionEvent:
    id: int
    created_at: datetime
    kind: str
    payload: dict[str, Any]
    actor_uuid: str | None
    actor_username: str | None
    actor_name: str


class Version(NamedTuple):
    """An organisation after one change.

    Args:
        id: id of the event, which grows with time.
        is_first: whether the organisation was created then.
        fields: columns that were sent with the change, in alphabetical order.
        actor: UUID, user name and full name of the person who changed it; None for the server, or
            if the account was deleted.
        values: the columns in their form for JSON. A column is missing if the audit log does not
            tell its value of that time.
    """

    id: int
    at: datetime
    is_first: bool
    fields: tuple[str, ...]
    actor: tuple[str, str, str] | None
    values: Mapping[str, Any]


_of_organisation = and_(
    events.c.scope_id == bindparam("scope", type_=BigInt),
    or_(
        *(
            events.c.kind == literal_column(f"'{event.kind}'")
            for event in (OrganisationCreated, OrganisationUpdated)
        )
    ),
)
_count = select(func.count().label("count")).select_from(events).where(_of_organisation)
_COUNT_SINCE = Statement[int](
    _count.where(events.c.created_at >= bindparam("since", type_=UtcDateTime))
)
_COUNT_AFTER = Statement[int](
    _count.where(events.c.created_at > bindparam("after", type_=UtcDateTime))
)
_NEWEST = Statement[_VersionEvent](
    select(
        events.c.id,
        events.c.created_at,
        events.c.kind,
        events.c.payload,
        events.c.actor_name,
        accounts.c.uuid.label("actor_uuid"),
        accounts.c.username.label("actor_username"),
    )
    .outerjoin(accounts, and_(accounts.c.id == events.c.actor_id, accounts.c.deleted_at.is_(None)))
    .where(_of_organisation)
    .order_by(events.c.created_at.desc(), events.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
)


def json_value(value: object) -> Any:
    """Return the value of a column in its form for JSON."""
    return msgspec.to_builtins(value)


def count_since(tx: ReadTransaction, organisation: int, since: datetime | None = None) -> int:
    """Return the number of versions of an organisation.

    Args:
        organisation: its id.
        since: earlier versions do not count, UTC.
    """
    return tx.fetch_only(_COUNT_SINCE, scope=organisation, since=since or _FIRST)


def count_after(tx: ReadTransaction, organisation: int, after: datetime) -> int:
    """Return the number of versions of an organisation that are later than a time, UTC."""
    return tx.fetch_only(_COUNT_AFTER, scope=organisation, after=after)


def newest(
    tx: ReadTransaction, organisation: OrganisationRow, size: int, skip: int = 0
) -> list[Version]:
    """Return versions of an organisation, the newest first.

    Args:
        organisation: the present row, which the actor may see.
        size: number of versions.
        skip: number of newer versions to leave out.
    """
    values = {name: json_value(value) for name, value in organisation._asdict().items()}
    versions = []
    for number, event in enumerate(tx.fetch_all(_NEWEST, scope=organisation.id, limit=skip + size)):
        if number >= skip:
            versions.append(_version(event, dict(values)))
        _undo(event.payload, values)
    return versions


def _undo(payload: Mapping[str, Any], values: dict[str, Any]) -> None:
    replaced = payload.get("replaced")
    if replaced is None:
        # Earlier releases kept only the names of the columns.
        for name in payload.get("fields", ()):
            values.pop(name, None)
    else:
        # A column that is unknown after the change is known before it.
        values.update(replaced)


def _version(event: _VersionEvent, values: Mapping[str, Any]) -> Version:
    actor = None
    if event.actor_uuid is not None and event.actor_username is not None:
        actor = (event.actor_uuid, event.actor_username, event.actor_name)
    return Version(
        id=event.id,
        at=event.created_at,
        is_first=event.kind == OrganisationCreated.kind,
        fields=tuple(event.payload.get("fields", ())),
        actor=actor,
        values=values,
    )
