"""Limit of e-mails per recipient: 20 a day, from all senders and scopes together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from collegium.accounts.email_changes import actions as email_change_actions
from collegium.db.statements import Statement
from collegium.db.tables import mail_budgets, outbox
from collegium.invitations.mail_budgets import queries as mail_budget_queries
from collegium.refusals import Limited
from collegium.settings import Settings
from collegium.worker.scheduler import Scheduler
from tests.groups.scene import Groups
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, Place, World

ADDRESS = "victim@example.org"
SPELLINGS = (ADDRESS, "Victim@Example.org", "VICTIM@EXAMPLE.ORG")
LIMIT = 20
DAY = timedelta(days=1)


@pytest.fixture
def acme(world: World) -> Place:
    return world.organisation("Acme")


def sender(world: World, acme: Place) -> tuple[Person, Place]:
    """Create a manager with a project."""
    person = world.person()
    project = world.project(acme)
    world.give_role(person, "PROJECT.MANAGER", project)
    return person, project


def invite(
    site: Site, world: World, inviter: Person, place: Place, email: str = ADDRESS
) -> httpx.Response:
    role = world.role("PROJECT.MEMBER").uuid
    body = {"email": email, "scope": f"http://x{place.path}", "role": role}
    return site.post("/api/user-invitations/", inviter, json=body)


def send_times(world: World, email: str = ADDRESS) -> list[datetime]:
    """Return when each e-mail to an address is sent."""
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement[Any](select(outbox)))
    return [row.next_attempt_at for row in rows if row.recipient.lower() == email]


def fill(site: Site, world: World, acme: Place, count: int = LIMIT) -> tuple[Person, Place, str]:
    """Invite the address from many senders and scopes; return the last of both and the UUID."""
    for index in range(count):
        manager, project = sender(world, acme)
        spelling = SPELLINGS[index % len(SPELLINGS)]
        response = invite(site, world, manager, project, spelling)
        assert response.status_code == 201, response.text
    return manager, project, response.json()["uuid"]


def assert_refused(response: httpx.Response) -> None:
    assert response.status_code == 429, response.text
    seconds = int(response.headers["retry-after"])
    assert 0 < seconds <= DAY.total_seconds()
    assert response.json()["detail"] == (
        "This address has got too many e-mails today. "
        f"Expected available in {seconds} {'second' if seconds == 1 else 'seconds'}."
    )


def test_twenty_first_email_of_a_day_to_an_address_is_refused(
    site: Site, world: World, acme: Place
) -> None:
    _, _, last = fill(site, world, acme)
    manager, project = sender(world, acme)
    for spelling in SPELLINGS:
        assert_refused(invite(site, world, manager, project, spelling))
    assert len(send_times(world)) == LIMIT
    assert site.get("/api/user-invitations/", manager).json() == []
    # Another address can be invited, and an invitation can still be cancelled.
    assert invite(site, world, manager, project, "other@example.org").status_code == 201
    assert site.post(f"/api/user-invitations/{last}/cancel/", world.staff).status_code == 200


def test_resending_counts_and_is_refused(site: Site, world: World, acme: Place) -> None:
    manager, _, last = fill(site, world, acme, LIMIT - 2)
    path = f"/api/user-invitations/{last}/"
    for action in ("send", "cancel", "send"):
        assert site.post(f"{path}{action}/", manager).status_code == 200
    assert_refused(site.post(f"{path}send/", manager))
    assert site.get(path, manager).json()["state"] == "pending"
    assert len(send_times(world)) == LIMIT


def test_staff_are_not_limited_but_their_emails_count(
    site: Site, world: World, acme: Place
) -> None:
    project = world.project(acme)
    for _ in range(LIMIT + 2):
        assert invite(site, world, world.staff, project).status_code == 201
    assert_refused(invite(site, world, *sender(world, acme)))


def test_address_can_be_mailed_again_after_a_day(site: Site, world: World, acme: Place) -> None:
    manager, project, _ = fill(site, world, acme)
    now = datetime.now(UTC)
    with pytest.raises(Limited):
        world.invite(manager, ADDRESS, "PROJECT.MEMBER", project, now + timedelta(hours=23))
    next_day = now + DAY + timedelta(minutes=10)
    world.invite(manager, ADDRESS, "PROJECT.MEMBER", project, next_day)


def test_accepting_with_the_address_lifts_the_limit(site: Site, world: World, acme: Place) -> None:
    *_, last = fill(site, world, acme)
    first = str(site.get("/api/user-invitations/", world.staff).json()[-1]["uuid"])
    manager, project = sender(world, acme)
    for uuid, person, lifts in (
        (first, world.person("other"), False),
        (last, world.person("victim", email=ADDRESS), True),
    ):
        assert site.post(f"/api/user-invitations/{uuid}/accept/", person).status_code == 200
        if not lifts:
            assert_refused(invite(site, world, manager, project))
    for _ in range(3):
        assert invite(site, world, manager, project).status_code == 201


def test_pasted_list_names_the_address_over_its_limit(
    site: Site, world: World, acme: Place
) -> None:
    fill(site, world, acme)
    manager, project = sender(world, acme)
    browser = Browser(site).sign_in(world, manager)
    path = f"/project/{project.uuid}/invite/"
    browser.open(path)
    role = world.role("PROJECT.MEMBER").uuid
    addresses = f"ann@example.org\n{ADDRESS}\nben@example.org"
    page = text(browser.send(path, action="send", addresses=addresses, role=role, extra_text=""))
    assert "2 people invited" in page
    assert "This address has got too many e-mails today. You can send the next one in" in page
    rows = site.get("/api/user-invitations/", manager).json()
    assert {row["email"] for row in rows} == {"ann@example.org", "ben@example.org"}


def test_group_invitations_count_toward_the_same_limit(
    site: Site, world: World, acme: Place
) -> None:
    groups, invitee = Groups(world, site), world.person("victim", email=ADDRESS)
    fill(site, world, acme, LIMIT - 1)
    olga = world.person("olga")
    group = groups.create(olga)
    groups.invite(group, olga, invitee)
    other = groups.create(olga, "Another")
    body: dict[str, Any] = {"users": {ADDRESS: {}, world.person("ann").email: {}}}
    response = groups.call("PATCH", olga, "group", other, json=body)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 0
    assert f"{ADDRESS} has got too many e-mails today." in response.text
    listed = groups.get(olga, "invitation").json()
    assert listed["count"] == 1
    path = f"/group/{group}/team/invitations/"
    browser = Browser(site).sign_in(world, olga)
    browser.open(path)
    uuid = listed["group_membership_invitations"][0]["id"]
    response = browser.send(f"{path}{uuid}/", action="send")
    assert response.status_code == 429
    assert "has got too many e-mails today" in text(response)


def test_email_change_confirmations_count_toward_the_same_limit(
    site: Site, world: World, acme: Place
) -> None:
    fill(site, world, acme, LIMIT - 1)
    first, second = world.person("first"), world.person("second")
    with world.database.write() as tx:
        email_change_actions.request_change(
            tx, world.staff.actor, world.settings, world.vault, first.uuid, ADDRESS
        )
    path = f"/api/users/{second.uuid}/change_email/"
    assert_refused(site.post(path, second, json={"email": "Victim@example.org"}))
    assert_refused(invite(site, world, *sender(world, acme)))


def midnight_tomorrow() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + DAY


def test_reminders_and_released_invitations_are_postponed(
    make_settings: Callable[..., Settings], world: World, acme: Place
) -> None:
    world.settings = make_settings(recipient_mail_limit="3")
    manager, project = sender(world, acme)
    start = midnight_tomorrow()
    for index in range(5):
        later = world.project(acme, f"Later {index}", start_date=start.date())
        world.give_role(manager, "PROJECT.MANAGER", later)
        world.invite(manager, ADDRESS, "PROJECT.MEMBER", later)
    assert send_times(world) == []
    Scheduler(world.database, world.settings, lambda: start).run()
    assert sorted(send_times(world)) == [start] * 3 + [start + DAY] * 2
    with pytest.raises(Limited):
        world.invite(manager, ADDRESS, "PROJECT.MEMBER", project, start + timedelta(hours=1))
    # Reminders count as well.
    end = start + timedelta(days=6, minutes=1)
    Scheduler(world.database, world.settings, lambda: end).run()
    times = sorted(send_times(world))
    assert len(times) == 10
    for last in times:
        assert sum(last - DAY < other <= last for other in times) <= 3


def test_scheduled_invitations_use_up_the_limit_only_for_their_lifetime(
    make_settings: Callable[..., Settings], world: World, acme: Place
) -> None:
    world.settings = make_settings(recipient_mail_limit="3", invitation_lifetime="3d")
    start = midnight_tomorrow()
    later = world.project(acme, "Later", start_date=start.date())
    manager, _ = sender(world, acme)
    world.give_role(manager, "PROJECT.MANAGER", later)
    for _ in range(30):
        world.invite(manager, ADDRESS, "PROJECT.MEMBER", later)
    Scheduler(world.database, world.settings, lambda: start).run()
    other, project = sender(world, acme)
    with pytest.raises(Limited) as refusal:
        world.invite(other, ADDRESS, "PROJECT.MEMBER", project, start + timedelta(hours=1))
    assert int(str(refusal.value.facts["seconds"])) < 3 * DAY.total_seconds()
    world.invite(other, ADDRESS, "PROJECT.MEMBER", project, start + 3 * DAY)


def budgets(world: World) -> list[Any]:
    with world.database.read() as tx:
        return tx.fetch_all(Statement[Any](select(mail_budgets)))


def test_mail_budget_is_off_without_rate_limits(
    make_settings: Callable[..., Settings], world: World, acme: Place
) -> None:
    world.settings = make_settings(rate_limits="false")
    manager, project = sender(world, acme)
    for _ in range(LIMIT + 1):
        world.invite(manager, ADDRESS, "PROJECT.MEMBER", project)
    assert budgets(world) == []


def test_past_mail_budgets_are_purged(world: World, acme: Place) -> None:
    manager, project = sender(world, acme)
    two_days_ago = datetime.now(UTC) - 2 * DAY
    world.invite(manager, ADDRESS, "PROJECT.MEMBER", project, two_days_ago)
    world.invite(manager, "new@example.org", "PROJECT.MEMBER", project)
    with world.database.write() as tx:
        mail_budget_queries.purge(tx)
    assert len(budgets(world)) == 1
