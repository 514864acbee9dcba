"""Spellings of addresses, user names, passwords and names, in all protocols."""

from __future__ import annotations

import gc
import importlib
import pkgutil
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from argon2 import PasswordHasher

import collegium
from collegium.accounts import queries as account_queries
from collegium.lists.listing import Listing
from collegium.security import crypto
from collegium.security.crypto import hash_password
from tests.rules.test_pasted_lists import VALID
from tests.sign_in.test_pages import HASHED, PASSWORD, queued_recipients, send_sign_in_form
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import Person, World

UELLE, UELLE_SMALL, UELLE_DECOMPOSED = (
    "\u00dclle@example.org",
    "\u00fclle@example.org",
    "u\u0308lle@example.org",
)
ACCENTED = "caf\u00e9 au lait qui fume"
ACCENTED_DECOMPOSED = "cafe\u0301 au lait qui fume"
HEBREW = "\u05e0\u05d5\u05e2\u05d4"
USERS, GROUPS = "/api/private/users/user/", "/api/private/users/group/"
SAME = [
    (UELLE, UELLE_SMALL),
    (UELLE, UELLE_DECOMPOSED),
    ("ada@m\u00fcnchen.example", "ADA@XN--MNCHEN-3YA.example"),
    ("ada@xn--mnchen-3ya.example", "ada@M\u00dcNCHEN.example"),
]
DIFFERENT = [
    ("stra\u00dfe@example.org", "strasse@example.org"),
    ("strasse@example.org", "stra\u00dfe@example.org"),
    ("ada@fa\u00df.example", "ada@fass.example"),
]


def brainstem(
    site: Site, method: str, path: str, person: Person, body: Any = None
) -> httpx.Response:
    """Call the BrainSTEM API."""
    headers = {"Authorization": f"Bearer {person.token}"}
    return site.request(method, path, headers=headers, json=body)


def add_group(site: Site, owner: Person, name: str) -> int:
    response = brainstem(site, "POST", GROUPS, owner, {"name": name})
    assert response.status_code == 201, response.text
    return int(response.json()["group"]["id"])


def open_invite_form(browser: Browser, scene: Scene) -> str:
    """Open the form as a manager of the project; return its path."""
    path = f"{scene.paths['project']}invite/"
    browser.sign_in(scene.world, scene.people["manager"]).open(path)
    return path


# E-mail addresses.


def reset_password(browser: Browser, world: World, stored: str, entered: str) -> list[str]:
    """Return the recipients of e-mails."""
    world.person("ada", email=stored, password=HASHED)
    browser.open("/forgotten_password/")
    assert browser.send("/forgotten_password/", email=entered).status_code == 200
    return queued_recipients(world.database, "password_reset")


@pytest.mark.parametrize(("stored", "entered"), SAME)
def test_password_reset_accepts_every_spelling_of_an_address(
    browser: Browser, world: World, stored: str, entered: str
) -> None:
    # The e-mail goes to the stored address, not to the entered one.
    assert reset_password(browser, world, stored, entered) == [stored]


@pytest.mark.parametrize(("stored", "entered"), DIFFERENT)
def test_password_reset_ignores_similar_addresses(
    browser: Browser, world: World, stored: str, entered: str
) -> None:
    assert reset_password(browser, world, stored, entered) == []


@pytest.mark.parametrize(("invited", "email"), SAME)
def test_every_spelling_of_the_invited_address_can_accept(
    site: Site, world: World, invited: str, email: str
) -> None:
    place = world.organisation()
    ada = world.person("ada", email=email)
    uuid = world.invite(world.staff, invited, "CUSTOMER.OWNER", place)
    rows = site.get("/api/user-invitations/", ada).json()
    assert [row["uuid"] for row in rows] == [uuid]
    assert site.post(f"/api/user-invitations/{uuid}/accept/", ada).status_code == 200
    assert [row.account_id for row in world.grants_in(place)] == [ada.id]


@pytest.mark.parametrize(
    ("invited", "email"),
    [
        *DIFFERENT,
        ("bill@example.org", "b\u0130ll@example.org"),
        ("kim@example.org", "\u212aim@example.org"),
    ],
)
def test_invitation_is_hidden_from_similar_addresses(
    site: Site, world: World, invited: str, email: str
) -> None:
    # Some of these addresses are refused today, but earlier releases stored them.
    thief = world.person("thief", email=email)
    uuid = world.invite(world.staff, invited, "CUSTOMER.OWNER", world.organisation())
    assert site.get("/api/user-invitations/", thief).json() == []
    assert site.get(f"/api/user-invitations/{uuid}/", thief).status_code == 404


@pytest.mark.parametrize(("email", "other"), SAME)
def test_accepting_cancels_invitations_to_other_spellings(
    site: Site, world: World, email: str, other: str
) -> None:
    place = world.organisation()
    ada = world.person("ada", email=email)
    first, second = (
        world.invite(world.staff, address, "CUSTOMER.OWNER", place) for address in (email, other)
    )
    assert site.post(f"/api/user-invitations/{first}/accept/", ada).status_code == 200
    assert world.invitation(second).state == "canceled"


@pytest.mark.parametrize(
    ("stored", "entered", "is_found"),
    [*((*pair, True) for pair in SAME), *((*pair, False) for pair in DIFFERENT)],
)
def test_filters_find_every_spelling_of_an_address_and_no_similar_one(
    site: Site, world: World, stored: str, entered: str, is_found: bool
) -> None:
    ada, entered = world.person("ada", email=stored), quote(entered)
    add_group(site, ada, "Lab")
    uuid = world.invite(world.staff, stored, "CUSTOMER.OWNER", world.organisation())
    rows = site.get(f"/api/users/?email={entered}", world.staff).json()
    assert [row["username"] for row in rows] == (["ada"] if is_found else [])
    for name in ("email", "email_exact"):
        rows = site.get(f"/api/user-invitations/?{name}={entered}", world.staff).json()
        assert [row["uuid"] for row in rows] == ([uuid] if is_found else []), name
    for operator in ("iexact", "icontains", "istartswith", "iendswith"):
        path = f"{USERS}?filter{{email.{operator}}}={entered}"
        body = brainstem(site, "GET", path, world.staff).text.replace(" ", "")
        assert (f'"id":{ada.id}' in body) is is_found, operator


def test_group_accepts_members_by_any_spelling_but_not_twice(site: Site, world: World) -> None:
    owner = world.person("owner")
    world.person("ada", email=UELLE)
    path = f"{GROUPS}{add_group(site, owner, 'Lab')}/"
    users = {UELLE_SMALL: {"is_manager": False}, UELLE: {"is_manager": False}}
    assert brainstem(site, "PATCH", path, owner, {"users": users}).status_code == 400
    response = brainstem(site, "PATCH", path, owner, {"users": {UELLE_SMALL: {}}})
    assert response.status_code == 200, response.text


def test_two_accounts_with_one_mailbox_both_work(site: Site, world: World) -> None:
    first, second = (
        world.person(name, email=email) for name, email in (("one", UELLE), ("two", UELLE_SMALL))
    )
    for person in (first, second):
        assert site.get("/api/users/me/", person).status_code == 200
    with world.database.read() as tx:
        assert account_queries.active_by_email(tx, [UELLE_DECOMPOSED])[UELLE_SMALL].id == first.id


def request_email_changes(site: Site, browser: Browser, person: Person, email: str) -> list[int]:
    """Request a change of address in the API and on the page; return the statuses."""
    path, body = f"/api/users/{person.uuid}/change_email/", {"email": email}
    browser.open("/account/address/")
    page = browser.send("/account/address/", **body, password=PASSWORD)
    return [site.post(path, person, json=body).status_code, page.status_code]


@pytest.mark.parametrize(
    "domain",
    ["lab.internal", "localhost", "printer.local", "mail.test", "box.home.arpa", "intranet"],
)
def test_private_domains_are_accepted_in_every_protocol(
    site: Site, browser: Browser, scene: Scene, domain: str
) -> None:
    world = scene.world
    role = world.role("PROJECT.MEMBER").uuid
    scope = f"http://collegium.test{scene.project.path}"
    for path, fields in (
        ("/api/users/", {"username": "new", "email": f"new@{domain}"}),
        ("/api/user-invitations/", {"email": f"ada@{domain}", "role": role, "scope": scope}),
    ):
        response = site.post(path, world.staff, json=fields)
        assert response.status_code == 201, response.text
    path = open_invite_form(browser, scene)
    page = text(browser.send(path, action="check", addresses=f"bob@{domain}", role=role))
    assert "1 person can be invited" in page
    ada = world.person("ada", email=f"ada@{domain}", password=HASHED)
    path = f"{GROUPS}{add_group(site, world.staff, 'Lab')}/"
    body = {"users": {f"Ada@{domain}": {"is_manager": True}}}
    assert brainstem(site, "PATCH", path, world.staff, body).status_code == 200
    assert f"ada@{domain}" in queued_recipients(world.database, "invitation_created")
    email = f"eve@{domain}"
    assert request_email_changes(site, browser.sign_in(world, ada), ada, email) == [200, 303]
    assert queued_recipients(world.database, "change_email_request") == [email, email]


@pytest.mark.parametrize("address", ["ada@mail.invalid", "ada@invalid", "ada@x..org", "ada"])
def test_invalid_address_is_refused_in_every_protocol(
    site: Site, browser: Browser, world: World, address: str
) -> None:
    new = {"username": "new", "email": address}
    response = site.post("/api/users/", world.staff, json=new)
    assert response.status_code == 400
    assert response.json() == {"email": ["Enter a valid email address."]}
    browser.open("/forgotten_password/")
    assert browser.send("/forgotten_password/", email=address).status_code == 422
    # This API reads no new addresses: it looks for the account that has the address.
    path = f"{GROUPS}{add_group(site, world.staff, 'Lab')}/"
    body = {"users": {address: {"is_manager": True}}}
    assert brainstem(site, "PATCH", path, world.staff, body).status_code == 400
    ada = world.person("ada", password=HASHED)
    assert request_email_changes(site, browser.sign_in(world, ada), ada, address) == [400, 422]


@pytest.mark.parametrize(
    ("entered", "stored"),
    [
        ("\ufeff\u200bada@example.org\u202c\u00a0", "ada@example.org"),
        (UELLE_DECOMPOSED, UELLE_SMALL),
    ],
)
def test_address_is_stored_without_invisible_characters_and_normalised(
    site: Site, world: World, entered: str, stored: str
) -> None:
    body = {"username": "new", "email": entered}
    response = site.post("/api/users/", world.staff, json=body)
    assert response.status_code == 201, response.text
    assert response.json()["email"] == stored


# User names, passwords, names of groups.


@pytest.mark.parametrize("entered", ["Anna", "anna ", " ANNA", "\ufeffanna\u200b"])
def test_sign_in_ignores_case_and_invisible_characters_of_user_name(
    browser: Browser, site: Site, world: World, entered: str
) -> None:
    world.person("anna", password=HASHED)
    assert send_sign_in_form(browser, entered, PASSWORD).status_code == 303
    for path in ("/api-auth/password/", "/api/token/"):
        body = {"username": entered, "password": PASSWORD}
        assert site.post(path, json=body).status_code == 200, path


@pytest.mark.parametrize("entered", ["\u212aim", "k\u0131m", "\uff4bim"])
def test_sign_in_rejects_confusable_characters(
    browser: Browser, world: World, entered: str
) -> None:
    world.person("kim", password=HASHED)
    assert send_sign_in_form(browser, entered, PASSWORD).status_code == 401


def test_failed_sign_ins_count_for_all_spellings_together(browser: Browser, world: World) -> None:
    world.person("anna", password=HASHED)
    for entered in ("anna", "Anna", "ANNA ", "aNNa"):
        send_sign_in_form(browser, entered, "wrong")
    response = send_sign_in_form(browser, "anna", PASSWORD)
    assert response.status_code == 401
    assert "Too many failed sign-ins" in text(response)


@pytest.mark.parametrize("stored", [ACCENTED, ACCENTED_DECOMPOSED])
@pytest.mark.parametrize("entered", [ACCENTED, ACCENTED_DECOMPOSED])
def test_password_with_accents_matches_in_any_normal_form(
    browser: Browser, world: World, stored: str, entered: str
) -> None:
    # Earlier releases hashed the password as it was entered.
    old = crypto._HASHER.hash(stored)
    ada = world.person("ada", password=old)
    assert send_sign_in_form(browser, "ada", entered).status_code == 303
    with world.database.read() as tx:
        row: Any = account_queries.with_password(tx, id=ada.id)
    # A hash of another normal form is replaced.
    assert (row.password == old) == (stored == ACCENTED)
    assert PasswordHasher().verify(row.password, ACCENTED)


def test_password_without_its_accent_is_wrong(browser: Browser, world: World) -> None:
    world.person("ada", password=hash_password(ACCENTED))
    assert send_sign_in_form(browser, "ada", "cafe au lait qui fume").status_code == 401


@pytest.mark.parametrize(
    "other", ["CAFE\u0301", "caf\u00e9", " Caf\u00e9 ", "Ca\u200bf\u00e9", "\u2068Caf\u00e9\u2069"]
)
def test_group_names_are_unique_in_comparable_form(site: Site, world: World, other: str) -> None:
    owner = world.person("owner")
    add_group(site, owner, "Caf\u00e9")
    response = brainstem(site, "POST", GROUPS, owner, {"name": other})
    assert response.status_code == 400, response.text
    path = f"{GROUPS}?filter{{name.iexact}}={quote(other)}"
    assert "Caf\u00e9" in str(brainstem(site, "GET", path, owner).json())


def test_similar_group_names_are_different(site: Site, world: World) -> None:
    owner = world.person("owner")
    names = ("Stra\u00dfe", "Strasse", "Kim", "B\u0130ll", "Bill")
    assert len({add_group(site, owner, name) for name in names}) == 5


# Names.


@pytest.mark.parametrize("name", ["\u3164", "\u2800", "\u200b", "\u115f \u1160", "\u0301"])
def test_invisible_name_is_refused_in_every_protocol(
    site: Site, browser: Browser, world: World, name: str
) -> None:
    response = site.post("/api/customers/", world.staff, json={"name": name})
    assert response.status_code == 400
    assert response.json() == {"name": ["This field may not be blank."]}
    assert brainstem(site, "POST", GROUPS, world.staff, {"name": name}).status_code == 400
    browser.sign_in(world, world.person("ada")).open("/teams/")
    response = browser.send("/teams/", name=name)
    assert response.status_code == 422
    assert "only invisible characters" in text(response)


def test_invisible_characters_are_removed_in_every_protocol(
    site: Site, browser: Browser, world: World
) -> None:
    body = {"name": "\u200bAcme\nGrid\u3164"}
    assert site.post("/api/customers/", world.staff, json=body).json()["name"] == "Acme Grid"
    ada = world.person("ada")
    path, body = f"/api/users/{ada.uuid}/", {"first_name": "\u202eAda\u2800"}
    response = site.request("PATCH", path, world.staff, json=body)
    assert response.json()["first_name"] == "Ada"
    browser.sign_in(world, ada).open("/account/profile/")
    form = {"last_name": "Lee\u200b\u0085", "agree_with_policy": "yes"}
    assert browser.send("/account/profile/", **form).status_code == 303
    assert site.get("/api/users/me/", ada).json()["last_name"] == "Lee"


PERSONAL = ("first_name", "last_name", "native_name", "organization", "job_title")


@pytest.mark.parametrize("name", ["Visit https://evil.example", "x://y", "a:\u200b//b.example"])
def test_name_with_a_link_is_refused_in_every_protocol(
    site: Site, browser: Browser, world: World, name: str
) -> None:
    ada = world.person("ada")
    path, body = f"/api/users/{ada.uuid}/", dict.fromkeys(PERSONAL, name)
    response = site.request("PATCH", path, world.staff, json=body)
    assert response.status_code == 400
    assert set(response.json()) == set(PERSONAL)
    place, role = world.organisation(), world.role("CUSTOMER.OWNER").uuid
    invitation = {"email": "x@example.org", "role": role, "scope": f"http://x{place.path}"}
    fields: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("/api/customers/", "name", {}),
        ("/api/customers/", "bank_name", {"name": "Acme"}),
        *(("/api/user-invitations/", one, invitation) for one in ("full_name", *PERSONAL[3:])),
        ("/api/roles/", "name", {"permissions": [], "content_type": "customer"}),
    )
    for path, field, others in fields:
        response = site.post(path, world.staff, json={field: name, **others})
        assert (response.status_code, list(response.json())) == (400, [field]), path
    response = brainstem(site, "POST", GROUPS, ada, {"name": name})
    assert response.status_code == 400
    assert "name" in response.text
    browser.sign_in(world, ada).open("/account/profile/")
    for field in ("first_name", "last_name", "organization", "job_title"):
        response = browser.send("/account/profile/", **{field: name})
        assert response.status_code == 422, field
        assert "cannot contain a web address" in text(response)


def test_right_to_left_name_is_isolated_on_pages(browser: Browser, scene: Scene) -> None:
    world = scene.world
    person = world.person("noa", first_name=HEBREW, last_name="")
    world.give_role(person, "PROJECT.MEMBER", scene.project)
    page = browser.sign_in(world, scene.people["manager"]).open(scene.paths["project"]).text
    assert f"<bdi>\u2068{HEBREW}\u2069</bdi>" in page
    audit_log = f"{scene.paths['project']}history/"
    page = browser.sign_in(world, world.staff).open(audit_log).text
    assert f"\u2068{HEBREW}\u2069" in page
    assert HEBREW not in page.replace(f"\u2068{HEBREW}\u2069", "")


def test_form_shows_names_of_every_script_unchanged(browser: Browser, scene: Scene) -> None:
    world = scene.world
    link = world.create_link(world.staff, "PROJECT.MEMBER", scene.project)
    for index, name in enumerate((HEBREW, "Zo\u00eb \u2013 \u738b")):
        world.ask(world.person(f"asker{index}", first_name=name, last_name=""), link)
    page = browser.sign_in(world, scene.people["manager"]).open("/requests/").text
    assert f"<bdi>\u2068{HEBREW}\u2069</bdi>" in page
    assert "<bdi>Zo\u00eb \u2013 \u738b</bdi>" in page
    assert "&lt;" not in page


def test_right_to_left_roles_and_affiliations_are_isolated(
    browser: Browser, site: Site, scene: Scene
) -> None:
    world = scene.world
    path = f"/api/roles/{world.role('PROJECT.MEMBER').uuid}/update_descriptions/"
    response = site.request("PUT", path, world.staff, json={"description": HEBREW})
    assert response.status_code == 200, response.text
    world.create_link(world.staff, "PROJECT.MEMBER", scene.project, affiliations=[HEBREW, "lab"])
    page = browser.sign_in(world, world.staff).open(f"{scene.paths['project']}links/").text
    assert f"Only for people of \u2068{HEBREW}\u2069, lab." in page
    page = browser.open(f"{scene.paths['organisation']}link/").text
    assert f"\u2068{HEBREW}\u2069, in a new project for each member" in page


def test_scopes_are_sorted_by_name_without_case_and_accents(site: Site, world: World) -> None:
    angstrom, lodz, eclair = "\u00c5ngstr\u00f6m", "\u0141\u00f3d\u017a", "\u00e9clair"
    names = ["Zeta", eclair, "Echo", "alpha", angstrom, lodz, "lodge", "Beta"]
    expected = ["alpha", angstrom, "Beta", "Echo", eclair, "lodge", lodz, "Zeta"]
    organisation = world.organisation("0")
    for name in names:
        world.organisation(name)
        add_group(site, world.staff, name)
        world.project(organisation, name)
    for sign, ordered in (("", expected), ("-", expected[::-1])):
        for path in ("customers", "projects"):
            rows = site.get(f"/api/{path}/?o={sign}name&page_size=50", world.staff).json()
            assert [row["name"] for row in rows if row["name"] in names] == ordered, path
        body = brainstem(site, "GET", f"{GROUPS}?sort[]={sign}name", world.staff).json()
        rows = next(value for value in body.values() if isinstance(value, list))
        assert [row["name"] for row in rows] == ordered


def test_people_are_sorted_by_name_without_case_and_accents(site: Site, world: World) -> None:
    place = world.organisation("Acme")
    for index, name in enumerate(["\u00d6dil", "oda", "\u00c9va", "Eve", "zo\u00eb", "Zo"]):
        person = world.person(f"p{index}", first_name=name, last_name="")
        world.give_role(person, "CUSTOMER.OWNER", place)
    expected = ["\u00c9va", "Eve", "oda", "\u00d6dil", "Zo", "zo\u00eb"]
    rows = site.get("/api/users/?o=full_name", world.staff).json()
    assert [row["first_name"] for row in rows if row["username"].startswith("p")] == expected
    rows = site.get(f"{place.path}list_users/?o=full_name", world.staff).json()
    assert [row["user_full_name"] for row in rows] == expected


def test_renaming_changes_the_position_in_the_list(site: Site, world: World) -> None:
    first, second = world.organisation("Alpha"), world.organisation("Beta")
    site.request("PATCH", first.path, world.staff, json={"name": "zeta"})
    rows = site.get("/api/customers/?o=name", world.staff).json()
    assert [row["uuid"] for row in rows] == [second.uuid, first.uuid]


# Pasted lists.


def test_pasted_list_invites_valid_lines_and_returns_the_rest(
    browser: Browser, scene: Scene
) -> None:
    path, role = open_invite_form(browser, scene), scene.world.role("PROJECT.MEMBER").uuid
    lines = (
        "\ufeff\u200bada@example.org",
        "[Grace](mailto:grace@example.org)\x0b",
        "\u00abjoan@example.org\u00bb.",
        '"Lee, Jane" <jane.lee@example.org>; Tom <tom@example.org>',
        "jane@example,org",
        "nobody",
    )
    form = {"addresses": "\n".join(lines), "role": role, "extra_text": ""}
    page = text(browser.send(path, action="check", **form))
    for part in (
        "5 people can be invited",
        "A comma or a space may stand where a dot belongs.",
        "This line contains no e-mail address.",
        "jane@example,org",
    ):
        assert part in page
    response = browser.send(path, action="send", **form)
    assert "5 people invited" in text(response)
    assert 'value="jane@example,org\nnobody"' in response.text
    invited = [f"{name}@example.org" for name in ("ada", "grace", "joan", "jane.lee", "tom")]
    assert queued_recipients(scene.world.database, "invitation_created") == invited


def test_pasted_list_of_lines_of_every_program_is_understood(
    browser: Browser, scene: Scene
) -> None:
    path, role = open_invite_form(browser, scene), scene.world.role("PROJECT.MEMBER").uuid
    valid = [line for line, _ in VALID if "ada@" in line]
    lines = [line.replace("ada@", f"ada{number}@") for number, line in enumerate(valid)]
    pasted = "\r\n".join([*lines, "jane@example,org", "jane@@example.org", "nobody"])
    page = text(browser.send(path, action="check", addresses=pasted, role=role))
    assert f"{len(valid)} people can be invited" in page
    assert "3 cannot" in page
    page = text(browser.send(path, action="send", addresses=pasted, role=role))
    assert f"{len(valid)} people invited" in page
    recipients = queued_recipients(scene.world.database, "invitation_created")
    assert recipients == [f"ada{number}@example.org" for number in range(len(valid))]


def test_two_spellings_of_an_address_are_invited_once(browser: Browser, scene: Scene) -> None:
    path, role = open_invite_form(browser, scene), scene.world.role("PROJECT.MEMBER").uuid
    lines = f"{UELLE}\n{UELLE_DECOMPOSED}"
    page = text(browser.send(path, action="check", addresses=lines, role=role))
    assert "1 person can be invited" in page
    assert "in the list more than once" in page


def test_every_list_sorts_names_by_their_sort_keys() -> None:
    for module in pkgutil.walk_packages(collegium.__path__, "collegium."):
        if "migrations" not in module.name:
            importlib.import_module(module.name)
    gc.unfreeze()  # tests/conftest.py
    listings = [one for one in gc.get_objects() if isinstance(one, Listing)]
    orders = {
        (name, str(column))
        for listing in listings
        for name, columns in listing.orders.items()
        for column in columns
        if name.endswith("name") and name != "username"  # ASCII only
    }
    assert len(orders) > 10
    # The kind comes first where scopes of all kinds are listed.
    # Names of providers are ASCII.
    assert {order for order in orders if "_sort" not in order[1]} == {
        ("name", "scopes.kind"),
        ("name", "identity_providers.name"),
    }
