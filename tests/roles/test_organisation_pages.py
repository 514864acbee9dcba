"""The staff page for the roles of one organisation."""

from __future__ import annotations

import pytest

from collegium.roles import queries as role_queries
from tests.roles.scene import add_availability
from tests.support.browser import Browser, text
from tests.support.world import Place, World

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
MEMBER = "PROJECT.MEMBER"


def send(browser: Browser, path: str, **fields: str) -> str:
    browser.open(path)
    answer = browser.send(path, **fields)
    return text(answer if answer.status_code == 422 else browser.follow(answer))


def used(world: World, organisation: Place) -> list[str]:
    with world.database.read() as tx:
        return [row.name for row in role_queries.of_kind(tx, "project", organisation.id)]


def test_role_is_copied_released_concealed_and_used_again(world: World, browser: Browser) -> None:
    browser.sign_in(world, world.staff)
    sea, air = world.organisation("Sea"), world.organisation("Air")
    here = f"/staff/organisations/{sea.uuid}/roles/"
    member = world.role(MEMBER).uuid
    assert "This organisation uses every role." in text(browser.open(here))
    fields = {"action": "copy", "copied": member, "description": "Sailor", "conceals": "yes"}
    assert "The role is copied." in send(browser, here, **fields)
    assert MEMBER not in used(world, sea)
    (name,) = set(used(world, sea)) - set(used(world, air))
    with world.database.read() as tx:
        copy = role_queries.existing(tx, name)
    assert copy.description == "Sailor"
    assert "has a copy of this role already" in send(browser, here, **fields)
    page = browser.open(here).text
    # The names that people see; the names in the API are beside them.
    assert f"Sailor {name} Release Sailor" in text(browser.open(here))
    assert f"Project member {MEMBER} Use again Project member" in text(browser.open(here))
    records = {
        action: page.split(f'value="{action}"')[0].rpartition('name="role" value="')[2][:32]
        for action in ("release", "reveal")
    }
    other = f"/staff/organisations/{air.uuid}/roles/"
    for action, record in records.items():
        browser.open(other)
        assert browser.send(other, action=action, role=record).status_code == 404
    assert "uses the role again" in send(browser, here, action="reveal", role=records["reveal"])
    assert MEMBER in used(world, sea)
    page_text = send(browser, here, action="release", role=records["release"])
    assert "The role exists in every organisation now." in page_text
    assert name in used(world, air)
    assert "does not use the role any more" in send(browser, here, action="conceal", role=member)
    assert MEMBER not in used(world, sea)


def test_last_role_that_adds_members_stays(world: World, browser: Browser) -> None:
    browser.sign_in(world, world.staff)
    here = f"/staff/organisations/{world.organisation().uuid}/roles/"
    owner = world.role("CUSTOMER.OWNER").uuid
    answers = [send(browser, here, action="conceal", role=owner) for _ in range(1)]
    assert "Nobody could add members any more." in answers[-1]
    browser.open(here)
    for role in ("", "x" * 5000, "0" * 32):
        assert browser.send(here, action="conceal", role=role).status_code == 404


def test_support_reads_the_roles_and_changes_nothing(world: World, browser: Browser) -> None:
    browser.sign_in(world, world.person("support", is_support=True))
    sea = world.organisation("Sea")
    _, concealment = add_availability(world, sea)
    here = f"/staff/organisations/{sea.uuid}/roles/"
    page = browser.open(here)
    assert "CUSTOMER.SUPPORT" in page.text
    assert '<button class="quiet" name="action"' not in page.text
    browser.open("/account/profile/")
    assert browser.send(here, action="reveal", role=concealment).status_code == 403
