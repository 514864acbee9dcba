"""Whom an organisation or project admits, on every way in; each with its admitted twin."""

from typing import Any

import pytest

from collegium.memberships.rules import Applicant, Restrictions, is_admitted
from tests.support.site import Site
from tests.support.world import Person, Place, World

REFUSAL = "User does not match the membership restrictions of the organization or the project."
PATTERN = r".*@uni\.example"


@pytest.mark.parametrize(
    ("restrictions", "expected"),
    [
        (Restrictions(), True),
        (Restrictions([PATTERN]), True),
        (Restrictions([r".*@other\.example"]), False),
        (Restrictions(affiliations=["staff@uni"]), True),
        (Restrictions(affiliations=["student@uni"]), False),
        (Restrictions(identity_sources=["campus"]), True),
        (Restrictions(identity_sources=["other"]), False),
        # One match is enough.
        (Restrictions([r"x"], ["x"], ["campus"]), True),
        (Restrictions([r"x"], ["staff@uni"], ["x"]), True),
        (Restrictions([PATTERN], ["x"], ["x"]), True),
        (Restrictions([r"x"], ["x"], ["x"]), False),
    ],
)
def test_one_match_admits(restrictions: Restrictions, *, expected: bool) -> None:
    applicant = Applicant("ada@uni.example", ["staff@uni"], "campus")
    assert is_admitted(restrictions, applicant) is expected


def test_account_without_a_source_matches_no_source() -> None:
    applicant = Applicant("ada@uni.example", [], "")
    assert not is_admitted(Restrictions(identity_sources=["campus"]), applicant)


class Way:
    """A way into a project: how it is prepared, and the request that takes it."""

    def __init__(self, world: World, site: Site, project: Place) -> None:
        self.world, self.site, self.project = world, site, project

    def prepare(self, way: str, person: Person) -> None:
        if way == "invitation":
            self.uuid = self.world.invite(
                self.world.staff, person.email, "PROJECT.MEMBER", self.project
            )
        elif way != "added":
            self.uuid = self.world.create_link(
                self.world.staff, "PROJECT.MEMBER", self.project, auto_approve=way == "automatic"
            )
        if way == "approval":
            self.uuid = self.world.ask(person, self.uuid)

    def take(self, way: str, person: Person) -> tuple[int, Any]:
        path, caller = {
            "added": (f"{self.project.path}add_user/", self.world.staff),
            "invitation": ("/api/user-invitations/{}/accept/", person),
            "link": ("/api/user-group-invitations/{}/submit_request/", person),
            "automatic": ("/api/user-group-invitations/{}/submit_request/", person),
            "approval": ("/api/user-permission-requests/{}/approve/", self.world.staff),
        }[way]
        body = {"user": person.uuid, "role": "PROJECT.MEMBER"} if way == "added" else {}
        path = path.format(getattr(self, "uuid", ""))
        response = self.site.post(path, caller, json=body)
        return response.status_code, response.json() if response.content else None


@pytest.mark.parametrize("way", ["added", "invitation", "link", "automatic", "approval"])
@pytest.mark.parametrize("restricted", ["organisation", "project"])
def test_every_way_in_is_open_only_to_those_whom_the_scope_admits(
    site: Site, world: World, way: str, restricted: str
) -> None:
    organisation = world.organisation()
    project = world.project(organisation)
    place = organisation if restricted == "organisation" else project
    for domain, is_in in (("uni.example", True), ("uni.example.evil.net", False)):
        person = world.person(email=f"{way}@{domain}")
        taken = Way(world, site, project)
        site.request("PATCH", place.path, world.staff, json={"user_email_patterns": []})
        taken.prepare(way, person)
        response = site.request(
            "PATCH", place.path, world.staff, json={"user_email_patterns": [PATTERN]}
        )
        assert response.json()["user_email_patterns"] == [PATTERN]
        status, body = taken.take(way, person)
        if is_in:
            assert status in {200, 201}, body
        else:
            assert (status, body) == (400, {"non_field_errors": [REFUSAL]})
        members = {row.account_uuid for row in world.grants_in(project)}
        assert (person.uuid in members) is (is_in and way != "link")


def test_members_keep_their_role_when_a_restriction_is_added(site: Site, world: World) -> None:
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    for field, values in (
        ("user_affiliations", ["staff@uni"]),
        ("user_identity_sources", ["campus"]),
    ):
        body = {field: values}
        response = site.request("PATCH", organisation.path, owner, json=body)
        assert response.json()[field] == values, response.text
    assert [row.account_uuid for row in world.grants_in(organisation)] == [owner.uuid]
    errors = site.request(
        "PATCH", organisation.path, owner, json={"user_email_patterns": ["("], "email": "x"}
    ).json()
    assert errors.keys() == {"user_email_patterns", "email"}


def test_change_of_an_end_date_is_dated(site: Site, world: World) -> None:
    project = world.project(world.organisation())

    def change(body: dict[str, Any]) -> Any:
        response = site.request("PATCH", project.path, world.staff, json=body)
        return response.json()["end_date_updated_at"]

    assert change({"end_date": None}) is None
    first = change({"end_date": "2999-01-01"})
    assert first is not None
    assert change({"end_date": "2999-01-01", "name": "x"}) == first
    assert change({"end_date": None}) > first
