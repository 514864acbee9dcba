"""A remote directory is asked with patience that ends, and judged without mercy."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from collegium.integrations.eduteams import actions as eduteams_actions
from collegium.integrations.eduteams.actions import TIMEOUTS, fetch, fetch_keys
from collegium.integrations.http_client import Timeouts
from collegium.refusals import Conflict, Invalid, Refusal
from collegium.settings import Settings, load
from collegium.ssh_keys.rules import parse
from tests.support import remote as tempers
from tests.support.remote import HASTE, SECRET, Remote, claims, new_key, says
from tests.support.serving import free_port

ADA = "ada@acc.example.org"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No token is held from another test."""
    monkeypatch.setattr(eduteams_actions, "_token_cache", eduteams_actions._TokenCache())


@pytest.fixture
def remote() -> Iterator[Remote]:
    yield from Remote().running()


def configured(remote: Remote, base: str = "", *, feed: bool = False) -> Settings:
    return load(
        {
            f"COLLEGIUM_{name.upper()}": value
            for name, value in remote.settings(base, feed=feed).items()
        }
    )


def refused(remote: Remote, base: str = "", patience: Timeouts = TIMEOUTS) -> str:
    """Ask about Ada, be refused in time and in discretion; give the code."""
    began = time.monotonic()
    with pytest.raises(Refusal) as error:
        fetch(configured(remote, base), ADA, patience)
    assert time.monotonic() - began < 5 * patience.total
    said = f"{error.value!s} {error.value!r} {error.value.facts}"
    assert SECRET not in said
    assert "127.0.0.1" not in said
    assert error.value.__cause__ is None
    return error.value.code


def test_what_is_said_of_a_person_is_understood(remote: Remote) -> None:
    key = new_key("ada@laptop")
    remote.people[ADA] = claims(
        ADA, given_name=" Ãda ", family_name="Łovelace 愛", ssh_public_key=[key, "no key", ""]
    )
    person = fetch(configured(remote), ADA)
    assert person is not None
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
    ("said", "expected"),
    [
        pytest.param({"sub": None, "voperson_id": ADA}, (ADA, "ada@example.org"), id="second-id"),
        pytest.param({"mail": "one@example.org"}, (ADA, "one@example.org"), id="mail-is-a-text"),
        pytest.param(
            {"mail": None, "email": "two@example.org"}, (ADA, "two@example.org"), id="second-mail"
        ),
        pytest.param(
            {"mail": [], "email": ["three@example.org"]}, (ADA, "three@example.org"), id="no-mail"
        ),
        pytest.param({"mail": None}, (ADA, ""), id="no-mail-at-all"),
        pytest.param(
            {"something": {"else": [1, 2]}}, (ADA, "ada@example.org"), id="more-than-known"
        ),
    ],
)
def test_each_value_has_its_first_and_its_second_source(
    remote: Remote, said: dict[str, Any], expected: tuple[str, str]
) -> None:
    remote.people[ADA] = claims(ADA, **said)
    person = fetch(configured(remote), ADA)
    assert person is not None
    assert (person.username, person.email) == expected


def test_somebody_unknown_there_is_no_failure(remote: Remote) -> None:
    assert fetch(configured(remote), ADA) is None


def test_nobody_is_asked_while_it_is_disabled(remote: Remote) -> None:
    for ask in (lambda: fetch(load({}), ADA), lambda: fetch_keys(load({}))):
        with pytest.raises(Conflict, match=r"directory\.disabled"):
            ask()
    with pytest.raises(Conflict, match=r"directory\.disabled"):
        fetch_keys(configured(remote))
    assert remote.asked == []


BAD_ANSWERS = {
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
    "zips": says(gzip.compress(b" " * 50_000_000), Content_Encoding="gzip"),
}
UNREADABLE = {
    "empty": b"",
    "words": SECRET.encode(),
    "half": b'{"sub": "' + SECRET.encode(),
    "latin-1": b'{"given_name": "\xe4"}',
    "half-a-character": b'{"given_name": "\\ud800"}',
    "deep": b'{"x":' * 20_000,
}


@pytest.mark.parametrize("temper", BAD_ANSWERS)
def test_a_directory_that_does_not_answer_is_left_in_time(remote: Remote, temper: str) -> None:
    remote.people[ADA] = BAD_ANSWERS[temper]
    assert refused(remote, patience=HASTE) == "directory.unreachable"


@pytest.mark.parametrize("temper", BAD_ANSWERS)
def test_an_endpoint_for_tokens_that_does_not_answer_is_left_in_time(
    remote: Remote, temper: str
) -> None:
    remote.people[ADA] = claims(ADA)
    remote.token = BAD_ANSWERS[temper]
    assert refused(remote, patience=HASTE) == "directory.no_token"


def test_a_closed_port_is_no_answer(remote: Remote) -> None:
    assert refused(remote, f"http://127.0.0.1:{free_port()}/{SECRET}") == "directory.no_token"


@pytest.mark.parametrize("body", UNREADABLE)
def test_what_is_no_json_is_not_read(remote: Remote, body: str) -> None:
    remote.people[ADA] = says(UNREADABLE[body])
    assert refused(remote) == "directory.unreadable"


@pytest.mark.parametrize("body", ["words", "half", "deep"])
def test_a_token_that_is_no_json_is_not_read(remote: Remote, body: str) -> None:
    remote.token = says(UNREADABLE[body])
    assert refused(remote) == "directory.token_unreadable"


@pytest.mark.parametrize(
    "token",
    ["", "two words", "kõõr", "line\nfeed", "x" * 20_000, None, 17, ["good-token"]],
    ids=["empty", "words", "letters", "lines", "long", "null", "number", "list"],
)
def test_what_cannot_be_a_token_is_none(remote: Remote, token: Any) -> None:
    remote.token = says({"access_token": token})
    assert refused(remote) == "directory.no_token"
    remote.token = says({"error": SECRET})
    assert refused(remote) == "directory.no_token"
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
def test_a_value_that_cannot_be_kept_is_refused_and_not_mended(remote: Remote, case: str) -> None:
    field, value = BAD_CLAIMS[case]
    remote.people[ADA] = claims(ADA, **{field: value})
    with pytest.raises(Invalid, match=r"directory\.invalid") as error:
        fetch(configured(remote), ADA)
    assert error.value.facts == {"field": field}


@pytest.mark.parametrize("body", [[], "ada", 5, None, True], ids=str)
def test_json_that_is_no_object_is_refused(remote: Remote, body: Any) -> None:
    remote.people[ADA] = says(json.dumps(body).encode())
    assert refused(remote) == "directory.invalid"


def test_a_name_cannot_lead_to_another_address(remote: Remote) -> None:
    for name in ("..", "../token", "a/b", "a?b=c", "a#b", "", "%2e%2e", "Ada"):
        with pytest.raises(Invalid, match=r"directory\.invalid"):
            fetch(configured(remote), name)
    assert remote.asked == []


def test_a_token_is_got_once_and_used_again(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configured(remote)
    remote.people[ADA] = claims(ADA)
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(fetch, settings, ADA) for _ in range(8)]
        assert all(one.result() for one in found)
    assert remote.asked.count("/token") == 1
    monkeypatch.setattr(eduteams_actions, "TOKEN_SECONDS", -1)
    monkeypatch.setattr(eduteams_actions, "_token_cache", eduteams_actions._TokenCache())
    for _ in range(2):
        fetch(settings, ADA)
    assert remote.asked.count("/token") == 3


def test_a_token_that_is_no_longer_taken_is_replaced_once(remote: Remote) -> None:
    settings = configured(remote)
    remote.people[ADA] = claims(ADA)
    fetch(settings, ADA)
    remote.taken, remote.token = {"better-token"}, says({"access_token": "better-token"})
    assert fetch(settings, ADA) is not None
    remote.taken = set()
    remote.asked.clear()
    with pytest.raises(Conflict, match=r"directory\.unreachable"):
        fetch(settings, ADA)
    assert len(remote.asked) == 3  # the old one, a new one, and no more


def test_silence_about_keys_says_nothing_where_a_list_of_keys_is_asked_for(
    remote: Remote,
) -> None:
    remote.people[ADA] = claims(ADA, ssh_public_key=None)
    for feed, expected in ((False, ()), (True, None)):
        found = fetch(configured(remote, feed=feed), ADA)
        assert found is not None
        assert found.keys == expected


def test_the_list_of_keys_is_read_past_what_is_wrong_in_it(remote: Remote) -> None:
    line = new_key()
    entries = {ADA: {"ssh_keys": [line, 7, None]}, "Bad Name": {"ssh_keys": []}, "no": [], "n": {}}
    remote.feed = says({"data": entries})
    assert fetch_keys(configured(remote, feed=True)) == {ADA: [line, 7, None]}
    for temper, code in (
        (says({"data": []}), "directory.invalid"),
        (says(b"?"), "directory.unreadable"),
        (says(SECRET.encode(), 500), "directory.unreachable"),
        (tempers.hangs, "directory.unreachable"),
    ):
        remote.feed = temper
        with pytest.raises(Refusal) as error:
            fetch_keys(configured(remote, feed=True), HASTE)
        assert error.value.code == code
        assert SECRET not in f"{error.value!r} {error.value.facts}"
