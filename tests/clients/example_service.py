"""A running service for the printed examples of invitations and requests."""

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


class InvitationExamples:
    """A service where invitations by others than staff need approval."""

    def __init__(self, folder: Path) -> None:
        settings = {"rate_limits": "false", "only_staff_can_invite_users": "true"}
        self.service = Service(folder, settings | {"secret_key": KEY})
        self.token = self.service.staff()
        self.service.start("--no-worker")
        self._number = count(1)
        roles = self.call("GET", "/api/roles/?page_size=50")
        self.roles = {role["name"]: role["uuid"] for role in roles}
        self.customer = self.call("POST", "/api/customers/", name="Royal Society")
        self.owner = self.person()
        add = f"/api/customers/{self.customer['uuid']}/add_user/"
        user = self.call("GET", "/api/users/me/", self.owner)["uuid"]
        self.call("POST", add, role="CUSTOMER.OWNER", user=user)
        # The lists are not empty.
        self.invitation()
        self.request()

    def call(self, method: str, path: str, token: str = "", /, **body: Any) -> Any:
        options = {"json": body} if body else {}
        response = self.service.call(method, path, token or self.token, **options)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None

    def person(self) -> str:
        """Create an account and sign in; return the token."""
        name = f"person{next(self._number)}"
        user = self.call("POST", "/api/users/", username=name, email=f"{name}@example.org")
        path = f"/api/users/{user['uuid']}/change_password/"
        self.call("POST", path, new_password=PASSWORD)
        body = {"username": name, "password": PASSWORD}
        response = self.service.call("POST", "/api-auth/password/", json=body)
        return str(response.json()["token"])

    def project(self) -> str:
        """Create a project; return its URL."""
        body = {"name": f"Project {next(self._number)}", "customer": self.customer["url"]}
        return str(self.call("POST", "/api/projects/", **body)["url"])

    def invitation(self, token: str = "", **more: Any) -> str:
        """Invite to a new project; return the UUID."""
        email = f"guest{next(self._number)}@example.org"
        body = {"scope": self.project(), "role": self.roles[ROLE], "email": email, **more}
        return str(self.call("POST", "/api/user-invitations/", token, **body)["uuid"])

    def request(self) -> str:
        """Ask to join a new project; return the UUID."""
        path = "/api/user-group-invitations/"
        link = self.call("POST", path, scope=self.project(), role=self.roles[ROLE])
        submit = f"{path}{link['uuid']}/submit_request/"
        return str(self.service.call("POST", submit, self.person()).json()["uuid"])

    def decision(self, act: str) -> str:
        """Invite as the owner; return the token of the approval mail."""
        self.invitation(self.owner)
        folder = self.service.folder / "var" / "mail"
        before = set(folder.glob("*.eml"))
        assert self.service.run("worker", "--once").returncode == 0
        for file in set(folder.glob("*.eml")) - before:
            mail = message_from_bytes(file.read_bytes(), policy=default)
            if mail["X-Collegium-Mail"] == "invitation_requested":
                match = re.search(rf"/invitation_{act}/([^/\s]+)/", words(mail, "plain"))
                assert match
                return match[1]
        raise AssertionError("no mail")

    def fill_in(self, text: str, example: Example) -> str:
        """Insert host, token, ids and values into an example."""
        method, path = example.call
        text = text.replace(HOST, self.service.base).replace(TOKEN, self.token)
        act = path.rstrip("/").rpartition("/")[2]
        if act in {"approve", "reject"} and "{uuid}" not in path:
            text = text.replace("********", self.decision(act))
        if UUID in text:
            if (method, path) == ("POST", "/api/user-invitations/"):
                uuid = self.roles[ROLE]
            elif path.startswith("/api/user-invitations/"):
                # The response has all fields only if the invitation has a civil number.
                uuid = self.invitation(**{"civil_number": "EE1"} if act == "check" else {})
            else:
                uuid = self.request()
            text = text.replace(UUID, uuid)
        return text.replace("string-value", self.project())
