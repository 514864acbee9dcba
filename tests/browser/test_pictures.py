"""The pictures of the documentation. ``PICTURES=1`` writes them to ``docs/pictures/``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from PIL import Image
from playwright.sync_api import Page, ViewportSize

from tests.browser.conftest import LiveService
from tests.browser.scene import Scene, Step, fill_and_press, in_order, to
from tests.browser.test_every_page import PICTURES, sign_in_as
from tests.operations.test_docs import PICTURES_FOLDER
from tests.support.world import Person

SIZE: Final[ViewportSize] = {"width": 1000, "height": 720}
COLOURS = 48
PATIENCE_MS = 60_000

pytestmark = pytest.mark.skipif(not PICTURES, reason="PICTURES=1 writes the pictures")


def viewers(scene: Scene) -> Iterator[tuple[Person | None, list[Step]]]:
    """Yield the ten pages for each viewer."""
    here = f"/project/{scene.project.uuid}/"
    pasted = "Nora New <nora@example.org>\nno address\nolaf@example.org\nines@example.org"
    rows = ("Iris,In,member", "Olaf,Old,Professor", "Nora,New,member,2027-06-30", "Ida,Idle,member")
    file = "E-mail,First name,Last name,Role,Until\n" + "".join(
        f"person{at}@uni.example,{row}\n" for at, row in enumerate(rows)
    )
    judged = fill_and_press("Or paste a list", f"{file}nobody,,,,\n", "Check file")
    yield None, [("invitation", to(scene._invitation(scene.invited)))]
    yield scene.ada, [("overview", to("/"))]
    yield (
        scene.owner,
        [
            ("teams", to("/teams/")),
            ("members", to(here)),
            (
                "list-of-people",
                in_order(
                    to(f"{here}invite/"), fill_and_press("E-mail addresses", pasted, "Check list")
                ),
            ),
            ("import", in_order(to(f"{here}imports/"), judged)),
            ("invitations", to(f"{here}invitations/")),
            ("join-requests", to("/requests/")),
            ("audit-log", to(f"{here}history/")),
        ],
    )
    yield scene.world.staff, [("staff", to("/staff/"))]


def save(picture: bytes, path: Path) -> None:
    """Save a picture with few colours, which pages of plain colours do not miss."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


@pytest.mark.timeout(600)
def test_pictures_are_written(live: LiveService, open_window: Callable[..., Page]) -> None:
    PICTURES_FOLDER.mkdir(exist_ok=True)
    for old in PICTURES_FOLDER.glob("*.png"):
        old.unlink()
    scene = Scene(live)
    for who, steps in viewers(scene):
        page = open_window(live.base)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(SIZE)
        page.set_default_timeout(PATIENCE_MS)
        if who:
            sign_in_as(page, scene.session(who), live.base)
        for name, go in steps:
            go(page)
            # A page that is still being replaced cannot be taken.
            page.wait_for_load_state("networkidle")
            save(page.screenshot(), PICTURES_FOLDER / f"{name}.png")
