"""Numbers about accounts, for staff and support, and the few that the dashboard shows."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement

from collegium.access.rules import require_reader
from collegium.accounts import figures
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import accounts, invitations, join_requests, lists, schemas
from collegium.db.database import ReadTransaction


class ActiveStatusCount(Struct, frozen=True, gc=False):
    """The number of active or inactive accounts."""

    status: str
    count: int


class LanguageCount(Struct, frozen=True, gc=False):
    """The number of accounts that prefer a language; the empty text means none."""

    language: str
    count: int


class RegistrationTrend(Struct, frozen=True, gc=False):
    """The number of accounts that were created in a month, ``2026-01``."""

    month: str
    count: int


class DashboardStats(Struct, frozen=True, gc=False):
    """What waits for the caller."""

    pending_permission_requests: int
    active_invitations: int
    pending_onboarding_applications: int


def _counts(
    summary: str,
    struct: type[Any],
    group: ColumnElement[str],
) -> dict[str, Endpoint]:
    def handler(context: RequestContext, tx: ReadTransaction) -> Response:
        require_reader(context.actor)
        filters = lists.read(context, accounts.LIST)
        rows = accounts.LIST.listing.count_by(tx, context.actor, filters, group)
        shown = [struct(row.value, row.count) for row in rows]
        return Response(200, schemas.encode(shown), {"X-Result-Count": str(len(shown))})

    return {
        "GET": Endpoint(
            handler,
            summary,
            response_type=struct,
            is_list=True,
            unpaginated=True,
            filters=accounts.LIST.parameters,
        )
    }


def _dashboard(context: RequestContext, tx: ReadTransaction) -> Response:
    requests, sent = join_requests.LIST.listing, invitations.LIST.listing
    stats = DashboardStats(
        pending_permission_requests=requests.count(tx, context.actor, {"state": ["pending"]}),
        active_invitations=sent.count(tx, context.actor, {"state": ["pending"]}),
        # The service has no applications for a new organisation.
        pending_onboarding_applications=0,
    )
    return Response(200, schemas.encode(stats))


ROUTES: Routes = {
    "/api/users/user_active_status_count/": _counts(
        "Count active and inactive accounts, for staff and support.",
        ActiveStatusCount,
        figures.STATE,
    ),
    "/api/users/user_language_count/": _counts(
        "Count accounts by language, for staff and support.", LanguageCount, figures.LANGUAGE
    ),
    "/api/users/user_registration_trend/": _counts(
        "Count accounts by the month in which they were created, for staff and support.",
        RegistrationTrend,
        figures.MONTH_JOINED,
    ),
    "/api/users/dashboard-general-stats/": {
        "GET": Endpoint(
            _dashboard,
            "Count the pending requests and invitations that you can see.",
            response_type=DashboardStats,
        ),
    },
}
