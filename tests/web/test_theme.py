"""The colour of the operator: every colour gives pages that can be read."""

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from collegium.settings import SettingsError, load
from collegium.web import page, theme
from tests.support.browser import Browser
from tests.support.site import Site

PARTS = (0.0, 0.5, 1.0)
BLACK, WHITE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
GROUNDS = {  # --paper and --card of the style sheet
    "light": ("#fbfaf7", "#ffffff"),
    "dark": ("#14181f", "#1b212a"),
}


def rules(code: str) -> list[dict[str, str]]:
    """Return the colours of each rule: light, dark, and both with more contrast."""
    return [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", rule))
        for rule in theme.accents(code).splitlines()
    ]


@pytest.mark.parametrize("colour", list(product(PARTS, repeat=3)))
def test_every_colour_can_be_read_in_every_theme(colour: tuple[float, float, float]) -> None:
    light, dark, *strong = rules(theme._code(colour))
    for name, tokens, ratio in (
        ("light", light, 4.5),
        ("dark", dark, 4.5),
        ("light", strong[0], 7),
        ("dark", strong[1], 7),
    ):
        accent, on, wash = (theme._read(tokens[one]) for one in ("accent", "on-accent", "wash"))
        for ground in (on, wash, *map(theme._read, GROUNDS[name])):
            # The colours are rounded to 1/255.
            assert theme.contrast(accent, ground) > ratio - 0.05, (name, tokens, ground)


def test_readable_colour_is_kept() -> None:
    assert rules("#1d5aa6")[0]["accent"] == "#1d5aa6"


def test_style_sheet_has_the_colour_and_another_address() -> None:
    address, text = page.style(None)
    own_address, own_text = page.style("#7a1fa2")
    assert own_text.startswith(text)
    assert b"--accent: #7a1fa2" in own_text
    assert own_address != address


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_pages_show_the_logo_and_the_colour_of_the_operator(
    site_with: Callable[..., Site], tmp_path: Path
) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    browser = Browser(site_with(site_logo=str(logo), site_colour="#7A1FA2"))
    shown = browser.open("/sign_in/").text
    assert '<img src="/api/icons/site_logo/" alt=""' in shown
    (sheet,) = re.findall(r'<link rel="stylesheet" href="([^"]+)"', shown)
    assert "--accent: #7a1fa2" in browser.open(sheet).text


@pytest.mark.parametrize("colour", ["red", "#12345", "#1234567", "#12345g", "1d5aa6"])
def test_what_is_no_colour_is_an_error_of_the_settings(colour: str) -> None:
    with pytest.raises(SettingsError, match="a colour: #1d5aa6"):
        load({"COLLEGIUM_SITE_COLOUR": colour})
