"""Members of a scope by day, as dashboards draw them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from collegium.memberships import queries as membership_queries
from tests.support.site import Site, record_statements
from tests.support.world import Person, Place, World

PATH = "/api/daily-quotas/"
NAME = "nc_user_count"


def ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def day(days: int) -> date:
    return ago(days).date()


def end(world: World, person: Person, role: str, place: Place, at: datetime) -> None:
    """End a grant at a time."""
    with world.database.write(at) as tx:
        held: Any = membership_queries.active_grant(tx, person.id, world.role(role).id, place.id)
        membership_queries.end(tx, held.id, world.staff.id)


def figures(site: Site, caller: Person, scope: str, **parameters: object) -> list[int]:
    query = urlencode({"scope": scope, "quota_names": NAME, **parameters})
    response = site.get(f"{PATH}?{query}", caller)
    assert response.status_code == 200, response.text
    assert set(response.json()) == {NAME}
    found: list[int] = response.json()[NAME]
    return found


def test_members_are_counted_as_they_were_at_the_end_of_each_day(site: Site, world: World) -> None:
    organisation = world.organisation()
    project, other = world.project(organisation), world.project(organisation)
    elsewhere = world.organisation()
    owner, left, guest, twice, gone = (world.person() for _ in range(5))
    world.give_role(owner, "CUSTOMER.OWNER", organisation, now=ago(100))
    world.give_role(gone, "PROJECT.MEMBER", project, now=ago(90))
    end(world, gone, "PROJECT.MEMBER", project, ago(60))
    world.give_role(left, "PROJECT.MEMBER", project, now=ago(5))
    end(world, left, "PROJECT.MEMBER", project, ago(2))
    world.give_role(guest, "PROJECT.MEMBER", other, until=ago(1), now=ago(4))
    # Two roles at a time, one after the other, and one that lasts: one person.
    world.give_role(twice, "PROJECT.MEMBER", project, now=ago(6))
    world.give_role(twice, "PROJECT.MANAGER", project, now=ago(5))
    end(world, twice, "PROJECT.MEMBER", project, ago(4))
    end(world, twice, "PROJECT.MANAGER", project, ago(3))
    world.give_role(twice, "PROJECT.ADMIN", other, now=ago(1))
    world.give_role(left, "CUSTOMER.OWNER", elsewhere, now=ago(50))
    # Nobody who cannot sign in is a member.
    inactive = world.person()
    world.give_role(inactive, "PROJECT.MEMBER", project, now=ago(7))
    path = f"/api/users/{inactive.uuid}/"
    assert site.request("PATCH", path, world.staff, json={"is_active": False}).status_code == 200

    # Days:        7  6  5  4  3  2  1  today
    in_all = [1, 2, 3, 4, 3, 2, 2, 2]
    in_project = [0, 1, 2, 2, 1, 0, 0, 0]
    for caller in (owner, world.staff):
        assert figures(site, caller, organisation.path, start=day(7)) == in_all
        assert figures(site, caller, organisation.uuid, start=day(7), end=day(3)) == in_all[:5]
        assert figures(site, caller, f"http://x{project.path}", start=day(7)) == in_project
        month = figures(site, caller, project.uuid)
        assert month == [0] * 23 + in_project
        # The last day is what the list of organisations says.
        assert in_all[-1] == site.get(organisation.path, caller).json()["users_count"]
    assert figures(site, owner, organisation.path, start=day(61), end=day(59)) == [2, 1, 1]
    assert figures(site, owner, organisation.path, start=day(-1), end=day(-2)) == [2, 2]


def test_outsiders_learn_no_figures(site: Site, world: World) -> None:
    organisation = world.organisation()
    project, other = world.project(organisation), world.project(organisation)
    member, stranger = world.person(), world.person()
    world.give_role(member, "PROJECT.MEMBER", project)
    assert figures(site, member, project.path)[-1] == 1
    assert figures(site, member, organisation.path)[-1] == 1
    for caller, place in ((stranger, project), (stranger, organisation), (member, other)):
        unknown = site.get(f"{PATH}?scope={'1' * 32}", caller)
        assert unknown.status_code == 400
        for reference in (place.uuid, place.path):
            refused = site.get(f"{PATH}?scope={reference}", caller)
            assert (refused.status_code, refused.content) == (400, unknown.content)
    assert site.get(f"{PATH}?scope={project.uuid}").status_code == 401


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_figures_need_a_scope_and_a_year_of_days_at_most(site: Site, world: World) -> None:
    place = world.organisation()
    for query, field in (
        ("", "scope"),
        ("scope=nothing", "scope"),
        (f"scope=/api/users/{world.staff.uuid}/", "scope"),
        (f"scope={place.uuid}&start=yesterday", "start"),
        (f"scope={place.uuid}&end=2026-02-30", "end"),
        (f"scope={place.uuid}&start=2026-02-02&end=2026-02-01", "start"),
        (f"scope={place.uuid}&start=0001-01-01", "start"),
        (f"scope={place.uuid}&end=0001-01-01", ""),
        (f"scope={place.uuid}&start=9999-12-31&end=9999-12-31", ""),
        (f"scope={place.uuid}&start=2025-01-01&end=2026-01-01", ""),
        (f"scope={place.uuid}&start=2025-01-01&end=2026-01-02", "start"),
        (f"scope={place.uuid}&quota_names={','.join(map(str, range(51)))}", "quota_names"),
    ):
        response = site.get(f"{PATH}?{query}", world.staff)
        assert response.status_code == (400 if field else 200), (query, response.text)
        assert list(response.json()) == [field or NAME]
    # What the service does not have is zero on every day.
    names = f"quota_names={NAME}&quota_names=nc_resource_count,os_cpu_count"
    shown = site.get(f"{PATH}?scope={place.uuid}&{names}", world.staff).json()
    assert shown == dict.fromkeys((NAME, "nc_resource_count", "os_cpu_count"), [0] * 31)


def test_figures_need_a_constant_number_of_statements(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = set()
    for size in (2, 12):
        place = world.organisation()
        for at in range(size):
            world.give_role(world.person(), "CUSTOMER.OWNER", place, now=ago(at))
        for days in (3, 300):
            with record_statements(monkeypatch) as statements:
                figures(site, world.staff, place.path, start=day(days))
            counts.add(len(statements))
    assert counts == {5}  # the token, the scope and its permissions, steady members, changes


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_resources_of_a_scope_use_nothing(site: Site, world: World) -> None:
    organisation = world.organisation()
    for place in (organisation, world.project(organisation)):
        for query in ("", "?for_current_month=true&include_terminated=false"):
            response = site.get(f"{place.path}stats/{query}", world.staff)
            assert (response.status_code, response.json()) == (200, {"components": []})


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_syncing_roles_succeeds_and_changes_nothing(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = world.project(world.organisation())
    with record_statements(monkeypatch) as statements:
        response = site.post(f"{project.path}sync_user_roles/", world.staff)
    assert response.status_code == 200
    assert all(statement.startswith("SELECT") for statement in statements)
