"""Pressing a button twice makes one thing, and the second press is answered as the first."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from operator import add
from typing import Any

import httpx
import pytest
from pyotp.totp import TOTP
from sqlalchemy import Table

from collegium.api import limits
from collegium.db import idempotency
from collegium.db.statements import Statement
from collegium.db.tables import accounts, invitations, join_requests, organisations, outbox, tokens
from collegium.db.tables import idempotency_keys as table
from collegium.invitations import links
from collegium.join_requests import actions as join_request_actions
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.security.rate_limits.rules import RateLimit
from collegium.worker.worker import Worker
from tests.sign_in.test_pages import HASHED, secret_on
from tests.sign_in.test_pages import PASSWORD as KNOWN
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import World

PASSWORD = "purple tram lifts nine"


def rows(world: World, which: Table) -> list[Any]:
    with world.database.read() as tx:
        return tx.fetch_all(Statement(which.select()))


def number(browser: Browser) -> str:
    assert browser.page is not None
    found = re.search(r'name="submission" value="([\w-]+)"', browser.page.text)
    assert found, browser.page.text[:800]
    return found[1]


def said(browser: Browser, answer: httpx.Response) -> tuple[str, str]:
    """Where an answer leads, and what is said there."""
    where = answer.headers["location"]
    page = browser.follow(answer)
    flash = re.search(r'(?s)<p class="flash[^>]*>(.*?)</p>', page.text)
    return where, flash[1].strip() if flash else ""


def test_organisation_is_made_once_however_often_the_button_is_pressed(
    browser: Browser, world: World
) -> None:
    here = "/staff/organisations/new/"
    browser.sign_in(world, world.staff)
    browser.open(here)
    form = {"name": "Initech", "submission": number(browser), "csrf": browser.csrf}
    answers = [browser.call("POST", here, data=form) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [303] * 3
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len(rows(world, organisations)) == 1
    assert "Initech is created" in text(browser.follow(answers[2]))
    # The twin: another page of the same form makes another one, of the same name.
    browser.open(here)
    again = browser.send(here, name="Initech", submission=number(browser))
    assert again.headers["location"] != answers[0].headers["location"]
    assert len(rows(world, organisations)) == 2


def test_going_back_and_typing_another_name_makes_a_second_one(
    browser: Browser, world: World
) -> None:
    browser.sign_in(world, world.person("ada"))
    browser.open("/teams/")
    form = {"submission": number(browser), "csrf": browser.csrf}
    one = browser.call("POST", "/teams/", data={**form, "name": "Lab"})
    other = browser.call("POST", "/teams/", data={**form, "name": "Club"})
    again = browser.call("POST", "/teams/", data={**form, "name": "Lab"})
    assert one.headers["location"] == again.headers["location"] != other.headers["location"]


def test_refused_form_can_be_sent_again(browser: Browser, world: World) -> None:
    ada = world.person("ada")
    browser.sign_in(world, ada)
    browser.open("/teams/")
    form = {"submission": number(browser), "csrf": browser.csrf, "name": "Lab"}
    with world.database.write() as tx:
        taken = group_actions.create(tx, ada.actor, "Lab")
    assert browser.call("POST", "/teams/", data=form).status_code == 422
    assert rows(world, table) == []
    with world.database.write() as tx:
        group_actions.delete(tx, ada.actor, taken)
    assert browser.call("POST", "/teams/", data=form).status_code == 303


def test_number_of_another_session_is_another_number(
    browser: Browser, other: Browser, world: World
) -> None:
    here = "/staff/organisations/new/"
    found = []
    known = ""
    for one, person in ((browser, world.staff), (other, world.person("boss", is_staff=True))):
        one.sign_in(world, person)
        one.open(here)
        known = known or number(one)
        found.append(one.send(here, name="Initech", submission=known).headers["location"])
    assert len(set(found)) == 2
    # And the same person in another browser.
    third = Browser(other._site).sign_in(world, world.staff)
    third.open(here)
    assert third.send(here, name="Initech", submission=known).headers["location"] not in found


@pytest.mark.parametrize("wrong", ["", "x" * 65])
def test_form_without_a_number_is_done_as_often_as_it_is_sent(
    browser: Browser, world: World, wrong: str
) -> None:
    here = "/staff/organisations/new/"
    browser.sign_in(world, world.staff)
    browser.open(here)
    for _ in range(2):
        assert browser.send(here, name="Initech", submission=wrong).status_code == 303
        browser.open(here)
    assert len(rows(world, organisations)) == 2
    assert rows(world, table) == []


def token_in(answer: httpx.Response) -> str:
    found = re.search(r"clg_[\w-]+", answer.text)
    assert found, text(answer)
    return found[0]


def test_second_press_shows_the_token_that_the_first_has_made(
    browser: Browser, site: Site, world: World
) -> None:
    ada = world.person("ada")
    here = "/account/tokens/"
    browser.sign_in(world, ada)
    browser.open(here)
    form = {"name": "laptop", "submission": number(browser), "csrf": browser.csrf}
    shown = [token_in(browser.call("POST", here, data=form)) for _ in range(2)]
    assert shown[0] == shown[1]
    with world.database.read() as tx:
        made = [row for row in tx.fetch_all(Statement(tokens.select())) if row.kind == "personal"]
    assert len(made) == 1
    # What is kept for it is of no use to whoever reads the database.
    (kept,) = rows(world, table)
    assert shown[0] not in kept.response
    # Neither another form nor another person is shown it.
    browser.open(here)
    form["submission"] = number(browser)
    assert token_in(browser.call("POST", here, data=form)) != shown[0]
    browser.open(here)
    assert shown[0] not in browser.page.text  # type: ignore[union-attr]
    eve = Browser(site).sign_in(world, world.person("eve"))
    eve.open(here)
    stolen = {**form, "csrf": eve.csrf, "submission": form["submission"]}
    assert token_in(eve.call("POST", here, data=stolen)) not in shown


def test_token_that_has_ended_since_is_not_shown_again(browser: Browser, world: World) -> None:
    here = "/account/tokens/"
    browser.sign_in(world, world.person("ada"))
    browser.open(here)
    form = {"name": "laptop", "submission": number(browser), "csrf": browser.csrf}
    token = token_in(browser.call("POST", here, data=form))
    with world.database.read() as tx:
        (row,) = [row for row in tx.fetch_all(Statement(tokens.select())) if row.kind == "personal"]
    assert browser.send(f"{here}end/", kind="token", number=str(row.id)).status_code == 303
    answer = browser.call("POST", here, data=form)
    assert token not in answer.text
    assert "has already ended" in text(browser.follow(answer))


def recovery_codes_in(answer: httpx.Response) -> list[str]:
    return re.findall(r'<li class="code">([0-9a-f-]+)</li>', answer.text)


def test_second_press_shows_the_recovery_codes_that_the_first_has_made(
    browser: Browser, world: World
) -> None:
    ada = world.person("ada", password=HASHED)
    here = "/account/second_factor/"
    browser.sign_in(world, ada)
    browser.open(here)
    form = {"action": "begin", "password": KNOWN, "submission": number(browser)}
    secrets = set()
    for _ in range(2):
        assert browser.send(here, **form).status_code == 303
        secrets.add(secret_on(browser.open(here)))
    assert len(secrets) == 1, "the picture that is shown is that of the secret"

    def press(action: str, code: str, number: str) -> httpx.Response:
        data = {"action": action, "code": code, "submission": number, "csrf": browser.csrf}
        return browser.call("POST", here, data=data)

    browser.open(here)
    turns = ("confirm", TOTP(secrets.pop()).now(), number(browser))
    one, other = (recovery_codes_in(press(*turns)) for _ in range(2))
    assert one == other
    assert len(one) == 10
    assert not {code for code in one for row in rows(world, table) if code in row.response}
    # Others in their place, with one of them.
    browser.open(here)
    renews = ("codes", one[0], number(browser))
    new, again = (recovery_codes_in(press(*renews)) for _ in range(2))
    assert new == again
    assert len(new) == 10
    assert set(new).isdisjoint(one)
    # Those are no longer valid, and not shown as if they were not.
    answer = press(*turns)
    assert recovery_codes_in(answer) == []
    assert "are no longer valid" in text(browser.follow(answer))
    # A wrong code makes nothing, and can be put right.
    browser.open(here)
    kept = number(browser)
    assert press("codes", one[1], kept).status_code == 422
    assert len(recovery_codes_in(press("codes", new[0], kept))) == 10


def test_limit_that_the_first_press_has_used_up_does_not_refuse_the_second(
    browser: Browser, scene: Scene
) -> None:
    world = scene.world
    ada = world.person("ada")
    browser.sign_in(world, ada)
    last = None
    for turn in range(40):
        link = world.open(scene.people["owner"], "PROJECT.MEMBER", scene.project)
        here = f"/open_invitation/{link}/"
        browser.open(here)
        form = {"message": f"May I? {turn}", "submission": number(browser), "csrf": browser.csrf}
        answer = browser.call("POST", here, data=form)
        if answer.status_code == 429:
            break
        last = here, form
    else:
        pytest.fail("there is no limit")
    assert last is not None
    asked = len(rows(world, join_requests))
    assert browser.call("POST", last[0], data=last[1]).status_code == 303
    assert len(rows(world, join_requests)) == asked


def test_join_request_is_made_once_and_asked_of_each_decider_once(
    browser: Browser, scene: Scene
) -> None:
    world = scene.world
    link = world.open(
        scene.people["owner"], "PROJECT.MEMBER", scene.project, allow_multiple_requests=True
    )
    here = f"/open_invitation/{link}/"
    browser.sign_in(world, world.person("ada"))
    browser.open(here)
    form = {"message": "May I?", "submission": number(browser), "csrf": browser.csrf}
    one, other = (said(browser, browser.call("POST", here, data=form)) for _ in range(2))
    assert one == other
    assert "Your request was sent" in one[1]
    assert len(rows(world, join_requests)) == 1
    kinds = [row.kind for row in rows(world, outbox)]
    assert kinds.count("permission_request_submitted") == len(
        {row.recipient for row in rows(world, outbox)}
    )


def test_list_of_people_is_invited_once_and_the_second_press_says_what_the_first_did(
    browser: Browser, scene: Scene
) -> None:
    world, here = scene.world, f"{scene.paths['project']}invite/"
    browser.sign_in(world, scene.people["owner"])
    browser.open(here)
    people = "one@example.org\ntwo@example.org\nnonsense\none@example.org"
    form = {"addresses": people, "role": world.role("PROJECT.MEMBER").uuid, "extra_text": ""}
    browser.send(here, action="check", **form)
    form |= {"action": "send", "submission": number(browser), "csrf": browser.csrf}
    one, other = (browser.call("POST", here, data=form) for _ in range(2))
    assert len(rows(world, invitations)) == 2
    assert "already" not in text(other)

    def shown(answer: httpx.Response) -> str:
        return re.sub(r'name="submission" value="[^"]*"', "", answer.text)

    assert shown(one) == shown(other)


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_second_press_says_what_the_first_has_decided(
    browser: Browser, scene: Scene, action: str
) -> None:
    world, owner = scene.world, scene.people["owner"]
    link = world.open(owner, "PROJECT.MEMBER", scene.project)
    asked = [world.ask(world.person(name), link) for name in ("ada", "bob")]
    eve = world.person("eve")
    taken = world.ask(eve, link)
    browser.sign_in(world, owner)
    browser.open("/requests/")
    with world.database.write() as tx:
        join_request_actions.cancel(tx, eve.actor, taken)
    form: dict[str, Any] = {"action": action, "submission": number(browser), "csrf": browser.csrf}
    form["request"] = [f"tree {uuid}" for uuid in (*asked, taken)]
    one, other = (browser.call("POST", "/requests/", data=form) for _ in range(2))
    assert one.status_code == other.status_code == 200
    assert one.text == other.text
    assert "2 of 3 done" in text(one)
    assert {world.request(uuid).state for uuid in asked} == {
        "approved" if action == "approve" else "rejected"
    }
    # The twin: on another page each is told that it was decided.
    browser.open("/requests/")
    again = browser.call("POST", "/requests/", data=form | {"submission": "another"})
    assert "No request was decided" in text(again)


@pytest.mark.parametrize("place", ["project", "group"])
def test_limit_of_invitations_that_the_first_press_has_used_up_does_not_refuse_the_second(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    world, owner = scene.world, scene.people["owner"]
    limit = RateLimit(1, timedelta(hours=1), timedelta(hours=1), timedelta(hours=1))
    monkeypatch.setitem(limits._LIMITS, limits.INVITE, (limit, limit))
    people = [world.person(name).email for name in ("one", "two", "three")]
    here, role = f"{scene.paths['project']}invite/", world.role("PROJECT.MEMBER").uuid
    if place == "group":
        with world.database.write() as tx:
            here = f"/group/{group_actions.create(tx, owner.actor, 'Lab')}/team/invite/"
            member: Any = role_queries.named(tx, "GROUP.MEMBER", None, groups=True)
        role = member.uuid
    browser.sign_in(world, owner)
    browser.open(here)
    text = "\n".join([*people[:2], "nonsense@"])
    form = {"addresses": text, "role": role, "extra_text": "", "action": "send"}
    assert browser.send(here, **form | {"action": "check"}).status_code == 200
    form |= {"submission": number(browser), "csrf": browser.csrf}
    answers = [browser.call("POST", here, data=form) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(rows(world, invitations)) == 2
    shown = [re.sub(r'name="submission" value="[^"]*"', "", one.text) for one in answers]
    assert shown[0] == shown[1]
    # The twin: somebody else has to wait, on the same page or another.
    for changed in ({"addresses": people[2]}, {"addresses": f"{text}\n{people[2]}"}):
        assert browser.call("POST", here, data=form | changed).status_code == 429
    assert len(rows(world, invitations)) == 2


def sign_up(browser: Browser, world: World, scene: Scene) -> tuple[str, dict[str, str]]:
    uuid = world.invite(scene.people["owner"], "new@example.org", "PROJECT.MEMBER", scene.project)
    here = f"/invitation/{world.vault.sign(links.MAILED, uuid, 1)}/"
    browser.open(here)
    form = {
        "username": "newcomer",
        "first_name": "New",
        "last_name": "Comer",
        "password": PASSWORD,
        "again": PASSWORD,
        "agrees": "yes",
        "submission": number(browser),
        "csrf": browser.csrf,
    }
    return here, form


def test_second_press_of_signing_up_signs_in_too(browser: Browser, scene: Scene) -> None:
    world = scene.world
    here, form = sign_up(browser, world, scene)
    # Both presses are on their way before the browser has seen an answer.
    early = dict(browser.cookies)
    before = len(rows(world, accounts))
    one = browser.call("POST", here, data=form)
    first = dict(browser.cookies)
    browser.cookies = early
    other = browser.call("POST", here, data=form)
    assert one.status_code == other.status_code == 303
    assert one.headers["location"] == other.headers["location"] == "/account/"
    assert "Welcome!" in text(browser.follow(other))
    assert "newcomer" in text(browser.open("/account/profile/"))
    assert browser.cookies["collegium_session"] != first["collegium_session"]
    assert len(rows(world, accounts)) == before + 1
    assert [row.username for row in world.grants_in(scene.project)].count("newcomer") == 1


@pytest.mark.parametrize("since", ["password", "deactivated"])
def test_second_press_of_signing_up_does_not_sign_in_where_the_account_has_changed(
    browser: Browser, scene: Scene, since: str
) -> None:
    world = scene.world
    here, form = sign_up(browser, world, scene)
    early = dict(browser.cookies)
    assert browser.call("POST", here, data=form).status_code == 303
    (row,) = (one for one in rows(world, accounts) if one.username == "newcomer")
    path, off = f"/api/users/{row.uuid}/", {"is_active": False}
    if since == "password":
        new = {"new_password": f"{PASSWORD} again"}
        answer = browser._site.post(f"{path}change_password/", world.staff, json=new)
    else:
        answer = browser._site.request("PATCH", path, world.staff, json=off)
    assert answer.status_code == 200, answer.text
    browser.cookies = early
    again = browser.call("POST", here, data=form)
    assert again.headers["location"].startswith("/sign_in/")
    assert "collegium_session" not in browser.cookies


def test_second_press_of_accepting_says_welcome_too(browser: Browser, scene: Scene) -> None:
    world, ada = scene.world, scene.world.person("ada")
    uuid = world.invite(scene.people["owner"], ada.email, "PROJECT.MEMBER", scene.project)
    here = f"/invitation/{world.vault.sign(links.MAILED, uuid, 1)}/"
    browser.sign_in(world, ada)
    browser.open(here)
    form = {"submission": number(browser), "csrf": browser.csrf}
    one, other = (said(browser, browser.call("POST", here, data=form)) for _ in range(2))
    assert one == other
    assert "Welcome!" in one[1]


def test_worker_forgets_forms_after_a_day(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person("ada"))
    browser.open("/teams/")
    browser.send("/teams/", name="Lab", submission=number(browser))
    (row,) = rows(world, table)
    for later, left in ((idempotency.KEPT_FOR, 1), (idempotency.KEPT_FOR * 1.01, 0)):
        clock = partial(add, row.created_at, later)
        Worker(world.database, world.settings, world.vault, clock=clock).once()
        assert len(rows(world, table)) == left
