"""Audit log: ``/api/events/``. Each reader sees as much as the rest of this API shows them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from collegium.access.rules import ScopeKind
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.event_rendering import EVENTS, Event, render
from collegium.db.database import ReadTransaction
from collegium.events import queries as event_queries
from collegium.refusals import NotFound
from collegium.values import hex_uuid, invalid, whole_number


class EventCount(Struct, frozen=True):
    """The number of events."""

    count: int


_GROUPS: Final = {
    group: sorted(name for name, event in EVENTS.items() if event.group == group)
    for group in sorted({event.group for event in EVENTS.values()})
}


class _EpochFilter(filters.FilterType):
    """A time in seconds since 1970 (UTC)."""

    def read(self, texts: Sequence[str]) -> datetime:
        """Return the time as a UTC date-time."""
        try:
            return datetime.fromtimestamp(float(texts[-1]), UTC)
        except (ValueError, OverflowError, OSError):
            raise invalid("number") from None

    def schema(self) -> dict[str, Any]:
        """Return the schema of a number."""
        return {"type": "number"}


class _RefusedFilter(filters.FilterType):
    """A parameter that no query supports; ignoring it would return too many events."""

    def read(self, texts: Sequence[str]) -> None:
        """Refuse the parameter.

        Raises:
            InvalidValueError: always.
        """
        del texts
        raise invalid("not_searched")


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
    return sorted(
        event.kind
        for name, event in EVENTS.items()
        if (types is None or name in types) and (groups is None or event.group in groups)
    )


def _list(request_context: RequestContext, tx: ReadTransaction) -> Response:
    return lists.respond_page(
        request_context,
        tx,
        event_queries.listing,
        lambda rows: [render(request_context.actor, row) for row in rows],
        filters=_read_filters(request_context, event_queries.listing.orders),
        sparse=True,
    )


def _retrieve(request_context: RequestContext, tx: ReadTransaction) -> Response:
    text = request_context.segments["uuid"]
    key: str | int | None = hex_uuid(text)
    if key is None:
        key = whole_number(text)
    row = None if key is None else event_queries.get_visible(tx, request_context.actor, key)
    if row is None or row.scope_kind == ScopeKind.GROUP:
        raise NotFound("event.unknown")
    return Response(
        200, schemas.encode(lists.fields(request_context, render(request_context.actor, row)))
    )


def _count(request_context: RequestContext, tx: ReadTransaction) -> Response:
    number = event_queries.listing.count(tx, request_context.actor, _read_filters(request_context))
    return Response(200, schemas.encode(EventCount(number)), {"X-Result-Count": str(number)})


def _constant(
    value: Mapping[str, Any] | Sequence[str],
) -> Callable[[RequestContext, ReadTransaction], Response]:
    body, count = schemas.encode(value), str(len(value))
    return lambda _context, _tx: Response(200, body, {"X-Result-Count": count})


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
        "GET": Endpoint(_constant(_GROUPS), "List the types of event, by group."),
    },
    "/api/events/scope_types/": {
        "GET": Endpoint(
            _constant(list(schemas.KINDS.values())),
            "List the kinds of scope that events happen in.",
        ),
    },
    "/api/events/{uuid}/": {
        "GET": Endpoint(_retrieve, "Show an event.", response_type=Event, sparse_fields=True),
    },
}
