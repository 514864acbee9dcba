"""Another address for an account: who may ask, what the old address learns, what ends the wish."""

from __future__ import annotations

import re
from email.message import EmailMessage

import pytest

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.security.crypto import hash_password
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.worker.worker import Worker
from tests.sign_in.test_pages import HASHED, PASSWORD, enable_two_factor
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World
from tests.worker.scene import Recorder

HERE = "/account/address/"
NEW = "new@example.org"
OTHER = hash_password("a quiet harbour at night")


def asked(world: World, person: Person) -> str | None:
    """The address that an account is to have."""
    with world.database.read() as tx:
        row = email_change_queries.of_account(tx, person.id)
    return row.email if row else None


def address_of(world: World, person: Person) -> str:
    with world.database.read() as tx:
        row = account_queries.by_id(tx, person.id)
    assert row is not None
    return str(row.email)


def sent(world: World) -> list[EmailMessage]:
    recorder = Recorder()
    Worker(world.database, world.settings, world.vault, recorder).once()
    return recorder.sent


def notice(world: World) -> tuple[EmailMessage, str, str]:
    """The mail to the old address, its text, and the path of the link in it."""
    mails = [one for one in sent(world) if one["X-Collegium-Mail"] == "change_email_notice"]
    body = mails[-1].get_body(("plain",))
    assert body is not None
    said = body.get_content()
    found = re.search(r"http://[^/\s]+(/user_email_change_cancel/([0-9a-f]{32})/)", said)
    assert found, said
    return mails[-1], said, found[1]


def ask_by_api(site: Site, world: World, person: Person, token: str | None = None) -> int:
    path = f"/api/users/{person.uuid}/change_email/"
    return site.post(path, token or person, json={"email": NEW}).status_code


def test_the_page_asks_for_the_password(browser: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    browser.sign_in(world, ada)
    assert 'name="password"' in browser.open(HERE).text
    for given in ({}, {"password": ""}, {"password": "wrong"}, {"code": "000000"}):
        assert browser.send(HERE, email=NEW, **given).status_code == 422, given
    assert asked(world, ada) is None
    assert browser.send(HERE, email=NEW, password=PASSWORD).status_code == 303
    assert asked(world, ada) == NEW


def test_the_page_asks_for_a_code_where_a_second_factor_is_on(
    browser: Browser, world: World
) -> None:
    ada = world.person("ada", password=HASHED)
    authenticator, codes = enable_two_factor(world, ada)
    browser.sign_in(world, ada)
    page = browser.open(HERE).text
    assert 'name="code"' in page
    assert 'name="password"' not in page
    for given in ({}, {"password": PASSWORD}, {"code": "000000"}):
        assert browser.send(HERE, email=NEW, **given).status_code == 422, given
    assert asked(world, ada) is None
    code = authenticator.now()
    assert browser.send(HERE, email=NEW, code=code).status_code == 303
    assert asked(world, ada) == NEW
    # A code counts once, here as anywhere.
    assert browser.send(HERE, email="two@example.org", code=code).status_code == 422
    assert browser.send(HERE, email="two@example.org", code=codes[0]).status_code == 303
    assert asked(world, ada) == "two@example.org"


def test_a_wish_can_be_taken_back_without_a_password(browser: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    browser.sign_in(world, ada)
    browser.open(HERE)
    browser.send(HERE, email=NEW, password=PASSWORD)
    assert browser.send(HERE, cancel="yes").status_code == 303
    assert asked(world, ada) is None


def test_wrong_passwords_are_counted_as_when_signing_in(browser: Browser, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    browser.sign_in(world, ada)
    browser.open(HERE)
    for _ in range(4):
        assert browser.send(HERE, email=NEW, password="wrong").status_code == 422
    answer = browser.send(HERE, email=NEW, password=PASSWORD)
    assert answer.status_code == 422
    assert "try again in ten minutes" in text(answer)
    assert asked(world, ada) is None


def test_delegated_tokens_cannot_ask(site: Site, world: World) -> None:
    ada = world.person("ada", password=HASHED)
    with world.database.write() as tx:
        personal, _ = token_actions.issue_personal(tx, world.vault, ada.actor, "a program")
        pair = token_actions.log_in_with_refresh(tx, world.vault, ada.actor, "password")
        waiting = device_actions.begin(tx, world.vault, "a program")
        device_actions.approve(tx, ada.actor, waiting.uuid)
    poll = site.post("/api/auth/device/token/", json={"device_code": waiting.device_code})
    for token in (personal, pair.access, poll.json()["token"]):
        assert site.get("/api/users/me/", token).status_code == 200
        assert ask_by_api(site, world, ada, token) == 403
        # Rights come first: what one may not see is not found, whatever the token is.
        assert ask_by_api(site, world, world.person(), token) == 404
    assert asked(world, ada) is None
    assert {one["X-Collegium-Mail"] for one in sent(world)} == {"token_created"}
    assert ask_by_api(site, world, ada) == 200
    assert asked(world, ada) == NEW


def test_delegated_tokens_of_staff_cannot_ask_for_others(site: Site, world: World) -> None:
    ada = world.person("ada")
    with world.database.write() as tx:
        actor = world.staff.actor
        personal, _ = token_actions.issue_personal(tx, world.vault, actor, "a program")
    assert ask_by_api(site, world, ada, personal) == 403
    assert ask_by_api(site, world, ada, world.staff.token) == 200


def test_a_delegated_token_may_take_a_wish_back(site: Site, world: World) -> None:
    ada = world.person("ada")
    with world.database.write() as tx:
        personal, _ = token_actions.issue_personal(tx, world.vault, ada.actor, "a program")
    ask_by_api(site, world, ada)
    path = f"/api/users/{ada.uuid}/cancel_change_email/"
    assert site.post(path, personal).status_code == 200
    assert asked(world, ada) is None


def test_the_old_address_is_mailed_when_it_is_asked(
    browser: Browser, site: Site, world: World
) -> None:
    ada = world.person("ada", password=HASHED)
    browser.sign_in(world, ada)
    browser.open(HERE)
    browser.send(HERE, email=NEW, password=PASSWORD)
    mail, said, _link = notice(world)
    assert mail["To"] == ada.email
    for part in (NEW, "UTC", "Network address: 127.0.0.1", "/forgotten_password/"):
        assert part in said
    ask_by_api(site, world, ada, world.staff.token)
    mail, said, _link = notice(world)
    assert mail["To"] == ada.email
    assert "By: the staff of this service" in said
    assert "network address" not in said


def test_opening_the_link_in_the_old_mailbox_changes_nothing(
    browser: Browser, site: Site, world: World
) -> None:
    ada = world.person("ada")
    ask_by_api(site, world, ada)
    _mail, _said, link = notice(world)
    for method in ("GET", "HEAD", "GET"):
        assert site.request(method, link).status_code == 200
    assert site.post(link).status_code == 403
    page = browser.open(link)
    for secret in (ada.email, NEW, "ada"):
        assert secret not in text(page)
    assert asked(world, ada) == NEW
    assert site.get("/api/users/me/", ada).status_code == 200


def test_the_link_cancels_the_change_and_signs_out_everywhere(
    browser: Browser, other: Browser, site: Site, world: World
) -> None:
    ada, bob = world.person("ada", password=HASHED), world.person("bob")
    other.sign_in(world, ada)
    with world.database.write() as tx:
        personal, _ = token_actions.issue_personal(tx, world.vault, ada.actor, "a program")
        pair = token_actions.log_in_with_refresh(tx, world.vault, ada.actor, "password")
        waiting = device_actions.begin(tx, world.vault, "a program")
        device_actions.approve(tx, ada.actor, waiting.uuid)
    ask_by_api(site, world, ada)
    mails = sent(world)
    request = next(one for one in mails if one["X-Collegium-Mail"] == "change_email_request")
    body = request.get_body(("plain",))
    assert body is not None
    confirms = re.search(r"/user_email_change/([0-9a-f]{32})/", body.get_content())
    assert confirms
    code = addresses_code(world, ada)
    link = f"/user_email_change_cancel/{code}/"
    browser.open(link)
    answer = browser.send(link)
    assert answer.status_code == 200
    assert "Your account keeps its e-mail address" in text(answer)
    assert "/forgotten_password/" in answer.text
    assert asked(world, ada) is None
    assert other.open("/account/").status_code == 303
    for token in (ada.token, personal, pair.access):
        assert site.get("/api/users/me/", token).status_code == 401
    refresh = site.post("/api/auth/token/refresh/", json={"refresh": pair.refresh})
    assert refresh.status_code == 401
    poll = site.post("/api/auth/device/token/", json={"device_code": waiting.device_code})
    assert poll.json() == {"error": "access_denied"}
    sent_code = {"code": confirms[1]}
    assert site.post("/api/users/confirm_email/", json=sent_code).status_code == 404
    assert address_of(world, ada) == ada.email
    # Once, and nobody else's.
    browser.open(link)
    assert browser.send(link).status_code == 410
    assert site.get("/api/users/me/", bob).status_code == 200
    query = {"event_type": "account_address_change_canceled"}
    (event,) = site.get("/api/events/", world.staff, params=query).json()
    assert event["context"]["ip_address"] == "127.0.0.1"


def addresses_code(world: World, person: Person) -> str:
    """The code in the link that was mailed last; the mail was rendered already."""
    from collegium.accounts.email_changes.actions import cancel_code  # noqa: PLC0415 - new with this promise

    with world.database.read() as tx:
        row = account_queries.by_id(tx, person.id)
    assert row is not None
    return cancel_code(world.vault, person.id, row.email, row.credentials_version)


def test_asking_again_does_not_make_the_link_of_the_first_mail_worthless(
    browser: Browser, site: Site, world: World
) -> None:
    ada = world.person("ada")
    ask_by_api(site, world, ada)
    _mail, _said, link = notice(world)
    path = f"/api/users/{ada.uuid}/change_email/"
    site.post(path, ada, json={"email": "two@example.org"})
    browser.open(link)
    assert browser.send(link).status_code == 200
    assert asked(world, ada) is None


@pytest.mark.parametrize("code", ["0" * 32, "nonsense", "0" * 31])
def test_a_code_that_cancels_nothing_is_told(browser: Browser, world: World, code: str) -> None:
    world.person("ada")
    link = f"/user_email_change_cancel/{code}/"
    browser.open(link)
    answer = browser.send(link)
    assert answer.status_code == (410 if len(code) == 32 else 404)
    assert "is no longer valid" in text(answer)


def test_the_code_that_confirms_does_not_cancel_nor_the_other_way_round(
    browser: Browser, site: Site, world: World
) -> None:
    ada = world.person("ada")
    ask_by_api(site, world, ada)
    mails = " ".join(
        str(body.get_content()) for one in sent(world) if (body := one.get_body(("plain",)))
    )
    confirms = re.search(r"/user_email_change/([0-9a-f]{32})/", mails)
    cancels = re.search(r"/user_email_change_cancel/([0-9a-f]{32})/", mails)
    assert confirms
    assert cancels
    for link in (
        f"/user_email_change/{cancels[1]}/",
        f"/user_email_change_cancel/{confirms[1]}/",
    ):
        browser.open(link)
        assert browser.send(link).status_code == 410
    assert (address_of(world, ada), asked(world, ada)) == (ada.email, NEW)


def test_the_code_that_cancels_rests_nowhere(site: Site, world: World) -> None:
    ada = world.person("ada")
    ask_by_api(site, world, ada)
    code = addresses_code(world, ada)
    with world.database.read() as tx:
        row = email_change_queries.of_account(tx, ada.id)
    assert code not in repr(row)


def _change(world: World, ada: Person) -> None:
    with world.database.write() as tx:
        password_actions.change(tx, ada.actor, OTHER)


def _reset(world: World, ada: Person) -> None:
    with world.database.write() as tx:
        row = account_queries.with_password(tx, id=ada.id)
        assert row is not None
        link = password_actions.link(world.vault, row, tx.now)
        password_actions.reset(tx, world.vault, link, OTHER, "192.0.2.1")


def _set_by_staff(world: World, ada: Person) -> None:
    with world.database.write() as tx:
        account_actions.set_password(tx, world.staff.actor, ada.id, OTHER)


def _deactivate(world: World, ada: Person) -> None:
    for is_active in (False, True):
        with world.database.write() as tx:
            account_actions.update(
                tx,
                world.staff.actor,
                world.settings,
                ada.uuid,
                {"is_active": is_active},
                agrees_to_policy=False,
            )


def _reset_factor(world: World, ada: Person) -> None:
    with world.database.write() as tx:
        two_factor_actions.reset(tx, world.staff.actor, ada.uuid)


def _turn_factor_off(world: World, ada: Person) -> None:
    with world.database.write() as tx:
        two_factor_actions.remove(tx, ada.actor)


def _operator(world: World, ada: Person) -> None:
    account_actions.ensure_staff(
        world.database,
        world.settings,
        world.vault,
        "ada",
        ada.email,
        "a quiet harbour at night",
        allow_promotion=True,
    )


ENDS = {
    "changed": _change,
    "reset": _reset,
    "set by staff": _set_by_staff,
    "deactivated": _deactivate,
    "second factor reset": _reset_factor,
    "second factor turned off": _turn_factor_off,
    "set by the operator": _operator,
}


@pytest.mark.parametrize("how", ENDS)
def test_whoever_got_in_before_cannot_confirm_after(
    browser: Browser, site: Site, world: World, how: str
) -> None:
    ada = world.person("ada", password=HASHED)
    enable_two_factor(world, ada)
    with world.database.write() as tx:
        email_change_actions.request_change(
            tx, ada.actor, world.settings, world.vault, ada.uuid, NEW
        )
    request = next(one for one in sent(world) if one["X-Collegium-Mail"] == "change_email_request")
    body = request.get_body(("plain",))
    assert body is not None
    found = re.search(r"/user_email_change/([0-9a-f]{32})/", body.get_content())
    assert found
    ENDS[how](world, ada)
    assert asked(world, ada) is None
    answer = site.post("/api/users/confirm_email/", json={"code": found[1]})
    assert answer.status_code == 404
    browser.open(f"/user_email_change/{found[1]}/")
    assert browser.send(f"/user_email_change/{found[1]}/").status_code == 410
    assert address_of(world, ada) == ada.email


def test_what_ends_for_one_account_stays_for_another(site: Site, world: World) -> None:
    ada, bob = world.person("ada", password=HASHED), world.person("bob")
    site.post(f"/api/users/{bob.uuid}/change_email/", bob, json={"email": "b@example.org"})
    _change(world, ada)
    assert asked(world, bob) == "b@example.org"
    with world.database.read() as tx:
        assert token_queries.of_account(tx, bob.id) is not None
