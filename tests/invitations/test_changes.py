"""Changes to pending invitations, and duplicates of planned ones, over the Waldur API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from collegium.access.rules import Permission, ScopeKind
from collegium.api.waldur.invitations import INVITEES_MAX
from collegium.invitations import approvals, links
from collegium.invitations.rules import State
from collegium.settings import Settings
from tests.access.test_visibility import add_role
from tests.invitations.test_lifecycle import Invited, mails
from tests.support.mails import sent_mails
from tests.support.site import Site, record_statements
from tests.support.world import Person, Place, World

PATH = "/api/user-invitations/"
DUPLICATES = f"{PATH}check-duplicates/"


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.fixture
def uuid(world: World, owner: Person, project: Place) -> str:
    return world.invite(owner, "old@example.org", "PROJECT.MEMBER", project)


def patch(site: Site, uuid: str, person: Person, **body: Any) -> httpx.Response:
    return site.request("PATCH", f"{PATH}{uuid}/", person, json=body)


def opens(site: Site, world: World, uuid: str, version: int) -> bool:
    """Return whether the mailed link of a version still opens an invitation."""
    page = site.get(f"/invitation/{world.vault.sign(links.MAILED, uuid, version)}/")
    return "Initech" in page.text


def test_other_address_gets_the_invitation_and_the_former_one_loses_it(
    world: World, site: Site, owner: Person, uuid: str
) -> None:
    old, new = (world.person(name, email=f"{name}@example.org") for name in ("old", "new"))
    assert opens(site, world, uuid, 1)
    response = patch(site, uuid, owner, email="new@example.org")
    member = world.role("PROJECT.MEMBER").uuid
    assert (response.status_code, response.json()) == (
        200,
        {"email": "new@example.org", "role": member},
    )
    assert not opens(site, world, uuid, 1)
    assert opens(site, world, uuid, 2)
    assert [row["email"] for row in site.get(PATH, new).json()] == ["new@example.org"]
    assert site.get(PATH, old).json() == []
    assert site.post(f"{PATH}{uuid}/accept/", old).status_code == 404
    assert site.post(f"{PATH}{uuid}/accept/", new).status_code == 200


def test_queued_mail_to_the_former_address_is_never_sent(
    world: World, site: Site, owner: Person, uuid: str
) -> None:
    # The former address must not get an account for the new person either.
    world.settings = replace(world.settings, invitation_create_missing_user=True)
    assert patch(site, uuid, owner, email="new@example.org").status_code == 200
    (mail,) = sent_mails(world)
    assert (mail["To"], mail["X-Collegium-Mail"]) == ("new@example.org", "invitation_approved")
    (former,) = mails(world, "invitation_created")
    assert (former.recipient, former.state) == ("old@example.org", "obsolete")


def test_change_is_recorded_and_renews_the_lifetime(
    world: World, site: Site, owner: Person, project: Place
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    uuid = world.invite(owner, "old@example.org", "PROJECT.MEMBER", project, now=yesterday)
    before = world.invitation(uuid)
    admin = world.role("PROJECT.ADMIN")
    body = {"email": "new@example.org", "role": admin.uuid}
    assert site.request("PUT", f"{PATH}{uuid}/", owner, json=body).status_code == 200
    after = world.invitation(uuid)
    assert (after.email, after.role_id, after.sponsor_id) == ("new@example.org", admin.id, owner.id)
    assert after.expires_at > before.expires_at
    (event,) = site.get("/api/events/?event_type=user_invitation_updated", world.staff).json()
    assert event["context"]["fields"] == ["email", "role"]
    assert event["context"]["invitation_email"] == "new@example.org"
    assert event["context"]["former_invitation_email"] == "old@example.org"


@pytest.mark.parametrize("with_role", [False, True])
def test_unchanged_invitation_is_not_mailed_again(
    world: World, site: Site, owner: Person, uuid: str, with_role: bool
) -> None:
    before = world.invitation(uuid)
    role = {"role": world.role("PROJECT.MEMBER").uuid} if with_role else {}
    response = site.request(
        "PUT", f"{PATH}{uuid}/", owner, json={"email": "old@example.org", **role}
    )
    assert response.status_code == 200
    assert world.invitation(uuid) == before
    assert len(mails(world, "invitation_created")) == 1


@pytest.mark.parametrize("state", State)
def test_only_pending_and_scheduled_invitations_can_be_changed(
    world: World, site: Site, owner: Person, state: State
) -> None:
    world.settings = replace(world.settings, only_staff_can_invite_users=True)
    invited = Invited(world, site, owner, world.organisation(owner=owner), state)
    response = patch(site, invited.uuid, world.staff, email="new@example.org")
    row = invited.row
    if state in {State.PENDING, State.HELD}:
        assert response.status_code == 200
        assert (row.email, row.state) == ("new@example.org", state)
    else:
        refusal = {"non_field_errors": ["Only pending invitations can be edited."]}
        assert (response.status_code, response.json()) == (400, refusal)
        assert row.email == invited.invitee.email


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("days", [-1, 1])
def test_invitation_to_a_role_that_has_ended_cannot_be_approved(
    site: Site, world: World, owner: Person, project: Place, days: int
) -> None:
    world.settings = replace(world.settings, only_staff_can_invite_users=True)
    now = datetime.now(UTC)
    uuid = world.invite(
        owner,
        "new@example.org",
        "PROJECT.MEMBER",
        project,
        now=now - timedelta(days=9),
        grant_until=now + timedelta(days=days),
    )
    signed = (world.staff.uuid, uuid, 1, int(now.timestamp()))
    token = world.vault.sign(approvals.APPROVE, *signed)
    response = site.post(f"{PATH}approve/", json={"token": token})
    if days > 0:
        assert (response.status_code, world.invitation(uuid).state) == (200, "pending")
        return
    error = {"detail": "The role that this invitation offers would have ended already."}
    assert (response.status_code, response.json()) == (400, error)
    assert world.invitation(uuid).state == "requested"
    assert mails(world, "invitation_created") == []


@pytest.mark.parametrize("field", ["email", "role"])
def test_change_needs_a_new_approval_and_voids_the_earlier_one(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    owner: Person,
    project: Place,
    field: str,
) -> None:
    world.settings = make_settings(rate_limits="false", only_staff_can_invite_users="true")
    site = make_site(world.settings)
    uuid = world.invite(owner, "old@example.org", "PROJECT.MEMBER", project)

    def approve(version: int) -> int:
        now = int(datetime.now(UTC).timestamp())
        token = world.vault.sign(approvals.APPROVE, world.staff.uuid, uuid, version, now)
        return site.post(f"{PATH}approve/", json={"token": token}).status_code

    assert approve(1) == 200
    change = {"email": "new@example.org", "role": world.role("PROJECT.ADMIN").uuid}
    assert patch(site, uuid, owner, **{field: change[field]}).status_code == 200
    row = world.invitation(uuid)
    assert (row.state, row.approved_by) == ("requested", None)
    assert len(mails(world, "invitation_requested")) == 2
    assert [approve(1), approve(2)] == [400, 200]
    assert world.invitation(uuid).state == "pending"
    # The same mailbox in another spelling is what staff have approved.
    email = row.email.replace("example", "EXAMPLE")
    assert patch(site, uuid, owner, email=email).status_code == 200
    assert world.invitation(uuid).state == "pending"


def test_errors_of_all_fields_come_after_visibility_and_rights(
    world: World, site: Site, owner: Person, project: Place, uuid: str
) -> None:
    invitee = world.person(email="old@example.org")
    wrong = {"email": "nobody", "role": world.role("CUSTOMER.OWNER").uuid}
    assert patch(site, uuid, world.person(), **wrong).status_code == 404
    assert patch(site, uuid, invitee, **wrong).status_code == 403
    response = patch(site, uuid, owner, **wrong)
    assert (response.status_code, response.json()) == (
        400,
        {
            "email": ["Enter a valid email address."],
            "non_field_errors": ["Role and scope should belong to the same content type."],
        },
    )
    response = site.request("PUT", f"{PATH}{uuid}/", owner, json={})
    assert response.json() == {"email": ["This field is required."]}
    manager = world.person()
    world.give_role(manager, "PROJECT.MANAGER", project)
    with world.database.write() as tx:
        add_role(tx, "CUSTOM.STRONG", ScopeKind.PROJECT, (Permission.PROJECT_CREATE,))
    strong = world.role("CUSTOM.STRONG").uuid
    assert patch(site, uuid, manager, role=strong).status_code == 403
    assert patch(site, uuid, owner, role=strong).status_code == 200
    # A manager may not take over an offer above the own ceiling.
    assert patch(site, uuid, manager, email="new@example.org").status_code == 403


def test_message_has_up_to_2000_characters(
    world: World, site: Site, owner: Person, project: Place
) -> None:
    body = {
        "scope": project.path,
        "role": world.role("PROJECT.MEMBER").uuid,
        "email": "bob@example.org",
    }
    for length, status in ((2000, 201), (2001, 400)):
        text = {"extra_invitation_text": "x" * length}
        assert site.post(PATH, owner, json={**body, **text}).status_code == status


# Duplicates


def plan(project: Place, *people: tuple[str, str]) -> dict[str, Any]:
    invitations = [{"email": email, "role": role} for email, role in people]
    return {"scope": project.path, "invitations": invitations}


def test_duplicates_name_open_invitations_and_roles_of_the_scope(
    world: World, site: Site, owner: Person, project: Place, uuid: str
) -> None:
    member, admin = (world.role(f"PROJECT.{name}") for name in ("MEMBER", "ADMIN"))
    ada = world.person("ada", email="ada@example.org")
    world.give_role(ada, "PROJECT.ADMIN", project)
    elsewhere = world.project(world.organisation(owner=owner))
    world.give_role(world.person(email="eve@example.org"), "PROJECT.ADMIN", elsewhere)
    world.invite(owner, "eve@example.org", "PROJECT.MEMBER", elsewhere)
    canceled = world.invite(owner, "tim@example.org", "PROJECT.MEMBER", project)
    assert site.post(f"{PATH}{canceled}/cancel/", owner).status_code == 200
    body = plan(
        project,
        ("OLD@Example.org", member.uuid),
        ("old@example.org", admin.uuid),
        ("Ada@example.org", member.uuid),
        ("ada@example.org", admin.uuid),
        ("eve@example.org", member.uuid),
        ("tim@example.org", member.uuid),
        ("twice@example.org", member.uuid),
        ("Twice@example.org", member.uuid),
    )
    result = site.post(DUPLICATES, owner, json=body).json()
    assert result["duplicates"] == [
        {"email": "OLD@Example.org", "role": member.uuid, "existing_invitation_uuid": uuid},
        # An earlier line of the list is the same.
        {"email": "Twice@example.org", "role": member.uuid, "existing_invitation_uuid": None},
    ]
    held = {
        "existing_role": admin.uuid,
        "existing_role_name": "PROJECT.ADMIN",
        "existing_role_description": admin.description,
    }
    assert result["existing_roles"] == [
        {"email": "Ada@example.org", "role": member.uuid, **held, "is_same_role": False},
        {"email": "ada@example.org", "role": admin.uuid, **held, "is_same_role": True},
    ]


def test_duplicates_are_shown_only_to_those_who_may_invite(
    world: World, site: Site, owner: Person, project: Place
) -> None:
    body = plan(project, ("ada@example.org", world.role("PROJECT.MEMBER").uuid))
    member, manager = world.person(), world.person()
    world.give_role(member, "PROJECT.MEMBER", project)
    world.give_role(manager, "PROJECT.MANAGER", project)
    support = world.person(is_support=True)
    people = (member, support, manager, owner, world.staff)
    assert [site.post(DUPLICATES, each, json=body).status_code for each in people] == [
        *(403, 403, 200, 200, 200)
    ]
    response = site.post(DUPLICATES, world.person(), json=body)
    unknown = {"scope": [f"Can't restore object from url: {project.path}"]}
    assert (response.status_code, response.json()) == (400, unknown)


def test_wrong_lists_of_people_have_an_error_for_each_item(
    world: World, site: Site, owner: Person, project: Place
) -> None:
    role = world.role("PROJECT.MEMBER").uuid

    def errors(people: Any) -> Any:
        response = site.post(DUPLICATES, owner, json={"scope": project.path, "invitations": people})
        assert response.status_code == 400, response.text
        return response.json()["invitations"]

    assert errors([{"email": "a@example.org", "role": role}, {"email": "nobody"}]) == [
        "Item 2, email: Enter a valid email address.",
        "Item 2, role: This field is required.",
    ]
    assert errors(["x"]) == ['Expected a dictionary of items but got type "str".']
    assert errors({}) == ['Expected a list of items but got type "dict".']
    unknown = "0" * 32
    assert errors([{"email": "a@example.org", "role": unknown}]) == [
        f"Object with uuid={unknown} does not exist."
    ]
    many = [{"email": "a@example.org", "role": role}] * (INVITEES_MAX + 1)
    assert errors(many) == [f"Ensure this field has no more than {INVITEES_MAX} elements."]
    empty = site.post(DUPLICATES, owner, json={"scope": project.path, "invitations": []})
    assert empty.json() == {"duplicates": [], "existing_roles": []}


def test_length_of_a_list_does_not_change_the_number_of_statements(
    world: World,
    site: Site,
    owner: Person,
    project: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    role = world.role("PROJECT.MEMBER").uuid
    people = [(f"p{number}@example.org", role) for number in range(40)]
    counts = []
    for size in (1, 40):
        body = plan(project, *people[:size])
        with record_statements(monkeypatch) as statements:
            assert site.post(DUPLICATES, owner, json=body).status_code == 200
        counts.append(len(statements))
    assert counts[0] == counts[1]
