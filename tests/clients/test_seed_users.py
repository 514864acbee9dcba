"""Every printed example of the users API runs as printed: with HTTPie, and with client 7.9.0."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from tests.clients.official import Official
from tests.clients.seeds import HOST, TOKEN, UUID, Example, examples, httpie, programs
from tests.conftest import KEY
from tests.support.remote import Remote, claims
from tests.support.serving import Service

EXAMPLES = examples("004_*.txt")
# What only oneself is shown, and never in a list or of somebody else.
OWN = {"token", "token_lifetime"}
_number = count(1)


class Stage:
    """A running service with staff, and a person to try each example on."""

    def __init__(self, service: Service, remote: Remote) -> None:
        self.service = service
        self.remote = remote
        self.token = service.staff()
        self.me = self.call("GET", "/api/users/me/").json()

    def call(self, method: str, path: str, **options: Any) -> Any:
        return self.service.call(method, path, self.token, **options)

    def person(self) -> dict[str, Any]:
        name = f"person{next(_number)}"
        body = {"username": name, "email": f"{name}@example.org"}
        made: dict[str, Any] = self.call("POST", "/api/users/", json=body).json()
        return made

    def remote_person(self) -> dict[str, Any]:
        """Bring somebody in from the directory."""
        name = f"remote{next(_number)}@directory"
        self.remote.people[name] = claims(name)
        answer = self.call("POST", "/api/remote-eduteams/", json={"cuid": name})
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def code(self) -> str:
        """Ask for another address, and take the code out of the mail."""
        address = f"new{next(_number)}@example.org"
        path = f"/api/users/{self.person()['uuid']}/change_email/"
        assert self.call("POST", path, json={"email": address}).status_code == 200
        end = time.monotonic() + 20
        while time.monotonic() < end:
            self.service.run("worker", "--once")
            for mail in (self.service.folder / "var" / "mail").glob("*change_email*.eml"):
                text = mail.read_text()
                if f"To: {address}" in text:
                    found = re.search(r"/user_email_change/([0-9a-f]{32})/", text)
                    assert found
                    return found[1]
        raise AssertionError("the mail did not come")

    def put_in(self, text: str, example: Example) -> str:
        """Put host, token and ids into an example."""
        oneself = example.call == ("GET", "/api/users/{uuid}/")
        text = text.replace(HOST, self.service.base).replace(TOKEN, self.token)
        if UUID in text:
            remote = example.call[1].endswith("/pull_remote_user/")
            one = self.me if oneself else self.remote_person() if remote else self.person()
            text = text.replace(UUID, one["uuid"])
        text = text.replace("********", "a quiet harbour 41")
        text = text.replace("alice", f"alice{next(_number)}")
        if "string-value" in text and example.call[1].endswith("/confirm_email/"):
            text = text.replace("string-value", self.code())
        return text


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    remote = Remote()
    running = remote.running()
    next(running)
    settings = {"secret_key": KEY, "rate_limits": "false", **remote.settings()}
    service = Service(tmp_path_factory.mktemp("seed"), settings)
    try:
        service.staff()
        service.start()
        yield Stage(service, remote)
    finally:
        service.stop()
        next(running, None)


@pytest.fixture(scope="module")
def told(stage: Stage, official: Callable[[str], Official]) -> dict[str, str]:
    """What each Python example ended with; all in one process, for its start is the slow part."""
    return programs(official("7.9.0"), stage, EXAMPLES)


def test_the_examples_are_those_of_the_described_operations() -> None:
    assert len({example.call for example in EXAMPLES}) in {0, 14}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_httpie_runs_as_printed_and_every_named_field_is_answered(
    stage: Stage, example: Example
) -> None:
    answer = httpie(stage, example)
    if example.fields:
        rows = answer if isinstance(answer, list) else [answer]
        whole = example.call[1].endswith(("token/", "/me/")) or example.call == (
            "GET",
            "/api/users/{uuid}/",
        )
        assert rows
        for row in rows:
            # Every described field, and nothing that is not described.
            assert (example.fields if whole else example.fields - OWN) == set(row)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_the_python_example_runs_as_printed(told: dict[str, str], example: Example) -> None:
    assert told[example.title] == ""
