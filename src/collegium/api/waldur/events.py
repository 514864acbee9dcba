"""Audit log: ``/api/events/``. Each reader sees as much as the rest of this API shows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from collegium.access.rules import ScopeKind
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.db.database import ReadTransaction
from collegium.events import queries as event_queries
from collegium.events.queries import EventRow
from collegium.events.types import BY_KIND
from collegium.events.visibility import View
from collegium.refusals import NotFound
from collegium.values import hex_uuid, invalid

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


_EVENTS: Final = {event.waldur_type: event for event in BY_KIND.values() if event.message}
"""Event type of this API → our class. The events of groups are not in this API."""

_GROUPS: Final = {
    group: sorted(name for name, event in _EVENTS.items() if event.group == group)
    for group in sorted({event.group for event in _EVENTS.values()})
}

_SAME: Final = (
    "username slug email first_name last_name native_name job_title phone_number organization "
    "registration_method identity_source notifications_enabled preferred_language affiliations "
    "civil_number birth_date description is_staff is_support is_active token_lifetime "
    "gender personal_title place_of_birth address country_of_residence nationality nationalities "
    "organization_country organization_type organization_registry_code organization_vat_code "
    "organization_address eduperson_assurance uid_number primary_gid managed_isds active_isds "
    "is_identity_manager can_use_personal_access_tokens deactivation_reason"
)
_ACCOUNT_FIELDS: Final = {
    **{name: name for name in _SAME.split()},
    "agreed_at": "agreement_date",
    "picture": "image",
}
"""Columns of an account whose changes are shown, with their names in this API."""

_HIDDEN_FIELDS: Final = frozenset({"token_lifetime", "picture"})
"""Columns among these whose values are never shown."""

ACCOUNT_FIELDS: Final = {
    name: column for column, name in _ACCOUNT_FIELDS.items() if column not in _HIDDEN_FIELDS
}
"""Fields of an account in this API whose changes are shown with their values, with their columns.
"""

_SCOPE_FIELDS: Final = {"accounting_started_at": "accounting_start_date"}
"""Columns of an organisation or a project that have other names in this API."""


def _context(view: View, row: EventRow) -> dict[str, Any]:
    context: dict[str, Any] = {}
    if view.has_scope:
        context |= _scope(row)
    if view.has_account and row.account_id is not None:
        context |= _affected(row, with_name=view.has_full_name)
    if view.has_actor and row.actor_name:
        context |= _account("user", row.actor_uuid, row.actor_deleted_at, row.actor_username)
        context["user_full_name"] = row.actor_name
    if view.has_origin:
        origin = {"ip_address": row.ip_address, "request_id": row.request_id}
        context |= {key: value for key, value in origin.items() if value}
    if view.impersonator:
        context["impersonated_by_full_name"] = view.impersonator
    for name, value in view.facts.items():
        if name == "changes" and row.account_id is not None:
            context |= _changes(value)
        elif name == "fields":
            context["fields"] = [_SCOPE_FIELDS.get(field, field) for field in value]
        else:
            context[view.event.facts[name].key] = value
    return context


def _scope(row: EventRow) -> dict[str, Any]:
    context = {
        "scope_type": schemas.KINDS[ScopeKind(row.scope_kind or "")],
        "scope_uuid": row.scope_uuid,
        "scope_name": row.scope_name,
        "customer_uuid": row.organisation_uuid,
        "customer_name": row.organisation_name,
    }
    if row.scope_kind == ScopeKind.PROJECT:
        context |= {"project_uuid": row.scope_uuid, "project_name": row.scope_name}
    return context


def _affected(row: EventRow, *, with_name: bool) -> dict[str, Any]:
    name = f"{row.account_first_name} {row.account_last_name}".strip()
    return {
        **_account("affected_user", row.account_uuid, row.account_deleted_at, row.account_username),
        **({"affected_user_full_name": name} if with_name and name else {}),
    }


def _account(
    prefix: str, uuid: str | None, deleted: datetime | None, name: str | None
) -> dict[str, Any]:
    if uuid is None:
        return {}
    # A deleted account has no user name any more. Its former user name is among the facts.
    username = {f"{prefix}_username": name} if deleted is None else {}
    return {f"{prefix}_uuid": uuid, **username}


def _changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    names = {name: _ACCOUNT_FIELDS[name] for name in changes if name in _ACCOUNT_FIELDS}
    return {
        "fields": sorted(names.values()),
        "changes": {
            key: changes[name] for name, key in names.items() if name not in _HIDDEN_FIELDS
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


def _render_event(request_context: RequestContext, row: EventRow) -> Event:
    view = View(request_context.actor, row)
    context = _context(view, row)
    return Event(
        id=row.id,
        uuid=row.uuid,
        created=row.created_at,
        event_type=view.event.waldur_type or row.kind.replace(".", "_"),
        message=_message(view.event.message, context),
        context=context,
    )


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
        for name, event in _EVENTS.items()
        if (types is None or name in types) and (groups is None or event.group in groups)
    )


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
