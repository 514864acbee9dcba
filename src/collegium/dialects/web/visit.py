"""One request of a browser: who is signed in, what it may post, what it is told next."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from collegium.actions import sessions
from collegium.dialects.http import Answer, Call, once
from collegium.dialects.web.forms import Form
from collegium.rules.access import NOBODY
from collegium.rules.refusals import Forbidden, Unauthenticated
from collegium.rules.tokens import SESSION_AGE, Kind

if TYPE_CHECKING:
    from collegium.rules.access import Actor
    from collegium.store.db import Read, Write

_SESSION: Final = "session"
_FLASH: Final = "flash"
_EARLY: Final = "visit"
"""What binds the forms of somebody who is not signed in to their browser."""

_EARLY_SECONDS: Final = 2 * 3600
_FLASH_SECONDS: Final = 60
_BROWSER_MAX: Final = 150
_PATH_MAX: Final = 1000
_SAME_SITE: Final = frozenset({"same-origin", "none"})


class Visit(Call):
    """A call of a browser. Until ``recognise`` has found a session, nobody makes it."""

    def __init__(self, call: Call) -> None:
        vars(self).update(vars(call))
        self.actor = NOBODY
        self.set_cookies: list[str] = []

    @property
    def is_signed_in(self) -> bool:
        """Tell whether somebody is signed in."""
        return self.actor is not NOBODY

    # Cookies.

    @once
    def is_secure(self) -> bool:
        """Tell whether browsers reach us through TLS, so that cookies need never leave it."""
        return self.base.startswith("https:") or self.settings.base_url.startswith("https:")

    @once
    def _cookies(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in self.header("cookie").split(";"):
            name, _, value = part.partition("=")
            found.setdefault(name.strip(), value.strip())
        return found

    def _named(self, what: str) -> str:
        return f"{'__Host-' if self.is_secure else ''}collegium_{what}"

    def cookie(self, what: str) -> str:
        """Give what a cookie of ours holds; empty when there is none."""
        return self._cookies.get(self._named(what), "")

    def set_cookie(self, what: str, value: str, seconds: int) -> None:
        """Have the browser keep something; no script can read it, no other site have it sent.

        Args:
            seconds: for how long; 0 takes it away.
        """
        kept = f"{self._named(what)}={value}; Path=/; Max-Age={seconds}"
        secure = "; Secure" if self.is_secure else ""
        self.set_cookies.append(f"{kept}; HttpOnly; SameSite=Lax{secure}")
        self._cookies[self._named(what)] = value

    # Who it is.

    def recognise(self, tx: Read) -> None:
        """Find out who is signed in; a session that has ended is nobody's."""
        token = self.cookie(_SESSION)
        if token:
            try:
                self.authenticate(tx, token, {Kind.SESSION})
            except Unauthenticated:
                self.set_cookie(_SESSION, "", 0)

    def sign_in(self, tx: Write, actor: Actor, method: str) -> None:
        """Sign this browser in from now on; forms of before are worthless."""
        browser = self.header("user-agent")
        token = sessions.begin(
            tx, self.house.vault, actor, method, _short(browser), settings=self.settings
        )
        self.set_cookie(_SESSION, token, SESSION_AGE)
        self.set_cookie(_EARLY, "", 0)

    def sign_out(self, tx: Write) -> None:
        """Sign this browser out."""
        sessions.end(tx, self.actor, self.token_id)
        self.set_cookie(_SESSION, "", 0)

    # What it may post.

    @property
    def csrf(self) -> str:
        """Give what each form of this page must send along; no other browser's forms know it."""
        if self.is_signed_in:
            return self._csrf_of(self.cookie(_SESSION))
        early = self.cookie(_EARLY)
        if not self._is_early(early, _EARLY_SECONDS // 2):
            early = self.house.vault.link(_EARLY, secrets.token_hex(16), int(self.now.timestamp()))
            self.set_cookie(_EARLY, early, _EARLY_SECONDS)
        return self._csrf_of(early)

    def _csrf_of(self, secret: str) -> str:
        return self.house.vault.code("form", secret)

    def _is_early(self, text: str, seconds: int) -> bool:
        match self.house.vault.follow(_EARLY, text):
            case [str(), int(made)]:
                return made <= self.now.timestamp() <= made + seconds
        return False

    @once
    def form(self) -> Form:
        """Give what was posted."""
        return Form.read(self.header("content-type"), self.body)

    def check_form(self) -> None:
        """Go on only with a form that one of our pages gave to this very browser.

        Refuses: Forbidden ``form.foreign``, ``form.stale``.
        """
        origin = self.header("origin")
        ours = {self.base, _origin(self.settings.base_url)}
        if origin and origin not in ours:
            raise Forbidden("form.foreign")
        if self.header("sec-fetch-site", "none") not in _SAME_SITE:
            raise Forbidden("form.foreign")
        secret = self.cookie(_SESSION if self.is_signed_in else _EARLY)
        is_fresh = self.is_signed_in or self._is_early(secret, _EARLY_SECONDS)
        given = self.form.raw("csrf").encode()
        if not is_fresh or not hmac.compare_digest(given, self._csrf_of(secret).encode()):
            raise Forbidden("form.stale")

    # What comes next.

    @property
    def next(self) -> str:
        """Give where the browser wants to go afterwards; only ever a page of ours."""
        wanted = self.form.raw("next") if self.method == "POST" else self.asked("next")
        return wanted if is_local(wanted) else ""

    def asked(self, name: str) -> str:
        """Give a parameter of the address; empty when it is not there."""
        return self.query.get(name, [""])[0]

    def go(self, path: str, said: str = "", *, kind: str = "done") -> Answer:
        """Send the browser to another page, and say there what has happened.

        Args:
            path: one of ours.
            kind: ``done``, or ``not`` for what did not work.
        """
        if said:
            self.set_cookie(_FLASH, self.house.vault.link(_FLASH, kind, said[:600]), _FLASH_SECONDS)
        return Answer(303, headers={"Location": path}, media="text/html")

    def to_sign_in(self, path: str = "") -> Answer:
        """Send somebody to sign in, and back here afterwards.

        Args:
            path: where else to go then.
        """
        here = path or self.path + (f"?{self.raw_query}" if self.raw_query else "")
        return self.go(f"/sign_in/?next={quote(here, safe='/')}" if is_local(here) else "/sign_in/")

    def take_flash(self) -> dict[str, str] | None:
        """Give what the last page had to say, once: ``kind`` and ``text``."""
        cookie = self.cookie(_FLASH)
        if not cookie:
            return None
        self.set_cookie(_FLASH, "", 0)
        match self.house.vault.follow(_FLASH, cookie):
            case [str(kind), str(text)]:
                return {"kind": kind, "text": text}
        return None

    def offer(self, purpose: str, *facts: str | int) -> str:
        """Sign something that only this moment's form may bring back; see ``taken``."""
        return self.house.vault.link(purpose, int(self.now.timestamp()), *facts)

    def taken(self, purpose: str, text: str, seconds: int) -> list[Any] | None:
        """Give what was offered, unless that is longer ago than some seconds."""
        match self.house.vault.follow(purpose, text):
            case [int(made), *facts] if made <= self.now.timestamp() <= made + seconds:
                return facts
        return None


def is_local(path: str) -> bool:
    """Tell whether something is a path on this site, and to no browser another site's address."""
    return (
        path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and len(path) <= _PATH_MAX
        and path.isascii()
        and path.isprintable()
        and "\\" not in path
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


_SYSTEMS: Final = (
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "a Mac"),
    ("CrOS", "a Chromebook"),
    ("Linux", "Linux"),
)
_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)


def _short(agent: str) -> str:
    """Give a browser's own name for itself as its owner would say it."""
    browser = next((name for sign, name in _BROWSERS if sign in agent), "")
    system = next((name for sign, name in _SYSTEMS if sign in agent), "")
    if browser:
        return f"{browser} on {system}" if system else browser
    plain = "".join(sign if sign.isprintable() else " " for sign in agent)
    return plain[:_BROWSER_MAX].strip() or "an unnamed browser"
