"""A browser without a screen: keeps cookies, sends forms with what the page before had in them."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import httpx

from collegium.sign_in.tokens import sessions as session_actions
from tests.support.site import Site
from tests.support.world import Person, World

ORIGIN = "http://collegium.test"


class Browser:
    """Somebody's: ``browser.open("/account/")``, ``browser.send("/account/", name="x")``."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.cookies: dict[str, str] = {}
        self.page: httpx.Response | None = None

    def sign_in(self, world: World, person: Person, name: str = "a test") -> Browser:
        """Sign somebody in without asking for a password, which is slow on purpose."""
        with world.database.write() as tx:
            token = session_actions.begin(tx, world.vault, person.actor, "password", name)
        self.cookies["collegium_session"] = token
        return self

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        answer = self._site.request(method, path, headers=headers, **options)
        for line in answer.headers.get_list("set-cookie"):
            name, value = line.split(";")[0].split("=", 1)
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    def open(self, path: str, **options: Any) -> httpx.Response:
        self.page = self.call("GET", path, **options)
        return self.page

    @property
    def csrf(self) -> str:
        assert self.page is not None
        found = re.search(r'name="csrf" value="(\w+)"', self.page.text)
        assert found, self.page.text[:500]
        return found[1]

    @property
    def submission(self) -> str:
        """The one-time number of the forms of the page that was opened last."""
        assert self.page is not None
        found = re.search(r'name="submission" value="([\w-]+)"', self.page.text)
        assert found, self.page.text[:800]
        return found[1]

    def send(self, path: str, **data: Any) -> httpx.Response:
        """Post a form to a path, with the token of the page that was opened last."""
        options = data.pop("options", {})
        sent = {"csrf": self.csrf, **data}
        answer = self.call("POST", path, data=sent, **options)
        if answer.status_code != 303:
            self.page = answer
        return answer

    def follow(self, answer: httpx.Response) -> httpx.Response:
        """Go where an answer sends us."""
        assert answer.status_code == 303, (answer.status_code, text(answer)[:800])
        return self.open(answer.headers["location"])


def text(answer: httpx.Response) -> str:
    """The text of a page as people read it."""
    body = re.sub(r"(?s)<(style|title)\b.*?</\1>", " ", answer.text)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())
