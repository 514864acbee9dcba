"""Text from elsewhere, made harmless for a header, a sentence or a column."""

import unicodedata
from typing import Final

from collegium.text.confusables import BIDI_CONTROLS
from collegium.text.names import isolated, keep_isolates, without_link

# Control characters, separators of lines and paragraphs, halves of characters.
_INVISIBLE: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})


def one_line(text: str) -> str:
    """Give a text as one line: no line ends, no control characters, single spaces."""
    return " ".join("".join(map(_visible, text)).split())


def name_line(text: str) -> str:
    """Return a name for a sentence of a mail: it turns nothing around it, and is no link."""
    return isolated(without_link(one_line(text)))


def subject_line(text: str) -> str:
    """Return the subject of a mail: one line, in which names stay isolated."""
    shown = "".join(" " if unicodedata.category(sign) in _INVISIBLE else sign for sign in text)
    return " ".join(keep_isolates(shown).split())


def paragraph(text: str) -> str:
    """Give a text with its lines, and without any other control character."""
    return "\n".join(one_line(line) for line in text.strip().splitlines())


def short(text: str, width: int) -> str:
    """Cut a text that is longer than ``width``, and show that it was cut."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _visible(character: str) -> str:
    hidden = character in BIDI_CONTROLS or unicodedata.category(character) in _INVISIBLE
    return " " if hidden else character
