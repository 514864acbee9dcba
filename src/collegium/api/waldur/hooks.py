"""Endpoints for hooks: ``/api/hooks/``, ``/api/hooks-web/``, ``/api/hooks-email/``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from msgspec import UNSET, UnsetType
from sqlalchemy import ColumnElement, String, bindparam, or_

from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Constant, Lookup, Resource, ResourceList, Source, field, link
from collegium.api.waldur import filters, lists
from collegium.api.waldur.event_rendering import EVENTS
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.lookups import BOOLEAN, EXACT, SINCE, UUID, fixed
from collegium.db.database import ReadTransaction
from collegium.db.statements import Position, contains, like_pattern
from collegium.db.tables import accounts, hooks
from collegium.hooks import actions as hook_actions
from collegium.hooks import queries as hook_queries
from collegium.hooks.rules import EVENTS_MAX, GROUPS, URL_MAX, ContentType, Kind, check_events
from collegium.integrations import hook_endpoints
from collegium.lists.filters import is_equal
from collegium.lists.listing import Filter
from collegium.refusals import Invalid
from collegium.values import Boolean, Choice, Email, StringList, Text, parse_all

_KINDS: Final = {name: event.kind for name, event in EVENTS.items()}
"""Event type of this API to the stored name of the event."""

_TYPES: Final = {kind: name for name, kind in _KINDS.items()}
_PATHS: Final = {Kind.WEB: "hooks-web", Kind.EMAIL: "hooks-email"}
_NOBODY: Final = "0" * 32
_HOOK_TYPES: Final = {Kind.WEB.value: "webhook", Kind.EMAIL.value: "email"}


@dataclass(frozen=True, kw_only=True)
class Words(StringList):
    """A list of words of a set; the values are those of the words.

    Args:
        of: word to value.
    """

    of: Any = ()

    def parse(self, raw: Any) -> list[str]:
        """Return the values of the words, sorted and without duplicates."""
        return sorted(set(parse_all(Choice(of=self.of).parse, super().parse(raw))))

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array of words."""
        return {**super().schema(), "items": Choice(of=self.of).schema()}


def _words(of: Any) -> Words:
    return Words(max=100, max_items=EVENTS_MAX, of=of)


def _types_of(kinds: Iterable[str]) -> list[str]:
    """Return event types of this API; events of an earlier release have none."""
    return [_TYPES[kind] for kind in kinds if kind in _TYPES]


def _shown_url(context: RequestContext, author: int, url: str) -> str:
    """Return the URL for its author and staff; it may contain a secret, so support sees less."""
    actor = context.actor
    if actor.is_staff or actor.id == author or not url:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].partition('?')[0]}/…"


def _if_web(context: RequestContext, kind: str, author: int, url: str) -> str | UnsetType:
    return _shown_url(context, author, url) if kind == Kind.WEB else UNSET


def _if_set(text: str) -> str | UnsetType:
    return text or UNSET


class _Common(Resource, frozen=True, gc=False):
    """What all hooks have."""

    uuid: str = field()
    is_active: bool = field(write=Boolean(), filter=BOOLEAN)
    author_uuid: str = field(filter=UUID)
    event_types: list[str] = field("event_kinds", get=_types_of, write=_words(_KINDS))
    event_groups: list[str] = field(write=_words(GROUPS))
    created: datetime = field("created_at")
    modified: datetime = field("modified_at")
    author_fullname: str = field("author_name", filter=EXACT)
    author_username: str = field(filter=EXACT)
    author_email: str = field(filter=EXACT)


class Hook(_Common, frozen=True, gc=False):
    """A hook of either kind."""

    url: str = field(
        Source.CONTEXT,
        "kind",
        "uuid",
        get=lambda context, kind, uuid: f"{context.base}/api/{_PATHS[Kind(kind)]}/{uuid}/",
    )
    hook_type: str = field("kind", get=_HOOK_TYPES.__getitem__)
    destination_url: str | UnsetType = field(
        Source.CONTEXT, "kind", "account_id", "destination_url", get=_if_web, default=UNSET
    )
    content_type: str | UnsetType = field(get=_if_set, default=UNSET)
    email: str | UnsetType = field(get=_if_set, default=UNSET)


class WebHook(_Common, frozen=True, gc=False):
    """A hook that posts events to a URL. The URL may contain a secret."""

    url: str = link("/api/hooks-web/{}/", "uuid")
    hook_type: str = field(Constant(_HOOK_TYPES[Kind.WEB]))
    destination_url: str = field(
        Source.CONTEXT,
        "account_id",
        "destination_url",
        get=_shown_url,
        write=Text(required=True, blank=False, max=URL_MAX, form="uri", source="destination_url"),
        filter=EXACT.on(hooks.c.destination_url),
    )
    content_type: str = field(
        write=Choice(of=list(ContentType)),
        filter=Lookup(filters.ChoiceFilter({name: name for name in ContentType}), is_equal),
    )


class EmailHook(_Common, frozen=True, gc=False):
    """A hook that sends events by e-mail: to its author, or to an address that staff entered."""

    url: str = link("/api/hooks-email/{}/", "uuid")
    hook_type: str = field(Constant(_HOOK_TYPES[Kind.EMAIL]))
    email: str = field(write=Email(required=True, max=254), filter=EXACT)


def _where_query(_form: str, sees_all: bool) -> ColumnElement[bool]:
    """Return the condition of a search. Support sees only the host of a URL, and finds no more."""
    url = hook_queries.destination_host if sees_all else hooks.c.destination_url
    people = (accounts.c.username, accounts.c.first_name, accounts.c.last_name)
    # An address as it is spelled: comparing addresses in another way needs their comparable form.
    address = Position(hook_queries.recipient, bindparam("address", type_=String())) > 0
    return or_(*(contains(column, "query") for column in (*people, url)), address)


_FILTERS: Final = {
    "last_published": SINCE.on(hooks.c.last_sent_at),
    "query": fixed(
        filters.Exact(),
        Filter(lambda value: ("", {"query": like_pattern(value), "address": value}), _where_query),
    ),
}
_ALL: Final = ResourceList(Hook, hook_queries.listing, filters=_FILTERS)
_LISTS: Final = {
    kind: ResourceList(
        resource,
        replace(
            hook_queries.listing,
            rows=hook_queries.listing.rows.where(hooks.c.kind == kind.value),
        ),
        filters=_FILTERS,
    )
    for kind, resource in ((Kind.WEB, WebHook), (Kind.EMAIL, EmailHook))
}


def _list(kind: Kind) -> Callable[[RequestContext, ReadTransaction], Response]:
    def handle(context: RequestContext, tx: ReadTransaction) -> Response:
        values, actor = lists.read(context, _LISTS[kind]), context.actor
        if "destination_url" in values and actor.sees_all and not actor.is_staff:
            # Support does not see the URLs of others, so it finds only its own hooks by them.
            is_own = values.get("author_uuid", actor.uuid) == actor.uuid
            values["author_uuid"] = actor.uuid if is_own else _NOBODY
        return lists.respond(context, tx, _LISTS[kind], values)

    return handle


def _read_form(
    context: RequestContext, body: dict[str, Any], present: hook_queries.HookRow | None = None
) -> Form:
    """Validate a body; look up the host of the URL.

    Args:
        present: the hook that the body changes; None for a new one.

    Raises:
        BadRequestError: with the errors of all fields.
    """
    form = read(context, body, partial=context.method == "PATCH")
    if not {"event_types", "event_groups"} & form.errors.keys():
        names = ("event_kinds", "event_groups")
        try:
            check_events(*(form.values.get(name, getattr(present, name, ())) for name in names))
        except Invalid as refusal:
            form.refuse(refusal)
    if "destination_url" in form.values:
        try:
            hook_endpoints.check(context.settings, form.values["destination_url"])
        except Invalid as refusal:
            form.refuse(refusal)
    return form


def _create(kind: Kind, resource: Any, body: dict[str, Any]) -> Callable[..., Response]:
    def handle(context: RequestContext) -> Response:
        form = _read_form(context, body)
        _check_address(context, form, context.actor.email)
        form.check()
        with context.write() as tx:
            uuid = hook_actions.create(
                tx, context.actor, kind, form.values, settings=context.settings
            )
            row = hook_queries.get_visible(tx, context.actor, kind, uuid)
            return lists.detail(context, tx, resource, row, 201)

    return handle


def _update(kind: Kind, resource: Any, body: dict[str, Any]) -> Callable[..., Response]:
    def handle(context: RequestContext) -> Response:
        uuid = context.uuid("hook")
        with context.read() as tx:
            row = hook_queries.get_visible(tx, context.actor, kind, uuid)
        hook_actions.require_own(context.actor, row)
        form = _read_form(context, body, row)
        _check_address(context, form, row.author_email)
        form.check()
        with context.write() as tx:
            hook_actions.update(tx, context.actor, kind, uuid, form.values)
            row = hook_queries.get_visible(tx, context.actor, kind, uuid)
            return lists.detail(context, tx, resource, row)

    return handle


def _check_address(context: RequestContext, form: Form, author_email: str) -> None:
    try:
        hook_actions.check_address(context.actor, author_email, form.values.get("email", ""))
    except Invalid as refusal:
        form.refuse(refusal)


def _routes(kind: Kind, resource: Any, noun: str) -> Routes:
    body = resource.body()
    path = f"/api/{_PATHS[kind]}/"
    return {
        path: {
            "GET": lists.endpoint(
                _LISTS[kind],
                f"List your {noun} hooks; staff and support see those of everybody.",
                _list(kind),
            ),
            "POST": Endpoint(
                _create(kind, resource, body),
                f"Add a {noun} hook. It gets the events that you can see.",
                body=body,
                response_type=resource,
                status=201,
            ),
        },
        path + "{uuid}/": {
            "GET": lists.retrieve(
                resource,
                lambda tx, actor, uuid: hook_queries.get_visible(tx, actor, kind, uuid),
                "hook",
                f"Show a {noun} hook.",
            ),
            **lists.updates(
                _update(kind, resource, body),
                f"Change a {noun} hook.",
                f"Change some fields of a {noun} hook.",
                body=body,
                response_type=resource,
            ),
            "DELETE": lists.delete(
                lambda tx, actor, uuid: hook_actions.remove(tx, actor, kind, uuid),
                "hook",
                f"Remove a {noun} hook.",
            ),
        },
    }


ROUTES: Routes = {
    "/api/hooks/": {
        "GET": lists.endpoint(
            _ALL, "List your hooks of both kinds; staff and support see those of everybody."
        ),
    },
    **_routes(Kind.WEB, WebHook, "web"),
    **_routes(Kind.EMAIL, EmailHook, "e-mail"),
}
