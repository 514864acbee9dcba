"""Call web hooks, and render events for hooks.

The endpoint of a hook belongs to somebody, and may answer slowly or not at all. So calls are made
in threads of their own, which exist only while a call is due: e-mails never wait for them. Hooks
take turns (``hooks.call_queue``), and after a failed call nothing is sent to its hook for a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.mails import load_account
from collegium.accounts.queries import AccountRow
from collegium.api.waldur.event_rendering import Event, render, render_message
from collegium.db.database import Database, ReadTransaction, UnavailableError
from collegium.events import queries as event_queries
from collegium.hooks import actions as hook_actions
from collegium.hooks import call_queue, new_events
from collegium.hooks import queries as hook_queries
from collegium.hooks.queries import HookRow
from collegium.hooks.rules import ContentType, events_of, host_of
from collegium.integrations import hook_endpoints
from collegium.integrations.http_client import (
    InternalAddressError,
    RequestFailedError,
    Timeouts,
)
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import EventNotification, HookDeactivated
from collegium.outbox.outcomes import ObsoleteError
from collegium.outbox.queries import ClaimedMail
from collegium.refusals import NotFound
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.text.plain import name_line
from collegium.worker import retries

_THREADS: Final = 8
"""Maximum number of calls at the same time."""

_LEASE_SECONDS: Final = 60
_SHOWN_EVENTS: Final = 50
"""Maximum number of events that an e-mail has."""

_TEMPORARY: Final = frozenset({408, 425, 429})

_log = structlog.get_logger()


class _Call(NamedTuple):
    """A call that can be made.

    Args:
        key: Idempotency key: the same on every attempt.
        is_form: Whether the event is sent as a form.
        event: The event as this API shows it to the author of the hook.
    """

    url: str
    key: str
    is_form: bool
    event: Event


class _Failed(NamedTuple):
    """Why a call failed; ``reason`` is a sentence for the author of the hook."""

    reason: str
    status: int | None
    permanent: bool


class HookCalls:
    """Makes the calls of web hooks that are due.

    Args:
        clock: Returns the current time; the clock of the transaction when None.
        timeouts: Timeouts of a call.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        clock: Callable[[], datetime] | None = None,
        timeouts: Timeouts = hook_endpoints.TIMEOUTS,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._timeouts = timeouts
        self._threads: list[threading.Thread] = []

    def start(self, stop: threading.Event) -> None:
        """Start a thread if a call is due that no thread makes. It ends when none is due.

        Args:
            stop: Once it is set, no further call is made.

        Raises:
            UnavailableError: The database is not available.
        """
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= _THREADS:
            return
        with self._database.read(self._now()) as tx:
            if not call_queue.is_any_due(tx):
                return
        thread = threading.Thread(target=self._run, args=(stop,), name="hooks", daemon=True)
        self._threads.append(thread)
        thread.start()

    def run(self, stop: threading.Event) -> int:
        """Make every call that is due, and return how many succeeded.

        Raises:
            UnavailableError: The database is not available.
        """
        made = 0
        while not stop.is_set():
            with self._database.write(self._now()) as tx:
                row = call_queue.claim(tx, _LEASE_SECONDS)
            if row is None:
                break
            made += self._make(row)
        return made

    def _run(self, stop: threading.Event) -> None:
        try:
            self.run(stop)
        except UnavailableError as error:
            _log.warning("hooks are waiting for the database", reason=str(error))
        except Exception as error:  # noqa: BLE001 - the call stays queued; another thread goes on
            _log.error("hooks failed", traceback=retries.log_reason(error))

    def _make(self, row: ClaimedMail) -> bool:
        """Make one claimed call and record the outcome; return whether it succeeded."""
        hook: int = row.payload["hook"]
        log = _log.bind(call=row.id, hook=hook, attempt=row.attempts)
        try:
            outcome = self._call(row)
        except ObsoleteError as obsolete:
            log.info("hook call obsolete", reason=obsolete.reason)
            with self._database.write(self._now()) as tx:
                if outbox_queries.mark_obsolete(tx, row.id, row.attempts, obsolete.reason):
                    hook_queries.release(tx, hook)
            return False
        with self._database.write(self._now()) as tx:
            if isinstance(outcome, int):
                is_recorded = outbox_queries.mark_called(tx, row.id, row.attempts, outcome)
            else:
                retry_at = retries.retry_at(tx.now, row.attempts, permanent=outcome.permanent)
                is_recorded = outbox_queries.mark_call_failed(
                    tx, row.id, row.attempts, outcome.reason, outcome.status, retry_at
                )
            if is_recorded:
                hook_actions.record_outcome(tx, hook, is_delivered=isinstance(outcome, int))
        if not is_recorded:
            log.warning(
                "result of a hook call arrived too late: the hook was paused, changed or removed,"
                " or the call was claimed again"
            )
        if isinstance(outcome, int):
            log.info("hook called", status=outcome)
            return True
        log.warning("hook call failed", reason=outcome.reason)
        return False

    def _call(self, row: ClaimedMail) -> int | _Failed:
        """Make a call; return the HTTP status, or why it failed.

        Raises:
            ObsoleteError: It is not to be made any more.
            UnavailableError: The database is not available.
        """
        if row.attempts > retries.MAX_ATTEMPTS:
            return _Failed("No attempt to call the address was completed.", None, permanent=True)
        try:
            with self._database.read(self._now()) as tx:
                call = _render_call(tx, self._settings, row)
            status = self._post(call)
        except (ObsoleteError, UnavailableError):
            raise
        except InternalAddressError:
            return _Failed("The address is an internal one.", None, permanent=True)
        except RequestFailedError:
            return _Failed("There was no answer.", None, permanent=False)
        except Exception as error:  # noqa: BLE001 - a bug in one call must not stop the others
            _log.error("hook call cannot be rendered", traceback=retries.log_reason(error))
            return _Failed("The event could not be rendered.", None, permanent=False)
        if status // 100 == 2:  # noqa: PLR2004 - 2xx
            return status
        is_permanent = status // 100 in {3, 4} and status not in _TEMPORARY
        return _Failed(f"The answer was an error ({status}).", status, permanent=is_permanent)

    def _post(self, call: _Call) -> int:
        document = {
            "created": call.event.created,
            "message": call.event.message,
            "context": call.event.context,
            "event_type": call.event.event_type,
        }
        headers = {"Idempotency-Key": call.key, "User-Agent": "Collegium"}
        if call.is_form:
            document |= {
                "created": call.event.created.isoformat(),
                "context": msgspec.json.encode(call.event.context).decode(),
            }
            return hook_endpoints.post(
                self._settings, call.url, headers, self._timeouts, data=document
            )
        return hook_endpoints.post(
            self._settings,
            call.url,
            {**headers, "Content-Type": "application/json"},
            self._timeouts,
            content=msgspec.json.encode(document),
        )

    def _now(self) -> datetime | None:
        return self._clock() if self._clock else None


def _load_hook(tx: ReadTransaction, payload: dict[str, Any]) -> tuple[HookRow, AccountRow, Actor]:
    """Return the hook of an outbox entry, its author, and for whom events are rendered.

    Raises:
        ObsoleteError: It is not to be sent any more.
    """
    hook = hook_queries.by_id(tx, payload["hook"])
    author = account_queries.by_id(tx, payload["account"])
    if hook is None or author is None or author.deleted_at is not None:
        raise ObsoleteError("The hook no longer exists.")
    if not hook.is_active or not author.is_active:
        raise ObsoleteError("The hook is not active any more.")
    return hook, author, new_events.reader(author)


def _render_call(tx: ReadTransaction, settings: Settings, row: ClaimedMail) -> _Call:
    from collegium.worker import mails  # noqa: PLC0415 - it imports this module

    hook, _, reader = _load_hook(tx, row.payload)
    try:
        event_row = event_queries.get_visible(tx, reader, row.payload["event"])
    except NotFound:
        raise ObsoleteError("The event is not visible any more.") from None
    event = render(reader, event_row)
    is_form = hook.content_type == ContentType.FORM
    return _Call(hook.destination_url, mails.message_key(settings, row.id), is_form, event)


def _load_notification(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    hook, author, reader = _load_hook(tx, payload)
    if not hook_actions.may_send_to(hook.email, author.email, is_staff=author.is_staff):
        raise ObsoleteError("The address is not that of the account any more.")
    numbers = events_of(payload)
    rows = event_queries.all_visible(tx, reader, numbers, _SHOWN_EVENTS)
    if not rows:
        raise ObsoleteError("The event is not visible any more.")
    rendered = [render(reader, row) for row in rows]
    return {
        # The address that the account has now.
        "recipient": hook.email,
        "events": [
            {
                # Names that people typed cannot be a link or change the direction of the text.
                "message": render_message(reader, row, name_line),
                "created": event.created,
                "event_type": event.event_type,
            }
            for row, event in zip(rows, rendered, strict=True)
        ],
        "more": max(len(numbers) - _SHOWN_EVENTS, 0),
        "link": _page(settings),
    }


def _load_deactivated(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    load_account(tx, payload["account"])
    hook = hook_queries.by_id(tx, payload["stopped"])
    if hook is None or hook.is_active:
        raise ObsoleteError("The hook was removed or is active again.")
    return {
        "name": name_line(hook.author_name) or name_line(hook.author_username),
        "destination": name_line(host_of(hook.destination_url) or hook.email),
        "since": hook.first_failed_at,
        "link": _page(settings),
    }


def _page(settings: Settings) -> str:
    return f"{settings.base_url.rstrip('/')}/account/hooks/"


LOADERS: Final[
    dict[str, Callable[[ReadTransaction, Settings, Vault, dict[str, Any]], dict[str, Any]]]
] = {EventNotification.kind: _load_notification, HookDeactivated.kind: _load_deactivated}
