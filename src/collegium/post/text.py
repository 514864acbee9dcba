"""Text from elsewhere, made harmless for a header, a sentence or a column."""

import unicodedata
from typing import Final

from collegium.rules.looks import TURNING

# Control characters, separators of lines and paragraphs, halves of characters.
_INVISIBLE: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})


def one_line(text: str) -> str:
    """Give a text as one line: no line ends, no control characters, single spaces."""
    return " ".join("".join(map(_visible, text)).split())


def paragraph(text: str) -> str:
    """Give a text with its lines, and without any other control character."""
    return "\n".join(one_line(line) for line in text.strip().splitlines())


def short(text: str, width: int) -> str:
    """Cut a text that is longer than ``width``, and show that it was cut."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _visible(character: str) -> str:
    hidden = character in TURNING or unicodedata.category(character) in _INVISIBLE
    return " " if hidden else character
