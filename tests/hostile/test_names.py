"""Nobody can look like somebody else by a trick of signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collegium.accounts import actions as account_actions
from collegium.accounts.rules import usernames_for
from collegium.invitations import links
from collegium.settings import Settings
from collegium.text.confusables import is_reserved_username, is_single_script
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

AUTHORITY = [
    "admin",
    "adm1n",
    "a.d.m.i.n",
    "_root_",
    "r00t",
    "5taff",
    "supp0rt",
    "systern",
    "-staff-",
]
FOREIGN = [
    "\u0430da",
    "ada\u0301",
    "\uff41da",
    "Ada",
    "ada\u200b",
    "ad a",
    "\u0131van",
    "ada\u202e",
]
MEANT = {"Ada", "ada\u200b", "ada\u202e"}
"""What a form understands as ``ada``: a phone's capital, and what was copied with a name."""

ALIKE = [
    "\u0430da@example.org",
    "ada@ex\u0430mple.org",
    "ad\u03b1@example.org",
    "\uff41da@example.org",
    "ada@\uff45xample.org",
    "\ufb01ona@example.org",
    "\u212aim@example.org",
]
HONEST = [
    "zo\u00eb@example.org",
    "\u0438\u0432\u0430\u043d@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",
    "\u0438\u0432\u0430\u043d.petrov@example.org",
    "\u7528\u6237@\u4f8b\u5b50.\u4e2d\u56fd",
    "a@b.org",
]
ORDINARY = ["ada", "minad", "admiral", "stafford", "rooter", "admin-2", "tim"]


@pytest.mark.parametrize("name", AUTHORITY)
def test_a_name_that_reads_like_authority_is_one(name: str) -> None:
    assert is_reserved_username(name)


@pytest.mark.parametrize("name", ORDINARY)
def test_a_name_that_only_begins_like_one_is_not(name: str) -> None:
    assert not is_reserved_username(name)


def test_no_name_is_proposed_that_would_be_refused() -> None:
    for address in (f"{name}@example.org" for name in AUTHORITY):
        assert not is_reserved_username(next(usernames_for(address)))


def test_addresses_are_what_they_look_like() -> None:
    assert [each for each in ALIKE if is_single_script(each)] == []
    assert [each for each in HONEST if not is_single_script(each)] == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_door_takes_a_look_alike(site: Site, world: World) -> None:
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    browser = Browser(site).sign_in(world, owner)
    role = world.role("PROJECT.MEMBER").uuid
    for name in FOREIGN:
        body = {"username": name, "email": "a@example.org"}
        assert site.post("/api/users/", world.staff, json=body).status_code == 400, name
    for address in ALIKE:
        body = {"username": "new", "email": address}
        assert site.post("/api/users/", world.staff, json=body).status_code == 400, address
        invited = {"scope": place.path, "role": role, "email": address}
        answer = site.post("/api/user-invitations/", owner, json=invited)
        assert list(answer.json()) == ["email"], address
        browser.open(f"/project/{place.uuid}/invite/")
        page = browser.send(
            f"/project/{place.uuid}/invite/", action="send", role=role, addresses=address
        )
        assert "will be sent" not in page.text
        assert "is being sent" not in page.text
        browser.open("/account/address/")
        assert browser.send("/account/address/", email=address).status_code == 422
    for address in HONEST:
        invited = {"scope": place.path, "role": role, "email": address}
        assert site.post("/api/user-invitations/", owner, json=invited).status_code == 201, address


def sign_up(site: Site, world: World, name: str) -> int:
    uuid = world.invite(world.staff, "new@example.org", "CUSTOMER.OWNER", world.organisation())
    row: Any = world.invitation(uuid)
    link = f"/invitation/{world.vault.sign(links.MAILED, uuid, row.link_version)}/"
    browser = Browser(site)
    browser.open(link)
    password = "purple-tram-lifts-9"
    fields = {"first_name": "A", "last_name": "B", "agrees": "yes"}
    return browser.send(
        link, username=name, password=password, again=password, **fields
    ).status_code


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_who_signs_up_chooses_no_name_of_authority_and_no_foreign_sign(
    quick_hashes: None, site: Site, world: World
) -> None:
    for name in (*AUTHORITY[:3], *(one for one in FOREIGN if one not in MEANT)):
        assert sign_up(site, world, name) == 422, name
    assert sign_up(site, world, "Ada\u200b") == 303
    # It is the one name, and taken now.
    for name in (*MEANT, "ada"):
        assert sign_up(site, world, name) == 422, name


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_text_turns_nothing_around_it(site: Site, world: World) -> None:
    ada = world.person("ada", first_name="Ada\u202e\u2066gro.live")
    browser = Browser(site).sign_in(world, ada)
    page = browser.open("/account/profile/")
    assert "Adagro.live" in page.text
    assert "\u202e" not in page.text


def test_an_invited_person_does_not_become_staff_by_their_name(
    quick_hashes: None, site: Site, world: World, make_settings: Callable[..., Settings]
) -> None:
    """An operator who names an account means their own, not one that somebody made before."""
    settings = make_settings()
    assert sign_up(site, world, "operator7") == 303

    def ensure(name: str, **options: Any) -> None:
        given = (world.database, settings, world.vault, name, f"{name}@example.org", None)
        account_actions.ensure_staff(*given, **options)

    with pytest.raises(account_actions.UnfitAccountError, match="--promote"):
        ensure("operator7")
    found = {one["username"]: one for one in site.get("/api/users/", world.staff).json()}
    assert found["operator7"]["is_staff"] is False
    assert found["operator7"]["email"] == "new@example.org"
    # Of accounts that staff made it is true as before, and with the flag of every one.
    world.person("grace")
    ensure("grace")
    ensure("grace")
    ensure("operator7", promotes=True)
    found = {one["username"]: one for one in site.get("/api/users/", world.staff).json()}
    assert found["grace"]["is_staff"] is True
    assert found["operator7"]["is_staff"] is True
