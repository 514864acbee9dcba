"""Lists of people as they come from other programs: understood, or given back with the reason."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.invitations.pasted_lists import LINE_MAX, NONE, TOO_LONG, PastedPerson, read_people
from collegium.text.email_addresses import address_error

CASES = Path(__file__).parents[3] / "shared" / "cases" / "people.txt"
ADA = "ada@example.org"

UNDERSTOOD = [
    # Invisible signs, from spreadsheets and web pages.
    (f"\ufeff{ADA}", ""),
    (f"\u200b{ADA}\u200b", ""),
    (f"\u202a{ADA}\u202c", ""),
    (f"\u2066{ADA}\u2069\u200e", ""),
    ("ada@exam\u200bple.org", ""),
    ("ada@ex\u00adample.org", ""),
    (f"\u00a0{ADA}\u3000", ""),
    (f"\x7f{ADA}\x01", ""),
    (f"Ada Lee\x1f{ADA}", "Ada Lee"),
    # Quotation marks of many countries.
    (f"'{ADA}'", ""),
    (f'"{ADA}"', ""),
    (f"`{ADA}`", ""),
    (f"\u2018{ADA}\u2019", ""),
    (f"\u201c{ADA}\u201d", ""),
    (f"\u201e{ADA}\u201c", ""),
    (f"\u00ab {ADA} \u00bb", ""),
    (f"\u2039{ADA}\u203a", ""),
    # Mail programs.
    (f"Ada Lee <{ADA}>", "Ada Lee"),
    (f"Ada Lee<{ADA}>;", "Ada Lee"),
    (f'"Lee, Ada" <{ADA}>,', "Lee, Ada"),
    (f"'Ada L.' <{ADA}>", "Ada L."),
    (f"\u201cAda\u201d <{ADA}>", "Ada"),
    (f"{ADA} <{ADA}>", ""),
    (f"{ADA} (Ada Lee)", "Ada Lee"),
    (f"Ada Lee ({ADA})", "Ada Lee"),
    (f"Name <{ADA}>", "Name"),
    (f"To: {ADA}", ""),
    (f"E-mail: {ADA}", ""),
    (f"mailto:{ADA}", ""),
    (f"MAILTO:{ADA}?subject=Hello%20there&body=x", ""),
    ("mailto:ada%2Blab@example.org", None),
    (f"<mailto:{ADA}>", ""),
    # Chats and web pages.
    (f"[{ADA}](mailto:{ADA})", ""),
    (f"[Ada Lee](mailto:{ADA})", "Ada Lee"),
    (f"<mailto:{ADA}|{ADA}>", ""),
    (f"**{ADA}**", ""),
    (f"_{ADA}_", ""),
    (f'<a href="mailto:{ADA}">Ada Lee</a>', "Ada Lee"),
    (f"<b>{ADA}</b>", ""),
    (f"&lt;{ADA}&gt;", ""),
    (f"Ada&nbsp;Lee &lt;{ADA}&gt;", "Ada Lee"),
    # Columns.
    (f"{ADA}\tAda Lee", "Ada Lee"),
    (f"Ada\tLee\t{ADA}", "Ada Lee"),
    (f"{ADA},Ada,Lee", "Ada Lee"),
    (f'"{ADA}","Ada Lee"', "Ada Lee"),
    (f"Ada;{ADA}", "Ada"),
    (f"{ADA}|Ada", "Ada"),
    (f"|{ADA}|Ada|", "Ada"),
    # Lists and running text.
    (f"{ADA}.", ""),
    (f"{ADA}:", ""),
    (f"{ADA}!", ""),
    (f"{ADA}.,", ""),
    (f"- {ADA}", ""),
    (f"\u2022 Ada Lee {ADA}", "Ada Lee"),
    (f"1. Ada Lee, {ADA}", "Ada Lee"),
    (f"12) {ADA}", ""),
    (f"{ADA} \u2013 Ada Lee", "Ada Lee"),
    (f"Ada \u738b <{ADA}>", "Ada \u738b"),
    # Pictures, bullets (those of Word are of its own) and brackets of other keyboards.
    (f"\U0001f4e7{ADA}", ""),
    (f"\u2709\ufe0f {ADA}", ""),
    (f"\u25aa{ADA}", ""),
    (f"\uf0b7\t{ADA}", ""),
    (f"\u27a4 Ada Lee {ADA}", "Ada Lee"),
    (f"\uff08{ADA}\uff09", ""),
    (f"Ada Lee\uff1c{ADA}\uff1e", "Ada Lee"),
    (f"\u3010{ADA}\u3011", ""),
    (f"{ADA}\u060c Ada", "Ada"),
    # What chats and directories put before an address.
    (f"[12:03, 28/11/2026] Ada Lee: {ADA}", "Ada Lee"),
    (f"\u200e[28.11.26, 12:03:04] Ada Lee: {ADA}", "Ada Lee"),
    (f"28/11/2026, 12:03 - Ada Lee: {ADA}", "Ada Lee"),
    (f"[10:00\u202fAM] Ada Lee: {ADA}", "Ada Lee"),
    (f"[10:03, 28/11/2026] +49 170 123: {ADA}", ""),
    (f"SMTP:{ADA}", ""),
    (f"sip:{ADA}", ""),
    (f"E-Mail:{ADA}", ""),
    (f"mailto://{ADA}", ""),
]

DOUBTED = [
    *("jane@example,org", "jane@mail,example.org", "jane@example;org", "jane@example .org"),
    *("jane@example org", "jane@mail.example,org", "jane@example.co,uk", "jane@@example.org"),
    *("jane@ example.org", "jane @example.org", "jane@", "@example.org", "@jane", "a@b@c.org"),
    *("jane@example..org", "jane.@example.org", "jane\uff20example.org", "j\ufe6bexample.org"),
    *("o\u2019brien@example.org", "j\u0430ne@example.org", "jane@example.invalid"),
    *("jane@exa_mple.org", "jane(work)@example.org", "<jane@example,org>", "a@b.org/c@d.org"),
    "Jane <jane@example,org>",
    "Jane <jane doe@example.org>",
    "Jane <jane @example.org>",
]


@pytest.mark.parametrize(("line", "name"), UNDERSTOOD)
def test_a_line_from_another_program_is_understood(line: str, name: str | None) -> None:
    (one,) = read_people(line, 200)
    expected = ADA if name is not None else "ada+lab@example.org"
    assert one == PastedPerson(line.strip(), expected, name or "")


@pytest.mark.parametrize("line", DOUBTED)
def test_what_holds_an_at_sign_and_is_no_address_is_doubted_and_never_cut(line: str) -> None:
    people = read_people(line, 200)
    assert people
    assert not any(one.email for one in people)
    assert all(one.fault.endswith(".") and one.fault != NONE for one in people)


@pytest.mark.parametrize("line", ["nobody", "Name;E-mail", "ada(at)example.org", "-"])
def test_a_line_without_an_address_says_so(line: str) -> None:
    assert read_people(line, 200) == [PastedPerson(line, "", "", NONE)]


@pytest.mark.parametrize("text", ["", " \n\t\n", "\ufeff\n\u200b", "\u3000"])
def test_lines_of_which_nothing_can_be_seen_are_nothing(text: str) -> None:
    assert read_people(text, 200) == []


def test_several_people_in_a_line_keep_their_names() -> None:
    line = 'Ada Lee <ada@example.org>, "Hopper, Grace" <grace@example.org>; joan@example.org'
    found = [(one.email, one.name) for one in read_people(line, 200)]
    assert found == [
        ("ada@example.org", "Ada Lee"),
        ("grace@example.org", "Hopper, Grace"),
        ("joan@example.org", ""),
    ]


def test_what_is_given_back_of_a_line_is_read_again_as_the_same() -> None:
    line = "Ada Lee <ada@example.org>, jane@example,org, Grace <grace@example.org>"
    people = read_people(line, 200)
    again = read_people("\n".join(one.text for one in people), 200)
    assert [one[1:] for one in again] == [one[1:] for one in people]
    assert [one.email for one in people] == ["ada@example.org", "", "grace@example.org"]


def test_one_mailbox_in_two_spellings_is_one_person_of_a_line() -> None:
    (one,) = read_people("[Ada](mailto:ADA@xn--mnchen-3ya.example) ada@m\u00fcnchen.example", 200)
    assert one.name == "Ada"


def test_nobody_is_lost_whose_address_has_a_space() -> None:
    people = read_people("Ada <ada@example.org>, Jane <jane doe@example.org>", 200)
    assert [(one.email, one.name) for one in people] == [("ada@example.org", "Ada"), ("", "Jane")]


def test_a_number_before_an_at_sign_is_no_time_of_a_chat() -> None:
    (one,) = read_people("12.34@example.org", 200)
    assert one.email == "12.34@example.org"


def test_a_domain_keeps_the_joiners_that_it_is_written_with() -> None:
    domain = "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example"
    (one,) = read_people(f"\u200ba\u200bda@{domain}\u200e", 200)
    assert one.email == f"ada@{domain}"
    (one,) = read_people("ada@exam\u200cple.org", 200)
    assert one.email == "ada@example.org"


@pytest.mark.parametrize("mark", ["; ", ", ", ";"])
def test_all_recipients_of_a_mail_are_read_from_one_line(mark: str) -> None:
    line = mark.join(f"Lee, Ada <ada{number}@example.org>" for number in range(40))
    found = [(one.email, one.name, one.fault) for one in read_people(line, 200)]
    assert found == [(f"ada{number}@example.org", "Lee, Ada", "") for number in range(40)]
    line = mark.join(f"ada{number}@example.org" for number in range(40))
    assert [one.email for one in read_people(line, 200)] == line.split(mark)


def test_a_long_line_gives_nobody_the_name_of_another() -> None:
    line = ", ".join(f"ada{number}@example.org, Ada {number}" for number in range(40))
    people = read_people(line, 200)
    assert len(people) == len({one.email for one in people}) == 40
    again = read_people("\n".join(one.text for one in people), 200)
    assert {one.name for one in people + again} == {""}


def test_a_long_line_cuts_no_address() -> None:
    line = ", ".join(f"jane{number}@example,org" for number in range(40))
    assert {one.email for one in read_people(line, 200)} == {""}
    line = "; ".join(f"Jane <jane{number}@example;org>" for number in range(40))
    assert {one.email for one in read_people(line, 200)} == {""}


def test_a_line_that_is_too_long_is_not_read() -> None:
    (one,) = read_people("x" * LINE_MAX + " ada@example.org", 200)
    assert (one.email, one.fault, len(one.text)) == ("", TOO_LONG, LINE_MAX)


def test_a_name_that_is_too_long_is_said_to_be() -> None:
    (one,) = read_people("ada@example.org " + "x" * 101, 200)
    assert one.fault == "The name is too long."


@given(st.text(st.sampled_from("a@.,;<>()[]\"' \n|:*_\u200b\u201c-/?&="), max_size=120))
def test_whatever_is_pasted_only_addresses_come_out(text: str) -> None:
    for one in read_people(text, 200):
        assert bool(one.email) != (one.fault not in {"", "The name is too long."})
        assert not one.email or not address_error(one.email)


@pytest.mark.parametrize(
    "sign", ["a", "@", ".", ",", " ", "0", "<", "a@b.c,", "&lt;", "a@b\n", "<a@b>"]
)
def test_a_long_list_takes_no_time(sign: str) -> None:
    text = (sign * 100_000)[:100_000]
    began = time.process_time()
    read_people(text, 200)
    assert time.process_time() - began < 0.2


@pytest.mark.skipif(not CASES.exists(), reason="the cases of others are not at hand")
def test_the_cases_of_others_are_understood() -> None:
    lines = CASES.read_text(encoding="utf-8").splitlines()
    read = [read_people(line, 200) for line in lines]
    good = [[one.email for one in people if not one.fault] for people in read]
    assert [len(emails) for emails in good[:18]] == [1] * 18
    assert good[18:] == [[], [], []]
    assert all(people[0].fault for people in read[18:])
