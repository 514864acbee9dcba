"""Periods and classes of statistics."""

from datetime import UTC, date, datetime, timedelta, timezone
from time import tzset

import pytest

from collegium.statistics import rules
from collegium.web import charts

NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)
FIRST = datetime(2026, 3, 1, tzinfo=UTC)


def test_months_are_the_last_twelve_in_utc() -> None:
    assert rules.months(NOON)[0] == date(2025, 4, 1)
    assert rules.months(NOON)[8:10] == [date(2025, 12, 1), date(2026, 1, 1)]
    assert rules.months(NOON)[-1] == date(2026, 3, 1)
    ends = rules.month_ends(NOON)
    assert (len(ends), ends[0], ends[-2], ends[-1]) == (
        rules.MONTHS,
        datetime(2025, 5, 1, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
        NOON,
    )
    assert rules.since(NOON) == datetime(2025, 4, 1, tzinfo=UTC)
    # Already April there.
    east = datetime(2026, 4, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert rules.months(east) == rules.months(NOON)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_time_zone_of_the_machine_makes_no_difference(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rules.months(FIRST), rules.weeks(FIRST)
    monkeypatch.setenv("TZ", zone)
    tzset()
    try:
        found = rules.months(FIRST), rules.weeks(FIRST)
    finally:
        monkeypatch.undo()
        tzset()
    assert found == expected


def test_weeks_cover_ninety_days_from_today_on() -> None:
    weeks = rules.weeks(NOON)
    assert weeks[0] == (date(2026, 3, 15), date(2026, 3, 21))
    assert weeks[-1] == (date(2026, 6, 7), date(2026, 6, 12))
    assert sum((last - first).days + 1 for first, last in weeks) == rules.END_DAYS
    bounds = rules.week_bounds(NOON)
    assert (len(weeks), len(bounds)) == (rules.WEEKS, rules.WEEKS + 1)
    assert bounds[:2] == [NOON, datetime(2026, 3, 22, tzinfo=UTC)]
    assert bounds[-1] == datetime(2026, 6, 13, tzinfo=UTC)


def test_members_are_added_up_from_spans() -> None:
    spans = [(0, 12, 5), (1, 3, 2), (1, 2, 1), (11, 12, 1)]
    assert rules.members_by_month(iter(spans)) == [5, 8, 7, *([5] * 8), 6]
    assert rules.members_by_month([]) == [0] * rules.MONTHS


def test_waiting_times_have_classes_and_a_median() -> None:
    hour, day = 60, 24 * 60
    waits = [(7 * day, 1), (1, 2), (hour, 1), (hour + 1, 3), (7 * day + 1, 2)]
    assert rules.by_step(waits) == [3, 3, 0, 1, 2]
    assert rules.median(waits) == (hour + 1) * 60
    assert rules.median([(10, 2), (30, 2)]) == 20 * 60
    assert rules.median([(10, 1)]) == 10 * 60
    assert rules.median([(10, 1), (20, 1), (30, 1)]) == 20 * 60
    assert (rules.by_step([]), rules.median([])) == ([0] * 5, None)


@pytest.mark.parametrize(
    ("seconds", "rounded"),
    [
        (0, 60),
        (89, 60),
        (3599, 3600),
        (5500, 7200),
        (47.4 * 3600, 47 * 3600),
        (2.6 * 86400, 3 * 86400),
    ],
)
def test_durations_are_rounded_to_one_unit(seconds: float, rounded: int) -> None:
    assert rules.rounded(seconds) == rounded


def test_outcomes_are_counted_in_their_order_and_rare_ones_only_shown_if_they_happen() -> None:
    always = "accepted pending declined expired canceled"
    assert " ".join(rules.Outcome) == (
        "accepted pending held requested declined refused expired canceled"
    )
    assert set(always.split()) == rules.ALWAYS_SHOWN


def test_period_and_classes_are_those_of_the_pages() -> None:
    assert (rules.MONTHS, rules.END_DAYS, rules.WEEKS) == (12, 90, 13)
    hours = [step.total_seconds() / 3600 for step in rules.WAIT_STEPS]
    assert hours == [1, 24, 72, 168]
    assert (rules.OWNERS_MAX, rules.FEW_OWNERS, rules.LISTED_MAX) == (3, 1, 50)


def test_figures_cannot_be_changed() -> None:
    """They are kept for other requests."""
    figures = rules.Statistics(NOON, [], [], [], None, [])
    site = rules.SiteStatistics(figures, [], [])
    for kept, name in ((figures, "at"), (site, "figures")):
        with pytest.raises(AttributeError):
            setattr(kept, name, None)


@pytest.mark.parametrize(
    ("maximum", "scale"),
    [
        (0, [1, 0]),
        (1, [1, 0]),
        (4, [4, 3, 2, 1, 0]),
        (5, [6, 4, 2, 0]),
        (18, [20, 15, 10, 5, 0]),
        (41, [60, 40, 20, 0]),
        (1001, [1500, 1000, 500, 0]),
    ],
)
def test_scale_has_round_steps_and_room_for_the_maximum(maximum: int, scale: list[int]) -> None:
    assert charts.scale(maximum) == scale


def test_scale_of_any_number_is_short() -> None:
    for maximum in (*range(300), 10**6 + 1, 10**12 - 1):
        scale = charts.scale(maximum)
        assert scale[0] >= maximum
        assert 2 <= len(scale) <= 5
        assert scale[-1] == 0


@pytest.mark.parametrize(("every", "minor"), [(7, [8, 22]), (12, [])])
def test_chart_with_many_marks_has_fewer_on_a_phone(every: int, minor: list[int]) -> None:
    marks = ["" if (29 - day) % every else str(day) for day in range(30)]
    rows = [(f"day {day}", mark, day) for day, mark in enumerate(marks)]
    chart = charts.columns("days", "Days", "", "Day", rows)
    assert [at for at, column in enumerate(chart.columns) if column.is_minor] == minor
    assert not chart.columns[-1].is_minor
