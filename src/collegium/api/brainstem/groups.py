"""Endpoints for groups: ``/api/…/users/group/``, for signed-in callers and for the public."""

from __future__ import annotations

from typing import Any, Final

from collegium.access.rules import ANONYMOUS, Actor
from collegium.api import limits
from collegium.api.brainstem import bodies, query, schemas
from collegium.api.brainstem.paths import mutating_route, with_aliases
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.db.database import ReadTransaction
from collegium.db.tables import groups, scopes
from collegium.refusals import Invalid
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups import queries as group_queries
from collegium.scopes.groups.queries import GroupRow
from collegium.scopes.groups.rules import NAME_LENGTH
from collegium.security.rate_limits.rules import INVITE, JOIN, PEOPLE

_TABLE: Final = query.Table(
    group_queries.listing,
    {"id": query.integer(scopes.c.id), "name": query.name(scopes.c.name, groups.c.name_casefolded)},
    orders=("id", "name"),
)
_NAME: Final = bodies.Name(required=True, blank=False, max=NAME_LENGTH)
_NEW: Final = {"name": _NAME}
_CHANGE: Final = {
    "name": bodies.Name(blank=False, max=NAME_LENGTH),
    "users": bodies.People(),
}
_READ_ONLY: Final = frozenset(schemas.Group.__struct_fields__)


def _group_response(
    tx: ReadTransaction, actor: Actor, row: GroupRow, status: int = 200, *, shows_all: bool = False
) -> Response:
    (group,) = schemas.groups(tx, actor, [row], shows_all=shows_all)
    return Response(status, schemas.encode(schemas.OneGroup(group)))


def _page_response(
    tx: ReadTransaction,
    actor: Actor,
    result: query.ListResult[GroupRow],
    *,
    shows_all: bool = False,
) -> Response:
    groups = schemas.groups(tx, actor, result.rows, shows_all=shows_all)
    page = schemas.GroupPage(groups, result.meta, result.count, result.next, result.previous)
    return Response(200, schemas.encode(page))


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    return _page_response(tx, context.actor, query.load_page(context, tx, context.actor, _TABLE))


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    return _group_response(tx, context.actor, group_queries.by_id(tx, context.number("group")))


def _list_public(context: RequestContext, tx: ReadTransaction) -> Response:
    result = query.load_page(context, tx, ANONYMOUS, _TABLE)
    return _page_response(tx, ANONYMOUS, result, shows_all=context.settings.brainstem_public_emails)


def _retrieve_public(context: RequestContext, tx: ReadTransaction) -> Response:
    row = group_queries.by_id(tx, context.number("group"))
    return _group_response(tx, ANONYMOUS, row, shows_all=context.settings.brainstem_public_emails)


def _create(context: RequestContext) -> Response:
    body = bodies.read_all(context, _NEW, read_only=_READ_ONLY)
    if body.errors and "name" in body.values:
        with context.read() as tx:
            try:
                group_actions.check_name(tx, body.values["name"])
            except Invalid as refusal:
                body.refuse(refusal)
    body.check()
    with context.write() as tx:
        name = body.values["name"]
        group = group_actions.create(tx, context.actor, name, settings=context.settings)
        return _group_response(tx, context.actor, group_queries.by_id(tx, group), 201)


def _change(context: RequestContext) -> Response:
    body = bodies.Body()
    try:
        with context.write() as tx:
            access = group_actions.lock_group_and_authorise(
                tx, context.actor, context.number("group")
            )
            # Authorisation comes before validation: callers who may not change the group get that
            # refusal, whatever body they have sent.
            body = bodies.read_all(context, _CHANGE, read_only=_READ_ONLY)
            name, people = body.values.get("name"), body.values.get("users", ())
            if body.errors:
                group_actions.check_change(tx, context.actor, access, name, people)
                raise BadRequestError(body.errors)
            count = group_actions.change(tx, context.actor, context.settings, access, name, people)
            context.count_attempts(tx, INVITE, attempts=count)
            return _group_response(tx, context.actor, group_queries.by_id(tx, access.scope.id))
    except Invalid as refusal:
        if refusal.code == "group.people":
            problems: Any = refusal.facts["problems"]
            limits.count_unknown(context, list(problems.values()).count("unknown"))
        if not body.errors:
            raise
        body.refuse(refusal)
    raise BadRequestError(body.errors)


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        group_actions.delete(tx, context.actor, context.number("group"))
    return Response(204)


def _join(context: RequestContext) -> Response:
    with context.write() as tx:
        row, is_new = group_actions.join(
            tx, context.actor, context.number("group"), settings=context.settings
        )
        context.count_attempts(tx, JOIN, attempts=int(is_new))
        (request,) = schemas.requests(tx, context.actor, [row])
    return Response(200, schemas.encode(schemas.OneMembershipRequest(request)))


def _leave(context: RequestContext) -> Response:
    with context.write() as tx:
        group = context.number("group")
        group_actions.leave(tx, context.actor, group)
        return _group_response(tx, context.actor, group_queries.by_id(tx, group))


def _private(base: str) -> Routes:
    path = f"{base}{{id}}/"
    return {
        base: {
            "GET": Endpoint(
                _list,
                "List the groups.",
                response_type=schemas.GroupPage,
                filters=_TABLE.describe_parameters(),
            ),
            "POST": Endpoint(
                _create, "Create a group.", body=_NEW, response_type=schemas.OneGroup, status=201
            ),
        },
        path: {
            "GET": Endpoint(_retrieve, "Show a group.", response_type=schemas.OneGroup),
            "PATCH": Endpoint(
                _change,
                "Rename a group, or invite, promote, demote and remove members.",
                body=_CHANGE,
                response_type=schemas.OneGroup,
                partial=True,
                limits=(INVITE, PEOPLE),
            ),
            "DELETE": Endpoint(_delete, "Delete a group.", status=204),
        },
        **mutating_route(
            f"{path}join/",
            _join,
            "Ask to join a group.",
            schemas.OneMembershipRequest,
            limits=(JOIN,),
        ),
        **mutating_route(f"{path}leave/", _leave, "Leave a group.", schemas.OneGroup),
    }


def _public(base: str) -> Routes:
    return {
        base: {
            "GET": Endpoint(
                _list_public,
                "List the groups of the public portal.",
                public=True,
                response_type=schemas.GroupPage,
                filters=_TABLE.describe_parameters(),
                reads_db=True,
            )
        },
        f"{base}{{id}}/": {
            "GET": Endpoint(
                _retrieve_public,
                "Show a group of the public portal.",
                public=True,
                response_type=schemas.OneGroup,
                reads_db=True,
            )
        },
    }


_private_routes = with_aliases(_private, "/api/private/users/group/", "/api/private/auth/group/")
_public_routes = with_aliases(_public, "/api/public/users/group/", "/api/public/auth/group/")
DESCRIBED: Final = _private_routes[0] | _public_routes[0]
ROUTES: Final = _private_routes[1] | _public_routes[1]
