"""The pages of imports, from the upload to the undo."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import httpx
import pytest

from collegium.scopes.actions import change_account
from tests.imports.scene import MALFORMED, REPEATED, csv_file, state, states, upload, work
from tests.support.browser import Browser, text
from tests.support.world import Person, Place, World

READY = 60 - MALFORMED - REPEATED


def submit(browser: Browser, path: str, **data: Any) -> httpx.Response:
    browser.open(path)
    files = {"files": data.pop("files")} if "files" in data else {}
    return browser.send(path, **data, options=files)


@pytest.fixture
def at(browser: Browser, world: World, owner: Person, project: Place) -> str:
    browser.sign_in(world, owner)
    return f"/project/{project.uuid}/"


def test_a_file_is_checked_started_followed_and_undone(
    browser: Browser, world: World, at: str
) -> None:
    invitations = browser.open(f"{at}invitations/")
    assert f'href="{at}imports/"' in invitations.text
    uploaded = submit(
        browser, f"{at}imports/", files={"file": ("Kurs.csv", csv_file(60), "text/csv")}
    )
    shown = browser.follow(uploaded)
    path = uploaded.headers["location"]
    uuid = path.rstrip("/").rpartition("/")[2]
    assert f"{READY} people can be invited. Nothing has been sent yet." in text(shown)
    assert "This is not an e-mail address." in text(shown)
    assert "refresh" not in shown.text.partition("</head>")[0]
    wrong = browser.open(f"{path}?state=malformed")
    assert f"malformed {MALFORMED}" in text(wrong)
    assert "person1@" not in text(wrong)
    german = browser.open(f"{path}?state=malformed", headers={"Accept-Language": "de"})
    assert "Dies ist keine E-Mail-Adresse." in text(german)

    # Two ticked rows, then the others.
    running = browser.follow(submit(browser, path, action="chosen", rows=["2", "3"]))
    assert '<meta http-equiv="refresh"' in running.text
    assert "0 of 2 invited" in text(running)
    assert state(world, uuid) == "running"
    work(world)
    history = text(browser.open(f"{at}history/"))
    assert "Olga Lee started to invite the people of" in history
    done = browser.open(path)
    assert "refresh" not in done.text.partition("</head>")[0]
    assert states(world, uuid)["created"] == 2
    submit(browser, path, action="start")
    work(world)
    assert states(world, uuid)["created"] == READY
    submit(browser, path, action="undo")
    assert "being cancelled" in text(browser.open(path))
    work(world)
    assert states(world, uuid)["withdrawn"] == READY
    assert "undone" in text(browser.open(f"{at}imports/"))
    result = browser.open(f"{path}result/")
    rows = list(csv.DictReader(io.StringIO(result.content.decode("utf-8-sig"))))
    assert [row["state"] for row in rows].count("withdrawn") == READY


def test_a_running_import_of_somebody_without_a_name_is_stopped(
    browser: Browser, world: World, owner: Person, at: str
) -> None:
    """The first account of a service has no name, for example."""
    with world.database.write() as tx:
        change_account(tx, owner.id, {"first_name": "", "last_name": ""})
    path = submit(browser, f"{at}imports/", text=csv_file(60).decode()).headers["location"]
    submit(browser, path, action="start")
    stopped = browser.follow(submit(browser, path, action="cancel"))
    assert "The import is stopped." in text(stopped)
    assert f"by {owner.actor.username}" in text(stopped)
    assert owner.actor.username in text(browser.open(f"{at}imports/"))
    assert work(world) == 0
    nothing = browser.follow(submit(browser, path, action="chosen"))
    assert "Please tick rows that are ready." in text(nothing)


def test_columns_are_named_on_the_page(browser: Browser, world: World, at: str) -> None:
    pasted = "Kontakt;Wer;Amt\nann@uni.example;Ann Lee;x\n"
    role = world.role("PROJECT.MEMBER").uuid
    wrong = submit(browser, f"{at}imports/", text=pasted, role=role, column_email="Adresse")
    assert wrong.status_code == 422
    assert "The columns cannot be found or are named twice: Adresse." in text(wrong)
    assert "Kontakt;Wer;Amt" in wrong.text, "what was pasted stays"
    shown = browser.follow(
        submit(
            browser,
            f"{at}imports/",
            text=pasted,
            role=role,
            column_email="kontakt",
            column_name="2",
        )
    )
    assert re.search(r"Kontakt : E-mail addresses Wer : Names Amt : ignored", text(shown))
    again = browser.follow(
        submit(
            browser,
            f"{at}imports/",
            text=pasted,
            role=role,
            column_email="kontakt",
            column_name="2",
        )
    )
    assert "This file was uploaded before." in text(again)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_cannot_be_read_is_said_on_the_form(
    browser: Browser, world: World, owner: Person, at: str
) -> None:
    elsewhere = world.project(world.organisation(owner=owner))
    uuid = upload(world, owner, elsewhere, csv_file(20))
    assert browser.open(f"{at}imports/{uuid}/").status_code == 404
    for fields, sentence in (
        ({}, "Please choose a file, or paste a list."),
        ({"text": "nobody"}, "No column with e-mail addresses was recognised."),
        ({"text": 'email\n"a@b.example'}, "A quotation mark in line"),
    ):
        refused = submit(browser, f"{at}imports/", **fields)
        assert (refused.status_code, sentence in text(refused)) == (422, True), sentence
    assert browser.open(f"{at}imports/{'0' * 32}/").status_code == 404
