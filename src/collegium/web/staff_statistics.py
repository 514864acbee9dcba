"""The statistics of the whole service, as the worker counted them last."""

from __future__ import annotations

from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.statistics.rules import END_DAYS, OWNERS_MAX, SiteStatistics
from collegium.text import languages
from collegium.text.languages import gettext as _
from collegium.text.languages import ngettext
from collegium.web import charts, statistics
from collegium.web.browser_request import BrowserRequest
from collegium.web.charts import Shares
from collegium.web.page import Page
from collegium.web.staff import page, staff_only


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    from collegium.statistics import queries as statistics_queries  # noqa: PLC0415 - takes memory, and few workers need it

    found = statistics_queries.stored(tx)
    if found is None:
        return page(browser, "staff_statistics", figures=None)
    few = statistics_queries.with_few_owners(tx, found.few_owners)
    return page(
        browser,
        "staff_statistics",
        figures=found.figures,
        glance=statistics.glance(found.figures),
        charts=[*statistics.of_figures(found.figures), _owners(found)],
        few=few,
        # Those of the list that have found another owner since are not counted any more.
        left_out=found.owners[0] + found.owners[1] - len(found.few_owners),
        end_days=END_DAYS,
    )


def _owners(found: SiteStatistics) -> Shares:
    total, one = sum(found.owners), found.owners[1]
    description = ngettext(
        "{one} of {number} organisation has one owner: nobody else can act for it.",
        "{one} of {number} organisations have one owner: nobody else can act for them.",
        total,
    ).format(one=languages.number(one), number=languages.number(total))
    labels = [
        _("no owner"),
        *(
            ngettext("{number} owner", "{number} owners", number).format(number=number)
            for number in range(1, OWNERS_MAX)
        ),
        _("{number} or more").format(number=OWNERS_MAX),
    ]
    return charts.shares(
        "owners",
        _("Owners of organisations"),
        description,
        _("Owners"),
        list(zip(labels, found.owners, strict=True)),
    )


ROUTES: Routes = staff_only(
    {"/staff/statistics/": {"GET": Page(_show, "Show the statistics of the service.")}}
)
