"""The operator's contract: the commands, their answers, their exit codes, on real databases."""

from __future__ import annotations

import json
import re
import socket
import stat
import time
from pathlib import Path

import httpx
import pytest

from collegium.db.database import Database
from collegium.db.schema import SchemaStatus, status
from tests.conftest import KEY, PostgreSQL
from tests.operations.test_settings import field_names
from tests.support.serving import Service, free_port


@pytest.fixture
def fresh(tmp_path: Path) -> Service:
    """A service on SQLite as it is out of the box, with nothing there yet."""
    return Service(tmp_path, {})


def on(url: str, folder: Path, **settings: str) -> Service:
    return Service(folder, {"database_url": url, "secret_key": KEY, **settings})


def demo_password(said: str) -> str:
    found = re.search(r"sign in with the password (\S+):", said)
    assert found, said
    return found[1]


def one_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("collegium: ")]
    assert len(lines) == 1, text
    return lines[0]


def test_a_fresh_service_answers_within_two_seconds_and_is_ready(fresh: Service) -> None:
    # The machine may be busy with other tests; what it can do is what it did once.
    assert any(_start_and_stop(fresh) < 2.0 for _ in range(6))


def _start_and_stop(service: Service) -> float:
    took = service.start()
    assert service.call("GET", "/readyz").status_code == 200
    service.stop()
    return took


def test_the_database_and_its_key_are_readable_to_the_operator_alone(fresh: Service) -> None:
    fresh.staff_by_command()
    for name in ("collegium.db", "collegium.db.key"):
        mode = stat.S_IMODE((fresh.folder / "var" / name).stat().st_mode)
        assert mode == 0o600, name


def test_staff_prints_a_token_that_works_and_asking_again_ends_no_session(
    url: str, tmp_path: Path
) -> None:
    service = on(url, tmp_path)
    words = ("staff", "boss", "--email", "boss@example.org", "--password", "quiet-harbour-9")
    first, second = (json.loads(service.run(*words, "--json").stdout) for _ in range(2))
    assert first == second
    assert set(first) == {"username", "uuid", "token"}
    assert service.run(*words).stdout.strip() == first["token"]
    service.start("--no-worker")
    try:
        me = service.call("GET", "/api/users/me/", first["token"]).json()
        assert (me["username"], me["is_staff"]) == ("boss", True)
        body = {"username": "boss", "password": "quiet-harbour-9"}
        login = service.call("POST", "/api-auth/password/", json=body)
        assert login.json() == {"token": first["token"]}
    finally:
        service.stop()


def test_the_command_line_gives_a_token_any_lifetime_or_none(fresh: Service) -> None:
    words = ("staff", "boss", "--email", "boss@example.org")
    token = fresh.run(*words, "--token-lifetime", "none").stdout.strip()
    # Asked again without it, the lifetime stays.
    assert fresh.run(*words).stdout.strip() == token
    fresh.start("--no-worker")
    try:
        me = fresh.call("GET", "/api/users/me/", token).json()
        assert (me["token_lifetime"], me["token_expires_at"]) == (None, None)
        for wrong in ("59", "soon"):
            done = fresh.run(*words, "--token-lifetime", wrong)
            assert done.returncode == 2, wrong
            assert "--token-lifetime" in one_line(done.stderr)
        assert fresh.run(*words, "--token-lifetime", "2h").stdout.strip() == token
        assert fresh.call("GET", "/api/users/me/", token).json()["token_lifetime"] == 7200
    finally:
        fresh.stop()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("staff", "Not Lower", "--email", "a@example.org"), "a user name has"),
        (("staff", "boss", "--email", "nobody"), "--email"),
        (("staff", "boss", "--email", "boss@mail.invalid"), "--email"),
        (("staff", "boss", "--email", "boss@@example.org"), "only one @"),
        (("staff", "boss", "--email", "a@example.org", "--password", "short"), "too short"),
        (("staff", "boss", "--email", "a@example.org", "--password", "password1"), "too common"),
    ],
)
def test_staff_says_what_is_unfit(fresh: Service, words: tuple[str, ...], said: str) -> None:
    done = fresh.run(*words)
    assert done.returncode == 2
    assert said in one_line(done.stderr)


@pytest.mark.parametrize("domain", ["localhost", "printer.local", "mail.test", "box.home.arpa"])
def test_staff_may_have_an_address_in_a_domain_of_the_house(fresh: Service, domain: str) -> None:
    done = fresh.run("staff", "boss", "--email", f"boss@{domain}", "--json")
    assert done.returncode == 0, done.stderr


def test_demo_fills_an_empty_database_the_same_way_and_refuses_another(fresh: Service) -> None:
    filled = fresh.run("demo")
    assert filled.returncode == 0
    password = demo_password(filled.stdout)
    again = fresh.run("demo")
    assert again.returncode == 3
    assert "empty" in one_line(again.stderr)
    token = fresh.staff_by_command()
    fresh.start()
    try:
        people = fresh.call("GET", "/api/users/?page_size=100", token).json()
        assert {"ines", "tomasz", "aiko", "samuel", "lena"} <= {one["username"] for one in people}
        body = {"username": "ines", "password": password}
        ines = fresh.call("POST", "/api-auth/password/", json=body).json()["token"]
        invited = fresh.call("GET", "/api/user-invitations/", ines).json()
        assert len(invited) == 2
        # Demo invitations are real ones: somebody can take them.
        accept = f"/api/user-invitations/{invited[0]['uuid']}/accept/"
        body = {"username": "samuel", "password": password}
        samuel = fresh.call("POST", "/api-auth/password/", json=body).json()["token"]
        assert fresh.call("POST", accept, samuel).status_code == 200
    finally:
        fresh.stop()


def test_an_unknown_setting_names_the_nearest_known_one(tmp_path: Path) -> None:
    done = Service(tmp_path, {"databse_url": "sqlite:///x.db"}).run("serve")
    assert done.returncode == 2
    assert "COLLEGIUM_DATABASE_URL" in one_line(done.stderr)


@pytest.mark.parametrize("command", ["serve", "migrate", "worker", "demo"])
def test_an_unreachable_database_is_said_in_one_line(tmp_path: Path, command: str) -> None:
    service = on(f"postgresql://u:hidden-pw@127.0.0.1:{free_port()}/x", tmp_path)
    done = service.run(command)
    assert done.returncode == 1
    assert "cannot be reached" in one_line(done.stderr)
    assert "hidden-pw" not in done.stderr + done.stdout


def test_a_schema_that_is_not_there_is_made_on_sqlite_and_asked_for_on_postgresql(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    url = postgresql.new(migrated=False)
    service = on(url, tmp_path)
    refused = service.run("serve")
    assert refused.returncode == 1
    assert "collegium migrate" in one_line(refused.stderr)
    assert service.run("migrate").stdout.strip() == "The schema is up to date now."
    assert service.run("migrate").stdout.strip() == "The schema was up to date."
    service.start("--no-worker")
    service.stop()
    postgresql.drop(url)


def test_a_schema_from_the_future_is_left_alone(url: str, tmp_path: Path) -> None:
    database = Database(url, size=1)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert status(database) is SchemaStatus.AHEAD
    database.close()
    service = on(url, tmp_path)
    for command in ("serve", "migrate", "worker", "demo"):
        done = service.run(command)
        assert done.returncode == 1
        assert "newer release of Collegium" in one_line(done.stderr)
    assert service.run("doctor").returncode == 1


def test_a_database_of_a_development_version_is_refused(url: str, tmp_path: Path) -> None:
    database = Database(url, size=1)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0022'")
    assert status(database) is SchemaStatus.UNRELEASED
    database.close()
    service = on(url, tmp_path)
    for command in ("serve", "migrate", "worker", "demo"):
        done = service.run(command)
        assert done.returncode == 1
        assert "development version" in one_line(done.stderr)
    assert service.run("doctor").returncode == 1


def test_a_port_in_use_is_said_in_one_line(fresh: Service) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", fresh.port))
        taken.listen()
        done = fresh.run("serve", "--port", str(fresh.port))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{fresh.port}" in one_line(done.stderr)


def test_it_serves_while_the_mail_server_is_down_and_says_so(fresh: Service) -> None:
    fresh.environment["COLLEGIUM_MAIL_URL"] = f"smtp://127.0.0.1:{free_port()}"
    fresh.run("demo")
    token = fresh.staff_by_command()
    fresh.start()
    try:
        end = time.monotonic() + 20
        while True:
            invited = fresh.call("GET", "/api/user-invitations/", token).json()
            if {one["execution_state"] for one in invited} == {"Erred"}:
                break
            assert time.monotonic() < end, invited
            time.sleep(0.05)
        assert all(one["error_message"] for one in invited)
        assert {one["state"] for one in invited} == {"pending"}
    finally:
        fresh.stop()


def test_killed_with_its_workers_it_can_be_started_again_on_its_port(fresh: Service) -> None:
    for _ in range(3):
        fresh.start("--workers", "2")
        fresh.kill()
    fresh.start()
    fresh.stop()


def test_doctor_tells_one_line_each_and_fails_when_something_is_wrong(
    url: str, tmp_path: Path
) -> None:
    service = on(url, tmp_path)
    well = service.run("doctor")
    assert well.returncode == 0
    lines = well.stdout.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("ok   ") for line in lines)
    service.environment["COLLEGIUM_SECRET_KEY"] = "short"
    assert service.run("doctor").returncode == 1


def test_post_once_does_all_that_is_due_and_ends(url: str, tmp_path: Path) -> None:
    service = on(url, tmp_path)
    service.run("demo")
    assert service.run("worker", "--once").returncode == 0
    assert len(list((tmp_path / "var" / "mail").glob("*.eml"))) == 2
    assert service.run("worker", "--once").returncode == 0
    assert len(list((tmp_path / "var" / "mail").glob("*.eml"))) == 2


def test_the_fixed_points_answer(fresh: Service) -> None:
    fresh.start()
    try:
        for path, kind in {
            "/healthz": "text/plain",
            "/readyz": "text/plain",
            "/metrics": "text/plain",
            "/schema/openapi.json": "application/json",
            "/schema/": "text/html",
            "/": "text/html",
        }.items():
            answer = fresh.call("GET", path)
            assert answer.status_code == 200, path
            assert answer.headers["content-type"].startswith(kind)
        given = httpx.get(f"{fresh.base}/healthz", headers={"X-Request-ID": "seen-before.1"})
        assert given.headers["x-request-id"] == "seen-before.1"
        forged = httpx.get(f"{fresh.base}/healthz", headers={"X-Request-ID": "two words"})
        assert forged.headers["x-request-id"] != "two words"
    finally:
        fresh.stop()


def test_no_secret_is_in_the_log(fresh: Service) -> None:
    password = demo_password(fresh.run("demo").stdout)
    token = fresh.staff_by_command()
    fresh.start()
    try:
        body = {"username": "ines", "password": password}
        ines = fresh.call("POST", "/api-auth/password/", json=body).json()["token"]
        fresh.call("POST", "/api-auth/password/", json=body | {"password": "a wrong password"})
        fresh.call("GET", "/api/users/me/?secret=in-the-query", token)
        end = time.monotonic() + 20
        while len(mails := list((fresh.folder / "var" / "mail").glob("*.eml"))) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        words = mails[0].read_text().split()
        link = next(word for word in words if word.startswith(f"{fresh.base}/invitation/"))
        assert fresh.call("GET", link.removeprefix(fresh.base)).status_code == 200
    finally:
        fresh.stop()
    log = fresh.log.read_text()
    assert "/api-auth/password/" in log
    for secret in (token, ines, password, "a wrong password", "in-the-query"):
        assert secret not in log
    assert link.rstrip("/").rsplit("/", 1)[1] not in log


@pytest.mark.parametrize("host", ["localhost", "::1", "[::1]"])
def test_it_listens_where_a_name_or_an_ipv6_address_says(fresh: Service, host: str) -> None:
    if host != "localhost" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    fresh.base = f"http://{'localhost' if host == 'localhost' else '[::1]'}:{fresh.port}"
    del fresh.environment["COLLEGIUM_BASE_URL"]
    fresh.start("--host", host)
    try:
        assert fresh.call("GET", "/sign_in/").status_code == 200
    finally:
        fresh.stop()


def test_address_that_nobody_has_is_said_in_one_line(fresh: Service) -> None:
    done = fresh.run("serve", "--host", "no-such-host.invalid", "--port", str(fresh.port))
    assert done.returncode == 1
    assert "this host name has no address" in one_line(done.stderr)


def test_escape_in_the_name_of_a_database_is_one_file_for_us_alone(tmp_path: Path) -> None:
    service = Service(tmp_path, {"database_url": f"sqlite:///{tmp_path}/a%20b/my%20roll.db"})
    token = service.staff_by_command()
    folder = tmp_path / "a b"
    assert {one.name for one in folder.iterdir()} <= {
        f"my roll.db{end}" for end in ("", ".key", "-wal", "-shm")
    }
    assert not (tmp_path / "a%20b").exists()
    for one in folder.iterdir():
        assert stat.S_IMODE(one.stat().st_mode) == 0o600, one.name
    # What an earlier release left: the key beside the name as it was written.
    (tmp_path / "a%20b").mkdir()
    (folder / "my roll.db.key").rename(tmp_path / "a%20b" / "my%20roll.db.key")
    service.start()
    try:
        assert service.call("GET", "/api/users/me/", token).status_code == 200
    finally:
        service.stop()


def test_path_that_the_service_uses_itself_is_refused_at_the_start(fresh: Service) -> None:
    fresh.environment["COLLEGIUM_BASE_URL"] = "https://example.org/api"
    done = fresh.run("serve", "--port", str(fresh.port))
    assert done.returncode == 2
    assert "choose another, such as /members" in one_line(done.stderr)


def test_empty_variables_mean_the_defaults(fresh: Service) -> None:
    for name in field_names():
        fresh.environment.setdefault(f"COLLEGIUM_{name.upper()}", "")
    fresh.start()
    fresh.stop()


def test_old_words_of_the_command_line_work_and_name_the_new_ones(fresh: Service) -> None:
    done = fresh.run("post", "--once")
    assert (done.returncode, "is now collegium worker." in done.stderr) == (0, True), done.stderr
    assert "is now" not in fresh.run("worker", "--once").stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = fresh.run("serve", "--no-post", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "--no-post is now --no-worker." in done.stderr
    assert "cannot listen" in done.stderr, "it was taken for what it was"
    shown = fresh.run("serve", "--help").stdout + fresh.run("--help").stdout
    assert "--no-worker" in shown
    assert "post" not in shown
