"""Every page in every state: axe finds no error, and a keyboard is enough.

``PICTURES=1`` in the environment writes pictures to ``var/screens/``, which takes 40 % of the time.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import SCREENS, LiveService
from tests.browser.scene import Scene

WIDTHS = (1280, 360)
PICTURES = os.environ.get("PICTURES") == "1"
NARROWEST = 320
TWO_ROWS = 104
"""Pixels of a header with two rows of links."""
PARTS = ("table", "rowgroup", "row", "columnheader", "cell")
THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")


@pytest.fixture(scope="module")
def axe() -> str:
    base = pytest.importorskip("axe_playwright_python")
    return (Path(base.__file__).parent / "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def scene(live: LiveService) -> Scene:
    if PICTURES:
        shutil.rmtree(SCREENS, ignore_errors=True)
        SCREENS.mkdir(parents=True)
    return Scene(live)


def violations(
    page: Page, axe: str, part: Literal["all", "structure", "contrast"] = "all"
) -> list[tuple[str, list[str]]]:
    """Return the violations that axe finds.

    Args:
        part: the contrast of the elements that ``_NEW_COLOURS`` has found; everything else; or the
            whole page with all rules.
    """
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(axe)
    # Neither selectors of the elements nor rules without violations are of interest.
    options: dict[str, Any] = {"resultTypes": ["violations"], "selectors": False, "preload": False}
    if part == "structure":
        options["rules"] = {"color-contrast": {"enabled": False}}
    elif part == "contrast":
        options["runOnly"] = ["color-contrast"]
    found: Any = page.evaluate(
        """async ([options, isPart]) => {
            const context = isPart ? {include: window.newColours} : document;
            return (await axe.run(context, options)).violations.map(
                ({id, nodes}) => [id, nodes.map(({html}) => html.slice(0, 200))]
            );
        }""",
        [options, part == "contrast"],
    )
    return [(rule, elements) for rule, elements in found]


def sign_in_as(page: Page, token: str, url: str) -> None:
    page.context.add_cookies([{"name": "collegium_session", "value": token, "url": url}])


def set_width(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})


# The elements with text whose colours no earlier page had, and what their colours depend on: tag
# and class, with those of the parent; text and all backgrounds behind it, as the browser computed
# them.
_NEW_COLOURS = """known => {
    const seen = new Set(known);
    const name = one => `${one.tagName}.${one.className}${one.disabled ? ":disabled" : ""}`;
    const behind = new Map([[document, ""]]);
    const isText = one => one.nodeType === Node.TEXT_NODE && one.textContent.trim();
    window.newColours = [];
    for (const one of [document.documentElement, ...document.body.querySelectorAll("*")]) {
        const style = getComputedStyle(one);
        const own = `${style.backgroundColor} ${style.backgroundImage} ${style.opacity}`;
        const before = behind.get(one.parentNode) ?? behind.get(document.documentElement);
        behind.set(one, own === "rgba(0, 0, 0, 0) none 1" ? before : `${before}, ${own}`);
        if (![...one.childNodes].some(isText) && !("placeholder" in one || "selected" in one)) {
            continue;
        }
        const key = [
            name(one.parentElement), name(one), behind.get(one), style.color, style.fontSize,
            style.fontWeight, style.textShadow,
        ].join(" ");
        if (!seen.has(key)) {
            seen.add(key);
            window.newColours.push(one);
        }
    }
    return [...seen].slice(known.length);
}"""


# Pixels that are too many, primary actions, current tabs outside of the window, the height of the
# header, and links of it that are too small.
_LAYOUT = """() => {
    const texts = found => found.map(one => one.textContent.trim());
    const buttons = "main button:not(.quiet, .danger, .plain), main .button:not(.quiet, .danger)";
    const isOutside = one => {
        const {left, right} = one.getBoundingClientRect();
        return left < 0 || right > innerWidth;
    };
    const isSmall = one => one.checkVisibility() && one.getBoundingClientRect().height < 44;
    return [
        document.documentElement.scrollWidth - innerWidth,
        texts([...document.querySelectorAll(buttons)].filter(one => one.checkVisibility())),
        texts([...document.querySelectorAll(".tabs [aria-current]")].filter(isOutside)),
        document.querySelector(".bar")?.offsetHeight ?? 0,
        texts([...document.querySelectorAll(".bar a, .bar button")].filter(isSmall)),
    ];
}"""


def check_page(page: Page, axe: str, name: str, known: set[str], colours: list[str]) -> None:
    """Check a page in both themes, and write its pictures if requested.

    Args:
        known: elements that earlier pages of this viewer have shown to be reached with Tab.
        colours: what the colours of elements depend on whose contrast earlier pages have shown.
    """
    wrong = violations(page, axe, "structure")
    assert not wrong, f"{name}: {wrong}"
    new = page.evaluate(_NEW_COLOURS, colours)
    for theme in THEMES if PICTURES or new else ():
        page.emulate_media(color_scheme=theme)
        for width in WIDTHS if PICTURES else ():
            set_width(page, width)
            page.screenshot(path=SCREENS / f"{name}-{width}-{theme}.png", full_page=True)
        wrong = violations(page, axe, "contrast") if new else []
        assert not wrong, f"{name}, {theme}: {wrong}"
    page.emulate_media(color_scheme=THEMES[0])
    colours += new
    if PICTURES:
        set_width(page, NARROWEST)
    wide, primary, hidden, header, small = page.evaluate(_LAYOUT)
    assert header < TWO_ROWS, f"{name}: the header has {header} pixels at {NARROWEST}"
    assert not small, f"{name}: {small} of the header are too small to be touched"
    assert wide <= 0, f"{name}: {wide} pixels too wide at {NARROWEST}"
    assert len(primary) <= 1, f"{name}: which is the primary action? {primary}"
    assert not hidden, f"{name}: {hidden} is current, and not to be seen at {NARROWEST}"
    _reach_with_tab(page, name, known)


# The elements that Tab must reach, each with all elements around it: the outline of a focus depends
# on nothing else. If the ends of the page are known, only what is between them is walked through.
_START_WALK = """known => {
    document.activeElement.blur();
    window.getSelection().removeAllRanges();
    const all = [...document.querySelectorAll("a[href], button, input, select, textarea")];
    // What a closed menu hides is reached after it is opened.
    const isShown = element => element.checkVisibility() || !element.closest(".switch, [popover]");
    const open = all.filter(element => element.type !== "hidden" && isShown(element));
    const around = one => one ? `${around(one.parentElement)} ${one.tagName}.${one.className}` : "";
    const named = element => `${around(element.parentElement)} ${element.outerHTML}`;
    const isNew = element => !known.includes(named(element));
    const first = open.findIndex(isNew);
    if (first < 0) {
        return [];
    } else if (first > 0) {
        open[first - 1].focus();
    }
    const seen = window.seen = new Map();
    document.addEventListener("focusin", ({target}) => {
        seen.set(named(target), getComputedStyle(target).outlineStyle);
    });
    return open.slice(first, open.findLastIndex(isNew) + 1).map(named);
}"""


def _reach_with_tab(page: Page, name: str, known: set[str]) -> None:
    expected = page.evaluate(_START_WALK, sorted(known))
    if not expected:
        return
    # A summary is one more stop, a date has three.
    more = page.locator("summary").count() + 3 * page.locator("input[type=date]").count()
    # A key that is held down moves on like one that is pressed again, at half the cost.
    for _ in range(len(expected) + more + 1):
        page.keyboard.down("Tab")
    page.keyboard.up("Tab")
    reached = dict(page.evaluate("[...window.seen]"))
    assert set(expected) <= set(reached), f"{name}: {set(expected) - set(reached)} are not reached"
    assert "none" not in reached.values(), f"{name}: the focus is not visible"
    known |= set(expected)


@pytest.mark.timeout(300)
def test_every_page_is_accessible(
    live: LiveService, scene: Scene, axe: str, open_window: Callable[..., Page], subtests: Any
) -> None:
    colours: list[str] = []
    for who, steps in scene.viewers():
        page = open_window(live.base, scripts=True)
        page.add_init_script(axe)  # sent once instead of for every page
        set_width(page, NARROWEST)
        if who:
            sign_in_as(page, scene.session(who), live.base)
        known: set[str] = set()
        for name, go in steps:
            with subtests.test(name):
                go(page)
                check_page(page, axe, name, known, colours)


def test_axe_finds_known_errors(axe: str, open_window: Callable[..., Page]) -> None:
    page = open_window("http://127.0.0.1", scripts=True)
    page.set_content("<img src='x'><p style='color: #999; background: #aaa'>Hidden</p>")
    rules = {rule for rule, _ in violations(page, axe)}
    assert {"image-alt", "color-contrast", "html-has-lang"} <= rules


def test_table_stays_a_table_on_a_narrow_screen(
    live: LiveService, scene: Scene, open_window: Callable[..., Page]
) -> None:
    """The style sheet shows rows as cards; screen readers still get a table."""
    page = open_window(live.base)
    sign_in_as(page, scene.session(scene.owner), live.base)
    counts = {}
    for width in WIDTHS:
        set_width(page, width)
        page.goto(f"/project/{scene.project.uuid}/")
        tree: Any = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
        roles = [node["role"]["value"] for node in tree["nodes"] if not node["ignored"]]
        counts[width] = {role: roles.count(role) for role in PARTS}
    first, *others = counts.values()
    assert all(first.values()), counts
    assert first["rowgroup"] == 2, counts
    assert all(other == first for other in others), counts
