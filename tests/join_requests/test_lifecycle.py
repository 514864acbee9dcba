"""Every state of join requests and invite links, and every action, over HTTP.

The tables are in ``rules``; ``tests/rules`` compares them with the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import bindparam, select

from collegium.access import queries as access_queries
from collegium.db.statements import Statement
from collegium.db.tables import events, invite_links, roles
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests.rules import STORED, Action, State
from collegium.scopes.groups import actions as group_actions
from collegium.settings import Settings
from tests.invitations.test_lifecycle import change
from tests.join_requests.test_api import (
    ALREADY_REQUESTED,
    LINKS,
    REQUESTS,
    decide,
    recipients,
    submit,
)
from tests.support.site import Site
from tests.support.world import Person, Place, World


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    # Approval by staff is for invitations only.
    return make_settings(rate_limits="false", only_staff_can_invite_users="true")


class Request:
    """A join request in a state, reached by actions."""

    def __init__(
        self, world: World, site: Site, owner: Person, organisation: Place, state: State
    ) -> None:
        self.world = world
        self.site = site
        self.owner = owner
        self.requester = world.person()
        self.project = world.project(organisation)
        self.link = world.create_link(owner, "PROJECT.MEMBER", self.project)
        self.uuid = world.ask(self.requester, self.link)
        actions = {
            State.APPROVED: Action.APPROVE,
            State.REJECTED: Action.REJECT,
            State.CANCELED: Action.CANCEL,
        }
        if state in actions:
            assert self.do(actions[state]).status_code == 200
        assert self.body["state"] == state

    @property
    def row(self) -> Any:
        return self.world.request(self.uuid)

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = self.site.get(f"{REQUESTS}{self.uuid}/", self.owner).json()
        return body

    def do(self, action: Action) -> httpx.Response:
        if action is Action.CANCEL:
            return decide(self.site, self.uuid, "cancel_request", self.requester)
        return decide(self.site, self.uuid, str(action), self.owner, comment="Well.")

    def submit(self) -> httpx.Response:
        return submit(self.site, self.link, self.requester)


@pytest.fixture
def requested(
    world: World, site: Site, owner: Person, organisation: Place
) -> Callable[[State], Request]:
    return lambda state: Request(world, site, owner, organisation, state)


NOT_PENDING = (409, {"detail": "Valid states for operation: pending."})
REVIEW = ("reviewed_by_full_name", "reviewed_by_username", "reviewed_at", "review_comment")
REFUSALS = {
    "approve": NOT_PENDING,
    "reject": NOT_PENDING,
    "cancel": (400, ["Only pending or draft requests can be canceled."]),
}


@pytest.mark.parametrize("state", STORED)
def test_actions_follow_the_transition_table(
    requested: Callable[[State], Request], world: World, state: State
) -> None:
    for action in (Action.APPROVE, Action.REJECT, Action.CANCEL):
        request = requested(state)
        before, person, project = request.row, request.requester, request.project
        assert request.body["created_by_email"] == person.email
        target = action.after(state) if state in action.states else None
        response = request.do(action)
        body = request.body
        assert body["state"] == (target or state), action
        if target is None:
            assert (response.status_code, response.json()) == REFUSALS[str(action)], action
            assert request.row == before, action
            continue
        assert response.status_code == 200, (action, response.text)
        grants = [
            (row.username, row.granted_by_username, row.valid_until)
            for row in world.grants_in(project)
        ]
        is_approved = action is Action.APPROVE
        assert grants == ([(person.actor.username, "olga", None)] if is_approved else [])
        is_reviewed = action is not Action.CANCEL
        if is_reviewed:
            assert response.content == b""
        else:
            scope = {"scope_name": project.name, "scope_uuid": project.uuid}
            assert response.json() == {"uuid": request.uuid, **scope}
        assert body["reviewed_by_username"] == ("olga" if is_reviewed else None)
        assert body["reviewed_by_full_name"] == ("Olga Lee" if is_reviewed else None)
        assert (body["reviewed_at"] is not None) is is_reviewed
        assert body["review_comment"] == ("Well." if is_reviewed else None)
        mails = {"approve": "structure_role_granted", "reject": "permission_request_rejected"}
        if str(action) in mails:
            assert recipients(world, mails[str(action)]) == [person.email]
        assert request.do(action).status_code == REFUSALS[str(action)][0], action


@pytest.mark.parametrize("state", STORED)
def test_new_request_needs_no_pending_request_and_no_role(
    requested: Callable[[State], Request], world: World, state: State
) -> None:
    request = requested(state)
    response = request.submit()
    if state in {State.PENDING, State.APPROVED}:
        assert (response.status_code, response.json()) == (400, ALREADY_REQUESTED)
    if state is State.APPROVED:
        world.remove_role(request.requester, "PROJECT.MEMBER", request.project)
        response = request.submit()
    if state is not State.PENDING:
        assert response.status_code == 200, response.text
        assert response.json()["uuid"] != request.uuid
        assert request.submit().status_code == 400


def test_member_cannot_request_the_role_they_hold(
    requested: Callable[[State], Request], world: World
) -> None:
    request = requested(State.REJECTED)
    world.give_role(request.requester, "PROJECT.MEMBER", request.project)
    message = ["User has already the same role in this scope."]
    response = request.submit()
    assert (response.status_code, response.json()) == (400, message)


def test_state_is_checked_before_rights_and_rights_before_the_body(
    requested: Callable[[State], Request],
    world: World,
    site: Site,
    owner: Person,
    organisation: Place,
) -> None:
    # A member of the organisation can see requests, and has no right to give roles.
    reader, stranger = world.person(), world.person()
    change(world, roles, is_active=True)
    world.give_role(reader, "CUSTOMER.SUPPORT", organisation)
    pending, rejected = requested(State.PENDING), requested(State.REJECTED)
    for action in ("approve", "reject"):
        for person in (reader, pending.requester):
            assert decide(site, pending.uuid, action, person).status_code == 403
            assert decide(site, pending.uuid, action, person, comment=[]).status_code == 403
        assert decide(site, pending.uuid, action, owner, comment=[]).status_code == 400
        for person in (reader, rejected.requester):
            assert decide(site, rejected.uuid, action, person).status_code == 409
        for request in (pending, rejected):
            assert decide(site, request.uuid, action, stranger).status_code == 404
    response = decide(site, pending.uuid, "cancel_request", reader)
    message = {"detail": "You can only cancel your own permission requests."}
    assert (response.status_code, response.json()) == (403, message)
    assert decide(site, pending.uuid, "cancel_request", world.staff).status_code == 200


@pytest.mark.parametrize("body", [{}, {"json": {}}, {"json": {"comment": ""}}])
def test_review_comment_is_optional(
    requested: Callable[[State], Request], site: Site, owner: Person, body: dict[str, Any]
) -> None:
    for action in ("approve", "reject"):
        request = requested(State.PENDING)
        assert {request.body[name] for name in REVIEW} == {None}
        response = site.post(f"{REQUESTS}{request.uuid}/{action}/", owner, **body)
        assert (response.status_code, response.content) == (200, b"")
        assert not request.body["review_comment"]


@pytest.mark.parametrize("link_state", ["active", "canceled", "expired"])
def test_only_an_active_link_can_be_used_and_closed(
    world: World, site: Site, owner: Person, project: Place, link_state: str
) -> None:
    requester, earlier = world.person(), world.person()
    link = world.create_link(owner, "PROJECT.MEMBER", project)
    path = f"{LINKS}{link}/"
    pending = world.ask(earlier, link)
    if link_state == "canceled":
        response = site.post(f"{path}cancel/", owner)
        assert response.json() == {"detail": "Invitation has been successfully canceled."}
    if link_state == "expired":
        change(world, invite_links, expires_at=datetime.now(UTC))
    is_active = link_state == "active"
    assert site.get(path, requester).json()["is_active"] is is_active
    for value, is_listed in (("true", is_active), ("false", not is_active)):
        rows = site.get(f"{LINKS}?is_active={value}", owner).json()
        assert [row["uuid"] for row in rows] == ([link] if is_listed else [])
    response = submit(site, link, requester)
    if is_active:
        assert response.json() == {
            "uuid": response.json()["uuid"],
            "scope_name": project.name,
            "scope_uuid": project.uuid,
            "scope_type": "project",
            "auto_approved": False,
            "project_uuid": None,
            "project_created": False,
        }
    else:
        message = ["Only pending invitation can be requested."]
        assert (response.status_code, response.json()) == (400, message)
    # Earlier requests can still be decided.
    response = decide(site, pending, "approve", owner)
    assert response.status_code == 200, response.text
    if is_active:
        assert site.post(f"{path}cancel/", owner).status_code == 200
    response = site.post(f"{path}cancel/", owner)
    message = ["Only pending invitation can be canceled."]
    assert (response.status_code, response.json()) == (400, message)
    assert site.post(f"{path}cancel/", requester).status_code == 403


def test_public_link_is_visible_to_everybody_while_it_is_active(
    world: World, site: Site, owner: Person, organisation: Place, project: Place
) -> None:
    public = world.create_link(
        world.staff, "PROJECT.MEMBER", organisation, is_public=True, auto_create_project=True
    )
    private = world.create_link(owner, "PROJECT.MEMBER", project)
    paths = {name: f"{LINKS}{name}/" for name in (public, private)}

    def listed(person: Person | None) -> list[str]:
        uuids = [row["uuid"] for row in site.get(LINKS, person).json()]
        count = site.request("HEAD", LINKS, person).headers["X-Result-Count"]
        assert count == str(len(uuids))
        return uuids

    stranger = world.person()
    assert listed(None) == listed(stranger) == [public]
    assert listed(owner) == listed(world.staff) == [private, public]
    assert [site.get(path).status_code for path in paths.values()] == [200, 404]
    # With an account, the link is enough.
    assert [site.get(path, stranger).status_code for path in paths.values()] == [200, 200]
    assert site.post(f"{paths[public]}submit_request/").status_code == 401
    assert site.post(f"{paths[public]}cancel/", world.staff).status_code == 200
    assert listed(None) == listed(stranger) == []
    assert listed(owner) == [private, public]
    assert site.get(paths[public]).status_code == 404


def test_link_of_an_organisation_shows_only_visible_projects(
    world: World, site: Site, owner: Person, organisation: Place, project: Place
) -> None:
    other = world.project(organisation)
    link = world.create_link(world.staff, "PROJECT.MEMBER", organisation, auto_create_project=True)
    path = f"{LINKS}{link}/projects/"
    member = world.person()
    world.give_role(member, "PROJECT.MEMBER", project)

    def listed(person: Person) -> set[str]:
        rows = site.get(path, person).json()
        assert all(row["url"].endswith(f"/api/projects/{row['uuid']}/") for row in rows)
        return {row["uuid"] for row in rows}

    assert listed(owner) == listed(world.staff) == {project.uuid, other.uuid}
    assert listed(member) == {project.uuid}
    assert listed(world.person()) == set()
    assert site.get(path).status_code == 401
    assert site.request("DELETE", other.path, world.staff).status_code == 204
    assert listed(owner) == {project.uuid}
    of_project = world.create_link(owner, "PROJECT.MEMBER", project)
    response = site.get(f"{LINKS}{of_project}/projects/", owner)
    assert (response.status_code, response.content) == (404, b"")


def test_audit_log_has_every_action_on_requests_and_links(
    requested: Callable[[State], Request], world: World, site: Site, owner: Person
) -> None:
    for state, kind in (
        (State.APPROVED, "request.approved"),
        (State.REJECTED, "request.rejected"),
        (State.CANCELED, "request.canceled"),
    ):
        request = requested(state)
        assert site.post(f"{LINKS}{request.link}/cancel/", owner).status_code == 200
        statement = select(events).where(events.c.scope_id == bindparam("scope"))
        with world.database.read() as tx:
            rows = tx.fetch_all(Statement[Any](statement), scope=request.project.id)
        actors = {row.kind: row.actor_id for row in rows}
        requester = request.requester.id
        expected = {
            "invite_link.created": owner.id,
            "request.submitted": requester,
            kind: requester if state is State.CANCELED else owner.id,
            "invite_link.canceled": owner.id,
        } | ({"role.granted": owner.id} if state is State.APPROVED else {})
        assert {name: actors.get(name) for name in expected} == expected
        assert {row.account_id for row in rows if row.kind == kind} == {requester}


def test_links_to_groups_are_hidden_from_this_api(world: World, site: Site, ada: Person) -> None:
    with world.database.write() as tx:
        group = group_actions.create(tx, ada.actor, "Club")
        role: Any = tx.fetch_one(
            Statement[Any](select(roles).where(roles.c.name == "GROUP.MEMBER"))
        )
        access = access_queries.get_visible_by_id(tx, ada.actor, group)
        link = invite_link_actions.create(tx, ada.actor, world.settings, access, role, None, {})
    for person in (ada, world.person(), world.staff):
        assert site.get(LINKS, person).json() == []
        for path in ("", "projects/"):
            assert site.get(f"{LINKS}{link}/{path}", person).status_code == 404
        for action in ("submit_request", "cancel"):
            assert site.post(f"{LINKS}{link}/{action}/", person).status_code == 404
