"""Write the log: one line for each event, as text for people or as JSON for machines."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
import structlog

from collegium.settings import Settings

_PLAIN: Final = re.compile(r"[!#-<>-~]+")
"""Values that need no quotes: no space, quote, equals sign, control or non-ASCII character."""

_SECRET = ("token", "password", "secret", "authorization", "cookie", "link", "code")


_wanted, _as_json = True, False


def configure(settings: Settings) -> None:
    """Write the log to standard error, with the level and the format of the settings."""
    global _wanted, _as_json
    level = getattr(logging, settings.log_level.upper())
    _wanted, _as_json = level <= logging.INFO, settings.log_format == "json"
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_secrets,
            *_rendered(settings.log_format),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[_OthersHandler()])


class _OthersHandler(logging.Handler):
    """Write what libraries log as entries of ours, in one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


def has_requests() -> bool:
    """Return whether requests are logged, so that nobody prepares their lines for nothing."""
    return _wanted


def request(
    *,
    method: str,
    path: str,
    status: int,
    ms: float,
    request: str,
    size: int = 0,
    ending: str = "",
) -> None:
    """Write the log line of a request.

    It bypasses structlog, because there is one for every request and structlog is too slow for
    that.

    Args:
        path: Path without the secret in it. It may hold any other character.
        ms: Duration of the request in milliseconds.
        request: The request id.
        size: Bytes of a streamed response.
        ending: How a streamed response ended; empty for others.
    """
    if not _wanted:
        return
    # ``isoformat`` takes a third of the time of ``strftime``.
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if _as_json:
        facts = {"event": "request", "method": method, "path": path, "status": status}
        facts |= {"ms": ms, "request": request, "level": "info", "timestamp": at}
        if ending:
            facts |= {"bytes": size, "ending": ending}
        line = _json(facts)
    else:
        shown = path if _PLAIN.fullmatch(path) else _encode(path).decode()
        line = (
            f"timestamp={at} level=info event=request method={method} path={shown} "
            f"status={status} ms={ms} request={request}"
        )
        if ending:
            line += f" bytes={size} ending={ending}"
    sys.stderr.write(line + "\n")


def _rendered(log_format: str) -> list[Any]:
    if log_format == "text" and sys.stderr.isatty():
        # A rich traceback would show local variables, among them secrets.
        formatter = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(exception_formatter=formatter)]
    # Every request writes a line. Rendering it with columns and colours took as long as its
    # response.
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(_json)
        if log_format == "json"
        else structlog.processors.LogfmtRenderer(key_order=("timestamp", "level", "event")),
    ]


def _json(line: dict[str, Any], **_: Any) -> str:
    return _encode(line).decode()


_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode


@lru_cache(maxsize=1000)
def _is_secret(name: str) -> bool:
    return any(part in name.lower() for part in _SECRET)


def _without_secrets(
    _logger: Any, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Mask every value whose name looks like a secret, in case one is ever logged."""
    for name in line:
        if _is_secret(name):
            line[name] = "…"
    return line
