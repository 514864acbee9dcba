"""Make text from outside safe for an e-mail header, a sentence or a column."""

import re
import textwrap
import unicodedata
from typing import Final

from collegium.text import languages
from collegium.text.confusables import BIDI_CONTROLS
from collegium.text.names import isolated, keep_isolates, without_link

# Control characters, line and paragraph separators, surrogates.
_INVISIBLE: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})

# What a line begins with: an indentation, the mark of a list item, or that of a quotation.
_MARK: Final = re.compile(r"^ *(?:\* |> )?")
_ISOLATE: Final = re.compile("\u2068[^\u2069]*\u2069")


def one_line(text: str) -> str:
    """Return a text as one line without control characters and with single spaces."""
    return " ".join("".join(map(_replace_invisible, text)).split())


def name_line(text: str) -> str:
    """Return a name for a sentence in an e-mail.

    It cannot change the reading direction or be a link. Among right-to-left text every name is
    isolated; among other text only those that are written from right to left.
    """
    line = without_link(one_line(text))
    if line and languages.direction() == "rtl":
        return f"\u2068{line}\u2069"
    return isolated(line)


def code_line(text: str) -> str:
    """Return a text that people copy from an e-mail, such as a user name: without isolates."""
    return without_link(one_line(text))


def subject_line(text: str) -> str:
    """Return the subject of an e-mail as one line. Isolates around names stay."""
    visible = "".join(" " if unicodedata.category(char) in _INVISIBLE else char for char in text)
    return " ".join(keep_isolates(visible).split())


def paragraph(text: str) -> str:
    """Return a text with its line ends, but without other control characters."""
    return "\n".join(one_line(line) for line in text.strip().splitlines())


def short(text: str, width: int) -> str:
    """Cut a text to ``width`` characters. An ellipsis shows that it was cut.

    An isolated name stays isolated.
    """
    if text.startswith("\u2068") and text.endswith("\u2069"):
        return f"\u2068{short(text[1:-1], width)}\u2069"
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def fill(text: str, width: int = 72) -> str:
    """Return the text of an e-mail with lines of at most ``width`` characters.

    The further lines of a paragraph, a list item and a quoted line are indented as the first one.
    A word without spaces, such as a link, stays whole. Several empty lines become one.
    """
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip():
            lines += _wrapped(line, width)
        elif lines and lines[-1]:
            lines.append("")
    return "\n".join(lines).strip("\n") + "\n"


def _wrapped(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    (mark,) = _MARK.findall(line)
    # The end of a line ends an isolate, so a name in one stays on one line.
    joined = _ISOLATE.sub(lambda found: found[0].replace(" ", "\x00"), line[len(mark) :])
    wrapped = textwrap.wrap(
        joined,
        width,
        initial_indent=mark,
        subsequent_indent=mark.replace("*", " "),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [one.replace("\x00", " ") for one in wrapped]


def _replace_invisible(char: str) -> str:
    is_hidden = char in BIDI_CONTROLS or unicodedata.category(char) in _INVISIBLE
    return " " if is_hidden else char
