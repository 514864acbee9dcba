"""How the log is written: one line a happening, as text for people or JSON for machines."""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from collegium.settings import Settings

_SECRET = ("token", "password", "secret", "authorization", "cookie", "link", "code")


def configure(settings: Settings) -> None:
    """Write the log to standard error, as the settings say."""
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_secrets,
            *_rendered(settings.log_format),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(message)s")


def _rendered(log_format: str) -> list[Any]:
    if log_format == "text" and sys.stderr.isatty():
        # A prettier traceback would show local variables, secrets among them.
        formatter = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(exception_formatter=formatter)]
    # Every request writes a line: drawing it in columns and colours cost as much as its answer.
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
    """Cover whatever is named like a secret, should anybody ever log one."""
    for name in line:
        if _is_secret(name):
            line[name] = "…"
    return line
