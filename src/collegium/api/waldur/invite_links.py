"""Endpoints for invite links: ``/api/user-group-invitations/``."""

from __future__ import annotations

from typing import Any, Final

from collegium.access.rules import ScopeKind
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, join_request_schemas, lists, schemas
from collegium.api.waldur.fields import read
from collegium.api.waldur.invitations import detail_response, named_role, named_scope
from collegium.db.database import ReadTransaction
from collegium.invite_links import actions as invite_link_actions
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links.rules import PATTERN_MAX, PATTERNS_MAX
from collegium.join_requests import actions as join_request_actions
from collegium.refusals import NotFound
from collegium.scopes.organisations import queries as organisation_queries
from collegium.security.rate_limits.rules import ASK
from collegium.values import Boolean, Kind, Name, StringList, Text, Uuid

FIELDS: Final[dict[str, Kind]] = {
    "scope": Text(required=True, blank=False, max=2000),
    "role": Uuid(required=True),
    "is_public": Boolean(),
    "auto_create_project": Boolean(),
    "auto_approve": Boolean(),
    "project_name_template": Name(null=True, max=255, source="template"),
    "project_role": Uuid(null=True),
    "user_affiliations": StringList(max=255, max_items=200, source="affiliations"),
    "user_email_patterns": StringList(
        max=PATTERN_MAX, max_items=PATTERNS_MAX, source="email_patterns"
    ),
    "custom_text": Text(max=4000),
    "allow_multiple_requests": Boolean(),
}
FILTERS: Final = {
    **dict.fromkeys(("customer_uuid", "role_uuid"), filters.Uuid()),
    "role_name": filters.Exact(),
    "scope_type": filters.SCOPE_TYPE,
    "scope": filters.SCOPE,
    **dict.fromkeys(("is_active", "is_public"), filters.BooleanFilter()),
}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    return lists.respond_page(
        context,
        tx,
        invite_link_queries.listing,
        lambda rows: [join_request_schemas.group_invitation(context, row, tx.now) for row in rows],
        filters=filters.read(context, FILTERS, invite_link_queries.listing.orders),
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = _load_link(context, tx)
    return Response(
        200, schemas.encode(join_request_schemas.group_invitation(context, row, tx.now))
    )


def _load_link(context: RequestContext, tx: ReadTransaction) -> Any:
    row = invite_link_queries.get_by_uuid(tx, context.actor, context.uuid("invite_link"))
    if row.scope_kind == ScopeKind.GROUP:
        raise NotFound("invite_link.unknown")
    return row


def _create(context: RequestContext) -> Response:
    form = read(context, FIELDS)
    form.drop_blank("template")
    with context.write() as tx:
        access = named_scope(tx, context, form)
        role = named_role(tx, form)
        project_role = named_role(tx, form, "project_role", ScopeKind.PROJECT)
        if access is not None and role is not None:
            for problem in invite_link_actions.problems(
                context.actor, access.scope.kind, role, project_role, form.values
            ):
                form.refuse(problem)
        access, role = form.checked(access), form.checked(role)
        uuid = invite_link_actions.create(
            tx, context.actor, context.settings, access, role, project_role, form.values
        )
        row = invite_link_queries.get_by_uuid(tx, context.actor, uuid)
        return Response(
            201, schemas.encode(join_request_schemas.group_invitation(context, row, tx.now))
        )


def _projects(context: RequestContext, tx: ReadTransaction) -> Response:
    """List the organisation's projects that the caller may see anyway.

    An invite link does not reveal the names of other projects.
    """
    row = _load_link(context, tx)
    if row.scope_kind != ScopeKind.ORGANISATION:
        return Response(404, media="text/plain")
    return Response(
        200,
        schemas.encode(
            [
                join_request_schemas.ProjectLink(
                    project.uuid, f"{context.base}/api/projects/{project.uuid}/"
                )
                for project in organisation_queries.projects_of(tx, context.actor, [row.scope_id])
            ]
        ),
    )


def _cancel(context: RequestContext) -> Response:
    with context.write() as tx:
        invite_link_actions.cancel(tx, context.actor, _load_link(context, tx).uuid)
    return detail_response("Invitation has been successfully canceled.")


def _submit(context: RequestContext) -> Response:
    uuid = context.uuid("invite_link")
    with context.write() as tx:
        _load_link(context, tx)
        result = join_request_actions.submit(tx, context.actor, context.settings, uuid)
        # Each join request e-mails people who did not ask for it.
        context.count_attempts(tx, ASK)
        struct = join_request_schemas.submitted(result.request, is_approved=result.is_approved)
    return Response(200, schemas.encode(struct))


_ONE: Final = "/api/user-group-invitations/{uuid}/"

ROUTES: Routes = {
    "/api/user-group-invitations/": {
        "GET": Endpoint(
            _list,
            "List the invite links that you can see.",
            public=True,
            reads_db=True,
            response_type=join_request_schemas.GroupInvitation,
            is_list=True,
            filters=FILTERS,
            orders=invite_link_queries.listing.orders,
        ),
        "POST": Endpoint(
            _create,
            "Create an invite link.",
            body=FIELDS,
            response_type=join_request_schemas.GroupInvitation,
            status=201,
        ),
    },
    _ONE: {
        "GET": Endpoint(
            _retrieve,
            "Show an invite link.",
            public=True,
            reads_db=True,
            response_type=join_request_schemas.GroupInvitation,
        ),
    },
    f"{_ONE}projects/": {
        "GET": Endpoint(
            _projects,
            "List the organisation's projects that you can see.",
            response_type=join_request_schemas.ProjectLink,
            is_list=True,
            unpaginated=True,
        ),
    },
    f"{_ONE}cancel/": {
        "POST": Endpoint(_cancel, "Close an invite link.", response_type=schemas.Detail),
    },
    f"{_ONE}submit_request/": {
        "POST": Endpoint(
            _submit, "Ask to join.", response_type=join_request_schemas.Submitted, limits=(ASK,)
        ),
    },
}
