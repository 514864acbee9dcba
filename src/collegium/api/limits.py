"""Two things that are counted in ways of their own: unknown addresses, and untrusted proxies.

The limits themselves are in ``security/rate_limits/rules.py``. An ``Endpoint`` names those that are
checked before its handler.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Final

import structlog

from collegium import hosts
from collegium.api.request import RequestContext
from collegium.db.database import Database, UnavailableError
from collegium.refusals import Limited
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.security.rate_limits.rules import FORWARDED, PEOPLE

_log = structlog.get_logger()


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
        delay = context.count_attempts(tx, PEOPLE, attempts=unknown)
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
