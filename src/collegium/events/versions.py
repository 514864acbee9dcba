"""Versions of an object: what its columns were after each change.

The audit log keeps what each change replaced. Starting from the present values, the changes are
undone one after the other, the newest first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Integer, and_, bindparam, func, literal_column, or_, select

from collegium.db.database import ReadTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, UtcDateTime, as_dict
from collegium.db.tables import BigInt, accounts, events
from collegium.events.event import Event

_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _VersionEvent:
    id: int
    created_at: datetime
    kind: str
    payload: dict[str, Any]
    actor_uuid: str | None
    actor_username: str | None
    actor_name: str


class Change(NamedTuple):
    """What an event says about columns.

    Args:
        fields: columns that were sent with the change.
        replaced: column to its former value in its form for JSON; None if it is not known.
    """

    fields: tuple[str, ...]
    replaced: Mapping[str, Any] | None


class Version(NamedTuple):
    """An object after one change.

    Args:
        id: id of the event, which grows with time.
        is_first: whether the object was created then.
        fields: columns that were sent with the change.
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


def json_value(value: object) -> Any:
    """Return the value of a column in its form for JSON."""
    return msgspec.to_builtins(value)


class History:
    """The versions of one kind of object."""

    def __init__(
        self,
        key: ColumnElement[int],
        created: type[Event],
        changes: Mapping[type[Event], Callable[[Mapping[str, Any]], Change]],
    ) -> None:
        """Describe what the audit log says about such objects.

        Args:
            key: the column of events with the id of the object.
            created: the event of the creation.
            changes: event to the function from its payload to the change.
        """
        self._created = created.kind
        self._changes = {event.kind: change for event, change in changes.items()}
        of_object = and_(
            key == bindparam("object", type_=BigInt),
            or_(
                *(
                    events.c.kind == literal_column(f"'{kind}'")
                    for kind in (self._created, *self._changes)
                )
            ),
        )
        count = select(func.count().label("count")).select_from(events).where(of_object)
        self._count_since = Statement[int](
            count.where(events.c.created_at >= bindparam("since", type_=UtcDateTime))
        )
        self._count_after = Statement[int](
            count.where(events.c.created_at > bindparam("after", type_=UtcDateTime))
        )
        self._newest = Statement[_VersionEvent](
            Relations(
                events,
                actor=Relation(
                    accounts,
                    on=and_(accounts.c.id == events.c.actor_id, accounts.c.deleted_at.is_(None)),
                    is_outer=True,
                ),
            )
            .select(_VersionEvent)
            .where(of_object)
            .order_by(events.c.created_at.desc(), events.c.id.desc())
            .limit(bindparam("limit", type_=Integer))
        )

    def count_since(self, tx: ReadTransaction, key: int, since: datetime | None = None) -> int:
        """Return the number of versions of an object.

        Args:
            key: id of the object.
            since: earlier versions do not count, UTC.
        """
        return tx.fetch_only(self._count_since, object=key, since=since or _FIRST)

    def count_after(self, tx: ReadTransaction, key: int, after: datetime) -> int:
        """Return the number of versions of an object that are later than a time, UTC."""
        return tx.fetch_only(self._count_after, object=key, after=after)

    def newest(self, tx: ReadTransaction, row: Any, size: int, skip: int = 0) -> list[Version]:
        """Return versions of an object, the newest first.

        Args:
            row: the present row, with an ``id``, which the actor may see.
            size: number of versions.
            skip: number of newer versions to leave out.
        """
        values = {
            name: json_value(value)
            for name, value in as_dict(row).items()
            if not isinstance(value, bytes)
        }
        versions = []
        found = tx.fetch_all(self._newest, object=row.id, limit=skip + size)
        for number, event in enumerate(found):
            if event.kind == self._created:
                change = Change((), {})
            else:
                change = self._changes[event.kind](event.payload)
            if number >= skip:
                versions.append(self._version(event, change.fields, dict(values)))
            if change.replaced is None:
                for name in change.fields:
                    values.pop(name, None)
            else:
                # A column that is unknown after the change is known before it.
                values.update(change.replaced)
        return versions

    def _version(
        self, event: _VersionEvent, fields: tuple[str, ...], values: Mapping[str, Any]
    ) -> Version:
        actor = None
        if event.actor_uuid is not None and event.actor_username is not None:
            actor = (event.actor_uuid, event.actor_username, event.actor_name)
        return Version(
            id=event.id,
            at=event.created_at,
            is_first=event.kind == self._created,
            fields=fields,
            actor=actor,
            values=values,
        )
