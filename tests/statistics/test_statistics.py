"""Statistics with numbers that were counted by hand, and who keeps them up to date."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from sqlalchemy import bindparam, update

from collegium.db.statements import Statement
from collegium.db.tables import accounts, invitations, organisations, site_statistics
from collegium.invitations import actions as invitation_actions
from collegium.memberships import history
from collegium.settings import Settings
from collegium.statistics import queries, rules
from collegium.worker.scheduler import Scheduler
from tests.memberships.test_history import end
from tests.support.browser import Browser, text
from tests.support.world import Person, Place, World

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false", role_notifications="false")


def at(month: int, day: int, hour: int = 0) -> datetime:
    """Return a time in the twelve months until March 2026."""
    return datetime(2026 if month <= 3 else 2025, month, day, hour, tzinfo=UTC)


def deactivate(world: World, person: Person) -> None:
    with world.database.write() as tx:
        inactive = update(accounts).where(accounts.c.id == bindparam("account"))
        tx.execute(Statement(inactive.values(is_active=False)), account=person.id)


class Institute:
    """An organisation with two projects, and another organisation."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.organisation, self.elsewhere = world.organisation("Tides"), world.organisation("Else")
        self.first, self.second = (world.project(self.organisation) for _ in range(2))
        self.owner = world.person("owner")
        self.give(
            self.owner, "CUSTOMER.OWNER", self.organisation, datetime(2025, 1, 10, tzinfo=UTC)
        )

    def give(
        self,
        person: Person,
        role: str,
        place: Place,
        since: datetime,
        until: datetime | None = None,
    ) -> None:
        self.world.give_role(person, role, place, until, now=since)

    def add_members(self) -> None:
        give, first = self.give, self.first
        left, guest, twice, inactive, other, ending = (self.world.person() for _ in range(6))
        # In UTC it is still June.
        give(left, "PROJECT.MEMBER", first, datetime(2025, 7, 1, 1, tzinfo=timezone(2 * HOUR)))
        end(self.world, left, "PROJECT.MEMBER", first, at(9, 1, 1))
        give(
            guest, "PROJECT.MEMBER", self.second, at(12, 31), until=at(2, 1) - timedelta(seconds=1)
        )
        # Two roles at a time are one member; removed and added again later.
        give(twice, "PROJECT.MEMBER", first, at(5, 5))
        give(twice, "PROJECT.MANAGER", self.second, at(6, 6))
        end(self.world, twice, "PROJECT.MEMBER", first, at(7, 7))
        end(self.world, twice, "PROJECT.MANAGER", self.second, at(10, 10))
        give(twice, "PROJECT.MEMBER", first, at(12, 12))
        give(inactive, "PROJECT.MEMBER", first, at(5, 5), until=at(3, 16))
        deactivate(self.world, inactive)
        give(other, "CUSTOMER.OWNER", self.elsewhere, at(4, 4), until=at(3, 20))
        ends = (
            ("PROJECT.MEMBER", first, NOW + HOUR),
            ("PROJECT.ADMIN", first, at(3, 22)),
            ("PROJECT.MANAGER", first, at(3, 23) - timedelta(seconds=1)),
            ("PROJECT.MEMBER", self.second, datetime(2026, 6, 12, 23, 59, 59, tzinfo=UTC)),
            ("PROJECT.ADMIN", self.second, datetime(2026, 6, 13, 23, 59, 59, tzinfo=UTC)),
            ("PROJECT.MANAGER", self.second, at(3, 20)),
        )
        for role, place, until in ends:
            give(ending, role, place, at(3, 1, 1), until)
        end(self.world, ending, "PROJECT.MANAGER", self.second, at(3, 2))

    def invite(self, since: datetime, email: str = "", place: Place | None = None) -> str:
        email = email or f"{since:%m%d%H}@example.org"
        return self.world.invite(
            self.owner, email, "PROJECT.MEMBER", place or self.first, now=since
        )

    def act(self, moment: datetime, action: Any, *arguments: Any) -> None:
        with self.world.database.write(moment) as tx:
            action(tx, *arguments)

    def accept(self, since: datetime, after: timedelta, person: Person, place: Place) -> None:
        uuid = self.invite(since, person.email, place)
        settings = self.world.settings
        self.act(since + after, invitation_actions.accept, person.actor, settings, uuid)

    def add_invitations(self) -> None:
        world, settings = self.world, self.world.settings
        quick, slow, late = (world.person() for _ in range(3))
        self.accept(at(4, 1), HOUR / 2, quick, self.first)
        self.accept(at(5, 1), 20 * HOUR, slow, self.first)
        # The first one has expired; the person counts once.
        self.invite(at(1, 1), late.email)
        self.accept(at(2, 1), 2 * DAY, late, self.first)
        # Invited to two projects: pending in one, declined in the other.
        self.invite(at(3, 14), "both@example.org")
        declined = self.invite(at(3, 14), "both@example.org", self.second)
        both = msgspec.structs.replace(self.owner.actor, email="both@example.org")
        self.act(at(3, 14, 1), invitation_actions.decline, both, settings, declined, 1)
        canceled = self.invite(at(3, 13))
        self.act(at(3, 13, 1), invitation_actions.cancel, self.owner.actor, canceled)
        self.invite(at(1, 2))  # expired
        self.invite(datetime(2025, 3, 31, 23, tzinfo=UTC))  # too long ago
        renewed = self.invite(datetime(2025, 2, 1, tzinfo=UTC))
        self.act(at(3, 10), invitation_actions.send, self.owner.actor, settings, renewed)
        starts = max(datetime.now(UTC), NOW).date() + 20 * DAY
        starting = world.project(self.organisation, starts=starts)
        self.invite(at(3, 12), "held@example.org", starting)
        world.settings = replace(settings, only_staff_can_invite_users=True)
        self.invite(at(3, 11), "requested@example.org")
        refused = self.invite(at(3, 11), "refused@example.org")
        world.settings = settings
        self.change(refused, state="rejected")
        # Of erased people nothing is left by which they would be the same.
        for hour in (1, 2):
            self.change(self.invite(at(3, 9, hour)), email_comparable="", state="canceled")

    def change(self, uuid: str, **values: str) -> None:
        changed = update(invitations).where(invitations.c.uuid == bindparam("which"))
        with self.world.database.write() as tx:
            named: dict[str, Any] = {name: bindparam(f"new_{name}") for name in values}
            parameters = {f"new_{name}": value for name, value in values.items()}
            tx.execute(Statement(changed.values(named)), which=uuid, **parameters)


def test_statistics_are_what_was_counted_by_hand(world: World) -> None:
    institute = Institute(world)
    institute.add_members()
    with world.database.read(NOW) as tx:
        found = queries.of_scope(tx, institute.organisation.id)
        in_project = queries.of_scope(tx, institute.second.id)
        site = queries.of_site(tx).figures
        days = [at(4, 30).date() + n * DAY for n in range((NOW - at(4, 30)).days + 1)]
        by_day = dict(
            zip(days, history.people_per_day(tx, institute.organisation.id, days), strict=True)
        )
    #                       A  M  J  J  A  S  O  N  D  J  F  M
    assert found.members == [1, 2, 3, 3, 3, 2, 1, 1, 3, 2, 2, 3]
    assert in_project.members == [0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0, 1]
    assert site.members == [number + 1 for number in found.members]
    # As the API shows them by day.
    ends = [moment - timedelta(seconds=1) for moment in rules.month_ends(NOW)]
    assert found.members == [by_day[moment.date()] for moment in ends]
    assert found.ends == [2, 1, *([0] * 10), 1]
    assert in_project.ends == [*([0] * 12), 1]
    assert site.ends == [3, 1, *([0] * 10), 1]


def test_invited_people_count_once_in_each_place_with_the_best_result(world: World) -> None:
    institute = Institute(world)
    institute.add_invitations()
    with world.database.read(NOW) as tx:
        found = queries.of_scope(tx, institute.organisation.id)
        in_project = queries.of_scope(tx, institute.second.id)
    assert dict(zip(rules.Outcome, found.outcomes, strict=True)) == {
        "accepted": 3,
        "pending": 2,
        "held": 1,
        "requested": 1,
        "declined": 1,
        "refused": 1,
        "expired": 1,
        "canceled": 3,
    }
    assert found.waits == [1, 1, 1, 0, 0]
    assert found.median_wait == 20 * 3600
    assert (sum(in_project.outcomes), in_project.waits) == (1, [0] * 5)
    assert in_project.median_wait is None
    # With an even number it is between the two in the middle.
    other = world.project(institute.elsewhere)
    world.give_role(institute.owner, "CUSTOMER.OWNER", institute.elsewhere, now=at(4, 4))
    institute.accept(at(5, 2), 22 * HOUR, world.person(), other)
    with world.database.read(NOW) as tx:
        site = queries.of_site(tx).figures
    assert site.waits == [1, 2, 1, 0, 0]
    assert site.median_wait == 21 * 3600
    assert sum(site.outcomes) == sum(found.outcomes) + 1


def test_organisations_with_one_owner_or_none_are_listed_until_they_have_two(world: World) -> None:
    ada, berta, gone = (world.person(name) for name in ("ada", "berta", "gone"))
    one, two = world.organisation("One", owner=ada), world.organisation("Two", owner=ada)
    world.give_role(berta, "CUSTOMER.OWNER", two)
    world.give_role(gone, "CUSTOMER.OWNER", one)
    none = world.organisation("Zero", owner=gone)
    deactivate(world, gone)
    archived = world.organisation("Archived")
    with world.database.write() as tx:
        closed = update(organisations).where(organisations.c.scope_id == bindparam("scope"))
        tx.execute(Statement(closed.values(archived=True)), scope=archived.id)
    with world.database.read() as tx:
        found = queries.of_site(tx)
        rows = queries.with_few_owners(tx, found.few_owners)
        counts = [queries.count_owners(tx, place.kind, place.id) for place in (one, two, none)]
    assert found.owners == [1, 1, 1, 0]
    assert found.few_owners == [none.id, one.id]
    assert [(row.name, row.owners, row.owner_username) for row in rows] == [
        ("Zero", 0, None),
        ("One", 1, "ada"),
    ]
    assert counts == [1, 2, 0]
    world.give_role(berta, "CUSTOMER.OWNER", one)
    with world.database.read() as tx:
        assert [row.name for row in queries.with_few_owners(tx, found.few_owners)] == ["Zero"]


def test_worker_counts_once_an_hour_and_keeps_the_newest_figures(world: World) -> None:
    moment = datetime.now(UTC)
    scheduler = Scheduler(world.database, world.settings, lambda: moment)

    def counted_after(passed: timedelta) -> datetime | None:
        nonlocal moment
        moment += passed
        assert scheduler.run() == 0
        with world.database.read(moment) as tx:
            stored = queries.stored(tx)
            assert stored is not None
            assert stored.figures.at == queries.counted_at(tx)
        return stored.figures.at

    first = moment
    assert counted_after(timedelta()) == first
    assert counted_after(HOUR - timedelta(seconds=1)) == first
    # Another worker has counted meanwhile.
    later = moment
    with world.database.write(later) as tx:
        queries.store(tx, queries.of_site(tx))
    assert counted_after(timedelta(seconds=1)) == later
    assert counted_after(HOUR) == later + HOUR + timedelta(seconds=1)
    # One that was slower does not win.
    with world.database.write(first) as tx:
        queries.store(tx, queries.of_site(tx))
    assert counted_after(timedelta()) == moment


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_pages_show_the_figures_in_words_and_tables(browser: Browser, world: World) -> None:
    organisation = world.organisation("Tides", owner=(owner := world.person("ada")))
    project = world.project(organisation)
    now = datetime.now(UTC)
    guest = world.person()
    world.give_role(guest, "PROJECT.MEMBER", project, until=now + 2 * DAY)
    uuid = world.invite(owner, guest.email, "PROJECT.ADMIN", project, now=now - 3 * HOUR)
    with world.database.write() as tx:
        invitation_actions.accept(tx, guest.actor, world.settings, uuid)
    browser.sign_in(world, owner)
    here = f"/organisation/{organisation.uuid}/statistics/"
    page = browser.open(here)
    for sentence in (
        "2 members",
        "100% of the invited people accepted",
        "3 hours until half of them had accepted",
        "1 role ends within 90 days",
        "One person alone owns this organisation.",
        "1 person was invited, of whom 1 accepted.",
    ):
        assert sentence in text(page), sentence
    # A column for each figure that is not 0, with its number as a tooltip, and all in a table.
    assert page.text.count("<rect x=") == page.text.count("<rect") - 2 == 2
    assert f"{now:%B %Y}: 2</title>" in page.text
    assert page.text.count('<th scope="row"') == 12 + rules.WEEKS + 5 + 5
    german = browser.open(here, headers={"accept-language": "de"}).text
    assert "100\N{NO-BREAK SPACE}%" in german
    assert 'dir="rtl"' in browser.open(here, headers={"accept-language": "ar"}).text
    assert f'href="{here}"' in browser.open(f"/organisation/{organisation.uuid}/").text

    browser.sign_in(world, world.staff)
    assert "Nothing is counted yet." in text(browser.open("/staff/statistics/"))
    Scheduler(world.database, world.settings).run()
    page = browser.open("/staff/statistics/")
    assert "2 members" in text(page)
    assert f'<a href="/organisation/{organisation.uuid}/"><bdi>Tides</bdi></a>' in page.text
    assert "Ada Lee" in text(page)
    # What an earlier release has stored is counted anew.
    with world.database.write() as tx:
        stored = update(site_statistics)
        tx.execute(Statement(stored.values(data=bindparam("data"))), data='{"figures": 1}')
    assert "Nothing is counted yet." in text(browser.open("/staff/statistics/"))
