"""Reviews of roles: opened at an interval, mailed, closed with a record of what was looked at."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from collegium.access.rules import Permission
from collegium.refusals import Conflict
from collegium.reviews import actions as review_actions
from collegium.reviews import queries as review_queries
from collegium.settings import Settings
from collegium.worker.scheduler import Scheduler
from collegium.worker.worker import Worker
from tests.access.test_visibility import add_role
from tests.groups.scene import Groups
from tests.support.browser import Browser, text
from tests.support.mails import mail_text
from tests.support.site import Site
from tests.support.world import Person, Place, World
from tests.worker.scene import Clock, Recorder

CUSTOMERS = "/api/customer-permissions-reviews/"
PROJECTS = "/api/project-permissions-reviews/"
INTERVAL = timedelta(days=365)
KIND = "role_reviews_pending"
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(review_interval="365d")


class Year:
    """An organisation with a project, whose worker sees the time pass."""

    def __init__(self, world: World, settings: Settings) -> None:
        self.world, self.settings = world, settings
        self.clock = Clock(datetime.now(UTC))
        self.owner = world.person("owner")
        self.manager = world.person("manager")
        self.member = world.person("member")
        self.organisation = world.organisation("Royal Society", owner=self.owner)
        self.project = world.project(self.organisation, "Analytical Engines")
        world.give_role(self.manager, "PROJECT.MANAGER", self.project)
        world.give_role(self.member, "PROJECT.MEMBER", self.project)
        self.recorder = Recorder()
        self.worker = Worker(world.database, settings, world.vault, self.recorder, clock=self.clock)

    def pass_days(self, days: float) -> list[EmailMessage]:
        """Let time pass; return the e-mails about reviews."""
        self.clock.forward(days=days)
        self.worker.once()
        # E-mails wait for an hour, so that one of them lists all reviews.
        self.clock.forward(hours=1.1)
        self.recorder.sent.clear()
        self.worker.once()
        return [mail for mail in self.recorder.sent if mail["X-Collegium-Mail"] == KIND]

    def pending(self, place: Place) -> str:
        """Return the UUID of the pending review of a scope; empty if there is none."""
        with self.world.database.read() as tx:
            rows = review_queries.of_scope.page(
                tx, self.world.staff.actor, {"scope": place.id}, (), 50, 0
            )
        return next((row.uuid for row in rows if row.is_pending), "")

    def close(self, person: Person, uuid: str, seen: str | None = None) -> None:
        with self.world.database.write(self.clock()) as tx:
            review_actions.close(tx, person.actor, uuid, seen=seen)


@pytest.fixture
def year(world: World, settings: Settings) -> Year:
    return Year(world, settings)


def receivers(mails: list[EmailMessage]) -> list[str]:
    return sorted(str(mail["To"]).partition("@")[0] for mail in mails)


def test_review_is_opened_at_the_interval_and_again_after_it_was_closed(year: Year) -> None:
    assert year.pass_days(364) == []
    assert not year.pending(year.project)
    mails = year.pass_days(1)
    # One e-mail for each person who can close one, whatever their number.
    assert receivers(mails) == ["manager", "owner"]
    (to_owner,) = (mail for mail in mails if "owner" in str(mail["To"]))
    assert "organisation Royal Society" in mail_text(to_owner)
    assert "project Analytical Engines of Royal Society" in mail_text(to_owner)
    assert "/reviews/" in mail_text(to_owner)
    (to_manager,) = (mail for mail in mails if mail is not to_owner)
    assert "organisation Royal Society," not in mail_text(to_manager)
    uuid = year.pending(year.project)
    # Nothing is opened twice, and those who do nothing are reminded.
    assert year.pass_days(13) == []
    assert receivers(year.pass_days(1)) == ["manager", "owner"]
    assert year.pending(year.project) == uuid
    year.close(year.manager, uuid)
    assert receivers(year.pass_days(15)) == ["owner"]
    year.close(year.owner, year.pending(year.organisation))
    # The interval begins when the review is closed.
    assert year.pass_days(349) == []
    assert not year.pending(year.project)
    assert receivers(year.pass_days(2)) == ["manager", "owner"]
    assert year.pending(year.project) not in {"", uuid}


def test_two_workers_open_one_review(year: Year) -> None:
    year.clock.forward(days=366)
    with year.world.database.write(year.clock()) as tx:
        assert review_actions.open_review(tx, year.project.id, INTERVAL)
        assert not review_actions.open_review(tx, year.project.id, INTERVAL)
    with year.world.database.read() as tx:
        assert review_queries.due(tx, INTERVAL, 10) == []


@sqlite_only
def test_scope_without_members_and_a_deleted_one_are_not_reviewed(year: Year, site: Site) -> None:
    world = year.world
    empty = world.project(year.organisation, "Empty")
    deleted = world.project(year.organisation, "Deleted")
    world.give_role(year.member, "PROJECT.MEMBER", deleted)
    year.pass_days(364)
    assert site.request("DELETE", deleted.path, world.staff).status_code == 204
    year.pass_days(2)
    assert year.pending(year.project)
    assert not year.pending(empty)
    assert not year.pending(deleted)


@sqlite_only
def test_no_review_is_opened_without_the_setting(
    world: World, make_settings: Callable[..., Settings]
) -> None:
    year = Year(world, make_settings())
    assert year.pass_days(4000) == []
    assert not year.pending(year.project)


@sqlite_only
def test_schedule_looks_for_reviews_once_an_hour(
    year: Year, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[datetime] = []
    due = review_queries.due

    def counted(*arguments: Any) -> list[int]:
        looks.append(year.clock())
        return due(*arguments)

    monkeypatch.setattr(review_queries, "due", counted)
    scheduler = Scheduler(year.world.database, year.settings, year.clock)
    for _ in range(12):
        scheduler.run()
        year.clock.forward(minutes=10)
    assert len(looks) == 2
    # All that is due is opened at once, in batches.
    monkeypatch.setattr("collegium.worker.scheduler._BATCH", 1)
    year.clock.forward(days=366)
    assert scheduler.run() == 2


def test_closing_records_which_roles_were_looked_at(
    year: Year, site: Site, browser: Browser
) -> None:
    world = year.world
    world.give_role(
        year.member, "PROJECT.ADMIN", year.project, datetime.now(UTC) + timedelta(days=900)
    )
    year.pass_days(366)
    uuid = year.pending(year.project)
    path = f"/project/{year.project.uuid}/reviews/{uuid}/"
    browser.sign_in(world, year.manager)
    listed = text(browser.open("/account/reviews/"))
    assert "Analytical Engines" in listed
    assert "1 pending review that you can close" in listed
    page = browser.open(path)
    assert "3 roles" in text(page)
    seen = re.search(r'name="seen" value="(\w+)"', page.text)
    assert seen
    # Somebody gets a role while the manager looks.
    late = world.person("late")
    world.give_role(late, "PROJECT.MEMBER", year.project)
    refused = browser.send(path, seen=seen[1])
    assert refused.status_code == 422
    assert "have changed while you were looking" in text(refused)
    assert "4 roles" in text(refused)
    seen = re.search(r'name="seen" value="(\w+)"', refused.text)
    assert seen
    done = browser.follow(browser.send(path, seen=seen[1]))
    assert "The review is closed" in text(done)
    # Later changes do not change what was looked at.
    world.remove_role(late, "PROJECT.MEMBER", year.project)
    shown = text(browser.open(path))
    assert "4 roles" in shown
    assert "Manager Lee closed this review" in shown
    # Of somebody who has left, the manager knows the user name alone.
    assert "late Project member" in shown
    assert late.email not in shown
    assert year.member.email in shown
    browser.sign_in(world, world.staff)
    assert late.email in text(browser.open(path))
    browser.sign_in(world, year.manager)
    assert "No review is pending" in text(browser.open("/account/reviews/"))
    history = text(browser.open(f"/project/{year.project.uuid}/history/"))
    assert "reviewed the roles of the members." in history
    (event,) = site.get("/api/events/?event_type=review_closed", world.staff).json()
    assert event["context"]["reviewed_roles"] == "4"
    assert event["context"]["review_uuid"] == uuid
    shown = site.get(f"{PROJECTS}{uuid}/", year.owner).json()
    assert shown["reviewer_uuid"] == year.manager.uuid
    assert shown["is_pending"] is False


def test_review_is_closed_once(year: Year, site: Site) -> None:
    year.pass_days(366)
    uuid = year.pending(year.project)
    path = f"{PROJECTS}{uuid}/close/"
    assert site.post(path, year.manager).status_code == 200
    again = site.post(path, year.owner)
    assert (again.status_code, again.json()) == (
        400,
        {"detail": "The review is already closed."},
    )
    with pytest.raises(Conflict, match=r"review\.closed"):
        year.close(year.owner, uuid, seen="0" * 16)
    assert site.get(f"{PROJECTS}{uuid}/", year.owner).json()["reviewer_uuid"] == year.manager.uuid


def test_lists_have_the_fields_filters_and_orders_of_the_client(year: Year, site: Site) -> None:
    year.pass_days(366)
    site.post(f"{PROJECTS}{year.pending(year.project)}/close/", year.manager)
    year.clock.forward(days=400)
    year.worker.once()
    pending = year.pending(year.project)
    new, old = site.get(PROJECTS, year.owner).json()
    assert (new["uuid"], new["is_pending"], new["closed"]) == (pending, True, None)
    assert (new["reviewer_uuid"], new["reviewer_full_name"]) == (None, None)
    assert new["project_uuid"] == year.project.uuid
    assert new["project_name"] == "Analytical Engines"
    assert old["reviewer_full_name"] == year.manager.actor.name
    (organisation,) = site.get(CUSTOMERS, year.owner).json()
    assert organisation.keys() ^ new.keys() == {
        *("customer_uuid", "customer_name", "project_uuid", "project_name")
    }
    for query, expected in (
        ("is_pending=true", [new]),
        ("is_pending=false", [old]),
        (f"reviewer_uuid={year.manager.uuid}", [old]),
        (f"reviewer_uuid={year.owner.uuid}", []),
        (f"project_uuid={year.project.uuid}", [new, old]),
        (f"project_uuid={year.organisation.uuid}", []),
        ("closed=2000-01-01T00:00:00Z", [old]),
        ("closed=2999-01-01T00:00:00Z", []),
        ("o=created", [old, new]),
        ("o=-created", [new, old]),
        ("o=closed&is_pending=false", [old]),
    ):
        assert site.get(f"{PROJECTS}?{query}", year.owner).json() == expected, query
        head = site.request("HEAD", f"{PROJECTS}?{query}", year.owner)
        assert head.headers["X-Result-Count"] == str(len(expected))
    query = f"?customer_uuid={year.organisation.uuid}"
    assert site.get(f"{CUSTOMERS}{query}", year.world.staff).json() == [organisation]
    # A review has one list.
    assert site.get(f"{CUSTOMERS}{pending}/", year.owner).status_code == 404
    assert site.post(f"{CUSTOMERS}{pending}/close/", year.owner).status_code == 404
    assert site.get(f"{PROJECTS}?is_pending=x&closed=x", year.owner).status_code == 400


@sqlite_only
def test_permission_to_list_reviews_reads_them_and_closes_none(year: Year, site: Site) -> None:
    world = year.world
    reader = world.person("reader")
    with world.database.write() as tx:
        needed = (Permission.ORGANISATION_REVIEWS,)
        add_role(tx, "CUSTOM.REVIEWS", year.organisation.kind, needed)
    world.give_role(reader, "CUSTOM.REVIEWS", year.organisation)
    assert receivers(year.pass_days(366)) == ["manager", "owner"]
    for path, place in ((CUSTOMERS, year.organisation), (PROJECTS, year.project)):
        one = f"{path}{year.pending(place)}/"
        assert site.get(one, reader).status_code == 200
        assert site.post(f"{one}close/", reader).status_code == 403
        assert site.get(one, year.member).status_code == 404
        assert site.post(f"{one}close/", year.member).status_code == 404


@sqlite_only
def test_group_is_reviewed_on_its_pages(year: Year, site: Site, browser: Browser) -> None:
    groups = Groups(year.world, site)
    lead = year.world.person("lead")
    number = groups.create(lead)
    assert "lead" in receivers(year.pass_days(366))
    browser.sign_in(year.world, lead)
    page = browser.open("/account/reviews/")
    link = re.search(rf'href="(/group/{number}/team/reviews/\w+/)"', page.text)
    assert link
    page = browser.open(link[1])
    seen = re.search(r'name="seen" value="(\w+)"', page.text)
    assert seen
    assert "is closed" in text(browser.follow(browser.send(link[1], seen=seen[1])))
    assert site.get(PROJECTS, year.world.staff).json() != []
