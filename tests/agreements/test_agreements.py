"""User agreements: published in versions, shown where people agree, asked for again."""

from __future__ import annotations

import re
from typing import Any

import pytest

from collegium.accounts import queries as account_queries
from collegium.agreements import queries as agreement_queries
from collegium.agreements.queries import AcceptedAgreement
from collegium.invitations import links
from collegium.refusals import Invalid
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, World

PATH = "/api/user-agreements/"
HERE = "/account/agreements/"
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def publish(site: Site, world: World, **values: str) -> dict[str, Any]:
    body = {"agreement_type": "TOS", "content": "Be kind.", "language": "", **values}
    response = site.post(PATH, world.staff, json=body)
    assert response.status_code == 201, response.text
    agreement: dict[str, Any] = response.json()
    return agreement


def change(site: Site, world: World, agreement: dict[str, Any], **values: str) -> Any:
    response = site.request("PATCH", agreement["url"], world.staff, json=values)
    assert response.status_code == 200, response.text
    return response.json()


def account_of(world: World, person: Person) -> Any:
    with world.database.read() as tx:
        return account_queries.existing(tx, person.id)


def accepted(world: World, person: Person) -> list[AcceptedAgreement]:
    with world.database.read() as tx:
        return agreement_queries.accepted_by(tx, person.id)


def events(site: Site, world: World, kind: str) -> list[Any]:
    rows: list[Any] = site.get(f"/api/events/?event_type={kind}", world.staff).json()
    return rows


def test_texts_are_published_listed_changed_and_removed(site: Site, world: World) -> None:
    terms = publish(site, world)
    assert terms["url"].endswith(f"{PATH}{terms['uuid']}/")
    assert terms["created"] == terms["modified"]
    german = publish(site, world, language="de", content="Seid nett.")
    privacy = publish(site, world, agreement_type="PP", content="We keep little.")
    # Without a German privacy policy, the default one is listed.
    for query, expected in (
        ("", [privacy, terms, german]),
        ("?agreement_type=TOS", [terms, german]),
        ("?language=de", [privacy, german]),
        ("?language=de&agreement_type=PP", [privacy]),
        ("?language=fi", [privacy, terms]),
        ("?agreement_type=OTHER", []),
    ):
        assert site.get(f"{PATH}{query}").json() == expected, query
        count = site.request("HEAD", f"{PATH}{query}").headers["X-Result-Count"]
        assert count == str(len(expected))
    changed = change(site, world, terms, content="Be very kind.")
    assert changed["uuid"] == terms["uuid"]
    assert changed["created"] == terms["created"] < changed["modified"]
    assert site.get(f"{PATH}{terms['uuid']}/").json() == changed
    assert change(site, world, terms, content="Be very kind.") == changed
    body = {"agreement_type": "TOS", "content": "Be kind.", "language": ""}
    assert site.request("PUT", terms["url"], world.staff, json=body).status_code == 200
    assert site.request("DELETE", terms["url"], world.staff).status_code == 204
    assert site.get(f"{PATH}{terms['uuid']}/").status_code == 404
    assert site.request("DELETE", terms["url"], world.staff).status_code == 404
    versions = [
        one["context"]["agreement_version"] for one in events(site, world, "agreement_changed")
    ]
    assert sorted(versions) == ["2", "3"]


@sqlite_only
def test_wrong_texts_are_refused_with_all_errors(site: Site, world: World) -> None:
    terms = publish(site, world)
    for body, fields in (
        ({}, {"content", "agreement_type"}),
        (
            {"content": "", "agreement_type": "X", "language": "Deutsch!"},
            {*terms} & {"content", "agreement_type", "language"},
        ),
        ({"content": "x" * 100_001, "agreement_type": "TOS"}, {"content"}),
        ({"content": "Twice.", "agreement_type": "TOS"}, {"non_field_errors"}),
    ):
        response = site.post(PATH, world.staff, json=body)
        assert response.status_code == 400
        assert response.json().keys() == fields
    other = publish(site, world, agreement_type="PP")
    response = site.request("PATCH", other["url"], world.staff, json={"agreement_type": "TOS"})
    assert response.status_code == 400
    assert site.get(f"{PATH}{other['uuid']}/").json() == other


def test_new_version_is_asked_for_at_the_next_sign_in_and_recorded(
    site: Site, world: World, browser: Browser
) -> None:
    person = world.person()
    terms = publish(site, world, content="Be kind.")
    browser.sign_in(world, person)
    # Every page leads there, and back after the agreement.
    answer = browser.open("/teams/?q=x")
    assert answer.headers["location"] == f"{HERE}?next=/teams/"
    page = browser.follow(answer)
    assert "Please agree" in text(page)
    assert "Be kind." in text(page)
    assert "Back to my account" not in text(page), "it leads here again"
    # The front end of the Waldur API asks too.
    assert site.get("/api/users/me/", person).json()["agreement_date"] is None
    shown = re.search(r'name="agreements" value="([\d ]+)"', page.text)
    assert shown
    # Somebody publishes another version meanwhile: the new one is shown and asked for.
    change(site, world, terms, content="Be very kind.")
    refused = browser.send(HERE, agreements=shown[1], next="/teams/")
    assert refused.status_code == 422
    assert "Be very kind." in text(refused)
    assert accepted(world, person) == []
    shown = re.search(r'name="agreements" value="([\d ]+)"', refused.text)
    assert shown
    done = browser.send(HERE, agreements=shown[1], next="/teams/")
    assert done.headers["location"] == "/teams/"
    assert browser.follow(done).status_code == 200
    (row,) = accepted(world, person)
    assert (row.version, row.content) == (2, "Be very kind.")
    date = site.get("/api/users/me/", person).json()["agreement_date"]
    assert date is not None
    (event,) = events(site, world, "agreements_accepted")
    assert event["context"]["agreements"] == ["terms 2"]
    # A session that exists is not interrupted; the next sign-in asks again.
    change(site, world, terms, content="Be extremely kind.")
    assert browser.open("/teams/").status_code == 200
    assert site.get("/api/users/me/", person).json()["agreement_date"] == date
    browser.sign_in(world, person)
    assert site.get("/api/users/me/", person).json()["agreement_date"] is None
    assert browser.open("/teams/").status_code == 303
    page = browser.open(HERE)
    assert "version 2" in text(page)
    assert "no longer current" in text(page)


def test_translation_asks_nobody_again_who_agreed_in_another_language(
    site: Site, world: World, browser: Browser
) -> None:
    person = world.person()
    publish(site, world)
    browser.sign_in(world, person)
    page = browser.open(HERE)
    shown = re.search(r'name="agreements" value="([\d ]+)"', page.text)
    assert shown
    browser.send(HERE, agreements=shown[1])
    german = publish(site, world, language="de", content="Seid nett.")
    browser.sign_in(world, person)
    assert browser.open("/account/").status_code == 200
    # Other people are asked, and shown the text in the language of their browser.
    browser.sign_in(world, world.person())
    assert browser.open("/account/").status_code == 303
    page = browser.open(HERE, headers={"Accept-Language": "fr;q=0.3, de-AT"})
    assert "Seid nett." in text(page)
    assert "Be kind." not in text(page)
    # Texts that are removed are not asked for.
    for one in site.get(PATH).json():
        site.request("DELETE", one["url"], world.staff)
    assert german
    assert browser.open("/account/").status_code == 200


@sqlite_only
def test_staff_and_accounts_without_texts_are_not_asked(
    site: Site, world: World, browser: Browser
) -> None:
    agreed = world.person(agreed_at=None)
    browser.sign_in(world, agreed)
    assert browser.open("/account/").status_code == 200
    publish(site, world)
    browser.sign_in(world, world.staff)
    assert browser.open("/account/").status_code == 200
    assert not account_of(world, world.staff).must_agree


@sqlite_only
def test_front_end_agrees_for_the_person_and_nobody_else_does(
    site: Site, world: World, browser: Browser
) -> None:
    person, other = world.person(preferred_language="de"), world.person()
    publish(site, world)
    publish(site, world, language="de", content="Seid nett.")
    for one in (person, other):
        browser.sign_in(world, one)
    # Without agreeing, the profile cannot be changed.
    me = f"/api/users/{person.uuid}/"
    assert site.request("PATCH", me, person, json={"job_title": "x"}).status_code == 400
    body = {"agree_with_policy": True}
    assert site.request("PATCH", me, person, json=body).status_code == 200
    (row,) = accepted(world, person)
    assert row.language == "de"
    assert not account_of(world, person).must_agree
    # Staff can set the date for another account, but record no agreement in its name.
    theirs = f"/api/users/{other.uuid}/"
    for headers in ({}, {"X-Impersonated-User-Uuid": other.uuid}):
        browser.sign_in(world, other)
        answer = site.request("PATCH", theirs, world.staff, json=body, headers=headers)
        assert answer.status_code == 200
        assert accepted(world, other) == accepted(world, world.staff) == []


def test_sign_up_shows_the_texts_and_records_what_was_shown(
    site: Site, world: World, browser: Browser
) -> None:
    owner = world.person()
    project = world.project(world.organisation(owner=owner))
    terms = publish(site, world, content="<p>Be <b>kind</b>.</p><script>x</script>")
    uuid = world.invite(world.staff, "new@example.org", "PROJECT.MEMBER", project)
    path = f"/invitation/{world.vault.sign(links.MAILED, uuid, 1)}/"
    page = browser.open(path)
    assert "<p>Be <strong>kind</strong>.</p>" in page.text
    assert "<script>" not in page.text
    assert "I agree to the terms of service" in text(page)
    form = {
        "username": "newcomer",
        "own_address": "yes",
        "first_name": "New",
        "last_name": "Comer",
        "password": "purple-tram-lifts-9",
        "again": "purple-tram-lifts-9",
        "agrees": "yes",
    }
    found = re.search(r'name="agreements" value="([\d ]+)"', page.text)
    assert found
    refused = browser.send(path, **form)
    assert refused.status_code == 422
    assert "The texts have changed" in text(refused)
    change(site, world, terms, content="Be very kind.")
    assert browser.send(path, **form, agreements=found[1]).status_code == 422
    page = browser.open(path)
    found = re.search(r'name="agreements" value="([\d ]+)"', page.text)
    assert found
    assert browser.follow(browser.send(path, **form, agreements=found[1])).status_code == 200
    with world.database.read() as tx:
        account = account_queries.by_username(tx, "newcomer")
        assert account is not None
        (row,) = agreement_queries.accepted_by(tx, account.id)
    assert row.version == 2


def test_second_text_of_a_kind_and_language_is_refused_by_the_database(
    site: Site, world: World
) -> None:
    publish(site, world)
    with world.database.write() as tx, pytest.raises(Invalid, match=r"agreement\.taken"):
        agreement_queries.add(tx, {"kind": "terms", "content": "Twice."})


@sqlite_only
def test_staff_publish_change_and_remove_texts_on_pages(
    site: Site, world: World, browser: Browser
) -> None:
    here = "/staff/agreements/"
    browser.sign_in(world, world.staff)
    assert "There is no text yet" in text(browser.open(here))
    browser.open(f"{here}new/")
    wrong = browser.send(f"{here}new/", kind="terms", language="x", content="")
    assert wrong.status_code == 422
    assert "language code" in text(wrong)
    form = {"kind": "terms", "language": "de", "content": "Seid\n\nnett."}
    browser.open(f"{here}new/")
    page = browser.follow(browser.send(f"{here}new/", **form))
    assert "The text is published" in text(page)
    (row,) = site.get(PATH).json()
    one = f"{here}{row['uuid']}/"
    assert "<p>Seid</p><p>nett.</p>" in browser.open(one).text
    form["content"] = "Seid sehr nett."
    assert "is saved" in text(browser.follow(browser.send(one, action="save", **form)))
    assert 'data-label="Version">2<' in browser.open(here).text
    browser.open(one)
    browser.follow(browser.send(one, action="remove"))
    assert site.get(PATH).json() == []
    assert "has not published any texts" in text(browser.open("/agreements/"))


@sqlite_only
def test_public_page_shows_the_texts_in_the_wanted_language(
    site: Site, world: World, browser: Browser
) -> None:
    publish(site, world)
    publish(site, world, language="de", content="Seid nett.")
    publish(site, world, agreement_type="PP", content="We keep little.")
    page = text(browser.open("/agreements/?language=de"))
    assert "Seid nett." in page
    assert "We keep little." in page
    assert "Be kind." not in page
    assert "Terms and privacy" in text(browser.open("/sign_in/"))
