"""Requests to a remote directory: timeouts, invalid responses, tokens, claims."""

from __future__ import annotations

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from collegium.integrations.eduteams import client
from collegium.integrations.eduteams.client import TIMEOUTS, fetch, fetch_keys
from collegium.integrations.eduteams.rules import Person
from collegium.integrations.http_client import Timeouts
from collegium.refusals import Conflict, Invalid, Refusal
from collegium.settings import Settings, load
from collegium.ssh_keys.rules import parse
from tests.support import remote as tempers
from tests.support.remote import HASTE, SECRET, Remote, claims, new_key, says
from tests.support.serving import free_port

ADA = "ada@acc.example.org"


def settings_of(remote: Remote, base: str = "", *, feed: bool = False) -> Settings:
    values = remote.settings(base, feed=feed)
    return load({f"COLLEGIUM_{name.upper()}": value for name, value in values.items()})


def fetch_ada(remote: Remote, *, feed: bool = False) -> Person:
    person = fetch(settings_of(remote, feed=feed), ADA)
    assert person is not None
    return person


def refusal_code(remote: Remote, base: str = "", timeouts: Timeouts = TIMEOUTS) -> str:
    """Fetch Ada; check that the refusal comes in time and reveals nothing; return its code."""
    start = time.monotonic()
    with pytest.raises(Refusal) as refused:
        fetch(settings_of(remote, base), ADA, timeouts)
    assert time.monotonic() - start < 5 * timeouts.total
    check_reveals_nothing(refused.value)
    assert refused.value.__cause__ is None
    return refused.value.code


def check_reveals_nothing(refusal: Refusal) -> None:
    text = f"{refusal!s} {refusal!r} {refusal.facts}"
    assert SECRET not in text
    assert "127.0.0.1" not in text


def test_claims_of_a_person_are_read(remote: Remote) -> None:
    key = new_key("ada@laptop")
    remote.people[ADA] = claims(
        ADA, given_name=" Ãda ", family_name="Łovelace 愛", ssh_public_key=[key, "no key", ""]
    )
    person = fetch_ada(remote)
    assert (person.username, person.email) == (ADA, "ada@example.org")
    assert (person.first_name, person.last_name) == ("Ãda", "Łovelace 愛")
    assert person.affiliations == ["member@example.org"]
    assert person.assurance == ["https://refeds.org/assurance/IAP/low"]
    assert person.keys == (parse(key),)
    (form,) = [form for form in remote.forms if form]
    assert form == {
        "grant_type": ["refresh_token"],
        "refresh_token": [f"refresh {SECRET}"],
        "scope": ["openid"],
    }


@pytest.mark.parametrize(
    ("changes", "username", "email"),
    [
        ({"sub": None, "voperson_id": ADA}, ADA, "ada@example.org"),
        ({"mail": "one@example.org"}, ADA, "one@example.org"),
        ({"mail": None, "email": "two@example.org"}, ADA, "two@example.org"),
        ({"mail": [], "email": ["three@example.org"]}, ADA, "three@example.org"),
        ({"mail": None}, ADA, ""),
        ({"something": {"else": [1, 2]}}, ADA, "ada@example.org"),
    ],
    ids=["second_id", "text", "second_mail", "empty_list", "no_mail", "unknown_claim"],
)
def test_username_and_address_have_a_second_source(
    remote: Remote, changes: dict[str, Any], username: str, email: str
) -> None:
    remote.people[ADA] = claims(ADA, **changes)
    person = fetch_ada(remote)
    assert (person.username, person.email) == (username, email)


def test_unknown_person_is_no_error(remote: Remote) -> None:
    assert fetch(settings_of(remote), ADA) is None


def test_disabled_directory_gets_no_requests(remote: Remote) -> None:
    for request in (
        lambda: fetch(load({}), ADA),
        lambda: fetch_keys(load({})),
        lambda: fetch_keys(settings_of(remote)),
    ):
        with pytest.raises(Conflict, match=r"directory\.disabled"):
            request()
    assert remote.asked == []


BAD_RESPONSES = {
    "hangs": tempers.hangs,
    "drips": tempers.drips,
    "drips-chunks": tempers.drips_chunks,
    "drips-headers": tempers.drips_headers,
    "floods": tempers.floods,
    "floods-without-end": tempers.floods_without_end,
    "breaks-off": tempers.breaks_off,
    "talks-nonsense": tempers.talks_nonsense,
    "fails": says(SECRET.encode(), 500),
    "redirects": says(b"", 302, Location="/token"),
    "forbids": says(SECRET.encode(), 403),
    "zips": says(gzip.compress(b" " * 50_000_000, 1), Content_Encoding="gzip"),
}
UNREADABLE = {
    "empty": b"",
    "words": SECRET.encode(),
    "half": b'{"sub": "' + SECRET.encode(),
    "latin-1": b'{"given_name": "\xe4"}',
    "half-a-character": b'{"given_name": "\\ud800"}',
    "deep": b'{"x":' * 20_000,
}


@pytest.mark.parametrize(
    ("endpoint", "code"), [("user", "directory.unreachable"), ("token", "directory.no_token")]
)
@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_bad_or_slow_response_is_given_up_in_time(
    remote: Remote, name: str, endpoint: str, code: str
) -> None:
    remote.people[ADA] = claims(ADA)
    if endpoint == "token":
        remote.token = BAD_RESPONSES[name]
    else:
        remote.people[ADA] = BAD_RESPONSES[name]
    assert refusal_code(remote, timeouts=HASTE) == code


def test_closed_port_is_refused_as_unreachable(remote: Remote) -> None:
    assert refusal_code(remote, f"http://127.0.0.1:{free_port()}/{SECRET}") == "directory.no_token"


@pytest.mark.parametrize("body", UNREADABLE)
def test_unreadable_person_is_refused(remote: Remote, body: str) -> None:
    remote.people[ADA] = says(UNREADABLE[body])
    assert refusal_code(remote) == "directory.unreadable"


@pytest.mark.parametrize("body", ["words", "half", "deep"])
def test_unreadable_token_response_is_refused(remote: Remote, body: str) -> None:
    remote.token = says(UNREADABLE[body])
    assert refusal_code(remote) == "directory.token_unreadable"


@pytest.mark.parametrize(
    "token",
    ["", "two words", "kõõr", "line\nfeed", "x" * 20_000, None, 17, ["good-token"]],
    ids=["empty", "words", "letters", "lines", "long", "null", "number", "list"],
)
def test_invalid_access_token_is_refused(remote: Remote, token: Any) -> None:
    for body in ({"access_token": token}, {"error": SECRET}):
        remote.token = says(body)
        assert refusal_code(remote) == "directory.no_token"
    assert set(remote.asked) == {"/token"}


BAD_CLAIMS: dict[str, tuple[str, Any]] = {
    "no-name": ("given_name", None),
    "blank-name": ("given_name", "  "),
    "no-last-name": ("family_name", ""),
    "long-name": ("given_name", "x" * 101),
    "name-is-a-number": ("given_name", 17),
    "name-is-a-list": ("family_name", ["Lovelace"]),
    "name-with-a-null": ("given_name", "A\0da"),
    "name-with-a-line": ("given_name", "Ada\nLovelace"),
    "bad-mail": ("mail", ["no address"]),
    "mail-is-an-object": ("mail", {"value": "ada@example.org"}),
    "long-mail": ("mail", ["x" * 330 + "@example.org"]),
    "affiliations-are-a-text": ("voperson_external_affiliation", "member@example.org"),
    "affiliation-is-null": ("voperson_external_affiliation", [None]),
    "long-affiliation": ("voperson_external_affiliation", ["x" * 1001]),
    "assurance-is-an-object": ("eduperson_assurance", {}),
    "keys-are-numbers": ("ssh_public_key", [1]),
    "name-in-capitals": ("sub", "Ada@acc.example.org"),
    "name-is-dots": ("sub", ".."),
    "name-is-null": ("sub", None),
}


@pytest.mark.parametrize("case", BAD_CLAIMS)
def test_invalid_claim_is_refused_with_its_name(remote: Remote, case: str) -> None:
    field, value = BAD_CLAIMS[case]
    remote.people[ADA] = claims(ADA, **{field: value})
    with pytest.raises(Invalid, match=r"directory\.invalid") as refused:
        fetch(settings_of(remote), ADA)
    assert refused.value.facts == {"field": field}


@pytest.mark.parametrize("body", [[], "ada", 5, None, True], ids=str)
def test_json_that_is_no_object_is_refused(remote: Remote, body: Any) -> None:
    remote.people[ADA] = says(json.dumps(body).encode())
    assert refusal_code(remote) == "directory.invalid"


def test_username_cannot_change_the_url_of_a_request(remote: Remote) -> None:
    for name in ("..", "../token", "a/b", "a?b=c", "a#b", "", "%2e%2e", "Ada"):
        with pytest.raises(Invalid, match=r"directory\.invalid"):
            fetch(settings_of(remote), name)
    assert remote.asked == []


def test_access_token_is_fetched_once_until_it_expires(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(remote)
    remote.people[ADA] = claims(ADA)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: fetch(settings, ADA), range(8)))
    assert remote.asked.count("/token") == 1
    monkeypatch.setattr(client, "TOKEN_SECONDS", -1)
    monkeypatch.setattr(client, "_token_cache", client._TokenCache())
    for _ in range(2):
        fetch(settings, ADA)
    assert remote.asked.count("/token") == 3


def test_rejected_access_token_is_replaced_once(remote: Remote) -> None:
    settings = settings_of(remote)
    remote.people[ADA] = claims(ADA)
    fetch(settings, ADA)
    remote.taken, remote.token = {"better-token"}, says({"access_token": "better-token"})
    assert fetch(settings, ADA) is not None
    remote.taken = set()
    remote.asked.clear()
    with pytest.raises(Conflict, match=r"directory\.unreachable"):
        fetch(settings, ADA)
    assert len(remote.asked) == 3  # with the old token, for a new one, with the new one


def test_missing_keys_claim_means_unknown_where_the_key_feed_is_on(remote: Remote) -> None:
    remote.people[ADA] = claims(ADA, ssh_public_key=None)
    for feed, expected in ((False, ()), (True, None)):
        assert fetch_ada(remote, feed=feed).keys == expected


def test_key_feed_skips_invalid_entries_and_refuses_invalid_feeds(remote: Remote) -> None:
    line, settings = new_key(), settings_of(remote, feed=True)
    entries = {ADA: {"ssh_keys": [line, 7, None]}, "Bad Name": {"ssh_keys": []}, "no": [], "n": {}}
    remote.feed = says({"data": entries})
    assert fetch_keys(settings) == {ADA: [line, 7, None]}
    for response, code in (
        (says({"data": []}), "directory.invalid"),
        (says(b"?"), "directory.unreadable"),
        (says(SECRET.encode(), 500), "directory.unreachable"),
        (tempers.hangs, "directory.unreachable"),
    ):
        remote.feed = response
        with pytest.raises(Refusal) as refused:
            fetch_keys(settings, HASTE)
        assert refused.value.code == code
        check_reveals_nothing(refused.value)
