"""WSGI middleware around all protocols, for every request and every response.

It assigns the request id, checks the host name, adds security headers, writes the log line and
updates the metrics.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import lru_cache
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from collegium import logs, tracing
from collegium.api.cors import CorsPolicy
from collegium.api.request import (
    APP_CONTEXT,
    BASE,
    REQUEST_ID,
    ROOT,
    ROUTED,
    AppContext,
    PublicUrl,
    outage_words,
    text,
    trusted,
)
from collegium.api.streams import STATUS, Ending, StreamedBody
from collegium.db.database import UnavailableError
from collegium.refusals import Refusal

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER_MAX: Final = 128 * 1024
"""Maximum length of a header in characters; most proxies pass on 8 KiB at most."""

_TARGET_MAX: Final = 64 * 1024
"""Maximum length of the path and of the query string, in characters."""
POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of all responses. Pages with a script add the script."""

_SECURITY: Final = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("content-security-policy", POLICY),
    ("cache-control", "no-store"),
    # Search engines must not index pages of invitations and people.
    ("x-robots-tag", "noindex"),
)
# For one year and without ``includeSubDomains``: other services may run on subdomains.
_TLS: Final = ("strict-transport-security", "max-age=31536000")

RAW_PATH: Final = "collegium.raw_path"
"""Key in the WSGI environment under which the server stores the path as the caller sent it."""

registry: Final = CollectorRegistry()
_requests: Final = Counter(
    "collegium_requests", "Requests answered.", ("method", "status"), registry=registry
)
_seconds: Final = Histogram(
    "collegium_request_seconds", "Time until the response, in seconds.", registry=registry
)
_streams: Final = Counter(
    "collegium_streams", "Streamed responses that have ended.", ("ending",), registry=registry
)
_streaming: Final = Gauge(
    "collegium_streams_active", "Streamed responses that are being sent.", registry=registry
)
_streamed: Final = Counter(
    "collegium_streamed_bytes", "Bytes of streamed responses.", registry=registry
)
for _ending in Ending:
    _streams.labels(_ending)  # a rate needs a value before the first one
_log = structlog.get_logger()
# Looking a counter up by its labels takes as long as counting, so counters are cached. There are
# few combinations of both labels.
_count_of: Final = lru_cache(maxsize=None)(_requests.labels)
# The first five characters of the keys in the WSGI environment that hold headers.
_HEADERS: Final = frozenset({"HTTP_", "CONTE"})
_FORWARDED: Final = {
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
}
# Probes come every few seconds and their log lines would say nothing.
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# Only known methods become labels: a caller can invent methods, and a counter is never removed.
_COUNTED: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Middleware:
    """WSGI middleware that wraps the application.

    Args:
        app_context: handed to the routes of the application.
        site: public URL, host names and trusted proxies of the service.
        record_proxy: called with the address of each proxy that is not trusted.
        cors: the origins whose pages may call the APIs.
        is_secure: whether the public URL uses TLS.
    """

    def __init__(
        self,
        app: WSGIApplication,
        app_context: AppContext,
        site: PublicUrl,
        record_proxy: Callable[[str], None],
        cors: CorsPolicy,
        *,
        is_secure: bool = False,
    ) -> None:
        self._app = app
        self._app_context = app_context
        self._record_proxy = record_proxy
        self._site = site
        self._cors = cors
        self._security_headers = (*_SECURITY, _TLS) if is_secure else _SECURITY

    def __call__(self, env: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        sent_id = env.get("HTTP_X_REQUEST_ID", "")
        request = sent_id if _ID.fullmatch(sent_id) else os.urandom(8).hex()
        env[REQUEST_ID] = request
        began = time.perf_counter()
        code = "500"
        is_streamed = False
        path = _under_base_path(self._site.path, env["PATH_INFO"])
        env["PATH_INFO"] = path
        cors_headers = self._cors.headers(env, path)

        def start(status: str, headers: list[tuple[str, str]], _fault: Any = None) -> Any:
            nonlocal code
            code = status[:3]
            names = {name for name, _ in headers}
            headers += [pair for pair in self._security_headers if pair[0] not in names]
            headers += cors_headers
            headers.append(("x-request-id", request))
            return start_response(status, headers)

        try:
            if len(env["QUERY_STRING"]) > _TARGET_MAX or len(env["PATH_INFO"]) > _TARGET_MAX:
                return _refuse_request(start, "414 URI Too Long", "The URL is too long.")
            for name, value in env.items():
                # The length is compared first, because that is the fastest.
                if type(value) is str and len(value) > _HEADER_MAX and name[:5] in _HEADERS:
                    message = f"A header is too long (maximum {_HEADER_MAX} bytes)."
                    return _refuse_request(start, "431 Request Header Fields Too Large", message)
            base = self._site.base(env)
            if base is None and path not in _QUIET:
                message = "This service does not answer for this host name."
                return _refuse_request(start, "400 Bad Request", message)
            preflight = self._cors.preflight(env, path)
            if preflight is not None:
                start("204 No Content", list(preflight))
                return ()
            env[BASE] = base or self._site.url or "http://localhost"
            env[ROOT] = self._site.path
            env[APP_CONTEXT] = self._app_context
            if _is_path_alias(path, env.get(RAW_PATH, "")):
                env["PATH_INFO"] = _not_found(path)
            is_traced = tracing.is_on() and path not in _QUIET
            body = self._traced(env, start, request) if is_traced else self._app(env, start)
            is_streamed = type(body) is not list
            return self._streamed(body, env, path, began, code) if is_streamed else body
        finally:
            seconds = time.perf_counter() - began
            method = env["REQUEST_METHOD"] if env["REQUEST_METHOD"] in _COUNTED else "?"
            _count_of(method, code).inc(not is_streamed)  # streams are counted when they end
            _seconds.observe(seconds)
            if _FORWARDED & env.keys() and not trusted(env, self._site.proxies):
                self._record_proxy(env.get("REMOTE_ADDR", ""))
            if logs.has_requests() and path not in _QUIET and not is_streamed:
                # Only the path is logged: a query string may contain an e-mail address.
                # ``without_secrets`` removes the secrets that some paths contain.
                logs.request(
                    method=method,
                    path=without_secrets(text(path), is_routed=ROUTED in env),
                    status=int(code),
                    ms=round(seconds * 1000, 1),
                    request=request,
                )

    def _streamed(
        self,
        parts: Iterable[bytes],
        env: WSGIEnvironment,
        path: str,
        began: float,
        code: str,
    ) -> StreamedBody:
        """Return a body that writes the log line of its request and is counted when it ends."""
        request = env[REQUEST_ID]
        shown = without_secrets(text(path), is_routed=ROUTED in env)

        def note(error: Exception) -> None:
            if isinstance(error, Refusal):
                _log.warning("response cut short", reason=error.code, path=shown, request=request)
            elif isinstance(error, UnavailableError):
                outage_words(error)  # logs it
            else:
                _log.error("response cut short", path=shown, request=request, exc_info=error)

        def report(body: StreamedBody) -> None:
            sent = str(env.get(STATUS, code))
            method = env["REQUEST_METHOD"] if env["REQUEST_METHOD"] in _COUNTED else "?"
            _count_of(method, sent).inc()
            _streaming.dec()
            _streams.labels(body.ending).inc()
            _streamed.inc(body.size)
            logs.request(
                method=env["REQUEST_METHOD"],
                path=shown,
                status=int(sent),
                ms=round((time.perf_counter() - began) * 1000, 1),
                request=request,
                size=body.size,
                ending=str(body.ending),
            )

        _streaming.inc()
        return StreamedBody(parts, env, report, note)

    def _traced(self, env: WSGIEnvironment, start: StartResponse, request: str) -> Iterable[bytes]:
        """Handle a request in a span of its own."""
        method = env["REQUEST_METHOD"] if env["REQUEST_METHOD"] in _COUNTED else "_OTHER"
        # A stranger could begin traces of any length.
        proxied = trusted(env, self._site.proxies)
        parent = env.get("HTTP_TRACEPARENT", "") if proxied else ""
        with ExitStack() as stack:
            span = stack.enter_context(tracing.request_span(method, parent))
            span.set_attribute("collegium.request_id", request)

            def noted(status: str, headers: list[tuple[str, str]], fault: Any = None) -> Any:
                span.set_attribute("http.response.status_code", int(status[:3]))
                return start(status, headers, fault)

            body = self._app(env, noted)
            if ROUTED in env:
                span.set_attribute("http.route", env[ROUTED])
                span.update_name(f"{method} {env[ROUTED]}")
            if type(body) is list:
                return body
            # The statements of a stream belong to its request.
            ends = stack.pop_all()

            def report(streamed: StreamedBody) -> None:
                if STATUS in env:
                    span.set_attribute("http.response.status_code", env[STATUS])
                span.set_attribute("http.response.body.size", streamed.size)
                span.set_attribute("collegium.stream_ending", str(streamed.ending))
                ends.close()

            return StreamedBody(body, env, report)


def _under_base_path(root: str, path: str) -> str:
    """Return a path without the base path, whether or not a proxy has removed it already."""
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :] or "/"
    return path


_ALIAS_PART: Final = re.compile(r"//|/\.{1,2}(?:/|$)")
_ESCAPED_SLASH: Final = re.compile(r"%2f", re.IGNORECASE)


def _is_path_alias(path: str, raw: str) -> bool:
    """Return whether a path is another spelling of a route. Each route has exactly one spelling."""
    return _ALIAS_PART.search(path) is not None or ("%" in raw and bool(_ESCAPED_SLASH.search(raw)))


def _not_found(path: str) -> str:
    """Return a path that no route has, in the same protocol as the requested path."""
    return "/api/-/-/" if path.lstrip("/").startswith(("api", "schema")) else "/-/"


# A segment after one that names invitations, or after a page that an e-mailed link opens, can be a
# credential: a UUID in any spelling, a token or a code.
# The paths are folded first. Searching for seven words with IGNORECASE takes five times as long.
_BEFORE_KEY: Final = re.compile(
    "invitation|links|user_email_change|password_reset|identity_link|setup|unsubscribe"
)
_KEY_SEPARATOR: Final = re.compile(r"([/\\])")
_WORD: Final = re.compile(r"[a-z_-]{0,20}", re.IGNORECASE)
_NAME: Final = re.compile(r"[a-z_-]{0,40}", re.IGNORECASE)
# Most paths consist of short words, and none of these is a key.
_SHORT_WORDS: Final = re.compile(r"(?:/[a-z_-]{0,20}+)++")
# The shortest key has 32 characters.
_POSSIBLE_KEY: Final = re.compile(r"[a-z0-9_-]{20,}", re.IGNORECASE)


def without_secrets(path: str, *, is_routed: bool = True) -> str:
    """Return a path that is safe to log: on one line and without credentials.

    The function looks at what a path could mean and not at the routes, because misspelled paths are
    logged too.

    Args:
        is_routed: whether a route has the path. If none has, the name before a key may be
            misspelled in any way, so everything that could be a key is removed.
    """
    if _SHORT_WORDS.fullmatch(path):
        return path
    masked = _without_keys(path) if _BEFORE_KEY.search(path.casefold()) else path
    if not is_routed:
        masked = _POSSIBLE_KEY.sub(_mask_unless_name, masked)
    return masked if masked.isprintable() else masked.encode("unicode_escape").decode()


def _without_keys(path: str) -> str:
    parts = _KEY_SEPARATOR.split(path)
    is_after = False
    for index, part in enumerate(parts):
        if is_after and not _WORD.fullmatch(part) and part not in {"/", "\\"}:
            parts[index] = "…"
        elif _BEFORE_KEY.search(part.casefold()):
            is_after = True
            if not _NAME.fullmatch(part):
                parts[index] = "…"
    return "".join(parts)


def _mask_unless_name(match: re.Match[str]) -> str:
    return match[0] if _NAME.fullmatch(match[0]) else "…"


def _refuse_request(start_response: StartResponse, status: str, message: str) -> Iterable[bytes]:
    body = f'{{"detail":"{message}"}}'.encode()
    start_response(
        status,
        [("content-type", "application/json"), ("content-length", str(len(body)))],
    )
    return [body]
