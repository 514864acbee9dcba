"""Detect texts that look like other texts (confusable characters, Unicode UTS #39)."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

BIDI_CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the reading direction of following text. They can disguise an address."""

# Unicode's Default_Ignorable_Code_Point, including the fillers of Hangul.
IGNORABLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
# The Braille blank, the null notehead and the marks around annotations are not ignorable for
# Unicode, but show nothing either.
BLANK: Final = "\u2800\ufff9-\ufffb\U0001d159"
HIDDEN: Final = re.compile(f"[{IGNORABLE}{BLANK}]")
"""Matches characters that are invisible everywhere."""

_CONFUSABLE_SCRIPTS: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})
"""Scripts with letters that look like letters of another script."""

_REPLACEMENTS: Final = (("0", "o"), ("1", "l"), ("i", "l"), ("rn", "m"), ("vv", "w"), ("5", "s"))
_RESERVED: Final = frozenset(
    {"admin", "administrator", "collegium", "operator", "root", "staff", "support", "system"}
)


def is_reserved_username(username: str) -> bool:
    """Return whether a user name looks like that of somebody who runs the service."""
    return _skeleton(username) in _AUTHORITIES


def _skeleton(username: str) -> str:
    """Return a form that is equal for user names that look alike."""
    skeleton = re.sub(r"[_.@+-]+", "", username)
    for char, lookalike in _REPLACEMENTS:
        skeleton = skeleton.replace(char, lookalike)
    return skeleton


_AUTHORITIES: Final = frozenset(map(_skeleton, _RESERVED))


def is_single_script(address: str) -> bool:
    """Return whether an e-mail address contains no characters that imitate others.

    It is False if a character stands for another one, such as full-width letters and separate
    accents, or if one of its words mixes scripts with similar letters.
    """
    if address.isascii():
        return True
    if unicodedata.normalize("NFKC", address) != address:
        return False
    return all(len(_scripts(word)) <= 1 for word in re.split(r"[^\w]|_", address))


def _scripts(word: str) -> frozenset[str]:
    names = (unicodedata.name(char, "").partition(" ")[0] for char in word if char.isalpha())
    return _CONFUSABLE_SCRIPTS.intersection(names)
