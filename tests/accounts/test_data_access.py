"""Who can see a profile, and who has looked at it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collegium.accounts import views
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.settings import Settings
from collegium.worker import worker
from tests.accounts.test_api import events_of, patch
from tests.groups.scene import Groups
from tests.support.browser import Browser
from tests.support.site import Site, record_statements
from tests.support.world import World


class Crowd:
    """A member of a project, and people who do or do not see the account."""

    def __init__(self, world: World) -> None:
        self.world = world
        names = "ada owner manager sibling child stranger former lapsed off"
        self.people = {name: world.person(name) for name in names.split()}
        owner = self.people["owner"]
        self.people |= {
            "support": world.person("support", is_support=True),
            "both": world.person("both", is_support=True, is_staff=True),
            "staff": world.staff,
        }
        self.organisation = world.organisation("Sea", owner=owner)
        self.project = world.project(self.organisation, "Survey")
        other = world.project(self.organisation, "Other")
        for name, role, place in (
            ("ada", "PROJECT.MEMBER", self.project),
            ("manager", "PROJECT.MANAGER", self.project),
            ("former", "PROJECT.MEMBER", self.project),
            ("off", "PROJECT.MEMBER", self.project),
            ("both", "PROJECT.MEMBER", self.project),
            ("sibling", "PROJECT.MEMBER", other),
        ):
            world.give_role(self.people[name], role, place)
        past = datetime.now(UTC) - timedelta(hours=1)
        lapsed, until = self.people["lapsed"], past + timedelta(minutes=1)
        world.give_role(lapsed, "PROJECT.MEMBER", self.project, until, past)
        world.remove_role(self.people["former"], "PROJECT.MEMBER", self.project)

    def path(self, name: str = "ada") -> str:
        return f"/api/users/{self.people[name].uuid}/"


@pytest.fixture
def crowd(world: World, site: Site) -> Crowd:
    crowd = Crowd(world)
    assert patch(site, crowd.people["off"], world.staff, is_active=False).status_code == 200
    return crowd


def listed(answer: Any) -> dict[str, dict[str, str]]:
    """Return scope → user name → role."""
    return {
        scope["scope_name"]: {user["username"]: user["role"] for user in scope["users"]}
        for scope in answer["organizational_access"]
    }


@pytest.mark.parametrize("name", ["ada", "owner", "sibling", "manager", "both", "stranger"])
def test_those_who_are_named_are_those_who_can_open_the_profile(
    site: Site, crowd: Crowd, name: str
) -> None:
    answer = site.get(f"{crowd.path(name)}data_access/", crowd.world.staff).json()
    admins = {
        one["username"]: one["access_type"] for one in answer["administrative_access"]["users"]
    }
    assert admins == {"both": "staff_and_support", "support": "support", "staff": "staff"}
    colleagues = {user for users in listed(answer).values() for user in users}
    opening = {
        viewer
        for viewer, person in crowd.people.items()
        if viewer not in {name, "off"} and site.get(crowd.path(name), person).status_code == 200
    }
    assert colleagues | (admins.keys() - {name}) == opening
    assert answer["summary"] == {
        "total_administrative_access": 3,
        "total_organizational_access": len(colleagues),
        "total_provider_access": 0,
    }


def test_people_see_who_can_see_them_and_of_staff_only_how_many(site: Site, crowd: Crowd) -> None:
    answer = site.get(f"{crowd.path()}data_access/", crowd.people["ada"]).json()
    assert listed(answer) == {"Survey": {"manager": "PROJECT.MANAGER", "owner": "CUSTOMER.OWNER"}}
    (scope,) = answer["organizational_access"]
    assert (scope["scope_type"], scope["scope_uuid"]) == ("project", crowd.project.uuid)
    administrative = answer["administrative_access"]
    assert (administrative["staff_count"], administrative["support_count"]) == (2, 2)
    assert "users" not in administrative
    assert crowd.people["both"].uuid not in str(answer)


def test_people_of_groups_are_counted_and_not_named(site: Site, world: World) -> None:
    lead, member = world.person("lead"), world.person("member")
    groups = Groups(world, site)
    groups.give_role(groups.create(lead), member)
    answer = site.get(f"/api/users/{member.uuid}/data_access/", member).json()
    assert answer["organizational_access"] == []
    assert answer["summary"]["total_organizational_access"] == 1


@pytest.fixture
def watched(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    return make_site(make_settings(user_data_access_logging_enabled="true"))


def test_people_read_who_has_opened_their_profile_and_staff_read_names(
    watched: Site, crowd: Crowd
) -> None:
    people, path = crowd.people, crowd.path()
    for _ in range(2):  # the second time in an hour is not recorded
        assert watched.get(f"{path}?field=email&field=uuid", people["manager"]).status_code == 200
    watched.get(path, people["support"])
    Browser(watched).sign_in(crowd.world, crowd.world.staff).open(
        f"/staff/accounts/{people['ada'].uuid}/"
    )
    # Nothing is shown, or nothing of another person.
    watched.request("HEAD", path, people["owner"])
    watched.get(path, people["ada"])
    watched.get(path, people["stranger"])
    rows = watched.get(f"{path}data_access_history/", people["ada"]).json()
    assert [row["accessor_type"] for row in rows] == ["staff", "support", "organization_member"]
    assert rows[2]["accessed_fields"] == ["email"]
    assert {"email", "first_name", "username"} <= set(rows[1]["accessed_fields"])
    assert rows[0]["accessor_category"] == "Platform administrator"
    assert all(row.keys().isdisjoint({"accessor", "ip_address", "context"}) for row in rows)
    named = watched.get(f"{path}data_access_history/", crowd.world.staff).json()
    assert [row["accessor"]["username"] for row in named] == ["staff", "support", "manager"]
    assert named[2]["ip_address"] == "127.0.0.1"
    today = datetime.now(UTC).date()
    for query, count in (
        ("accessor_type=support", 1),
        ("accessor_type=self", 0),
        ("accessor_type=x", 0),
        (f"start_date={today}&end_date={today}", 3),
        (f"end_date={today - timedelta(days=1)}", 0),
        (f"start_date={today + timedelta(days=1)}", 0),
        ("start_date=0001-01-01&end_date=9999-12-31", 3),
        ("page=2&page_size=2", 1),
    ):
        found = watched.get(f"{path}data_access_history/?{query}", people["ada"])
        assert len(found.json()) == count, query
    assert watched.get(f"{path}data_access_history/?end_date=x", people["ada"]).status_code == 400
    # The audit log tells it too, and names nobody to the person.
    log = watched.get("/api/events/?event_type=account_viewed", people["ada"]).json()
    assert [row["message"] for row in log] == ["The details of user ada have been read."] * 3
    assert "manager" not in str(log)
    assert "127.0.0.1" not in str(log)


def test_views_are_not_recorded_unless_the_operator_wants_it(site: Site, crowd: Crowd) -> None:
    site.get(crowd.path(), crowd.people["manager"])
    assert events_of(crowd.world.database, "account.viewed") == []


def test_erased_viewer_leaves_a_view_without_a_name(watched: Site, crowd: Crowd) -> None:
    watched.get(crowd.path(), crowd.people["manager"])
    gone = watched.request("DELETE", crowd.path("manager"), crowd.world.staff)
    assert gone.status_code == 204
    (row,) = watched.get(f"{crowd.path()}data_access_history/", crowd.world.staff).json()
    assert row["accessor_type"] == "organization_member"
    assert "accessor" not in row


def test_old_records_of_views_are_deleted_in_batches_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, support = world.person("ada"), world.person("support", is_support=True)
    now = datetime.now(UTC)
    kept = world.settings.view_records_retention
    for age in (kept + 90, kept + 60, kept + 30, kept - 60, 0):
        with world.database.write(now - timedelta(seconds=age)) as tx:
            views.record(tx, support.actor, ada.id, ["email"] * (age % 7 + 1))
            event_queries.record(tx, support.actor, events.PasswordRemoved(account=ada.id))
    monkeypatch.setattr(worker, "_PURGE_BATCH", 2)
    run = worker.Worker(world.database, world.settings, world.vault, clock=lambda: now).once
    with record_statements(monkeypatch) as statements:
        run()
    assert sum("DELETE FROM events" in statement for statement in statements) == 2
    with world.database.read() as tx:
        assert views.count(tx, views.Views(ada.id)) == 2
        assert len(event_queries.payloads_of(tx, events.PasswordRemoved, ada.id)) == 5
