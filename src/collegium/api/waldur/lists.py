"""Lists in this API: bare JSON arrays, with the count and the page links in headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from collegium.access.rules import Actor
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response
from collegium.api.resources import Resource, ResourceList
from collegium.api.waldur import filters as filters_of
from collegium.caching import cache_short
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import R
from collegium.lists.listing import Listing
from collegium.refusals import NotFound, or_not_found
from collegium.security.rate_limits.rules import Limit
from collegium.values import whole_number

PAGE: Final = 10
PAGE_MAX: Final = 300

encode = msgspec.json.Encoder().encode


def read(context: RequestContext, resources: ResourceList) -> dict[str, Any]:
    """Return the values of a list's query parameters, by the names of its filters.

    Raises:
        BadRequestError: with the errors of all parameters.
    """
    return filters_of.read(context, resources.parameters, resources.orders)


def respond(
    context: RequestContext,
    tx: ReadTransaction,
    resources: ResourceList,
    values: Mapping[str, Any] | None = None,
    **given: Any,
) -> Response:
    """Return the response with one page of a list.

    Args:
        values: name to value, for the filters; by default those of the request.
        given: further values for ``Resource.fill``.

    Raises:
        BadRequestError: with the errors of all parameters.
        NotFound: ``page.unknown``.
    """
    return respond_page(
        context,
        tx,
        resources.listing,
        lambda rows: resources.resource.fill(context, tx, rows, **given),
        filters=read(context, resources) if values is None else values,
        sparse=resources.resource.sparse,
    )


def respond_page(
    context: RequestContext,
    tx: ReadTransaction,
    listing: Listing[R],
    render: Callable[[Sequence[R]], Sequence[Any]],
    *,
    filters: Mapping[str, Any] | None = None,
    sparse: bool = False,
) -> Response:
    """Return the response with one page of a list.

    Args:
        render: builds the structs for all rows of the page.
        filters: name to value, for the listing's filters.
        sparse: whether the parameter ``field`` selects fields.

    Raises:
        BadRequestError: if the order is wrong.
        NotFound: ``page.unknown``.
    """
    filter_values = filters or {}
    order = ordering(context, listing)
    size, page = _page_size(context), _page_number(context)
    rows = None
    if page == 1 and context.method != "HEAD":
        rows = listing.page(tx, context.actor, filter_values, order, size, 0)
        total = listing.total(tx, context.actor, filter_values, rows, size, 0)
    else:
        total = listing.count(tx, context.actor, filter_values)
    page, headers = _headers(context, total, size, page)
    if context.method == "HEAD":
        return Response(200, b"", headers)
    if rows is None:
        rows = listing.page(tx, context.actor, filter_values, order, size, (page - 1) * size)
    structs: Any = render(rows)
    if sparse and context.query.get("field"):
        structs = [fields(context, struct) for struct in structs]
    return Response(200, encode(structs), headers)


def empty(context: RequestContext) -> Response:
    """Return the response with the first page of a list that has no rows.

    Raises:
        NotFound: ``page.unknown``.
    """
    return respond_slice(context, 0, lambda _size, _skip: [])


def respond_slice(
    context: RequestContext, total: int, load: Callable[[int, int], Sequence[Any]]
) -> Response:
    """Return the response with one page of a sequence that is no ``Listing``.

    Args:
        total: length of the sequence.
        load: returns at most a number of structs, after another number of skipped ones.

    Raises:
        NotFound: ``page.unknown``.
    """
    size = _page_size(context)
    page, headers = _headers(context, total, size, _page_number(context))
    if context.method == "HEAD":
        return Response(200, b"", headers)
    skip = (page - 1) * size
    return Response(200, encode(load(min(size, total - skip), skip)), headers)


def detail(
    context: RequestContext,
    tx: ReadTransaction,
    resource: type[Resource],
    row: object,
    status: int = 200,
    **given: Any,
) -> Response:
    """Return the response with one object; the parameter ``field`` selects fields when reading.

    Args:
        given: further values for ``Resource.fill``.
    """
    (struct,) = resource.fill(context, tx, [row], **given)
    is_sparse = resource.sparse and context.method in {"GET", "HEAD"}
    return Response(status, encode(fields(context, struct) if is_sparse else struct))


def endpoint(
    resources: ResourceList,
    summary: str,
    handler: Callable[[RequestContext, ReadTransaction], Response] | None = None,
    *,
    public: bool = False,
) -> Endpoint:
    """Return the endpoint of a list.

    Args:
        handler: returns the response; by default that of ``respond``.
        public: whether it may be called without credentials.
    """
    return Endpoint(
        handler or (lambda context, tx: respond(context, tx, resources)),
        summary,
        public=public,
        reads_db=public,
        response_type=resources.resource,
        is_list=True,
        filters=resources.parameters,
        orders=resources.orders,
        sparse_fields=resources.resource.sparse,
    )


def retrieve(
    resource: type[Resource],
    load: Callable[[ReadTransaction, Actor, str], object],
    noun: str,
    summary: str,
    *,
    public: bool = False,
) -> Endpoint:
    """Return the endpoint that shows one object.

    Args:
        load: returns the row of an object that the actor may see, by its UUID.
        noun: the kind of object in the error for a wrong UUID.
        public: whether it may be called without credentials.
    """
    return Endpoint(
        lambda context, tx: detail(
            context, tx, resource, load(tx, context.actor, context.uuid(noun))
        ),
        summary,
        public=public,
        reads_db=public,
        response_type=resource,
        sparse_fields=resource.sparse,
    )


def updates(
    handler: Callable[[RequestContext], Response],
    summary: str,
    partial_summary: str,
    *,
    body: Mapping[str, Any],
    response_type: type[Resource],
    limits: tuple[Limit, ...] = (),
) -> dict[str, Endpoint]:
    """Return the endpoints that change an object: PUT all its fields, PATCH those that are sent.

    Args:
        partial_summary: that of PATCH.
        limits: as of ``Endpoint``.
    """
    endpoint = Endpoint(handler, summary, body=body, response_type=response_type, limits=limits)
    return {"PUT": endpoint, "PATCH": replace(endpoint, summary=partial_summary, partial=True)}


def delete(
    action: Callable[[WriteTransaction, Actor, str], object], noun: str, summary: str
) -> Endpoint:
    """Return the endpoint that deletes one object.

    Args:
        action: deletes the object with a UUID.
        noun: the kind of object in the error for a wrong UUID.
    """

    def handle(context: RequestContext) -> Response:
        with context.write() as tx:
            action(tx, context.actor, context.uuid(noun))
        return Response(204)

    return Endpoint(handle, summary, status=204)


def fields(context: RequestContext, struct: Any) -> Any:
    """Return only the fields that the parameter ``field`` names, if it names a known one."""
    names = context.query.get("field")
    if not names:
        return struct
    write_only = getattr(struct, "write_only", ())
    selected = [name for name in names if name in struct.__struct_fields__ or name in write_only]
    if not selected:
        return struct
    values = {name: getattr(struct, name) for name in selected if name not in write_only}
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}


def ordering(context: RequestContext, listing: Listing[Any]) -> tuple[str, ...]:
    """Return the order from the parameter ``o``.

    For a list with filters, ``filters.read`` has reported a wrong order together with all other
    errors.

    Raises:
        BadRequestError: if the order is wrong.
    """
    names = filters_of.ordering(context)
    if not names:
        return ()
    errors = filters_of.bad_orders(context, listing.orders)
    if errors:
        raise BadRequestError({"o": errors})
    # Sorting by the same column again cannot change the order, so only its unique use is kept.
    unique: dict[str, str] = {}
    for name in names:
        unique.setdefault(name.removeprefix("-"), name)
    return tuple(unique.values())


def _headers(
    context: RequestContext, total: int, size: int, page: int | None
) -> tuple[int, dict[str, str]]:
    """Return the number of the page, and the headers with the count and the links.

    Args:
        page: None for the last page.

    Raises:
        NotFound: ``page.unknown``.
    """
    last = max(1, -(-total // size))
    page = last if page is None else page
    if page > last:
        raise NotFound("page.unknown")
    return page, {"X-Result-Count": str(total), "Link": _links(context, page, last)}


def _page_size(context: RequestContext) -> int:
    text = context.query.get("page_size", [""])[-1].strip()
    if not (text.isascii() and text.isdigit()) or int(text[:9]) < 1:
        return PAGE
    return min(int(text[:9]), PAGE_MAX)


def _page_number(context: RequestContext) -> int | None:
    """Return the number of the requested page; None: the last page.

    Raises:
        NotFound: ``page.unknown``.
    """
    if "page" not in context.query:
        return 1
    text = context.query["page"][-1].strip() or "1"
    if text == "last":
        return None
    # No list has so many pages that their number needs more than nine digits. There is no page 0.
    return or_not_found(whole_number(text, 9) or None, "page.unknown")


@cache_short(maxsize=1024)
def _split_url(path: str, query: str) -> tuple[str, str]:
    """Return the quoted path of a list, and its query string without the page."""
    pairs = [(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if k != "page"]
    return quote(path), urlencode(pairs, quote_via=quote, safe="")


def _links(context: RequestContext, page: int, last: int) -> str:
    # Commas and semicolons separate the parts of this header, and the official client splits it
    # without parsing URLs. So URLs contain them as %2C and %3B.
    path, base_query = _split_url(context.path, context.raw_query)
    path = context.base + path

    def link(number: int, relation: str) -> str:
        query = "&".join(
            part for part in (base_query, f"page={number}" if number > 1 else "") if part
        )
        return f'<{path}{"?" if query else ""}{query}>; rel="{relation}"'

    parts = [link(1, "first")]
    if page > 1:
        parts.append(link(page - 1, "prev"))
    if page < last:
        parts.append(link(page + 1, "next"))
    parts.append(link(last, "last"))
    return ", ".join(parts)
