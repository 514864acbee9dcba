"""Names that people type: the stored form, the comparable form and the form for sorting."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from collegium.text.confusables import BLANK, HIDDEN, IGNORABLE
from collegium.text.email_addresses import lower_letters

SORT_KEY_MAX: Final = 200
"""Maximum length of a sort key in characters. Names that differ only after it are sorted by id."""

LINK: Final = "://"

# Without NUL: no database can store it, so it is refused wherever text is read.
_CONTROL_CHARACTERS: Final = "\x01-\x1f\x7f-\x9f\u2028\u2029"
_SPACE: Final = r"\s"
_CONTROLS: Final = re.compile(f"[{_CONTROL_CHARACTERS}]+")
_BIDI_CONTROLS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_OVERRIDES: Final = re.compile("[\u202a-\u202e\u2066\u2067]")
_TRIMMED: Final = re.compile(f"[{_SPACE}{_CONTROL_CHARACTERS}{IGNORABLE}{BLANK}]")
_INVISIBLE: Final = frozenset({"Mn", "Me", "Cf", "Cc", "Cs"})
"""Categories of characters that are invisible alone but may stand beside others."""

_SORT_LETTERS: Final = str.maketrans(
    {
        "\u00e6": "ae",
        "\u0153": "oe",
        "\u00f8": "o",
        "\u0142": "l",
        "\u0111": "d",
        "\u00f0": "d",
        "\u00fe": "th",
        "\u0127": "h",
        "\u0131": "i",
        "\u0167": "t",
        "\u014b": "n",
        "\u0259": "e",
    }
)
"""Letters that have no accent to remove, with the letters under which people look for them."""


def trim(text: str) -> str:
    """Remove white space, control characters and invisible characters from both ends."""
    first, last = 0, len(text)
    while first < last and _TRIMMED.match(text[first]):
        first += 1
    while last > first and _TRIMMED.match(text[last - 1]):
        last -= 1
    return text[first:last]


def remove_hidden(text: str) -> str:
    """Remove all invisible characters, also those inside the text."""
    return HIDDEN.sub("", text)


def without_controls(text: str) -> str:
    """Replace control characters and line ends by spaces."""
    return _CONTROLS.sub(" ", text)


def clean_name(text: str) -> str:
    """Return the stored form of a name, or "" if none of its characters is visible.

    The form is NFC. Control characters and line ends become a space. Characters that change the
    reading direction are removed, and so are invisible characters at the ends. Joiners and
    variation selectors inside a name stay, because some scripts need them.

    Args:
        text: the name. The caller must have checked its length.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    text = _BIDI_CONTROLS.sub("", without_controls(text))
    text = trim(unicodedata.normalize("NFC", text))
    return text if any(map(_is_visible, text)) else ""


def holds_link(text: str) -> bool:
    """Return whether e-mail programs would turn a part of the text into a link."""
    if LINK in text:
        return True
    return not text.isascii() and LINK in unicodedata.normalize("NFKC", HIDDEN.sub("", text))


def isolated(text: str) -> str:
    """Return a text in a form that does not change the reading direction of the sentence around it.

    Right-to-left text is put between isolates (UAX #9: FSI, PDI). Other text needs none.
    """
    if text.isascii() or not any(map(_reads_from_right, text)):
        return text
    return f"\u2068{_BIDI_CONTROLS.sub('', text)}\u2069"


def keep_isolates(text: str) -> str:
    """Remove characters that change the reading direction, except correctly paired isolates."""
    if text.isascii():
        return text
    text = _OVERRIDES.sub("", text)
    depth = 0
    for char in text:
        depth += (char == "\u2068") - (char == "\u2069")
        if depth < 0:
            break
    return text if depth == 0 else _BIDI_CONTROLS.sub("", text)


def without_link(text: str) -> str:
    """Break links in a name. Such names were stored before links in names were refused."""
    return text.replace(LINK, ": //")


def comparable_name(name: str) -> str:
    """Return the comparable form of a name. No two groups may have the same one.

    Letter case, white space and invisible characters make no difference. As with addresses, no
    letter becomes another letter or more than one.
    """
    return " ".join(lower_letters(HIDDEN.sub("", name)).split())


def typed_username(text: str) -> str:
    """Return the user name that a person typed by hand. Phones start words with a capital letter.

    User names are ASCII. Other letters never become ASCII letters.
    """
    return lower_letters(trim(text))


@lru_cache(maxsize=4096)
def sort_key(text: str) -> str:
    """Return the key by which lists sort a name.

    It has no letter case, accents or invisible characters. Sorting keys by code points gives the
    order that people expect, the same on every database. Equal keys are sorted by id.
    """
    text = text[:500]
    if not text.isascii():
        text = unicodedata.normalize("NFKD", HIDDEN.sub("", text))
        text = "".join(char for char in text if not unicodedata.combining(char))
    text = text.casefold().translate(_SORT_LETTERS)
    return unicodedata.normalize("NFC", " ".join(text.split()))[:SORT_KEY_MAX]


def _reads_from_right(char: str) -> bool:
    return unicodedata.bidirectional(char) in {"R", "AL", "AN"}


def _is_visible(char: str) -> bool:
    return not _TRIMMED.match(char) and unicodedata.category(char) not in _INVISIBLE
