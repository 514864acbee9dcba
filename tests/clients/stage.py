"""A running service on which the printed examples of invitations and requests can be tried."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.policy import default
from itertools import count
from pathlib import Path
from typing import Any

from tests.clients.seeds import HOST, TOKEN, UUID, Example
from tests.conftest import KEY
from tests.support.serving import Service
from tests.worker.scene import words

ROLE = "PROJECT.MEMBER"
PASSWORD = "a quiet harbour 41"


class Stage:
    """A service where others than staff invite only with a word of theirs."""

    def __init__(self, folder: Path) -> None:
        self.service = Service(
            folder,
            {
                "secret_key": KEY,
                "rate_limits": "false",
                "only_staff_can_invite_users": "true",
            },
        )
        self.token = self.service.staff()
        self.service.start("--no-worker")
        self._number = count(1)
        roles = self.call("GET", "/api/roles/?page_size=50")
        self.roles = {role["name"]: role["uuid"] for role in roles}
        self.customer = self.call("POST", "/api/customers/", name="Royal Society")
        self.owner = self.person()
        add = f"/api/customers/{self.customer['uuid']}/add_user/"
        me = self.call("GET", "/api/users/me/", self.owner)["uuid"]
        self.call("POST", add, role="CUSTOMER.OWNER", user=me)
        # What is listed.
        self.invitation()
        self.request()

    def call(self, method: str, path: str, token: str = "", /, **body: Any) -> Any:
        options = {"json": body} if body else {}
        answer = self.service.call(method, path, token or self.token, **options)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def person(self) -> str:
        """Make an account and log in."""
        name = f"person{next(self._number)}"
        made = self.call("POST", "/api/users/", username=name, email=f"{name}@example.org")
        path = f"/api/users/{made['uuid']}/change_password/"
        self.call("POST", path, new_password=PASSWORD)
        answer = self.service.call(
            "POST", "/api-auth/password/", json={"username": name, "password": PASSWORD}
        )
        return str(answer.json()["token"])

    def project(self) -> dict[str, Any]:
        made: dict[str, Any] = self.call(
            "POST",
            "/api/projects/",
            name=f"Project {next(self._number)}",
            customer=self.customer["url"],
        )
        return made

    def invitation(self, token: str = "", **more: Any) -> str:
        """Invite somebody to a project where nobody is yet; give the UUID."""
        made = self.call(
            "POST",
            "/api/user-invitations/",
            token,
            scope=self.project()["url"],
            role=self.roles[ROLE],
            email=f"guest{next(self._number)}@example.org",
            **more,
        )
        return str(made["uuid"])

    def request(self) -> str:
        """Have somebody ask to be let in; give the UUID."""
        link = self.call(
            "POST",
            "/api/user-group-invitations/",
            scope=self.project()["url"],
            role=self.roles[ROLE],
        )
        path = f"/api/user-group-invitations/{link['uuid']}/submit_request/"
        asked = self.service.call("POST", path, self.person())
        return str(asked.json()["uuid"])

    def decision(self, act: str) -> str:
        """Invite as somebody who needs the word of staff; take the token out of the mail."""
        self.invitation(self.owner)
        folder = self.service.folder / "var" / "mail"
        before = set(folder.glob("*.eml"))
        assert self.service.run("worker", "--once").returncode == 0
        for file in set(folder.glob("*.eml")) - before:
            mail = message_from_bytes(file.read_bytes(), policy=default)
            if mail["X-Collegium-Mail"] == "invitation_requested":
                found = re.search(rf"/invitation_{act}/([^/\s]+)/", words(mail, "plain"))
                assert found
                return found[1]
        raise AssertionError("the mail did not come")

    def put_in(self, text: str, example: Example) -> str:
        """Put host, token, ids and values into an example."""
        method, path = example.call
        text = text.replace(HOST, self.service.base).replace(TOKEN, self.token)
        act = path.rstrip("/").rpartition("/")[2]
        if act in {"approve", "reject"} and "{uuid}" not in path:
            text = text.replace("********", self.decision(act))
        if UUID in text:
            if (method, path) == ("POST", "/api/user-invitations/"):
                one = self.roles[ROLE]
            elif path.startswith("/api/user-invitations/"):
                # The whole answer is there only where a number is asked for.
                one = self.invitation(**{"civil_number": "EE1"} if act == "check" else {})
            else:
                one = self.request()
            text = text.replace(UUID, one)
        return text.replace("string-value", self.project()["url"])
