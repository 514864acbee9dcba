"""Which passwords are good enough, wherever one is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LENGTH: Final = 8
_JUDGED: Final = 72
"""Beyond this many characters the judge only gets slower, not wiser."""


def faults(password: str, about: Iterable[str]) -> list[str]:
    """Say everything that is wrong with a password; nothing: it is good enough.

    Args:
        about: what is known of the person, which a guesser would try first.
    """
    from zxcvbn import zxcvbn  # noqa: PLC0415 - its dictionaries cost start-up time, few need them

    found = []
    if len(password) < LENGTH:
        found.append(f"This password is too short. It must contain at least {LENGTH} characters.")
    if password.isdigit():
        found.append("This password is entirely numeric.")
    words = [word for text in about for word in (text, text.split("@")[0]) if word]
    judged = zxcvbn(password[:_JUDGED], user_inputs=words, max_length=_JUDGED)
    whole = [match for match in judged["sequence"] if match["token"] == password]
    for match in whole:
        if match.get("dictionary_name") == "user_inputs":
            found.append("This password is too similar to what is known of you.")
        elif match.get("dictionary_name") == "passwords":
            found.append("This password is too common.")
    return found
