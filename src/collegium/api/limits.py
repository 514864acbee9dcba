"""Rate limits on e-mails, join requests and account lookups, shared by all protocols.

The limits also cover lookups of unknown e-mail addresses, because an answer to one tells who has an
account.

Each limit applies to the account and to its network. Another account from another network is not
affected. Staff are not limited: they may do everything anyway, and their programs send invitations
by the thousand. Sign-ins are limited in ``api/sign_in.py``.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import Final

import structlog

from collegium import hosts
from collegium.api.request import RequestContext
from collegium.db.database import Database, UnavailableError, WriteTransaction
from collegium.refusals import Limited
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.security.rate_limits.rules import (
    ASK_ADDRESS,
    FORWARDED,
    INVITE_ACCOUNT,
    INVITE_ADDRESS,
    JOIN_ACCOUNT,
    JOIN_ADDRESS,
    MAIL_ACCOUNT,
    PEOPLE_ACCOUNT,
    PEOPLE_ADDRESS,
    RateLimit,
)

_log = structlog.get_logger()

INVITE: Final = "invite"
"""Sending an invitation e-mail, for the first time or again."""

ASK: Final = "ask"
"""Making a join request through an invite link, which e-mails those who decide on it."""

JOIN: Final = "join"
"""Making a join request to a group."""

PEOPLE: Final = "people"
"""Naming an e-mail address that no account has, where the response reveals that."""

_LIMITS: Final[dict[str, tuple[RateLimit, RateLimit]]] = {
    INVITE: (INVITE_ACCOUNT, INVITE_ADDRESS),
    ASK: (MAIL_ACCOUNT, ASK_ADDRESS),
    JOIN: (JOIN_ACCOUNT, JOIN_ADDRESS),
    PEOPLE: (PEOPLE_ACCOUNT, PEOPLE_ADDRESS),
}


def _subjects(context: RequestContext, name: str) -> tuple[str, str]:
    return f"{name} account {context.actor.id}", f"{name} address {context.network}"[:128]


def check(context: RequestContext, name: str) -> None:
    """Refuse an account or network that has exceeded a limit.

    Args:
        name: ``INVITE``, ``ASK``, ``JOIN`` or ``PEOPLE``.

    Raises:
        Limited: ``tries.wait``, with the ``seconds`` to wait.
    """
    if not context.actor.is_staff:
        context.check_rate_limits(*_subjects(context, name))


def count(context: RequestContext, tx: WriteTransaction, name: str, attempts: int = 1) -> None:
    """Count ``attempts`` in the transaction of the action itself.

    Args:
        name: ``INVITE``, ``ASK``, ``JOIN`` or ``PEOPLE``.
    """
    if not context.actor.is_staff:
        _count_all(context, tx, name, attempts)


def _count_all(
    context: RequestContext, tx: WriteTransaction, name: str, attempts: int
) -> timedelta:
    return max(
        context.count_attempt(tx, subject, limit, attempts)
        for subject, limit in zip(_subjects(context, name), _LIMITS[name], strict=True)
    )


def count_unknown(context: RequestContext, unknown: int) -> None:
    """Count the unknown e-mail addresses of a request before its response tells which they are.

    This uses a transaction of its own, because that of the action was rolled back or never started.
    A request that exceeds the limit is refused as a whole. So no request reveals more addresses
    than the limit allows.

    Args:
        unknown: number of unknown addresses.

    Raises:
        Limited: ``tries.wait``, with the ``seconds`` to wait.
    """
    if context.actor.is_staff or not unknown:
        return
    with context.write() as tx:
        delay = _count_all(context, tx, PEOPLE, unknown)
    if delay:
        raise Limited("tries.wait", seconds=context.seconds_until(context.now + delay))


UNTRUSTED_PROXY: Final = "forwarded by "
"""Prefix of the subject that counts an untrusted proxy; the proxy's IP address follows."""

_LOG_AGAIN_SECONDS: Final = 3600.0
_LOGGED_MAX: Final = 20


class UntrustedProxyLog:
    """Record the addresses of untrusted proxies whose headers are ignored.

    ``collegium doctor`` reports them. Each address is recorded once an hour and the number of
    addresses is bounded, because anybody can send such headers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._times: dict[str, float] = {}

    def __call__(self, peer: str) -> None:
        """Record an address as the socket reports it."""
        now = monotonic()
        if now - self._times.get(peer, -_LOG_AGAIN_SECONDS) < _LOG_AGAIN_SECONDS:
            return
        if len(self._times) >= _LOGGED_MAX:
            recent = {ip: at for ip, at in self._times.items() if now - at < _LOG_AGAIN_SECONDS}
            self._times = recent
            if len(recent) >= _LOGGED_MAX:
                return
        self._times[peer] = now
        address = hosts.comparable_ip_address(peer) or ""
        _log.warning("headers of a proxy that is not trusted were ignored", address=address)
        with suppress(UnavailableError), self._database.write() as tx:
            rate_limit_queries.record_failure(tx, UNTRUSTED_PROXY + address, FORWARDED)
