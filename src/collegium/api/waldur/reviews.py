"""Endpoints for reviews of roles, of organisations and of projects."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, Final

from collegium.access.rules import ScopeKind
from collegium.accounts.queries import join_names
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Resource, ResourceList, Source, field
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.invitations import detail_response
from collegium.api.waldur.lookups import SINCE, UUID, fixed
from collegium.db.database import ReadTransaction
from collegium.db.tables import reviews, scopes
from collegium.lists.listing import choice
from collegium.reviews import actions as review_actions
from collegium.reviews import queries as review_queries
from collegium.reviews.queries import ReviewRow

_PENDING: Final = fixed(
    filters.BooleanFilter(),
    choice(reviews.c.closed_at.is_(None), reviews.c.closed_at.is_not(None)),
)


class _Review(Resource, frozen=True, gc=False):
    """What a review of the roles in either kind of scope has."""

    url: str = field(
        *(Source.CONTEXT, "scope_kind", "uuid"),
        get=lambda context, kind, uuid: (
            f"{context.base}/api/{schemas.KINDS[kind]}-permissions-reviews/{uuid}/"
        ),
    )
    uuid: str = field()
    reviewer_full_name: str | None = field(
        "reviewer_uuid",
        "reviewer_first_name",
        "reviewer_last_name",
        get=lambda uuid, first, last: join_names(first, last) if uuid else None,
    )
    reviewer_uuid: str | None = field(filter=UUID.on(review_queries.reviewer.c.uuid))
    is_pending: bool = field(filter=_PENDING)
    created: datetime = field("created_at", order=True)
    closed: datetime | None = field("closed_at", filter=SINCE.on(reviews.c.closed_at), order=True)


class CustomerPermissionReview(_Review, frozen=True, gc=False):
    """A review of the roles in an organisation."""

    customer_uuid: str = field("scope_uuid", filter=UUID.on(scopes.c.uuid))
    customer_name: str = field("scope_name")


class ProjectPermissionReview(_Review, frozen=True, gc=False):
    """A review of the roles in a project."""

    project_uuid: str = field("scope_uuid", filter=UUID.on(scopes.c.uuid))
    project_name: str = field("scope_name")


CUSTOMERS: Final = ResourceList(
    CustomerPermissionReview, review_queries.listing_of(ScopeKind.ORGANISATION)
)
PROJECTS: Final = ResourceList(
    ProjectPermissionReview, review_queries.listing_of(ScopeKind.PROJECT)
)


def _close(kind: ScopeKind, context: RequestContext) -> Response:
    with context.write() as tx:
        review_actions.close(tx, context.actor, context.uuid("review"), {kind.value})
    return detail_response("The review is closed.")


def _routes(path: str, resources: ResourceList, kind: ScopeKind, noun: str) -> Routes:
    def load(tx: ReadTransaction, actor: Any, uuid: str) -> ReviewRow:
        return review_queries.get_visible(tx, actor, uuid, {kind.value})

    return {
        path: {"GET": lists.endpoint(resources, f"List the reviews of the roles in {noun}s.")},
        f"{path}{{uuid}}/": {
            "GET": lists.retrieve(
                resources.resource, load, "review", f"Show a review of the roles in a {noun}."
            )
        },
        f"{path}{{uuid}}/close/": {
            "POST": Endpoint(
                partial(_close, kind),
                f"Close a review: the roles in the {noun} are as they should be.",
                response_type=schemas.Detail,
            )
        },
    }


ROUTES: Routes = {
    **_routes("/api/customer-permissions-reviews/", CUSTOMERS, ScopeKind.ORGANISATION, "customer"),
    **_routes("/api/project-permissions-reviews/", PROJECTS, ScopeKind.PROJECT, "project"),
}
