"""Downloads show what their pages show, to the same people, in batches; and they are recorded."""

from __future__ import annotations

import csv
import io
import re
import tracemalloc
from typing import Any

import pytest

from collegium import server
from collegium.api import streams
from collegium.api.middleware import registry
from collegium.db.database import UnavailableError
from collegium.events.types import BY_KIND
from collegium.exports import actions as export_actions
from collegium.exports.files import pieces
from collegium.exports.rules import Format, Subject
from collegium.refusals import Refusal
from tests.groups.scene import Groups
from tests.support.browser import Browser, text
from tests.support.site import Site, record_statements
from tests.support.world import Person, Place, World

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
LISTS = ("members", "invitations", "history")


class Scene:
    """An organisation with an owner, two projects, members, and an invitation with a formula."""

    def __init__(self, world: World, site: Site) -> None:
        self.world, self.site = world, site
        self.owner = world.person("owner", first_name="Olga", last_name="Ek")
        self.sea = world.organisation("Sea", owner=self.owner)
        self.survey = world.project(self.sea, "Survey")
        self.manager, self.ada = world.person("manager"), world.person("ada", first_name="=Ada()")
        world.give_role(self.manager, "PROJECT.MANAGER", self.survey)
        world.give_role(self.ada, "PROJECT.MEMBER", self.survey)
        self.invited = world.invite(self.owner, "new@example.org", "PROJECT.MEMBER", self.survey)

    def get(self, what: str, who: Person, query: str = "", place: Place | None = None) -> Any:
        place = place or self.survey
        return self.site.get(f"{place.path}export/{what}/?{query}", who)

    def rows(self, what: str, who: Person, query: str = "") -> list[dict[str, Any]]:
        answer = self.get(what, who, f"format=json&{query}")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found

    def table(self, what: str, who: Person) -> list[dict[str, str]]:
        answer = self.get(what, who)
        assert answer.headers["content-type"].startswith("text/csv")
        return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))

    def kinds(self, who: Person) -> list[str]:
        return [row["event"] for row in self.rows("history", who)]


@pytest.fixture
def scene(world: World, site: Site) -> Scene:
    return Scene(world, site)


def test_files_have_the_rows_of_the_lists(scene: Scene) -> None:
    members = scene.table("members", scene.owner)
    assert [row["email"] for row in members] == ["manager@example.org", "ada@example.org"]
    # Spreadsheet programs calculate nothing. JSON has the text as it is.
    assert members[1]["name"].startswith("'=Ada()")
    assert scene.rows("members", scene.owner)[1]["name"].startswith("=Ada()")
    (invitation,) = scene.rows("invitations", scene.owner)
    assert (invitation["email"], invitation["state"]) == ("new@example.org", "pending")
    assert invitation["invited_by"] == "Olga Ek"
    history = scene.table("history", scene.owner)
    assert {"project.created", "role.granted", "invitation.created"} <= {
        row["event"] for row in history
    }
    assert [row["time"] for row in history] == sorted(row["time"] for row in history)
    answer = scene.get("members", scene.owner, "format=json")
    name = f"project-{scene.survey.uuid}-members.json"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["cache-control"] == "no-store"
    assert scene.get("members", scene.owner, "format=xml").json().keys() == {"format"}


def test_file_of_an_empty_list(scene: Scene) -> None:
    empty = scene.world.project(scene.sea, "Empty")
    for query, expected in (("format=json", b"[]\n"), ("", b"")):
        answer = scene.get("members", scene.owner, query, empty)
        assert answer.status_code == 200
        lines = answer.content.splitlines()
        assert answer.content == expected if expected else len(lines) == 1


def test_filters_of_the_lists_apply(scene: Scene) -> None:
    assert [row["email"] for row in scene.rows("members", scene.owner, "query=manager@")] == [
        "manager@example.org"
    ]
    assert scene.rows("invitations", scene.owner, "state=accepted") == []
    assert len(scene.rows("invitations", scene.owner, "state=pending&email=new@")) == 1
    assert scene.rows("history", scene.owner, "created_from=2999-01-01T00:00:00Z") == []
    errors = scene.get("invitations", scene.owner, "state=lost&format=xml").json()
    assert errors.keys() == {"state", "format"}


@pytest.mark.parametrize("what", LISTS)
def test_download_is_for_those_who_can_open_the_list(scene: Scene, what: str) -> None:
    is_secret = what == "invitations"
    for who, status in (
        (scene.owner, 200),
        (scene.manager, 200),
        (scene.world.staff, 200),
        (scene.world.person("support", is_support=True), 200),
        (scene.ada, 403 if is_secret else 200),
        (scene.world.person("stranger"), 404),
    ):
        answer = scene.get(what, who)
        assert answer.status_code == status, (who, answer.text)
        if status != 200:
            assert b"example.org" not in answer.content
    assert scene.site.get(f"{scene.survey.path}export/{what}/").status_code == 401


def test_reader_of_the_audit_log_gets_no_more_than_the_page_shows(scene: Scene) -> None:
    """A member sees what concerns them, and no names or facts of others."""
    everything, own = scene.kinds(scene.owner), scene.rows("history", scene.ada)
    # The second is the download itself.
    assert [row["event"] for row in own] == ["role.granted", "export.history"]
    assert len(everything) > 3
    assert "new@example.org" not in str(own)
    # Only staff see who acted for somebody else, and facts for staff.
    assert all(row["impersonator"] == "" for row in scene.rows("history", scene.owner))


def test_download_is_recorded_with_its_filters_before_the_file_is_sent(scene: Scene) -> None:
    for what in LISTS:
        before = scene.kinds(scene.owner).count(f"export.{what}")
        assert (
            scene.site.request("HEAD", f"{scene.survey.path}export/{what}/", scene.manager).content
            == b""
        )
        assert scene.kinds(scene.owner).count(f"export.{what}") == before + (what == "history")
        scene.get(what, scene.manager, "query=secret@" if what == "members" else "")
        row = [
            row
            for row in scene.rows("history", scene.owner)
            if (row["event"], row["actor"]) == (f"export.{what}", "Manager Lee")
        ][-1]
        filters = ["search_string"] if what == "members" else []
        assert row["details"] == {
            "export_format": "csv",
            "export_filters": filters,
        }
        assert "secret" not in str(scene.rows("history", scene.owner))
    # The person who is refused leaves no record.
    scene.get("invitations", scene.ada)
    assert not [
        row
        for row in scene.rows("history", scene.owner)
        if row["event"] == "export.invitations" and row["actor"].startswith("=Ada")
    ]


@sqlite_only
def test_number_of_downloads_is_limited(scene: Scene) -> None:
    statuses = [scene.get("members", scene.owner).status_code for _ in range(33)]
    assert statuses[:30] == [200] * 30
    assert 429 in statuses[30:]
    assert scene.get("members", scene.manager).status_code == 200


def test_batches_leave_out_nothing_and_repeat_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        person = scene.world.person(f"p{number}")
        scene.world.give_role(person, "PROJECT.MEMBER", scene.survey)
        scene.world.invite(scene.owner, f"i{number}@example.org", "PROJECT.MEMBER", scene.survey)
    whole = {what: scene.rows(what, scene.owner) for what in ("members", "invitations")}
    log = scene.rows("history", scene.owner)
    monkeypatch.setattr(export_actions, "BATCH", 2)
    for what, rows in whole.items():
        assert scene.rows(what, scene.owner) == rows
        assert len(rows) >= 10
    assert scene.rows("history", scene.owner)[: len(log)] == log


@sqlite_only
def test_number_of_downloads_at_once_is_limited(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = streams.Places(total=2, per_account=1)
    monkeypatch.setattr("collegium.api.exports.places", places)
    browser = Browser(scene.site).sign_in(scene.world, scene.owner)
    page = f"/project/{scene.survey.uuid}/export/members/"
    path = f"{scene.survey.path}export/members/"
    before = scene.kinds(scene.owner).count("export.members")
    with scene.site.stream(path, scene.owner):
        for answer in (scene.get("members", scene.owner), browser.open(page)):
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        with scene.site.stream(path, scene.manager):
            for answer in (scene.get("members", scene.ada), browser.open("/healthz")):
                assert answer.status_code == (503 if "members" in str(answer.url) else 200)
            assert scene.get("members", scene.ada).headers["retry-after"] == "5"
    # Those that were refused are not recorded, and places are free again.
    assert scene.kinds(scene.owner).count("export.members") == before + 2
    for _ in range(3):
        assert scene.get("members", scene.owner).status_code == 200
    monkeypatch.setitem(export_actions._READERS, Subject.MEMBERS, _fail)
    for _ in range(3):
        # An outage has a response of its own as long as nothing was sent.
        assert scene.get("members", scene.owner).status_code == 503
    assert scene.get("invitations", scene.owner).status_code == 200


def _fail(*_given: object) -> Any:
    raise UnavailableError


@sqlite_only
def test_each_batch_takes_the_same_number_of_statements(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        scene.world.give_role(scene.world.person(f"p{number}"), "PROJECT.MEMBER", scene.survey)
    counts = {}
    for size in (100, 5, 2):
        monkeypatch.setattr(export_actions, "BATCH", size)
        with record_statements(monkeypatch) as seen:
            scene.get("members", scene.manager)
        counts[size] = len(seen)
    # 22 members: one batch; five and eleven, after which the keys of new rows are read.
    per_batch = (counts[2] - counts[5]) / 6
    assert (counts[5] - counts[100]) / 5 == per_batch <= 4


def test_file_ends_when_the_reader_loses_the_right(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch is read with rights of an earlier one, and no transaction is open in between."""
    monkeypatch.setattr(export_actions, "BATCH", 1)
    database = scene.world.database
    export = export_actions.Export(scene.manager.actor, scene.survey.id, Subject.MEMBERS, {})
    batches = export_actions.batches(database.read, export)
    assert next(batches)[0]["email"] == "manager@example.org"
    # A writer waits for nobody.
    scene.world.remove_role(scene.manager, "PROJECT.MANAGER", scene.survey)
    with pytest.raises(Refusal):
        next(batches)


class Watcher:
    """What Granian gives for a request, and what is sent to it."""

    def __init__(self, path: str, who: Person) -> None:
        self.proto = self
        self.sent: list[dict[str, Any]] = []
        names = {"method": "GET", "http_version": "1.1", "scheme": "http"}
        self.scope = names | {
            "raw_path": path.encode(),
            "query_string": b"",
            "server": ("127.0.0.1", "1"),
            "client": ("127.0.0.1", "2"),
            "headers": [
                (b"host", b"collegium.test"),
                (b"authorization", f"Token {who.token}".encode()),
            ],
        }

    def receive(self) -> Any:
        raise AssertionError("nobody reads a body")

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def done(self) -> None:
        """The request is over."""


@sqlite_only
def test_file_that_fails_before_anything_was_sent_is_logged_with_the_status_that_was_sent(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("collegium.logs.request", lambda **facts: lines.append(facts))
    monkeypatch.setattr(export_actions, "BATCH", 1)
    read, batches = export_actions._READERS[Subject.MEMBERS], iter((True, False))

    def read_once(*given: Any) -> Any:
        return read(*given) if next(batches) else _fail()

    monkeypatch.setitem(export_actions._READERS, Subject.MEMBERS, read_once)

    def count(status: str) -> float:
        labels = {"method": "GET", "status": status}
        return registry.get_sample_value("collegium_requests_total", labels) or 0.0

    before = count("200"), count("500")
    watcher = Watcher(f"{scene.survey.path}export/members/", scene.owner)
    server._handle(scene.site.application, server._Drain(), watcher)
    assert [message["status"] for message in watcher.sent if "status" in message] == [500]
    assert [(line["status"], line["ending"]) for line in lines] == [(500, "failed")]
    assert (count("200"), count("500")) == (before[0], before[1] + 1)


@sqlite_only
def test_end_of_a_file_is_logged_and_counted_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("collegium.logs.request", lambda **facts: lines.append(facts))
    monkeypatch.setattr(export_actions, "BATCH", 1)
    path = f"{scene.survey.path}export/members/"

    def count(ending: str) -> float:
        name = "collegium_streams_total"
        return registry.get_sample_value(name, {"ending": ending}) or 0.0

    endings = ("complete", "client", "failed", "refused")
    before = [count(ending) for ending in endings]
    size = len(scene.get("members", scene.owner).content)
    with scene.site.stream(path, scene.owner) as parts:
        assert registry.get_sample_value("collegium_streams_active") == 1
        next(parts)
    with scene.site.stream(path, scene.owner) as parts, monkeypatch.context() as patch:
        next(parts)
        patch.setitem(export_actions._READERS, Subject.MEMBERS, _fail)
        with pytest.raises(UnavailableError):
            next(parts)
    with scene.site.stream(path, scene.manager) as parts:
        assert b"manager@example.org" in next(parts)
        scene.world.remove_role(scene.manager, "PROJECT.MANAGER", scene.survey)
        with pytest.raises(Refusal):
            next(parts)
    assert [line.get("ending") for line in lines] == list(endings)
    assert [line["path"] for line in lines] == [path] * 4
    assert lines[0]["size"] == size > lines[1]["size"] > 0
    assert [count(ending) for ending in endings] == [one + 1 for one in before]
    assert registry.get_sample_value("collegium_streams_active") == 0


def test_pages_have_links_with_their_filters(scene: Scene, browser: Browser) -> None:
    browser.sign_in(scene.world, scene.owner)
    here = f"/project/{scene.survey.uuid}/"
    for path, query in (
        (here, "q=ada"),
        (f"{here}invitations/", "q=new%40&state=pending"),
        (f"{here}history/", "about=people&since=2001-01-01"),
    ):
        shown = browser.open(f"{path}?{query}")
        links = re.findall(r'href="([^"]+)" download', shown.text)
        assert len(links) == 2, path
        for link in links:
            answer = browser.open(link.replace("&amp;", "&"))
            assert answer.status_code == 200
            assert "attachment" in answer.headers["content-disposition"]
            assert query in link.replace("&amp;", "&")
    members = browser.open(f"{here}export/members/?q=ada&format=json").json()
    assert [row["email"] for row in members] == ["ada@example.org"]
    assert "Olga Ek downloaded the list of members." in text(browser.open(f"{here}history/"))
    assert browser.open(f"{here}export/members/?format=exe").status_code == 404
    assert browser.open(f"{here}export/history/?since=never").status_code == 409


def test_page_of_a_group_has_downloads(scene: Scene, browser: Browser) -> None:
    number = Groups(scene.world, scene.site).create(scene.owner, "Readers")
    browser.sign_in(scene.world, scene.owner)
    for what in LISTS:
        answer = browser.open(f"/group/{number}/team/export/{what}/?format=json")
        assert answer.status_code == 200, what
        assert isinstance(answer.json(), list)
    browser.sign_in(scene.world, scene.ada)
    assert browser.open(f"/group/{number}/team/export/members/").status_code == 404


@sqlite_only
def test_memory_does_not_grow_with_the_number_of_rows(scene: Scene) -> None:
    row = {"name": "Ada", "email": "a@example.org", "role": "Member", "since": "x" * 30}
    row |= {"until": "", "added_by": "y" * 30}
    peaks = []
    for batches in (5, 100):
        made = ([dict(row) for _ in range(1000)] for _ in range(batches))
        tracemalloc.start()
        for piece in pieces(made, Subject.MEMBERS, Format.CSV):
            assert piece
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_events_of_downloads_are_in_the_audit_log() -> None:
    assert {kind for kind in BY_KIND if kind.startswith("export.")} == {
        f"export.{what}" for what in LISTS
    }
