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
from collegium.dialects.http import REQUEST_ID, text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST: Final = re.compile(r"(?:[\w.~-]+|\[[0-9a-fA-F:.]+\])?(?::([0-9]{0,5}))?", re.ASCII)
_PORT_MAX: Final = 65535
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
)
# For a year, and of this host alone: what else is below its name is not ours to speak for.
_TLS: Final = ("strict-transport-security", "max-age=31536000")

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
# Probes come every few seconds and say nothing about what happened.
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# Anybody can make up a method, and a counter that is once made is kept for good.
_COUNTED: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Front:
    """Wraps the application.

    Args:
        hosts: names this service answers to, lower case, without port; empty: to any.
        is_secure: whether people reach it through TLS.
    """

    def __init__(
        self, app: WSGIApplication, hosts: frozenset[str], *, is_secure: bool = False
    ) -> None:
        self._app = app
        self._hosts = hosts
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

        try:
            if len(env["QUERY_STRING"]) > _TARGET_MAX or len(env["PATH_INFO"]) > _TARGET_MAX:
                return _refused(answer, "414 URI Too Long", "The address is too long.")
            for name in env:
                if name[:5] in _HEADERS and len(env[name]) > _HEADER_MAX:
                    said = f"A header is too long: {_HEADER_MAX} bytes at most."
                    return _refused(answer, "431 Request Header Fields Too Large", said)
            if not self._is_meant(env.get("HTTP_HOST", "")):
                said = "This service does not answer to that host name."
                return _refused(answer, "400 Bad Request", said)
            return self._app(env, answer)
        finally:
            took = time.perf_counter() - began
            method = env["REQUEST_METHOD"] if env["REQUEST_METHOD"] in _COUNTED else "?"
            _answered(method, code).inc()
            _seconds.observe(took)
            path = text(env["PATH_INFO"])
            if path not in _QUIET:
                # The path only: a query may hold somebody's address, and some paths a secret.
                logs.request(
                    method=method,
                    path=without_secrets(path),
                    status=int(code),
                    ms=round(took * 1000, 1),
                    request=request,
                )

    def _is_meant(self, host: str) -> bool:
        """Tell whether a request names one host, rightly spelled, and ours."""
        # Of two such headers the server makes one text with a comma, which no name has.
        spelled = _HOST.fullmatch(host)
        return (
            spelled is not None
            and int(spelled[1] or 0) <= _PORT_MAX
            and (not self._hosts or _host(host) in self._hosts)
        )


# What comes after a segment that names invitations, or a page that a mailed link leads to, lets
# somebody in: a UUID in any of its spellings, a token, a code.
_KEY_NAMED: Final = ("invitation", "links", "user_email_change", "password_reset")
_KEY_SEPARATOR: Final = re.compile(r"([/\\])")
_WORD: Final = re.compile(r"[a-z_-]{0,20}", re.IGNORECASE)
_NAME: Final = re.compile(r"[a-z_-]{0,40}", re.IGNORECASE)


def without_secrets(path: str) -> str:
    """Return a path as it may be logged: without what opens anything by itself, on one line.

    Judged by what a path could mean, not by our routes: a misspelled path is logged too.
    """
    told = _without_keys(path) if any(name in path.lower() for name in _KEY_NAMED) else path
    return told if told.isprintable() else told.encode("unicode_escape").decode()


def _without_keys(path: str) -> str:
    parts = _KEY_SEPARATOR.split(path)
    is_after = False
    for at, part in enumerate(parts):
        if is_after and not _WORD.fullmatch(part) and part not in {"/", "\\"}:
            parts[at] = "…"
        elif any(name in part.lower() for name in _KEY_NAMED):
            is_after = True
            if not _NAME.fullmatch(part):
                parts[at] = "…"
    return "".join(parts)


def _host(header: str) -> str:
    name = header.lower()
    if name.startswith("["):
        return name.split("]")[0] + "]"
    return name.split(":")[0]


def _refused(start_response: StartResponse, status: str, said: str) -> Iterable[bytes]:
    body = f'{{"detail":"{said}"}}'.encode()
    start_response(
        status,
        [("content-type", "application/json"), ("content-length", str(len(body)))],
    )
    return [body]
