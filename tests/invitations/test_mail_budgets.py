"""One address is mailed 20 times a day by invitations, whoever sends them; then senders wait."""

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

VICTIM = "victim@example.org"
SPELLINGS = (VICTIM, "Victim@Example.org", "VICTIM@EXAMPLE.ORG")
LIMIT = 20
DAY = timedelta(days=1)


@pytest.fixture
def acme(world: World) -> Place:
    return world.organisation("Acme")


def sender(world: World, acme: Place) -> tuple[Person, Place]:
    """A manager of a project of their own."""
    person = world.person()
    project = world.project(acme)
    world.seat(person, "PROJECT.MANAGER", project)
    return person, project


def invite(
    site: Site, world: World, who: Person, place: Place, email: str = VICTIM
) -> httpx.Response:
    role = world.role("PROJECT.MEMBER").uuid
    body = {"email": email, "scope": f"http://x{place.path}", "role": role}
    return site.post("/api/user-invitations/", who, json=body)


def mailed(world: World, email: str = VICTIM) -> list[datetime]:
    """When mails go to an address."""
    with world.database.read() as tx:
        rows = tx.fetch_all(
            Statement(select(outbox.c.recipient, outbox.c.next_attempt_at, outbox.c.kind))
        )
    return [row.next_attempt_at for row in rows if row.recipient.lower() == email]


def fill(site: Site, world: World, acme: Place, many: int = LIMIT) -> tuple[Person, Place, str]:
    """Mail the address from many senders and scopes, in all its spellings; return the last one."""
    for turn in range(many):
        who, place = sender(world, acme)
        answer = invite(site, world, who, place, SPELLINGS[turn % len(SPELLINGS)])
        assert answer.status_code == 201, answer.text
    return who, place, answer.json()["uuid"]


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 429, answer.text
    seconds = int(answer.headers["retry-after"])
    assert 0 < seconds <= DAY.total_seconds()
    assert answer.json()["detail"] == (
        "This address has got too many e-mails today. "
        f"Expected available in {seconds} {'second' if seconds == 1 else 'seconds'}."
    )


def test_the_twenty_first_mail_of_a_day_to_an_address_is_refused_whoever_sends_it(
    site: Site, world: World, acme: Place
) -> None:
    _, _, last = fill(site, world, acme)
    who, place = sender(world, acme)
    for email in SPELLINGS:
        assert_refused(invite(site, world, who, place, email))
    assert len(mailed(world)) == LIMIT
    # Nothing of it is there, and another address is mailed.
    assert site.get("/api/user-invitations/", who).json() == []
    assert invite(site, world, who, place, "other@example.org").status_code == 201
    # Sending again is a mail too; calling back is none.
    owner = world.staff
    path = f"/api/user-invitations/{last}/"
    assert site.post(f"{path}cancel/", owner).status_code == 200


def test_sending_again_counts_and_is_refused(site: Site, world: World, acme: Place) -> None:
    who, _, last = fill(site, world, acme, LIMIT - 2)
    path = f"/api/user-invitations/{last}/"
    assert site.post(f"{path}send/", who).status_code == 200
    assert site.post(f"{path}cancel/", who).status_code == 200
    assert site.post(f"{path}send/", who).status_code == 200
    assert_refused(site.post(f"{path}send/", who))
    assert site.get(path, who).json()["state"] == "pending"
    assert len(mailed(world)) == LIMIT


def test_staff_are_not_refused_and_their_mails_count(site: Site, world: World, acme: Place) -> None:
    project = world.project(acme)
    for _ in range(LIMIT + 2):
        assert invite(site, world, world.staff, project).status_code == 201
    who, place = sender(world, acme)
    assert_refused(invite(site, world, who, place))


def test_after_a_day_an_address_can_be_mailed_again(site: Site, world: World, acme: Place) -> None:
    who, place, _ = fill(site, world, acme)
    now = datetime.now(UTC)
    for later, many in ((DAY - timedelta(hours=1), 0), (DAY + timedelta(minutes=10), 1)):
        if many:
            world.invite(who, VICTIM, "PROJECT.MEMBER", place, now + later)
            continue
        with pytest.raises(Limited):
            world.invite(who, VICTIM, "PROJECT.MEMBER", place, now + later)


def test_whoever_accepts_can_be_invited_on(site: Site, world: World, acme: Place) -> None:
    *_, last = fill(site, world, acme)
    victim = world.person("victim", email=VICTIM)
    # Somebody else who accepts says nothing of the address.
    other = world.person("other")
    who, place = sender(world, acme)
    first = str(site.get("/api/user-invitations/", world.staff).json()[-1]["uuid"])
    assert site.post(f"/api/user-invitations/{first}/accept/", other).status_code == 200
    assert_refused(invite(site, world, who, place))
    assert site.post(f"/api/user-invitations/{last}/accept/", victim).status_code == 200
    for _ in range(3):
        assert invite(site, world, who, place).status_code == 201


def test_a_list_of_addresses_says_which_one_was_mailed_too_often(
    site: Site, world: World, acme: Place
) -> None:
    fill(site, world, acme)
    who, place = sender(world, acme)
    browser = Browser(site).sign_in(world, who)
    here = f"/project/{place.uuid}/invite/"
    browser.open(here)
    role = world.role("PROJECT.MEMBER").uuid
    pasted = f"ann@example.org\n{VICTIM}\nben@example.org"
    said = text(browser.send(here, action="send", addresses=pasted, role=role, extra_text=""))
    assert "2 people invited" in said
    assert "This address has got too many e-mails today. You can send the next one in" in said
    assert {one["email"] for one in site.get("/api/user-invitations/", who).json()} == {
        "ann@example.org",
        "ben@example.org",
    }


def test_invitations_to_groups_count_with_the_others(site: Site, world: World, acme: Place) -> None:
    groups, victim = Groups(world, site), world.person("victim", email=VICTIM)
    fill(site, world, acme, LIMIT - 1)
    olga = world.person("olga")
    group = groups.found(olga)
    groups.invite(group, olga, victim)
    other = groups.found(olga, "Another")
    body: dict[str, Any] = {"users": {VICTIM: {}, world.person("ann").email: {}}}
    refused = groups.call("PATCH", olga, "group", other, json=body)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert f"{VICTIM} has got too many e-mails today." in refused.text
    assert groups.get(olga, "invitation").json()["count"] == 1
    browser = Browser(site).sign_in(world, olga)
    browser.open(f"/group/{group}/team/invitations/")
    uuid = groups.get(olga, "invitation").json()["group_membership_invitations"][0]["id"]
    again = browser.send(f"/group/{group}/team/invitations/{uuid}/", action="send")
    assert again.status_code == 429
    assert "has got too many e-mails today" in text(again)


def test_asking_to_confirm_an_address_counts_with_the_others(
    site: Site, world: World, acme: Place
) -> None:
    fill(site, world, acme, LIMIT - 1)
    asker, later = world.person("asker"), world.person("later")
    with world.database.write() as tx:
        email_change_actions.request_change(
            tx, world.staff.actor, world.settings, world.vault, asker.uuid, VICTIM
        )
    path = f"/api/users/{later.uuid}/change_email/"
    assert_refused(site.post(path, later, json={"email": "Victim@example.org"}))
    who, place = sender(world, acme)
    assert_refused(invite(site, world, who, place))


def test_reminders_and_released_invitations_wait_for_their_turn(
    make_settings: Callable[..., Settings], world: World, acme: Place
) -> None:
    world.settings = make_settings(recipient_mail_limit="3")
    now = datetime.now(UTC)
    who, project = sender(world, acme)
    tomorrow = now.date() + timedelta(days=1)
    held = [world.project(acme, f"Later {turn}", start_date=tomorrow) for turn in range(5)]
    for one in held:
        world.seat(who, "PROJECT.MANAGER", one)
        world.invite(who, VICTIM, "PROJECT.MEMBER", one)
    assert mailed(world) == []
    start = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=UTC)
    Scheduler(world.database, world.settings, lambda: start).run()
    assert sorted(mailed(world)) == [start] * 3 + [start + DAY] * 2
    with pytest.raises(Limited):
        world.invite(who, VICTIM, "PROJECT.MEMBER", project, start + timedelta(hours=1))
    # A reminder is a mail like any other.
    end = start + timedelta(days=6, minutes=1)
    Scheduler(world.database, world.settings, lambda: end).run()
    times = sorted(mailed(world))
    assert len(times) == 10
    for last in times:
        assert sum(last - DAY < other <= last for other in times) <= 3


def test_invitations_that_wait_for_a_project_keep_no_address_for_longer_than_they_live(
    make_settings: Callable[..., Settings], world: World, acme: Place
) -> None:
    world.settings = make_settings(recipient_mail_limit="3", invitation_lifetime="3d")
    now = datetime.now(UTC)
    tomorrow = now.date() + timedelta(days=1)
    later = world.project(acme, "Later", start_date=tomorrow)
    who, project = sender(world, acme)
    world.seat(who, "PROJECT.MANAGER", later)
    for _ in range(30):
        world.invite(who, VICTIM, "PROJECT.MEMBER", later)
    start = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=UTC)
    Scheduler(world.database, world.settings, lambda: start).run()
    other, place = sender(world, acme)
    with pytest.raises(Limited) as refused:
        world.invite(other, VICTIM, "PROJECT.MEMBER", place, start + timedelta(hours=1))
    assert int(str(refused.value.facts["seconds"])) < 3 * DAY.total_seconds()
    world.invite(other, VICTIM, "PROJECT.MEMBER", place, start + 3 * DAY)
    assert project.id


def test_without_rate_limits_there_is_no_budget(
    make_settings: Callable[..., Settings], world: World, acme: Place
) -> None:
    world.settings = make_settings(rate_limits="false")
    who, place = sender(world, acme)
    for _ in range(LIMIT + 1):
        world.invite(who, VICTIM, "PROJECT.MEMBER", place)
    with world.database.read() as tx:
        assert tx.fetch_all(Statement(select(mail_budgets))) == []


def test_what_is_over_is_deleted(world: World, acme: Place) -> None:
    who, place = sender(world, acme)
    world.invite(who, VICTIM, "PROJECT.MEMBER", place, datetime.now(UTC) - 2 * DAY)
    world.invite(who, "new@example.org", "PROJECT.MEMBER", place)
    with world.database.write() as tx:
        mail_budget_queries.purge(tx)
    with world.database.read() as tx:
        assert len(tx.fetch_all(Statement(select(mail_budgets)))) == 1
