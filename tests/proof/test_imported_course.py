"""A course of 3,000 people is imported by the API, on a page and by the command, and killed.

The worker is a process of its own, as is the command. Each dies at another kind of point: just
before a commit, in the middle of a batch, and just after a commit. Afterwards nobody was invited
twice, and nobody was forgotten.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy import select

from collegium.db import tables
from collegium.db.statements import Statement
from collegium.imports.actions import WORK_BATCH
from tests.conftest import KEY
from tests.imports.scene import MALFORMED, REPEATED, csv_file, state, table
from tests.proof.crashing import Victim
from tests.proof.invariants import broken
from tests.support.browser import Browser, text
from tests.support.serving import PATIENCE, free_port
from tests.support.site import Site
from tests.support.world import Person, Place, World

LARGE = 3000
KNOWN = 2
"""People of the file who are a member or invited already."""
READY = LARGE - MALFORMED - REPEATED - KNOWN
API = "/api/imports/"

_INVITED = Statement[str](select(tables.invitations.c.email_comparable))
_MAILED = Statement[str](
    select(tables.outbox.c.recipient).where(tables.outbox.c.kind == "invitation_created")
)
_EVENTS = Statement[Any](select(tables.events.c.kind, tables.events.c.payload))


@cache
def spreadsheet() -> bytes:
    """Return the course as XLSX."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in table(LARGE):
        sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


class Course:
    """The file, a project with a member and an invited person of it, and the processes."""

    def __init__(self, world: World, url: str, folder: Path) -> None:
        self.world = world
        self.owner = world.person("olga")
        self.project = world.project(world.organisation("Initech", owner=self.owner), "Atlas")
        member = world.person("person2", email="PERSON2@uni.example")
        world.give_role(member, "PROJECT.MANAGER", self.project)
        world.invite(self.owner, "person3@uni.example", "PROJECT.MANAGER", self.project)
        # No e-mail leaves: to send them takes longer than to import. ``test_crashes`` proves them.
        mail_url = f"smtp://127.0.0.1:{free_port()}"
        values = {"database_url": url, "secret_key": KEY, "mail_url": mail_url}
        self.victim = Victim(folder, values, separate_worker=True)

    def all(self, statement: Statement[Any]) -> list[Any]:
        with self.world.database.read() as tx:
            return tx.fetch_all(statement)

    def invited(self) -> int:
        """Return how many people of the file were invited by the import."""
        return len(self.all(_INVITED)) - 1

    def die(self, *words: str, at: str) -> None:
        """Run a command until it is killed at a point, and look at what it leaves."""
        self.victim._start_process(*words, kill=at)
        assert self.victim.is_dead(words[0], 6 * PATIENCE), self.victim.log.read_text()[-2000:]
        assert self.victim._running[words[0]].poll() == -9, self.victim.log.read_text()[-2000:]
        assert 0 < self.invited() < READY
        assert self.invited() % WORK_BATCH == 0, "half a batch"
        assert broken(self.world.database) == []

    def work(self, uuid: str) -> None:
        """Run a worker until the import is done."""
        self.victim._start_process("worker")
        while state(self.world, uuid) == "running":
            assert not self.victim.is_dead("worker", 0.05), self.victim.log.read_text()[-2000:]
        self.victim.kill()

    def check(self) -> None:
        """Check that exactly the people of the file were invited, each once."""
        expected = {
            row[2].lower()
            for number, row in enumerate(table(LARGE))
            if number and number not in {10, 20, 30, 40, 50}
        } - {"person2@uni.example"}
        assert len(expected) == READY + 1
        assert sorted(self.all(_INVITED)) == sorted(expected)
        assert sorted(self.all(_MAILED)) == sorted(expected)
        events = self.all(_EVENTS)
        created = [row.payload["email"] for row in events if row.kind == "invitation.created"]
        assert sorted(created) == sorted(expected)
        (started,) = [row.payload for row in events if row.kind == "import.started"]
        assert started["import_rows"] == str(READY)
        assert broken(self.world.database) == []


@pytest.fixture
def course(world: World, url: str, tmp_path: Path) -> Iterator[Course]:
    course = Course(world, url, tmp_path)
    yield course
    course.victim.kill()


def post(site: Site, person: Person, project: Place) -> Any:
    """Upload the file to the API."""
    parts = {"scope": project.path, "file_name": "Kurs.csv"}
    files: list[Any] = [
        *((name, (None, value.encode(), "text/plain")) for name, value in parts.items()),
        ("file", ("people.csv", csv_file(LARGE), "text/csv")),
    ]
    return site.post(API, person, files=files)


def test_course_is_imported_by_the_api(course: Course, site: Site) -> None:
    owner, project = course.owner, course.project
    answer = post(site, owner, project)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    judged = {"malformed": MALFORMED, "repeated": REPEATED, "invited": 1, "member": 1}
    assert found["rows"] == {"ready": READY, **judged}
    assert (found["state"], found["total"], found["file_name"]) == ("judged", LARGE, "Kurs.csv")
    assert [column["field"] for column in found["columns"]] == [
        *("first_name", "last_name", "email", "role", "until", "message", "language")
    ]
    url = f"{API}{found['uuid']}/"
    assert site.get(f"{API}?scope={project.path}", owner).json() == [found]
    assert site.post(f"{url}start/", owner, json={}).json()["state"] == "running"
    course.die("worker", at="commit:40")
    progress = site.get(url, owner).json()
    assert progress["state"] == "running"
    assert progress["rows"] == {
        **judged,
        "created": course.invited(),
        "waiting": READY - course.invited(),
    }
    course.work(found["uuid"])
    finished = site.get(url, owner).json()
    assert (finished["state"], finished["rows"]) == ("done", {"created": READY, **judged})
    course.check()
    # The same file again does nothing.
    again = post(site, owner, project)
    assert (again.status_code, again.json()) == (200, finished)
    assert site.post(f"{url}start/", owner, json={}).status_code == 409


def test_course_is_imported_on_the_page(course: Course, browser: Browser) -> None:
    browser.sign_in(course.world, course.owner)
    form = f"/project/{course.project.uuid}/imports/"
    browser.open(form)
    file = ("Kurs.xlsx", spreadsheet(), "application/octet-stream")
    uploaded = browser.send(form, options={"files": {"file": file}})
    shown = browser.follow(uploaded)
    path = uploaded.headers["location"]
    assert f"{READY} people can be invited. Nothing has been sent yet." in text(shown)
    assert re.search(f"malformed {MALFORMED} twice in the file {REPEATED}", text(shown))
    running = browser.follow(browser.send(path, action="start"))
    assert f"0 of {READY} invited" in text(running)
    course.die("worker", at="statement:200")
    running = browser.open(path)
    assert '<meta http-equiv="refresh"' in running.text
    assert f"{course.invited()} of {READY} invited" in text(running)
    course.work(path.rstrip("/").rpartition("/")[2])
    done = browser.open(path)
    assert "refresh" not in done.text.partition("</head>")[0]
    assert f"invited {READY}" in text(done)
    course.check()


def test_course_is_imported_by_the_command(course: Course, tmp_path: Path) -> None:
    path = tmp_path / "course.csv"
    path.write_bytes(csv_file(LARGE))
    words = ("import", str(path), "--scope", course.project.uuid, "--as", "olga")
    run: Callable[..., Any] = course.victim.run
    tried = run(*words, "--dry-run")
    assert tried.returncode == 1, tried.stderr
    assert f"  {READY}  ready\n" in tried.stdout
    assert "row 21: uni.example (email): This is not an e-mail address." in tried.stdout
    assert course.invited() == 0
    course.die(*words, at="committed:15")
    done = run(*words)
    assert done.returncode == 1, done.stderr
    assert f"  {READY}  invited\n" in done.stdout
    course.check()
    # Nothing is left to do.
    assert run(*words).stdout == done.stdout
    course.check()
