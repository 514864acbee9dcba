"""Decide who reads and closes reviews, and what a reviewer has looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Protocol

from collegium.access.rules import KINDS, Permission, ScopeKind

CLOSERS: Final = tuple(
    (ScopeKind(kind), permission) for kind, rules in KINDS.items() for permission in rules.review
)
"""The permissions that allow closing reviews by kind of scope, as ``scopes_with_permission``."""

READERS: Final = (
    *CLOSERS,
    (ScopeKind.ORGANISATION, Permission.ORGANISATION_REVIEWS),
    (ScopeKind.PROJECT, Permission.ORGANISATION_REVIEWS),
)
"""The permissions that allow reading reviews."""

REMIND_EVERY: Final = timedelta(days=14)
"""Time between two reminders of one review."""

MAIL_EVERY: Final = timedelta(days=1)
"""Minimum time between two e-mails to one person; each lists all reviews."""

COLLECT: Final = timedelta(hours=1)
"""Delay of an e-mail, so that it lists all reviews that are opened together."""


class Role(Protocol):
    """A grant that a reviewer looks at."""

    @property
    def id(self) -> int: ...
    @property
    def valid_until(self) -> datetime | None: ...


def fingerprint(grants: Iterable[Role]) -> str:
    """Return a digest of grants and their ends, 16 hex digits. It tells whether something changed.

    Args:
        grants: in the order of their ids.
    """
    text = " ".join(
        f"{grant.id}:{grant.valid_until.isoformat() if grant.valid_until else ''}"
        for grant in grants
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
