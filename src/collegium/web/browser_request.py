"""One request of a browser: its session, its cookies, its form, and the redirect that follows."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import msgspec

from collegium import hosts
from collegium.access.rules import ANONYMOUS, Actor
from collegium.api.request import RequestContext, Response, lazy_property
from collegium.db import idempotency
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import Forbidden, Unauthenticated
from collegium.sign_in.tokens import sessions as session_actions
from collegium.sign_in.tokens.rules import SESSION_AGE, TokenKind
from collegium.text import languages
from collegium.web import browser_names
from collegium.web.forms import Form

_SESSION: Final = "session"
_FLASH: Final = "flash"
_FORM_COOKIE: Final = "form"
"""Name of the cookie that binds forms to a browser that is not signed in."""

_SUBMISSION: Final = "submission"
_NUMBER_MAX: Final = 64
_FORM_COOKIE_SECONDS: Final = 2 * 3600
_FLASH_SECONDS: Final = 60
_PATH_MAX: Final = 1000
_SAME_SITE: Final = frozenset({"same-origin", "none"})


class RepeatedFormError(Exception):
    """The same browser sent this form before, with the same one-time number.

    Args:
        facts: The arguments of ``BrowserRequest.created`` on the first submission.
    """

    def __init__(self, facts: list[Any]) -> None:
        super().__init__()
        self.facts = facts


class BrowserRequest(RequestContext):
    """A request of a browser. It is anonymous until ``load_session`` has found a session."""

    page: str = ""
    """Path of the page that shows this form; empty when the form was posted elsewhere."""

    needs_session: bool = False
    """Whether the form is for signed-in people only."""

    @lazy_property
    def set_cookies(self) -> list[str]:
        """Return the ``Set-Cookie`` values of the response so far."""
        return []

    @property
    def is_signed_in(self) -> bool:
        """Tell whether the browser has a valid session."""
        return self.actor is not ANONYMOUS

    def language(self, *preferred: str) -> str:
        """Return the language of the page.

        Args:
            preferred: Codes of the languages of the reader and of what is shown, the most important
                first; the browser's and the site's follow. Empty and unavailable ones are skipped.
        """
        accepted = languages.accepted(self.header("accept-language"))
        return languages.first_available(*preferred, *accepted, self.settings.language)

    def use_language(self, *shown: str | None) -> None:
        """Write the page in the language of the reader, else in that of what is shown.

        Args:
            shown: Codes of languages of what is shown, the most important first.
        """
        codes = (self.preferred_language, *shown)
        languages.use(self.language(*(code for code in codes if code)))

    # Cookies.

    @lazy_property
    def is_secure(self) -> bool:
        """Tell whether browsers use TLS to reach us, so that cookies can be ``Secure``."""
        return self.base.startswith("https:") or self.settings.base_url.startswith("https:")

    @lazy_property
    def _cookies(self) -> dict[str, str]:
        cookies: dict[str, str] = {}
        for part in self.header("cookie").split(";"):
            name, _, value = part.partition("=")
            cookies.setdefault(name.strip(), value.strip())
        return cookies

    def _cookie_name(self, name: str) -> str:
        # A browser accepts the prefix ``__Host-`` only with ``Path=/`` (RFC 6265bis, section
        # 4.1.3.2).
        prefix = "__Secure-" if self.root else "__Host-"
        return f"{prefix if self.is_secure else ''}collegium_{name}"

    def cookie(self, name: str) -> str:
        """Return the value of one of our cookies; empty when there is none."""
        return self._cookies.get(self._cookie_name(name), "")

    def set_cookie(self, name: str, value: str, seconds: int) -> None:
        """Set a cookie that scripts cannot read and that other sites' forms do not send.

        Args:
            name: Name of the cookie, without our prefix.
            seconds: Lifetime; 0 deletes the cookie.
        """
        cookie = f"{self._cookie_name(name)}={value}; Path={self.root or '/'}; Max-Age={seconds}"
        secure = "; Secure" if self.is_secure else ""
        self.set_cookies.append(f"{cookie}; HttpOnly; SameSite=Lax{secure}")
        self._cookies[self._cookie_name(name)] = value

    # Session.

    @property
    def session(self) -> str:
        """Return the session cookie; empty when there is none."""
        return self.cookie(_SESSION)

    def load_session(self, tx: ReadTransaction, token: str) -> None:
        """Authenticate the session cookie. An invalid or ended session is deleted, not refused."""
        if token:
            try:
                self.authenticate(tx, token, {TokenKind.SESSION})
            except Unauthenticated:
                self.set_cookie(_SESSION, "", 0)

    def sign_in(
        self,
        tx: WriteTransaction,
        actor: Actor,
        method: str,
        *,
        has_second_factor: bool = False,
    ) -> str:
        """Start a session in this browser. Forms that were loaded before become invalid.

        Return its token.

        Args:
            method: How the person signed in: ``password``, ``second factor`` or ``mailed link``.
            has_second_factor: Whether that needed more than a password.

        Raises:
            Unauthenticated: The credentials have changed since they were checked.
        """
        browser = self.header("user-agent")
        token = session_actions.begin(
            tx,
            self.app.vault,
            actor,
            method,
            browser_names.name_of(browser),
            is_renewal=self.is_signed_in,
            has_second_factor=has_second_factor,
            settings=self.settings,
        )
        self.set_cookie(_SESSION, token, SESSION_AGE)
        self.set_cookie(_FORM_COOKIE, "", 0)
        return token

    def sign_out(self, tx: WriteTransaction) -> None:
        """End the session of this browser."""
        session_actions.end(tx, self.actor, self.token_id)
        self.set_cookie(_SESSION, "", 0)

    # Forms.

    @property
    def csrf(self) -> str:
        """Return the CSRF token for the forms of this page. It is bound to this browser."""
        if self.is_signed_in:
            return self._csrf_of(self.cookie(_SESSION))
        cookie = self.cookie(_FORM_COOKIE)
        if not self._is_fresh_cookie(cookie, _FORM_COOKIE_SECONDS // 2):
            cookie = self.app.vault.sign(
                _FORM_COOKIE, secrets.token_hex(16), int(self.now.timestamp())
            )
            self.set_cookie(_FORM_COOKIE, cookie, _FORM_COOKIE_SECONDS)
        return self._csrf_of(cookie)

    def _csrf_of(self, secret: str) -> str:
        return self.app.vault.derive_code("form", secret)

    def _is_fresh_cookie(self, text: str, seconds: int) -> bool:
        match self.app.vault.unsign(_FORM_COOKIE, text):
            case [str(), int(created_at)]:
                return created_at <= self.now.timestamp() <= created_at + seconds
        return False

    @lazy_property
    def form(self) -> Form:
        """Return the posted form."""
        return Form.read(self.header("content-type"), self.body)

    def check_form(self) -> None:
        """Check that one of our pages gave the posted form to this browser.

        Raises:
            Forbidden: ``form.foreign`` for another site's form. ``form.unreadable`` for a body that
                is not a form. ``form.insecure`` for a page that was opened without TLS.
                ``form.encrypted`` when the browser uses TLS, but our BASE_URL does not.
                ``form.no_cookie`` without our cookie. ``form.stale`` for a wrong or old token.
        """
        self._check_origin()
        if not self.form.is_readable:
            raise Forbidden("form.unreadable")
        secret = self.cookie(_SESSION if self.is_signed_in else _FORM_COOKIE)
        is_fresh = self.is_signed_in or self._is_fresh_cookie(secret, _FORM_COOKIE_SECONDS)
        csrf = self.form.raw("csrf").encode()
        if not is_fresh or not hmac.compare_digest(csrf, self._csrf_of(secret).encode()):
            raise Forbidden(self._stale_code(secret))

    @property
    def is_from_own_page(self) -> bool:
        """Tell whether the browser says that one of our pages sent this form.

        Only for a form that ``check_form`` did not refuse as one of another site.
        """
        is_same_origin = self.header("sec-fetch-site") == "same-origin"
        return is_same_origin or self.header("origin") not in {"", "null"}

    def _check_origin(self) -> None:
        origin_header = self.header("origin")
        # "null" carries no information: the browser hides the origin, or there was a redirect.
        if origin_header and origin_header != "null":
            origin = hosts.origin(origin_header)
            own_origins = {hosts.origin(self.base), hosts.origin(self.settings.base_url)}
            if origin is None or origin not in own_origins:
                raise Forbidden(self._foreign_code(origin or ""))
        if self.header("sec-fetch-site", "none") not in _SAME_SITE:
            raise Forbidden("form.foreign")

    def _foreign_code(self, origin: str) -> str:
        """Return the code for a foreign origin; it tells our own site with another scheme apart."""
        if self._is_own_http(origin):
            return "form.insecure"
        own_host = (hosts.origin(self.base) or "").partition("://")[2].partition(":")[0]
        host = origin.partition("://")[2].partition(":")[0]
        is_own_https = (
            origin.startswith("https:") and host == own_host and self.base.startswith("http:")
        )
        return "form.encrypted" if is_own_https else "form.foreign"

    def _is_own_http(self, origin: str) -> bool:
        """Tell whether an origin is our own without TLS, where ``Secure`` cookies do not work."""
        own_origin = hosts.origin(self.settings.base_url) or ""
        return own_origin == f"https:{(hosts.origin(origin) or '').removeprefix('http:')}"

    def _stale_code(self, secret: str) -> str:
        if secret:
            return "form.stale"
        return "form.insecure" if self._is_own_http(self.header("referer")) else "form.no_cookie"

    # Idempotent forms.

    @lazy_property
    def submission(self) -> str:
        """Return the one-time number for the forms of this page that create something."""
        return secrets.token_urlsafe(16)

    @lazy_property
    def _content_hash(self) -> str:
        """Return a digest of the posted form.

        It is computed once, from the fields as they arrived, because handlers add values to the
        form later.
        """
        digest = hashlib.sha256()
        for name, values in sorted(self.form.values.items()):
            if name != "csrf":
                digest.update(msgspec.msgpack.encode((name, values)))
        return digest.hexdigest()

    @lazy_property
    def _browser_secret(self) -> str:
        """Return the cookie that binds forms to this browser, as before any sign-in here."""
        return self.cookie(_SESSION if self.is_signed_in else _FORM_COOKIE)

    @property
    def browser_hash(self) -> bytes:
        """Return a digest of the cookie that binds forms to this browser, 32 bytes."""
        return self.app.vault.keyed_hash(f"browser\x1f{self._browser_secret}")

    @lazy_property
    def script_nonce(self) -> str:
        """Return the nonce that lets this page run our script; see ``page``."""
        return secrets.token_urlsafe(16)

    def _submission_key(self, part: str = "") -> str | None:
        """Return the idempotency key of the form, or of one part; None for a form without a number.

        The key covers browser, page and contents. Somebody who goes back, types another name and
        sends the form again wants a second object.
        """
        number = self.form.raw("submission")
        if not number or len(number) > _NUMBER_MAX:
            return None
        facts = (_SUBMISSION, self._browser_secret, self.path, self._content_hash, part)
        return self.app.vault.keyed_hash("\x1f".join(facts)).hex()

    def recall(self, tx: ReadTransaction) -> list[Any] | None:
        """Return what the same form has led to before; None on its first submission."""
        return self.recall_parts(tx, [""]).get("")

    def recall_parts(self, tx: ReadTransaction, parts: Collection[str]) -> dict[str, list[Any]]:
        """Return what parts of the same form have led to before, without those not yet created.

        Args:
            parts: Names of the parts, each of which has its own transaction; see ``create``.
        """
        keys = {self._submission_key(part): part for part in parts} if parts else {}
        keys.pop(None, None)
        responses = idempotency.get_responses(tx, [key for key in keys if key]) if keys else {}
        results = {}
        for key, response in responses.items():
            facts = self.app.vault.unsign(_SUBMISSION, response)
            if facts is not None:
                results[keys[key]] = facts
        return results

    @contextmanager
    def create(self, part: str = "") -> Iterator[WriteTransaction]:
        """Open a transaction that creates what the form asks for, unless an earlier submission did.

        Of two submissions at the same moment the second waits for the first. End the block with
        ``created``. A block that ends without it has created nothing, and the form can be sent
        again.

        Args:
            part: Name of the part; empty for the whole form.

        Raises:
            RepeatedFormError: The form was sent before. Nothing is done.
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
        """Record what a form has led to, in the transaction that created it; see ``create``.

        Args:
            facts: What is needed to answer the same form again: the arguments of ``redirect``,
                unless the page has its own ``replay``. They are kept encrypted, for a day.
        """
        self._is_created = True
        key = self._submission_key(part)
        if key is not None:
            idempotency.complete(tx, key, self.app.vault.sign(_SUBMISSION, *facts))

    def answer(self, tx: WriteTransaction, path: str, message: str = "") -> Response:
        """Redirect, and keep that as what the form has led to, for a ``Page(…, once=True)``.

        Unlike ``create``, it does not prevent that the form is executed again: what was cancelled
        may have begun again since, and this form can cancel it again.

        Args:
            tx: The transaction that does what the form asks for.
            path: see ``redirect``.
            message: see ``redirect``.
        """
        self.keep_answer(tx, path, message)
        return self.redirect(path, message)

    @property
    def was_answered(self) -> bool:
        """Tell whether the same form has led to something before; see ``answer``."""
        with self.read() as tx:
            return self.recall(tx) is not None

    def keep_answer(self, tx: WriteTransaction, *facts: str | int) -> None:
        """Keep what a form has led to, as ``answer``, for a page with its own ``replay``."""
        key = self._submission_key()
        if key is not None:
            idempotency.claim(tx, key)
            idempotency.complete(tx, key, self.app.vault.sign(_SUBMISSION, *facts))

    # Navigation.

    @property
    def next(self) -> str:
        """Return the parameter ``next``, where to continue; empty unless it is on this site."""
        path = self.form.raw("next") if self.method == "POST" else self.query_value("next")
        return path if is_local(path) else ""

    def query_value(self, name: str) -> str:
        """Return the first value of a query parameter; empty when it is absent."""
        return self.query.get(name, [""])[0]

    def redirect(self, path: str, message: str = "", *, kind: str = "done") -> Response:
        """Redirect to another page (303), and show there what has happened.

        Args:
            path: A path on this site.
            message: The message; empty for none.
            kind: ``done``, or ``not`` for something that failed.
        """
        if message:
            self.set_cookie(
                _FLASH, self.app.vault.sign(_FLASH, kind, message[:600]), _FLASH_SECONDS
            )
        return Response(303, headers={"Location": path}, media="text/html")

    def to_sign_in(self, path: str = "") -> Response:
        """Redirect to the sign-in page, which continues here afterwards.

        Args:
            path: Where to continue instead.
        """
        target = path or self.path + (f"?{self.raw_query}" if self.raw_query else "")
        return self.redirect(leading_to("/sign_in/", target))

    @property
    def has_flash(self) -> bool:
        """Tell whether the previous page has left a message."""
        return bool(self.cookie(_FLASH))

    def take_flash(self) -> dict[str, str] | None:
        """Return the message of the previous page as ``kind`` and ``text``, and delete it."""
        cookie = self.cookie(_FLASH)
        if not cookie:
            return None
        self.set_cookie(_FLASH, "", 0)
        match self.app.vault.unsign(_FLASH, cookie):
            case [str(kind), str(text)]:
                return {"kind": kind, "text": text}
        return None

    def sign_value(self, purpose: str, *facts: str | int) -> str:
        """Sign facts together with the current time; see ``read_signed_value``."""
        return self.app.vault.sign(purpose, int(self.now.timestamp()), *facts)

    def read_signed_value(self, purpose: str, text: str, seconds: int) -> list[Any] | None:
        """Return the facts of ``sign_value``; None when the signature is wrong or too old.

        Args:
            seconds: Maximum age.
        """
        match self.app.vault.unsign(purpose, text):
            case [int(signed_at), *facts] if (
                signed_at <= self.now.timestamp() <= signed_at + seconds
            ):
                return facts
        return None


def leading_to(path: str, target: str) -> str:
    """Return the path of a page of ours that continues elsewhere, with the parameter ``next``.

    Args:
        path: With or without other parameters.
        target: A path on this site. Anything else is left out.
    """
    if not is_local(target):
        return path
    return f"{path}{'&' if '?' in path else '?'}next={quote(target, safe='/')}"


def is_local(path: str) -> bool:
    """Tell whether a text is a path on this site that no browser reads as another site's URL."""
    return (
        path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and len(path) <= _PATH_MAX
        and path.isascii()
        and path.isprintable()
        and "\\" not in path
    )
