"""Names that people type: what is kept of one, when two are the same, and how lists sort them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from collegium.text.confusables import BLANK, HIDDEN, IGNORABLE
from collegium.text.email_addresses import lower_letters

SORT_KEY_MAX: Final = 200
"""Characters of a sort key; what differs only after them is sorted by id."""

LINK: Final = "://"

# All but NUL, which is refused wherever a text is read: no database can hold it.
_CONTROL: Final = "\x01-\x1f\x7f-\x9f\u2028\u2029"
_SPACE: Final = r"\s"
_CONTROLS: Final = re.compile(f"[{_CONTROL}]+")
_BIDI_CONTROLS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_OVERRIDES: Final = re.compile("[\u202a-\u202e\u2066\u2067]")
_EDGE: Final = re.compile(f"[{_SPACE}{_CONTROL}{IGNORABLE}{BLANK}]")
_UNSEEN: Final = frozenset({"Mn", "Me", "Cf", "Cc", "Cs", "Zs", "Zl", "Zp"})

_LETTERS: Final = str.maketrans(
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
"""Letters that have no accent to take away, and that people look for under another letter."""


def trim(text: str) -> str:
    """Remove white space, controls and invisible characters from both ends."""
    first, last = 0, len(text)
    while first < last and _EDGE.match(text[first]):
        first += 1
    while last > first and _EDGE.match(text[last - 1]):
        last -= 1
    return text[first:last]


def remove_hidden(text: str) -> str:
    """Remove every invisible character, from the middle as well."""
    return text if text.isascii() else HIDDEN.sub("", text)


def without_controls(text: str) -> str:
    """Put a space in place of controls and line ends."""
    return _CONTROLS.sub(" ", text)


def clean_name(text: str) -> str:
    """Return what is kept of a name; empty when nothing of it can be seen.

    In NFC; controls and line ends become a space, signs that turn the reading direction go, and so
    does what is invisible at the ends. Within a name, joiners and variants stay: scripts need them.

    Args:
        text: no longer than some bound that the caller has judged before.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    text = _BIDI_CONTROLS.sub("", without_controls(text))
    text = trim(unicodedata.normalize("NFC", text))
    return text if any(map(_is_visible, text)) else ""


def holds_link(text: str) -> bool:
    """Tell whether mail programs would make a link of a part of the text."""
    if LINK in text:
        return True
    return not text.isascii() and LINK in unicodedata.normalize("NFKC", HIDDEN.sub("", text))


def isolated(text: str) -> str:
    """Return a text that does not turn the sentence around it.

    What reads from the right is put between isolates (UAX 9: FSI, PDI); the rest needs none.
    """
    if text.isascii() or not any(map(_reads_from_right, text)):
        return text
    return f"\u2068{_BIDI_CONTROLS.sub('', text)}\u2069"


def keep_isolates(text: str) -> str:
    """Remove what turns the reading direction, but for isolates that end where they should."""
    if text.isascii():
        return text
    text = _OVERRIDES.sub("", text)
    depth = 0
    for sign in text:
        depth += (sign == "\u2068") - (sign == "\u2069")
        if depth < 0:
            break
    return text if depth == 0 else _BIDI_CONTROLS.sub("", text)


def without_link(text: str) -> str:
    """Return a name that was written when names could hold links, as one that is no link."""
    return text.replace(LINK, ": //") if LINK in text else text


def comparable_name(name: str) -> str:
    """Return the form in which no two groups have the same name.

    Letter case, white space and what cannot be seen make no difference; as with addresses, no
    letter becomes another one's or two.
    """
    return " ".join(lower_letters(HIDDEN.sub("", name)).split())


def typed_username(text: str) -> str:
    """Return the user name that somebody means who types it by hand: phones begin with a capital.

    User names are ASCII; what is not becomes no letter of it.
    """
    return lower_letters(trim(text))


@lru_cache(maxsize=4096)
def sort_key(text: str) -> str:
    """Return what lists sort a name by: letters alone, without case and accents.

    Sorted by code points it puts names in the order in which people look for them, on every
    database alike; equal keys are sorted by id.
    """
    text = text[:500]
    if not text.isascii():
        text = unicodedata.normalize("NFKD", HIDDEN.sub("", text))
        text = "".join(sign for sign in text if not unicodedata.combining(sign))
    text = text.casefold().translate(_LETTERS)
    return unicodedata.normalize("NFC", " ".join(text.split()))[:SORT_KEY_MAX]


def _reads_from_right(sign: str) -> bool:
    return unicodedata.bidirectional(sign) in {"R", "AL", "AN"}


def _is_visible(sign: str) -> bool:
    return not _EDGE.match(sign) and unicodedata.category(sign) not in _UNSEEN
