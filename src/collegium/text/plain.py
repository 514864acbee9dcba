"""Make text from outside safe for an e-mail header, a sentence or a column."""

import unicodedata
from typing import Final

from collegium.text.confusables import BIDI_CONTROLS
from collegium.text.names import isolated, keep_isolates, without_link

# Control characters, line and paragraph separators, surrogates.
_INVISIBLE: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})


def one_line(text: str) -> str:
    """Return a text as one line without control characters and with single spaces."""
    return " ".join("".join(map(_replace_invisible, text)).split())


def name_line(text: str) -> str:
    """Return a name for a sentence in an e-mail.

    It cannot change the reading direction or be a link.
    """
    return isolated(without_link(one_line(text)))


def subject_line(text: str) -> str:
    """Return the subject of an e-mail as one line. Isolates around names stay."""
    visible = "".join(" " if unicodedata.category(char) in _INVISIBLE else char for char in text)
    return " ".join(keep_isolates(visible).split())


def paragraph(text: str) -> str:
    """Return a text with its line ends, but without other control characters."""
    return "\n".join(one_line(line) for line in text.strip().splitlines())


def short(text: str, width: int) -> str:
    """Cut a text to ``width`` characters. An ellipsis shows that it was cut."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _replace_invisible(char: str) -> str:
    is_hidden = char in BIDI_CONTROLS or unicodedata.category(char) in _INVISIBLE
    return " " if is_hidden else char
