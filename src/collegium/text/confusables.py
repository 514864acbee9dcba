"""What a text looks like to people, who cannot see of which signs it is made."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

BIDI_CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Signs that turn the reading direction of what follows: good for dressing up an address."""

# Default_Ignorable_Code_Point of Unicode, the fillers of Hangul among them.
IGNORABLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
# The blank of Braille and the empty head of a note have a shape of their own, which is none; so
# have the marks around notes.
BLANK: Final = "\u2800\ufff9-\ufffb\U0001d159"
HIDDEN: Final = re.compile(f"[{IGNORABLE}{BLANK}]")
"""What takes no ink, wherever it stands."""

_ALIKE: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})
"""Alphabets with letters that look like those of another."""

_SKELETON: Final = (("0", "o"), ("1", "l"), ("i", "l"), ("rn", "m"), ("vv", "w"), ("5", "s"))
_RESERVED: Final = frozenset(
    {"admin", "administrator", "collegium", "operator", "root", "staff", "support", "system"}
)


def is_reserved_username(username: str) -> bool:
    """Tell whether a user name reads like that of somebody who runs the service."""
    return _skeleton(username) in _AUTHORITIES


def _skeleton(username: str) -> str:
    """Give what names that look alike have in common."""
    plain = re.sub(r"[_.@+-]+", "", username)
    for sign, other in _SKELETON:
        plain = plain.replace(sign, other)
    return plain


_AUTHORITIES: Final = frozenset(map(_skeleton, _RESERVED))


def is_single_script(address: str) -> bool:
    """Tell whether an e-mail address is the one that it looks like.

    It is not where a sign stands for another one, as wide letters do and letters with loose
    accents, or where one of its words mixes alphabets that share shapes.
    """
    if address.isascii():
        return True
    if unicodedata.normalize("NFKC", address) != address:
        return False
    return all(len(_scripts(word)) <= 1 for word in re.split(r"[^\w]|_", address))


def _scripts(word: str) -> frozenset[str]:
    names = (unicodedata.name(sign, "").partition(" ")[0] for sign in word if sign.isalpha())
    return _ALIKE.intersection(names)
