"""Open invitations and requests: what they promise, and what nobody gets by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from collegium.access.rules import Permission, ScopeKind
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import outbox
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.access.test_visibility import add_role
from tests.conftest import KEY
from tests.support.site import Site
from tests.support.world import Person, Place, World

LINKS = "/api/user-group-invitations/"
REQUESTS = "/api/user-permission-requests/"
_POSTED = Statement(select(outbox.c.kind, outbox.c.recipient).order_by(outbox.c.id))
ASKED_ALREADY = ["Request has been created already."]


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("owner")


@pytest.fixture
def acme(world: World, owner: Person) -> Place:
    return world.organisation("Acme", owner=owner)


@pytest.fixture
def engine(world: World, acme: Place) -> Place:
    return world.project(acme, "Engine")


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")


@pytest.fixture
def under(database: Database, vault: Vault, url: str) -> Iterator[Callable[..., Site]]:
    """The same house under other settings."""
    sites: list[Site] = []

    def make(**given: str) -> Site:
        environ = {f"COLLEGIUM_{name.upper()}": text for name, text in given.items()}
        environ |= {"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY}
        sites.append(Site(load(environ), database, vault))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


def submit(site: Site, link: str, who: Person) -> httpx.Response:
    return site.post(f"{LINKS}{link}/submit_request/", who)


def decide(site: Site, uuid: str, action: str, who: Person, **body: Any) -> httpx.Response:
    return site.post(f"{REQUESTS}{uuid}/{action}/", who, json=body)


def posted(world: World, kind: str) -> list[str]:
    """The addresses that are owed a mail of a kind."""
    with world.database.read() as tx:
        return [row.recipient for row in tx.fetch_all(_POSTED) if row.kind == kind]


def custom(world: World, kind: ScopeKind, *carried: Permission) -> str:
    name = f"CUSTOM.{len(carried)}{kind}"
    with world.database.write() as tx:
        add_role(tx, name, kind, carried)
    return name


def test_a_request_is_decided_once_and_says_by_whom(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    asked = submit(site, world.open(owner, "PROJECT.MEMBER", engine), ada).json()
    assert asked == {
        "uuid": asked["uuid"],
        "scope_name": "Engine",
        "scope_uuid": engine.uuid,
        "scope_type": "project",
        "auto_approved": False,
        "project_uuid": None,
        "project_created": False,
    }
    waiting = site.get(f"{REQUESTS}{asked['uuid']}/", owner).json()
    assert waiting["state"] == "pending"
    for name in ("reviewed_by_full_name", "reviewed_by_username", "reviewed_at", "review_comment"):
        assert waiting[name] is None
    answer = decide(site, asked["uuid"], "approve", owner, comment="welcome")
    assert (answer.status_code, answer.content) == (200, b"")
    shown = site.get(f"{REQUESTS}{asked['uuid']}/", ada).json()
    assert shown["state"] == "approved"
    assert shown["reviewed_by_username"] == "owner"
    assert shown["review_comment"] == "welcome"
    assert shown["created_by_email"] == ada.email
    for action in ("approve", "reject"):
        again = decide(site, asked["uuid"], action, owner)
        assert again.status_code == 409
        assert again.json() == {"detail": "Valid states for operation: pending."}
    (grant,) = world.grants_in(engine)
    assert (grant.username, grant.giver_username, grant.valid_until) == ("ada", "owner", None)
    assert posted(world, "structure_role_granted") == [ada.email]


def test_a_state_that_forbids_it_is_told_before_the_right_that_lacks(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    link = world.open(owner, "PROJECT.MEMBER", engine)
    uuid = submit(site, link, ada).json()["uuid"]
    assert decide(site, uuid, "approve", ada).status_code == 403
    # Whoever may not is told so before what is wrong with the body.
    assert decide(site, uuid, "approve", ada, comment=[]).status_code == 403
    assert decide(site, uuid, "approve", owner, comment=[]).status_code == 400
    assert decide(site, uuid, "reject", owner, comment="").status_code == 200
    assert decide(site, uuid, "approve", ada).status_code == 409
    assert posted(world, "permission_request_rejected") == [ada.email]


def test_who_is_mailed_can_see_and_decide_and_nobody_else_is(
    site: Site, world: World, owner: Person, acme: Place, engine: Place, ada: Person
) -> None:
    manager, member = world.person("manager"), world.person("member")
    world.seat(manager, "PROJECT.MANAGER", engine)
    world.seat(member, "PROJECT.MEMBER", engine)
    quiet = world.person("quiet", notifications_enabled=False)
    world.seat(quiet, "CUSTOMER.OWNER", acme)
    usher = world.person("usher")
    world.seat(usher, custom(world, ScopeKind.PROJECT, Permission.PROJECT_GRANT), engine)
    for role, expected in (
        ("PROJECT.MEMBER", {manager, owner, usher}),
        ("PROJECT.MANAGER", {manager, owner}),  # above the ceiling of the usher
    ):
        before = len(posted(world, "permission_request_submitted"))
        uuid = submit(site, world.open(world.staff, role, engine), ada).json()["uuid"]
        mailed = posted(world, "permission_request_submitted")[before:]
        assert sorted(mailed) == sorted(person.email for person in expected)
        for person in (manager, owner, usher, member):
            may = person in expected
            assert (decide(site, uuid, "approve", person, comment=[]).status_code == 400) is may
        decide(site, uuid, "reject", owner)


def test_where_nobody_may_decide_staff_are_mailed(
    site: Site, world: World, acme: Place, ada: Person
) -> None:
    # An owner does not give roles of the organisation away.
    submit(site, world.open(world.staff, "CUSTOMER.OWNER", acme), ada)
    assert posted(world, "permission_request_submitted") == [world.staff.email]


def test_nobody_lets_themselves_in(site: Site, world: World, owner: Person, engine: Place) -> None:
    manager = world.person("manager")
    world.seat(manager, "PROJECT.MANAGER", engine)
    link = world.open(owner, "PROJECT.ADMIN", engine)
    uuid = submit(site, link, manager).json()["uuid"]
    assert decide(site, uuid, "approve", manager).status_code == 403
    assert manager.email not in posted(world, "permission_request_submitted")
    assert decide(site, uuid, "approve", owner).status_code == 200


def test_one_may_ask_again_once_nothing_stands_in_the_way(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    link = world.open(owner, "PROJECT.MEMBER", engine)
    first = submit(site, link, ada).json()["uuid"]
    assert submit(site, link, ada).json() == ASKED_ALREADY
    answer = decide(site, first, "cancel_request", ada)
    assert answer.json() == {"uuid": first, "scope_name": "Engine", "scope_uuid": engine.uuid}
    assert decide(site, first, "cancel_request", ada).json() == [
        "Only pending or draft requests can be canceled."
    ]
    second = submit(site, link, ada).json()["uuid"]
    decide(site, second, "reject", owner)
    third = submit(site, link, ada).json()["uuid"]
    decide(site, third, "approve", owner)
    assert submit(site, link, ada).json() == ASKED_ALREADY
    world.unseat(ada, "PROJECT.MEMBER", engine)
    assert submit(site, link, ada).status_code == 200


def test_who_has_the_role_need_not_ask(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    world.seat(ada, "PROJECT.MEMBER", engine)
    answer = submit(site, world.open(owner, "PROJECT.MEMBER", engine), ada)
    assert answer.json() == ["User has already the same role in this scope."]


def test_approving_makes_a_passing_grant_a_lasting_one_and_never_a_second(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    link = world.open(owner, "PROJECT.MEMBER", engine)
    world.seat(ada, "PROJECT.MEMBER", engine, datetime.now(UTC) + timedelta(days=1))
    uuid = submit(site, link, ada).json()["uuid"]
    assert decide(site, uuid, "approve", owner).status_code == 200
    (grant,) = world.grants_in(engine)
    assert grant.valid_until is None
    # Given in another way meanwhile: approved with it, without a second grant or a second mail.
    bob = world.person("bob")
    uuid = submit(site, link, bob).json()["uuid"]
    world.seat(bob, "PROJECT.MEMBER", engine)
    before = posted(world, "structure_role_granted")
    assert before == ["ada@example.org", "bob@example.org"]
    assert decide(site, uuid, "approve", owner).status_code == 409
    assert len(world.grants_in(engine)) == 2
    assert posted(world, "structure_role_granted") == before


def test_several_requests_only_where_the_link_allows_them(
    site: Site, world: World, acme: Place, ada: Person
) -> None:
    link = world.open(
        world.staff,
        "PROJECT.MANAGER",
        acme,
        auto_create_project=True,
        allow_multiple_requests=True,
    )
    uuids = [submit(site, link, ada).json()["uuid"] for _ in range(2)]
    for uuid in uuids:
        assert decide(site, uuid, "approve", world.staff).status_code == 200
    projects = site.get("/api/projects/", ada).json()
    assert [one["name"] for one in projects] == ["ada_project"] * 2
    assert len({one["uuid"] for one in projects}) == 2


def test_a_project_is_made_for_each_and_never_shared(
    site: Site, world: World, acme: Place, ada: Person
) -> None:
    link = world.open(
        world.staff,
        "PROJECT.MEMBER",
        acme,
        project_role="PROJECT.MANAGER",
        auto_create_project=True,
        template="Work of {full_name}",
    )
    twin = world.person("twin", first_name="Ada", last_name="Lee")
    for who in (ada, twin):
        uuid = submit(site, link, who).json()["uuid"]
        assert decide(site, uuid, "approve", world.staff).status_code == 200
        (project,) = site.get("/api/projects/", who).json()
        assert project["name"] == "Work of Ada Lee"
        (grant,) = site.get("/api/user-permissions/", who).json()
        assert (grant["role_name"], grant["scope_uuid"]) == ("PROJECT.MANAGER", project["uuid"])
        # It is there, and theirs: asking again gives no second one while they have it.
        assert submit(site, link, who).json() == ASKED_ALREADY
    assert world.grants_in(acme)[0].username == "owner"


def test_making_projects_takes_the_right_to_create_them(
    site: Site, world: World, acme: Place, ada: Person
) -> None:
    grants = (Permission.ORGANISATION_GRANT, Permission.PROJECT_UPDATE)
    for more, status in (((), 403), ((Permission.PROJECT_CREATE,), 201)):
        opener = world.person()
        world.seat(opener, custom(world, ScopeKind.ORGANISATION, *grants, *more), acme)
        body = {
            "scope": acme.path,
            "role": world.role("PROJECT.MEMBER").uuid,
            "auto_create_project": True,
        }
        assert site.post(LINKS, opener, json=body).status_code == status
        link = world.open(world.staff, "PROJECT.MEMBER", acme, auto_create_project=True)
        uuid = submit(site, link, ada).json()["uuid"]
        expected = 200 if more else 403
        assert decide(site, uuid, "approve", opener).status_code == expected


def test_automatic_approval_is_the_word_of_whoever_made_the_link(
    site: Site, world: World, owner: Person, acme: Place, engine: Place, ada: Person
) -> None:
    link = world.open(owner, "PROJECT.MEMBER", engine, auto_approve=True)
    answer = submit(site, link, ada).json()
    assert answer["auto_approved"] is True
    assert [grant.username for grant in world.grants_in(engine)] == ["ada"]
    shown = site.get(f"{REQUESTS}{answer['uuid']}/", ada).json()
    assert (shown["state"], shown["reviewed_by_username"]) == ("approved", None)
    assert posted(world, "permission_request_submitted") == []
    # Whoever may not give the role any more gives nobody anything.
    world.seat(world.person("heir"), "CUSTOMER.OWNER", acme)
    world.unseat(owner, "CUSTOMER.OWNER", acme)
    bob = world.person("bob")
    answer = submit(site, link, bob).json()
    assert answer["auto_approved"] is False
    assert [grant.username for grant in world.grants_in(engine)] == ["ada"]
    assert posted(world, "permission_request_submitted") == ["heir@example.org"]


def test_restrictions_name_whom_a_link_is_for(
    site: Site, world: World, owner: Person, engine: Place
) -> None:
    link = world.open(
        owner,
        "PROJECT.MEMBER",
        engine,
        email_patterns=[r".*@uni\.edu"],
        affiliations=["staff@uni.edu"],
    )
    for email, affiliations, status in (
        ("x@uni.edu", [], 200),
        ("X@UNI.EDU", [], 200),
        ("x@uni.edu.evil.net", [], 400),
        ("x@uniXedu", [], 400),
        ("x@else.example", ["staff@uni.edu"], 200),
        ("x@else.example", ["STAFF@uni.edu"], 400),
        ("x@else.example", ["student@uni.edu"], 400),
    ):
        who = world.person(email=email, affiliations=affiliations)
        answer = submit(site, link, who)
        assert answer.status_code == status, (email, affiliations)
        if status != 200:
            assert answer.json() == [
                (
                    "You are not allowed to accept this invitation. "
                    "Your email or organization must match the invitation restrictions."
                )
            ]


def test_a_link_that_is_closed_or_over_is_followed_by_nobody(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    early = datetime.now(UTC) - timedelta(days=8)
    over = world.open(owner, "PROJECT.MEMBER", engine, early)
    closed = world.open(owner, "PROJECT.MEMBER", engine)
    kept = submit(site, closed, ada).json()["uuid"]
    assert site.post(f"{LINKS}{closed}/cancel/", owner).status_code == 200
    for link in (over, closed):
        assert site.get(f"{LINKS}{link}/", ada).json()["is_active"] is False
        answer = submit(site, link, world.person())
        assert answer.json() == ["Only pending invitation can be requested."]
        answer = site.post(f"{LINKS}{link}/cancel/", owner)
        assert answer.json() == ["Only pending invitation can be canceled."]
    # What was asked in time is to be decided.
    assert decide(site, kept, "approve", owner).status_code == 200


@pytest.mark.parametrize("closing", ["blocked", "archived"])
def test_a_closed_organisation_lets_nobody_in(
    site: Site, world: World, owner: Person, acme: Place, engine: Place, ada: Person, closing: str
) -> None:
    link = world.open(owner, "PROJECT.MEMBER", engine)
    uuid = submit(site, link, ada).json()["uuid"]
    site.request("PATCH", acme.path, world.staff, json={closing: True})
    unavailable = {"non_field_errors": ["Customer is not available."]}
    assert decide(site, uuid, "approve", owner).json() == unavailable
    assert submit(site, link, world.person()).json() == unavailable
    assert decide(site, uuid, "reject", owner).status_code == 200


def test_a_role_that_was_switched_off_is_given_to_nobody(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    link = world.open(owner, "PROJECT.MEMBER", engine)
    uuid = submit(site, link, ada).json()["uuid"]
    role = world.role("PROJECT.MEMBER").uuid
    assert site.post(f"/api/roles/{role}/disable/", world.staff).status_code == 200
    inactive = {"non_field_errors": ["Role is not active."]}
    assert decide(site, uuid, "approve", owner).json() == inactive
    assert submit(site, link, world.person()).json() == inactive


def test_the_one_role_rule_holds_for_requests(
    under: Callable[..., Site], world: World, owner: Person, engine: Place, ada: Person
) -> None:
    strict = under(invitation_disable_multiple_roles="true")
    link = world.open(owner, "PROJECT.MEMBER", engine)
    uuid = submit(strict, link, ada).json()["uuid"]
    world.seat(ada, "PROJECT.MEMBER", world.project(world.organisation()))
    elsewhere = ["User already has role within another scope."]
    assert decide(strict, uuid, "approve", owner).json() == elsewhere
    assert submit(strict, world.open(owner, "PROJECT.ADMIN", engine), ada).json() == elsewhere


def test_what_a_link_says_wrongly_is_told_all_at_once(
    site: Site, world: World, owner: Person, engine: Place
) -> None:
    body = {
        "scope": engine.path,
        "role": world.role("CUSTOMER.OWNER").uuid,
        "is_public": True,
        "project_name_template": "{username} {password}",
        "user_email_patterns": ["(", "[a"],
        "project_role": world.role("CUSTOMER.OWNER").uuid,
    }
    answer = site.post(LINKS, owner, json=body)
    assert answer.status_code == 400
    assert answer.json() == {
        "project_role": [f"Object with uuid={world.role('CUSTOMER.OWNER').uuid} does not exist."],
        "is_public": ["Only staff users can create public invitations."],
        "non_field_errors": ["Role and scope should belong to the same content type."],
        "project_name_template": [
            (
                "Invalid placeholders in template: password. "
                "Allowed placeholders are: email, full_name, username"
            )
        ],
        "user_email_patterns": ["Invalid regex patterns: [(,[a]"],
    }


def test_public_links_are_shown_to_everybody_and_others_to_nobody(
    site: Site, world: World, acme: Place, engine: Place
) -> None:
    public = world.open(
        world.staff, "PROJECT.MANAGER", acme, is_public=True, auto_create_project=True
    )
    world.open(world.staff, "PROJECT.MEMBER", engine)
    for who in (None, world.person()):
        assert [one["uuid"] for one in site.get(LINKS, who).json()] == [public]
        assert site.request("HEAD", LINKS, who).headers["X-Result-Count"] == "1"
    site.post(f"{LINKS}{public}/cancel/", world.staff)
    assert site.get(LINKS).json() == []
    assert site.get(f"{LINKS}{public}/").status_code == 404


def test_a_link_is_no_key_to_the_names_of_projects(
    site: Site, world: World, owner: Person, acme: Place, engine: Place, ada: Person
) -> None:
    link = world.open(world.staff, "CUSTOMER.OWNER", acme)
    assert [one["uuid"] for one in site.get(f"{LINKS}{link}/projects/", owner).json()] == [
        engine.uuid
    ]
    assert site.get(f"{LINKS}{link}/projects/", ada).json() == []
    below = site.get(f"{LINKS}{world.open(owner, 'PROJECT.MEMBER', engine)}/projects/", owner)
    assert (below.status_code, below.content) == (404, b"")


def test_who_asks_too_often_has_to_wait(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    for _ in range(40):
        answer = submit(site, world.open(owner, "PROJECT.MEMBER", engine), ada)
        if answer.status_code == 429:
            break
        decide(site, answer.json()["uuid"], "cancel_request", ada)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_an_account_whose_request_waits_is_not_deleted(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    uuid = submit(site, world.open(owner, "PROJECT.MEMBER", engine), ada).json()["uuid"]
    path = f"/api/users/{ada.uuid}/"
    answer = site.request("DELETE", path, world.staff)
    assert answer.status_code == 409
    assert answer.json() == {"detail": "Cannot delete user with existing permission requests"}
    decide(site, uuid, "reject", owner)
    assert site.request("DELETE", path, world.staff).status_code == 204
    shown = site.get(f"{REQUESTS}{uuid}/", owner).json()["created_by_full_name"]
    assert shown.startswith("Deleted account ")


def test_a_scope_that_goes_closes_its_links_and_requests(
    site: Site, world: World, owner: Person, engine: Place, ada: Person
) -> None:
    link = world.open(owner, "PROJECT.MEMBER", engine)
    uuid = submit(site, link, ada).json()["uuid"]
    assert site.request("DELETE", engine.path, owner).status_code == 204
    assert submit(site, link, world.person()).status_code == 404
    assert site.get(f"{REQUESTS}{uuid}/", ada).json()["state"] == "canceled"


def test_an_inviter_without_the_right_leaves_an_invitation_that_says_why(
    site: Site, world: World, owner: Person, acme: Place, engine: Place, ada: Person
) -> None:
    uuid = world.invite(owner, ada.email, "PROJECT.MEMBER", engine)
    path = f"/api/user-invitations/{uuid}/"
    assert site.get(path, world.staff).json()["error_message"] == ""
    heir = world.person("heir")
    world.seat(heir, "CUSTOMER.OWNER", acme)
    world.unseat(owner, "CUSTOMER.OWNER", acme)
    assert site.post(f"{path}accept/", ada).status_code == 404
    for shown in (site.get(path, heir).json(), site.get("/api/user-invitations/", heir).json()[0]):
        assert "can no longer assign this role" in shown["error_message"]
    assert site.post(f"{path}send/", heir).status_code == 200
    assert site.get(path, heir).json()["error_message"] == ""
    assert site.post(f"{path}accept/", ada).status_code == 200
