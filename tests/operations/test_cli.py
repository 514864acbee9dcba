"""The commands of the program: output and exit codes, on real databases."""

import json
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest

from collegium import cli
from collegium.db.database import Database
from collegium.db.schema import SchemaStatus, status
from tests.conftest import KEY, PostgreSQL
from tests.operations.test_settings import field_names
from tests.support.serving import PROGRAM, Service, free_port

STAFF = ("staff", "boss", "--email", "boss@example.org")


def demo_password(output: str) -> str:
    match = re.search(r"sign in with the password (\S+):", output)
    assert match, output
    return match[1]


def log_in(service: Service, username: str, password: str) -> httpx.Response:
    body = {"username": username, "password": password}
    return service.call("POST", "/api-auth/password/", json=body)


def check_error(done: CompletedProcess[str], status: int, text: str) -> None:
    """Expect this exit status, and one line with this text on standard error."""
    assert done.returncode == status, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("collegium: ")]
    assert len(lines) == 1, done.stderr
    assert text in lines[0]


LIBRARIES = "alembic.command, falcon, granian.server, jinja2, psycopg, sqlalchemy.dialects.sqlite"


def test_new_service_is_ready_within_two_seconds(service: Service) -> None:
    service.is_forked = False

    def start_and_stop() -> float:
        duration = service.start()
        assert service.call("GET", "/readyz").status_code == 200
        service.stop()
        return duration

    def load_libraries() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {LIBRARIES}"], check=True)
        return time.perf_counter() - began

    # One of six starts is enough, because the machine may be busy. While it is, a start may take
    # 2.3 times as long as loading the libraries; on a quiet machine that is less than two seconds.
    assert any(start_and_stop() < max(2.0, 2.3 * load_libraries()) for _ in range(6))


def test_entry_point_starts_every_command(service: Service) -> None:
    service.is_forked = False
    texts = {
        ("demo",): "password",
        ("doctor",): "ok   schema",
        ("worker", "--once"): "",
        ("post", "--once"): "",
        ("migrate",): "The schema was up to date.",
        (*STAFF, "--json"): '"token"',
        ("provider", "list"): "",
        ("serve", "--help"): "--workers",
        ("import", "--help"): "--dry-run",
        ("--version",): "collegium, version",
    }
    assert {words[0] for words in texts} == {*cli.main.commands, "--version"}
    for words, text in texts.items():
        done = service.run(*words)
        assert done.returncode == 0, done.stderr
        assert text in done.stdout


def test_database_and_key_file_are_private(service: Service) -> None:
    service.staff_by_command()
    for name in ("collegium.db", "collegium.db.key"):
        mode = stat.S_IMODE((service.folder / "var" / name).stat().st_mode)
        assert mode == 0o600, name


def test_staff_prints_the_same_working_token_each_time(service_on_url: Service) -> None:
    service = service_on_url
    arguments = (*STAFF, "--password", "quiet-harbour-9")
    first, second = (json.loads(service.run(*arguments, "--json").stdout) for _ in range(2))
    assert first == second
    assert set(first) == {"username", "uuid", "token"}
    assert service.run(*arguments).stdout.strip() == first["token"]
    service.start("--no-worker")
    me = service.call("GET", "/api/users/me/", first["token"]).json()
    assert (me["username"], me["is_staff"]) == ("boss", True)
    assert log_in(service, "boss", "quiet-harbour-9").json() == {"token": first["token"]}


def test_staff_sets_the_token_lifetime(service: Service) -> None:
    token = service.run(*STAFF, "--token-lifetime", "none").stdout.strip()
    # A second run without the option keeps the lifetime.
    assert service.run(*STAFF).stdout.strip() == token
    service.start("--no-worker")
    me = service.call("GET", "/api/users/me/", token).json()
    assert (me["token_lifetime"], me["token_expires_at"]) == (None, None)
    for wrong in ("59", "soon"):
        check_error(service.run(*STAFF, "--token-lifetime", wrong), 2, "--token-lifetime")
    assert service.run(*STAFF, "--token-lifetime", "2h").stdout.strip() == token
    assert service.call("GET", "/api/users/me/", token).json()["token_lifetime"] == 7200


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("Not Lower", "--email", "a@example.org"), "a user name has"),
        (("boss", "--email", "nobody"), "--email"),
        (("boss", "--email", "boss@mail.invalid"), "--email"),
        (("boss", "--email", "boss@@example.org"), "only one @"),
        (("boss", "--email", "a@example.org", "--password", "short"), "too short"),
        (("boss", "--email", "a@example.org", "--password", "password1"), "too common"),
    ],
)
def test_staff_refuses_invalid_arguments(
    service: Service, arguments: tuple[str, ...], error: str
) -> None:
    check_error(service.run("staff", *arguments), 2, error)


@pytest.mark.parametrize("domain", ["localhost", "printer.local", "mail.test", "box.home.arpa"])
def test_staff_accepts_an_address_in_an_internal_domain(service: Service, domain: str) -> None:
    done = service.run("staff", "boss", "--email", f"boss@{domain}", "--json")
    assert done.returncode == 0, done.stderr


def test_demo_fills_an_empty_database_only(service: Service) -> None:
    filled = service.run("demo")
    assert filled.returncode == 0
    password = demo_password(filled.stdout)
    check_error(service.run("demo"), 3, "empty")
    token = service.staff_by_command()
    service.start()
    users = service.call("GET", "/api/users/?page_size=100", token).json()
    assert {"ines", "tomasz", "aiko", "samuel", "lena"} <= {user["username"] for user in users}
    ines, samuel = (log_in(service, name, password).json()["token"] for name in ("ines", "samuel"))
    invitations = service.call("GET", "/api/user-invitations/", ines).json()
    assert len(invitations) == 2
    accept = f"/api/user-invitations/{invitations[0]['uuid']}/accept/"
    assert service.call("POST", accept, samuel).status_code == 200


def test_unknown_setting_is_an_error_of_the_command(tmp_path: Path) -> None:
    service = Service(tmp_path, {"databse_url": "sqlite:///x.db"})
    check_error(service.run("serve"), 2, "COLLEGIUM_DATABASE_URL")


@pytest.mark.parametrize("command", ["serve", "migrate", "worker", "demo"])
def test_unreachable_database_is_a_one_line_error(tmp_path: Path, command: str) -> None:
    url = f"postgresql://u:hidden-pw@127.0.0.1:{free_port()}/x"
    done = Service(tmp_path, {"database_url": url, "secret_key": KEY}).run(command)
    check_error(done, 1, "cannot be reached")
    assert "hidden-pw" not in done.stderr + done.stdout


def test_database_in_another_encoding_is_not_migrated(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    url = postgresql.new(migrated=False)
    name = url.split("/")[3].split("?", maxsplit=1)[0]
    postgresql.run(f"DROP DATABASE {name}")
    postgresql.run(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    done = Service(tmp_path, {"database_url": url, "secret_key": KEY}).run("migrate")
    check_error(done, 1, "the database has the encoding LATIN1")
    postgresql.drop(url)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_a_one_line_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    text = "collegium: standard output cannot be written: No space left on device\n"
    assert done.stderr == text


def test_serve_requires_migrate_on_postgresql(postgresql: PostgreSQL, tmp_path: Path) -> None:
    url = postgresql.new(migrated=False)
    service = Service(tmp_path, {"database_url": url, "secret_key": KEY})
    check_error(service.run("serve"), 1, "collegium migrate")
    assert service.run("migrate").stdout.strip() == "The schema is up to date now."
    assert service.run("migrate").stdout.strip() == "The schema was up to date."
    service.start("--no-worker")
    service.stop()
    postgresql.drop(url)


@pytest.mark.parametrize(
    ("version", "expected", "error"),
    [
        ("9999", SchemaStatus.AHEAD, "newer release of Collegium"),
        ("0022", SchemaStatus.UNRELEASED, "development version"),
    ],
)
def test_schema_of_another_release_is_refused(
    service_on_url: Service, url: str, version: str, expected: SchemaStatus, error: str
) -> None:
    with closing(Database(url, size=1)) as database:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")
        assert status(database) is expected
    for command in ("serve", "migrate", "worker", "demo"):
        check_error(service_on_url.run(command), 1, error)
    assert service_on_url.run("doctor").returncode == 1


def test_port_in_use_is_a_one_line_error(service: Service) -> None:
    with socket.create_server(("127.0.0.1", service.port)):
        done = service.run("serve", "--port", str(service.port))
    check_error(done, 1, f"cannot listen on 127.0.0.1:{service.port}")


def test_service_runs_and_reports_errors_without_a_mail_server(service: Service) -> None:
    service.environment["COLLEGIUM_MAIL_URL"] = f"smtp://127.0.0.1:{free_port()}"
    service.run("demo")
    token = service.staff_by_command()
    service.start()
    end = time.monotonic() + 20
    while True:
        invitations = service.call("GET", "/api/user-invitations/", token).json()
        if {invitation["execution_state"] for invitation in invitations} == {"Erred"}:
            break
        assert time.monotonic() < end, invitations
        time.sleep(0.05)
    assert all(invitation["error_message"] for invitation in invitations)
    assert {invitation["state"] for invitation in invitations} == {"pending"}


def test_killed_service_with_workers_can_restart_on_its_port(service: Service) -> None:
    for _ in range(3):
        service.start("--workers", "2")
        service.kill()
    service.start()
    service.stop()


def test_doctor_prints_a_line_per_check_and_fails_on_an_error(service_on_url: Service) -> None:
    done = service_on_url.run("doctor")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 13
    assert all(line.startswith("ok   ") for line in lines)
    done = service_on_url.run("doctor", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["well"] is True
    assert [f"{c['result']:<4} {c['check']}" for c in report["checks"]] == [
        line.partition(": ")[0] for line in lines
    ]
    assert report["checks"][0]["text"] == "all settings are valid"
    service_on_url.environment["COLLEGIUM_SECRET_KEY"] = "short"
    assert service_on_url.run("doctor").returncode == 1
    done = service_on_url.run("doctor", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["well"] is False
    assert [c["result"] for c in json.loads(done.stdout)["checks"]] == ["BAD"]


def test_worker_once_sends_all_due_mails_and_ends(service_on_url: Service, tmp_path: Path) -> None:
    service_on_url.run("demo")
    for _ in range(2):
        assert service_on_url.run("worker", "--once").returncode == 0
        assert len(list((tmp_path / "var" / "mail").glob("*.eml"))) == 2


def test_service_answers_at_its_fixed_paths(service: Service) -> None:
    service.start()
    for path, kind in {
        "/healthz": "text/plain",
        "/readyz": "text/plain",
        "/metrics": "text/plain",
        "/schema/openapi.json": "application/json",
        "/schema/": "text/html",
        "/": "text/html",
    }.items():
        response = service.call("GET", path)
        assert response.status_code == 200, path
        assert response.headers["content-type"].startswith(kind)
    for request_id, is_kept in (("seen-before.1", True), ("two words", False)):
        response = httpx.get(f"{service.base}/healthz", headers={"X-Request-ID": request_id})
        assert (response.headers["x-request-id"] == request_id) is is_kept


def test_log_contains_no_secret(service: Service) -> None:
    password = demo_password(service.run("demo").stdout)
    token = service.staff_by_command()
    service.start()
    ines = log_in(service, "ines", password).json()["token"]
    log_in(service, "ines", "a wrong password")
    service.call("GET", "/api/users/me/?secret=in-the-query", token)
    end = time.monotonic() + 20
    while len(mails := list((service.folder / "var" / "mail").glob("*.eml"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    words = mails[0].read_text().split()
    link = next(word for word in words if word.startswith(f"{service.base}/invitation/"))
    assert service.call("GET", link.removeprefix(service.base)).status_code == 200
    service.stop()
    log = service.log.read_text()
    assert "/api-auth/password/" in log
    for secret in (token, ines, password, "a wrong password", "in-the-query"):
        assert secret not in log
    assert link.rstrip("/").rsplit("/", 1)[1] not in log


@pytest.mark.parametrize("host", ["localhost", "::1", "[::1]"])
def test_service_listens_on_a_host_name_or_ipv6_address(service: Service, host: str) -> None:
    if host != "localhost" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    service.base = f"http://{'localhost' if host == 'localhost' else '[::1]'}:{service.port}"
    del service.environment["COLLEGIUM_BASE_URL"]
    service.start("--host", host)
    assert service.call("GET", "/sign_in/").status_code == 200


def test_unknown_host_is_a_one_line_error(service: Service) -> None:
    done = service.run("serve", "--host", "no-such-host.invalid", "--port", str(service.port))
    check_error(done, 1, "this host name has no address")


def test_escape_in_the_database_url_names_one_private_file(
    make_service: Callable[..., Service], tmp_path: Path
) -> None:
    service = make_service(database_url=f"sqlite:///{tmp_path}/a%20b/my%20roll.db")
    token = service.staff_by_command()
    folder = tmp_path / "a b"
    names = {f"my roll.db{end}" for end in ("", ".key", "-wal", "-shm")}
    assert {file.name for file in folder.iterdir()} <= names
    assert not (tmp_path / "a%20b").exists()
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    # An earlier release wrote the key beside the name with the escape.
    (tmp_path / "a%20b").mkdir()
    (folder / "my roll.db.key").rename(tmp_path / "a%20b" / "my%20roll.db.key")
    service.start()
    assert service.call("GET", "/api/users/me/", token).status_code == 200


def test_base_url_with_a_reserved_path_is_refused(service: Service) -> None:
    service.environment["COLLEGIUM_BASE_URL"] = "https://example.org/api"
    done = service.run("serve", "--port", str(service.port))
    check_error(done, 2, "choose another, such as /members")


def test_service_starts_with_empty_variables(service: Service) -> None:
    for name in field_names():
        service.environment.setdefault(f"COLLEGIUM_{name.upper()}", "")
    service.start()


def test_old_commands_and_options_work_with_a_warning(service: Service) -> None:
    done = service.run("post", "--once")
    assert (done.returncode, "is now collegium worker." in done.stderr) == (0, True), done.stderr
    assert "is now" not in service.run("worker", "--once").stderr
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = service.run("serve", "--no-post", "--port", str(listener.getsockname()[1]))
    assert done.returncode == 1
    assert "--no-post is now --no-worker." in done.stderr
    assert "cannot listen" in done.stderr
    output = service.run("serve", "--help").stdout + service.run("--help").stdout
    assert "--no-worker" in output
    assert "post" not in output
