"""Check the strength of new passwords."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from collegium.text.languages import gettext as _

LENGTH: Final = 8
_EXAMINED_MAX: Final = 72
"""Number of characters that are examined. More only make the check slower."""
_LOOKALIKES: Final = str.maketrans("0134567@$!", "oleasbtasi")
_REPEATED: Final = re.compile(r"(.{1,4})\1+", re.DOTALL)
_WORD_MIN: Final = 3
"""Minimum length of a part of a name. Shorter ones occur in passwords by chance."""
_SIMILARITY_MAX: Final = 0.7
"""Share of a password that, made of personal data, makes it too similar."""


def normalized(password: str) -> str:
    """Return the form in which a password is hashed, NFC.

    Keyboards produce accents in several forms.
    """
    return unicodedata.normalize("NFC", password)


def spellings(password: str) -> tuple[str, ...]:
    """Return the forms in which a password may have been hashed, the current one first.

    Earlier releases hashed the input of the keyboard, which can be NFC or NFD.
    """
    return tuple(
        dict.fromkeys((normalized(password), password, unicodedata.normalize("NFD", password)))
    )


def password_errors(password: str, about: Iterable[str]) -> list[str]:
    """Return every error of a new password as a sentence; none if it is good enough.

    The sentences are in the current language.

    Args:
        about: personal data that an attacker would try first, such as the name.
    """
    # Imported here, because its dictionaries slow down the start and few processes need them.
    from zxcvbn import matching  # noqa: PLC0415 - see above

    password = normalized(password)
    errors = []
    if len(password) < LENGTH:
        errors.append(
            _("This password is too short. It must contain at least {length} characters.").format(
                length=LENGTH
            )
        )
    if password.isdigit():
        errors.append(_("This password is entirely numeric."))
    words = {word.lower() for text in about for word in (text, *re.split(r"[\W_]+", text))}
    # Call the matchers directly. The public function stores the personal data in a dictionary that
    # all threads share.
    dictionaries = {
        **matching.RANKED_DICTIONARIES,
        "user_inputs": {word: 1 for word in words if len(word) >= _WORD_MIN},
    }
    # Use only these matchers. Those for look-alike characters and repetitions take seconds for a
    # password that was made to be slow.
    examined = password[:_EXAMINED_MAX]
    matches = [
        *matching.dictionary_match(examined, dictionaries),
        *matching.dictionary_match(examined.translate(_LOOKALIKES), dictionaries),
        *matching.reverse_dictionary_match(examined, dictionaries),
        *matching.sequence_match(examined),
    ]
    personal_positions = {
        position
        for match in matches
        if match.get("dictionary_name") == "user_inputs"
        for position in range(match["i"], match["j"] + 1)
    }
    if personal_positions and len(personal_positions) >= _SIMILARITY_MAX * len(password):
        errors.append(_("This password is too similar to what is known of you."))
    if _REPEATED.fullmatch(password) or any(
        match["j"] - match["i"] + 1 == len(password)
        and (match.get("dictionary_name") == "passwords" or match["pattern"] == "sequence")
        for match in matches
    ):
        errors.append(_("This password is too common."))
    return errors
