"""Who closes and reads reviews, and how a change of the roles is noticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from collegium.reviews.rules import (
    CLOSERS,
    COLLECT,
    MAIL_EVERY,
    READERS,
    REMIND_EVERY,
    fingerprint,
)


class Role(NamedTuple):
    id: int
    valid_until: datetime | None = None


MAY_CLOSE = {
    ("organisation", "CUSTOMER.UPDATE"),
    ("organisation", "CUSTOMER.DELETE_PERMISSION"),
    ("project", "PROJECT.DELETE_PERMISSION"),
    ("group", "GROUP.DELETE_PERMISSION"),
}


def test_who_removes_members_closes_reviews_and_others_may_be_let_read_them() -> None:
    assert {(kind.value, right.value) for kind, right in CLOSERS} == MAY_CLOSE
    reading = {(kind, "CUSTOMER.LIST_PERMISSION_REVIEWS") for kind in ("organisation", "project")}
    assert {(kind.value, right.value) for kind, right in READERS} == MAY_CLOSE | reading


def test_fingerprint_changes_with_the_roles_and_their_ends() -> None:
    """A page that was opened before an upgrade is sent after it."""
    end = datetime(2026, 11, 29, tzinfo=UTC)
    assert fingerprint([]) == "e3b0c44298fc1c14"
    assert fingerprint([Role(1), Role(23)]) == "880a0d1cd0f76f18"
    assert fingerprint([Role(1, end)]) == "681620fd877fe013"


def test_reviewers_are_reminded_every_fortnight_and_get_one_mail_a_day() -> None:
    assert (timedelta(days=14), timedelta(days=1)) == (REMIND_EVERY, MAIL_EVERY)
    assert timedelta(hours=1) == COLLECT
