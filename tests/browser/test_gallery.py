"""Every page in every state: nothing for axe to find, a keyboard is enough.

With ``PICTURES=1`` in the environment it leaves pictures of them in ``var/screens/``. No test reads
them, and they take four tenths of the time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import SCREENS, House
from tests.browser.scene import Scene

WIDTHS = (1280, 360)
PICTURES = os.environ.get("PICTURES") == "1"
NARROWEST = 320
PARTS = ("table", "rowgroup", "row", "columnheader", "cell")
THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")


@pytest.fixture(scope="module")
def axe() -> str:
    base = pytest.importorskip("axe_playwright_python")
    return (Path(base.__file__).parent / "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def scene(house: House) -> Scene:
    if PICTURES:
        shutil.rmtree(SCREENS, ignore_errors=True)
        SCREENS.mkdir(parents=True)
    return Scene(house)


def faults(page: Page, axe: str, rules: list[str] | None = None) -> list[tuple[str, list[str]]]:
    """What axe finds wrong with a page."""
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(axe)
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found: Any = page.evaluate("options => axe.run(options)", options)
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]
    ]


def judge(page: Page, axe: str, name: str) -> None:
    """Find nothing wrong with a page, and take its pictures if they are wanted."""
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        for width in WIDTHS if PICTURES else WIDTHS[-1:]:
            page.set_viewport_size({"width": width, "height": 800})
            if PICTURES:
                page.screenshot(path=SCREENS / f"{name}-{width}-{theme}.png", full_page=True)
        # Only colours differ from one theme to the other.
        wrong = faults(page, axe, ["color-contrast"] if theme == THEMES[1] else None)
        assert not wrong, f"{name}, {theme}: {wrong}"
    page.set_viewport_size({"width": NARROWEST, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{name}: {wide} pixels too wide at {NARROWEST}"
    _reach_with_tab(page, name)


def _reach_with_tab(page: Page, name: str) -> None:
    wanted = page.evaluate(
        """() => {
            document.activeElement.blur();
            window.getSelection().removeAllRanges();
            const all = [...document.querySelectorAll("a[href], button, input, select, textarea")];
            const open = all.filter(one => one.type !== "hidden");
            const seen = window.seen = new Map();
            document.addEventListener("focusin", ({target}) => {
                seen.set(target.outerHTML, getComputedStyle(target).outlineStyle);
            });
            return open.map(one => one.outerHTML);
        }"""
    )
    # What unfolds is a stop of its own; a date is one for each of its parts.
    more = page.locator("summary").count() + 3 * page.locator("input[type=date]").count()
    for _ in range(len(wanted) + more + 1):
        page.keyboard.press("Tab")
    reached = dict(page.evaluate("[...window.seen]"))
    assert set(wanted) <= set(reached), f"{name}: {set(wanted) - set(reached)} are not reached"
    assert "none" not in reached.values(), f"{name}: nothing shows where the focus is"


@pytest.mark.timeout(300)
def test_every_page(
    house: House, scene: Scene, axe: str, visit: Callable[..., Page], subtests: Any
) -> None:
    for who, stops in scene.tour():
        page = visit(house.base, scripts=True)
        if who:
            page.context.add_cookies(
                [
                    {
                        "name": "collegium_session",
                        "value": scene.session(who),
                        "url": house.base,
                    }
                ]
            )
        for name, go in stops:
            with subtests.test(name):
                go(page)
                judge(page, axe, name)


def test_axe_would_find_something(axe: str, visit: Callable[..., Page]) -> None:
    page = visit("http://127.0.0.1", scripts=True)
    page.set_content("<img src='x'><p style='color: #999; background: #aaa'>Hidden</p>")
    assert {"image-alt", "color-contrast", "html-has-lang"} <= {one for one, _ in faults(page, axe)}


def test_a_table_stays_one_on_a_telephone(
    house: House, scene: Scene, visit: Callable[..., Page]
) -> None:
    """As those hear it who cannot see it: the style sheet makes cards of the rows there."""
    page = visit(house.base)
    page.context.add_cookies(
        [
            {
                "name": "collegium_session",
                "value": scene.session(scene.owner),
                "url": house.base,
            }
        ]
    )
    heard = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"/project/{scene.project.uuid}/")
        tree: Any = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
        roles = [one["role"]["value"] for one in tree["nodes"] if not one["ignored"]]
        heard[width] = {role: roles.count(role) for role in PARTS}
    first, *others = heard.values()
    assert all(first.values()), heard
    # Left to itself this browser hears no head there.
    assert first["rowgroup"] == 2, heard
    assert all(other == first for other in others), heard
