"""Audit log: ``/api/events/``. Each reader sees as much as the rest of this API shows them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from collegium.access.rules import Actor, ScopeKind
from collegium.api.request import Endpoint, RequestContext, Response, Routes, hex_uuid
from collegium.api.waldur import event_types, filters, lists, schemas
from collegium.api.waldur.event_types import GROUPS, NAMES, TYPES, UNKNOWN, Guard, Type
from collegium.api.waldur.fields import ValidationError
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.events import queries as event_queries
from collegium.refusals import NotFound

_WITHOUT_SCOPE: Final = {"role", "until"}
"""Facts that do not reveal the scope, shown to readers who cannot see the scope any more."""

_ID_DIGITS: Final = 18


class Event(Struct, frozen=True):
    """A recorded event. The official clients request single events by ``id``."""

    id: int
    uuid: str
    created: datetime
    event_type: str
    message: str
    context: dict[str, Any]


class EventCount(Struct, frozen=True):
    """The number of events."""

    count: int


class _Reader:
    """The parts of one event that one reader may see."""

    def __init__(self, viewer: Actor, row: Row, event_type: Type) -> None:
        self.sees_all = viewer.sees_all
        self.is_affected = row.account_id == viewer.id
        self.is_actor = row.actor_id == viewer.id
        self.sees_scope = row.scope_id is not None and (self.sees_all or row.sees_scope)
        self.is_open = row.scope_id is None or self.sees_scope
        self.sees_closed = self.sees_all or (
            self.is_open
            and {
                Guard.NOBODY: False,
                Guard.PERSON: self.is_affected,
                Guard.INVITATIONS: row.reads_invitations,
                Guard.REQUESTS: self.is_affected or row.reads_requests,
            }[event_type.guard]
        )
        # Events of this guard hide the person, because only some readers may know the requester.
        sees_account = self.is_open and (self.sees_closed or event_type.guard is not Guard.REQUESTS)
        self.sees_account = self.sees_all or self.is_affected or sees_account
        self.sees_actor = self.sees_all or self.is_actor or sees_account
        # The event of an impersonated account has the staff member's IP address, so that account
        # does not see the address.
        self.sees_origin = self.sees_all or (self.is_actor and "impersonated_by" not in row.payload)


def _context(viewer: Actor, row: Row, event_type: Type) -> dict[str, Any]:
    reader = _Reader(viewer, row, event_type)
    context: dict[str, Any] = {}
    if reader.sees_scope:
        context |= _scope(row)
    if reader.sees_account and row.account_id is not None:
        context |= _affected(row, with_name=reader.sees_all or reader.is_affected)
    if reader.sees_actor and row.actor_name:
        context |= _account("user", row.actor_uuid, row.actor_deleted_at, row.actor_username)
        context["user_full_name"] = row.actor_name
    if reader.sees_origin:
        context |= {
            key: value
            for key, value in (("ip_address", row.ip_address), ("request_id", row.request_id))
            if value
        }
    if (reader.sees_all or reader.is_actor) and "impersonated_by" in row.payload:
        context["impersonated_by_full_name"] = row.payload["impersonated_by"]
    keys = {**event_type.open, **(event_type.closed if reader.sees_closed else {})}
    for name, key in keys.items():
        value = row.payload.get(name)
        if value not in (None, "") and (reader.is_open or name in _WITHOUT_SCOPE):
            context |= _payload(row, name, key, value, sees_all=reader.sees_all)
    return context


def _scope(row: Row) -> dict[str, Any]:
    kind = schemas.KINDS.get(row.scope_kind, row.scope_kind)
    context = {
        "scope_type": kind,
        "scope_uuid": row.scope_uuid,
        "scope_name": row.scope_name,
        "customer_uuid": row.organisation_uuid,
        "customer_name": row.organisation_name,
    }
    if row.scope_kind == ScopeKind.PROJECT:
        context |= {"project_uuid": row.scope_uuid, "project_name": row.scope_name}
    return context


def _affected(row: Row, *, with_name: bool) -> dict[str, Any]:
    context = _account(
        "affected_user", row.account_uuid, row.account_deleted_at, row.account_username
    )
    name = f"{row.account_first_name} {row.account_last_name}".strip()
    return context | {"affected_user_full_name": name} if with_name and name else context


def _account(prefix: str, uuid: str | None, deleted: datetime | None, name: str) -> dict[str, Any]:
    context = {} if uuid is None else {f"{prefix}_uuid": uuid}
    # A deleted account has no user name any more. Its former user name is among the facts.
    return (
        context if uuid is None or deleted is not None else context | {f"{prefix}_username": name}
    )


def _payload(row: Row, field: str, key: str, value: Any, *, sees_all: bool) -> dict[str, Any]:
    if field == "changes" and row.account_id is not None:
        return _changes(value, sees_all=sees_all)
    if field == "fields":
        names = [event_types.SCOPE_FIELDS.get(name, name) for name in value]
        return {key: [name for name in names if sees_all or name != "staff_notes"]}
    return {key: value}


def _changes(changes: Mapping[str, Any], *, sees_all: bool) -> dict[str, Any]:
    """Return the changes of an account that the reader could see on the account itself."""
    visible = {
        name: value
        for name, value in changes.items()
        if name in event_types.ACCOUNT_FIELDS and (sees_all or name not in event_types.PRIVILEGED)
    }
    names = event_types.ACCOUNT_FIELDS
    return {
        "fields": sorted(names[name] for name in visible),
        "changes": {
            names[name]: value
            for name, value in visible.items()
            if name not in event_types.HIDDEN_FIELDS
        },
    }


_OPTIONAL: Final = re.compile(r"\[([^\]]*)\]")
_KEY: Final = re.compile(r"{(\w+)}")


def _message(template: str, context: Mapping[str, Any]) -> str:
    """Return a message filled from a context.

    Missing keys become ``unknown``; a bracketed part with a missing key is left out.
    """

    def text_of(key: str) -> str:
        value = context.get(key)
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")

    def fill_optional(match: re.Match[str]) -> str:
        return match[1] if all(text_of(key) for key in _KEY.findall(match[1])) else ""

    return _KEY.sub(
        lambda match: text_of(match[1]) or "unknown", _OPTIONAL.sub(fill_optional, template)
    )


def _render_event(request_context: RequestContext, row: Row) -> Event:
    known = TYPES.get(row.kind, UNKNOWN)
    context = _context(request_context.actor, row, known)
    return Event(
        id=row.id,
        uuid=row.uuid,
        created=row.created_at,
        event_type=event_types.name_of(row.kind),
        message=_message(known.template, context),
        context=context,
    )


class _EpochFilter(filters.FilterType):
    """A time in seconds since 1970 (UTC)."""

    def read(self, texts: Sequence[str]) -> datetime:
        """Return the time as a UTC date-time."""
        try:
            return datetime.fromtimestamp(float(texts[-1]), UTC)
        except (ValueError, OverflowError, OSError):
            raise ValidationError("Enter a number.") from None

    def schema(self) -> dict[str, Any]:
        """Return the schema of a number."""
        return {"type": "number"}


class _RefusedFilter(filters.FilterType):
    """A parameter that no query supports; ignoring it would return too many events."""

    def read(self, texts: Sequence[str]) -> None:
        """Refuse the parameter.

        Raises:
            ValidationError: always.
        """
        del texts
        raise ValidationError("Events cannot be searched by this here.")


_SCOPES: Final = {
    "customers": ScopeKind.ORGANISATION.value,
    "projects": ScopeKind.PROJECT.value,
    "users": "account",
}

_FILTERS: Final[dict[str, filters.FilterType]] = {
    "created_from": _EpochFilter(),
    "created_to": _EpochFilter(),
    "customer_uuid": filters.Uuid(),
    "project_uuid": filters.Uuid(),
    "user_uuid": filters.Uuid(),
    "related_user_uuid": filters.Uuid(),
    "scope": filters.ScopeLink(_SCOPES),
    "event_type": filters.MultipleFilter(),
    "feature": filters.MultipleFilter(),
}

_REFUSED: Final = {name: _RefusedFilter() for name in ("message", "auth_method", "pat_uuid")}

_LISTING_NAMES: Final = {
    "customer_uuid": "organisation",
    "project_uuid": "project",
    "user_uuid": "by",
    "related_user_uuid": "related",
}


def _read_filters(
    request_context: RequestContext, orders: Collection[str] | None = None
) -> dict[str, Any]:
    """Return the filters of the request. The events of groups are excluded from this API."""
    values = filters.read(request_context, {**_FILTERS, **_REFUSED}, orders)
    kinds = _matching_kinds(values.pop("event_type", None), values.pop("feature", None))
    listing_filters = {_LISTING_NAMES.get(name, name): value for name, value in values.items()}
    listing_filters["without"] = ScopeKind.GROUP.value
    return listing_filters if kinds is None else listing_filters | {"kinds": kinds}


def _matching_kinds(types: list[str] | None, groups: list[str] | None) -> list[str] | None:
    """Return the kinds of event that match both filters; None if neither filter is set.

    Unknown names match no kind.

    Args:
        types: names of event types in this API.
        groups: names of event groups.
    """
    if types is None and groups is None:
        return None
    names = set(NAMES) if types is None else set(types)
    if groups is not None:
        names &= {name for group in groups for name in GROUPS.get(group, ())}
    return sorted(NAMES[name] for name in names if name in NAMES)


def _list(request_context: RequestContext, tx: ReadTransaction) -> Response:
    return lists.respond_page(
        request_context,
        tx,
        event_queries.listing,
        lambda rows: [_render_event(request_context, row) for row in rows],
        filters=_read_filters(request_context, event_queries.listing.orders),
        sparse=True,
    )


def _retrieve(request_context: RequestContext, tx: ReadTransaction) -> Response:
    text = request_context.segments["uuid"]
    key: str | int | None = hex_uuid(text)
    if key is None and text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS:
        key = int(text)
    row = None if key is None else event_queries.get_visible(tx, request_context.actor, key)
    if row is None or row.scope_kind == ScopeKind.GROUP:
        raise NotFound("event.unknown")
    return Response(
        200, schemas.encode(lists.fields(request_context, _render_event(request_context, row)))
    )


def _count(request_context: RequestContext, tx: ReadTransaction) -> Response:
    number = event_queries.listing.count(tx, request_context.actor, _read_filters(request_context))
    return Response(200, schemas.encode(EventCount(number)), {"X-Result-Count": str(number)})


def _groups(_context: RequestContext, _tx: ReadTransaction) -> Response:
    return Response(200, schemas.encode(GROUPS), {"X-Result-Count": str(len(GROUPS))})


def _scope_types(_context: RequestContext, _tx: ReadTransaction) -> Response:
    names = list(schemas.KINDS.values())
    return Response(200, schemas.encode(names), {"X-Result-Count": str(len(names))})


ROUTES: Routes = {
    "/api/events/": {
        "GET": Endpoint(
            _list,
            "List the events that you can see.",
            response_type=Event,
            is_list=True,
            filters=_FILTERS,
            orders=event_queries.listing.orders,
            sparse_fields=True,
        ),
    },
    "/api/events/count/": {
        "GET": Endpoint(
            _count, "Count the events that you can see.", response_type=EventCount, filters=_FILTERS
        ),
    },
    "/api/events/event_groups/": {
        "GET": Endpoint(_groups, "List the types of event, by group."),
    },
    "/api/events/scope_types/": {
        "GET": Endpoint(_scope_types, "List the kinds of scope that events happen in."),
    },
    "/api/events/{uuid}/": {
        "GET": Endpoint(_retrieve, "Show an event.", response_type=Event, sparse_fields=True),
    },
}
