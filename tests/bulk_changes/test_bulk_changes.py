"""Changes of many rows of a list: judged, confirmed, done in batches, each by its own action."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest
from sqlalchemy import select

from collegium.accounts import actions as account_actions
from collegium.bulk_changes import actions as bulk_change_actions
from collegium.bulk_changes import queries as bulk_change_queries
from collegium.bulk_changes.rules import BATCH, Change
from collegium.db.statements import Statement
from collegium.db.tables import outbox
from collegium.invitations import actions as invitation_actions
from collegium.refusals import Conflict, Forbidden, NotFound
from tests.bulk_changes.scene import choose
from tests.support.browser import Browser, text
from tests.support.world import Person, Place, World

_RECIPIENTS = Statement[str](
    select(outbox.c.recipient).where(outbox.c.kind == "invitation_created")
)
OWN = "/account/bulk_changes/"
LATER = datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC)


def invite(
    world: World, owner: Person, project: Place, number: int, domain: str = "uni.example"
) -> list[str]:
    return [
        world.invite(owner, f"p{n}@{domain}", "PROJECT.MANAGER", project) for n in range(number)
    ]


def confirm(world: World, person: Person, uuid: str) -> None:
    with world.database.write() as tx:
        bulk_change_actions.confirm(tx, person.actor, world.settings, uuid)


def work(world: World, batches: int = 1000) -> int:
    """Do what a worker does; return the number of batches."""
    for done in range(batches):
        with world.database.write() as tx:
            if not bulk_change_actions.run_next(tx, world.settings):
                return done
    return batches


def counts(world: World, person: Person, uuid: str) -> dict[str, int]:
    with world.database.read() as tx:
        row = bulk_change_queries.get_own(tx, person.actor, uuid)
        return bulk_change_queries.counts(tx, row.id)


def problems(world: World, person: Person, uuid: str) -> list[str]:
    with world.database.read() as tx:
        row = bulk_change_queries.get_own(tx, person.actor, uuid)
        rows = bulk_change_queries.rows_of.page(
            tx, person.actor, {"bulk_change_id": row.id}, (), 500, 0
        )
    return [each.problem.get("code", "") for each in rows]


def invitation_states(world: World, uuids: list[str]) -> Counter[str]:
    return Counter(world.invitation(uuid).state for uuid in uuids)


def mails(world: World) -> Counter[int]:
    """Return how many addresses were mailed once, twice, and so on."""
    with world.database.read() as tx:
        return Counter(Counter(tx.fetch_all(_RECIPIENTS)).values())


def press(browser: Browser, path: str, **fields: object) -> httpx.Response:
    """Send the form below a list with the one-time number of the page."""
    page = browser.open(path)
    number = re.search(r'name="submission" value="([\w-]+)"', page.text)
    assert number, text(page)
    return browser.send(path, submission=number[1], **fields)


def test_ticked_rows_are_changed_after_they_were_confirmed(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuids = invite(world, owner, project, 4)
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, uuids[2])
    browser.sign_in(world, owner)
    here = f"/project/{project.uuid}/invitations/"
    assert browser.open(here).text.count('form="chooser"') == 4
    number = re.search(r'name="submission" value="([\w-]+)"', browser.open(here).text)
    assert number
    form = {"submission": number[1], "action": "cancel", "which": "ticked", "rows": uuids[:3]}
    chosen = browser.send(here, **form)
    path = chosen.headers["location"]
    page = browser.follow(chosen)
    assert "Cancel the invitations" in text(page)
    assert "2 rows will be changed. Nothing has changed yet." in text(page)
    assert "p3@uni.example" not in text(page)
    refused = text(browser.open(f"{path}?state=refused"))
    assert "p2@uni.example" in refused
    assert "refused This invitation is no longer pending." in refused
    assert "p0@uni.example" not in refused
    assert invitation_states(world, uuids) == {"pending": 3, "canceled": 1}, "only looked at"
    browser.open(here)
    again = browser.send(here, **form)
    assert again.headers["location"] == path, "the same form leads to the same page"
    browser.open(path)
    for _ in range(2):  # sent twice, it does nothing twice
        assert "changed 2" in text(browser.follow(browser.send(path, action="confirm")))
        browser.open(path)
    assert invitation_states(world, uuids) == {"pending": 1, "canceled": 3}
    assert text(browser.open(f"/project/{project.uuid}/history/")).count("cancelled the") == 3


def test_all_that_match_are_changed_by_the_worker_and_nothing_twice(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    size = 2 * BATCH + 3
    uuids = invite(world, owner, project, size)
    other = invite(world, owner, project, 2, "else.example")
    browser.sign_in(world, owner)
    here = f"/project/{project.uuid}/"
    chosen = press(browser, f"{here}invitations/?q=@uni", action="send", which="matching")
    path = chosen.headers["location"]
    page = browser.follow(chosen)
    assert f"{size} rows are chosen. being checked" in text(page)
    # Somebody who has closed the page finds it again.
    assert path in browser.open("/").text
    listed = browser.open(f"{OWN}?sort=created")
    assert f"Send the invitations again {project.name} {size}" in text(listed)
    assert "being checked" in text(listed)
    assert path in listed.text
    assert f"0 of {size}" in text(page)
    assert '<meta http-equiv="refresh"' in page.text
    early = browser.send(path, action="confirm")
    assert early.status_code == 409, "not before all rows were checked"
    assert mails(world) == {1: size + 2}
    assert work(world) == 3
    assert mails(world) == {1: size + 2}, "only looked at"
    ready = browser.open(path)
    assert f"{size} rows will be changed. Nothing has changed yet." in text(ready)
    running = browser.follow(browser.send(path, action="confirm"))
    assert "running" in text(running)
    # A worker that dies in its transaction leaves the batch to the next one.
    for _ in range(2):
        with suppress(ZeroDivisionError), world.database.write() as tx:
            assert bulk_change_actions.run_next(tx, world.settings)
            raise ZeroDivisionError
    assert work(world, 1) == 1
    assert mails(world) == {1: size + 2 - BATCH, 2: BATCH}
    assert f"{BATCH} of {size}" in text(browser.open(path))
    assert work(world) == 2
    assert mails(world) == {1: 2, 2: size}
    # People may wait for the e-mails of requests, and for none of these.
    with world.database.read() as tx:
        is_bulk = tx.fetch_all(Statement[bool](select(outbox.c.is_bulk)))
    assert Counter(is_bulk) == {False: size + 2, True: size}
    assert f"changed {size}" in text(browser.open(path))
    assert path not in browser.open("/").text, "nothing is left to do"
    assert path in browser.open(OWN).text
    assert invitation_states(world, [*uuids, *other]) == {"pending": size + 2}


def test_a_stopped_change_leaves_the_other_rows(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuids = invite(world, owner, project, BATCH + 1)
    bulk = choose(world, owner, project, Change.CANCEL)
    work(world)
    confirm(world, owner, bulk)
    work(world, 1)
    path = f"/project/{project.uuid}/bulk/{bulk}/"
    browser.sign_in(world, owner).open(path)
    assert "stopped" in text(browser.follow(browser.send(path, action="stop")))
    assert work(world) == 0
    assert invitation_states(world, uuids) == {"canceled": BATCH, "pending": 1}
    assert browser.send(path, action="confirm").status_code == 409


def test_extended_invitations_keep_their_link_and_mail_nobody(
    world: World, owner: Person, project: Place
) -> None:
    now = datetime.now(UTC)
    old = world.invite(owner, "a@uni.example", "PROJECT.ADMIN", project, now - timedelta(days=2))
    bound = world.invite(
        owner, "b@uni.example", "PROJECT.ADMIN", project, grant_until=now + timedelta(hours=1)
    )
    gone = world.invite(owner, "c@uni.example", "PROJECT.ADMIN", project, now - timedelta(days=99))
    before, sent = world.invitation(old), mails(world)
    bulk = choose(world, owner, project, Change.EXTEND, [old, bound, gone])
    assert counts(world, owner, bulk) == {"ready": 1, "unchanged": 1, "refused": 1}
    assert problems(world, owner, bulk) == ["", "", "invitation.wrong_state"]
    confirm(world, owner, bulk)
    after = world.invitation(old)
    assert after.expires_at - before.expires_at > timedelta(days=1)
    assert after.link_version == before.link_version
    assert world.invitation(bound).expires_at == world.invitation(bound).grant_until
    assert mails(world) == sent


def test_members_get_an_end_or_are_removed_except_the_last_owner(
    browser: Browser, world: World, owner: Person
) -> None:
    place = world.organisation("Hooli", owner=owner)
    mona = world.person("mona")
    world.give_role(mona, "CUSTOMER.OWNER", place)
    for n in range(3):
        world.give_role(world.person(f"p{n}"), "CUSTOMER.OWNER", place)
    uuids = {each.username: each.uuid for each in world.grants_in(place)}
    browser.sign_in(world, world.staff)
    here = f"/organisation/{place.uuid}/"
    past = press(browser, here, action="end", which="matching", until="2001-01-01")
    assert past.status_code == 422
    assert "Please choose a date in the future" in text(past)
    nothing = browser.send(here, action="end", which="ticked", until="nonsense")
    assert nothing.status_code == 422
    assert "Please tick at least one row." in text(nothing)
    assert "Last day: " in text(nothing), "all errors at once"
    ticked = [uuids["p0"], uuids["p1"]]
    ended = press(browser, here, action="end", which="ticked", rows=ticked, until="2999-12-31")
    page = browser.follow(ended)
    assert "The new end date is 31 December 2999." in text(page)
    browser.send(ended.headers["location"], action="confirm")
    ends = {each.username: each.valid_until for each in world.grants_in(place)}
    assert ends["p0"] == ends["p1"] == LATER
    assert ends["p2"] is None

    removed = press(browser, here, action="remove", which="matching")
    browser.follow(removed)
    # Judged one after another: an owner without an end must remain.
    bulk = removed.headers["location"].rstrip("/").rpartition("/")[2]
    assert counts(world, world.staff, bulk) == {"ready": 4, "refused": 1}
    assert problems(world, world.staff, bulk) == ["", "", "", "", "scope.last_owner"]
    browser.send(removed.headers["location"], action="confirm")
    assert [each.username for each in world.grants_in(place)] == ["p2"]


def test_a_row_that_has_changed_since_it_was_checked_is_left_alone(
    world: World, owner: Person, project: Place
) -> None:
    mona = world.person("mona")
    world.give_role(mona, "PROJECT.MEMBER", project)
    (grant,) = [each for each in world.grants_in(project) if each.username == "mona"]
    uuids = invite(world, owner, project, 2)
    removal = choose(world, owner, project, Change.REMOVE, [grant.uuid])
    cancelling = choose(world, owner, project, Change.CANCEL, uuids)
    # Removed and added again, it is another membership, which nobody has looked at.
    world.remove_role(mona, "PROJECT.MEMBER", project)
    world.give_role(mona, "PROJECT.MEMBER", project)
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, uuids[0])
    with world.database.write() as tx:
        invitation_actions.send(tx, owner.actor, world.settings, uuids[0])
    confirm(world, owner, removal)
    confirm(world, owner, cancelling)
    assert problems(world, owner, removal) == ["grant.unknown"]
    assert problems(world, owner, cancelling) == ["bulk_change.row_changed", ""]
    assert invitation_states(world, uuids) == {"pending": 1, "canceled": 1}
    assert len([each for each in world.grants_in(project) if each.username == "mona"]) == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_others_can_neither_choose_rows_nor_see_a_change(
    browser: Browser, world: World, owner: Person, project: Place
) -> None:
    uuids = invite(world, owner, project, 2)
    elsewhere = world.project(world.organisation(owner=owner))
    foreign = world.invite(owner, "x@uni.example", "PROJECT.MANAGER", elsewhere)
    here = f"/project/{project.uuid}/"
    with pytest.raises(NotFound, match=r"bulk_change\.no_rows"):
        choose(world, owner, project, Change.CANCEL, [foreign])
    bulk = choose(world, owner, project, Change.CANCEL, [uuids[0], foreign])
    assert counts(world, owner, bulk) == {"ready": 1}, "a row of another scope is no row here"
    support = world.person("sue", is_support=True)
    member = world.person("max")
    world.give_role(member, "PROJECT.MEMBER", project)
    for person, code in ((support, Forbidden), (member, Forbidden), (world.person(), NotFound)):
        for change in Change:
            with pytest.raises(code):
                choose(world, person, project, change)
        assert invitation_states(world, uuids) == {"pending": 2}
        browser.sign_in(world, person)
        listed = browser.open(f"{here}invitations/")
        assert 'form="chooser"' not in listed.text
        status = 404 if code is NotFound else 403
        browser.open("/account/")
        form = {"action": "cancel", "which": "ticked", "rows": uuids}
        assert browser.send(f"{here}invitations/", **form).status_code == status
        # Only the person who chose the rows sees them, staff included.
        assert bulk not in browser.open(OWN).text + browser.open("/").text
        assert browser.open(f"{here}bulk/{bulk}/").status_code == 404
        browser.open("/account/")
        assert browser.send(f"{here}bulk/{bulk}/", action="confirm").status_code == 404
    browser.sign_in(world, owner)
    assert browser.open(f"{here}bulk/{bulk}/").status_code == 200
    assert bulk in browser.open(OWN).text
    assert bulk in browser.open("/").text
    assert browser.open(f"/project/{elsewhere.uuid}/bulk/{bulk}/").status_code == 404


def test_who_has_lost_the_right_sees_the_rows_no_more(
    browser: Browser, world: World, project: Place
) -> None:
    mona, max_ = world.person("mona"), world.person("max")
    world.give_role(mona, "PROJECT.MANAGER", project)
    for person in (mona, max_):
        world.give_role(person, "PROJECT.MEMBER", project)
    path = f"/project/{project.uuid}/bulk/{choose(world, mona, project, Change.REMOVE)}/"
    browser.sign_in(world, mona)
    assert max_.email in text(browser.open(path))
    assert path in browser.open(OWN).text
    # Still a member, who sees the project.
    world.remove_role(mona, "PROJECT.MANAGER", project)
    page = browser.open(path)
    assert page.status_code == 403
    assert max_.email not in page.text
    assert path not in browser.open(OWN).text
    browser.open("/account/")
    assert browser.send(path, action="confirm").status_code == 403


def test_the_worker_acts_with_the_rights_that_the_person_has_then(
    world: World, owner: Person, project: Place
) -> None:
    mona = world.person("mona")
    world.give_role(mona, "PROJECT.MANAGER", project)
    uuids = invite(world, owner, project, BATCH + 1)
    bulk = choose(world, mona, project, Change.CANCEL, uuids)
    work(world)
    confirm(world, mona, bulk)
    work(world, 1)
    world.remove_role(mona, "PROJECT.MANAGER", project)
    work(world)
    assert invitation_states(world, uuids) == {"canceled": BATCH, "pending": 1}
    assert counts(world, mona, bulk) == {"done": BATCH, "refused": 1}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("change", [{"is_staff": False}, {"is_active": False}, {}])
def test_the_worker_stops_when_who_acted_as_another_is_no_staff_any_more(
    world: World, owner: Person, project: Place, change: dict[str, bool]
) -> None:
    sam = world.person("sam", is_staff=True)
    as_owner = Person(msgspec.structs.replace(owner.actor, impersonator=sam.actor), "")
    uuids = invite(world, owner, project, BATCH + 1)
    bulk = choose(world, as_owner, project, Change.CANCEL, uuids)
    work(world)
    confirm(world, as_owner, bulk)
    work(world, 1)
    if change:
        with world.database.write() as tx:
            account_actions.update(
                tx, world.staff.actor, world.settings, sam.uuid, change, agrees_to_policy=False
            )
    work(world)
    left = {"pending": 1} if change else {}
    assert invitation_states(world, uuids) == {"canceled": BATCH + (not change)} | left


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_old_changes_are_deleted_and_their_number_of_rows_is_limited(
    monkeypatch: pytest.MonkeyPatch, world: World, owner: Person, project: Place
) -> None:
    uuids = invite(world, owner, project, 2)
    bulk = choose(world, owner, project, Change.CANCEL)
    later = datetime.now(UTC) + timedelta(seconds=world.settings.import_retention)
    for now, deleted in ((later - timedelta(hours=1), 0), (later + timedelta(hours=1), 1)):
        with world.database.write(now) as tx:
            assert bulk_change_actions.purge(tx, world.settings, 5) == deleted
    with pytest.raises(NotFound, match=r"bulk_change\.unknown"):
        counts(world, owner, bulk)
    monkeypatch.setattr(bulk_change_actions, "ROWS_MAX", 1)
    with pytest.raises(Conflict, match=r"bulk_change\.too_many"):
        choose(world, owner, project, Change.CANCEL)
    assert invitation_states(world, uuids) == {"pending": 2}


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_two_nodes_do_not_do_the_same_change_at_once(
    world: World, owner: Person, project: Place
) -> None:
    invite(world, owner, project, BATCH + 1)
    choose(world, owner, project, Change.CANCEL)
    with world.database.write() as one:
        assert bulk_change_actions.run_next(one, world.settings)
        with world.database.write() as other:
            assert not bulk_change_actions.run_next(other, world.settings)
