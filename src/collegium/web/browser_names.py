"""What browsers are called on the page of sessions.

A session keeps its name in English, and it is translated where it is shown.
"""

from __future__ import annotations

from typing import Final

from collegium.text.languages import gettext as _
from collegium.text.languages import mark

_NAME_MAX: Final = 150

_SYSTEMS: Final = (
    ("iPhone", mark("{browser} on an iPhone")),
    ("iPad", mark("{browser} on an iPad")),
    ("Android", mark("{browser} on Android")),
    ("Windows", mark("{browser} on Windows")),
    ("Mac OS X", mark("{browser} on a Mac")),
    ("CrOS", mark("{browser} on a Chromebook")),
    ("Linux", mark("{browser} on Linux")),
)
_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_UNKNOWN: Final = mark("Unknown browser")
_PARTS: Final = {
    text.format(browser=browser): (text, browser)
    for _system, text in _SYSTEMS
    for _product, browser in _BROWSERS
} | {_UNKNOWN: (_UNKNOWN, "")}
"""The marked text and the browser of every name that has a system."""


def name_of(agent: str) -> str:
    """Return the browser and system of a ``User-Agent`` header, such as "Firefox on Linux".

    The beginning of the header is the name of what is no known browser.
    """
    browser = next((name for product, name in _BROWSERS if product in agent), "")
    text = next((text for system, text in _SYSTEMS if system in agent), "{browser}")
    if browser:
        return text.format(browser=browser)
    printable = "".join(token if token.isprintable() else " " for token in agent)
    return printable[:_NAME_MAX].strip() or _UNKNOWN


def in_current_language(name: str) -> str:
    """Return the name of a session in the language of the reader."""
    text, browser = _PARTS.get(name, ("", ""))
    return _(text).format(browser=browser) if text else name
