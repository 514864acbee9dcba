"""Names and addresses cannot imitate others by confusable characters."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from collegium import staff_command
from collegium.accounts.rules import usernames_for
from collegium.invitations import links
from collegium.settings import Settings
from collegium.text.confusables import is_reserved_username, is_single_script
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

RESERVED = [
    *("admin", "adm1n", "a.d.m.i.n", "_root_", "r00t", "5taff", "supp0rt", "systern", "-staff-")
]
CONFUSABLE_NAMES = ("\u0430da", "ada\u0301", "\uff41da", "ad a", "\u0131van")
SAME_AS_ADA = {"Ada", "ada\u200b", "ada\u202e"}
"""A form reads these as ``ada``; the API refuses them."""

CONFUSABLE_ADDRESSES = [
    *(
        "\u0430da@example.org",
        "ada@ex\u0430mple.org",
        "ad\u03b1@example.org",
        "\uff41da@example.org",
    ),
    *("ada@\uff45xample.org", "\ufb01ona@example.org", "\u212aim@example.org"),
]
SINGLE_SCRIPT_ADDRESSES = [
    *("zo\u00eb@example.org", "\u0438\u0432\u0430\u043d.petrov@example.org", "a@b.org"),
    "\u0438\u0432\u0430\u043d@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",
    "\u7528\u6237@\u4f8b\u5b50.\u4e2d\u56fd",
]
NOT_RESERVED = ["ada", "minad", "admiral", "stafford", "rooter", "admin-2", "tim"]


@pytest.mark.parametrize("name", [*RESERVED, *NOT_RESERVED])
def test_name_that_reads_like_a_reserved_one_is_reserved(name: str) -> None:
    assert is_reserved_username(name) is (name in RESERVED)


def test_no_reserved_name_is_proposed() -> None:
    for name in RESERVED:
        assert not is_reserved_username(next(usernames_for(f"{name}@example.org")))


def test_confusable_addresses_have_more_than_one_script() -> None:
    assert [address for address in CONFUSABLE_ADDRESSES if is_single_script(address)] == []
    assert [one for one in SINGLE_SCRIPT_ADDRESSES if not is_single_script(one)] == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_confusable_names_and_addresses_are_refused_everywhere(site: Site, world: World) -> None:
    owner = world.person("owner")
    project = world.project(world.organisation(owner=owner))
    browser = Browser(site).sign_in(world, owner)
    role = world.role("PROJECT.MEMBER").uuid
    page = f"/project/{project.uuid}/invite/"

    def create(username: str, email: str) -> int:
        body = {"username": username, "email": email}
        return site.post("/api/users/", world.staff, json=body).status_code

    def invite(address: str) -> httpx.Response:
        body = {"scope": project.path, "role": role, "email": address}
        return site.post("/api/user-invitations/", owner, json=body)

    for name in (*CONFUSABLE_NAMES, *SAME_AS_ADA):
        assert create(name, "a@example.org") == 400, name
    for address in CONFUSABLE_ADDRESSES:
        assert create("new", address) == 400, address
        assert list(invite(address).json()) == ["email"], address
        browser.open(page)
        html = browser.send(page, action="send", role=role, addresses=address).text
        assert "will be sent" not in html
        assert "is being sent" not in html
        browser.open("/account/address/")
        assert browser.send("/account/address/", email=address).status_code == 422
    for address in SINGLE_SCRIPT_ADDRESSES:
        assert invite(address).status_code == 201, address


def sign_up(site: Site, world: World, username: str) -> int:
    uuid = world.invite(world.staff, "new@example.org", "CUSTOMER.OWNER", world.organisation())
    row: Any = world.invitation(uuid)
    path = f"/invitation/{world.vault.sign(links.MAILED, uuid, row.link_version)}/"
    form = {"username": username, "first_name": "A", "last_name": "B", "agrees": "yes"}
    form |= dict.fromkeys(("password", "again"), "purple-tram-lifts-9") | {"own_address": "yes"}
    browser = Browser(site)
    browser.open(path)
    return browser.send(path, **form).status_code


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_sign_up_refuses_reserved_and_confusable_names(site: Site, world: World) -> None:
    for name in (*RESERVED[:3], *CONFUSABLE_NAMES):
        assert sign_up(site, world, name) == 422, name
    assert sign_up(site, world, "Ada\u200b") == 303
    for name in (*SAME_AS_ADA, "ada"):  # now taken
        assert sign_up(site, world, name) == 422, name


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_bidirectional_controls_are_removed_from_names(site: Site, world: World) -> None:
    ada = world.person("ada", first_name="Ada\u202e\u2066gro.live")
    page = Browser(site).sign_in(world, ada).open("/account/profile/")
    assert "Adagro.live" in page.text
    assert "\u202e" not in page.text


def test_invited_person_does_not_become_staff_by_the_user_name(
    site: Site, world: World, make_settings: Callable[..., Settings]
) -> None:
    """The command `staff` does not promote an account of another origin."""
    settings = make_settings()
    assert sign_up(site, world, "operator7") == 303

    def ensure_staff(name: str, **options: Any) -> None:
        values = (world.database, settings, world.vault, name, f"{name}@example.org", None)
        staff_command.ensure_staff(*values, **options)

    def shown(username: str) -> Any:
        accounts = site.get("/api/users/", world.staff).json()
        return next(account for account in accounts if account["username"] == username)

    with pytest.raises(staff_command.UnfitAccountError, match="--promote"):
        ensure_staff("operator7")
    assert shown("operator7")["is_staff"] is False
    assert shown("operator7")["email"] == "new@example.org"
    # Accounts that staff created are promoted, others with a flag.
    world.person("grace")
    ensure_staff("grace")
    ensure_staff("grace")
    ensure_staff("operator7", allow_promotion=True)
    assert shown("grace")["is_staff"] is True
    assert shown("operator7")["is_staff"] is True
