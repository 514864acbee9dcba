"""The sponsor of an invite link, and the accounts that auto-approval applies to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from collegium.access.rules import Permission, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.invite_links import queries as invite_link_queries
from tests.access.test_visibility import add_role
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import Person, World

MEMBER = "PROJECT.MEMBER"
SOON = datetime.now(UTC) + timedelta(days=1)


def invite_link(world: World, uuid: str) -> Any:
    with world.database.read() as tx:
        return invite_link_queries.get_by_uuid(tx, world.staff.actor, uuid)


def update_account(world: World, person: Person, **values: Any) -> None:
    with world.database.write() as tx:
        account_actions.update(
            tx, world.staff.actor, world.settings, person.uuid, values, agrees_to_policy=False
        )


def is_approved(site: Site, link: str, person: Person) -> bool:
    """Request a role by a link; return whether it was approved automatically."""
    response = site.post(f"/api/user-group-invitations/{link}/submit_request/", person)
    assert response.status_code == 200, response.text
    return bool(response.json()["auto_approved"])


def save(browser: Browser, scene: Scene, person: Person, link: str, **form: str) -> httpx.Response:
    path = f"{scene.paths['project']}links/{link}/"
    browser.sign_in(scene.world, person).open(path)
    return browser.send(path, action="save", **form)


NARROW = {"affiliations": "member@example.org", "email_patterns": r".*@example\.org"}


def open_by_staff(scene: Scene, **details: Any) -> str:
    narrow: dict[str, Any] = {
        "affiliations": ["member@example.org"],
        "email_patterns": [r".*@example\.org"],
    }
    return scene.world.create_link(scene.world.staff, MEMBER, scene.project, **narrow | details)


WIDER: dict[str, dict[str, str]] = {
    "no restrictions": {"email_patterns": "", "affiliations": ""},
    "another pattern": {"email_patterns": r".*@example\.org" + "\n.*"},
    "another institution": {"affiliations": "member@example.org\nmember@example.com"},
    "several requests": {"allow_multiple_requests": "yes"},
    "auto-approval": {"auto_approve": "yes"},
    "later end": {"expires": (SOON + timedelta(days=2)).date().isoformat()},
}


@pytest.mark.parametrize("wider", WIDER)
def test_manager_who_widens_a_link_becomes_its_sponsor(
    browser: Browser, scene: Scene, site: Site, wider: str
) -> None:
    world, manager = scene.world, scene.people["manager"]
    details = {"expires_at": SOON} if wider == "later end" else {}
    link = open_by_staff(scene, auto_approve=wider != "auto-approval", **details)
    form = NARROW | {"auto_approve": "yes"} | WIDER[wider]
    assert save(browser, scene, manager, link, **form).status_code == 303
    assert is_approved(site, link, world.person("ada"))
    world.remove_role(manager, "PROJECT.MANAGER", scene.project)
    assert not is_approved(site, link, world.person("bob"))
    assert {row.username for row in world.grants_in(scene.project)} == {"member", "ada"}


@pytest.mark.parametrize(
    ("form", "is_automatic"),
    [
        pytest.param(NARROW | {"custom_text": "Welcome"}, True, id="text"),
        pytest.param({"affiliations": "member@example.org"}, True, id="one pattern less"),
        pytest.param(NARROW, False, id="no auto-approval"),
    ],
)
def test_manager_who_narrows_a_link_does_not_become_its_sponsor(
    browser: Browser, scene: Scene, site: Site, form: dict[str, str], is_automatic: bool
) -> None:
    world, manager = scene.world, scene.people["manager"]
    link = open_by_staff(scene, auto_approve=True)
    form = form | ({"auto_approve": "yes"} if is_automatic else {})
    assert save(browser, scene, manager, link, **form).status_code == 303
    world.remove_role(manager, "PROJECT.MANAGER", scene.project)
    ada = world.person("ada")
    update_account(world, ada, affiliations=["member@example.org"])
    assert is_approved(site, link, ada) is is_automatic


def test_staff_who_widen_a_link_become_its_sponsor(
    browser: Browser, scene: Scene, site: Site
) -> None:
    world, manager = scene.world, scene.people["manager"]
    link = world.create_link(manager, MEMBER, scene.project)
    save(browser, scene, world.staff, link, auto_approve="yes")
    world.remove_role(manager, "PROJECT.MANAGER", scene.project)
    assert is_approved(site, link, world.person("ada"))


def test_saving_a_link_without_sponsor_restores_auto_approval(
    browser: Browser, scene: Scene, site: Site
) -> None:
    world, manager, owner = scene.world, scene.people["manager"], scene.people["owner"]
    link = world.create_link(manager, MEMBER, scene.project, auto_approve=True)
    for_owner, for_ada = f"{scene.paths['project']}links/", f"/open_invitation/{link}/"
    ada = world.person("ada")

    def page(person: Person, path: str) -> str:
        return text(browser.sign_in(world, person).open(path))

    assert "Requests are approved automatically" in page(owner, for_owner)
    assert "is approved automatically" in page(ada, for_ada)
    world.remove_role(manager, "PROJECT.MANAGER", scene.project)
    assert "is approved automatically" not in page(ada, for_ada)
    assert "Requests are approved automatically" not in page(owner, for_owner)
    assert "To approve requests automatically again, save the link" in page(owner, for_owner)
    assert not is_approved(site, link, world.person("bob"))
    save(browser, scene, owner, link, auto_approve="yes")
    assert is_approved(site, link, world.person("eve"))


@pytest.mark.parametrize("field", ["is_active", "is_staff"])
def test_auto_approval_ends_when_the_sponsor_is_no_longer_staff(
    scene: Scene, site: Site, field: str
) -> None:
    world = scene.world
    chief = world.person("chief", is_staff=True)
    link = world.create_link(chief, MEMBER, scene.project, auto_approve=True)
    assert is_approved(site, link, world.person("ada"))
    update_account(world, chief, **{field: False})
    assert not is_approved(site, link, world.person("bob"))


def test_only_staff_can_edit_a_public_link_but_managers_can_close_it(
    browser: Browser, scene: Scene, site: Site
) -> None:
    world, owner = scene.world, scene.people["owner"]
    link, other = (
        world.create_link(
            world.staff, MEMBER, scene.organisation, is_public=True, auto_create_project=True
        )
        for _ in range(2)
    )
    with world.database.write() as tx:
        add_role(tx, "CUSTOM.INVITER", ScopeKind.ORGANISATION, (Permission.ORGANISATION_GRANT,))
    world.give_role(owner, "CUSTOM.INVITER", scene.organisation)
    path = f"{scene.paths['organisation']}links/"
    browser.sign_in(world, owner)
    for form in ({}, {"is_public": "yes"}, {"custom_text": "Ours"}, {"auto_approve": "yes"}):
        assert f'href="{path}{link}/"' not in browser.open(path).text
        response = browser.send(f"{path}{link}/", action="save", **form)
        assert response.status_code == 403
        assert "only staff can edit it" in text(response)
    browser.open(path)
    assert browser.call("GET", f"{path}{link}/").status_code == 403
    assert invite_link(world, link).is_public
    assert browser.send(f"{path}{link}/", action="close").status_code == 303
    assert invite_link(world, link).canceled_at is not None
    browser.sign_in(world, world.staff).open(f"{path}{other}/")
    form = {"is_public": "yes", "custom_text": "Ours"}
    assert browser.send(f"{path}{other}/", action="save", **form).status_code == 303
    assert invite_link(world, other).custom_text == "Ours"


def add_reader(world: World, scene: Scene, kind: str) -> Person:
    """Create an account that can read links but not give their role."""
    person = world.person("reader", is_support=kind == "support")
    if kind != "support":
        permission = {
            "lists": Permission.INVITATION_LIST,
            "below the role": Permission.PROJECT_GRANT,
        }[kind]
        with world.database.write() as tx:
            add_role(tx, "CUSTOM.READER", ScopeKind.ORGANISATION, (permission,))
        world.give_role(person, "CUSTOM.READER", scene.organisation)
    return person


@pytest.mark.parametrize("protocol", ["api", "page"])
@pytest.mark.parametrize("kind", ["support", "lists", "below the role"])
def test_auto_approval_does_not_apply_to_accounts_that_can_read_the_link(
    browser: Browser, scene: Scene, site: Site, kind: str, protocol: str
) -> None:
    world = scene.world
    link = world.create_link(
        scene.people["owner"], "PROJECT.MANAGER", scene.project, auto_approve=True
    )
    reader, stranger = add_reader(world, scene, kind), world.person("stranger")
    for person, expected in ((reader, False), (stranger, True)):
        if protocol == "api":
            assert is_approved(site, link, person) is expected
        else:
            path = f"/open_invitation/{link}/"
            page = text(browser.sign_in(world, person).open(path))
            assert ("is approved automatically" in page) is expected
            assert ("Welcome!" in text(browser.follow(browser.send(path)))) is expected
    members = {row.username for row in world.grants_in(scene.project)}
    assert "stranger" in members
    assert "reader" not in members


@pytest.mark.parametrize("kind", ["support", "lists"])
def test_reader_of_a_link_gets_no_project_without_approval(
    scene: Scene, site: Site, kind: str
) -> None:
    world = scene.world
    details: dict[str, Any] = {"auto_create_project": True, "auto_approve": True}
    link = world.create_link(world.staff, "PROJECT.MANAGER", scene.organisation, **details)
    assert not is_approved(site, link, add_reader(world, scene, kind))
    assert is_approved(site, link, world.person("stranger"))


def test_account_that_can_give_the_role_is_approved_automatically(scene: Scene, site: Site) -> None:
    world = scene.world
    link = world.create_link(world.staff, "PROJECT.MANAGER", scene.project, auto_approve=True)
    assert is_approved(site, link, scene.people["owner"])
    assert is_approved(site, link, world.person("boss", is_staff=True, is_support=True))


def add_colleague(world: World, scene: Scene) -> Person:
    """Create a member of the organisation without permissions."""
    person = world.person("colleague")
    with world.database.write() as tx:
        add_role(tx, "CUSTOM.COLLEAGUE", ScopeKind.ORGANISATION, ())
    world.give_role(person, "CUSTOM.COLLEAGUE", scene.organisation)
    return person


def test_request_shows_its_link_only_to_requester_and_deciders(scene: Scene, site: Site) -> None:
    world, people = scene.world, scene.people
    link = world.create_link(people["owner"], "PROJECT.MANAGER", scene.project, auto_approve=True)
    ada, colleague = world.person("ada"), add_colleague(world, scene)
    assert is_approved(site, link, ada)
    world.remove_role(ada, "PROJECT.MANAGER", scene.project)
    reader = add_reader(world, scene, "lists")
    for person, expected in (
        *((people[name], True) for name in ("owner", "manager", "support", "staff")),
        (ada, True),
        (reader, True),
        (colleague, False),
    ):
        path = "/api/user-permission-requests/"
        (row,) = site.get(path, person).json()
        assert site.get(f"{path}{row['uuid']}/", person).json() == row
        assert row["created_by_username"] == "ada"
        assert (link in str(row)) is expected, person.actor.username
        assert bool(row["invitation"]) is expected


def test_request_shows_a_public_link_to_colleagues_while_it_is_active(
    scene: Scene, site: Site
) -> None:
    world, path = scene.world, "/api/user-permission-requests/"
    public: dict[str, Any] = {"is_public": True, "auto_create_project": True}
    link = world.create_link(world.staff, "PROJECT.MANAGER", scene.organisation, **public)
    colleague, managers = add_colleague(world, scene), (scene.people["owner"], world.staff)
    for name in ("ada", "bob"):
        world.ask(world.person(name), link)

    def shows_link(person: Person) -> list[bool]:
        pages = [site.get(f"{path}?page_size=1&page={page}", person).json() for page in (1, 2)]
        rows = [row for page in pages for row in page]
        assert rows == [site.get(f"{path}{row['uuid']}/", person).json() for row in rows]
        return [link in row["invitation"] for row in rows]

    for person in (colleague, *managers):
        assert shows_link(person) == [True, True]
    response = site.post(f"/api/user-group-invitations/{link}/cancel/", world.staff)
    assert response.status_code == 200
    assert shows_link(colleague) == [False, False]
    for person in managers:
        assert shows_link(person) == [True, True]
