"""Two presses that are processed at the same moment make one thing; on both databases."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import Table

from collegium.db.statements import Statement
from collegium.db.tables import accounts, invitations, invite_links, organisations, tokens
from collegium.invitations import links
from collegium.settings import Settings
from tests.races.test_races import together
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.team import Scene, make
from tests.support.world import World

__all__ = ["together"]

ROUNDS = 8
PRESSES = 4
PASSWORD = "purple tram lifts nine"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.fixture
def scene(world: World) -> Scene:
    return make(world)


def count(world: World, which: Table) -> int:
    with world.database.read() as tx:
        return len(tx.fetch_all(Statement(which.select())))


def press(
    together: Callable[..., list[httpx.Response]],
    site: Site,
    browser: Browser,
    path: str,
    **form: str,
) -> list[httpx.Response]:
    """Load a page, and press its button several times before any answer has come."""
    page = browser.open(path)
    found = re.search(r'name="submission" value="([\w-]+)"', page.text)
    assert found
    data = {"csrf": browser.csrf, "submission": found[1], **form}
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())

    def one() -> httpx.Response:
        return site.request("POST", path, headers={"Cookie": cookies}, data=data)

    answers = together(*[one] * PRESSES)
    # The site's client is everybody's.
    site._client.cookies.clear()
    return answers


def test_presses_at_one_moment_make_one_thing(
    site: Site, scene: Scene, together: Callable[..., list[httpx.Response]]
) -> None:
    world = scene.world
    browser = Browser(site).sign_in(world, world.staff)
    role = world.role("PROJECT.MEMBER").uuid
    project = scene.paths["project"]
    forms: list[tuple[str, Table, dict[str, Any]]] = [
        ("/staff/organisations/new/", organisations, {"name": "Initech"}),
        (f"{project}link/", invite_links, {"role": role}),
        (f"{project}invite/", invitations, {"role": role, "action": "send"}),
        ("/account/tokens/", tokens, {"name": "laptop"}),
    ]
    for turn in range(ROUNDS):
        for path, which, form in forms:
            if "invite" in path:
                form = form | {"addresses": f"one{turn}@example.org"}  # noqa: PLW2901
            before = count(world, which)
            answers = press(together, site, browser, path, **form)
            assert count(world, which) == before + 1, path
            assert {answer.status_code for answer in answers} <= {200, 303}, path
            assert len({answer.headers.get("location") for answer in answers}) == 1
            if which is tokens:
                shown = {found for one in answers for found in re.findall(r"clg_[\w-]+", one.text)}
                assert len(shown) == 1
            if which is invitations:
                assert all("Invitations sent" in answer.text for answer in answers)


def test_presses_at_one_moment_sign_up_once_and_each_signs_in(
    site: Site, scene: Scene, together: Callable[..., list[httpx.Response]]
) -> None:
    world = scene.world
    for turn in range(ROUNDS // 2):
        uuid = world.invite(
            scene.people["owner"], f"new{turn}@example.org", "PROJECT.MEMBER", scene.project
        )
        before = count(world, accounts)
        answers = press(
            together,
            site,
            Browser(site),
            f"/invitation/{world.vault.sign(links.MAILED, uuid, 1)}/",
            username=f"newcomer{turn}",
            first_name="New",
            last_name="Comer",
            password=PASSWORD,
            again=PASSWORD,
            agrees="yes",
        )
        assert [answer.status_code for answer in answers] == [303] * PRESSES
        assert {answer.headers["location"] for answer in answers} == {"/account/"}
        assert count(world, accounts) == before + 1
        for answer in answers:
            cookies = answer.headers.get_list("set-cookie")
            assert any(
                line.startswith("collegium_session=") and "Max-Age=0" not in line
                for line in cookies
            )
