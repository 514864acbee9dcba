"""Charts, drawn on the server as SVG, each with a description and its numbers.

``columns`` draws a number for each day, week or month; ``shares`` the parts of a whole as a table
with bars. The pictures hold no text: they are as wide as the page, so text in them would be too
small on a phone. What they show is written beside them, and each column has its number as a
tooltip. ``chart_parts.html`` renders them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from collegium.text import languages
from collegium.text.languages import gettext as _
from collegium.text.languages import ngettext
from collegium.web.messages import sentence_case

HEIGHT: Final = 100
_GAP: Final = 0.12
_LEAST: Final = 2.0
"""Minimum height or width of a bar whose number is not 0."""

_LINES: Final = 4
"""Maximum number of lines above the base line."""

_NARROW_MARKS: Final = 4
"""Maximum number of marks below a chart on a phone."""


@dataclass(frozen=True)
class Column:
    """A column. The picture is ``HEIGHT`` units high and one unit wide for each column.

    Args:
        label: in the table and in the tooltip.
        mark: below the column; empty for none.
        is_minor: whether the mark is left out on a phone, where it would lie over the next one.
    """

    label: str
    mark: str
    is_minor: bool
    number: str
    is_empty: bool
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Columns:
    """A chart of columns.

    Args:
        name: Prefix of the element ids on the page.
        description: What the chart shows, in sentences.
        heading: Table heading of the labels.
        lines: The scale from the top to the base line: height of the line, and its number.
    """

    name: str
    title: str
    description: str
    heading: str
    columns: list[Column]
    lines: list[tuple[float, str]]


@dataclass(frozen=True)
class Share:
    """A part of a whole. Its bar is ``width`` units long; the longest bar has ``HEIGHT``."""

    label: str
    number: str
    percent: str
    width: float


@dataclass(frozen=True)
class Shares:
    """A table of the parts of a whole, each with a bar. The arguments are those of ``Columns``."""

    name: str
    title: str
    description: str
    heading: str
    shares: list[Share]


def columns(
    name: str,
    title: str,
    description: str,
    heading: str,
    rows: Sequence[tuple[str, str, int]],
) -> Columns:
    """Return a chart of columns.

    Args:
        rows: Label, mark below the column (empty for none) and number of each column.
    """
    ticks = scale(max(number for _label, _mark, number in rows))
    top = ticks[0]
    marked = [index for index, (_label, mark, _number) in enumerate(rows) if mark]
    # The last one is kept: it is today.
    minor = marked[-2::-2] if len(marked) > _NARROW_MARKS else []
    drawn = []
    for index, (label, mark, number) in enumerate(rows):
        height = max(HEIGHT * number / top, _LEAST) if number else 0.0
        drawn.append(
            Column(
                label,
                mark,
                index in minor,
                languages.number(number),
                not number,
                index + _GAP,
                round(HEIGHT - height, 2),
                1 - 2 * _GAP,
                round(height, 2),
            )
        )
    lines = [(round(HEIGHT - HEIGHT * tick / top, 2), languages.number(tick)) for tick in ticks]
    return Columns(name, title, description, heading, drawn, lines)


def shares(
    name: str, title: str, description: str, heading: str, rows: Sequence[tuple[str, int]]
) -> Shares:
    """Return a table of the parts of a whole.

    Args:
        rows: Label and number of each part.
    """
    numbers = [number for _label, number in rows]
    total, longest = sum(numbers), max(numbers, default=0)
    drawn = [
        Share(
            sentence_case(label),
            languages.number(number),
            languages.percent(number, total),
            round(max(HEIGHT * number / longest, _LEAST), 2) if number else 0.0,
        )
        for label, number in rows
    ]
    return Shares(name, title, description, heading, drawn)


def scale(maximum: int) -> list[int]:
    """Return the numbers of a scale with round steps, from at least the maximum down to 0."""
    least, step, factors = maximum / _LINES, 1, (2, 5, 10)
    power = 1
    while step < least:
        step = next((power * factor for factor in factors if power * factor >= least), power * 10)
        power *= 10
    top = max(1, -(-maximum // step)) * step
    return list(range(top, -1, -step))


def of_days(
    days: Sequence[date], name: str, title: str, numbers: Sequence[int], *, adds_up: bool = True
) -> Columns:
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
    marks = [
        languages.short_day(day) if (len(days) - 1 - at) % _DAYS_BETWEEN == 0 else ""
        for at, day in enumerate(days)
    ]
    rows = list(zip(labels, marks, numbers, strict=True))
    return columns(name, title, description, _("Day"), rows)


_DAYS_BETWEEN: Final = 7
"""Days between two names below a chart, counted back from today."""


def of_waits(
    name: str, title: str, steps: Sequence[str], numbers: Sequence[int], median: str = ""
) -> Shares:
    """Return the distribution of durations.

    Args:
        steps: Upper limits of the classes, as text.
        numbers: Count of each class, then the count of everything longer than the last limit.
        median: As text; empty if it is not known.
    """
    total = sum(numbers)
    description = _("None in this period.")
    if total:
        late = numbers[-1] or _("none")
        description = _("Of {total}, {number} took up to {first}, {late} more than {last}.").format(
            total=total, number=numbers[0], first=steps[0], late=late, last=steps[-1]
        )
    if total and median:
        description += " " + _("Half of them took no longer than {median}.").format(median=median)
    labels = [
        *(_("up to {duration}").format(duration=step) for step in steps),
        _("longer"),
    ]
    return shares(name, title, description, _("Time"), list(zip(labels, numbers, strict=True)))
