"""The first start: a link in the log leads to a page that makes the first account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, select

from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts, tokens
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.site import queries as site_queries
from collegium.site.actions import setup_path
from collegium.staff_command import ensure_staff
from collegium.worker.worker import Worker
from tests.support.browser import Browser, text
from tests.support.mails import mail_text
from tests.support.site import Site
from tests.worker.scene import Recorder

PASSWORD = "a quiet harbour at night"
FORM = {
    "site_name": "Coastal Members",
    "username": "grace",
    "email": "grace@example.org",
    "password": PASSWORD,
    "again": PASSWORD,
}


@pytest.fixture
def path(database: Database, vault: Vault) -> str:
    """Return the path of the set-up page of an empty database."""
    path = setup_path(database, vault)
    assert path is not None
    return path


def usernames(database: Database) -> list[str]:
    with database.read() as tx:
        return tx.fetch_all(Statement[str](select(accounts.c.username)))


def set_up(browser: Browser, path: str, **changes: str) -> Any:
    browser.open(path)
    return browser.send(path, **FORM | changes)


def test_setting_up_makes_a_staff_account_names_the_service_and_tests_mail(
    database: Database, settings: Settings, vault: Vault, browser: Browser, path: str
) -> None:
    assert "log of this service has a link" in text(browser.open("/sign_in/"))
    page = browser.follow(set_up(browser, path, username="Grace "))
    assert page.status_code == 200
    assert "The service is set up" in text(page)
    assert "State queued" in text(page)
    assert usernames(database) == ["grace"]
    assert browser.open("/staff/accounts/").status_code == 200

    recorder = Recorder()
    Worker(database, settings, vault, recorder).once()
    (mail,) = recorder.sent
    assert (mail["To"], mail["Subject"]) == (FORM["email"], "Test e-mail of Coastal Members")
    assert "Coastal Members" in mail_text(mail)
    assert "State sent" in text(browser.open("/staff/mails/1/"))

    browser.send("/sign_out/")
    browser.open("/sign_in/")
    assert browser.send("/sign_in/", username="grace", password=PASSWORD).status_code == 303


def test_link_works_once(
    database: Database, vault: Vault, browser: Browser, other: Browser, path: str
) -> None:
    assert setup_path(database, vault) == path
    other.open(path)
    browser.open(path)
    form, cookies = FORM | {"submission": browser.submission, "csrf": browser.csrf}, browser.cookies
    assert form["csrf"]
    browser.cookies = cookies.copy()
    first = browser.send(path, **form)
    # Pressed twice, the button gets the same answer: the browser has dropped the first session.
    browser.cookies = cookies
    second = browser.send(path, **form)
    assert second.headers["location"] == first.headers["location"]
    assert "You are signed in" in text(browser.follow(second))
    assert other.send(path, **FORM | {"username": "second"}).status_code == 410
    assert other.open(path).status_code == 410
    assert usernames(database) == ["grace"]
    assert setup_path(database, vault) is None


def test_every_wrong_field_is_named_and_nothing_is_created(
    database: Database, browser: Browser, path: str
) -> None:
    wrong = {"site_name": " ", "username": "Gräce", "email": "grace", "password": "1234"}
    answer = set_up(browser, path, **wrong)
    assert answer.status_code == 422
    assert [f'href="#{name}"' in answer.text for name in wrong] == [True] * 4
    assert usernames(database) == []
    assert set_up(browser, path).status_code == 303


def test_link_of_another_database_is_refused(
    database: Database, vault: Vault, browser: Browser, path: str
) -> None:
    for key in ("0" * 32, "", "x"):
        wrong = f"/setup/{vault.sign('setup', key)}/"
        assert browser.open(wrong).status_code == 410
    other_purpose = f"/setup/{vault.sign('password', '0' * 32)}/"
    assert browser.open(other_purpose).status_code == 410
    other_key = Vault("another key of at least 32 characters")
    key = path.split("/")[2]
    assert other_key.unsign("setup", key) is None
    browser.open(path)
    assert browser.send(f"/setup/{key[:-2]}xx/", **FORM).status_code == 410
    assert usernames(database) == []


@pytest.mark.parametrize("is_by_command", [True, False])
def test_any_account_ends_the_link_for_ever(
    is_by_command: bool,
    database: Database,
    settings: Settings,
    vault: Vault,
    browser: Browser,
    path: str,
    request: pytest.FixtureRequest,
) -> None:
    browser.open(path)
    if is_by_command:
        ensure_staff(database, settings, vault, "ada", "ada@example.org", None)
    else:
        request.getfixturevalue("world")
        assert setup_path(database, vault) is None
    before = usernames(database)
    assert browser.send(path, **FORM).status_code == 410
    assert browser.open(path).status_code == 410
    assert usernames(database) == before
    with database.write() as tx:
        tx.execute(Statement(delete(tokens)))
        tx.execute(Statement(delete(accounts)))
    assert setup_path(database, vault) is None
    assert browser.open(path).status_code == 410


def test_name_in_the_environment_wins(
    make_settings: Callable[..., Settings],
    make_site: Callable[[Settings], Site],
    database: Database,
    path: str,
) -> None:
    browser = Browser(make_site(make_settings(site_name="From the environment")))
    assert 'name="site_name"' not in browser.open(path).text
    page = browser.follow(set_up(browser, path))
    assert "From the environment" in page.text
    with database.read() as tx:
        assert site_queries.state(tx).name == ""


@pytest.fixture
def nodes(make_site: Callable[[Settings], Site], settings: Settings) -> list[Browser]:
    """Return browsers at two processes of one service."""
    return [Browser(make_site(settings)) for _ in range(2)]


def test_other_processes_learn_the_name_and_then_stop_asking(
    nodes: list[Browser], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = nodes
    assert "Collegium" in two.open("/").text
    set_up(one, path)
    published = two.call("GET", "/api/configuration/").json()
    assert published["WALDUR_CORE"]["SITE_NAME"] == "Coastal Members"
    assert "Coastal Members" in one.open("/").text
    monkeypatch.delattr(site_queries, "state")
    assert two.open("/agreements/").status_code == 200
