"""Who answers for an invite link, and for whom automatic approval holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collegium.access.rules import Permission, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.db.statements import Row
from collegium.invite_links import queries as invite_link_queries
from tests.access.test_visibility import add_role
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import Person, Place, World

MEMBER = "PROJECT.MEMBER"


def link_of(world: World, uuid: str) -> Row:
    with world.database.read() as tx:
        return invite_link_queries.find(tx, world.staff.actor, uuid)


def approved(site: Site, link: str, person: Person) -> bool:
    """Ask by a link; tell whether nobody had to decide."""
    answer = site.post(f"/api/user-group-invitations/{link}/submit_request/", person)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["auto_approved"])


def save(browser: Browser, scene: Scene, who: Person, link: str, **given: str) -> Any:
    here = f"{scene.paths['project']}links/{link}/"
    browser.sign_in(scene.world, who)
    browser.open(here)
    return browser.send(here, action="save", **given)


NARROW = {"affiliations": "member@example.org", "email_patterns": r".*@example\.org"}


def made_by_staff(scene: Scene, **details: Any) -> str:
    narrow: dict[str, Any] = {
        "affiliations": ["member@example.org"],
        "email_patterns": [r".*@example\.org"],
    }
    return scene.world.open(scene.world.staff, MEMBER, scene.project, **narrow | details)


WIDER: dict[str, dict[str, str]] = {
    "regular expressions are not valid": {"email_patterns": "", "affiliations": ""},
    "another pattern": {"email_patterns": r".*@example\.org" + "\n.*"},
    "another institution": {"affiliations": "member@example.org\nmember@example.com"},
    "several requests": {"allow_multiple_requests": "yes"},
    "automatic": {"auto_approve": "yes"},
}


@pytest.mark.parametrize("wider", WIDER)
def test_manager_who_widened_a_link_of_staff_answers_for_it_alone(
    browser: Browser, scene: Scene, site: Site, wider: str
) -> None:
    world, manager = scene.world, scene.people["manager"]
    link = made_by_staff(scene, auto_approve=wider != "automatic")
    given = NARROW | {"auto_approve": "yes"} | WIDER[wider]
    assert save(browser, scene, manager, link, **given).status_code == 303
    ada, bob = world.person("ada"), world.person("bob")
    assert approved(site, link, ada)
    world.unseat(manager, "PROJECT.MANAGER", scene.project)
    assert not approved(site, link, bob)
    assert {row.username for row in world.grants_in(scene.project)} == {"member", "ada"}


def test_link_that_lasts_longer_has_whoever_said_so_as_its_sponsor(
    browser: Browser, scene: Scene, site: Site
) -> None:
    world, manager = scene.world, scene.people["manager"]
    soon = datetime.now(UTC) + timedelta(days=1)
    link = made_by_staff(scene, auto_approve=True, expires_at=soon)
    longer = (soon + timedelta(days=2)).date().isoformat()
    save(browser, scene, manager, link, auto_approve="yes", expires=longer, **NARROW)
    world.unseat(manager, "PROJECT.MANAGER", scene.project)
    assert not approved(site, link, world.person("ada"))


NARROWER: dict[str, dict[str, str]] = {
    "words": NARROW | {"custom_text": "Welcome"},
    "one pattern less": {"affiliations": "member@example.org"},
    "not automatic": NARROW,
}


@pytest.mark.parametrize("narrower", NARROWER)
def test_manager_who_narrowed_a_link_of_staff_leaves_staff_as_its_sponsor(
    browser: Browser, scene: Scene, site: Site, narrower: str
) -> None:
    world, manager = scene.world, scene.people["manager"]
    link = made_by_staff(scene, auto_approve=True)
    automatic = {} if narrower == "not automatic" else {"auto_approve": "yes"}
    given = NARROWER[narrower] | automatic
    assert save(browser, scene, manager, link, **given).status_code == 303
    world.unseat(manager, "PROJECT.MANAGER", scene.project)
    ada = world.person("ada")
    with world.database.write() as tx:
        own = {"affiliations": ["member@example.org"]}
        account_actions.update(tx, world.staff.actor, world.settings, ada.uuid, own, agrees=False)
    assert approved(site, link, ada) is bool(automatic)


def test_staff_take_a_link_over_by_widening_it(browser: Browser, scene: Scene, site: Site) -> None:
    world, manager = scene.world, scene.people["manager"]
    link = world.open(manager, MEMBER, scene.project)
    save(browser, scene, world.staff, link, auto_approve="yes")
    world.unseat(manager, "PROJECT.MANAGER", scene.project)
    assert approved(site, link, world.person("ada"))


def test_link_whose_sponsor_has_gone_says_so_and_is_taken_over_by_saving_it(
    browser: Browser, scene: Scene, site: Site
) -> None:
    world, manager, owner = scene.world, scene.people["manager"], scene.people["owner"]
    link = world.open(manager, MEMBER, scene.project, auto_approve=True)
    here = f"{scene.paths['project']}links/"
    browser.sign_in(world, owner)
    assert "Requests are approved automatically" in text(browser.open(here))
    asks = f"/open_invitation/{link}/"
    browser.sign_in(world, world.person("ada"))
    assert "is approved automatically" in text(browser.open(asks))
    world.unseat(manager, "PROJECT.MANAGER", scene.project)
    assert "is approved automatically" not in text(browser.open(asks))
    browser.sign_in(world, owner)
    said = text(browser.open(here))
    assert "Requests are approved automatically" not in said
    assert "To approve requests automatically again, save the link" in said
    assert not approved(site, link, world.person("bob"))
    save(browser, scene, owner, link, auto_approve="yes")
    assert approved(site, link, world.person("eve"))


@pytest.mark.parametrize("end", ["deactivated", "no more staff"])
def test_sponsor_who_is_staff_no_more_lets_nobody_in(scene: Scene, site: Site, end: str) -> None:
    world = scene.world
    chief = world.person("chief", is_staff=True)
    link = world.open(chief, MEMBER, scene.project, auto_approve=True)
    assert approved(site, link, world.person("ada"))
    change = {"is_active": False} if end == "deactivated" else {"is_staff": False}
    with world.database.write() as tx:
        account_actions.update(
            tx, world.staff.actor, world.settings, chief.uuid, change, agrees=False
        )
    assert not approved(site, link, world.person("bob"))


def test_public_link_is_changed_by_staff_alone_and_closed_by_its_managers_too(
    browser: Browser, scene: Scene, site: Site
) -> None:
    world, owner = scene.world, scene.people["owner"]
    public: dict[str, Any] = {"is_public": True, "auto_create_project": True}
    link = world.open(world.staff, MEMBER, scene.organisation, **public)
    other = world.open(world.staff, MEMBER, scene.organisation, **public)
    with world.database.write() as tx:
        add_role(tx, "CUSTOM.INVITER", ScopeKind.ORGANISATION, (Permission.ORGANISATION_GRANT,))
    world.seat(owner, "CUSTOM.INVITER", scene.organisation)
    here = f"{scene.paths['organisation']}links/"
    browser.sign_in(world, owner)
    assert f'href="{here}{link}/"' not in browser.open(here).text
    for given in ({}, {"is_public": "yes"}, {"custom_text": "Ours"}, {"auto_approve": "yes"}):
        answer = browser.send(f"{here}{link}/", action="save", **given)
        assert answer.status_code == 403
        assert "only staff can edit it" in text(answer)
        browser.open(here)
    assert browser.call("GET", f"{here}{link}/").status_code == 403
    assert link_of(world, link).is_public
    assert browser.send(f"{here}{link}/", action="close").status_code == 303
    assert link_of(world, link).canceled_at is not None
    browser.sign_in(world, world.staff)
    browser.open(f"{here}{other}/")
    given = {"is_public": "yes", "custom_text": "Ours"}
    assert browser.send(f"{here}{other}/", action="save", **given).status_code == 303
    assert link_of(world, other).custom_text == "Ours"


# Whoever merely reads.


def reader(world: World, scene: Scene, kind: str) -> Person:
    if kind == "support":
        return world.person("reader", is_support=True)
    person = world.person("reader")
    with world.database.write() as tx:
        if kind == "lists":
            add_role(tx, "CUSTOM.READER", ScopeKind.ORGANISATION, (Permission.INVITATION_LIST,))
        else:
            # May let people in, but not to a role above their own.
            add_role(tx, "CUSTOM.READER", ScopeKind.ORGANISATION, (Permission.PROJECT_GRANT,))
    world.seat(person, "CUSTOM.READER", scene.organisation)
    return person


@pytest.mark.parametrize("way", ["api", "page"])
@pytest.mark.parametrize("kind", ["support", "lists", "below the role"])
def test_whoever_merely_reads_a_link_waits_for_a_decision(
    browser: Browser, scene: Scene, site: Site, kind: str, way: str
) -> None:
    world = scene.world
    link = world.open(scene.people["owner"], "PROJECT.MANAGER", scene.project, auto_approve=True)
    climber, stranger = reader(world, scene, kind), world.person("stranger")
    for who, expected in ((climber, False), (stranger, True)):
        if way == "api":
            assert approved(site, link, who) is expected
        else:
            here = f"/open_invitation/{link}/"
            browser.sign_in(world, who)
            assert ("is approved automatically" in text(browser.open(here))) is expected
            said = text(browser.follow(browser.send(here)))
            assert ("Welcome!" in said) is expected
    managers = {row.username for row in world.grants_in(scene.project)}
    assert "stranger" in managers
    assert "reader" not in managers


@pytest.mark.parametrize("kind", ["support", "lists"])
def test_reader_gets_no_project_of_their_own_at_once(scene: Scene, site: Site, kind: str) -> None:
    world = scene.world
    details: dict[str, Any] = {"auto_create_project": True, "auto_approve": True}
    link = world.open(world.staff, "PROJECT.MANAGER", scene.organisation, **details)
    assert not approved(site, link, reader(world, scene, kind))
    assert approved(site, link, world.person("stranger"))


def test_whoever_could_give_the_role_is_let_in_at_once(scene: Scene, site: Site) -> None:
    world: World = scene.world
    place: Place = scene.project
    link = world.open(world.staff, "PROJECT.MANAGER", place, auto_approve=True)
    assert approved(site, link, scene.people["owner"])
    assert approved(site, link, world.person("boss", is_staff=True, is_support=True))


def test_requests_tell_colleagues_of_the_organisation_no_link(scene: Scene, site: Site) -> None:
    world = scene.world
    link = world.open(scene.people["owner"], "PROJECT.MANAGER", scene.project, auto_approve=True)
    ada, colleague = world.person("ada"), world.person("colleague")
    with world.database.write() as tx:
        add_role(tx, "CUSTOM.COLLEAGUE", ScopeKind.ORGANISATION, ())
    world.seat(colleague, "CUSTOM.COLLEAGUE", scene.organisation)
    assert approved(site, link, ada)
    world.unseat(ada, "PROJECT.MANAGER", scene.project)
    people = scene.people
    shown = {ada: True, people["owner"]: True, people["manager"]: True, world.staff: True}
    shown |= {people["support"]: True, reader(world, scene, "lists"): True, colleague: False}
    for who, expected in shown.items():
        (listed,) = site.get("/api/user-permission-requests/", who).json()
        one = site.get(f"/api/user-permission-requests/{listed['uuid']}/", who).json()
        assert one == listed
        assert listed["created_by_username"] == "ada"
        assert (link in str(listed)) is expected, who.actor.username
        assert bool(listed["invitation"]) is expected


def test_requests_tell_colleagues_a_public_link_while_it_is_active(
    scene: Scene, site: Site
) -> None:
    world = scene.world
    public: dict[str, Any] = {"is_public": True, "auto_create_project": True}
    link = world.open(world.staff, "PROJECT.MANAGER", scene.organisation, **public)
    colleague, owner = world.person("colleague"), scene.people["owner"]
    with world.database.write() as tx:
        add_role(tx, "CUSTOM.COLLEAGUE", ScopeKind.ORGANISATION, ())
    world.seat(colleague, "CUSTOM.COLLEAGUE", scene.organisation)
    for name in ("ada", "bob"):
        world.ask(world.person(name), link)

    def tell_link(who: Person) -> list[bool]:
        path = "/api/user-permission-requests/"
        pages = [site.get(f"{path}?page_size=1&page={n}", who).json() for n in (1, 2)]
        listed = [request for page in pages for request in page]
        assert listed == [site.get(f"{path}{one['uuid']}/", who).json() for one in listed]
        return [link in one["invitation"] for one in listed]

    for who in (colleague, owner, world.staff):
        assert tell_link(who) == [True, True]
    closed = site.post(f"/api/user-group-invitations/{link}/cancel/", world.staff)
    assert closed.status_code == 200
    assert tell_link(colleague) == [False, False]
    for who in (owner, world.staff):
        assert tell_link(who) == [True, True]
