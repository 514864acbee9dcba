"""A form sent several times at the same moment has one effect, on both databases."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import Table

from collegium.db.statements import Statement
from collegium.db.tables import accounts, invitations, invite_links, organisations, tokens
from collegium.invitations import links
from collegium.settings import Settings
from tests.races.conftest import Together
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import World

ROUNDS = 8
TIMES = 4
PASSWORD = "purple tram lifts nine"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


def count(world: World, table: Table) -> int:
    with world.database.read() as tx:
        return len(tx.fetch_all(Statement(table.select())))


def send_several_times(
    together: Together, site: Site, browser: Browser, path: str, **form: str
) -> list[httpx.Response]:
    """Open a page and send its form several times before the first response."""
    page = browser.open(path)
    match = re.search(r'name="submission" value="([\w-]+)"', page.text)
    assert match
    data = {"csrf": browser.csrf, "submission": match[1], **form}
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())

    send = partial(site.request, "POST", path, headers={"Cookie": cookies}, data=data)
    responses: list[httpx.Response] = together(*[send] * TIMES)
    return responses


def test_form_sent_several_times_at_once_creates_one_object(
    site: Site, scene: Scene, together: Together
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
    for number in range(ROUNDS):
        for path, table, form in forms:
            if "invite" in path:
                form["addresses"] = f"one{number}@example.org"
            before = count(world, table)
            responses = send_several_times(together, site, browser, path, **form)
            assert count(world, table) == before + 1, path
            assert {response.status_code for response in responses} <= {200, 303}, path
            assert len({response.headers.get("location") for response in responses}) == 1
            if table is tokens:
                texts = "".join(response.text for response in responses)
                assert len(set(re.findall(r"clg_[\w-]+", texts))) == 1
            if table is invitations:
                assert all("Invitations sent" in response.text for response in responses)


def test_sign_up_sent_several_times_at_once_creates_one_account(
    site: Site, scene: Scene, together: Together
) -> None:
    world = scene.world
    for number in range(ROUNDS // 2):
        email, owner = f"new{number}@example.org", scene.people["owner"]
        uuid = world.invite(owner, email, "PROJECT.MEMBER", scene.project)
        before = count(world, accounts)
        responses = send_several_times(
            together,
            site,
            Browser(site),
            f"/invitation/{world.vault.sign(links.MAILED, uuid, 1)}/",
            username=f"newcomer{number}",
            first_name="New",
            last_name="Comer",
            password=PASSWORD,
            again=PASSWORD,
            own_address="yes",
            agrees="yes",
        )
        assert [response.status_code for response in responses] == [303] * TIMES
        assert {response.headers["location"] for response in responses} == {"/account/"}
        assert count(world, accounts) == before + 1
        for response in responses:
            cookies = "\n".join(response.headers.get_list("set-cookie"))
            assert re.search(r"(?m)^collegium_session=(?!.*Max-Age=0)", cookies)
