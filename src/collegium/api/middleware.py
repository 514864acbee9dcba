"""What happens to every request before a dialect sees it, and to every answer after.

A request id in and out, the host's name, security headers, the log line, the counters.
"""

from __future__ import annotations

import re
import secrets
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from collegium import logs
from collegium.api.request import BASE, REQUEST_ID, ROUTED, text, trusted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from collegium.api.request import PublicUrl

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER_MAX: Final = 128 * 1024
"""Characters of the longest header that is read; most proxies pass on 8 KiB at most."""

_TARGET_MAX: Final = 64 * 1024
"""Characters of the longest path and the longest query that are read."""
_SECURITY: Final = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "content-security-policy",
        (
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    ("cache-control", "no-store"),
    # Nothing here is for search engines: pages of invitations and of people.
    ("x-robots-tag", "noindex"),
)
# For a year, and of this host alone: what else is below its name is not ours to speak for.
_TLS: Final = ("strict-transport-security", "max-age=31536000")

RAW_PATH: Final = "collegium.raw_path"
"""Where the server leaves the path as the caller spelled it."""

registry: Final = CollectorRegistry()
_requests: Final = Counter(
    "collegium_requests", "Requests answered.", ("method", "status"), registry=registry
)
_seconds: Final = Histogram(
    "collegium_request_seconds", "Time to the answer, in seconds.", registry=registry
)
# Finding a counter by its labels takes as long as counting; of both there are few.
_answered: Final = lru_cache(maxsize=None)(_requests.labels)
# What the names of headers begin with in the environment.
_HEADERS: Final = frozenset({"HTTP_", "CONTE"})
_FORWARDED: Final = {
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
}
# Probes come every few seconds and say nothing about what happened.
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# Anybody can make up a method, and a counter that is once made is kept for good.
_COUNTED: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Middleware:
    """Wraps the application.

    Args:
        site: where people reach it.
        note: takes the address of a proxy that is not trusted.
        is_secure: whether people reach it through TLS.
    """

    def __init__(
        self,
        app: WSGIApplication,
        site: PublicUrl,
        note: Callable[[str], None],
        *,
        is_secure: bool = False,
    ) -> None:
        self._app = app
        self._note = note
        self._site = site
        self._guards = (*_SECURITY, _TLS) if is_secure else _SECURITY

    def __call__(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Take one request through."""
        given = env.get("HTTP_X_REQUEST_ID", "")
        request = given if _ID.fullmatch(given) else secrets.token_hex(8)
        env[REQUEST_ID] = request
        began = time.perf_counter()
        code = "500"

        def answer(status: str, headers: list[tuple[str, str]], _fault: Any = None) -> Any:
            nonlocal code
            code = status[:3]
            names = {name for name, _ in headers}
            headers += [pair for pair in self._guards if pair[0] not in names]
            headers.append(("x-request-id", request))
            return start_response(status, headers)

        path = _under_base_path(self._site.path, env["PATH_INFO"])
        env["PATH_INFO"] = path
        try:
            if len(env["QUERY_STRING"]) > _TARGET_MAX or len(env["PATH_INFO"]) > _TARGET_MAX:
                return _refuse_request(answer, "414 URI Too Long", "The address is too long.")
            for name in env:
                if name[:5] in _HEADERS and len(env[name]) > _HEADER_MAX:
                    said = f"A header is too long: {_HEADER_MAX} bytes at most."
                    return _refuse_request(answer, "431 Request Header Fields Too Large", said)
            base = self._site.base(env)
            if base is None and path not in _QUIET:
                said = "This service does not answer to that host name."
                return _refuse_request(answer, "400 Bad Request", said)
            env[BASE] = base or self._site.url or "http://localhost"
            if _is_path_alias(path, env.get(RAW_PATH, "")):
                env["PATH_INFO"] = _not_found(path)
            return self._app(env, answer)
        finally:
            took = time.perf_counter() - began
            method = env["REQUEST_METHOD"] if env["REQUEST_METHOD"] in _COUNTED else "?"
            _answered(method, code).inc()
            _seconds.observe(took)
            if _FORWARDED & env.keys() and not trusted(env, self._site.proxies):
                self._note(env.get("REMOTE_ADDR", ""))
            if path not in _QUIET:
                # The path only: a query may hold somebody's address, and some paths a secret.
                logs.request(
                    method=method,
                    path=without_secrets(text(path), is_routed=ROUTED in env),
                    status=int(code),
                    ms=round(took * 1000, 1),
                    request=request,
                )


def _under_base_path(root: str, path: str) -> str:
    """Return a path without what stands before ours, whether or not a proxy has taken it away."""
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :] or "/"
    return path


_ODD_PART: Final = re.compile(r"//|/\.{1,2}(?:/|$)")
_ODD_ESCAPE: Final = re.compile(r"%2f", re.IGNORECASE)


def _is_path_alias(path: str, raw: str) -> bool:
    """Tell whether a path is another spelling of one of ours; each has one, and no other."""
    return _ODD_PART.search(path) is not None or ("%" in raw and bool(_ODD_ESCAPE.search(raw)))


def _not_found(path: str) -> str:
    """Return a path that no route has, of the same protocol as what was asked."""
    return "/api/-/-/" if path.lstrip("/").startswith(("api", "schema")) else "/-/"


# What comes after a segment that names invitations, or a page that a mailed link leads to, lets
# somebody in: a UUID in any of its spellings, a token, a code.
_KEY_NAMED: Final = re.compile("invitation|links|user_email_change|password_reset", re.IGNORECASE)
_KEY_SEPARATOR: Final = re.compile(r"([/\\])")
_WORD: Final = re.compile(r"[a-z_-]{0,20}", re.IGNORECASE)
_NAME: Final = re.compile(r"[a-z_-]{0,40}", re.IGNORECASE)
# The shortest key has 32 characters.
_LONG: Final = re.compile(r"[a-z0-9_-]{20,}", re.IGNORECASE)


def without_secrets(path: str, *, is_routed: bool = True) -> str:
    """Return a path as it may be logged: without what opens anything by itself, on one line.

    Judged by what a path could mean, not by our routes: a misspelled path is logged too.

    Args:
        is_routed: whether a route has the path. Where none has, the name before a key may be
            misspelled in any way, so everything that could be a key goes.
    """
    told = _without_keys(path) if _KEY_NAMED.search(path) else path
    if not is_routed:
        told = _LONG.sub(_unless_name, told)
    return told if told.isprintable() else told.encode("unicode_escape").decode()


def _without_keys(path: str) -> str:
    parts = _KEY_SEPARATOR.split(path)
    is_after = False
    for at, part in enumerate(parts):
        if is_after and not _WORD.fullmatch(part) and part not in {"/", "\\"}:
            parts[at] = "…"
        elif _KEY_NAMED.search(part):
            is_after = True
            if not _NAME.fullmatch(part):
                parts[at] = "…"
    return "".join(parts)


def _unless_name(found: re.Match[str]) -> str:
    return found[0] if _NAME.fullmatch(found[0]) else "…"


def _refuse_request(start_response: StartResponse, status: str, said: str) -> Iterable[bytes]:
    body = f'{{"detail":"{said}"}}'.encode()
    start_response(
        status,
        [("content-type", "application/json"), ("content-length", str(len(body)))],
    )
    return [body]
