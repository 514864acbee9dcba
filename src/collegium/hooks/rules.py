"""Rules of hooks: which events they get, where they may send them, and when they are given up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from collegium import hosts
from collegium.events.types import BY_KIND
from collegium.refusals import Invalid

CALL: Final = "hook_web"
"""Kind of the outbox entries that are calls of web hooks."""

URL_MAX: Final = 1000
EVENTS_MAX: Final = 300
"""Maximum number of events, and of groups, that a hook names."""

GIVE_UP_AFTER: Final = timedelta(days=3)
"""A hook whose deliveries have all failed for this long is deactivated."""

GIVE_UP_FAILURES: Final = 20
"""It is deactivated after at least this many failures: a rarely used one is not given up early."""

BACKOFF: Final = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
)
"""Pause of a hook after the first, second, … failure in a row, whatever was to be delivered."""

QUEUED_MAX: Final = 500
"""Maximum number of calls that are queued for a web hook."""

COLLECTED_MAX: Final = 500
"""Maximum number of events that wait for one e-mail."""

MAIL_INTERVAL: Final = timedelta(minutes=1)
"""Time between two e-mails of a hook. Events of the meantime are collected."""

EVENTS: Final = {event.kind: event for event in BY_KIND.values() if event.message}
"""Events that hooks can name, by their stored name."""

GROUPS: Final = sorted({event.group for event in EVENTS.values()})


class Kind(StrEnum):
    """What a hook does with an event."""

    WEB = "web"
    EMAIL = "email"


class ContentType(StrEnum):
    """How a web hook gets an event."""

    JSON = "json"
    FORM = "form"


class Recorded(Protocol):
    """An event in the order of ids."""

    @property
    def id(self) -> int:
        """The id; later events have higher ones."""


def is_named(event: str, kinds: Collection[str], groups: Collection[str]) -> bool:
    """Return whether a hook names an event, by itself or by its group.

    Args:
        event: stored name of the event.
        kinds: stored names of events that the hook names.
        groups: groups that the hook names.
    """
    return event in EVENTS and (event in kinds or EVENTS[event].group in groups)


def check_events(kinds: Collection[str], groups: Collection[str]) -> None:
    """Check that a hook names an event.

    Raises:
        Invalid: ``hook.no_events``.
    """
    if not kinds and not groups:
        raise Invalid("hook.no_events", field="event_groups")


def is_destination(text: str, *, may_be_plain: bool) -> bool:
    """Return whether a text is an exact URL, without credentials, that a web hook may have.

    Args:
        may_be_plain: whether http is enough, because the operator has named the host.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and not set(text) & set(' \\#"<>')
    # Credentials before the host make it none.
    if not is_plain or port == 0 or hosts.host(parts.netloc) is None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and may_be_plain)


def host_of(url: str) -> str:
    """Return the host of a URL. Unlike the URL it is no secret."""
    return urlsplit(url).hostname or ""


def is_hopeless(failures: int, first_failed_at: datetime, now: datetime) -> bool:
    """Return whether a hook has failed so often and for so long that it is deactivated.

    Args:
        failures: in a row.
        first_failed_at: time of the first of them.
    """
    return failures >= GIVE_UP_FAILURES and now - first_failed_at >= GIVE_UP_AFTER


def events_of(payload: Mapping[str, Any]) -> list[int]:
    """Return the ids of the events that an e-mail has; an earlier release queued one for each."""
    return list(payload["events"]) if "events" in payload else [payload["event"]]


def backoff(failures: int) -> timedelta:
    """Return the pause of a hook after some failures in a row, at least one."""
    return BACKOFF[min(failures, len(BACKOFF)) - 1]


def settled(
    rows: Sequence[Recorded], mark: int, complete_to: int, *, in_order: bool
) -> Sequence[Recorded]:
    """Return the first of some events, as far as no event before them can still appear.

    Args:
        rows: the events after ``mark``, by id.
        mark: id of the last event that was handled.
        complete_to: id up to which no event can appear any more.
        in_order: whether events commit in the order of their ids. Otherwise a missing id may
            belong to a transaction that is still open.
    """
    if in_order:
        return rows
    for number, row in enumerate(rows):
        if row.id > max(mark + 1, complete_to):
            return rows[:number]
        mark = row.id
    return rows
