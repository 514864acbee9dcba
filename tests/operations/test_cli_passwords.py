"""Passwords on the command line: given where no other user of the machine can read them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.serving import PROGRAM, Service, bare_environment

PASSWORD = "quiet-harbour-9"
PUBLISHED = "demo-only-harbour-lantern"
ROOT = Path(__file__).parents[2]
STAFF = ("staff", "boss", "--email", "boss@example.org")


@pytest.fixture
def fresh(tmp_path: Path) -> Service:
    return Service(tmp_path, {})


def give(service: Service, text: str | bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command with something on its standard input."""
    return subprocess.run(
        [PROGRAM, *words],
        cwd=service.folder,
        env=service.environment,
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
        timeout=60,
        check=False,
    )


def at_a_terminal(service: Service, words: Sequence[str], typed: Sequence[str]) -> tuple[int, str]:
    """Run a command at a terminal, type a line at each question; give status and what is seen."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(service.folder)
        os.execve(PROGRAM, [str(PROGRAM), *words], service.environment)  # noqa: S606 - our own
    seen, lines, end = b"", list(typed), time.monotonic() + 60
    asked = 0
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            seen += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if len(re.findall(rb":\s", seen.split(b"collegium:")[0])) > asked and lines:
            asked += 1
            time.sleep(0.2)  # until echo is off
            os.write(terminal, lines.pop(0).encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen.decode()


def logs_in(service: Service, username: str, password: str) -> bool:
    service.start()
    try:
        body = {"username": username, "password": password}
        return service.call("POST", "/api-auth/password/", json=body).status_code == 200
    finally:
        service.stop()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_password_from_standard_input_logs_in(fresh: Service, ending: str) -> None:
    done = give(fresh, PASSWORD + ending, *STAFF, "--password-stdin", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(json.loads(done.stdout)) == {"username", "uuid", "token"}
    # The same once more changes nothing, and ends no session.
    again = give(fresh, PASSWORD, *STAFF, "--password-stdin", "--json")
    assert json.loads(again.stdout) == json.loads(done.stdout)
    assert logs_in(fresh, "boss", PASSWORD)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no password"),
        ("\n", "no password"),
        ("short", "too short"),
        ("password1", "too common"),
        ("two\nlines-of-it", "one line"),
        ("with\0null-in-it", "control characters"),
        (b"\xff\xfe-no-utf-8", "UTF-8"),
        ("x" * 100_000, "128"),
    ],
)
def test_standard_input_that_holds_no_password_is_refused(
    fresh: Service, text: str | bytes, said: str
) -> None:
    done = give(fresh, text, *STAFF, "--password-stdin")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("collegium: ")]
    assert len(lines) == 1, done.stderr
    assert said in lines[0]
    assert b"Traceback" not in done.stderr


def test_two_ways_to_give_a_password_are_refused(fresh: Service) -> None:
    done = give(fresh, PASSWORD, *STAFF, "--password", PASSWORD, "--password-stdin")
    assert done.returncode == 2
    assert b"--password-stdin" in done.stderr


def test_password_as_an_argument_works_and_is_warned_of(fresh: Service) -> None:
    done = give(fresh, "", *STAFF, "--password", PASSWORD, "--json")
    assert done.returncode == 0
    assert "token" in json.loads(done.stdout)
    warning = done.stderr.decode()
    assert "--password-stdin" in warning
    assert "every user of this machine" in warning
    assert PASSWORD not in warning
    quiet = give(fresh, "", *STAFF, "--json")
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    assert logs_in(fresh, "boss", PASSWORD)


def test_password_is_asked_for_twice_and_hidden_at_a_terminal(fresh: Service) -> None:
    status, seen = at_a_terminal(fresh, STAFF, [PASSWORD, PASSWORD])
    assert status == 0, seen
    assert PASSWORD not in seen
    assert seen.lower().count("password") >= 2
    assert logs_in(fresh, "boss", PASSWORD)


def test_no_password_is_set_when_none_is_typed_at_a_terminal(fresh: Service) -> None:
    status, seen = at_a_terminal(fresh, STAFF, [""])
    assert status == 0, seen
    assert not logs_in(fresh, "boss", "")


def test_two_different_passwords_at_a_terminal_are_asked_for_again(fresh: Service) -> None:
    typed = [PASSWORD, "another-harbour-8", PASSWORD, PASSWORD]
    status, seen = at_a_terminal(fresh, (*STAFF, "--password-stdin"), typed)
    assert status == 0, seen
    assert PASSWORD not in seen
    assert logs_in(fresh, "boss", PASSWORD)


def test_demo_people_have_no_published_password_outside_a_checkout(fresh: Service) -> None:
    done = fresh.run("demo")
    assert done.returncode == 0, done.stderr
    assert PUBLISHED not in done.stdout
    printed = re.search(r"sign in with the password (\S+):", done.stdout)
    assert printed, done.stdout
    assert len(printed[1]) >= 16
    other = Service(fresh.folder / "other", {})
    other.folder.mkdir()
    assert printed[1] not in other.run("demo").stdout
    assert not logs_in(fresh, "ines", PUBLISHED)
    assert logs_in(fresh, "ines", printed[1])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout, without what it keeps."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "src", copy / "src")
    shutil.copytree(ROOT / "script", copy / "script")
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def demo(checkout: Path, folder: Path, **settings: str) -> str:
    """What ``collegium demo`` of that checkout says in a folder."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", "from collegium.cli import main; main()", "demo"],
        cwd=folder,
        env=bare_environment(settings) | {"PYTHONPATH": str(checkout / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_published_password_is_for_the_own_file_of_a_checkout_alone(
    checkout: Path, new_postgresql: str
) -> None:
    assert PUBLISHED in demo(checkout, checkout)
    elsewhere = checkout.parent / "elsewhere"
    assert PUBLISHED not in demo(checkout, elsewhere)
    named = f"sqlite:///{checkout.parent / 'named.db'}"
    assert PUBLISHED not in demo(checkout, checkout, database_url=named)
    inside = f"sqlite:///{checkout / 'var' / 'second.db'}"
    assert PUBLISHED not in demo(checkout, checkout, database_url=inside)
    key = "a key for tests, long enough to pass for one"
    given = demo(checkout, checkout, database_url=new_postgresql, secret_key=key)
    assert PUBLISHED not in given


def test_no_script_gives_a_password_as_an_argument() -> None:
    for script in (ROOT / "script").iterdir():
        text = script.read_text("utf-8")
        assert not re.search(r"--password(?!-stdin)", text), script
    assert "--password-stdin" in (ROOT / "script" / "server").read_text("utf-8")
