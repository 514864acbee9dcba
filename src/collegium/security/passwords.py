"""Which passwords are good enough, wherever one is set."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LENGTH: Final = 8
_JUDGED: Final = 72
"""Beyond this many characters the judge only gets slower, not wiser."""
_LOOK_ALIKES: Final = str.maketrans("0134567@$!", "oleasbtasi")
_REPEATED: Final = re.compile(r"(.{1,4})\1+", re.DOTALL)
_WORD: Final = 3
"""A shorter part of a name is found in any password by chance."""
_SIMILAR: Final = 0.7
"""How much of a password may not be made of what is known of the person."""


def normalized(password: str) -> str:
    """Return the form in which a password is hashed, NFC: keyboards accent in several ways."""
    return unicodedata.normalize("NFC", password)


def spellings(password: str) -> tuple[str, ...]:
    """Return the forms in which a password may have been hashed, today's first.

    Earlier releases hashed what the keyboard sent, and keyboards send NFC or NFD.
    """
    return tuple(
        dict.fromkeys((normalized(password), password, unicodedata.normalize("NFD", password)))
    )


def password_errors(password: str, about: Iterable[str]) -> list[str]:
    """Say everything that is wrong with a password; nothing: it is good enough.

    Args:
        about: what is known of the person, which a guesser would try first.
    """
    # Its dictionaries cost start-up time, few need them.
    from zxcvbn import matching  # noqa: PLC0415

    password = normalized(password)
    found = []
    if len(password) < LENGTH:
        found.append(f"This password is too short. It must contain at least {LENGTH} characters.")
    if password.isdigit():
        found.append("This password is entirely numeric.")
    words = {word.lower() for text in about for word in (text, *re.split(r"[\W_]+", text))}
    # Not the library's own front door: that one leaves the person's words in a dictionary
    # which all threads share.
    dictionaries = {
        **matching.RANKED_DICTIONARIES,
        "user_inputs": {word: 1 for word in words if len(word) >= _WORD},
    }
    # Of its judges only these: the ones for look-alike signs and repetitions take seconds over
    # a password made to be slow.
    judged = password[:_JUDGED]
    matches = [
        *matching.dictionary_match(judged, dictionaries),
        *matching.dictionary_match(judged.translate(_LOOK_ALIKES), dictionaries),
        *matching.reverse_dictionary_match(judged, dictionaries),
        *matching.sequence_match(judged),
    ]
    about_them = {
        at
        for match in matches
        if match.get("dictionary_name") == "user_inputs"
        for at in range(match["i"], match["j"] + 1)
    }
    if about_them and len(about_them) >= _SIMILAR * len(password):
        found.append("This password is too similar to what is known of you.")
    if _REPEATED.fullmatch(password) or any(
        match["j"] - match["i"] + 1 == len(password)
        and (match.get("dictionary_name") == "passwords" or match["pattern"] == "sequence")
        for match in matches
    ):
        found.append("This password is too common.")
    return found
