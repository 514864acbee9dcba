"""Numbers about accounts, complete profiles, and the removal of passwords."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from collegium.settings import Settings
from tests.accounts.test_api import events_of, row_of
from tests.support.site import Site
from tests.support.world import World

PATH = "/api/users/"


def counts(site: Site, world: World, name: str, query: str = "") -> dict[str, int]:
    """Return the numbers by their values, and check their order and the header."""
    path = f"{PATH}{name}/?{query}"
    answer = site.get(path, world.staff)
    rows = [tuple(row.values()) for row in answer.json()]
    head = site.request("HEAD", path, world.staff)
    assert answer.headers["X-Result-Count"] == head.headers["X-Result-Count"] == str(len(rows))
    return dict(rows)


def test_staff_count_accounts_by_state_language_and_month(site: Site, world: World) -> None:
    moment = datetime(2024, 2, 29, 23, 59, tzinfo=UTC)
    world.person("ada", preferred_language="et", joined_at=moment)
    world.person("bob", preferred_language="et", is_active=False)
    this_month = datetime.now(UTC).strftime("%Y-%m")
    assert counts(site, world, "user_active_status_count") == {"active": 2, "inactive": 1}
    assert counts(site, world, "user_language_count") == {"": 1, "et": 2}
    months = counts(site, world, "user_registration_trend")
    assert list(months.items()) == [("2024-02", 1), (this_month, 2)]
    # The filters of the list of accounts narrow what is counted.
    assert counts(site, world, "user_language_count", "is_active=true") == {"": 1, "et": 1}
    assert counts(site, world, "user_active_status_count", "query=ada") == {"active": 1}
    assert counts(site, world, "user_registration_trend", "username=nobody") == {}
    wrong = site.get(f"{PATH}user_language_count/?customer_uuid=x", world.staff)
    assert wrong.status_code == 400


def test_dashboard_counts_only_what_waits_and_what_the_caller_sees(
    site: Site, world: World
) -> None:
    owner, asker = world.person("owner"), world.person("asker")
    organisation = world.organisation(owner=owner)
    project = world.project(organisation)
    world.invite(owner, "guest@example.org", "PROJECT.MEMBER", project)
    world.ask(asker, world.create_link(owner, "PROJECT.MEMBER", project))
    path = f"{PATH}dashboard-general-stats/"
    waiting = {
        "pending_permission_requests": 1,
        "active_invitations": 1,
        "pending_onboarding_applications": 0,
    }
    assert site.get(path, owner).json() == waiting
    assert site.get(path, world.person()).json() == dict.fromkeys(waiting, 0)


def test_profile_is_complete_when_each_mandatory_field_has_a_value(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    names = "first_name,full_name,phone_number,nationalities,unknown,password"
    site = make_site(make_settings(user_mandatory_fields=names))
    values: dict[str, Any] = {"first_name": "Ada", "last_name": "", "nationalities": []}
    ada = world.person("ada", **values)
    shown = site.get(f"{PATH}profile_completeness/", ada)
    mandatory = ["first_name", "full_name", "phone_number", "nationalities"]
    assert shown.json() == {
        "is_complete": False,
        "missing_fields": ["phone_number", "nationalities"],
        "mandatory_fields": mandatory,
        "enforcement_enabled": False,
    }
    assert shown.headers["X-Result-Count"] == "1"
    assert site.get(f"{PATH}me/", ada).json()["profile_completeness"] == shown.json()
    assert "profile_completeness" not in site.get(f"{PATH}{ada.uuid}/", ada).json()
    bob = world.person("bob", phone_number="1", nationalities=["EE"], first_name="Bob")
    assert site.get(f"{PATH}profile_completeness/", bob).json()["is_complete"] is True


def test_removed_password_signs_the_person_out_and_leaves_no_way_in_with_it(
    site: Site, world: World
) -> None:
    ada = world.person("ada", password="a hash")
    path = f"{PATH}{ada.uuid}/"
    assert site.get(path, ada).json()["has_usable_password"] is True
    version = row_of(world, ada).credentials_version
    for _ in range(2):
        assert site.post(f"{path}remove_password/", world.staff).status_code == 200
    assert site.get(path, ada).status_code == 401
    assert site.get(path, world.staff).json()["has_usable_password"] is False
    assert row_of(world, ada).credentials_version == version + 1
    # The second request found nothing to remove.
    (event,) = events_of(world.database, "account.password_removed")
    assert (event.actor_id, event.account_id) == (world.staff.id, ada.id)
