"""The language of a text: catalogues of translations (GNU gettext), and dates in words (Babel).

The texts in the code are English, and they are the keys of the catalogues
``collegium/locale/<language>/LC_MESSAGES/collegium.mo``. A page or an e-mail is rendered inside
``with using("de"):``; what it shows goes through ``gettext`` or ``ngettext``. A text that is
defined before its language is known, such as a constant, is marked with ``mark`` and translated
where it is shown. Texts of the two APIs stay English, because their clients compare them.
"""

from __future__ import annotations

import gettext as gnu
import re
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeVar

K = TypeVar("K")

SOURCE: Final = "en"
"""The language of the texts in the code."""

CODE: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")
"""A language code in small letters: ``en``, ``pt-br`` (RFC 5646)."""

NAMES: Final = {
    "ar": "العربية",
    "de": "Deutsch",
    "en": "English",
    "es": "Español",
    "et": "Eesti",
    "fr": "Français",
    "lt": "Lietuvių",
}
"""Names of languages in themselves, for those that have translations."""

_HEADER_MAX: Final = 500
_RIGHT_TO_LEFT: Final = frozenset({"ar"})

DOMAIN: Final = "collegium"
LOCALE: Final = Path(__file__).parent.parent / "locale"

_current: Final[ContextVar[str]] = ContextVar("language", default=SOURCE)


def available() -> tuple[str, ...]:
    """Return the codes of the languages that pages and e-mails have."""
    return _available(LOCALE)


@cache
def _available(folder: Path) -> tuple[str, ...]:
    found = (path.parent.parent.name for path in folder.glob(f"*/LC_MESSAGES/{DOMAIN}.mo"))
    return (SOURCE, *sorted(found))


def first_available(*codes: str) -> str:
    """Return the first available language of some codes, else English.

    Args:
        codes: the preferred one first. ``de-at`` also finds ``de``.
    """
    return next(filter(None, map(if_available, codes)), SOURCE)


def if_available(code: str) -> str:
    """Return the available language of a code, empty if there is none. ``de-at`` finds ``de``."""
    name = code.lower().replace("_", "-")
    known = available()
    return next((one for one in (name, name.partition("-")[0]) if one in known), "")


def options(stored: str) -> list[tuple[str, str]]:
    """Return the codes and names of the available languages to choose from, by name.

    Args:
        stored: the present choice, which stays possible; empty for none.
    """
    names = {code: NAMES.get(code, code) for code in available()}
    if stored and stored not in names:
        names[stored] = stored
    return sorted(names.items(), key=lambda pair: pair[1])


def accepted(header: str) -> list[str]:
    """Return the languages of an ``Accept-Language`` header, the preferred one first.

    Args:
        header: RFC 9110, section 12.5.4; parts that are not understood are ignored.
    """
    weighed = []
    for part in header[:_HEADER_MAX].split(","):
        language, _separator, weight = part.strip().lower().partition(";q=")
        try:
            quality = float(weight or 1)
        except ValueError:
            continue
        if quality > 0 and CODE.fullmatch(language):
            weighed.append((-quality, language))
    return [language for _quality, language in sorted(weighed, key=lambda pair: pair[0])]


class using:  # noqa: N801 - used like a function
    """Translate into a language inside the block.

    A class, because every request has such a block, and a generator takes four times as long.

    Args:
        language: one that has a catalogue; texts of any other stay English.
    """

    __slots__ = ("_language", "_token")

    def __init__(self, language: str) -> None:
        self._language = language

    def __enter__(self) -> None:
        self._token = _current.set(self._language)

    def __exit__(self, *_error: object) -> None:
        _current.reset(self._token)


def use(language: str) -> None:
    """Translate into another language until the end of the block of ``using``."""
    _current.set(language)


def current() -> str:
    """Return the language of the block: ``en``, ``de``."""
    return _current.get()


@cache
def catalogue(language: str) -> gnu.NullTranslations:
    """Return the translations of a language; none for the language of the code."""
    return gnu.translation(DOMAIN, LOCALE, [language], fallback=True)


def gettext(text: str) -> str:
    """Return a text in the current language."""
    language = _current.get()
    return text if language == SOURCE else catalogue(language).gettext(text)


def ngettext(singular: str, plural: str, number: int) -> str:
    """Return a text in the current language, in the form that belongs to a number."""
    language = _current.get()
    if language == SOURCE:
        return singular if number == 1 else plural
    return catalogue(language).ngettext(singular, plural, number)


def mark(text: str) -> str:
    """Return the same text; marks it for the catalogues, to be translated where it is shown."""
    return text


def direction() -> str:
    """Return the direction of the current language, as HTML names it: ``ltr`` or ``rtl``."""
    return "rtl" if current() in _RIGHT_TO_LEFT else "ltr"


def day(at: date) -> str:
    """Return a date in words: ``29 November 2026``."""
    if current() == SOURCE:
        return f"{at.day} {at:%B %Y}"
    from babel.dates import format_date  # noqa: PLC0415 - most processes write English only

    return format_date(at, "long", locale=current())


def day_of_year(at: date) -> str:
    """Return a date in words, without its year: ``29 November``."""
    if current() == SOURCE:
        return f"{at.day} {at:%B}"
    from babel.dates import format_skeleton  # noqa: PLC0415 - as above

    return format_skeleton("MMMMd", at, locale=current())


def short_day(at: date) -> str:
    """Return a date in short, without its year: ``29 Nov``."""
    if current() == SOURCE:
        return f"{at.day} {at:%b}"
    from babel.dates import format_skeleton  # noqa: PLC0415 - as above

    return format_skeleton("MMMd", at, locale=current())


def month(at: date) -> str:
    """Return a month in words: ``November 2026``."""
    if current() == SOURCE:
        return f"{at:%B %Y}"
    from babel.dates import format_skeleton  # noqa: PLC0415 - as above

    return format_skeleton("yMMMM", at, locale=current())


def short_month(at: date) -> str:
    """Return a month in short, without its year: ``Nov``."""
    if current() == SOURCE:
        return f"{at:%b}"
    from babel.dates import format_date  # noqa: PLC0415 - as above

    return format_date(at, "LLL", locale=current())


def number(value: int) -> str:
    """Return a number with separators between thousands: ``12,345``."""
    if current() == SOURCE:
        return f"{value:,}"
    from babel.numbers import format_decimal  # noqa: PLC0415 - as above

    return format_decimal(value, locale=current())


def percent(part: int, whole: int) -> str:
    """Return a share in full per cent: ``45%``. Of nothing it is nothing."""
    share = part / whole if whole else 0.0
    if current() == SOURCE:
        return f"{share:.0%}"
    from babel.numbers import format_percent  # noqa: PLC0415 - as above

    return format_percent(share, locale=current())


def moment(at: datetime) -> str:
    """Return a date and time in words, in UTC: ``29 November 2026, 20:10 UTC``."""
    at = at.astimezone(UTC)
    return gettext("{day}, {time} UTC").format(day=day(at), time=f"{at:%H:%M}")


_NEAR_DAYS: Final = 30
"""Number of days, in both directions, in which people count days rather than read a date."""

_SAME_REQUEST_SECONDS: Final = 5
"""A time that is at most so far ahead is now: what a request writes is newer than its beginning."""

_Unit = Literal["minute", "hour", "day"]
_UNITS: Final[tuple[tuple[_Unit, int, int], ...]] = (
    ("minute", 60, 60),
    ("hour", 3600, 24),
    ("day", 86_400, _NEAR_DAYS + 1),
)
"""Name, seconds, and the number from which on the next unit is used."""


def distance(at: datetime, now: datetime) -> str:
    """Return how far a time is away in words: ``in 9 days``, ``2 hours ago``.

    Empty for a time that is more than 30 days away: a date says more then.
    """
    seconds = (at - now).total_seconds()
    if -60 < seconds < _SAME_REQUEST_SECONDS:  # noqa: PLR2004 - a minute
        return gettext("just now")
    for unit, size, end in _UNITS:
        number = max(round(abs(seconds) / size), 1)
        if number < end:
            return _counted(number, unit, size, is_past=seconds < 0)
    return ""


def _counted(number: int, unit: _Unit, size: int, *, is_past: bool) -> str:
    if current() == SOURCE:
        words = f"{number} {unit}{'' if number == 1 else 's'}"
        return f"{words} ago" if is_past else f"in {words}"
    from babel.dates import format_timedelta  # noqa: PLC0415 - as above

    delta = timedelta(seconds=-number * size if is_past else number * size)
    # No number reaches the threshold of a longer unit: weeks and months are not wanted.
    return format_timedelta(
        delta, granularity=unit, threshold=size, add_direction=True, locale=current()
    )


def translated(labels: Mapping[K, str]) -> dict[K, str]:
    """Return marked labels in the current language."""
    return {key: gettext(label) for key, label in labels.items()}
