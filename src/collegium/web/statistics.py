"""The statistics of a scope, for those who may read its invitations."""

from __future__ import annotations

from functools import partial
from typing import Final

from collegium.access.rules import ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.invitations.rules import State
from collegium.statistics.rules import (
    ALWAYS_SHOWN,
    END_DAYS,
    WAIT_STEPS,
    Outcome,
    Statistics,
    months,
    rounded,
    weeks,
)
from collegium.text import languages
from collegium.text.languages import gettext as _
from collegium.text.languages import ngettext
from collegium.web import charts
from collegium.web.browser_request import BrowserRequest
from collegium.web.charts import Columns, Shares
from collegium.web.invitations import REJECTED_BY_STAFF
from collegium.web.messages import INVITATION_STATES, duration
from collegium.web.page import Page, page
from collegium.web.scope import ScopePage

_OUTCOMES: Final = {
    Outcome.ACCEPTED: INVITATION_STATES[State.ACCEPTED],
    Outcome.PENDING: INVITATION_STATES[State.PENDING],
    Outcome.HELD: INVITATION_STATES[State.HELD],
    Outcome.REQUESTED: INVITATION_STATES[State.REQUESTED],
    Outcome.DECLINED: INVITATION_STATES[State.REJECTED],
    Outcome.REFUSED: REJECTED_BY_STAFF,
    Outcome.EXPIRED: INVITATION_STATES[State.EXPIRED],
    Outcome.CANCELED: INVITATION_STATES[State.CANCELED],
}
_MONTHS_BETWEEN: Final = 3
_WEEKS_BETWEEN: Final = 6
"""Number of columns of a chart for each name below it."""


def _show(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    from collegium.statistics import queries as statistics_queries  # noqa: PLC0415 - takes memory, and few workers need it

    # Invitations are counted, so the page is for those who may read them.
    scope_page = ScopePage.load(browser, tx, kind, "invitations")
    scope = scope_page.scope
    figures = statistics_queries.of_scope(tx, scope.id)
    return page(
        browser,
        "statistics",
        scope_page=scope_page,
        glance=glance(figures),
        charts=of_figures(figures),
        owners=statistics_queries.count_owners(tx, scope.kind, scope.id),
        end_days=END_DAYS,
    )


def glance(figures: Statistics) -> dict[str, str | int]:
    """Return the most important figures, and their texts."""
    accepted, invited = figures.outcomes[0], sum(figures.outcomes)
    return {
        "members": figures.members[-1],
        "members_text": languages.number(figures.members[-1]),
        "accepted": languages.percent(accepted, invited) if invited else "\N{EN DASH}",
        "wait": _median(figures) or "\N{EN DASH}",
        "ends": sum(figures.ends),
        "ends_text": languages.number(sum(figures.ends)),
    }


def _median(figures: Statistics) -> str:
    return "" if figures.median_wait is None else duration(rounded(figures.median_wait))


def of_figures(figures: Statistics) -> list[Columns | Shares]:
    """Return the charts of the figures that a scope and the whole service have."""
    return [_members(figures), _ends(figures), _invitations(figures), _waits(figures)]


def _members(figures: Statistics) -> Columns:
    firsts = months(figures.at)
    labels = [languages.month(first) for first in firsts]
    return charts.columns(
        "members",
        _("Members"),
        _("{number} now, {earlier} at the end of {month}.").format(
            number=languages.number(figures.members[-1]),
            earlier=languages.number(figures.members[0]),
            month=labels[0],
        ),
        _("End of the month"),
        [
            (label, _mark(at, len(firsts), _MONTHS_BETWEEN, languages.short_month(first)), number)
            for at, (label, first, number) in enumerate(
                zip(labels, firsts, figures.members, strict=True)
            )
        ],
    )


def _mark(at: int, columns: int, between: int, text: str) -> str:
    """Return the mark below a column; counted back from the last one."""
    return text if (columns - 1 - at) % between == 0 else ""


def _ends(figures: Statistics) -> Columns:
    total, most = sum(figures.ends), max(figures.ends)
    rows = [
        (
            f"{languages.day_of_year(first)} \N{EN DASH} {languages.day_of_year(last)}",
            "" if at % _WEEKS_BETWEEN else languages.short_day(first),
            number,
        )
        for at, ((first, last), number) in enumerate(
            zip(weeks(figures.at), figures.ends, strict=True)
        )
    ]
    description = _("No role ends in the next {days} days.").format(days=END_DAYS)
    if total:
        week = rows[figures.ends.index(most)][0]
        description = ngettext(
            "{number} role ends, most in one week: {most} ({week}).",
            "{number} roles end, most in one week: {most} ({week}).",
            total,
        ).format(number=languages.number(total), most=languages.number(most), week=week)
    return charts.columns("ends", _("Roles that end"), description, _("Week"), rows)


def _invitations(figures: Statistics) -> Shares:
    invited, accepted = sum(figures.outcomes), figures.outcomes[0]
    description = _("Nobody was invited in this period.")
    if invited:
        description = ngettext(
            "{number} person was invited, of whom {accepted} accepted.",
            "{number} people were invited, of whom {accepted} accepted.",
            invited,
        ).format(number=languages.number(invited), accepted=languages.number(accepted))
    rows = [
        (_(_OUTCOMES[outcome]), number)
        for outcome, number in zip(Outcome, figures.outcomes, strict=True)
        if number or outcome in ALWAYS_SHOWN
    ]
    return charts.shares("invitations", _("Invitations"), description, _("Result"), rows)


def _waits(figures: Statistics) -> Shares:
    return charts.of_waits(
        "waits",
        _("Time until invitations were accepted"),
        [duration(int(step.total_seconds())) for step in WAIT_STEPS],
        figures.waits,
        _median(figures),
    )


def routes(kind: ScopeKind, path: str) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        path: Path of the scope.
    """
    return {f"{path}statistics/": {"GET": Page(partial(_show, kind), "Show the statistics.")}}
