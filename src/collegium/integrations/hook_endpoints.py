"""Endpoints of web hooks: people enter their URLs, so nothing is believed about them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from collegium.hooks import rules
from collegium.integrations.http_client import (
    InternalAddressError,
    RequestFailedError,
    Timeouts,
    check_host,
    is_named,
    send_request,
)
from collegium.integrations.waiting import waiting
from collegium.refusals import Invalid
from collegium.settings import Settings

TIMEOUTS: Final = Timeouts(connect=5.0, read=5.0, total=10.0)
_RESOLVE_SECONDS: Final = 5.0


def check(settings: Settings, url: str) -> None:
    """Check that a web hook may have a URL. Never call it inside a transaction.

    Raises:
        Invalid: ``hook.url``: it is not an https URL; http is enough for a host that
            ``OUTGOING_INTERNAL_HOSTS`` names. ``hook.unknown_host``: its host has no address.
            ``hook.internal``: it is an internal address.
        BusyError: Too many requests wait for other services.
    """
    internal_hosts = settings.outgoing_internal_hosts
    if not rules.is_destination(url, may_be_plain=is_named(url, internal_hosts)):
        raise Invalid("hook.url", field="destination_url")
    try:
        with waiting.at("hooks"):
            check_host(url, internal_hosts, time.monotonic() + _RESOLVE_SECONDS)
    except InternalAddressError:
        raise Invalid("hook.internal", field="destination_url") from None
    except RequestFailedError:
        raise Invalid("hook.unknown_host", field="destination_url") from None


def post(
    settings: Settings,
    url: str,
    headers: Mapping[str, str],
    timeouts: Timeouts = TIMEOUTS,
    **body: Any,
) -> int:
    """Post to a URL; return the HTTP status. The host is checked again; no redirect is followed.

    Args:
        body: ``content`` or ``data``.

    Raises:
        InternalAddressError: The URL leads to an internal address.
        RequestFailedError: There is no response, or the URL is not allowed any more.
    """
    internal_hosts = settings.outgoing_internal_hosts
    if not rules.is_destination(url, may_be_plain=is_named(url, internal_hosts)):
        raise RequestFailedError
    status, _ = send_request(
        "POST",
        url,
        timeouts,
        time.monotonic() + timeouts.total,
        None,
        internal_hosts=internal_hosts,
        headers=headers,
        **body,
    )
    return status
