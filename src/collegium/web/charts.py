"""Small bar charts, drawn on the server as SVG, each with a description and a table.

The picture holds no text. It is as wide as the page, so text in it would be too small on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from collegium.text import languages
from collegium.text.languages import gettext as _
from collegium.text.languages import ngettext

HEIGHT: Final = 100
_GAP: Final = 0.12
_HEIGHT_MIN: Final = 2.0
"""Minimum height of a bar whose number is not 0."""


@dataclass(frozen=True)
class Bar:
    """A bar. The picture is ``HEIGHT`` units high and one unit wide for each bar."""

    label: str
    number: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """A chart.

    Args:
        name: Prefix of the element ids on the page.
        description: What the chart shows, in sentences.
        column: Table heading of the bars' labels.
        ends: Labels below the chart: all, or the first and the last.
    """

    name: str
    title: str
    description: str
    column: str
    bars: list[Bar]
    ends: list[str]


def of_days(
    days: Sequence[date], name: str, title: str, numbers: Sequence[int], *, adds_up: bool = True
) -> Chart:
    """Return the chart of one number per day.

    Args:
        days: The days, oldest first.
        numbers: One number for each day.
        adds_up: Whether the sum of the numbers means anything.
    """
    labels = [languages.day_of_year(day) for day in days]
    maximum = max(numbers)
    description = _("Maximum {maximum} a day ({day}), {today} today.").format(
        maximum=maximum, day=labels[numbers.index(maximum)], today=numbers[-1]
    )
    if adds_up:
        description = _("{total} in total. {description}").format(
            total=sum(numbers), description=description
        )
    description = (
        description
        if maximum
        else ngettext("None in the last day.", "None in the last {days} days.", len(days)).format(
            days=len(days)
        )
    )
    return Chart(
        name, title, description, _("Day"), _bars(labels, numbers), [labels[0], labels[-1]]
    )


def of_steps(name: str, title: str, steps: Sequence[str], numbers: Sequence[int]) -> Chart:
    """Return the histogram of durations.

    Args:
        steps: Upper limits of the classes, as text.
        numbers: Count of each class, then the count of everything longer than the last limit.
    """
    total = sum(numbers)
    description = _("None in this period.")
    if total:
        late = numbers[-1] or _("none")
        description = _("Of {total}, {number} took up to {first}, {late} more than {last}.").format(
            total=total, number=numbers[0], first=steps[0], late=late, last=steps[-1]
        )
    labels = [*steps, _("longer")]
    return Chart(name, title, description, _("Up to"), _bars(labels, numbers), labels)


def _bars(labels: Sequence[str], numbers: Sequence[int]) -> list[Bar]:
    maximum = max(numbers)
    drawn = []
    for index, (label, number) in enumerate(zip(labels, numbers, strict=True)):
        height = max(HEIGHT * number / maximum, _HEIGHT_MIN) if number else 0.0
        left, width = index + _GAP, 1 - 2 * _GAP
        drawn.append(Bar(label, number, left, round(HEIGHT - height, 2), width, round(height, 2)))
    return drawn
