"""Endpoints for join requests: ``/api/user-permission-requests/``."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, case, select

from collegium.access.rules import WALDUR_KINDS
from collegium.accounts.queries import join_names
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Lookup, Private, Resource, ResourceList, field, link
from collegium.api.waldur import filters, lists
from collegium.api.waldur.fields import read
from collegium.api.waldur.invitations import remap_conflicts
from collegium.api.waldur.lookups import fixed, scope_lookups
from collegium.api.waldur.schemas import or_empty
from collegium.db.statements import any_of
from collegium.db.tables import accounts, invite_links, join_requests
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests.rules import Action, State
from collegium.lists.filters import is_equal
from collegium.lists.listing import Filter
from collegium.values import Kind, Text

_BODY: Final[dict[str, Kind]] = {"comment": Text(max=10000, null=True)}


# An invite link admits people. Its URL is therefore shown only to the requester and to callers who
# may list the link. Other members of the organisation see the request without it.
_LINK_VISIBLE: Final = Private(
    "sees_all or row.link_is_visible or row.username == context.actor.username", hidden="''"
)
_REVIEWED: Final = Private(f"row.state != {State.CANCELED.value!r}", hidden="None")
_HAS_REVIEWER: Final = replace(
    _REVIEWED, shown=f"{_REVIEWED.shown} and row.decider_username is not None"
)


class PermissionRequest(Resource, frozen=True, gc=False):
    """A join request."""

    url: str = link("/api/user-permission-requests/{}/", "uuid")
    uuid: str = field()
    invitation: str = link(
        "/api/user-group-invitations/{}/", "invite_link_uuid", missing="", private=_LINK_VISIBLE
    )
    state: str = field(
        filter=fixed(
            filters.ChoicesFilter({state.value: state.value for state in State}),
            # Pending requests are what most callers ask for, and they have their own indexes.
            Filter(
                lambda value: (
                    "pending" if value == [State.PENDING.value] else "any",
                    {"state": value},
                ),
                lambda variant, _sees_all: (
                    join_requests.c.state == State.PENDING.value
                    if variant == "pending"
                    else any_of(join_requests.c.state, "state")
                ),
            ),
        ),
        order=case(
            {state.value: index for index, state in enumerate(State)}, value=join_requests.c.state
        ),
    )
    created: datetime = field("created_at", order=True)
    created_by_full_name: str = field("first_name", "last_name", get=join_names)
    created_by_username: str = field("username")
    created_by_email: str = field("email")
    reviewed_by_full_name: str | None = field(
        "decider_first_name", "decider_last_name", get=join_names, private=_HAS_REVIEWER
    )
    reviewed_by_username: str | None = field("decider_username", private=_REVIEWED)
    reviewed_at: datetime | None = field("decided_at", private=_REVIEWED)
    review_comment: str | None = field("comment")
    scope_uuid: str = field()
    scope_name: str = field()
    customer_uuid: str = field("organisation_uuid")
    customer_name: str = field("organisation_name")
    role_name: str = field()
    role_description: str = field()
    project_name_template: str = field("template", get=or_empty)
    project_name: str = field("custom_project_name")
    project_description: str = field("custom_project_description")


class Canceled(Resource, frozen=True, gc=False):
    """A join request that was withdrawn."""

    uuid: str = field()
    scope_name: str = field()
    scope_uuid: str = field()


def _references(column: ColumnElement[Any], table: Table) -> Lookup:
    """Return a lookup by the UUID of the row that a column references."""
    return Lookup(
        filters.Uuid(),
        lambda name, _column: (
            column == select(table.c.id).where(is_equal(name, table.c.uuid)).scalar_subquery()
        ),
    )


LIST: Final = ResourceList(
    PermissionRequest,
    join_request_queries.listing,
    filters={
        **scope_lookups(join_requests.c.scope_id, "customer_uuid", "scope"),
        "created_by": _references(join_requests.c.account_id, accounts),
        "invitation": _references(join_requests.c.invite_link_id, invite_links),
    },
)


def _decide(action: Action, context: RequestContext) -> Response:
    uuid = context.uuid("request")
    form = read(context, _BODY)
    with context.write() as tx:
        if form.errors:
            join_request_actions.check_may_decide(tx, context.actor, uuid, action, WALDUR_KINDS)
            form.check()
        comment = form.values.get("comment")
        if action is Action.APPROVE:
            join_request_actions.approve(
                tx, context.actor, context.settings, uuid, comment, WALDUR_KINDS
            )
        else:
            join_request_actions.reject(tx, context.actor, uuid, comment, WALDUR_KINDS)
    return Response(200)


def _cancel(context: RequestContext) -> Response:
    with remap_conflicts(wrong_state="request.not_cancelable"), context.write() as tx:
        row = join_request_actions.cancel(tx, context.actor, context.uuid("request"), WALDUR_KINDS)
        return lists.detail(context, tx, Canceled, row)


_ONE: Final = "/api/user-permission-requests/{uuid}/"

ROUTES: Routes = {
    "/api/user-permission-requests/": {
        "GET": lists.endpoint(LIST, "List the join requests that you can see."),
    },
    _ONE: {
        "GET": lists.retrieve(
            PermissionRequest,
            partial(join_request_queries.get_visible, kinds=WALDUR_KINDS),
            "request",
            "Show a join request.",
        ),
        "DELETE": lists.delete(
            partial(join_request_actions.delete, kinds=WALDUR_KINDS),
            "request",
            "Delete a join request, for staff.",
        ),
    },
    f"{_ONE}approve/": {
        "POST": Endpoint(partial(_decide, Action.APPROVE), "Approve a join request.", body=_BODY),
    },
    f"{_ONE}reject/": {
        "POST": Endpoint(partial(_decide, Action.REJECT), "Reject a join request.", body=_BODY),
    },
    f"{_ONE}cancel_request/": {
        "POST": Endpoint(_cancel, "Withdraw a join request.", response_type=Canceled),
    },
}
