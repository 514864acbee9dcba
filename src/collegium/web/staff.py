"""The pages for staff: the health overview, and what all staff pages share.

Support may read what staff may read, but changes nothing. For all other accounts these pages do not
exist. Pass every staff page through ``staff_only``, which enforces this.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from collegium.access.rules import require_staff, require_staff_or_support
from collegium.accounts import queries as account_queries
from collegium.api.request import Endpoint, Response, Routes
from collegium.db.database import ReadTransaction
from collegium.outbox import queries as outbox_queries
from collegium.statistics.rules import WAIT_STEPS
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.web import charts
from collegium.web import page as kit
from collegium.web.browser_request import BrowserRequest
from collegium.web.messages import duration
from collegium.web.page import Page

PARTS: Final = [
    ("/staff/", mark("Health")),
    ("/staff/accounts/", mark("Accounts")),
    ("/staff/organisations/", mark("Organisations")),
    ("/staff/roles/", mark("Roles")),
    ("/staff/providers/", mark("Sign-in")),
    ("/staff/rules/", mark("Claim rules")),
    ("/staff/agreements/", mark("Agreements")),
    ("/staff/mails/", "E-mails"),
    ("/staff/statistics/", mark("Statistics")),
]


def page(browser: BrowserRequest, name: str, status: int = 200, **variables: Any) -> Response:
    """Render a staff page. Its template gets ``may_change``: whether the viewer is staff."""
    may_change = browser.actor.is_staff
    return kit.page(
        browser,
        name,
        status,
        parts=[(path, _(label)) for path, label in PARTS],
        may_change=may_change,
        **variables,
    )


def staff_only(routes: Routes, *, staff_paths: tuple[str, ...] = ()) -> Routes:
    """Return routes that only staff and support can use; POST is for staff only.

    Args:
        staff_paths: Paths whose form support may not see either.
    """
    return {
        path: {
            method: _restrict(operation, for_staff=method == "POST" or path in staff_paths)
            for method, operation in table.items()
        }
        for path, table in routes.items()
    }


def _restrict(operation: Endpoint, *, for_staff: bool) -> Endpoint:
    def handler(browser: BrowserRequest, *tx: ReadTransaction) -> Response:
        require_staff_or_support(browser.actor)
        if for_staff:
            require_staff(browser.actor)
        return operation.handler(browser, *tx)

    return replace(operation, handler=handler)


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    from collegium.statistics import activity  # noqa: PLC0415 - takes memory, and few workers need it

    statistics = activity.of_days(tx, browser.actor)
    day_chart = partial(charts.of_days, statistics.days)
    return page(
        browser,
        "staff_health",
        mails=outbox_queries.counts(tx),
        people=account_queries.listing.count(tx, browser.actor, {}),
        waiting=statistics.waiting[-1],
        days=activity.DAYS,
        charts=[
            day_chart("joined", _("New accounts"), statistics.joined),
            day_chart("accepted", _("Invitations accepted"), statistics.accepted),
            charts.of_waits(
                "waits",
                _("Time until invitations were accepted"),
                [duration(int(step.total_seconds())) for step in WAIT_STEPS],
                statistics.waits,
            ),
            day_chart("waiting", _("Pending join requests"), statistics.waiting, adds_up=False),
        ],
    )


ROUTES: Routes = staff_only({"/staff/": {"GET": Page(_show, "Show the health of the service.")}})
