"""Small charts: bars that are drawn on the server, and what they say in words and as a table.

No text is in the picture, which is as wide as the page lets it be: a phone would make it too
small to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

HEIGHT: Final = 100
_GAP: Final = 0.12
_LEAST: Final = 2.0
"""So high is a bar at least that stands for anything at all."""


@dataclass(frozen=True)
class Bar:
    """A bar, in units of a picture that is ``HEIGHT`` high and as wide as there are bars."""

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
        name: what its parts are called by in the page.
        said: what it shows, in sentences.
        column: what its bars stand for.
        ends: what stands under it: all labels, or the first and the last.
    """

    name: str
    title: str
    said: str
    column: str
    bars: list[Bar]
    ends: list[str]


def of_days(
    days: Sequence[date], name: str, title: str, numbers: Sequence[int], *, adds_up: bool = True
) -> Chart:
    """Draw a number a day.

    Args:
        adds_up: whether all of them together mean anything.
    """
    labels = [f"{day.day} {day:%B}" for day in days]
    most = max(numbers)
    said = f"At most {most} on a day ({labels[numbers.index(most)]}); {numbers[-1]} today."
    if adds_up:
        said = f"{sum(numbers)} in all. {said}"
    said = said if most else f"None in these {len(days)} days."
    return Chart(name, title, said, "Day", _bars(labels, numbers), [labels[0], labels[-1]])


def of_steps(name: str, title: str, steps: Sequence[str], numbers: Sequence[int]) -> Chart:
    """Draw how many things took how long.

    Args:
        steps: up to how long; what took longer than the last is the last of the numbers.
    """
    every = sum(numbers)
    said = "Nothing in these days."
    if every:
        late = numbers[-1] or "none"
        said = f"Of {every}, {numbers[0]} took up to {steps[0]}, {late} longer than {steps[-1]}."
    labels = [*steps, "longer"]
    return Chart(name, title, said, "Up to", _bars(labels, numbers), labels)


def _bars(labels: Sequence[str], numbers: Sequence[int]) -> list[Bar]:
    most = max(numbers)
    drawn = []
    for at, (label, number) in enumerate(zip(labels, numbers, strict=True)):
        height = max(HEIGHT * number / most, _LEAST) if number else 0.0
        left, width = at + _GAP, 1 - 2 * _GAP
        drawn.append(Bar(label, number, left, round(HEIGHT - height, 2), width, round(height, 2)))
    return drawn
