"""When a project ends."""

from datetime import date

import pytest

from collegium.scopes.projects.rules import effective_end, is_in_grace_period

END = date(2026, 3, 30)


@pytest.mark.parametrize(
    ("days", "of_organisation", "expected"),
    [
        (None, None, END),
        (3, None, date(2026, 4, 2)),
        (None, 2, date(2026, 4, 1)),
        (3, 9, date(2026, 4, 2)),
        (0, 9, END),
        (2**31 - 1, None, date.max),
    ],
)
def test_grace_period_of_a_project_goes_before_that_of_its_organisation(
    days: int | None, of_organisation: int | None, expected: date
) -> None:
    assert effective_end(END, days, of_organisation) == expected
    assert effective_end(None, days, of_organisation) is None


def test_grace_period_begins_after_the_last_day() -> None:
    for today, expected in (
        (END, False),
        (date(2026, 3, 31), True),
        (date(2026, 4, 1), True),
        (date(2026, 4, 2), False),
    ):
        assert is_in_grace_period(today, END, 2, None) is expected
        assert is_in_grace_period(today, END, None, 2) is expected
    assert not is_in_grace_period(END, None, 2, None)
