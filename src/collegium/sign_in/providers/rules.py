"""Pure rules of OpenID providers and of sign-ins with them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

SIGN_IN_SECONDS: Final = 10 * 60
"""Time from the start of a sign-in at a provider until its return, in seconds."""

EXCHANGE_SECONDS: Final = 60
"""Lifetime of the code that a front end exchanges for a token, in seconds."""


class Registration(StrEnum):
    """Who gets a new account at the first sign-in with a provider."""

    OFF = "off"
    INVITED = "invited"
    OPEN = "open"


class Purpose(StrEnum):
    """What a browser went to a provider for."""

    SIGN_IN = "sign_in"
    LINK = "link"
    CONFIRM = "confirm"
