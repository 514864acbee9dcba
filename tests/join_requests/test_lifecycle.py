"""Every state of requests and open invitations and every act, over the wire.

The tables are those of ``rules``; ``tests/rules`` holds them against the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import bindparam, select

from collegium.access import queries as access_queries
from collegium.db.statements import Row, Statement
from collegium.db.tables import events, invite_links, organisations, role_permissions, roles
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import rules as join_request_rules
from collegium.join_requests.rules import State as Asked
from collegium.scopes.groups import actions as group_actions
from collegium.settings import Settings
from tests.invitations.test_lifecycle import change, mails
from tests.support.site import Site
from tests.support.world import Person, Place, World


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    # The staff's word on invitations is not asked for these.
    return make_settings(rate_limits="false", only_staff_can_invite_users="true")


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("owner")


@pytest.fixture
def place(world: World, owner: Person) -> Place:
    return world.organisation(owner=owner)


# Requests.


class Request:
    """A request in a state of its own, reached by the acts that lead there."""

    def __init__(self, world: World, site: Site, owner: Person, place: Place, state: Asked) -> None:
        self.world = world
        self.site = site
        self.owner = owner
        self.asker = world.person()
        self.project = world.project(place)
        self.link = world.open(owner, "PROJECT.MEMBER", self.project)
        self.uuid = world.ask(self.asker, self.link)
        act = {
            Asked.APPROVED: join_request_rules.Action.APPROVE,
            Asked.REJECTED: join_request_rules.Action.REJECT,
            Asked.CANCELED: join_request_rules.Action.CANCEL,
        }.get(state)
        if act is not None:
            assert self.do(act).status_code == 200
        assert self.shown["state"] == state

    @property
    def row(self) -> Row:
        return self.world.request(self.uuid)

    @property
    def shown(self) -> dict[str, Any]:
        path = f"/api/user-permission-requests/{self.uuid}/"
        shown: dict[str, Any] = self.site.get(path, self.owner).json()
        return shown

    def do(self, act: join_request_rules.Action) -> httpx.Response:
        path = f"/api/user-permission-requests/{self.uuid}/"
        if act is join_request_rules.Action.SUBMIT:
            return self.submit()
        if act is join_request_rules.Action.CANCEL:
            return self.site.post(f"{path}cancel_request/", self.asker)
        return self.site.post(f"{path}{act}/", self.owner, json={"comment": "Well."})

    def submit(self) -> httpx.Response:
        path = f"/api/user-group-invitations/{self.link}/submit_request/"
        return self.site.post(path, self.asker)

    @property
    def team(self) -> list[str]:
        return [row.username for row in self.world.grants_in(self.project)]


@pytest.fixture
def asked(world: World, site: Site, owner: Person, place: Place) -> Callable[[Asked], Request]:
    return lambda state: Request(world, site, owner, place, state)


NOT_PENDING = (409, {"detail": "Valid states for operation: pending."})
NOT_ASKED = {
    "approve": NOT_PENDING,
    "reject": NOT_PENDING,
    "cancel": (400, ["Only pending or draft requests can be canceled."]),
}


@pytest.mark.parametrize("state", join_request_rules.STORED)
def test_a_request_moves_as_in_the_table_and_not_otherwise(
    asked: Callable[[Asked], Request], state: Asked
) -> None:
    for act in join_request_rules.Action:
        if act is join_request_rules.Action.SUBMIT:
            continue  # leads out of no stored state: see below
        one = asked(state)
        before = one.row
        leads_to = join_request_rules.TRANSITIONS.get((state, act))
        answer = one.do(act)
        shown = one.shown
        assert shown["state"] == (leads_to or state), act
        if leads_to is None:
            assert (answer.status_code, answer.json()) == NOT_ASKED[act], act
            assert one.row == before, act
            continue
        assert answer.status_code == 200, (act, answer.text)
        given = act is join_request_rules.Action.APPROVE
        assert one.team == ([one.asker.actor.username] if given else [])
        reviewed = act is not join_request_rules.Action.CANCEL
        if not reviewed:
            assert answer.json() == {
                "uuid": one.uuid,
                "scope_name": one.project.name,
                "scope_uuid": one.project.uuid,
            }
        assert shown["reviewed_by_username"] == ("owner" if reviewed else None)
        assert shown["reviewed_by_full_name"] == ("Owner Lee" if reviewed else None)
        assert (shown["reviewed_at"] is not None) is reviewed
        assert shown["review_comment"] == ("Well." if reviewed else None)
        news = {"approve": "structure_role_granted", "reject": "permission_request_rejected"}
        told = [mail.recipient for mail in mails(one.world, news[act])] if act in news else []
        assert told == ([one.asker.email] if reviewed else [])
        assert one.do(act).status_code == NOT_ASKED[act][0], act


@pytest.mark.parametrize("state", join_request_rules.STORED)
def test_one_asks_again_unless_a_request_waits_or_the_role_is_held(
    asked: Callable[[Asked], Request], world: World, state: Asked
) -> None:
    one = asked(state)
    answer = one.submit()
    if state in {Asked.PENDING, Asked.APPROVED}:
        assert answer.status_code == 400
        assert answer.json() == ["Request has been created already."]
    if state is Asked.APPROVED:
        world.unseat(one.asker, "PROJECT.MEMBER", one.project)
        answer = one.submit()
    if state is not Asked.PENDING:
        assert answer.status_code == 200, answer.text
        assert answer.json()["uuid"] != one.uuid
        assert one.submit().status_code == 400


def test_who_got_the_role_another_way_need_not_ask(
    asked: Callable[[Asked], Request], world: World
) -> None:
    one = asked(Asked.REJECTED)
    world.seat(one.asker, "PROJECT.MEMBER", one.project)
    answer = one.submit()
    assert (answer.status_code, answer.json()) == (
        400,
        ["User has already the same role in this scope."],
    )


def test_who_got_the_role_while_the_request_waited_is_not_given_it_twice(
    asked: Callable[[Asked], Request], world: World
) -> None:
    one = asked(Asked.PENDING)
    end = datetime.now(UTC) + timedelta(days=1)
    world.seat(one.asker, "PROJECT.MEMBER", one.project, end)
    # It is settled with the role, whose end is the giver's word.
    assert one.do(join_request_rules.Action.APPROVE).status_code == 409
    assert [(row.username, row.valid_until) for row in world.grants_in(one.project)] == [
        (one.asker.actor.username, end)
    ]
    other = asked(Asked.PENDING)
    world.seat(other.asker, "PROJECT.MEMBER", other.project)
    assert other.do(join_request_rules.Action.APPROVE).status_code == 409
    assert other.team == [other.asker.actor.username]
    # Each is told once.
    assert len(mails(world, "structure_role_granted")) == 2


def test_the_state_is_told_before_the_right_is_asked(
    asked: Callable[[Asked], Request], world: World, site: Site, place: Place
) -> None:
    reader = world.person()
    # In the organisation, and so able to see; but without the right to give roles.
    change(world, roles, is_active=True)
    world.seat(reader, "CUSTOMER.SUPPORT", place)
    waits, done = asked(Asked.PENDING), asked(Asked.REJECTED)
    for act in ("approve", "reject"):
        path = f"/api/user-permission-requests/{waits.uuid}/{act}/"
        assert site.post(path, reader).status_code == 403
        assert site.post(path, world.person()).status_code == 404
        path = f"/api/user-permission-requests/{done.uuid}/{act}/"
        assert site.post(path, reader).status_code == 409
        assert site.post(path, world.person()).status_code == 404
    path = f"/api/user-permission-requests/{waits.uuid}/cancel_request/"
    answer = site.post(path, reader)
    assert (answer.status_code, answer.json()) == (
        403,
        {"detail": "You can only cancel your own permission requests."},
    )
    assert site.post(path, world.staff).status_code == 200


@pytest.mark.parametrize("body", [{}, {"json": {}}, {"json": {"comment": ""}}])
def test_a_comment_may_be_left_out_or_blank(
    asked: Callable[[Asked], Request], site: Site, owner: Person, body: dict[str, Any]
) -> None:
    for act in ("approve", "reject"):
        one = asked(Asked.PENDING)
        path = f"/api/user-permission-requests/{one.uuid}/{act}/"
        answer = site.post(path, owner, **body)
        assert (answer.status_code, answer.content) == (200, b"")
        assert not one.shown["review_comment"]


# Open invitations.


@pytest.fixture(params=["active", "canceled", "expired"])
def link_state(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_link_can_be_closed_and_followed_while_it_is_active_only(
    world: World, site: Site, owner: Person, place: Place, link_state: str
) -> None:
    project = world.project(place)
    asker, earlier = world.person(), world.person()
    link = world.open(owner, "PROJECT.MEMBER", project)
    path = f"/api/user-group-invitations/{link}/"
    waits = world.ask(earlier, link)
    if link_state == "canceled":
        answer = site.post(f"{path}cancel/", owner)
        assert answer.json() == {"detail": "Invitation has been successfully canceled."}
    if link_state == "expired":
        change(world, invite_links, expires_at=datetime.now(UTC))
    active = link_state == "active"
    assert site.get(path, asker).json()["is_active"] is active
    for asks, expected in (("true", active), ("false", not active)):
        listed = site.get(f"/api/user-group-invitations/?is_active={asks}", owner).json()
        assert [row["uuid"] for row in listed] == ([link] if expected else [])
    answer = site.post(f"{path}submit_request/", asker)
    if active:
        assert answer.json() == {
            "uuid": answer.json()["uuid"],
            "scope_name": project.name,
            "scope_uuid": project.uuid,
            "scope_type": "project",
            "auto_approved": False,
            "project_uuid": None,
            "project_created": False,
        }
    else:
        assert (answer.status_code, answer.json()) == (
            400,
            ["Only pending invitation can be requested."],
        )
    # What was asked in time is still to be decided.
    answer = site.post(f"/api/user-permission-requests/{waits}/approve/", owner)
    assert answer.status_code == 200, answer.text
    answer = site.post(f"{path}cancel/", owner)
    if active:
        assert answer.status_code == 200
        answer = site.post(f"{path}cancel/", owner)
    assert (answer.status_code, answer.json()) == (
        400,
        ["Only pending invitation can be canceled."],
    )
    assert site.post(f"{path}cancel/", asker).status_code == 403


def test_a_public_link_is_seen_by_everybody_while_it_is_active(
    world: World, site: Site, owner: Person, place: Place
) -> None:
    public = world.open(
        world.staff, "PROJECT.MEMBER", place, is_public=True, auto_create_project=True
    )
    private = world.open(owner, "PROJECT.MEMBER", world.project(place))
    paths = {name: f"/api/user-group-invitations/{name}/" for name in (public, private)}

    def seen(who: Person | None) -> list[str]:
        return [row["uuid"] for row in site.get("/api/user-group-invitations/", who).json()]

    stranger = world.person()
    assert (seen(None), seen(stranger)) == ([public], [public])
    assert seen(owner) == seen(world.staff) == [private, public]
    assert [site.get(path).status_code for path in paths.values()] == [200, 404]
    # Whoever has an account and the link is shown it.
    assert [site.get(path, stranger).status_code for path in paths.values()] == [200, 200]
    assert site.post(f"{paths[public]}submit_request/").status_code == 401
    assert site.post(f"{paths[public]}cancel/", world.staff).status_code == 200
    assert (seen(None), seen(stranger)) == ([], [])
    assert seen(owner) == [private, public]
    assert site.get(paths[public]).status_code == 404


def test_a_link_is_no_key_to_the_projects_of_its_organisation(
    world: World, site: Site, owner: Person, place: Place
) -> None:
    one, other = world.project(place), world.project(place)
    link = world.open(world.staff, "PROJECT.MEMBER", place, auto_create_project=True)
    path = f"/api/user-group-invitations/{link}/projects/"
    member = world.person()
    world.seat(member, "PROJECT.MEMBER", one)

    def seen(who: Person) -> set[str]:
        rows = site.get(path, who).json()
        assert all(row["url"].endswith(f"/api/projects/{row['uuid']}/") for row in rows)
        return {row["uuid"] for row in rows}

    assert seen(owner) == seen(world.staff) == {one.uuid, other.uuid}
    assert seen(member) == {one.uuid}
    assert seen(world.person()) == set()
    assert site.get(path).status_code == 401
    removed = site.request("DELETE", f"/api/projects/{other.uuid}/", world.staff)
    assert removed.status_code == 204
    assert seen(owner) == {one.uuid}
    answer = site.get(
        f"/api/user-group-invitations/{world.open(owner, 'PROJECT.MEMBER', one)}/projects/", owner
    )
    assert (answer.status_code, answer.content) == (404, b"")


def test_restrictions_let_in_whom_they_name(
    world: World, site: Site, owner: Person, place: Place
) -> None:
    project = world.project(place)
    body = {
        "scope": f"http://elsewhere.test{project.path}",
        "role": world.role("PROJECT.MEMBER").uuid,
        "user_email_patterns": [r".*@uni\.example", r".*@lab\.example"],
        "user_affiliations": ["staff@uni"],
    }
    made = site.post("/api/user-group-invitations/", owner, json=body).json()
    path = f"/api/user-group-invitations/{made['uuid']}/submit_request/"
    for email, affiliations, status in (
        ("ada@uni.example", [], 200),
        ("Ada@LAB.example", [], 200),
        ("ada@uni.example.evil.example", [], 400),
        ("ada@uniXexample", [], 400),
        ("eve@evil.example", ["student@uni"], 400),
        ("eve@evil.example", ["student@uni", "staff@uni"], 200),
    ):
        asker = world.person(email=email, affiliations=affiliations)
        answer = site.post(path, asker)
        assert answer.status_code == status, (email, affiliations, answer.text)
        if status == 400:
            assert answer.json() == [
                (
                    "You are not allowed to accept this invitation. "
                    "Your email or organization must match the invitation restrictions."
                )
            ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"is_public": True}, {"is_public": ["Only staff users can create public invitations."]}),
        (
            {"project_name_template": "{user} {", "auto_create_project": True},
            {
                "project_name_template": [
                    (
                        "Invalid placeholders in template: user, {user} {. "
                        "Allowed placeholders are: email, full_name, username"
                    )
                ]
            },
        ),
        (
            {"user_email_patterns": ["(", ".*", "[a"]},
            {"user_email_patterns": ["Invalid regex patterns: [(,[a]"]},
        ),
        (
            {"project_role": "0" * 32},
            {"project_role": [f"Object with uuid={'0' * 32} does not exist."]},
        ),
    ],
    ids=["public", "template", "patterns", "project_role"],
)
def test_a_link_that_nobody_could_keep_is_refused_in_words(
    world: World,
    site: Site,
    owner: Person,
    place: Place,
    given: dict[str, Any],
    said: dict[str, list[str]],
) -> None:
    project = world.project(place)
    body = {"scope": project.path, "role": world.role("PROJECT.MEMBER").uuid, **given}
    answer = site.post("/api/user-group-invitations/", owner, json=body)
    assert answer.status_code == 400
    told = answer.json()
    assert {name: told[name] for name in said} == said


def test_all_that_is_wrong_with_a_link_is_told_at_once(
    world: World, site: Site, owner: Person, place: Place
) -> None:
    body = {
        "scope": place.path,
        "role": world.role("CUSTOMER.OWNER").uuid,
        "is_public": True,
        "project_name_template": "{x}",
        "user_email_patterns": ["("],
        "user_affiliations": "x",
    }
    told = site.post("/api/user-group-invitations/", owner, json=body).json()
    assert set(told) == {
        "is_public",
        "project_name_template",
        "user_email_patterns",
        "user_affiliations",
    }


def test_whoever_is_let_in_gets_a_project_of_their_own(
    world: World, site: Site, owner: Person, place: Place
) -> None:
    one = world.open(
        world.staff,
        "PROJECT.MEMBER",
        place,
        project_role="PROJECT.MANAGER",
        auto_create_project=True,
        template="Lab",
    )
    names, uuids = [], []
    for asker in (world.person(), world.person()):
        uuid = world.ask(asker, one)
        assert request_of(site, owner, uuid)["project_name_template"] == "Lab"
        # It makes a member of a project, and the owner may; of the organisation, and they may not.
        path = f"/api/user-permission-requests/{uuid}/approve/"
        assert site.post(path, owner).status_code == 403
        assert site.post(path, world.staff).status_code == 200
        me = site.get("/api/users/me/", asker).json()
        (grant,) = me["permissions"]
        assert grant["role_name"] == "PROJECT.MANAGER"
        uuids.append(grant["scope_uuid"])
        names.append(grant["scope_name"])
        assert grant["customer_uuid"] == place.uuid
        # Theirs as long as they have it; then they may ask for another one.
        path = f"/api/user-group-invitations/{one}/submit_request/"
        assert site.post(path, asker).status_code == 400
        site.request("DELETE", f"/api/projects/{grant['scope_uuid']}/", world.staff)
        assert site.post(path, asker).status_code == 200
    # The same name need not be the same project.
    assert names == ["Lab", "Lab"]
    assert len(set(uuids)) == 2


def request_of(site: Site, who: Person, uuid: str) -> dict[str, Any]:
    shown: dict[str, Any] = site.get(f"/api/user-permission-requests/{uuid}/", who).json()
    return shown


def test_a_link_lets_in_by_itself_only_while_its_maker_could(
    world: World, site: Site, owner: Person, place: Place
) -> None:
    project = world.project(place)
    link = world.open(owner, "PROJECT.MEMBER", project, auto_approve=True)
    path = f"/api/user-group-invitations/{link}/submit_request/"
    ada, bob = world.person(), world.person()
    answer = site.post(path, ada).json()
    assert answer["auto_approved"] is True
    assert request_of(site, owner, answer["uuid"])["state"] == "approved"
    assert [row.username for row in world.grants_in(project)] == [ada.actor.username]
    world.unseat(owner, "CUSTOMER.OWNER", place)
    answer = site.post(path, bob).json()
    assert answer["auto_approved"] is False
    assert request_of(site, world.staff, answer["uuid"])["state"] == "pending"
    assert [row.username for row in world.grants_in(project)] == [ada.actor.username]


def test_those_who_are_mailed_see_and_decide_and_the_asker_does_not(
    world: World, site: Site, owner: Person, place: Place
) -> None:
    manager, asker = world.person(), world.person()
    project = world.project(place)
    world.seat(manager, "PROJECT.MANAGER", project)
    link = world.open(owner, "PROJECT.MEMBER", project)
    uuid = world.ask(asker, link)
    told = [mail.recipient for mail in mails(world, "permission_request_submitted")]
    assert sorted(told) == sorted([manager.email, owner.email])
    path = f"/api/user-permission-requests/{uuid}/"
    for decider in (manager, owner):
        assert request_of(site, decider, uuid)["state"] == "pending"
        listed = site.get("/api/user-permission-requests/", decider).json()
        assert [row["uuid"] for row in listed] == [uuid]
        links = site.get("/api/user-group-invitations/", decider).json()
        assert [row["uuid"] for row in links] == [link]
    assert site.post(f"{path}approve/", asker).status_code == 403
    assert site.post(f"{path}approve/", manager).status_code == 200


def test_nobody_lets_in_above_their_own_ceiling(
    world: World, site: Site, owner: Person, place: Place
) -> None:
    """Nor are those mailed who could not decide; then staff are."""
    project = world.project(place)
    manager, asker = world.person(), world.person()
    world.seat(manager, "PROJECT.MANAGER", project)
    link = world.open(world.staff, "PROJECT.ADMIN", project)
    give = Statement(
        role_permissions.insert().values(role_id=bindparam("role"), permission="PROJECT.DELETE")
    )
    with world.database.write() as tx:
        tx.execute(give, role=world.number_of(tx, "PROJECT.ADMIN"))
    uuid = world.ask(asker, link)
    told = [mail.recipient for mail in mails(world, "permission_request_submitted")]
    assert told == [owner.email]
    path = f"/api/user-permission-requests/{uuid}/"
    for act in ("approve", "reject"):
        assert site.post(f"{path}{act}/", manager).status_code == 403
    body = {"scope": project.path, "role": world.role("PROJECT.ADMIN").uuid}
    assert site.post("/api/user-group-invitations/", manager, json=body).status_code == 403
    assert site.post(f"{path}approve/", owner).status_code == 200


def test_what_has_closed_since_lets_nobody_in(
    asked: Callable[[Asked], Request], world: World, site: Site
) -> None:
    one = asked(Asked.PENDING)
    for closed in ("blocked", "archived"):
        change(world, organisations, **{closed: True})
        answer = one.do(join_request_rules.Action.APPROVE)
        assert (answer.status_code, answer.json()) == (
            400,
            {"non_field_errors": ["Customer is not available."]},
        )
        change(world, organisations, **{closed: False})
    change(world, roles, is_active=False)
    assert one.do(join_request_rules.Action.APPROVE).json() == {
        "non_field_errors": ["Role is not active."]
    }
    change(world, roles, is_active=True)
    gone = {"is_active": False}
    path = f"/api/users/{one.asker.uuid}/"
    assert site.request("PATCH", path, world.staff, json=gone).status_code == 200
    assert one.do(join_request_rules.Action.APPROVE).json() == ["User is not active."]
    assert one.team == []
    assert one.do(join_request_rules.Action.REJECT).status_code == 200


def test_every_deed_is_in_the_history(
    asked: Callable[[Asked], Request], world: World, site: Site, owner: Person
) -> None:
    for state, kind in (
        (Asked.APPROVED, "request.approved"),
        (Asked.REJECTED, "request.rejected"),
        (Asked.CANCELED, "request.canceled"),
    ):
        one = asked(state)
        assert (
            site.post(f"/api/user-group-invitations/{one.link}/cancel/", owner).status_code == 200
        )
        statement = select(events).where(events.c.scope_id == bindparam("scope"))
        with world.database.read() as tx:
            found = tx.fetch_all(Statement(statement.order_by(events.c.id)), scope=one.project.id)
        by = {row.kind: row.actor_id for row in found}
        decider = one.asker.id if state is Asked.CANCELED else owner.id
        expected = {
            "open_invitation.created": owner.id,
            "request.submitted": one.asker.id,
            kind: decider,
            "open_invitation.canceled": owner.id,
        } | ({"role.granted": owner.id} if state is Asked.APPROVED else {})
        assert {name: by.get(name) for name in expected} == expected
        assert {row.account_id for row in found if row.kind == kind} == {one.asker.id}


def test_links_to_groups_are_not_of_this_wire(world: World, site: Site) -> None:
    ada, bob = world.person(), world.person()
    with world.database.write() as tx:
        group = group_actions.create(tx, ada.actor, "Club")
        role: Any = tx.fetch_one(Statement(select(roles).where(roles.c.name == "GROUP.MEMBER")))
        reached = access_queries.get_visible_by_id(tx, ada.actor, group)
        link = invite_link_actions.create(tx, ada.actor, world.settings, reached, role, None, {})
    path = f"/api/user-group-invitations/{link}/"
    for who in (ada, bob, world.staff):
        assert site.get("/api/user-group-invitations/", who).json() == []
        for more in ("", "projects/"):
            assert site.get(f"{path}{more}", who).status_code == 404
        for action in ("submit_request", "cancel"):
            assert site.post(f"{path}{action}/", who).status_code == 404
