"""How dates, people and states look on pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from zlib import crc32

from markupsafe import Markup

from collegium.text import languages
from collegium.web import messages

HUES: Final = 6
"""Number of colours that initials have; the style sheet has a class for each."""

_TONES: Final = {
    **dict.fromkeys(("pending", "requested", "queued", "judged", "running", "undoing"), "waiting"),
    **dict.fromkeys(("judging", "waiting", "chosen"), "waiting"),
    **dict.fromkeys(("accepted", "approved", "sent", "done", "active", "ready", "created"), "good"),
    **dict.fromkeys(("rejected", "failed", "blocked", "malformed", "refused"), "bad"),
}
"""State → class of its label. Any other is over, and has neither colour nor sign."""


def near(at: datetime, now: datetime) -> Markup:
    """Return a time relative to now: ``2 hours ago``, with the exact one for those who want it.

    The exact time is shown when a pointer rests there, and read by screen readers. A time that is
    more than 30 days away is shown as its date.
    """
    exact = languages.moment(at)
    distance = languages.distance(at, now)
    if not distance:
        return _time(at, exact, languages.day(at))
    return _time(at, exact, distance, Markup('<span class="hidden"> ({})</span>').format(exact))


def ends(at: datetime, now: datetime, *, with_time: bool = False) -> Markup:
    """Return the day on which something ends, with a label if that is soon or over.

    Args:
        with_time: show the time of the day too, for what lives for hours.
    """
    exact = languages.moment(at)
    day = _time(at, exact, exact if with_time else languages.day(at))
    distance = languages.distance(at, now)
    if not distance:
        return day
    return Markup('{}<br><span class="state warn">{}</span>').format(day, distance)


def _time(at: datetime, exact: str, text: str, more: str = "") -> Markup:
    # A phone, where no pointer rests, shows the label of a near end beside its date.
    machine = at.astimezone(UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}" title="{}">{}{}</time>').format(machine, exact, text, more)


def part_of(path: str, parts: Iterable[str]) -> str:
    """Return the path of the tab to which a page belongs: the longest that its path begins with.

    Args:
        path: path of the page, such as ``/account/profile/picture/``.
        parts: paths of the tabs, such as ``/account/`` and ``/account/profile/``.
    """
    return max((part for part in parts if path.startswith(part)), key=len, default="")


def tone(state: str) -> str:
    """Return the class of the label of a state: ``waiting``, ``good``, ``bad``; empty for over."""
    return _TONES.get(state, "")


def initials(row: Any, prefix: str = "") -> str:
    """Return the first letters of the first and the last name, or of the user name.

    Args:
        row: see ``messages.person``.
        prefix: as there.
    """
    names = [getattr(row, f"{prefix}{part}_name") or "" for part in ("first", "last")]
    letters = [first for first in map(first_letter, names) if first]
    return "".join(letters) or first_letter(messages.person(row, prefix)) or "?"


def first_letter(name: str) -> str:
    """Return the first letter or digit of a name as a capital; empty if there is none."""
    return next((character.upper()[:1] for character in name if character.isalnum()), "")


def hue(name: str) -> int:
    """Return the number of the colour of an account: the same on every page and machine."""
    return crc32(name.encode("utf-8", "replace")) % HUES
