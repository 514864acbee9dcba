"""E-mails that people may turn off, and when the weekly one comes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from collegium.accounts.mail_preferences.rules import OPTIONAL, UNSUBSCRIBE, next_digest


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-29T12:00", "2026-11-30T06:00"),
        ("2026-11-30T05:59:59.999999", "2026-11-30T06:00"),
        ("2026-11-30T06:00", "2026-12-07T06:00"),
        ("2026-12-01T00:00", "2026-12-07T06:00"),
        ("2026-12-06T23:59:58.000007", "2026-12-07T06:00"),
    ],
)
def test_overview_comes_on_monday_morning(now: str, expected: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert next_digest(at) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_people_get_every_optional_mail_but_the_overview_unless_they_choose() -> None:
    """The names are stored, and links in e-mails of long ago contain the path."""
    kinds = ("granted", "changed", "ending", "ended", "removed")
    assert {**{f"role_{kind}": True for kind in kinds}, "role_digest": False} == OPTIONAL
    assert UNSUBSCRIBE == "unsubscribe"
