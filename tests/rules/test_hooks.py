"""Rules of hooks: which events are safe to read, which URLs may be called."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from collegium.events.types import BY_KIND
from collegium.hooks import rules
from collegium.refusals import Invalid
from tests.rules.refusing import refused

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


class Event(NamedTuple):
    id: int


@pytest.mark.parametrize(
    ("ids", "complete_to", "found"),
    [
        ((), 0, ()),
        ((8, 9, 10), 0, (8, 9, 10)),
        # 8 is missing: nothing after it is safe, until no transaction can record it any more.
        ((9, 10), 0, ()),
        ((9, 10), 7, ()),
        ((9, 10), 9, (9, 10)),
        ((8, 10, 11), 9, (8,)),
        ((8, 10, 12), 10, (8, 10)),
        ((8, 10, 12), 12, (8, 10, 12)),
    ],
)
def test_events_are_read_up_to_a_gap_that_may_still_be_filled(
    ids: tuple[int, ...], complete_to: int, found: tuple[int, ...]
) -> None:
    rows = [Event(number) for number in ids]
    read = rules.settled(rows, 7, complete_to, in_order=False)
    assert tuple(row.id for row in read) == found
    # Where events commit in order, a gap is never filled.
    assert len(rules.settled(rows, 7, complete_to, in_order=True)) == len(ids)


@pytest.mark.parametrize(
    ("url", "https", "http"),
    [
        ("https://example.org/hook?a=1", True, True),
        ("https://[2001:db8::1]:8443/", True, True),
        ("https://example.org/X", True, True),
        ("http://example.org/", False, True),
        ("ftp://example.org/", False, False),
        ("https://user:secret@example.org/", False, False),
        ("https://user@example.org/", False, False),
        ("https://example.org:0/", False, False),
        ("https://example.org:x/", False, False),
        ("https://example.org/ x", False, False),
        ("https://example.org/\n", False, False),
        ("https://example.org/#part", False, False),
        ("https://example.org/\\", False, False),
        ('https://example.org/"', False, False),
        ("https://example.org/<", False, False),
        ("https://example.org/>", False, False),
        ("https:///path", False, False),
        ("https://[::1/", False, False),
        ("example.org", False, False),
        ("", False, False),
    ],
)
def test_only_exact_urls_without_credentials_are_destinations(
    url: str, https: bool, http: bool
) -> None:
    assert rules.is_destination(url, may_be_plain=False) is https
    assert rules.is_destination(url, may_be_plain=True) is http


def test_hook_gets_the_events_that_it_names_and_those_of_its_groups() -> None:
    assert rules.is_named("invitation.created", ["invitation.created"], [])
    assert rules.is_named("invitation.created", [], ["invitations"])
    assert not rules.is_named("invitation.created", ["role.granted"], ["users"])
    # Events that are not shown where hooks are cannot be named.
    assert not rules.is_named("of.another_release", ["of.another_release"], [])


@pytest.mark.parametrize(
    ("failures", "hours", "is_hopeless"),
    [(20, 0, False), (20, 71.99, False), (20, 72, True), (19, 72, False), (2, 1000, False)],
)
def test_hook_is_given_up_after_twenty_failures_and_three_days(
    failures: int, hours: float, is_hopeless: bool
) -> None:
    assert rules.is_hopeless(failures, NOW - timedelta(hours=hours), NOW) is is_hopeless


def test_pause_after_a_failure_grows_up_to_four_hours() -> None:
    pauses = [rules.backoff(failures).total_seconds() for failures in (1, 2, 3, 4, 5, 6, 7, 1000)]
    assert pauses == [10, 60, 300, 900, 3600, 14400, 14400, 14400]
    # An endpoint that is gone is called so often until it is given up after three days.
    assert sum(map(rules.backoff, range(1, rules.GIVE_UP_FAILURES + 1)), timedelta()) < (
        rules.GIVE_UP_AFTER
    )


def test_hook_names_an_event_or_a_group() -> None:
    rules.check_events(["invitation.created"], [])
    rules.check_events([], ["invitations"])
    with refused(Invalid, "hook.no_events", {"field": "event_groups"}):
        rules.check_events([], [])


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://Example.org:8443/secret", "example.org"), ("https:///x", "")],
)
def test_host_of_a_url_is_no_secret(url: str, host: str) -> None:
    assert rules.host_of(url) == host


@pytest.mark.parametrize(("payload", "ids"), [({"events": (4, 5)}, [4, 5]), ({"event": 4}, [4])])
def test_mails_of_an_earlier_release_have_one_event(
    payload: dict[str, Any], ids: list[int]
) -> None:
    assert rules.events_of(payload) == ids


def test_limits_of_hooks() -> None:
    assert (rules.URL_MAX, rules.EVENTS_MAX) == (1000, 300)
    assert (rules.QUEUED_MAX, rules.COLLECTED_MAX) == (500, 500)
    assert rules.MAIL_INTERVAL.total_seconds() == 60


def test_names_of_hooks_are_stored() -> None:
    assert (rules.CALL, *rules.Kind, *rules.ContentType) == (
        *("hook_web", "web", "email"),
        *("json", "form"),
    )


def test_events_without_a_message_have_no_group() -> None:
    groups = {event.group for event in BY_KIND.values() if event.message}
    assert sorted(groups) == rules.GROUPS
