"""Organisations and projects in the Waldur API: contact, slug, people of other projects, end."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from collegium.db.statements import Statement
from collegium.db.tables import events, projects
from tests.support.site import BASE, Site
from tests.support.world import Person, Place, World

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class Land:
    """An organisation with an owner, two projects with a member each, and a third project."""

    def __init__(self, world: World, site: Site) -> None:
        self.world, self.site = world, site
        self.owner = world.person("owner")
        self.ada, self.bob = (
            world.person(name, first_name=name.title(), native_name=f"{name} native")
            for name in ("ada", "bob")
        )
        self.sea = world.organisation("Sea", owner=self.owner, phone_number="+1 555")
        self.survey, self.atlas, self.empty = (
            world.project(self.sea, name) for name in ("Survey", "Atlas", "Empty")
        )
        self.air = world.organisation("Air")
        self.kites = world.project(self.air, "Kites")
        world.give_role(self.ada, "PROJECT.MEMBER", self.survey)
        world.give_role(self.bob, "PROJECT.MEMBER", self.atlas)
        world.give_role(world.person("eve"), "PROJECT.MEMBER", self.kites)

    def post(self, path: str, who: Person, body: dict[str, Any], status: int = 200) -> Any:
        response = self.site.post(path, who, json=body)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    def shown(self, place: Place, name: str) -> Any:
        return self.site.get(place.path, self.world.staff).json()[name]


@pytest.fixture
def land(world: World, site: Site) -> Land:
    return Land(world, site)


@sqlite_only
def test_contact_changes_only_the_sent_fields_of_the_contact(land: Land) -> None:
    path = f"{land.sea.path}contact/"
    body = {"email": "desk@example.org", "name": "Other", "blocked": True}
    assert land.post(path, land.owner, body) == {
        "contact_details": "",
        "email": "desk@example.org",
        "phone_number": "+1 555",
        "homepage": "",
        "notification_emails": "",
    }
    assert (land.shown(land.sea, "name"), land.shown(land.sea, "blocked")) == ("Sea", False)
    errors = land.post(path, land.owner, {"email": "x", "homepage": "x"}, 400)
    assert errors.keys() == {"email", "homepage"}
    land.site.request("PATCH", land.sea.path, land.world.staff, json={"blocked": True})
    assert land.post(path, land.owner, body, 400) == ["Blocked organization is not available."]


@sqlite_only
def test_staff_set_the_slug_of_a_project_to_a_free_one(land: Land) -> None:
    staff, path = land.world.staff, f"{land.survey.path}set_slug/"
    assert land.post(path, staff, {"slug": "deep"}) == {"status": "slug has been updated"}
    assert land.shown(land.survey, "slug") == "deep"
    other = f"{land.atlas.path}set_slug/"
    assert land.post(other, staff, {"slug": "deep"}, 400) == {
        "slug": ["This field must be unique."]
    }
    assert land.post(other, staff, {}, 400) == {"slug": ["This field is required."]}
    assert land.post(other, staff, {"slug": ""}, 400) == {"slug": ["This field may not be blank."]}
    land.post(other, land.owner, {"slug": "x"}, 403)


def test_other_users_are_members_of_the_other_projects_that_the_caller_sees(land: Land) -> None:
    world = land.world

    def found(place: Place, who: Person, query: str = "") -> list[str]:
        response = land.site.get(f"{place.path}other_users/?{query}", who)
        assert response.status_code == 200, response.text
        names = [row["username"] for row in response.json()]
        assert response.headers["x-result-count"] == str(len(names))
        return names

    assert found(land.empty, land.owner) == ["ada", "bob"]
    assert found(land.survey, land.owner) == ["bob"]
    assert found(land.empty, world.staff, "o=-concatenated_name") == ["bob", "ada"]
    assert found(land.empty, land.owner, "native_name=BOB") == ["bob"]
    assert found(land.empty, land.owner, "full_name=nobody") == []
    # A member of one project does not see the others.
    assert found(land.survey, land.ada) == []
    world.give_role(land.ada, "PROJECT.ADMIN", land.atlas)
    assert found(land.survey, land.ada) == ["ada", "bob"]
    world.remove_role(land.bob, "PROJECT.MEMBER", land.atlas)
    assert found(land.survey, land.owner) == ["ada"]
    (row,) = land.site.get(f"{land.survey.path}other_users/", land.owner).json()
    assert row == {
        "url": f"{BASE}/api/users/{land.ada.uuid}/",
        "uuid": land.ada.uuid,
        "username": "ada",
        "full_name": "Ada Lee",
        "native_name": "ada native",
        "email": "ada@example.org",
        "image": None,
    }


def test_project_tells_its_end_with_the_grace_period(land: Land) -> None:
    staff, yesterday = land.world.staff, datetime.now(UTC).date() - timedelta(days=1)
    names = ["customer_grace_period_days", "effective_end_date", "is_in_grace_period"]

    def ends() -> list[Any]:
        (row,) = land.site.get("/api/projects/?name=Survey", staff).json()
        assert {name: land.shown(land.survey, name) for name in names}.items() <= row.items()
        return [row[name] for name in names]

    assert ends() == [None, None, False]
    row = update(projects).where(projects.c.scope_id == land.survey.id)
    with land.world.database.write() as tx:
        tx.execute(Statement(row.values(end_date=yesterday)))
    assert ends() == [None, yesterday.isoformat(), False]
    land.site.request("PATCH", land.sea.path, staff, json={"grace_period_days": 2})
    assert ends() == [2, (yesterday + timedelta(days=2)).isoformat(), True]
    days = 2**31 - 1
    land.site.request("PATCH", land.survey.path, staff, json={"grace_period_days": days})
    assert ends() == [2, date.max.isoformat(), True]


@sqlite_only
def test_values_that_a_project_has_already_are_no_change(land: Land) -> None:
    def put(who: Person, **values: Any) -> list[str]:
        """Send the whole project back as it is shown; return what the audit log says then."""
        shown = land.site.get(land.survey.path, who).json()
        response = land.site.request("PUT", land.survey.path, who, json=shown | values)
        assert response.status_code == 200, response.text
        query = {"event_type": "project_update_succeeded"}
        rows = land.site.get("/api/events/", land.world.staff, params=query).json()
        return [row["message"] for row in rows]

    manager, other = land.world.person("manager"), land.world.person("other")
    land.world.give_role(manager, "PROJECT.MANAGER", land.survey)
    land.world.give_role(other, "CUSTOMER.OWNER", land.sea)
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    put(land.owner, end_date=tomorrow.isoformat())
    # Without the permission to delete the project, nobody can set an end; this one is set already.
    messages = put(manager, name="Soundings")
    assert messages[0] == "Project Survey has been updated by Manager Lee: name."
    assert len(messages) == 2
    assert put(other) == messages
    assert land.shown(land.survey, "end_date_requested_by").endswith(f"{land.owner.uuid}/")
    row = update(projects).where(projects.c.scope_id == land.survey.id)
    with land.world.database.write() as tx:
        tx.execute(Statement(row.values(end_date=tomorrow - timedelta(days=9))))
    assert len(put(manager, description="Depths")) == 3
    response = land.site.request(
        "PATCH", land.survey.path, manager, json={"end_date": tomorrow.isoformat()}
    )
    assert response.status_code == 403


def test_history_tells_what_an_organisation_was_after_each_change(land: Land) -> None:
    staff, path = land.world.staff, f"{land.sea.path}history/"
    times = [datetime.now(UTC).isoformat()]
    for body in (
        {"name": "Ocean", "blocked": False},
        {"name": "Ocean", "phone_number": ""},
        {"name": "Ocean", "phone_number": "", "access_subnets": ""},
        {"name": "Deep", "accounting_start_date": "2026-01-02T03:04:05Z"},
    ):
        response = land.site.request("PATCH", land.sea.path, staff, json=body)
        assert response.status_code == 200, response.text
        times.append(datetime.now(UTC).isoformat())
    del times[2]  # the third request repeats what is so already
    response = land.site.get(path, staff)
    assert response.headers["x-result-count"] == "4"
    rows = response.json()
    names = [row["serialized_data"]["name"] for row in rows]
    assert names == ["Deep", "Ocean", "Ocean", "Sea"]
    phones = [row["serialized_data"]["phone_number"] for row in rows]
    assert phones == ["", "", "+1 555", "+1 555"]
    starts = [row["serialized_data"]["accounting_start_date"] for row in rows]
    assert starts == ["2026-01-02T03:04:05Z", None, None, None]
    assert [row["revision_comment"] for row in rows] == [
        "Changed: accounting_start_date, name",
        "Changed: phone_number",
        "Changed: name",
        "Initial version",
    ]
    assert rows[0]["revision_user"]["username"] == staff.actor.username
    (row,) = land.site.get(f"{path}?page=2&page_size=1", staff).json()
    assert row == rows[1]
    for query, expected in (
        ({"created_before": times[1]}, rows[2:]),
        ({"created_after": times[1]}, rows[:2]),
        ({"created_after": times[1], "created_before": times[2]}, rows[1:2]),
        ({"created_after": times[2], "created_before": times[1]}, []),
    ):
        assert land.site.get(path, staff, params=query).json() == expected, query
    for time, row in zip(times, reversed(rows), strict=True):
        found = land.site.get(f"{path}at/", staff, params={"timestamp": time}).json()
        assert found.pop("queried_at")
        assert found == row
    before = land.site.get(f"{path}at/?timestamp=2001-01-01", staff)
    assert before.status_code == 404
    for wrong in ("", "?timestamp=", "?timestamp=x"):
        assert land.site.get(f"{path}at/{wrong}", staff).status_code == 400


@sqlite_only
def test_history_leaves_out_values_that_an_earlier_release_did_not_keep(land: Land) -> None:
    staff = land.world.staff
    for body in ({"name": "Ocean"}, {"email": "a@example.org"}):
        land.site.request("PATCH", land.sea.path, staff, json=body)
    changed = events.c.kind == "organisation.updated"
    with land.world.database.write() as tx:
        first, *_ = tx.fetch_all(
            Statement[Any](select(events).where(changed).order_by(events.c.id))
        )
        old = {name: value for name, value in first.payload.items() if name != "replaced"}
        tx.execute(Statement(update(events).where(events.c.id == first.id).values(payload=old)))
    data = [
        row["serialized_data"] for row in land.site.get(f"{land.sea.path}history/", staff).json()
    ]
    assert [one.get("name") for one in data] == ["Ocean", "Ocean", None]
    assert [one["email"] for one in data] == ["a@example.org", "", ""]
