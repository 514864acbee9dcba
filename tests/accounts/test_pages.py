"""Pages of the own account: memberships, profile, password, keys, tokens, programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from collegium.accounts import queries as account_queries
from collegium.memberships import queries as membership_queries
from collegium.scopes.actions import change_account
from collegium.settings import Settings
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import TokenKind
from collegium.ssh_keys import queries as ssh_key_queries
from tests.sign_in.test_pages import HASHED, PASSWORD
from tests.support.browser import Browser, text
from tests.support.remote import new_key
from tests.support.site import Site, record_statements
from tests.support.world import Person, Place, World


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada", password=HASHED, agreed_at=datetime.now(UTC))


@pytest.fixture
def bob(world: World) -> Person:
    return world.person("bob")


@pytest.fixture
def browser(browser: Browser, world: World, ada: Person) -> Browser:
    """Return Ada's browser."""
    return browser.sign_in(world, ada)


@pytest.fixture
def bob_browser(site: Site, world: World, bob: Person) -> Browser:
    return Browser(site).sign_in(world, bob)


def row_of(world: World, person: Person) -> Any:
    with world.database.read() as tx:
        return account_queries.by_id(tx, person.id)


def grant_of(world: World, person: Person, place: Place) -> str:
    """Return the UUID of a person's grant in a scope."""
    with world.database.read() as tx:
        uuids = {row.scope_id: row.uuid for row in membership_queries.of_account(tx, person.id)}
    return str(uuids[place.id])


def test_memberships_show_scope_role_end_and_granter_in_few_statements(
    browser: Browser, world: World, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    organisation = world.organisation("Initech")
    until = datetime.now(UTC) + timedelta(days=40)
    world.give_role(ada, "PROJECT.ADMIN", world.project(organisation, "Atlas"), until)
    page = text(browser.open("/account/"))
    for part in ("Atlas", "project of Initech", "Project administrator", "Staff Lee"):
        assert part in page
    assert f"{until.day} {until:%B %Y}" in page
    with record_statements(monkeypatch) as few:
        browser.open("/account/")
    for _ in range(4):
        world.give_role(ada, "PROJECT.MEMBER", world.project(organisation))
        world.invite(world.staff, ada.email, "PROJECT.MEMBER", world.project(organisation))
    with record_statements(monkeypatch) as many:
        browser.open("/account/")
    assert len(few) == len(many) <= 5


def test_account_page_links_to_own_invitations_only(
    browser: Browser, world: World, ada: Person
) -> None:
    project = world.project(world.organisation("Initech"), "Atlas")
    world.invite(world.staff, ada.email.upper(), "PROJECT.ADMIN", project)
    world.invite(world.staff, "other@example.org", "PROJECT.MEMBER", project)
    page = browser.open("/account/").text
    links = (part.split('"')[0] for part in page.split('href="')[1:])
    (link,) = (link for link in links if link.startswith("/invitation/"))
    assert "Accept invitation" in text(browser.open(link))


def test_members_leave_with_their_own_grant_only(
    browser: Browser, world: World, ada: Person, bob: Person
) -> None:
    project = world.project(world.organisation("Initech"))
    for person in (ada, bob):
        world.give_role(person, "PROJECT.MEMBER", project)
    foreign = grant_of(world, bob, project)
    for uuid in (foreign, "0" * 32, "x"):
        assert browser.open(f"/account/leave/{uuid}/").status_code == 404
    path = f"/account/leave/{grant_of(world, ada, project)}/"
    assert "Leave the project" in text(browser.open(path))
    assert browser.send(f"/account/leave/{foreign}/").status_code == 404
    assert browser.send(path).status_code == 303
    assert [row.username for row in world.grants_in(project)] == ["bob"]


def test_last_owner_cannot_leave(browser: Browser, world: World, ada: Person, bob: Person) -> None:
    organisation = world.organisation("Initech", owner=ada)
    path = f"/account/leave/{grant_of(world, ada, organisation)}/"
    page = browser.open(path)
    assert "You cannot leave yet" in text(page)
    assert '<button class="danger">Leave' not in page.text
    assert browser.send(path).status_code == 409
    world.give_role(bob, "CUSTOMER.OWNER", organisation)
    assert '<button class="danger">Leave' in browser.open(path).text
    assert browser.send(path).status_code == 303


def test_profile_page_changes_own_fields_only(
    browser: Browser, world: World, bob_browser: Browser, bob: Person
) -> None:
    path = "/account/profile/"
    bob_browser.open(path)
    data = {"first_name": "Augusta", "job_title": "Countess", "is_staff": "yes", "email": "x@y.z"}
    refused = bob_browser.send(path, **data)
    assert refused.status_code == 422
    assert "agree to the terms" in text(refused)
    assert bob_browser.send(path, **data, agree_with_policy="yes").status_code == 303
    row = row_of(world, bob)
    assert (row.first_name, row.job_title, row.last_name) == ("Augusta", "Countess", "Lee")
    assert (row.is_staff, row.email) == (False, "bob@example.org")
    browser.open(path)
    for wrong in ("x" * 101, "a\x00b"):
        assert browser.send(path, first_name=wrong).status_code == 422


def test_fields_protected_by_the_identity_provider_cannot_be_changed_on_pages(
    site_with: Callable[..., Site], world: World, ada: Person
) -> None:
    site = site_with(local_idp_protected_fields="first_name,email")
    browser = Browser(site).sign_in(world, ada)
    assert 'name="first_name"' not in browser.open("/account/profile/").text
    browser.send("/account/profile/", first_name="Eve", last_name="Adams")
    row = row_of(world, ada)
    assert (row.first_name, row.last_name) == ("Ada", "Adams")
    browser.open("/account/address/")
    assert browser.send("/account/address/", email="eve@example.org").status_code == 422


def test_profile_picture_is_set_and_removed(browser: Browser, world: World, ada: Person) -> None:
    browser.open("/account/profile/")
    file = BytesIO()
    Image.new("RGB", (40, 40), "red").save(file, "PNG")
    for content, status in ((b"no picture", 422), (file.getvalue(), 303)):
        data = {"csrf": browser.csrf}
        files = {"picture": ("me.png", content, "image/png")}
        response = browser.call("POST", "/account/picture/", data=data, files=files)
        assert response.status_code == status
        if status == 422:
            assert 'href="/account/profile/" aria-current="true"' in response.text
    url = f"/api/media/{row_of(world, ada).picture}/"
    assert url in browser.open("/account/profile/").text
    assert browser.call("GET", url).status_code == 200
    assert browser.send("/account/picture/", remove="yes").status_code == 303
    assert row_of(world, ada).picture is None


def test_password_is_changed_with_the_current_one_and_ends_other_sessions(
    browser: Browser, other: Browser, world: World, ada: Person
) -> None:
    other.sign_in(world, ada)
    path, new = "/account/password/", "a quiet harbour at night"
    browser.open(path)
    for current, password, status in (
        ("wrong", new, 422),
        (PASSWORD, "short", 422),
        ("", new, 422),
        (PASSWORD, new, 303),
    ):
        response = browser.send(path, current=current, password=password, again=password)
        assert response.status_code == status
    assert browser.open("/account/").status_code == 200
    assert other.open("/account/").status_code == 303


def test_person_without_a_password_is_not_asked_for_it(
    browser: Browser, world: World, ada: Person
) -> None:
    for values, said in (
        ({}, "have a link sent"),
        ({"email": ""}, "You sign in with your sign-in methods"),
        ({"registration_method": "campus"}, "You sign in with your sign-in methods"),
    ):
        with world.database.write() as tx:
            change_account(tx, ada.id, {"password": None, **values})
        page = text(browser.open("/account/password/"))
        assert said in page
        assert "Current password" not in page
        new = "a quiet harbour at night"
        answer = browser.send("/account/password/", current="x", password=new, again=new)
        assert (answer.status_code, said in text(answer)) == (422, True)


def test_ssh_keys_are_added_and_removed(
    browser: Browser, bob_browser: Browser, world: World, ada: Person
) -> None:
    path = "/account/keys/"
    browser.open(path)
    line = new_key("ada@home")
    for data, status in (
        ({"public_key": "nonsense"}, 422),
        ({"public_key": f"{line}\r\n{line}"}, 422),
        ({"public_key": new_key()}, 422),
        ({"public_key": f"{line}\r\n"}, 303),
        ({"public_key": new_key(), "name": "ada@home"}, 422),
    ):
        assert browser.send(path, **data).status_code == status
    with world.database.read() as tx:
        (key,) = ssh_key_queries.of_account(tx, ada.id)
    assert "ada@home" in text(browser.open(path))
    bob_browser.open(path)
    assert bob_browser.send(f"{path}{key.uuid}/remove/").status_code == 404
    assert browser.send(f"{path}{key.uuid}/remove/").status_code == 303
    with world.database.read() as tx:
        assert ssh_key_queries.of_account(tx, ada.id) == []


def test_other_sessions_of_the_account_are_signed_out(
    browser: Browser, other: Browser, bob_browser: Browser, world: World, ada: Person, bob: Person
) -> None:
    other.sign_in(world, ada)
    with world.database.read() as tx:
        assert {row.kind for row in token_queries.sessions(tx, ada.id)} == {TokenKind.SESSION}
        (foreign,) = token_queries.sessions(tx, bob.id)
    path = "/account/tokens/"
    browser.open(path)
    response = browser.send(f"{path}end/", kind="session", number=str(foreign.id))
    assert response.status_code == 404
    assert browser.send(f"{path}end/", kind="others").status_code == 303
    for each, status in ((other, 303), (browser, 200), (bob_browser, 200)):
        assert each.open("/account/").status_code == status


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_pages_ask_for_the_mandatory_fields_that_people_can_fill_in(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    names = "first_name,phone_number,native_name,nationalities,unknown,job_title"
    frozen = "protect_user_details_for_registration_methods"
    site = make_site(make_settings(user_mandatory_fields=names, **{frozen: "campus"}))
    ada = world.person("ada", phone_number="", job_title="")
    browser = Browser(site).sign_in(world, ada)
    asked = "Your profile is not complete. Please fill in Phone number , Job title ."
    for path in ("/account/", "/account/profile/"):
        assert asked in text(browser.open(path))
    assert 'href="/account/profile/#phone_number"' in browser.open("/account/").text
    browser.open("/account/profile/")
    browser.send("/account/profile/", phone_number="+372 1", job_title="x", agree_with_policy="y")
    assert "not complete" not in text(browser.open("/account/"))
    # Nothing is refused before, and whose details come from elsewhere is not asked.
    assert site.get("/api/customers/", world.person(phone_number="")).status_code == 200
    fed = world.person("fed", phone_number="", registration_method="campus")
    assert "not complete" not in text(Browser(site).sign_in(world, fed).open("/account/"))
