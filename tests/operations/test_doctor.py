"""The doctor finds each fault that is injected, names it, and finds nothing before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import DateTime, insert, literal_column, select

from collegium import doctor
from collegium.db import database as db
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import outbox
from collegium.events import queries as event_queries
from collegium.settings import Settings, load
from tests.conftest import KEY, PostgreSQL
from tests.support.serving import free_port
from tests.support.site import Site
from tests.support.world import World

ALL = [
    "configuration",
    "address",
    "schema",
    "database",
    "secret key",
    "queued e-mails",
    "failed e-mails",
    "proxies",
    "clock",
    "mail",
]


class Patient:
    """An installation that was well when it was made."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.environ = {
            "COLLEGIUM_DATABASE_URL": url,
            "COLLEGIUM_SECRET_KEY": KEY,
            "COLLEGIUM_MAIL_URL": f"file:{folder / 'mail'}",
        }
        assert self.ill() == {}

    def ill(self) -> dict[str, str]:
        """What is wrong, and how the doctor says it."""
        return {one.what: one.text for one in doctor.examine(self.environ) if not one.well}

    def run(self, text: str) -> None:
        database = Database(self.url, size=1)
        with database.engine.connect() as connection:
            connection.exec_driver_sql(text)
        database.close()


@pytest.fixture
def patient(url: str, world: World, tmp_path: Path) -> Patient:
    """The world has people in it, and with them tokens and history."""
    assert world.database.is_sqlite == url.startswith("sqlite")
    return Patient(url, tmp_path)


def test_everything_is_looked_at_once(patient: Patient) -> None:
    assert [one.what for one in doctor.examine(patient.environ)] == ALL


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABSE_URL", "sqlite:///x.db"),
        ("TOKEN_LIFETIME", "soon"),
        ("SECRET_KEY", "short"),
        ("MAIL_URL", "carrier-pigeon://roof"),
    ],
)
def test_a_setting_that_cannot_be_meant(patient: Patient, name: str, value: str) -> None:
    patient.environ[f"COLLEGIUM_{name}"] = value
    ill = patient.ill()
    assert set(ill) == {"configuration"}
    assert name in ill["configuration"]


def test_a_database_that_is_out_of_reach(patient: Patient) -> None:
    patient.environ["COLLEGIUM_DATABASE_URL"] = f"postgresql://u:pw@127.0.0.1:{free_port()}/x"
    ill = patient.ill()
    assert set(ill) == {"database"}
    assert "cannot be reached" in ill["database"]
    assert "pw" not in ill["database"]


def test_a_schema_that_is_missing_unreleased_or_ahead(patient: Patient) -> None:
    for version, said in (
        ("0022", "unreleased. Create a new database"),
        ("9999", "Install the newer release"),
    ):
        patient.run(f"UPDATE alembic_version SET version_num = '{version}'")
        ill = patient.ill()
        assert set(ill) == {"schema"}
        assert said in ill["schema"]
    patient.run("DELETE FROM alembic_version")
    assert patient.ill() == {"schema": "empty. Run: collegium migrate"}


def test_a_key_that_was_lost_cut_or_mixed_up(patient: Patient, tmp_path: Path) -> None:
    patient.environ["COLLEGIUM_SECRET_KEY"] = KEY[::-1]
    ill = patient.ill()
    assert set(ill) == {"secret key"}
    assert "does not belong" in ill["secret key"]
    if not patient.url.startswith("sqlite"):
        del patient.environ["COLLEGIUM_SECRET_KEY"]
        assert "SECRET_KEY" in patient.ill()["configuration"]
        return
    # Without the setting, the key beside the database counts.
    path = tmp_path / "collegium.db.key"
    path.write_text(KEY)
    del patient.environ["COLLEGIUM_SECRET_KEY"]
    assert patient.ill() == {}
    for content in (b"", b"\n", b"\x00\xff\x80 no text"):
        path.write_bytes(content)
        ill = patient.ill()
        assert set(ill) == {"configuration"}
        assert "collegium.db.key" in ill["configuration"]
    path.unlink()
    path.mkdir()
    assert "cannot be used" in patient.ill()["configuration"]


@pytest.fixture
def unwritable(
    patient: Patient, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    """Let nobody else write: a program that holds the file, or a server that is a copy."""
    monkeypatch.setattr(db, "BUSY_SECONDS", 0.05)
    other = Database(patient.url, size=1)
    connection = other.engine.raw_connection()

    def close() -> None:
        if other.is_sqlite:
            connection.cursor().execute("BEGIN IMMEDIATE")
        else:
            name = patient.url.split("/")[3].split("?", maxsplit=1)[0]
            postgresql.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    yield close
    connection.close()
    other.close()
    if not other.is_sqlite:
        name = patient.url.split("/")[3].split("?", maxsplit=1)[0]
        postgresql.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")


def test_a_database_that_cannot_be_written(
    patient: Patient, unwritable: Callable[[], None]
) -> None:
    unwritable()
    ill = patient.ill()
    assert set(ill) == {"database"}
    assert "cannot be written" in ill["database"]


def test_a_mail_server_that_is_dead_and_a_folder_that_is_none(
    patient: Patient, tmp_path: Path
) -> None:
    patient.environ["COLLEGIUM_MAIL_URL"] = f"smtp://user:hidden@127.0.0.1:{free_port()}"
    ill = patient.ill()
    assert set(ill) == {"mail"}
    assert "cannot be reached" in ill["mail"]
    assert "hidden" not in ill["mail"]
    (tmp_path / "taken").touch()
    patient.environ["COLLEGIUM_MAIL_URL"] = f"file:{tmp_path / 'taken'}"
    assert "cannot be written" in patient.ill()["mail"]


@pytest.mark.parametrize(
    ("what", "state", "said"),
    [
        ("queued e-mails", "queued", "1 overdue. Check that `collegium worker` runs"),
        ("failed e-mails", "failed", "1 failed"),
    ],
)
def test_mails_that_nobody_sends_and_mails_that_were_given_up(
    patient: Patient, world: World, what: str, state: str, said: str
) -> None:
    now = datetime.now(UTC)
    row = {
        "kind": "x",
        "recipient": "a@example.org",
        "payload": {},
        "created_at": now,
        "state": state,
    }
    # A mail of this moment is nothing yet.
    for due, expected in ((now + timedelta(seconds=1), {}), (now - timedelta(minutes=2), {what})):
        with world.database.write() as tx:
            tx.execute(Statement(outbox.delete()))
            tx.execute(Statement(insert(outbox).values(**row, next_attempt_at=due)))
        ill = patient.ill()
        assert set(ill) == ({what} if state == "failed" else set(expected))
    assert said in ill[what]


def test_a_clock_that_went_back(patient: Patient, world: World) -> None:
    with world.database.write(datetime.now(UTC) + timedelta(seconds=2)) as tx:
        event_queries.record(tx, "account.updated", None)
    assert patient.ill() == {}
    with world.database.write(datetime.now(UTC) + timedelta(hours=1)) as tx:
        event_queries.record(tx, "account.updated", None)
    ill = patient.ill()
    assert set(ill) == {"clock"}
    assert "the clock was set back" in ill["clock"]


def test_a_clock_that_is_another_than_the_database_s(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    if patient.url.startswith("sqlite"):
        return  # it has none of its own
    ahead = literal_column("now() + interval '1 minute'", DateTime(timezone=True))
    monkeypatch.setattr(doctor, "_CLOCK", Statement(select(ahead.label("moment"))))
    ill = patient.ill()
    assert set(ill) == {"clock"}
    assert "60.0 s difference" in ill["clock"] or "59." in ill["clock"]


def test_headers_of_a_proxy_that_is_not_trusted_are_told(
    patient: Patient, make_site: Callable[[Settings], Site]
) -> None:
    def told() -> tuple[bool, str]:
        (found,) = [one for one in doctor.examine(patient.environ) if one.what == "proxies"]
        assert found.well, "anybody can send such a header; it is no reason to fail"
        return found.warns, found.text

    assert told() == (False, "trusted: none")
    for name in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"):
        site = make_site(load(patient.environ))
        site.get("/healthz")
        site.get("/", headers={name: "198.51.100.1"})
        warns, text = told()
        assert warns
        assert "127.0.0.1 (last " in text
        assert "COLLEGIUM_TRUSTED_PROXIES" in text
        assert "198.51.100.1" not in text
        patient.run("DELETE FROM rate_limits")
        site.get("/", headers={name: "198.51.100.1"})
        assert told()[0] is False, "it is noted once an hour"
    make_site(load(patient.environ)).get("/", headers={"X-Forwarded-For": "198.51.100.1"})
    patient.environ["COLLEGIUM_TRUSTED_PROXIES"] = "127.0.0.0/8"
    assert told() == (False, "trusted: 127.0.0.0/8")


def test_headers_of_a_trusted_proxy_are_not_noted(
    patient: Patient, make_site: Callable[[Settings], Site]
) -> None:
    """The twin, and nobody's request without such a header."""
    trusting = load(patient.environ | {"COLLEGIUM_TRUSTED_PROXIES": "127.0.0.1"})
    make_site(trusting).get("/", headers={"X-Forwarded-For": "198.51.100.1"})
    make_site(load(patient.environ)).get("/")
    (found,) = [one for one in doctor.examine(patient.environ) if one.what == "proxies"]
    assert not found.warns


def test_address_is_told_and_doubted_where_it_has_no_tls(patient: Patient) -> None:
    def told(url: str) -> tuple[bool, str]:
        given = patient.environ | {"COLLEGIUM_BASE_URL": url}
        (found,) = [one for one in doctor.examine(given) if one.what == "address"]
        return found.warns, found.text

    assert told("https://Members.Example.org:443/") == (
        False,
        "the public URL is https://members.example.org",
    )
    assert told("http://members.example.org")[0] is True
    assert told("http://localhost:8000")[0] is False
    assert told("")[1].endswith("COLLEGIUM_BASE_URL is not set")
    given = patient.environ | {"COLLEGIUM_BASE_URL": "https://example.org/api"}
    (found,) = doctor.examine(given)
    assert not found.well
    assert "choose another, such as /members" in found.text
