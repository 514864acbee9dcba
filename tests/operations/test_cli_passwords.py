"""Passwords on the command line, where no other user of the machine can read them."""

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

from tests.conftest import KEY
from tests.operations.test_cli import demo_password
from tests.support.serving import PROGRAM, Service, bare_environment

PASSWORD = "quiet-harbour-9"
PUBLISHED = "demo-only-harbour-lantern"
ROOT = Path(__file__).parents[2]
STAFF = ("staff", "boss", "--email", "boss@example.org")


def run_with_input(
    service: Service, text: str | bytes, *words: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with this standard input."""
    given = text.encode() if isinstance(text, str) else text
    return service.run_with_input(given, *words)


def run_at_terminal(
    service: Service, words: Sequence[str], typed: Sequence[str]
) -> tuple[int, str]:
    """Run a command at a terminal and type a line at each prompt; return status and output."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(service.folder)
        os.execve(PROGRAM, [str(PROGRAM), *words], service.environment)  # noqa: S606 - our own
    output, lines, end = b"", list(typed), time.monotonic() + 60
    prompts = 0
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            output += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if len(re.findall(rb":\s", output.split(b"collegium:")[0])) > prompts and lines:
            prompts += 1
            time.sleep(0.2)  # until echo is off
            os.write(terminal, lines.pop(0).encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output.decode()


def can_log_in(service: Service, username: str, password: str) -> bool:
    service.start()
    body = {"username": username, "password": password}
    response = service.call("POST", "/api-auth/password/", json=body)
    service.stop()
    return response.status_code == 200


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_password_from_standard_input_works(service: Service, ending: str) -> None:
    done = run_with_input(service, PASSWORD + ending, *STAFF, "--password-stdin", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(json.loads(done.stdout)) == {"username", "uuid", "token"}
    # A second run changes nothing and ends no session.
    again = run_with_input(service, PASSWORD, *STAFF, "--password-stdin", "--json")
    assert json.loads(again.stdout) == json.loads(done.stdout)
    assert can_log_in(service, "boss", PASSWORD)


@pytest.mark.parametrize(
    ("text", "error"),
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
def test_invalid_password_on_standard_input_is_refused(
    service: Service, text: str | bytes, error: str
) -> None:
    done = run_with_input(service, text, *STAFF, "--password-stdin")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("collegium: ")]
    assert len(lines) == 1, done.stderr
    assert error in lines[0]
    assert "Traceback" not in done.stderr


def test_two_password_options_are_refused(service: Service) -> None:
    done = run_with_input(service, PASSWORD, *STAFF, "--password", PASSWORD, "--password-stdin")
    assert done.returncode == 2
    assert "--password-stdin" in done.stderr


def test_password_as_an_argument_works_with_a_warning(service: Service) -> None:
    done = run_with_input(service, "", *STAFF, "--password", PASSWORD, "--json")
    assert done.returncode == 0
    assert "token" in json.loads(done.stdout)
    warning = done.stderr
    assert "--password-stdin" in warning
    assert "every user of this machine" in warning
    assert PASSWORD not in warning
    quiet = run_with_input(service, "", *STAFF, "--json")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert can_log_in(service, "boss", PASSWORD)


def test_terminal_asks_twice_for_a_hidden_password(service: Service) -> None:
    status, output = run_at_terminal(service, STAFF, [PASSWORD, PASSWORD])
    assert status == 0, output
    assert PASSWORD not in output
    assert output.lower().count("password") >= 2
    assert can_log_in(service, "boss", PASSWORD)


def test_empty_password_at_the_terminal_sets_none(service: Service) -> None:
    status, output = run_at_terminal(service, STAFF, [""])
    assert status == 0, output
    assert not can_log_in(service, "boss", "")


def test_terminal_asks_again_if_the_passwords_differ(service: Service) -> None:
    typed = [PASSWORD, "another-harbour-8", PASSWORD, PASSWORD]
    status, output = run_at_terminal(service, (*STAFF, "--password-stdin"), typed)
    assert status == 0, output
    assert PASSWORD not in output
    assert can_log_in(service, "boss", PASSWORD)


def test_demo_password_is_random_outside_a_checkout(service: Service) -> None:
    done = service.run("demo")
    assert done.returncode == 0, done.stderr
    assert PUBLISHED not in done.stdout
    password = demo_password(done.stdout)
    assert len(password) >= 16
    other = Service(service.folder / "other", {})
    other.folder.mkdir()
    assert password not in other.run("demo").stdout
    assert not can_log_in(service, "ines", PUBLISHED)
    assert can_log_in(service, "ines", password)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the source of this checkout."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "src", copy / "src")
    shutil.copytree(ROOT / "script", copy / "script")
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def demo(checkout: Path, folder: Path, **settings: str) -> str:
    """Return the output of ``collegium demo`` of the checkout, run in a folder."""
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


def test_published_password_is_used_only_for_the_file_of_a_checkout(
    checkout: Path, new_postgresql: str
) -> None:
    assert PUBLISHED in demo(checkout, checkout)
    assert PUBLISHED not in demo(checkout, checkout.parent / "elsewhere")
    for path in (checkout.parent / "named.db", checkout / "var" / "second.db"):
        assert PUBLISHED not in demo(checkout, checkout, database_url=f"sqlite:///{path}")
    output = demo(checkout, checkout, database_url=new_postgresql, secret_key=KEY)
    assert PUBLISHED not in output


def test_scripts_give_passwords_on_standard_input() -> None:
    for script in (ROOT / "script").iterdir():
        text = script.read_text("utf-8")
        assert not re.search(r"--password(?!-stdin)", text), script
    assert "--password-stdin" in (ROOT / "script" / "server").read_text("utf-8")
