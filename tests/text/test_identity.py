"""One person, one mailbox, one name: in pages and both APIs, whoever types it and however."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from argon2 import PasswordHasher

from collegium.accounts import queries as account_queries
from collegium.security.crypto import hash_password
from tests.sign_in.test_pages import HASHED, PASSWORD, owed, try_in
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import Person, World

UELLE, UELLE_SMALL, UELLE_LOOSE = (
    "\u00dclle@example.org",
    "\u00fclle@example.org",
    "u\u0308lle@example.org",
)
CASES = Path(__file__).parents[3] / "shared" / "cases" / "people.txt"
ACCENTED = "caf\u00e9 au lait qui fume"
ACCENTED_LOOSE = "cafe\u0301 au lait qui fume"
HEBREW = "\u05e0\u05d5\u05e2\u05d4"
SAME = [
    (UELLE, UELLE_SMALL),
    (UELLE, UELLE_LOOSE),
    ("ada@m\u00fcnchen.example", "ADA@XN--MNCHEN-3YA.example"),
    ("ada@xn--mnchen-3ya.example", "ada@M\u00dcNCHEN.example"),
]
OTHERS = [
    ("stra\u00dfe@example.org", "strasse@example.org"),
    ("strasse@example.org", "stra\u00dfe@example.org"),
    ("ada@fa\u00df.example", "ada@fass.example"),
]


def group(site: Site, owner: Person, name: str) -> Any:
    answer = site.post(
        "/api/private/users/group/",
        json={"name": name},
        headers={"Authorization": f"Bearer {owner.token}"},
    )
    assert answer.status_code == 201, answer.text
    return next(value for value in answer.json().values() if isinstance(value, dict))["id"]


# Mailboxes.


@pytest.mark.parametrize(("one", "other"), SAME)
def test_a_mailbox_resets_its_password_in_every_spelling(
    browser: Browser, world: World, one: str, other: str
) -> None:
    world.person("ada", email=one, password=HASHED)
    browser.open("/forgotten_password/")
    assert browser.send("/forgotten_password/", email=other).status_code == 200
    # The mail goes where the account says, not where somebody has asked for it.
    assert owed(world.database, "password_reset") == [one]


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_an_address_that_resembles_one_resets_no_password(
    browser: Browser, world: World, one: str, other: str
) -> None:
    world.person("ada", email=one, password=HASHED)
    browser.open("/forgotten_password/")
    assert browser.send("/forgotten_password/", email=other).status_code == 200
    assert owed(world.database, "password_reset") == []


@pytest.mark.parametrize(("one", "other"), SAME)
def test_an_invitation_is_taken_by_its_mailbox_in_every_spelling(
    site: Site, world: World, one: str, other: str
) -> None:
    place = world.organisation()
    ada = world.person("ada", email=other)
    uuid = world.invite(world.staff, one, "CUSTOMER.OWNER", place)
    listed = site.get("/api/user-invitations/", ada).json()
    assert [row["uuid"] for row in listed] == [uuid]
    assert site.post(f"/api/user-invitations/{uuid}/accept/", ada).status_code == 200
    assert [row.account_id for row in world.grants_in(place)] == [ada.id]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *OTHERS,
        ("bill@example.org", "b\u0130ll@example.org"),
        ("kim@example.org", "\u212aim@example.org"),
    ],
)
def test_an_invitation_is_hidden_from_an_address_that_resembles_its_own(
    site: Site, world: World, one: str, other: str
) -> None:
    place = world.organisation()
    # As an account of an earlier release: today some of these addresses are refused.
    thief = world.person("thief", email=other)
    uuid = world.invite(world.staff, one, "CUSTOMER.OWNER", place)
    assert site.get("/api/user-invitations/", thief).json() == []
    assert site.get(f"/api/user-invitations/{uuid}/", thief).status_code == 404


@pytest.mark.parametrize(("one", "other"), SAME)
def test_accepting_closes_what_else_invites_the_mailbox(
    site: Site, world: World, one: str, other: str
) -> None:
    place = world.organisation()
    ada = world.person("ada", email=one)
    first, second = (
        world.invite(world.staff, email, "CUSTOMER.OWNER", place) for email in (one, other)
    )
    assert site.post(f"/api/user-invitations/{first}/accept/", ada).status_code == 200
    assert world.invitation(second).state == "canceled"


@pytest.mark.parametrize(("one", "other"), SAME)
def test_filters_find_a_mailbox_in_every_spelling(
    site: Site, world: World, one: str, other: str
) -> None:
    place = world.organisation()
    ada = world.person("ada", email=one)
    group(site, ada, "Lab")
    uuid = world.invite(world.staff, one, "CUSTOMER.OWNER", place)
    found = site.get(f"/api/users/?email={quote(other)}", world.staff).json()
    assert [row["username"] for row in found] == ["ada"]
    for name in ("email", "email_exact"):
        rows = site.get(f"/api/user-invitations/?{name}={quote(other)}", world.staff).json()
        assert [row["uuid"] for row in rows] == [uuid], name
    bearer = {"Authorization": f"Bearer {world.staff.token}"}
    for operator in ("iexact", "icontains", "istartswith", "iendswith"):
        path = f"/api/private/users/user/?filter{{email.{operator}}}={quote(other)}"
        assert f'"id":{ada.id}' in site.get(path, headers=bearer).text.replace(" ", ""), operator


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_filters_find_nobody_who_only_resembles(
    site: Site, world: World, one: str, other: str
) -> None:
    place = world.organisation()
    ada = world.person("ada", email=one)
    group(site, ada, "Lab")
    world.invite(world.staff, one, "CUSTOMER.OWNER", place)
    assert site.get(f"/api/users/?email={quote(other)}", world.staff).json() == []
    for name in ("email", "email_exact"):
        path = f"/api/user-invitations/?{name}={quote(other)}"
        assert site.get(path, world.staff).json() == [], name
    bearer = {"Authorization": f"Bearer {world.staff.token}"}
    for operator in ("iexact", "icontains", "istartswith", "iendswith"):
        path = f"/api/private/users/user/?filter{{email.{operator}}}={quote(other)}"
        assert f'"id":{ada.id}' not in site.get(path, headers=bearer).text.replace(" ", "")


def test_a_group_takes_a_member_by_every_spelling_of_the_mailbox(site: Site, world: World) -> None:
    owner = world.person("owner")
    world.person("ada", email=UELLE)
    number = group(site, owner, "Lab")
    bearer = {"Authorization": f"Bearer {owner.token}"}
    path = f"/api/private/users/group/{number}/"
    users = {UELLE_SMALL: {"is_manager": False}, UELLE: {"is_manager": False}}
    twice = site.request("PATCH", path, headers=bearer, json={"users": users})
    assert twice.status_code == 400
    once = site.request("PATCH", path, headers=bearer, json={"users": {UELLE_SMALL: {}}})
    assert once.status_code == 200, once.text


def test_two_accounts_of_one_mailbox_both_go_on_working(site: Site, world: World) -> None:
    first, second = (
        world.person(name, email=email) for name, email in (("one", UELLE), ("two", UELLE_SMALL))
    )
    for person in (first, second):
        assert site.get("/api/users/me/", person).status_code == 200
    with world.database.read() as tx:
        assert account_queries.with_addresses(tx, [UELLE_LOOSE])[UELLE_SMALL].id == first.id


# What an address is.


@pytest.mark.parametrize(
    "domain", ["localhost", "printer.local", "mail.test", "box.home.arpa", "intranet"]
)
def test_domains_of_ones_own_are_accepted_everywhere(
    site: Site, browser: Browser, scene: Scene, domain: str
) -> None:
    world = scene.world
    made = {"username": "new", "email": f"new@{domain}"}
    assert site.post("/api/users/", world.staff, json=made).status_code == 201
    asked = {
        "email": f"ada@{domain}",
        "role": world.role("PROJECT.MEMBER").uuid,
        "scope": f"http://collegium.test/api/projects/{scene.project.uuid}/",
    }
    answer = site.post("/api/user-invitations/", world.staff, json=asked)
    assert answer.status_code == 201, answer.text
    browser.sign_in(world, scene.people["manager"])
    here = f"{scene.paths['project']}invite/"
    browser.open(here)
    said = text(
        browser.send(
            here, action="check", addresses=f"bob@{domain}", role=world.role("PROJECT.MEMBER").uuid
        )
    )
    assert "1 person can be invited" in said


@pytest.mark.parametrize("address", ["ada@mail.invalid", "ada@invalid", "ada@x..org", "ada"])
def test_what_is_no_address_is_refused_everywhere(
    site: Site, browser: Browser, scene: Scene, address: str
) -> None:
    world = scene.world
    answer = site.post("/api/users/", world.staff, json={"username": "new", "email": address})
    assert answer.status_code == 400
    assert answer.json() == {"email": ["Enter a valid email address."]}
    browser.open("/forgotten_password/")
    assert browser.send("/forgotten_password/", email=address).status_code == 422


def test_an_address_comes_without_what_was_copied_with_it(site: Site, world: World) -> None:
    made = {"username": "new", "email": "\ufeff\u200bada@example.org\u202c\u00a0"}
    answer = site.post("/api/users/", world.staff, json=made)
    assert answer.status_code == 201, answer.text
    assert answer.json()["email"] == "ada@example.org"


def test_an_address_is_kept_in_one_encoding(site: Site, world: World) -> None:
    made = {"username": "new", "email": UELLE_LOOSE}
    answer = site.post("/api/users/", world.staff, json=made)
    assert answer.status_code == 201, answer.text
    assert answer.json()["email"] == UELLE_SMALL


# User names, passwords, names of groups.


@pytest.mark.parametrize("typed", ["Anna", "anna ", " ANNA", "\ufeffanna\u200b"])
def test_a_phone_signs_in_with_the_name_that_it_writes(
    browser: Browser, site: Site, world: World, typed: str
) -> None:
    world.person("anna", password=HASHED)
    assert try_in(browser, typed, PASSWORD).status_code == 303
    api = site.post("/api-auth/password/", json={"username": typed, "password": PASSWORD})
    assert api.status_code == 200
    other = site.post("/api/token/", json={"username": typed, "password": PASSWORD})
    assert other.status_code == 200


@pytest.mark.parametrize("typed", ["\u212aim", "k\u0131m", "\uff4bim"])
def test_a_letter_that_resembles_one_signs_nobody_in(
    browser: Browser, world: World, typed: str
) -> None:
    world.person("kim", password=HASHED)
    assert try_in(browser, typed, PASSWORD).status_code == 401


def test_tries_are_counted_for_one_name_however_it_is_typed(browser: Browser, world: World) -> None:
    world.person("anna", password=HASHED)
    for typed in ("anna", "Anna", "ANNA ", "aNNa"):
        try_in(browser, typed, "wrong")
    answer = try_in(browser, "anna", PASSWORD)
    assert answer.status_code == 401
    assert "Too many failed sign-ins" in text(answer)


@pytest.mark.parametrize("stored", [ACCENTED, ACCENTED_LOOSE])
@pytest.mark.parametrize("typed", [ACCENTED, ACCENTED_LOOSE])
def test_a_password_with_accents_opens_from_every_keyboard_also_with_an_old_hash(
    browser: Browser, world: World, stored: str, typed: str
) -> None:
    # As an earlier release hashed it: what the keyboard has sent.
    old = PasswordHasher().hash(stored)
    ada = world.person("ada", password=old)
    assert try_in(browser, "ada", typed).status_code == 303
    with world.database.read() as tx:
        row: Any = account_queries.known(tx, id=ada.id)
    # Renewed where it was hashed in another form than today's.
    assert (row.password == old) == (stored == ACCENTED)
    assert PasswordHasher().verify(row.password, ACCENTED)


def test_a_password_without_the_accent_opens_nothing(browser: Browser, world: World) -> None:
    world.person("ada", password=hash_password(ACCENTED))
    assert try_in(browser, "ada", "cafe au lait qui fume").status_code == 401


@pytest.mark.parametrize(
    "other", ["CAFE\u0301", "caf\u00e9", " Caf\u00e9 ", "Ca\u200bf\u00e9", "\u2068Caf\u00e9\u2069"]
)
def test_no_two_groups_have_one_name(site: Site, world: World, other: str) -> None:
    owner = world.person("owner")
    group(site, owner, "Caf\u00e9")
    bearer = {"Authorization": f"Bearer {owner.token}"}
    answer = site.post("/api/private/users/group/", json={"name": other}, headers=bearer)
    assert answer.status_code == 400, answer.text
    found = site.get(
        f"/api/private/users/group/?filter{{name.iexact}}={quote(other)}", headers=bearer
    )
    assert "Caf\\u00e9" in json.dumps(found.json())


def test_groups_whose_names_only_resemble_each_other_are_two(site: Site, world: World) -> None:
    owner = world.person("owner")
    numbers = {
        group(site, owner, name) for name in ("Stra\u00dfe", "Strasse", "Kim", "B\u0130ll", "Bill")
    }
    assert len(numbers) == 5


# Names.


@pytest.mark.parametrize("name", ["\u3164", "\u2800", "\u200b", "\u115f \u1160", "\u0301"])
def test_a_name_that_nobody_sees_is_refused_in_every_protocol(
    site: Site, browser: Browser, world: World, name: str
) -> None:
    waldur = site.post("/api/customers/", world.staff, json={"name": name})
    assert waldur.status_code == 400
    assert waldur.json() == {"name": ["This field may not be blank."]}
    bearer = {"Authorization": f"Bearer {world.staff.token}"}
    other = site.post("/api/private/users/group/", json={"name": name}, headers=bearer)
    assert other.status_code == 400
    browser.sign_in(world, world.person("ada"))
    browser.open("/teams/")
    answer = browser.send("/teams/", name=name)
    assert answer.status_code == 422
    assert "only invisible characters" in text(answer)


def test_what_cannot_be_seen_goes_from_names_in_every_protocol(
    site: Site, browser: Browser, world: World
) -> None:
    made = site.post("/api/customers/", world.staff, json={"name": "\u200bAcme\nGrid\u3164"})
    assert made.json()["name"] == "Acme Grid"
    ada = world.person("ada")
    changed = site.request(
        "PATCH",
        f"/api/users/{ada.uuid}/",
        world.staff,
        json={"first_name": "\u202eAda\u2800"},
    )
    assert changed.json()["first_name"] == "Ada"
    browser.sign_in(world, ada)
    browser.open("/account/profile/")
    sent = {"last_name": "Lee\u200b\u0085", "agree_with_policy": "yes"}
    assert browser.send("/account/profile/", **sent).status_code == 303
    assert site.get("/api/users/me/", ada).json()["last_name"] == "Lee"


@pytest.mark.parametrize("name", ["Visit https://evil.example", "x://y", "a:\u200b//b.example"])
def test_a_name_is_no_link_in_any_protocol(
    site: Site, browser: Browser, world: World, name: str
) -> None:
    ada = world.person("ada")
    path = f"/api/users/{ada.uuid}/"
    waldur = site.request("PATCH", path, world.staff, json={"first_name": name})
    assert waldur.status_code == 400
    assert list(waldur.json()) == ["first_name"]
    assert site.post("/api/customers/", world.staff, json={"name": name}).status_code == 400
    bearer = {"Authorization": f"Bearer {ada.token}"}
    other = site.post("/api/private/users/group/", json={"name": name}, headers=bearer)
    assert other.status_code == 400
    assert "name" in other.text
    browser.sign_in(world, ada)
    browser.open("/account/profile/")
    answer = browser.send("/account/profile/", first_name=name)
    assert answer.status_code == 422
    assert "cannot contain a web address" in text(answer)


def test_a_name_that_reads_from_the_right_turns_no_page(browser: Browser, scene: Scene) -> None:
    world = scene.world
    person = world.person("noa", first_name=HEBREW, last_name="")
    world.seat(person, "PROJECT.MEMBER", scene.project)
    browser.sign_in(world, scene.people["manager"])
    page = browser.open(scene.paths["project"]).text
    assert f"<bdi>\u2068{HEBREW}\u2069</bdi>" in page
    browser.sign_in(world, world.staff)
    history = browser.open(f"{scene.paths['project']}history/").text
    assert f"\u2068{HEBREW}\u2069" in history
    assert f"{HEBREW}" not in history.replace(f"\u2068{HEBREW}\u2069", "")


def test_a_page_with_a_form_shows_names_of_every_script_as_they_are(
    browser: Browser, scene: Scene
) -> None:
    world = scene.world
    link = world.open(world.staff, "PROJECT.MEMBER", scene.project)
    for at, name in enumerate((HEBREW, "Zo\u00eb \u2013 \u738b")):
        world.ask(world.person(f"asker{at}", first_name=name, last_name=""), link)
    browser.sign_in(world, scene.people["manager"])
    page = browser.open("/requests/").text
    assert f"<bdi>\u2068{HEBREW}\u2069</bdi>" in page
    assert "<bdi>Zo\u00eb \u2013 \u738b</bdi>" in page
    assert "&lt;" not in page


def test_roles_and_affiliations_from_the_right_turn_no_sentence(
    browser: Browser, site: Site, scene: Scene
) -> None:
    world = scene.world
    for role in site.get("/api/roles/", world.staff).json():
        if role["name"] == "PROJECT.MEMBER":
            at = f"/api/roles/{role['uuid']}/update_descriptions/"
            said = site.request("PUT", at, world.staff, json={"description": HEBREW})
            assert said.status_code == 200, said.text
    world.open(world.staff, "PROJECT.MEMBER", scene.project, affiliations=[HEBREW, "lab"])
    browser.sign_in(world, world.staff)
    links = browser.open(f"{scene.paths['project']}links/").text
    assert f"Only for people of \u2068{HEBREW}\u2069, lab." in links
    form = browser.open(f"{scene.paths['organisation']}link/").text
    assert f"\u2068{HEBREW}\u2069, in a new project for each member" in form


def test_lists_by_name_are_in_the_order_that_people_expect(site: Site, world: World) -> None:
    names = [
        "Zeta",
        "\u00e9clair",
        "Echo",
        "alpha",
        "\u00c5ngstr\u00f6m",
        "\u0141\u00f3d\u017a",
        "lodge",
        "Beta",
    ]
    expected = [
        "alpha",
        "\u00c5ngstr\u00f6m",
        "Beta",
        "Echo",
        "\u00e9clair",
        "lodge",
        "\u0141\u00f3d\u017a",
        "Zeta",
    ]
    expected = [
        "alpha",
        "\u00c5ngstr\u00f6m",
        "Beta",
        "Echo",
        "\u00e9clair",
        "lodge",
        "\u0141\u00f3d\u017a",
        "Zeta",
    ]
    for name in names:
        world.organisation(name)
        group(site, world.staff, name)
    above = world.organisation("0")
    for name in names:
        world.project(above, name)
    bearer = {"Authorization": f"Bearer {world.staff.token}"}
    for turned in ("", "-"):
        wanted = expected[::-1] if turned else expected
        for path in ("customers", "projects"):
            rows = site.get(f"/api/{path}/?o={turned}name&page_size=50", world.staff).json()
            assert [row["name"] for row in rows if row["name"] in names] == wanted, path
        rows = site.get(f"/api/private/users/group/?sort[]={turned}name", headers=bearer).json()
        listed = next(value for value in rows.values() if isinstance(value, list))
        assert [row["name"] for row in listed] == wanted


def test_people_are_listed_by_name_as_people_expect(site: Site, world: World) -> None:
    place = world.organisation("Acme")
    for at, name in enumerate(["\u00d6dil", "oda", "\u00c9va", "Eve", "zo\u00eb", "Zo"]):
        person = world.person(f"p{at}", first_name=name, last_name="")
        world.seat(person, "CUSTOMER.OWNER", place)
    expected = ["\u00c9va", "Eve", "oda", "\u00d6dil", "Zo", "zo\u00eb"]
    rows = site.get("/api/users/?o=full_name", world.staff).json()
    assert [row["first_name"] for row in rows if row["username"].startswith("p")] == expected
    rows = site.get(f"/api/customers/{place.uuid}/list_users/?o=full_name", world.staff).json()
    assert [row["user_full_name"] for row in rows] == expected


def test_a_change_of_name_changes_the_place_in_the_list(site: Site, world: World) -> None:
    first, second = world.organisation("Alpha"), world.organisation("Beta")
    site.request("PATCH", first.path, world.staff, json={"name": "zeta"})
    rows = site.get("/api/customers/?o=name", world.staff).json()
    assert [row["uuid"] for row in rows] == [second.uuid, first.uuid]


# Pasted lists.


def test_a_pasted_list_invites_whom_it_names_and_gives_back_the_rest(
    browser: Browser, scene: Scene
) -> None:
    world, here = scene.world, f"{scene.paths['project']}invite/"
    browser.sign_in(world, scene.people["manager"])
    browser.open(here)
    pasted = (
        "\ufeff\u200bada@example.org",
        "[Grace](mailto:grace@example.org)\x0b",
        "\u00abjoan@example.org\u00bb.",
        '"Lee, Jane" <jane.lee@example.org>; Tom <tom@example.org>',
        "jane@example,org",
        "nobody",
    )
    lines = "\n".join(pasted)
    given = {"addresses": lines, "role": world.role("PROJECT.MEMBER").uuid, "extra_text": ""}
    page = browser.send(here, action="check", **given)
    assert "5 people can be invited" in text(page)
    assert "A comma or a space may stand where a dot belongs." in text(page)
    assert "This line contains no e-mail address." in text(page)
    assert "jane@example,org" in text(page)
    sent = browser.send(here, action="send", **given)
    assert "5 people invited" in text(sent)
    assert 'value="jane@example,org\nnobody"' in sent.text
    assert owed(world.database, "invitation_created") == [
        "ada@example.org",
        "grace@example.org",
        "joan@example.org",
        "jane.lee@example.org",
        "tom@example.org",
    ]


@pytest.mark.skipif(not CASES.exists(), reason="the cases of others are not at hand")
def test_the_list_of_the_cases_is_understood_on_the_page(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['project']}invite/"
    browser.sign_in(world, scene.people["manager"])
    browser.open(here)
    lines = CASES.read_text(encoding="utf-8").replace("\n", "\r\n")
    role = world.role("PROJECT.MEMBER").uuid
    said = text(browser.send(here, action="check", addresses=lines, role=role))
    assert "18 people can be invited" in said
    assert "3 cannot" in said
    sent = browser.send(here, action="send", addresses=lines, role=role)
    assert "18 people invited" in text(sent)
    assert len(set(owed(world.database, "invitation_created"))) == 18


def test_two_spellings_of_a_mailbox_are_invited_once(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['project']}invite/"
    browser.sign_in(world, scene.people["manager"])
    browser.open(here)
    said = text(
        browser.send(
            here,
            action="check",
            addresses=f"{UELLE}\n{UELLE_LOOSE}",
            role=world.role("PROJECT.MEMBER").uuid,
        )
    )
    assert "1 person can be invited" in said
    assert "in the list more than once" in said
