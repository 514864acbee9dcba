"""My account: what I see of it, what I change of it, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from PIL import Image

from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.db.statements import Row
from collegium.memberships import queries as membership_queries
from collegium.settings import Settings
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import TokenKind
from collegium.ssh_keys import queries as ssh_key_queries
from tests.sign_in.test_pages import HASHED, PASSWORD
from tests.support.browser import Browser, text
from tests.support.remote import new_key
from tests.support.site import Site, counted_statements
from tests.support.world import Person, Place, World


def row_of(world: World, person: Person) -> Row:
    with world.database.read() as tx:
        return account_queries.by_id(tx, person.id)


def grant_of(world: World, person: Person, place: Place) -> str:
    with world.database.read() as tx:
        held = {row.scope_id: row.uuid for row in membership_queries.own(tx, person.id)}
    return str(held[place.id])


def test_memberships_say_where_as_what_until_when_and_by_whom(
    browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    organisation = world.organisation("Initech")
    first = world.project(organisation, "Atlas")
    world.seat(ada, "PROJECT.ADMIN", first, datetime.now(UTC) + timedelta(days=40))
    browser.sign_in(world, ada)
    seen = text(browser.open("/account/"))
    until = datetime.now(UTC) + timedelta(days=40)
    for said in ("Atlas", "project of Initech", "Project administrator", "Staff Lee"):
        assert said in seen
    assert f"{until.day} {until:%B %Y}" in seen
    with counted_statements(monkeypatch) as few:
        browser.open("/account/")
    for _ in range(4):
        world.seat(ada, "PROJECT.MEMBER", world.project(organisation))
        world.invite(world.staff, ada.email, "PROJECT.MEMBER", world.project(organisation))
    with counted_statements(monkeypatch) as many:
        browser.open("/account/")
    assert len(few) == len(many) <= 5


def test_invitations_to_my_address_lead_to_their_page(browser: Browser, world: World) -> None:
    ada = world.person("ada")
    project = world.project(world.organisation("Initech"), "Atlas")
    world.invite(world.staff, ada.email.upper(), "PROJECT.ADMIN", project)
    world.invite(world.staff, "other@example.org", "PROJECT.MEMBER", project)
    browser.sign_in(world, ada)
    page = browser.open("/account/")
    (here,) = (
        part.split('"')[0] for part in page.text.split('href="')[1:] if "/invitation/" in part[:20]
    )
    assert "Accept invitation" in text(browser.open(here))


def test_a_role_is_given_up_by_oneself(browser: Browser, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    project = world.project(world.organisation("Initech"))
    for person in (ada, bob):
        world.seat(person, "PROJECT.MEMBER", project)
    browser.sign_in(world, ada)
    # Nobody else's: the same answer as for none at all.
    for uuid in (grant_of(world, bob, project), "0" * 32, "x"):
        assert browser.open(f"/account/leave/{uuid}/").status_code == 404
    here = f"/account/leave/{grant_of(world, ada, project)}/"
    assert "Leave the project" in text(browser.open(here))
    bobs = f"/account/leave/{grant_of(world, bob, project)}/"
    assert browser.send(bobs).status_code == 404
    assert browser.send(here).status_code == 303
    assert [row.username for row in world.grants_in(project)] == ["bob"]


def test_the_last_owner_is_told_before_and_stays(browser: Browser, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    organisation = world.organisation("Initech", owner=ada)
    here = f"/account/leave/{grant_of(world, ada, organisation)}/"
    browser.sign_in(world, ada)
    page = browser.open(here)
    assert "You cannot leave yet" in text(page)
    assert "<button>Leave" not in page.text
    assert browser.send(here).status_code == 409
    world.seat(bob, "CUSTOMER.OWNER", organisation)
    assert "<button>Leave" in browser.open(here).text
    assert browser.send(here).status_code == 303


def test_the_profile_is_changed_as_far_as_it_is_ones_own(browser: Browser, world: World) -> None:
    ada = world.person("ada")
    browser.sign_in(world, ada)
    here = "/account/profile/"
    browser.open(here)
    given = {"first_name": "Augusta", "job_title": "Countess", "is_staff": "yes", "email": "x@y.z"}
    assert browser.send(here, **given).status_code == 422
    assert "agree to the terms" in text(browser.page)  # type: ignore[arg-type]
    assert browser.send(here, **given, agree_with_policy="yes").status_code == 303
    row = row_of(world, ada)
    assert (row.first_name, row.job_title, row.last_name) == ("Augusta", "Countess", "Lee")
    assert (row.is_staff, row.email) == (False, "ada@example.org")
    browser.open(here)
    assert browser.send(here, first_name="x" * 101).status_code == 422
    assert browser.send(here, first_name="a\x00b").status_code == 422


def test_what_another_service_keeps_cannot_be_changed_here(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    browser = Browser(make_site(make_settings(local_idp_protected_fields="first_name,email")))
    ada = world.person("ada", agreed_at=datetime.now(UTC))
    browser.sign_in(world, ada)
    assert 'name="first_name"' not in browser.open("/account/profile/").text
    browser.send("/account/profile/", first_name="Eve", last_name="Adams")
    row = row_of(world, ada)
    assert (row.first_name, row.last_name) == ("Ada", "Adams")
    browser.open("/account/address/")
    assert browser.send("/account/address/", email="eve@example.org").status_code == 422


def test_a_picture_is_kept_made_harmless_and_removed(browser: Browser, world: World) -> None:
    ada = world.person("ada", agreed_at=datetime.now(UTC))
    browser.sign_in(world, ada)
    browser.open("/account/profile/")
    made = BytesIO()
    Image.new("RGB", (40, 40), "red").save(made, "PNG")

    def send(data: bytes) -> int:
        sent = {"csrf": browser.csrf}
        files = {"picture": ("me.png", data, "image/png")}
        return browser.call("POST", "/account/picture/", data=sent, files=files).status_code

    assert send(b"no picture") == 422
    assert send(made.getvalue()) == 303
    uuid = row_of(world, ada).picture
    page = browser.open("/account/profile/")
    assert f"/api/media/{uuid}/" in page.text
    assert browser.call("GET", f"/api/media/{uuid}/").status_code == 200
    assert browser.send("/account/picture/", remove="yes").status_code == 303
    assert row_of(world, ada).picture is None


def test_another_address_is_confirmed_by_its_link(browser: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    browser.sign_in(world, ada)
    here = "/account/address/"
    browser.open(here)
    assert browser.send(here, email="nonsense", password=PASSWORD).status_code == 422
    assert browser.send(here, email="new@example.org", password=PASSWORD).status_code == 303
    assert "To change it to new@example.org , open the link" in text(browser.open(here))
    assert browser.send(here, cancel="yes").status_code == 303
    assert "new@example.org" not in browser.follow(browser.send(here, cancel="yes")).text
    now = datetime.now(UTC)
    with world.database.write(now) as tx:
        email_change_actions.request_change(
            tx, ada.actor, world.settings, world.vault, ada.uuid, "two@example.org"
        )
    code = world.vault.derive_code(ada.id, "two@example.org", now.isoformat())
    link = f"/user_email_change/{code}/"
    assert browser.open(link).status_code == 200
    assert row_of(world, ada).email == "ada@example.org"
    assert browser.send(link).status_code == 200
    assert row_of(world, ada).email == "two@example.org"
    browser.open(link)
    assert browser.send(link).status_code == 410


def test_the_password_is_changed_with_the_current_one(
    browser: Browser, other: Browser, world: World
) -> None:
    ada = world.person("ada", password=HASHED)
    browser.sign_in(world, ada)
    other.sign_in(world, ada)
    here = "/account/password/"
    browser.open(here)
    new = "a quiet harbour at night"
    assert browser.send(here, current="wrong", password=new, again=new).status_code == 422
    assert browser.send(here, current=PASSWORD, password="short", again="short").status_code == 422
    assert browser.send(here, current="", password=new, again=new).status_code == 422
    assert row_of(world, ada) is not None
    assert browser.send(here, current=PASSWORD, password=new, again=new).status_code == 303
    assert browser.open("/account/").status_code == 200
    assert other.open("/account/").status_code == 303


def test_keys_are_added_and_removed(browser: Browser, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    browser.sign_in(world, ada)
    here = "/account/keys/"
    browser.open(here)
    line = new_key("ada@home")
    assert browser.send(here, public_key="nonsense").status_code == 422
    assert browser.send(here, public_key=f"{line}\r\n{line}").status_code == 422
    assert browser.send(here, public_key=new_key()).status_code == 422
    assert browser.send(here, public_key=line + "\r\n").status_code == 303
    assert browser.send(here, public_key=new_key(), name="ada@home").status_code == 422
    with world.database.read() as tx:
        (key,) = ssh_key_queries.of_account(tx, ada.id)
    assert "ada@home" in text(browser.open(here))
    other = Browser(browser._site).sign_in(world, bob)
    other.open(here)
    assert other.send(f"/account/keys/{key.uuid}/remove/").status_code == 404
    assert browser.send(f"/account/keys/{key.uuid}/remove/").status_code == 303
    with world.database.read() as tx:
        assert ssh_key_queries.of_account(tx, ada.id) == []


def test_a_token_is_shown_once_and_ended(browser: Browser, site: Site, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    browser.sign_in(world, ada)
    here = "/account/tokens/"
    browser.open(here)
    assert browser.send(here, name="").status_code == 422
    made = browser.send(here, name="backup")
    token = made.text.split('class="secret">')[1].split("<")[0]
    assert site.get("/api/users/me/", token).json()["uuid"] == ada.uuid
    assert token not in browser.open(here).text
    with world.database.read() as tx:
        (row,) = token_queries.personal(tx, ada.id)
    other = Browser(site).sign_in(world, bob)
    other.open(here)
    end = {"kind": "token", "number": str(row.id)}
    assert other.send("/account/tokens/end/", **end).status_code == 404
    assert site.get("/api/users/me/", token).status_code == 200
    assert browser.send("/account/tokens/end/", **end).status_code == 303
    assert site.get("/api/users/me/", token).status_code == 401
    for number in ("", "x", "9" * 30):
        sent = browser.send("/account/tokens/end/", kind="token", number=number)
        assert sent.status_code == 404


def test_other_browsers_are_signed_out(browser: Browser, other: Browser, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    browser.sign_in(world, ada)
    other.sign_in(world, ada)
    stranger = Browser(browser._site).sign_in(world, bob)
    with world.database.read() as tx:
        kinds = {row.kind for row in token_queries.sessions(tx, ada.id)}
        (bobs,) = token_queries.sessions(tx, bob.id)
    assert kinds == {TokenKind.SESSION}
    browser.open("/account/tokens/")
    sent = browser.send("/account/tokens/end/", kind="session", number=str(bobs.id))
    assert sent.status_code == 404
    assert browser.send("/account/tokens/end/", kind="others").status_code == 303
    assert other.open("/account/").status_code == 303
    for kept in (browser, stranger):
        assert kept.open("/account/").status_code == 200


def test_a_program_is_let_in_or_turned_away(browser: Browser, world: World) -> None:
    ada = world.person("ada")
    browser.sign_in(world, ada)
    here = "/account/authorize/"
    for action, is_in in (("approve", True), ("deny", False)):
        with world.database.write() as tx:
            waiting = device_actions.begin(tx, world.vault, "a <b>script</b>")
        page = browser.open(f"{here}?session={waiting.uuid}")
        assert "a &lt;b&gt;script" in page.text
        assert browser.send(here, action="find", code="AAAA-0000").status_code == 404
        found = browser.send(here, action="find", code=waiting.user_code.lower())
        assert waiting.uuid in found.text
        assert browser.send(here, action=action, device=waiting.uuid).status_code == 200
        with world.database.write() as tx:
            assert bool(device_actions.fetch(tx, world.vault, waiting.device_code)) is is_in
        assert browser.open(f"{here}?session={waiting.uuid}").status_code == 404
    browser.open(here)
    assert browser.send(here, action="approve", device="x").status_code == 404
