"""Invite links: end, templates, restrictions, roles, and who may change them."""

from __future__ import annotations

import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.db.tables import invite_links
from collegium.invite_links.rules import (
    OFFER_COLUMNS,
    PATTERN_MAX,
    PATTERNS_MAX,
    Action,
    check_end,
    check_may_change,
    check_patterns,
    check_public,
    check_roles,
    check_template,
    effective_state,
    is_active,
    is_wider,
    matches_restrictions,
    project_name,
)
from collegium.refusals import Conflict, Forbidden, Invalid
from tests.rules.refusing import described, read_descriptions, refused

NOW = datetime(2026, 11, 24, 12, 0, 0, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
NOBODY: dict[str, Any] = {"of_account": (), "source": ""}
ADA = {"username": "ada", "email": "ada@example.org", "full_name": "Ada Lovelace"}


def test_end_of_a_link_must_be_within_its_maximum_lifetime() -> None:
    minute = timedelta(seconds=60)
    for expires in (None, NOW + TICK, NOW + minute):
        check_end(expires, NOW, 60)
    for expires in (NOW - TICK, NOW, NOW + minute + TICK):
        with pytest.raises(Invalid) as caught:
            check_end(expires, NOW, 60)
        assert caught.value.code == "invite_link.end"
        assert caught.value.facts["field"] == "expires"


@pytest.mark.parametrize(
    ("canceled", "expires", "active"),
    [
        (None, NOW + TICK, True),
        (None, NOW, False),
        (None, NOW - TICK, False),
        (NOW - TICK, NOW + TICK, False),
        (NOW, NOW - TICK, False),
    ],
)
def test_link_is_active_until_the_instant_of_its_end(
    canceled: datetime | None, expires: datetime, *, active: bool
) -> None:
    assert is_active(canceled, expires, NOW) is active
    state = effective_state(canceled, expires, NOW)
    with refused(Conflict, "invite_link.closed") if active else nullcontext():
        Action.DELETE.after(state)
    for action in set(Action) - {Action.DELETE}:
        with nullcontext() if active else refused(Conflict, "invite_link.closed"):
            action.after(state)


BY = """
use     person   -
change  granter  invite_link.updated
cancel  manager  invite_link.canceled
delete  manager  invite_link.deleted
"""


def test_actions_are_taken_by_those_who_may_and_recorded() -> None:
    assert described(Action) == read_descriptions(BY)
    states = [
        (state.value, action.after(state).value) for action in Action for state in action.states
    ]
    assert states == [
        *[("active", "active")] * 2,
        *[("active", "canceled"), ("canceled", "canceled"), ("expired", "expired")],
    ]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("", "ada_project"),
        ("{username}", "ada"),
        ("Lab of {full_name} <{email}>", "Lab of Ada Lovelace <ada@example.org>"),
        ("{{{username}}}", "{ada}"),
        ("{{username}}", "{username}"),
        ("plain", "plain"),
        ("  {username} \n lab\t", "ada lab"),
        (" ", "ada"),
        ("{username}" * 200, ("ada" * 200)[:500]),
    ],
)
def test_template_gives_the_name_of_a_project(template: str, name: str) -> None:
    check_template(template)
    assert project_name(template, **ADA) == name


def test_template_uses_the_user_name_instead_of_an_empty_name() -> None:
    assert project_name("Lab of {full_name}", **ADA | {"full_name": ""}) == "Lab of ada"


def test_names_are_not_evaluated_as_templates() -> None:
    name = "{email.__class__} {username} {"
    assert project_name("{full_name}", **ADA | {"full_name": name}) == name


@pytest.mark.parametrize(
    ("template", "invalid"),
    [
        ("{user}", "user"),
        ("{a} {b} {username}", "a, b"),
        ("{}", "{}"),
        ("{0}", "0"),
        ("{USERNAME}", "USERNAME"),
        ("{ username }", " username "),
        ("{username.__class__}", "username.__class__"),
        ("{email[0]}", "email[0]"),
        ("{username!r}", "username!r"),
        ("{username:>99999999}", "username"),
        ("{username:{email}}", "username"),
        ("{", "{"),
        ("}", "}"),
        ("{username", "{username"),
        ("a {{ b } c", "a  b } c"),
        ("{username}}", "{username"),
    ],
)
def test_invalid_template_is_refused(template: str, invalid: str) -> None:
    allowed = "email, full_name, username"
    facts = {"field": "template", "wrong": invalid, "allowed": allowed}
    with refused(Invalid, "invite_link.template", facts):
        check_template(template)


@pytest.mark.parametrize(
    ("pattern", "email", "matches"),
    [
        (r".*@uni\.example", "ada@uni.example", True),
        (r".*@uni\.example", "ada@uni.example.evil.example", False),
        (r".*@uni\.example", "ada@uni-example", False),
        (r"ada@", "ada@uni.example", False),
        (r"uni\.example", "ada@uni.example", False),
        (r"ADA@Uni\.Example", "ada@uni.example", True),
        (r"ada@uni\.example", "ADA@UNI.EXAMPLE", True),
        (r"ada@uni\.example$", "ada@uni.example\n", False),
        (r"ada|.*@uni\.example", "ada@uni.example", True),
        (r"", "ada@uni.example", False),
        # Every spelling of a mailbox matches, similar addresses do not.
        (".*@m\u00fcnchen\\.example", "ada@xn--mnchen-3ya.example", True),
        (r".*@xn--mnchen-3ya\.example", "ada@M\u00dcNCHEN.example", True),
        (".*@stra\u00dfe\\.example", "ada@strasse.example", False),
        (r"kim@example\.org", "KIM@example.org", True),
        (r"kim@example\.org", "\u212aim@example.org", False),
    ],
)
def test_pattern_must_match_the_whole_address(pattern: str, email: str, *, matches: bool) -> None:
    check_patterns([pattern])
    assert matches_restrictions([], [pattern], (), **NOBODY, email=email) is matches


@pytest.mark.parametrize(
    ("affiliations", "patterns", "allowed"),
    [
        ([], [], True),
        (["staff@uni.example"], [], True),
        (["member@uni.example", "staff@uni.example"], [], True),
        (["Staff@uni.example"], [], False),
        (["staff@uni"], [], False),
        ([], [".*@elsewhere", r"ada@.*"], True),
        ([], [".*@elsewhere"], False),
        (["nobody"], ["ada@.*"], True),
        (["staff@uni.example"], [".*@elsewhere"], True),
        (["nobody"], [".*@elsewhere"], False),
    ],
)
def test_one_affiliation_or_one_pattern_is_enough(
    affiliations: list[str], patterns: list[str], *, allowed: bool
) -> None:
    of_account, email = ("staff@uni.example", "alum@uni.example"), "ada@uni.example"
    ada: dict[str, Any] = {"of_account": of_account, "email": email, "source": ""}
    matches = matches_restrictions(affiliations, patterns, (), **ada)
    assert matches is allowed
    assert not matches_restrictions(["x"], [], (), **NOBODY, email=email)


@pytest.mark.parametrize(
    "pattern",
    ["(", "[a", "*", "a**", "(?=a)", r"(a)\1", "(?P<n", "x{1001}", r"\8", r"\pL{60}"],
)
def test_expensive_or_invalid_pattern_is_refused(
    pattern: str, capfd: pytest.CaptureFixture[str]
) -> None:
    facts = {"field": "email_patterns", "wrong": [pattern]}
    with refused(Invalid, "invite_link.patterns", facts):
        check_patterns([".*", pattern])
    assert capfd.readouterr() == ("", "")  # nothing is logged


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|aa)+$",
        "(a*)*b",
        "([a-z]+)*@evil",
        "(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)@evil",
        "(.*a){20}",
        "(((a{10}){10}){10}){10}",
        "(x?){500}" * 2,
    ],
)
def test_catastrophic_pattern_is_matched_quickly(pattern: str) -> None:
    longest = "a" * 306 + "!@example.org"
    start = time.thread_time()
    try:
        check_patterns([pattern])
    except Invalid:
        pass
    else:
        assert not matches_restrictions([], [pattern], (), **NOBODY, email=longest)
    assert time.thread_time() - start < 0.05


def test_maximum_number_and_length_of_patterns() -> None:
    assert (PATTERNS_MAX, PATTERN_MAX) == (50, 255)


@pytest.mark.parametrize(
    ("sources", "source", "matches"),
    [
        (["uni", "lab"], "lab", True),
        (["uni"], "lab", False),
        (["uni", ""], "", False),
        (["Uni"], "uni", False),
    ],
)
def test_identity_source_of_the_account_may_match(
    sources: list[str], source: str, *, matches: bool
) -> None:
    ada: dict[str, Any] = {**NOBODY, "email": "ada@uni.example", "source": source}
    assert matches_restrictions([], [], sources, **ada) is matches
    assert matches_restrictions(["x"], [], sources, **ada) is matches


def test_roles_are_what_a_link_offers() -> None:
    assert {"role_id", "project_role_id", "auto_create_project"} == OFFER_COLUMNS


FACTS: dict[str, dict[str, str]] = {
    "role.other_kind": {},
    "invite_link.not_in_organisation": {"field": "auto_create_project"},
    "invite_link.project_role": {"field": "project_role"},
}


@pytest.mark.parametrize(
    ("kind", "role", "project_role", "creates_project", "code"),
    [
        ("organisation", "organisation", None, False, None),
        ("organisation", "organisation", None, True, None),
        ("organisation", "organisation", "project", True, None),
        ("organisation", "project", None, True, None),
        ("organisation", "project", "project", True, None),
        ("organisation", "project", None, False, "role.other_kind"),
        ("project", "project", None, False, None),
        ("project", "organisation", None, False, "role.other_kind"),
        ("project", "organisation", None, True, "role.other_kind"),
        ("project", "project", None, True, None),
        ("group", "group", None, False, None),
        ("group", "group", None, True, "invite_link.not_in_organisation"),
        ("organisation", "organisation", "organisation", True, "invite_link.project_role"),
    ],
)
def test_roles_of_a_link_must_fit_its_scope(
    kind: str, role: str, project_role: str | None, code: str | None, *, creates_project: bool
) -> None:
    with refused(Invalid, code, FACTS[code]) if code else nullcontext():
        check_roles(kind, role, project_role, auto_create_project=creates_project)


@pytest.mark.parametrize(
    ("staff", "creates_project", "role", "code", "field"),
    [
        (True, True, "project", None, ""),
        (False, True, "project", "invite_link.public_staff", "is_public"),
        (True, False, "project", "invite_link.public_auto", "auto_create_project"),
        (True, True, "organisation", "invite_link.public_role", "role"),
    ],
)
def test_only_staff_create_public_links(
    role: str, code: str | None, field: str, *, staff: bool, creates_project: bool
) -> None:
    link: dict[str, Any] = {"auto_create_project": creates_project, "role_kind": role}
    check_public(is_public=False, is_staff=staff, **link)
    with refused(Invalid, code, {"field": field}) if code else nullcontext():
        check_public(is_public=True, is_staff=staff, **link)


TERMS: dict[str, Any] = {
    "auto_approve": False,
    "allow_multiple_requests": False,
    "is_public": False,
    "allow_custom_project_details": False,
    "affiliations": ["a", "b"],
    "email_patterns": ["p", "q"],
    "identity_sources": [],
    "expires_at": NOW,
    "custom_text": "Hello",
    "template": None,
}
"""The columns that a change of an invite link may name."""

FLAGS = (*("auto_approve", "allow_multiple_requests", "is_public", "allow_custom_project_details"),)
LINKS = st.fixed_dictionaries(
    {
        **dict.fromkeys(FLAGS, st.booleans()),
        "affiliations": st.lists(st.sampled_from("ab"), unique=True),
        "email_patterns": st.lists(st.sampled_from("pq"), unique=True),
        "identity_sources": st.lists(st.sampled_from("st"), unique=True),
        "expires_at": st.sampled_from([NOW, NOW + timedelta(days=1)]),
        "custom_text": st.sampled_from(["", "Hello"]),
        "template": st.sampled_from([None, "{username}"]),
    }
)


@given(before=LINKS, after=LINKS)
def test_change_is_wider_if_and_only_if_it_admits_more(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    def admitted(terms: dict[str, Any]) -> set[str]:
        """Return the affiliations and kinds of addresses that are admitted."""
        restrictions = {
            *(*terms["affiliations"], *terms["email_patterns"], *terms["identity_sources"])
        }
        return restrictions or {*"abpqst", "anybody"}

    expected = (
        any(after[name] and not before[name] for name in FLAGS)
        or after["expires_at"] > before["expires_at"]
        or not admitted(after) <= admitted(before)
    )
    assert is_wider(before, after) is expected


def test_change_of_an_unknown_column_is_wider() -> None:
    columns = {column.name for column in invite_links.c}
    for name in columns - TERMS.keys():
        assert is_wider({**TERMS, name: 1}, {name: 2}), name
        assert not is_wider({**TERMS, name: 1}, {name: 1}), name
    assert TERMS.keys() <= columns
    assert not is_wider(TERMS, {"custom_text": "Welcome", "template": "{email}"})
    assert not is_wider(TERMS, {})


def test_change_of_all_terms_for_fewer_people_is_not_wider() -> None:
    before = {**TERMS, **dict.fromkeys(FLAGS, True), "identity_sources": ["s"]}
    after = {
        **dict.fromkeys(FLAGS, False),
        "affiliations": ["a"],
        "email_patterns": ["p"],
        "identity_sources": [],
        "expires_at": NOW - timedelta(days=1),
        "custom_text": "",
        "template": "{username}",
    }
    assert before.keys() == after.keys()
    assert not is_wider(before, after)


def test_only_a_later_end_is_wider() -> None:
    assert is_wider(TERMS, {"expires_at": NOW + TICK})
    assert not is_wider(TERMS, {"expires_at": NOW - TICK})


def test_replaced_pattern_is_wider() -> None:
    assert not is_wider(TERMS, {"email_patterns": ["q", "p"], "affiliations": ["b", "a"]})
    assert is_wider(TERMS, {"email_patterns": ["p"], "affiliations": ["a", "c"]})
    assert is_wider(TERMS, {"email_patterns": ["P"]})
    assert not is_wider(TERMS, {"email_patterns": ["q"], "affiliations": []})


@pytest.mark.parametrize(("public", "staff"), [(True, True), (False, False), (False, True)])
def test_only_staff_change_public_links(*, public: bool, staff: bool) -> None:
    check_may_change(is_public=public, is_staff=staff)
    with refused(Forbidden, "invite_link.public"):
        check_may_change(is_public=True, is_staff=False)


def test_name_of_a_project_contains_no_link() -> None:
    name = project_name("{full_name}", **ADA | {"full_name": "x https://e.example\u200b"})
    assert name == "x https: //e.example"
