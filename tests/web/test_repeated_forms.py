"""A form that is sent twice creates one object, and the second response equals the first."""

import re
from datetime import timedelta
from functools import partial
from operator import add
from typing import Any

import httpx
import pytest
from pyotp.totp import TOTP
from sqlalchemy import Table

from collegium.db import idempotency
from collegium.db.statements import Statement
from collegium.db.tables import (
    accounts,
    idempotency_keys,
    invitations,
    join_requests,
    organisations,
    outbox,
    tokens,
)
from collegium.invitations import links
from collegium.join_requests import actions as join_request_actions
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.security.rate_limits.rules import RateLimit
from collegium.worker.worker import Worker
from tests.sign_in.test_pages import HASHED, secret_on
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import World

PASSWORD = "purple tram lifts nine"


NEW_ORGANISATION = "/staff/organisations/new/"


def rows(world: World, table: Table) -> list[Any]:
    with world.database.read() as tx:
        return tx.fetch_all(Statement(table.select()))


def form_on(browser: Browser, path: str, **fields: Any) -> dict[str, Any]:
    """Open a page and return its form with some fields, to be sent more than once."""
    browser.open(path)
    return {"submission": browser.submission, "csrf": browser.csrf, **fields}


def outcome(browser: Browser, response: httpx.Response) -> tuple[str, str]:
    """Return the location of a redirect and the message shown there."""
    location = response.headers["location"]
    flash = re.search(r'(?s)<p class="flash[^>]*>(.*?)</p>', browser.follow(response).text)
    return location, flash[1].strip() if flash else ""


def without_submission(response: httpx.Response) -> str:
    return re.sub(r'name="submission" value="[^"]*"', "", response.text)


def test_organisation_is_created_once(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.staff)
    form = form_on(browser, NEW_ORGANISATION, name="Initech")
    responses = [browser.call("POST", NEW_ORGANISATION, data=form) for _ in range(3)]
    assert [response.status_code for response in responses] == [303] * 3
    (location,) = {response.headers["location"] for response in responses}
    assert len(rows(world, organisations)) == 1
    assert "Initech is created" in text(browser.follow(responses[2]))
    # The same name in a new form creates another organisation.
    form = form_on(browser, NEW_ORGANISATION, name="Initech")
    again = browser.call("POST", NEW_ORGANISATION, data=form)
    assert again.headers["location"] != location
    assert len(rows(world, organisations)) == 2


def test_same_form_with_another_name_creates_another_object(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person("ada"))
    form = form_on(browser, "/teams/")
    lab, club, again = (
        browser.call("POST", "/teams/", data={**form, "name": name}).headers["location"]
        for name in ("Lab", "Club", "Lab")
    )
    assert lab == again != club


def test_refused_form_can_be_sent_again(browser: Browser, world: World) -> None:
    ada = world.person("ada")
    browser.sign_in(world, ada)
    form = form_on(browser, "/teams/", name="Lab")
    with world.database.write() as tx:
        group = group_actions.create(tx, ada.actor, "Lab")
    assert browser.call("POST", "/teams/", data=form).status_code == 422
    assert rows(world, idempotency_keys) == []
    with world.database.write() as tx:
        group_actions.delete(tx, ada.actor, group)
    assert browser.call("POST", "/teams/", data=form).status_code == 303


def test_number_of_a_form_counts_for_its_session_only(
    browser: Browser, other: Browser, world: World
) -> None:
    third = Browser(other._site)  # another session of the same account
    number, locations = "", []
    for visitor, person in (
        (browser, world.staff),
        (other, world.person("boss", is_staff=True)),
        (third, world.staff),
    ):
        visitor.sign_in(world, person).open(NEW_ORGANISATION)
        number = number or visitor.submission
        response = visitor.send(NEW_ORGANISATION, name="Initech", submission=number)
        locations.append(response.headers["location"])
    assert len(set(locations)) == 3


@pytest.mark.parametrize("number", ["", "x" * 65])
def test_form_without_a_number_is_executed_every_time(
    browser: Browser, world: World, number: str
) -> None:
    browser.sign_in(world, world.staff)
    for _ in range(2):
        browser.open(NEW_ORGANISATION)
        response = browser.send(NEW_ORGANISATION, name="Initech", submission=number)
        assert response.status_code == 303
    assert len(rows(world, organisations)) == 2
    assert rows(world, idempotency_keys) == []


TOKENS = "/account/tokens/"


def token_in(response: httpx.Response) -> str:
    match = re.search(r"clg_[\w-]+", response.text)
    assert match, text(response)
    return match[0]


def personal_tokens(world: World) -> list[Any]:
    return [row for row in rows(world, tokens) if row.kind == "personal"]


def test_repeated_form_shows_the_same_token(browser: Browser, site: Site, world: World) -> None:
    browser.sign_in(world, world.person("ada"))
    form = form_on(browser, TOKENS, name="laptop")
    first, second = (token_in(browser.call("POST", TOKENS, data=form)) for _ in range(2))
    assert first == second
    assert len(personal_tokens(world)) == 1
    # The stored response is encrypted.
    (key,) = rows(world, idempotency_keys)
    assert first not in key.response
    # Another form or another person gets another token.
    form = form_on(browser, TOKENS, name="laptop")
    assert token_in(browser.call("POST", TOKENS, data=form)) != first
    assert first not in browser.open(TOKENS).text
    eve = Browser(site).sign_in(world, world.person("eve"))
    eve.open(TOKENS)
    stolen = token_in(eve.call("POST", TOKENS, data=form | {"csrf": eve.csrf}))
    assert stolen not in {token_in(browser.call("POST", TOKENS, data=form)), first}


def test_repeated_form_does_not_show_a_revoked_token(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person("ada"))
    form = form_on(browser, TOKENS, name="laptop")
    token = token_in(browser.call("POST", TOKENS, data=form))
    (row,) = personal_tokens(world)
    assert browser.send(f"{TOKENS}end/", kind="token", number=str(row.id)).status_code == 303
    response = browser.call("POST", TOKENS, data=form)
    assert token not in response.text
    assert "has already ended" in text(browser.follow(response))


def recovery_codes_in(response: httpx.Response) -> list[str]:
    return re.findall(r'<li class="code">([0-9a-f-]+)</li>', response.text)


def test_repeated_form_shows_the_same_recovery_codes(browser: Browser, world: World) -> None:
    path = "/account/second_factor/"
    browser.sign_in(world, world.person("ada", password=HASHED)).open(path)
    form = {"action": "begin", "submission": browser.submission}
    secrets = set()
    for _ in range(2):
        assert browser.send(path, **form).status_code == 303
        secrets.add(secret_on(browser.open(path)))
    (secret,) = secrets

    def press(action: str, code: str, number: str) -> httpx.Response:
        data = {"action": action, "code": code, "submission": number, "csrf": browser.csrf}
        return browser.call("POST", path, data=data)

    browser.open(path)
    confirm = ("confirm", TOTP(secret).now(), browser.submission)
    codes, again = (recovery_codes_in(press(*confirm)) for _ in range(2))
    assert codes == again
    assert len(codes) == 10
    assert not {
        code for code in codes for row in rows(world, idempotency_keys) if code in row.response
    }
    # One code replaces all codes.
    browser.open(path)
    renew = ("codes", codes[0], browser.submission)
    new, again = (recovery_codes_in(press(*renew)) for _ in range(2))
    assert new == again
    assert len(new) == 10
    assert set(new).isdisjoint(codes)
    # The first form does not show the replaced codes.
    response = press(*confirm)
    assert recovery_codes_in(response) == []
    assert "are no longer valid" in text(browser.follow(response))
    # A wrong code creates nothing, and the form can be corrected.
    browser.open(path)
    number = browser.submission
    assert press("codes", codes[1], number).status_code == 422
    assert len(recovery_codes_in(press("codes", new[0], number))) == 10


def test_repeated_join_request_is_not_refused_by_the_rate_limit(
    browser: Browser, scene: Scene
) -> None:
    world = scene.world
    browser.sign_in(world, world.person("ada"))
    last: tuple[str, dict[str, Any]] = ("", {})
    for attempt in range(40):
        link = world.create_link(scene.people["owner"], "PROJECT.MEMBER", scene.project)
        path = f"/open_invitation/{link}/"
        form = form_on(browser, path, message=f"May I? {attempt}")
        if browser.call("POST", path, data=form).status_code == 429:
            break
        last = path, form
    else:
        pytest.fail("there is no rate limit")
    before = len(rows(world, join_requests))
    assert browser.call("POST", last[0], data=last[1]).status_code == 303
    assert len(rows(world, join_requests)) == before


def test_join_request_is_created_and_mailed_once(browser: Browser, scene: Scene) -> None:
    world = scene.world
    link = world.create_link(
        scene.people["owner"], "PROJECT.MEMBER", scene.project, allow_multiple_requests=True
    )
    path = f"/open_invitation/{link}/"
    browser.sign_in(world, world.person("ada"))
    form = form_on(browser, path, message="May I?")
    first, second = (outcome(browser, browser.call("POST", path, data=form)) for _ in range(2))
    assert first == second
    assert "Your request was sent" in first[1]
    assert len(rows(world, join_requests)) == 1
    mails = rows(world, outbox)
    kinds = [row.kind for row in mails]
    assert kinds.count("permission_request_submitted") == len({row.recipient for row in mails})


def test_list_of_people_is_invited_once(browser: Browser, scene: Scene) -> None:
    world, path = scene.world, f"{scene.paths['project']}invite/"
    browser.sign_in(world, scene.people["owner"]).open(path)
    people = "one@example.org\ntwo@example.org\nnonsense\none@example.org"
    form = {"addresses": people, "role": world.role("PROJECT.MEMBER").uuid, "extra_text": ""}
    browser.send(path, action="check", **form)
    form |= {"action": "send", "submission": browser.submission, "csrf": browser.csrf}
    first, second = (browser.call("POST", path, data=form) for _ in range(2))
    assert len(rows(world, invitations)) == 2
    assert "already" not in text(second)
    assert without_submission(first) == without_submission(second)


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_repeated_decision_shows_the_result_of_the_first(
    browser: Browser, scene: Scene, action: str
) -> None:
    world, owner = scene.world, scene.people["owner"]
    link = world.create_link(owner, "PROJECT.MEMBER", scene.project)
    requests = [world.ask(world.person(name), link) for name in ("ada", "bob")]
    eve = world.person("eve")
    withdrawn = world.ask(eve, link)
    browser.sign_in(world, owner)
    form = form_on(browser, "/requests/", action=action)
    with world.database.write() as tx:
        join_request_actions.cancel(tx, eve.actor, withdrawn)
    form["request"] = [*requests, withdrawn]
    first, second = (browser.call("POST", "/requests/", data=form) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.text == second.text
    assert "2 of 3 done" in text(first)
    state = "approved" if action == "approve" else "rejected"
    assert {world.request(uuid).state for uuid in requests} == {state}
    # A new form says that they are decided.
    browser.open("/requests/")
    again = browser.call("POST", "/requests/", data=form | {"submission": "another"})
    assert "No request was decided" in text(again)


@pytest.mark.parametrize("kind", ["project", "group"])
def test_repeated_invitation_is_not_refused_by_the_rate_limit(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    world, owner = scene.world, scene.people["owner"]
    limit = RateLimit(1, timedelta(hours=1), timedelta(hours=1), timedelta(hours=1))
    record = rate_limit_queries.record_failure
    monkeypatch.setattr(
        rate_limit_queries,
        "record_failure",
        lambda tx, subject, _limit, failures: record(tx, subject, limit, failures),
    )
    people = [world.person(name).email for name in ("one", "two", "three")]
    path, role = f"{scene.paths['project']}invite/", world.role("PROJECT.MEMBER").uuid
    if kind == "group":
        with world.database.write() as tx:
            path = f"/group/{group_actions.create(tx, owner.actor, 'Lab')}/team/invite/"
            member: Any = role_queries.by_name_or_uuid(tx, "GROUP.MEMBER", None, {"group"})
        role = member.uuid
    browser.sign_in(world, owner).open(path)
    addresses = "\n".join([*people[:2], "nonsense@"])
    form = {"addresses": addresses, "role": role, "extra_text": "", "action": "send"}
    assert browser.send(path, **form | {"action": "check"}).status_code == 200
    form |= {"submission": browser.submission, "csrf": browser.csrf}
    first, second = (browser.call("POST", path, data=form) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert len(rows(world, invitations)) == 2
    assert without_submission(first) == without_submission(second)
    # Another recipient is refused, also in the same form.
    for changed in (people[2], f"{addresses}\n{people[2]}"):
        response = browser.call("POST", path, data=form | {"addresses": changed})
        assert response.status_code == 429
    assert len(rows(world, invitations)) == 2


def sign_up(browser: Browser, scene: Scene) -> tuple[str, dict[str, str]]:
    """Open the link of an invitation and return its path and the form to sign up."""
    world = scene.world
    uuid = world.invite(scene.people["owner"], "new@example.org", "PROJECT.MEMBER", scene.project)
    path = f"/invitation/{world.vault.sign(links.MAILED, uuid, 1)}/"
    names = {
        "username": "newcomer",
        "first_name": "New",
        "last_name": "Comer",
        "own_address": "yes",
    }
    passwords = {"password": PASSWORD, "again": PASSWORD}
    return path, form_on(browser, path, **names, **passwords, agrees="yes")


def test_repeated_sign_up_signs_in_too(browser: Browser, scene: Scene) -> None:
    world = scene.world
    path, form = sign_up(browser, scene)
    # Both requests are sent before the first response.
    cookies = dict(browser.cookies)
    before = len(rows(world, accounts))
    first = browser.call("POST", path, data=form)
    session = browser.cookies["collegium_session"]
    browser.cookies = cookies
    second = browser.call("POST", path, data=form)
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"] == "/account/"
    assert "Welcome!" in text(browser.follow(second))
    assert "newcomer" in text(browser.open("/account/profile/"))
    assert browser.cookies["collegium_session"] != session
    assert len(rows(world, accounts)) == before + 1
    assert [row.username for row in world.grants_in(scene.project)].count("newcomer") == 1


@pytest.mark.parametrize("changed", ["password", "deactivated", "deleted"])
def test_repeated_sign_up_does_not_sign_in_to_a_changed_account(
    browser: Browser, scene: Scene, changed: str
) -> None:
    world = scene.world
    path, form = sign_up(browser, scene)
    cookies = dict(browser.cookies)
    assert browser.call("POST", path, data=form).status_code == 303
    (row,) = (row for row in rows(world, accounts) if row.username == "newcomer")
    account = f"/api/users/{row.uuid}/"
    if changed == "password":
        new = {"new_password": f"{PASSWORD} again"}
        response = browser._site.post(f"{account}change_password/", world.staff, json=new)
    elif changed == "deleted":
        response = browser._site.request("DELETE", account, world.staff)
    else:
        inactive = {"is_active": False}
        response = browser._site.request("PATCH", account, world.staff, json=inactive)
    assert response.status_code in {200, 204}, response.text
    browser.cookies = cookies
    again = browser.call("POST", path, data=form)
    assert again.headers["location"].startswith("/sign_in/")
    assert "collegium_session" not in browser.cookies


def test_repeated_acceptance_says_welcome_too(browser: Browser, scene: Scene) -> None:
    world, ada = scene.world, scene.world.person("ada")
    uuid = world.invite(scene.people["owner"], ada.email, "PROJECT.MEMBER", scene.project)
    path = f"/invitation/{world.vault.sign(links.MAILED, uuid, 1)}/"
    form = form_on(browser.sign_in(world, ada), path)
    first, second = (outcome(browser, browser.call("POST", path, data=form)) for _ in range(2))
    assert first == second
    assert "Welcome!" in first[1]


def test_worker_deletes_the_numbers_of_forms_after_a_day(browser: Browser, world: World) -> None:
    form = form_on(browser.sign_in(world, world.person("ada")), "/teams/", name="Lab")
    browser.call("POST", "/teams/", data=form)
    (row,) = rows(world, idempotency_keys)
    for age, left in ((idempotency.RETENTION, 1), (idempotency.RETENTION * 1.01, 0)):
        clock = partial(add, row.created_at, age)
        Worker(world.database, world.settings, world.vault, clock=clock).once()
        assert len(rows(world, idempotency_keys)) == left
