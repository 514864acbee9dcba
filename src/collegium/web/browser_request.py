"""One request of a browser: who is signed in, what it may post, what it is told next."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from collegium import hosts
from collegium.access.rules import ANONYMOUS
from collegium.api.request import Answer, RequestContext, lazy_property
from collegium.db import idempotency
from collegium.refusals import Forbidden, Unauthenticated
from collegium.sign_in.tokens import sessions as session_actions
from collegium.sign_in.tokens.rules import SESSION_AGE, TokenKind
from collegium.web.forms import Form

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from collegium.access.rules import Actor
    from collegium.db.database import ReadTransaction, WriteTransaction

_SESSION: Final = "session"
_FLASH: Final = "flash"
_EARLY: Final = "visit"
"""What binds the forms of somebody who is not signed in to their browser."""

_SUBMISSION: Final = "submission"
_NUMBER_MAX: Final = 64
_EARLY_SECONDS: Final = 2 * 3600
_FLASH_SECONDS: Final = 60
_BROWSER_MAX: Final = 150
_PATH_MAX: Final = 1000
_SAME_SITE: Final = frozenset({"same-origin", "none"})


class RepeatedFormError(Exception):
    """A form was sent before, with the same number, by the same browser.

    Args:
        facts: what ``Visit.created`` was told the first time.
    """

    def __init__(self, facts: list[Any]) -> None:
        super().__init__()
        self.facts = facts


class BrowserRequest(RequestContext):
    """A call of a browser. Until ``recognise`` has found a session, nobody makes it."""

    def __init__(self, context: RequestContext) -> None:
        vars(self).update(vars(context))
        self.actor = ANONYMOUS
        self.set_cookies: list[str] = []
        self.page = ""
        """Where the form of this request is shown; empty where that is another page."""

    @property
    def is_signed_in(self) -> bool:
        """Tell whether somebody is signed in."""
        return self.actor is not ANONYMOUS

    # Cookies.

    @lazy_property
    def is_secure(self) -> bool:
        """Tell whether browsers reach us through TLS, so that cookies need never leave it."""
        return self.base.startswith("https:") or self.settings.base_url.startswith("https:")

    @lazy_property
    def _cookies(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in self.header("cookie").split(";"):
            name, _, value = part.partition("=")
            found.setdefault(name.strip(), value.strip())
        return found

    def _named(self, what: str) -> str:
        # A browser takes __Host- for the whole host alone.
        sealed = "__Secure-" if self.root else "__Host-"
        return f"{sealed if self.is_secure else ''}collegium_{what}"

    def cookie(self, what: str) -> str:
        """Give what a cookie of ours holds; empty when there is none."""
        return self._cookies.get(self._named(what), "")

    def set_cookie(self, what: str, value: str, seconds: int) -> None:
        """Have the browser keep something; no script can read it, no other site have it sent.

        Args:
            seconds: for how long; 0 takes it away.
        """
        kept = f"{self._named(what)}={value}; Path={self.root or '/'}; Max-Age={seconds}"
        secure = "; Secure" if self.is_secure else ""
        self.set_cookies.append(f"{kept}; HttpOnly; SameSite=Lax{secure}")
        self._cookies[self._named(what)] = value

    # Who it is.

    def load_session(self, tx: ReadTransaction) -> None:
        """Find out who is signed in; a session that has ended is nobody's."""
        token = self.cookie(_SESSION)
        if token:
            try:
                self.authenticate(tx, token, {TokenKind.SESSION})
            except Unauthenticated:
                self.set_cookie(_SESSION, "", 0)

    def sign_in(self, tx: WriteTransaction, actor: Actor, method: str) -> None:
        """Sign this browser in from now on; forms of before are worthless."""
        browser = self.header("user-agent")
        token = session_actions.begin(
            tx,
            self.app.vault,
            actor,
            method,
            _short(browser),
            renews=self.is_signed_in,
            settings=self.settings,
        )
        self.set_cookie(_SESSION, token, SESSION_AGE)
        self.set_cookie(_EARLY, "", 0)

    def sign_out(self, tx: WriteTransaction) -> None:
        """Sign this browser out."""
        session_actions.end(tx, self.actor, self.token_id)
        self.set_cookie(_SESSION, "", 0)

    # What it may post.

    @property
    def csrf(self) -> str:
        """Give what each form of this page must send along; no other browser's forms know it."""
        if self.is_signed_in:
            return self._csrf_of(self.cookie(_SESSION))
        early = self.cookie(_EARLY)
        if not self._is_early(early, _EARLY_SECONDS // 2):
            early = self.app.vault.sign(_EARLY, secrets.token_hex(16), int(self.now.timestamp()))
            self.set_cookie(_EARLY, early, _EARLY_SECONDS)
        return self._csrf_of(early)

    def _csrf_of(self, secret: str) -> str:
        return self.app.vault.derive_code("form", secret)

    def _is_early(self, text: str, seconds: int) -> bool:
        match self.app.vault.unsign(_EARLY, text):
            case [str(), int(made)]:
                return made <= self.now.timestamp() <= made + seconds
        return False

    @lazy_property
    def form(self) -> Form:
        """Give what was posted."""
        return Form.read(self.header("content-type"), self.body)

    def check_form(self) -> None:
        """Go on only with a form that one of our pages gave to this very browser.

        Refuses: Forbidden ``form.foreign``, ``form.insecure``, ``form.encrypted``,
        ``form.no_cookie``, ``form.stale``.
        """
        self._check_origin()
        secret = self.cookie(_SESSION if self.is_signed_in else _EARLY)
        is_fresh = self.is_signed_in or self._is_early(secret, _EARLY_SECONDS)
        given = self.form.raw("csrf").encode()
        if not is_fresh or not hmac.compare_digest(given, self._csrf_of(secret).encode()):
            raise Forbidden(self._why_stale(secret))

    def _check_origin(self) -> None:
        said = self.header("origin")
        # "null" says nothing: a browser that keeps to itself where it comes from, or a redirect.
        if said and said != "null":
            origin = hosts.origin(said)
            ours = {hosts.origin(self.base), hosts.origin(self.settings.base_url)}
            if origin is None or origin not in ours:
                raise Forbidden(self._why_foreign(origin or ""))
        if self.header("sec-fetch-site", "none") not in _SAME_SITE:
            raise Forbidden("form.foreign")

    def _why_foreign(self, origin: str) -> str:
        """Tell another site from ours, reached with the other scheme."""
        if self._is_plain(origin):
            return "form.insecure"
        mine = (hosts.origin(self.base) or "").partition("://")[2].partition(":")[0]
        theirs = origin.partition("://")[2].partition(":")[0]
        is_same = origin.startswith("https:") and theirs == mine and self.base.startswith("http:")
        return "form.encrypted" if is_same else "form.foreign"

    def _is_plain(self, said: str) -> bool:
        """Tell whether a page of ours was opened without the TLS that cookies need."""
        ours = hosts.origin(self.settings.base_url) or ""
        return ours == f"https:{(hosts.origin(said) or '').removeprefix('http:')}"

    def _why_stale(self, secret: str) -> str:
        if secret:
            return "form.stale"
        return "form.insecure" if self._is_plain(self.header("referer")) else "form.no_cookie"

    # What it creates, once.

    @lazy_property
    def submission(self) -> str:
        """Give the one-time number of the forms of this page that create something."""
        return secrets.token_urlsafe(16)

    @lazy_property
    def _contents(self) -> str:
        """Give a digest of what was posted, as it came: functions add to the form later."""
        found = hashlib.sha256()
        for name, values in sorted(self.form.values.items()):
            if name != "csrf":
                found.update(msgspec.msgpack.encode((name, values)))
        return found.hexdigest()

    @lazy_property
    def _browser_secret(self) -> str:
        """Give what binds forms to this browser, as it was before anybody signs in here."""
        return self.cookie(_SESSION if self.is_signed_in else _EARLY)

    def _submission_key(self, part: str = "") -> str | None:
        """Give under which key a form is remembered; None for one without a number.

        Another browser, another page and other contents are other forms: somebody who goes back,
        types another name and sends that wants a second one.
        """
        number = self.form.raw("submission")
        if not number or len(number) > _NUMBER_MAX:
            return None
        facts = (_SUBMISSION, self._browser_secret, self.path, self._contents, part)
        return self.app.vault.digest("\x1f".join(facts)).hex()

    def recall(self, tx: ReadTransaction) -> list[Any] | None:
        """Give what the same form has led to before; None when it is sent for the first time."""
        return self.recall_parts(tx, [""]).get("")

    def recall_parts(self, tx: ReadTransaction, parts: Collection[str]) -> dict[str, list[Any]]:
        """Give what those parts of the same form have led to that were created before.

        Args:
            parts: where each is created in a transaction of its own; see ``create``.
        """
        keys = {self._submission_key(part): part for part in parts} if parts else {}
        keys.pop(None, None)
        found = idempotency.find(tx, [key for key in keys if key]) if keys else {}
        told = {}
        for key, answer in found.items():
            facts = self.app.vault.unsign(_SUBMISSION, answer)
            if facts is not None:
                told[keys[key]] = facts
        return told

    @contextmanager
    def create(self, part: str = "") -> Iterator[WriteTransaction]:
        """Open a transaction that creates what the form asks for, unless it has done so before.

        Of two presses at one moment the second waits for the first. End the block with
        ``created``; a block that ends otherwise has created nothing, and the form can be sent
        again.

        Raises:
            RepeatedFormError: it was sent before; nothing is done.
        """
        key = self._submission_key(part)
        with self.write() as tx:
            if key is not None and not idempotency.claim(tx, key):
                raise RepeatedFormError(self.recall_parts(tx, [part]).get(part, []))
            self._is_created = False
            yield tx
            if key is not None and not self._is_created:
                idempotency.release(tx, key)

    def created(self, tx: WriteTransaction, *facts: str | int, part: str = "") -> None:
        """Keep what a form has led to, in the transaction that did it; see ``create``.

        Args:
            facts: what is needed to answer the same form once more: as ``go`` takes it, unless
                the page has its own ``replay``. They are kept encrypted, for a day.
        """
        self._is_created = True
        key = self._submission_key(part)
        if key is not None:
            idempotency.complete(tx, key, self.app.vault.sign(_SUBMISSION, *facts))

    # What comes next.

    @property
    def next(self) -> str:
        """Give where the browser wants to go afterwards; only ever a page of ours."""
        wanted = self.form.raw("next") if self.method == "POST" else self.query_value("next")
        return wanted if is_local(wanted) else ""

    def query_value(self, name: str) -> str:
        """Give a parameter of the address; empty when it is not there."""
        return self.query.get(name, [""])[0]

    def redirect(self, path: str, said: str = "", *, kind: str = "done") -> Answer:
        """Send the browser to another page, and say there what has happened.

        Args:
            path: one of ours.
            kind: ``done``, or ``not`` for what did not work.
        """
        if said:
            self.set_cookie(_FLASH, self.app.vault.sign(_FLASH, kind, said[:600]), _FLASH_SECONDS)
        return Answer(303, headers={"Location": path}, media="text/html")

    def to_sign_in(self, path: str = "") -> Answer:
        """Send somebody to sign in, and back here afterwards.

        Args:
            path: where else to go then.
        """
        here = path or self.path + (f"?{self.raw_query}" if self.raw_query else "")
        return self.redirect(
            f"/sign_in/?next={quote(here, safe='/')}" if is_local(here) else "/sign_in/"
        )

    def take_flash(self) -> dict[str, str] | None:
        """Give what the last page had to say, once: ``kind`` and ``text``."""
        cookie = self.cookie(_FLASH)
        if not cookie:
            return None
        self.set_cookie(_FLASH, "", 0)
        match self.app.vault.unsign(_FLASH, cookie):
            case [str(kind), str(text)]:
                return {"kind": kind, "text": text}
        return None

    def sign_value(self, purpose: str, *facts: str | int) -> str:
        """Sign something that only this moment's form may bring back; see ``taken``."""
        return self.app.vault.sign(purpose, int(self.now.timestamp()), *facts)

    def read_signed_value(self, purpose: str, text: str, seconds: int) -> list[Any] | None:
        """Give what was offered, unless that is longer ago than some seconds."""
        match self.app.vault.unsign(purpose, text):
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
