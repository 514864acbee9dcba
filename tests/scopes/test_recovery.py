"""Projects that are brought back after deletion, and projects that move."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, select

from collegium.accounts import actions as account_actions
from collegium.db.database import WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import role_notices
from collegium.memberships.queries import grant
from collegium.scopes.projects import recovery
from tests.support.browser import Browser, text
from tests.support.site import BASE, Site, record_statements
from tests.support.world import Person, World

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class Scene:
    """A project with members, and another organisation."""

    def __init__(self, world: World, site: Site) -> None:
        self.world, self.site, self.staff = world, site, world.staff
        self.owner = world.person("owner")
        self.sea = world.organisation("Sea", owner=self.owner)
        self.survey = world.project(self.sea, "Survey")
        self.air = world.organisation("Air", owner=world.person("pilot"))
        self.ada, self.bob, self.eve = map(world.person, ("ada", "bob", "eve"))
        self.until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
        world.give_role(self.ada, "PROJECT.MANAGER", self.survey)
        world.give_role(self.bob, "PROJECT.MEMBER", self.survey, self.until)
        world.give_role(self.eve, "PROJECT.MEMBER", self.survey)
        world.remove_role(self.eve, "PROJECT.MEMBER", self.survey)

    def members(self) -> set[tuple[str, str]]:
        rows = self.world.grants_in(self.survey)
        return {(row.username, row.role_name) for row in rows}

    def post(self, action: str, who: Person, body: dict[str, Any], status: int = 200) -> Any:
        response = self.site.post(f"{self.survey.path}{action}/", who, json=body)
        assert response.status_code == status, response.text
        return response.json()

    def recover(self, who: Person, body: dict[str, Any], status: int = 200) -> Any:
        return self.post("recover", who, body, status)

    def delete(self, who: Person | None = None) -> None:
        assert self.site.request("DELETE", self.survey.path, who or self.owner).status_code == 204

    def see(self, who: Person) -> int:
        return self.site.get(self.survey.path, who).status_code


@pytest.fixture
def scene(world: World, site: Site) -> Scene:
    return Scene(world, site)


def test_owner_brings_a_deleted_project_back_without_its_members(scene: Scene) -> None:
    before = scene.site.get(scene.survey.path, scene.owner).json()
    scene.delete()
    assert scene.see(scene.owner) == 404
    end = (datetime.now(UTC).date() + timedelta(days=9)).isoformat()
    assert scene.recover(scene.owner, {"end_date": "2001-01-01"}, 400).keys() == {"end_date"}
    after = scene.recover(scene.owner, {"end_date": end})
    assert {name for name in before if before[name] != after[name]} == {
        "end_date",
        "end_date_requested_by",
        "end_date_updated_at",
        "effective_end_date",
    }
    assert after["end_date"] == end
    assert scene.members() == set()
    assert (scene.see(scene.owner), scene.see(scene.ada)) == (200, 404)
    error = ["Project is not deleted and cannot be recovered."]
    assert scene.recover(scene.owner, {}, 400) == error


def test_recovery_is_for_those_who_may_create_projects(scene: Scene) -> None:
    scene.delete()
    for who, status in (
        (scene.world.person("support", is_support=True), 403),
        (scene.ada, 404),
        (scene.world.person("stranger"), 404),
    ):
        scene.recover(who, {}, status)
    scene.recover(scene.owner, {"restore_team_members": True}, 403)
    scene.recover(scene.staff, {"restore_team_members": "x"}, 400)
    body = {"restore_team_members": True, "send_invitations_to_previous_members": True}
    assert scene.recover(scene.staff, body, 400) == {
        "non_field_errors": ["Restoring members and inviting them cannot be combined."]
    }
    scene.site.request("PATCH", scene.sea.path, scene.staff, json={"blocked": True})
    scene.recover(scene.staff, {}, 400)
    assert scene.see(scene.staff) == 404


def test_staff_restore_the_members_that_the_deletion_removed(scene: Scene) -> None:
    scene.delete()
    info = scene.recover(scene.staff, {"restore_team_members": True})["recovery_info"]
    assert info["restored_users_count"] == 2
    assert {row["username"]: row["role"] for row in info["restored_users"]} == {
        "ada": "PROJECT.MANAGER",
        "bob": "PROJECT.MEMBER",
    }
    assert scene.members() == {("ada", "PROJECT.MANAGER"), ("bob", "PROJECT.MEMBER")}
    ends = {row.username: row.valid_until for row in scene.world.grants_in(scene.survey)}
    assert ends == {"ada": None, "bob": scene.until}
    kinds = [
        row["event_type"]
        for row in scene.site.get(
            f"/api/events/?scope={BASE}{scene.survey.path}", scene.staff
        ).json()
    ]
    assert kinds[:3] == ["role_granted", "role_granted", "project_recovered"]
    # Only those whom the latest deletion removed.
    scene.world.remove_role(scene.bob, "PROJECT.MEMBER", scene.survey)
    scene.delete()
    scene.recover(scene.staff, {"restore_team_members": True})
    assert scene.members() == {("ada", "PROJECT.MANAGER")}


def test_restoring_leaves_out_who_cannot_have_the_role_now(scene: Scene) -> None:
    scene.delete()
    scene.site.request(
        "PATCH", f"/api/users/{scene.ada.uuid}/", scene.staff, json={"is_active": False}
    )
    body = {"user_email_patterns": [r"bob@.*"]}
    scene.site.request("PATCH", scene.sea.path, scene.staff, json=body)
    info = scene.recover(scene.staff, {"restore_team_members": True})["recovery_info"]
    assert [row["username"] for row in info["restored_users"]] == ["bob"]
    scene.delete()
    scene.site.request("PATCH", scene.sea.path, scene.staff, json={"user_email_patterns": ["x"]})
    assert "recovery_info" not in scene.recover(scene.staff, {"restore_team_members": True})
    assert scene.members() == set()


def test_previous_members_are_invited_by_those_who_may_give_the_role(scene: Scene) -> None:
    scene.delete()
    info = scene.recover(scene.owner, {"send_invitations_to_previous_members": True})
    found = info["recovery_info"]
    assert {(row["email"], row["role"]) for row in found["sent_invitations"]} == {
        ("ada@example.org", "PROJECT.MANAGER"),
        ("bob@example.org", "PROJECT.MEMBER"),
    }
    for row in found["sent_invitations"]:
        invitation = scene.world.invitation(row["invitation_uuid"])
        assert (invitation.email, invitation.role_name) == (row["email"], row["role"])
        # A role comes back with the end that it had.
        until = scene.until if row["email"] == "bob@example.org" else None
        assert invitation.grant_until == until
    assert scene.members() == set()


@sqlite_only
@pytest.mark.parametrize("has_start", [False, True])
def test_members_whose_role_ends_before_they_can_accept_are_not_invited(
    scene: Scene, *, has_start: bool
) -> None:
    if has_start:
        body = {"start_date": (scene.until + timedelta(days=1)).date().isoformat()}
        assert scene.site.request("PATCH", scene.survey.path, scene.owner, json=body).is_success
    scene.delete()
    wishes = recovery.Wishes(invites_members=True)
    database, settings = scene.world.database, scene.world.settings
    with database.write() as tx:
        found = recovery.recover(tx, scene.owner.actor, settings, scene.survey.uuid, wishes)
    assert len(found.to_invite) == 2
    # The role of Bob ends while the others are invited, or before the project starts.
    now = None if has_start else scene.until
    invited = recovery.invite_all(lambda: database.write(now), scene.owner.actor, settings, found)
    assert [member.username for _, member in invited] == ["ada"]


def add_members(scene: Scene, first: int, last: int) -> None:
    """Grant new accounts a role in the project, in one transaction."""
    world, role = scene.world, scene.world.role("PROJECT.MEMBER").id
    with world.database.write() as tx:
        for at in range(first, last):
            values = {"username": f"m{at}", "email": f"m{at}@example.org"}
            account = account_actions.create(tx, None, world.settings, world.vault, values)
            grant(tx, uuid4().hex, account, role, scene.survey.id, None, None)


def count_events(scene: Scene) -> int:
    answer = scene.site.get("/api/events/?event_type=role_granted&page_size=1", scene.staff)
    return int(answer.headers["x-result-count"])


@pytest.mark.slow
def test_restoring_300_members_takes_as_many_statements_as_restoring_3(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    before = count_events(scene)
    for first, size in ((2, 3), (3, 300)):
        add_members(scene, first, size)
        scene.delete()
        with record_statements(monkeypatch) as statements:
            answer = scene.recover(scene.staff, {"restore_team_members": True})
        assert answer["recovery_info"]["restored_users_count"] == size
        assert len(scene.members()) == size
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 25
    assert count_events(scene) == before + 3 + 300


def test_each_previous_member_is_invited_in_a_transaction_of_its_own(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[WriteTransaction] = []
    begin = WriteTransaction.__init__

    def noted(self: WriteTransaction, *arguments: Any) -> None:
        begin(self, *arguments)
        begun.append(self)

    monkeypatch.setattr(WriteTransaction, "__init__", noted)
    body = {"send_invitations_to_previous_members": True}
    longest = []
    for size in (2, 10):
        add_members(scene, len(scene.members()), size)
        scene.delete()
        begun.clear()
        assert scene.recover(scene.owner, body)["recovery_info"]["sent_invitations_count"] == size
        longest.append(max(tx.statements for tx in begun))
        scene.delete()
        scene.recover(scene.staff, {})
        for name in ("ada", "bob"):
            scene.world.give_role(getattr(scene, name), "PROJECT.MEMBER", scene.survey)
    assert longest[0] == longest[1]
    monkeypatch.setattr(recovery, "INVITED_MAX", 1)
    scene.delete()
    assert scene.recover(scene.owner, body, 400) == {
        "non_field_errors": ["At most 1 previous members can be invited at once."]
    }
    assert scene.see(scene.owner) == 404


def test_project_moves_with_or_without_its_members(scene: Scene) -> None:
    invited = scene.world.invite(scene.ada, "new@example.org", "PROJECT.MEMBER", scene.survey)
    pilot_sees = scene.see
    target = {"customer": scene.air.path, "preserve_permissions": True}
    shown = scene.post("move_project", scene.staff, target)
    assert shown["customer"] == f"{BASE}{scene.air.path}"
    assert scene.members() == {("ada", "PROJECT.MANAGER"), ("bob", "PROJECT.MEMBER")}
    assert scene.world.invitation(invited).state == "pending"
    assert (pilot_sees(scene.owner), pilot_sees(scene.ada)) == (404, 200)
    assert scene.post("move_project", scene.staff, target, 400) == {
        "customer": ["New customer must be different than current one."]
    }
    back = {"customer": f"{BASE}{scene.sea.path}", "preserve_permissions": False}
    scene.post("move_project", scene.staff, back)
    assert scene.members() == set()
    assert scene.world.invitation(invited).state == "canceled"
    assert (scene.see(scene.owner), scene.see(scene.ada)) == (200, 404)


def test_members_whom_the_other_organisation_does_not_admit_lose_their_roles(scene: Scene) -> None:
    body = {"user_email_patterns": [r"ada@.*"]}
    scene.site.request("PATCH", scene.air.path, scene.staff, json=body)
    scene.world.give_role(scene.eve, "PROJECT.MEMBER", scene.survey)
    scene.site.request(
        "PATCH", f"/api/users/{scene.eve.uuid}/", scene.staff, json={"is_active": False}
    )
    with scene.world.database.write() as tx:
        tx.execute(Statement(delete(role_notices)))
    target = {"customer": scene.air.path, "preserve_permissions": True}
    scene.post("move_project", scene.staff, target)
    assert scene.members() == {("ada", "PROJECT.MANAGER")}
    rows = scene.site.get(f"/api/events/?scope={BASE}{scene.survey.path}", scene.staff).json()
    events = [(row["event_type"], row["context"].get("affected_user_username")) for row in rows]
    lost = {("role_revoked", "bob"), ("role_revoked", "eve")}
    assert (set(events[:2]), events[2]) == (lost, ("project_moved", None))
    with scene.world.database.read() as tx:
        found = tx.fetch_all(Statement[Any](select(role_notices.c.account_id, role_notices.c.kind)))
    # The deactivated account gets no e-mails.
    assert [(row.account_id, row.kind) for row in found] == [(scene.bob.id, "role_removed")]
    # A member may join again when the organisation admits them.
    again = {"user": scene.bob.uuid, "role": "PROJECT.MEMBER"}
    scene.post("add_user", scene.staff, again, 400)
    scene.site.request("PATCH", scene.air.path, scene.staff, json={"user_email_patterns": []})
    scene.post("add_user", scene.staff, again, 201)


@sqlite_only
def test_page_says_how_many_members_a_move_has_removed(scene: Scene) -> None:
    body = {"user_email_patterns": [r"ada@.*"]}
    scene.site.request("PATCH", scene.air.path, scene.staff, json=body)
    browser = Browser(scene.site).sign_in(scene.world, scene.staff)
    path = f"/project/{scene.survey.uuid}/move/"
    browser.open(path)
    browser.send(path, organisation=scene.air.uuid, members="keep")
    assert "1 person has lost a role" in text(browser.open(f"/project/{scene.survey.uuid}/"))
    assert scene.members() == {("ada", "PROJECT.MANAGER")}


@sqlite_only
def test_move_needs_the_same_statements_however_many_members_lose_their_roles(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"user_email_patterns": [r"ada@.*"]}
    numbers = []
    for size in (1, 30):
        project = scene.world.project(scene.sea)
        for _ in range(size):
            scene.world.give_role(scene.world.person(), "PROJECT.MEMBER", project)
        scene.site.request("PATCH", scene.air.path, scene.staff, json=body)
        target = {"customer": scene.air.path, "preserve_permissions": True}
        with record_statements(monkeypatch) as seen:
            scene.site.post(f"{project.path}move_project/", scene.staff, json=target)
        numbers.append(len(seen))
        assert scene.world.grants_in(project) == []
    assert numbers[0] == numbers[1]


@sqlite_only
def test_move_refuses_blocked_organisations_and_unknown_ones(scene: Scene) -> None:
    errors = scene.post("move_project", scene.staff, {}, 400)
    assert errors.keys() == {"customer", "preserve_permissions"}
    body = {"customer": "/api/customers/x/", "preserve_permissions": True}
    assert scene.post("move_project", scene.staff, body, 400).keys() == {"customer"}
    for place in (scene.air, scene.sea):
        scene.site.request("PATCH", place.path, scene.staff, json={"blocked": True})
        body = {"customer": scene.air.path, "preserve_permissions": True}
        scene.post("move_project", scene.staff, body, 400)
        scene.site.request("PATCH", place.path, scene.staff, json={"blocked": False})
    scene.post("move_project", scene.owner, body, 403)
