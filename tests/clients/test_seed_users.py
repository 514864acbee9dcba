"""The printed examples of the users API, with HTTPie and client 7.9.0."""

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
# Fields that accounts see only of themselves, and not in lists.
OWN = {"token", "token_lifetime"}
_number = count(1)


class UserExamples:
    """A running service with staff, and a new account for each example."""

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
        user: dict[str, Any] = self.call("POST", "/api/users/", json=body).json()
        return user

    def remote_person(self) -> dict[str, Any]:
        """Create an account from the directory."""
        name = f"remote{next(_number)}@directory"
        self.remote.people[name] = claims(name)
        response = self.call("POST", "/api/remote-eduteams/", json={"cuid": name})
        assert response.status_code == 200, response.text
        user: dict[str, Any] = response.json()
        return user

    def code(self) -> str:
        """Request another address; return the code of the mail."""
        address = f"new{next(_number)}@example.org"
        path = f"/api/users/{self.person()['uuid']}/change_email/"
        assert self.call("POST", path, json={"email": address}).status_code == 200
        end = time.monotonic() + 20
        while time.monotonic() < end:
            self.service.run("worker", "--once")
            for mail in (self.service.folder / "var" / "mail").glob("*change_email*.eml"):
                text = mail.read_text()
                if f"To: {address}" in text:
                    match = re.search(r"/user_email_change/([0-9a-f]{32})/", text)
                    assert match
                    return match[1]
        raise AssertionError("no mail")

    def fill_in(self, text: str, example: Example) -> str:
        """Insert host, token and ids into an example."""
        text = text.replace(HOST, self.service.base).replace(TOKEN, self.token)
        if UUID in text:
            if example.call == ("GET", "/api/users/{uuid}/"):
                user = self.me
            elif example.call[1].endswith("/pull_remote_user/"):
                user = self.remote_person()
            else:
                user = self.person()
            text = text.replace(UUID, user["uuid"])
        text = text.replace("********", "a quiet harbour 41")
        text = text.replace("alice", f"alice{next(_number)}")
        if "string-value" in text and example.call[1].endswith("/confirm_email/"):
            text = text.replace("string-value", self.code())
        return text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserExamples]:
    remote = Remote()
    running = remote.running()
    next(running)
    settings = {"secret_key": KEY, "rate_limits": "false", **remote.settings()}
    service = Service(tmp_path_factory.mktemp("seed"), settings)
    try:
        service.staff()
        service.start()
        yield UserExamples(service, remote)
    finally:
        service.stop()
        next(running, None)


@pytest.fixture(scope="module")
def errors(server: UserExamples, official: Callable[[str], Official]) -> dict[str, str]:
    """Run all Python examples in one process, because its start is slow; return their errors."""
    return programs(official("7.9.0"), server, EXAMPLES)


def test_every_described_operation_has_an_example() -> None:
    assert len({example.call for example in EXAMPLES}) in {0, 14}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_httpie_example_runs_as_printed_and_returns_every_field(
    server: UserExamples, example: Example
) -> None:
    body = httpie(server, example)
    if example.fields:
        rows = body if isinstance(body, list) else [body]
        is_own = example.call == ("GET", "/api/users/{uuid}/")
        is_own = is_own or example.call[1].endswith(("token/", "/me/"))
        shown, hidden = (example.fields, set()) if is_own else (example.fields - OWN, OWN)
        # A later version of the API has more fields.
        assert rows
        assert all(set(row) >= shown and not hidden & set(row) for row in rows)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_python_example_runs_as_printed(errors: dict[str, str], example: Example) -> None:
    assert errors[example.title] == ""
