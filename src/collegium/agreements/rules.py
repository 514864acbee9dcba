"""Decide which text of an agreement a person is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, Protocol, TypeVar

CONTENT_MAX: Final = 100_000
"""Maximum length of a text, in characters."""

LANGUAGE_MAX: Final = 10


class Kind(StrEnum):
    """The kinds of agreement."""

    TERMS = "terms"
    PRIVACY = "privacy"


class _Text(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def language(self) -> str: ...


T = TypeVar("T", bound=_Text)


def choose(texts: Iterable[T], languages: Sequence[str]) -> list[T]:
    """Return one text of each kind that has any, in the language that fits best.

    Args:
        texts: the current texts.
        languages: codes, the preferred one first. ``de-at`` also finds ``de``. If none fits, it is
            the default text, and without one the first text.
    """
    wanted = [
        code
        for language in languages
        for code in (language.lower(), language.lower().partition("-")[0])
    ]
    wanted.append("")
    chosen: dict[str, T] = {}
    for text in texts:
        other = chosen.get(text.kind)
        if other is None or _rank(text, wanted) < _rank(other, wanted):
            chosen[text.kind] = text
    return [chosen[kind] for kind in Kind if kind in chosen]


def _rank(text: _Text, wanted: Sequence[str]) -> int:
    return wanted.index(text.language) if text.language in wanted else len(wanted)
