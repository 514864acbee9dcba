"""The doctor reports each injected fault, and none before."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import DateTime, insert, literal_column, select

from collegium import doctor
from collegium.db import database as db
from collegium.db import schema
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import outbox
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.settings import Settings, load
from tests.claim_rules.scene import GROUPS, add_rule, change_rule, rule_uuid
from tests.conftest import KEY, PostgreSQL
from tests.sign_in.identity_scene import add_provider, change_provider
from tests.support.serving import free_port
from tests.support.site import Site
from tests.support.world import World

MANUAL = Path(__file__).parents[2] / "docs" / "operating.md"
ALL = [
    "configuration",
    "field names",
    "address",
    "schema",
    "database",
    "secret key",
    "queued e-mails",
    "failed e-mails",
    "proxies",
    "two-factor",
    "clock",
    "sign-in",
    "mail",
]


class Installation:
    """An installation without faults at first."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.environ = {
            "COLLEGIUM_DATABASE_URL": url,
            "COLLEGIUM_SECRET_KEY": KEY,
            "COLLEGIUM_MAIL_URL": f"file:{folder / 'mail'}",
        }
        assert self.failures() == {}

    def failures(self) -> dict[str, str]:
        """Return the text of each failed check."""
        return {check.what: check.text for check in self.examine() if not check.well}

    def examine(self, **settings: str) -> list[doctor.Finding]:
        changed = {f"COLLEGIUM_{name.upper()}": value for name, value in settings.items()}
        return list(doctor.examine(self.environ | changed))

    def warning(self, what: str, **settings: str) -> tuple[bool, str]:
        """Return whether a check warns, and its text; it does not fail."""
        (check,) = [check for check in self.examine(**settings) if check.what == what]
        assert check.well
        return check.warns, check.text

    def run(self, text: str) -> None:
        database = Database(self.url, size=1)
        with database.engine.connect() as connection:
            connection.exec_driver_sql(text)
        database.close()


@pytest.fixture
def installation(url: str, world: World, tmp_path: Path) -> Installation:
    """Return an installation with accounts, tokens and events."""
    assert world.database.is_sqlite == url.startswith("sqlite")
    return Installation(url, tmp_path)


def test_doctor_runs_every_check_once(installation: Installation) -> None:
    assert [check.what for check in installation.examine()] == ALL


def test_manual_lists_every_check_of_the_doctor() -> None:
    chapter = MANUAL.read_text("utf-8").partition("### `collegium doctor`")[2].partition("\n## ")[0]
    listed = re.findall(r"(?m)^\| `([^`]+)` \|", chapter)
    assert listed == [*ALL[:-1], "provider NAME", "claim rule NAME", ALL[-1]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABSE_URL", "sqlite:///x.db"),
        ("TOKEN_LIFETIME", "soon"),
        ("SECRET_KEY", "short"),
        ("MAIL_URL", "carrier-pigeon://roof"),
    ],
)
def test_doctor_reports_an_invalid_setting(
    installation: Installation, name: str, value: str
) -> None:
    installation.environ[f"COLLEGIUM_{name}"] = value
    failures = installation.failures()
    assert set(failures) == {"configuration"}
    assert name in failures["configuration"]


def test_doctor_reports_an_unreachable_database(installation: Installation) -> None:
    installation.environ["COLLEGIUM_DATABASE_URL"] = f"postgresql://u:pw@127.0.0.1:{free_port()}/x"
    failures = installation.failures()
    assert set(failures) == {"database"}
    assert "cannot be reached" in failures["database"]
    assert failures["database"].endswith("and that PostgreSQL is running")
    assert "pw" not in failures["database"]


def test_doctor_reports_a_role_without_rights(installation: Installation) -> None:
    if installation.url.startswith("sqlite"):
        return  # it has no roles
    separator = "&" if "?" in installation.url else "?"
    for role, text in (
        ("pg_read_all_data", "cannot be written: permission denied for table outbox"),
        ("pg_monitor", "cannot be reached: permission denied for table alembic_version"),
    ):
        url = f"{installation.url}{separator}options=-c%20role%3D{role}"
        checks = {check.what: check for check in installation.examine(database_url=url)}
        assert not checks["database"].well
        remedy = "The role in COLLEGIUM_DATABASE_URL must own the tables and the schema"
        assert checks["database"].text == f"{text}. {remedy}"


def test_doctor_reports_an_encoding_that_lacks_characters(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "encoding", lambda _: "LATIN1")
    failures = installation.failures()
    assert set(failures) == {"database"}
    assert "has the encoding LATIN1" in failures["database"]


@pytest.mark.parametrize("content", ["no database at all", "SQLite format 3\0" + 999 * "x"])
def test_doctor_says_what_to_do_about_a_damaged_sqlite_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.db"
    path.write_text(content)
    environ = {"COLLEGIUM_DATABASE_URL": f"sqlite:///{path}"}
    (failure,) = (check for check in doctor.examine(environ) if check.what == "database")
    assert 'Follow "Restore"' in failure.text
    assert not failure.well


def test_doctor_reports_a_schema_that_is_missing_unreleased_or_ahead(
    installation: Installation,
) -> None:
    for version, error in (
        ("0022", "unreleased. Create a new database"),
        ("9999", "Install the newer release"),
    ):
        installation.run(f"UPDATE alembic_version SET version_num = '{version}'")
        failures = installation.failures()
        assert set(failures) == {"schema"}
        assert error in failures["schema"]
    installation.run("DELETE FROM alembic_version")
    assert installation.failures() == {"schema": "empty. Run: collegium migrate"}


def test_doctor_reports_a_wrong_missing_or_broken_secret_key(
    installation: Installation, tmp_path: Path
) -> None:
    installation.environ["COLLEGIUM_SECRET_KEY"] = KEY[::-1]
    failures = installation.failures()
    assert set(failures) == {"secret key"}
    assert "does not belong" in failures["secret key"]
    assert "Restore COLLEGIUM_SECRET_KEY" in failures["secret key"]
    if not installation.url.startswith("sqlite"):
        del installation.environ["COLLEGIUM_SECRET_KEY"]
        assert "SECRET_KEY" in installation.failures()["configuration"]
        return
    # Without the setting, the key file of the database is used.
    path = tmp_path / "collegium.db.key"
    path.write_text(KEY)
    del installation.environ["COLLEGIUM_SECRET_KEY"]
    assert installation.failures() == {}
    for content in (b"", b"\n", b"\x00\xff\x80 no text"):
        path.write_bytes(content)
        failures = installation.failures()
        assert set(failures) == {"configuration"}
        assert "collegium.db.key" in failures["configuration"]
    path.unlink()
    path.mkdir()
    assert "cannot be used" in installation.failures()["configuration"]


@pytest.fixture
def make_read_only(
    installation: Installation, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    """Return a function that makes the database read-only for others."""
    monkeypatch.setattr(db, "BUSY_SECONDS", 0.05)
    other = Database(installation.url, size=1)
    connection = other.engine.raw_connection()

    def close() -> None:
        if other.is_sqlite:
            connection.cursor().execute("BEGIN IMMEDIATE")
        else:
            name = installation.url.split("/")[3].split("?", maxsplit=1)[0]
            postgresql.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    yield close
    connection.close()
    other.close()
    if not other.is_sqlite:
        name = installation.url.split("/")[3].split("?", maxsplit=1)[0]
        postgresql.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")


def test_doctor_reports_a_read_only_database(
    installation: Installation, make_read_only: Callable[[], None]
) -> None:
    make_read_only()
    failures = installation.failures()
    assert set(failures) == {"database"}
    assert "cannot be written" in failures["database"]


def test_doctor_reports_an_unusable_mail_server_or_folder(
    installation: Installation, tmp_path: Path
) -> None:
    installation.environ["COLLEGIUM_MAIL_URL"] = f"smtp://user:hidden@127.0.0.1:{free_port()}"
    failures = installation.failures()
    assert set(failures) == {"mail"}
    assert "cannot be reached" in failures["mail"]
    assert failures["mail"].endswith("Check COLLEGIUM_MAIL_URL")
    assert "hidden" not in failures["mail"]
    (tmp_path / "taken").touch()
    installation.environ["COLLEGIUM_MAIL_URL"] = f"file:{tmp_path / 'taken'}"
    assert "cannot be written" in installation.failures()["mail"]


@pytest.mark.parametrize(
    ("what", "state", "error"),
    [
        ("queued e-mails", "queued", "1 overdue. Check that `collegium worker` runs"),
        ("failed e-mails", "failed", "Retry or discard them at /staff/mails/"),
    ],
)
def test_doctor_reports_overdue_and_failed_mails(
    installation: Installation, world: World, what: str, state: str, error: str
) -> None:
    now = datetime.now(UTC)
    row = {"kind": "x", "recipient": "a@example.org", "payload": {}, "created_at": now}
    row |= {"state": state}
    # A mail that was queued just now is not overdue.
    for due, expected in ((now + timedelta(seconds=1), {}), (now - timedelta(minutes=2), {what})):
        with world.database.write() as tx:
            tx.execute(Statement(outbox.delete()))
            tx.execute(Statement(insert(outbox).values(**row, next_attempt_at=due)))
        failures = installation.failures()
        assert set(failures) == ({what} if state == "failed" else set(expected))
    assert error in failures[what]


def test_doctor_reports_a_clock_that_was_set_back(installation: Installation, world: World) -> None:
    with world.database.write(datetime.now(UTC) + timedelta(seconds=2)) as tx:
        event_queries.record(tx, None, events.LoggedOut(account=world.staff.id))
    assert installation.failures() == {}
    with world.database.write(datetime.now(UTC) + timedelta(hours=1)) as tx:
        event_queries.record(tx, None, events.LoggedOut(account=world.staff.id))
    failures = installation.failures()
    assert set(failures) == {"clock"}
    assert "the clock was set back. Correct it" in failures["clock"]


def test_doctor_reports_a_clock_that_differs_from_the_database(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installation.url.startswith("sqlite"):
        return  # no clock of its own
    ahead = literal_column("now() + interval '1 minute'", DateTime(timezone=True))
    statement = Statement[datetime](select(ahead.label("moment")))
    monkeypatch.setattr(doctor, "_DATABASE_TIME", statement)
    failures = installation.failures()
    assert set(failures) == {"clock"}
    assert "60.0 s difference" in failures["clock"] or "59." in failures["clock"]
    assert "NTP" in failures["clock"]


def test_doctor_warns_of_headers_of_an_untrusted_proxy(
    installation: Installation, make_site: Callable[[Settings], Site]
) -> None:
    assert installation.warning("proxies") == (False, "trusted: none")
    for name in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"):
        site = make_site(load(installation.environ))
        site.get("/healthz")
        site.get("/", headers={name: "198.51.100.1"})
        warns, text = installation.warning("proxies")
        assert warns
        assert "127.0.0.1 (last " in text
        assert "COLLEGIUM_TRUSTED_PROXIES" in text
        assert "198.51.100.1" not in text
        installation.run("DELETE FROM rate_limits")
        site.get("/", headers={name: "198.51.100.1"})
        assert installation.warning("proxies")[0] is False, "recorded once an hour"
    make_site(load(installation.environ)).get("/", headers={"X-Forwarded-For": "198.51.100.1"})
    trusting = installation.warning("proxies", trusted_proxies="127.0.0.0/8")
    assert trusting == (False, "trusted: 127.0.0.0/8")


def test_headers_of_a_trusted_proxy_are_not_recorded(
    installation: Installation, make_site: Callable[[Settings], Site]
) -> None:
    """Nor are requests without such a header."""
    trusting = load(installation.environ | {"COLLEGIUM_TRUSTED_PROXIES": "127.0.0.1"})
    make_site(trusting).get("/", headers={"X-Forwarded-For": "198.51.100.1"})
    make_site(load(installation.environ)).get("/")
    assert not installation.warning("proxies")[0]


def test_doctor_shows_the_public_url_and_warns_without_tls(installation: Installation) -> None:
    def warning(url: str) -> tuple[bool, str]:
        return installation.warning("address", base_url=url)

    text = "the public URL is https://members.example.org"
    assert warning("https://Members.Example.org:443/") == (False, text)
    assert warning("http://members.example.org")[0] is True
    assert warning("http://localhost:8000")[0] is False
    assert warning("")[1].endswith("COLLEGIUM_BASE_URL is not set")
    (check,) = installation.examine(base_url="https://example.org/api")
    assert not check.well
    assert "choose another, such as /members" in check.text


def test_doctor_shows_the_other_hosts_that_the_service_answers_to(
    installation: Installation,
) -> None:
    hosts = "Members.example.org,roll.example,M\u00dcNCHEN.example,::1"
    others = "; also answers to roll.example, xn--mnchen-3ya.example, [::1]"
    for url, expected in (
        ("https://members.example.org", others),
        ("", others.replace("to ", "to members.example.org, ")),
    ):
        warns, text = installation.warning("address", base_url=url, allowed_hosts=hosts)
        assert text.endswith(expected)
        assert not warns
    own = {"base_url": "http://members.example.org", "allowed_hosts": "members.example.org"}
    assert "also answers" not in installation.warning("address", **own)[1]


NOBODY = "no active provider keeps the claim"


def test_doctor_names_words_in_settings_that_are_no_field(installation: Installation) -> None:
    fine = {"local_idp_protected_fields": "email, nationality", "user_mandatory_fields": "gender"}
    assert installation.warning("field names", **fine) == (False, "settings name fields that exist")
    wrong = {
        "local_idp_protected_fields": "email,emial",
        "notifications_profile_changes": '{"fields": ["phone"]}',
        "user_mandatory_fields": "gender,x,y",
    }
    warns, text = installation.warning("field names", **wrong)
    assert warns
    assert text == (
        "no field of a profile: emial in COLLEGIUM_LOCAL_IDP_PROTECTED_FIELDS; "
        "phone in COLLEGIUM_NOTIFICATIONS_PROFILE_CHANGES; x, y in COLLEGIUM_USER_MANDATORY_FIELDS"
    )


def test_doctor_fails_when_nobody_can_sign_in(installation: Installation, world: World) -> None:
    assert installation.warning("sign-in") == (False, "with passwords")
    misspelt = {"authentication_methods": "LOCAL_SIGNINN"}
    (check,) = [one for one in installation.examine(**misspelt) if one.what == "sign-in"]
    assert not check.well
    assert check.text.startswith("nobody can sign in: COLLEGIUM_AUTHENTICATION_METHODS has no")
    add_provider(world, **GROUPS)
    assert installation.warning("sign-in", **misspelt) == (False, "with 1 active OpenID provider")


def test_doctor_names_claim_rules_that_can_give_nothing(
    installation: Installation, world: World
) -> None:
    provider = add_provider(world, **GROUPS, is_active=False)
    physics = world.organisation("Physics")
    add_rule(world, physics, "CUSTOMER.OWNER")
    check = "claim rule Physicists"
    assert installation.warning(check) == (True, f"{NOBODY} groups and vouches for it")
    change_provider(world, provider.name, extra_fields="", is_active=False)
    change_rule(world, rule_uuid(world), claims={"acr": ["high"]})
    assert installation.warning(check) == (False, "can be applied")
    installation.run("UPDATE organisations SET blocked = TRUE")
    assert installation.warning(check) == (True, "its organisation is blocked or archived")
