"""Endpoints for projects: ``/api/projects/``."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from urllib.parse import urlsplit

import nh3

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import Permission, ScopeKind
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.accounts import SLUG
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.memberships import team_routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import Invalid, NotFound
from collegium.scopes.projects import actions as project_actions
from collegium.scopes.projects import queries as project_queries
from collegium.values import Boolean, Choice, Date, Integer, Kind, Name, Text, hex_uuid

OECD_CODES: Final = tuple(
    f"{area}.{field}"
    for area, fields in ((1, 7), (2, 12), (3, 5), (4, 5), (5, 9), (6, 5))
    for field in range(1, fields + 1)
)
"""Fields of science (OECD, 2007). The official clients know these codes and fail on any other."""

CHANGE: Final[dict[str, Kind]] = {
    "name": Name(required=True, blank=False, max=500),
    "slug": SLUG,
    "description": Text(max=20000),
    "backend_id": Text(max=255),
    "start_date": Date(null=True),
    "end_date": Date(null=True),
    "oecd_fos_2007_code": Choice(of=("", *OECD_CODES), null=True),
    "is_industry": Boolean(),
    "kind": Choice(of=("default", "course", "public")),
    "max_service_accounts": Integer(null=True),
    "grace_period_days": Integer(null=True),
    "staff_notes": Text(max=4000),
}
NEW: Final[dict[str, Kind]] = {"customer": Text(required=True, blank=False, max=2000), **CHANGE}


def scope_of(url: str) -> tuple[ScopeKind, str] | None:
    """Return the kind and the UUID (32 hex digits) that the URL of a customer or project names.

    The path before ``api`` is ignored. The result is None for any other URL.
    """
    try:
        parts = urlsplit(url).path.strip("/").split("/")
    except ValueError:
        return None
    match parts:
        case [*_, "api", "customers", text]:
            kind = ScopeKind.ORGANISATION
        case [*_, "api", "projects", text]:
            kind = ScopeKind.PROJECT
        case _:
            return None
    uuid = hex_uuid(text)
    return None if uuid is None else (kind, uuid)


def _clean_values(form: Form) -> Form:
    form.drop_blank("slug")
    if form.values.get("description"):
        form.values["description"] = nh3.clean(form.values["description"])
    if "oecd_fos_2007_code" in form.values:
        form.values["oecd_fos_2007_code"] = form.values["oecd_fos_2007_code"] or ""
    return form


def _check_dates(form: Form, now: datetime, current_start: date | None = None) -> None:
    """Reject dates in the past; a project that has started keeps its start, so that is not checked.

    Args:
        current_start: current start date of the project.
    """
    for name in ("start_date", "end_date"):
        if name == "start_date" and current_start is not None and current_start <= now.date():
            continue
        try:
            project_actions.check_dates(now, {name: form.values.get(name)})
        except Invalid as refusal:
            form.refuse(refusal)


def _load_parent(tx: WriteTransaction, context: RequestContext, form: Form) -> ScopeAccess | None:
    kind_and_uuid = scope_of(form.values.get("customer", ""))
    if kind_and_uuid is None or kind_and_uuid[0] is not ScopeKind.ORGANISATION:
        if "customer" in form.values:
            form.reject("customer", "Invalid hyperlink - No URL match.")
        return None
    try:
        return access_queries.get_visible(
            tx, context.actor, ScopeKind.ORGANISATION, kind_and_uuid[1]
        )
    except NotFound:
        form.reject("customer", "Invalid hyperlink - Object does not exist.")
        return None


def _load_project(context: RequestContext, tx: ReadTransaction, uuid: str) -> schemas.Project:
    return schemas.project(context, project_queries.get_visible(tx, context.actor, uuid))


FILTERS: Final = {
    **dict.fromkeys(
        (
            "customer_abbreviation",
            "customer_name",
            "customer_native_name",
            "description",
            "name",
        ),
        filters.Contains(),
    ),
    **dict.fromkeys(("backend_id", "name_exact", "query", "slug"), filters.Exact()),
    **dict.fromkeys(
        ("can_admin", "can_manage", "conceal_finished_projects", "include_terminated"),
        filters.OptIn(),
    ),
    **dict.fromkeys(("created", "modified"), filters.GreaterOrEqual()),
    "customer": filters.Uuids(),
    "is_removed": filters.BooleanFilter(),
}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    filter_values = filters.read(context, FILTERS, project_queries.listing.orders)
    with_removed = filter_values.pop("include_terminated", False)
    listing = (
        project_queries.history
        if with_removed or filter_values.get("is_removed")
        else project_queries.listing
    )
    if listing is project_queries.listing:
        filter_values.pop("is_removed", None)
    return lists.respond_page(
        context,
        tx,
        listing,
        lambda rows: [schemas.project(context, row) for row in rows],
        filters=filter_values,
        sparse=True,
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    struct = _load_project(context, tx, context.uuid("project"))
    return Response(200, schemas.encode(lists.fields(context, struct)))


def _create(context: RequestContext) -> Response:
    form = _clean_values(read(context, NEW))
    with context.write() as tx:
        parent = _load_parent(tx, context, form)
        _check_dates(form, tx.now)
        parent = form.checked(parent)
        form.values.pop("customer")
        uuid = project_actions.create(
            tx, context.actor, parent, form.values, settings=context.settings
        )
        return Response(201, schemas.encode(_load_project(context, tx, uuid)))


def _update(context: RequestContext) -> Response:
    uuid = context.uuid("project")
    with context.write() as tx:
        access = access_queries.get_visible(
            tx, context.actor, ScopeKind.PROJECT, uuid, Permission.PROJECT_UPDATE
        )
        form = _clean_values(read(context, CHANGE, partial=context.method == "PATCH"))
        _check_dates(form, tx.now, access.scope.start_date)
        form.check()
        project_actions.update(tx, context.actor, access, form.values)
        return Response(200, schemas.encode(_load_project(context, tx, uuid)))


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        access = access_queries.get_visible(
            tx, context.actor, ScopeKind.PROJECT, context.uuid("project")
        )
        project_actions.delete(tx, context.actor, access)
    return Response(204)


ROUTES: Routes = {
    "/api/projects/": {
        "GET": Endpoint(
            _list,
            "List the projects that you can see.",
            response_type=schemas.Project,
            is_list=True,
            filters=FILTERS,
            orders=project_queries.listing.orders,
            sparse_fields=True,
        ),
        "POST": Endpoint(
            _create, "Create a project.", body=NEW, response_type=schemas.Project, status=201
        ),
    },
    "/api/projects/{uuid}/": {
        "GET": Endpoint(
            _retrieve, "Show a project.", response_type=schemas.Project, sparse_fields=True
        ),
        "PUT": Endpoint(_update, "Change a project.", body=CHANGE, response_type=schemas.Project),
        "PATCH": Endpoint(
            _update,
            "Change some fields of a project.",
            body=CHANGE,
            response_type=schemas.Project,
            partial=True,
        ),
        "DELETE": Endpoint(_delete, "Delete a project.", status=204),
    },
    **team_routes("/api/projects/{uuid}/", ScopeKind.PROJECT),
}
