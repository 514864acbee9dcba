"""What keeps an open invitation in bounds, without a database."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.db.tables import invite_links
from collegium.invite_links.rules import (
    PATTERN_MAX,
    PATTERNS_MAX,
    check_active,
    check_end,
    check_may_change,
    check_patterns,
    check_public,
    check_roles,
    check_template,
    is_active,
    is_wider,
    matches_restrictions,
    project_name,
)
from collegium.refusals import Conflict, Forbidden, Invalid

NOW = datetime(2026, 11, 24, 12, 0, 0, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
ADA = {"username": "ada", "email": "ada@example.org", "full_name": "Ada Lovelace"}


@pytest.mark.parametrize("expires", [None, NOW + TICK, NOW + timedelta(seconds=60)])
def test_a_link_may_end_between_now_and_its_longest_life(expires: datetime | None) -> None:
    check_end(expires, NOW, 60)


@pytest.mark.parametrize("expires", [NOW - TICK, NOW, NOW + timedelta(seconds=60) + TICK])
def test_it_may_not_have_ended_nor_last_longer(expires: datetime) -> None:
    with pytest.raises(Invalid) as refused:
        check_end(expires, NOW, 60)
    assert (refused.value.code, refused.value.facts["field"]) == ("open_invitation.end", "expires")


@pytest.mark.parametrize(
    ("canceled", "expires", "active"),
    [
        (None, NOW + TICK, True),
        (None, NOW, False),
        (None, NOW - TICK, False),
        (NOW - TICK, NOW + TICK, False),
        (NOW, NOW - TICK, False),
    ],
    ids=["open", "ends_now", "ended", "canceled", "both"],
)
def test_a_link_is_active_until_its_very_end(
    canceled: datetime | None, expires: datetime, *, active: bool
) -> None:
    assert is_active(canceled, expires, NOW) is active
    if active:
        check_active(canceled, expires, NOW, "any.code")
    else:
        with pytest.raises(Conflict, match=r"any\.code"):
            check_active(canceled, expires, NOW, "any.code")


# Names of projects.


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
def test_a_good_template_gives_whoever_asks_a_name(template: str, name: str) -> None:
    check_template(template)
    assert project_name(template, **ADA) == name


def test_somebody_without_a_name_goes_by_the_user_name() -> None:
    assert project_name("Lab of {full_name}", **ADA | {"full_name": ""}) == "Lab of ada"


def test_what_people_are_called_is_no_template() -> None:
    name = "{email.__class__} {username} {"
    assert project_name("{full_name}", **ADA | {"full_name": name}) == name


@pytest.mark.parametrize(
    ("template", "wrong"),
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
def test_a_template_that_nobody_could_fill_is_refused(template: str, wrong: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_template(template)
    assert refused.value.code == "open_invitation.template"
    allowed = "email, full_name, username"
    assert refused.value.facts == {"field": "template", "wrong": wrong, "allowed": allowed}


# Whom it is meant for.


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
    ],
)
def test_a_pattern_must_match_the_whole_address(pattern: str, email: str, *, matches: bool) -> None:
    check_patterns([pattern])
    assert matches_restrictions([], [pattern], of_account=(), email=email) is matches


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
        # One of all of them is enough.
        (["nobody"], ["ada@.*"], True),
        (["staff@uni.example"], [".*@elsewhere"], True),
        (["nobody"], [".*@elsewhere"], False),
    ],
)
def test_one_affiliation_or_one_pattern_is_enough(
    affiliations: list[str], patterns: list[str], *, allowed: bool
) -> None:
    of_ada = ("staff@uni.example", "alum@uni.example")
    assert (
        matches_restrictions(affiliations, patterns, of_account=of_ada, email="ada@uni.example")
        is allowed
    )


def test_somebody_with_no_affiliation_shares_none() -> None:
    assert not matches_restrictions(["x"], [], of_account=(), email="ada@uni.example")


@pytest.mark.parametrize(
    "pattern",
    ["(", "[a", "*", "a**", "(?=a)", r"(a)\1", "(?P<n", "x{1001}", r"\8", r"\pL{60}"],
)
def test_a_pattern_that_cannot_be_kept_cheap_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_patterns([".*", pattern])
    assert refused.value.code == "open_invitation.patterns"
    assert refused.value.facts == {"field": "email_patterns", "wrong": [pattern]}


def test_whoever_types_a_bad_pattern_writes_nothing_into_our_logs(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Invalid):
        check_patterns(["("])
    assert capfd.readouterr() == ("", "")


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
def test_a_catastrophic_pattern_costs_nobody_anything(pattern: str) -> None:
    began = time.thread_time()
    try:
        check_patterns([pattern])
    except Invalid:
        pass
    else:
        # An address of the longest kind, as unlucky as can be.
        assert not matches_restrictions(
            [], [pattern], of_account=(), email="a" * 306 + "!@example.org"
        )
    assert time.thread_time() - began < 0.05


def test_there_are_so_many_patterns_and_so_long() -> None:
    assert (PATTERNS_MAX, PATTERN_MAX) == (50, 255)


# What it gives.

FIELDS: dict[str, dict[str, str]] = {
    "role.other_kind": {},
    "open_invitation.not_in_organisation": {"field": "auto_create_project"},
    "open_invitation.project_role": {"field": "project_role"},
}


@pytest.mark.parametrize(
    ("kind", "role", "project_role", "makes", "refused"),
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
        ("group", "group", None, True, "open_invitation.not_in_organisation"),
        ("organisation", "organisation", "organisation", True, "open_invitation.project_role"),
    ],
)
def test_a_link_gives_only_what_can_be_held_where_it_leads(
    kind: str, role: str, project_role: str | None, refused: str | None, *, makes: bool
) -> None:
    def check() -> None:
        check_roles(kind, role, project_role, auto_create_project=makes)

    if refused is None:
        check()
    else:
        with pytest.raises(Invalid) as caught:
            check()
        assert caught.value.code == refused
        assert caught.value.facts == FIELDS[refused]


@pytest.mark.parametrize(
    ("staff", "makes", "role", "code", "field"),
    [
        (True, True, "project", None, ""),
        (False, True, "project", "open_invitation.public_staff", "is_public"),
        (True, False, "project", "open_invitation.public_auto", "auto_create_project"),
        (True, True, "organisation", "open_invitation.public_role", "role"),
    ],
    ids=["as_it_should_be", "not_staff", "no_project_of_ones_own", "role_of_organisations"],
)
def test_only_staff_show_a_link_to_everybody(
    role: str, code: str | None, field: str, *, staff: bool, makes: bool
) -> None:
    def check(*, is_public: bool) -> None:
        check_public(is_public=is_public, is_staff=staff, auto_create_project=makes, role_kind=role)

    check(is_public=False)
    if code is None:
        check(is_public=True)
    else:
        with pytest.raises(Invalid) as caught:
            check(is_public=True)
        assert caught.value.code == code
        assert caught.value.facts == {"field": field}


# Who answers for a link.

TERMS: dict[str, Any] = {
    "auto_approve": False,
    "allow_multiple_requests": False,
    "is_public": False,
    "affiliations": ["a", "b"],
    "email_patterns": ["p", "q"],
    "expires_at": NOW,
    "custom_text": "Hello",
    "template": None,
}
"""The columns that a change of an invite link may name."""

SWITCHES = ("auto_approve", "allow_multiple_requests", "is_public")


@given(
    before=st.fixed_dictionaries(
        {
            **dict.fromkeys(SWITCHES, st.booleans()),
            "affiliations": st.lists(st.sampled_from("ab"), unique=True),
            "email_patterns": st.lists(st.sampled_from("pq"), unique=True),
            "expires_at": st.sampled_from([NOW, NOW + timedelta(days=1)]),
            "custom_text": st.sampled_from(["", "Hello"]),
            "template": st.sampled_from([None, "{username}"]),
        }
    ),
    after=st.fixed_dictionaries(
        {
            **dict.fromkeys(SWITCHES, st.booleans()),
            "affiliations": st.lists(st.sampled_from("ab"), unique=True),
            "email_patterns": st.lists(st.sampled_from("pq"), unique=True),
            "expires_at": st.sampled_from([NOW, NOW + timedelta(days=1)]),
            "custom_text": st.sampled_from(["", "Hello"]),
            "template": st.sampled_from([None, "{username}"]),
        }
    ),
)
def test_change_widens_a_link_exactly_when_somebody_gains_by_it(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    def people(terms: dict[str, Any]) -> set[str]:
        """Who is let in, of people with one affiliation or one kind of address, or none."""
        named = {*terms["affiliations"], *terms["email_patterns"]}
        return named or {*"abpq", "anybody"}

    gains = (
        any(after[name] and not before[name] for name in SWITCHES)
        or after["expires_at"] > before["expires_at"]
        or not people(after) <= people(before)
    )
    assert is_wider(before, after) is gains


def test_every_change_of_a_link_that_is_not_known_to_be_harmless_widens_it() -> None:
    columns = {column.name for column in invite_links.c}
    for name in columns - TERMS.keys():
        assert is_wider({**TERMS, name: 1}, {name: 2}), name
        assert not is_wider({**TERMS, name: 1}, {name: 1}), name
    assert TERMS.keys() <= columns
    assert not is_wider(TERMS, {"custom_text": "Welcome", "template": "{email}"})
    assert not is_wider(TERMS, {})


def test_pattern_that_replaces_another_widens_a_link_whatever_it_says() -> None:
    assert is_wider(TERMS, {"email_patterns": ["p"], "affiliations": ["a", "c"]})
    assert is_wider(TERMS, {"email_patterns": ["P"]})
    assert not is_wider(TERMS, {"email_patterns": ["q"], "affiliations": []})


@pytest.mark.parametrize(("public", "staff"), [(True, True), (False, False), (False, True)])
def test_public_link_is_changed_by_staff_alone(*, public: bool, staff: bool) -> None:
    check_may_change(is_public=public, is_staff=staff)
    with pytest.raises(Forbidden) as caught:
        check_may_change(is_public=True, is_staff=False)
    assert caught.value.code == "open_invitation.public"


@pytest.mark.parametrize(
    ("pattern", "email", "admitted"),
    [
        (".*@m\u00fcnchen\\.example", "ada@xn--mnchen-3ya.example", True),
        (r".*@xn--mnchen-3ya\.example", "ada@M\u00dcNCHEN.example", True),
        (".*@stra\u00dfe\\.example", "ada@strasse.example", False),
        (r"kim@example\.org", "KIM@example.org", True),
        (r"kim@example\.org", "\u212aim@example.org", False),
    ],
)
def test_a_pattern_matches_every_spelling_of_a_mailbox_and_no_other(
    pattern: str, email: str, *, admitted: bool
) -> None:
    assert matches_restrictions([], [pattern], of_account=[], email=email) is admitted


def test_a_project_named_after_a_person_is_no_link() -> None:
    name = project_name(
        "{full_name}", username="ada", email="a@b.org", full_name="x https://e.example\u200b"
    )
    assert name == "x https: //e.example"
