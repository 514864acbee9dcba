"""Pasted lists of people: addresses and names are read, errors are reported."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collegium.invitations.pasted_lists import LINE_MAX, NONE, PastedPerson, read_people
from collegium.text.email_addresses import address_error

CASES = Path(__file__).parents[3] / "shared" / "cases" / "people.txt"
ADA = "ada@example.org"

VALID = [
    # Invisible characters, from spreadsheets and web pages.
    (f"\ufeff{ADA}", ""),
    (f"\u200b{ADA}", ""),
    (f"\u200b{ADA}\u200b", ""),
    (f"\u202a{ADA}\u202c", ""),
    (f"\u2066{ADA}\u2069\u200e", ""),
    ("ada@exam\u200bple.org", ""),
    ("ada@ex\u00adample.org", ""),
    (f"\u00a0{ADA}\u3000", ""),
    (f"\x7f{ADA}\x01", ""),
    (f"Ada Lee\x1f{ADA}", "Ada Lee"),
    # Quotation marks.
    (f"'{ADA}'", ""),
    (f'"{ADA}"', ""),
    (f"`{ADA}`", ""),
    (f"\u2018{ADA}\u2019", ""),
    (f"\u201c{ADA}\u201d", ""),
    (f"\u201e{ADA}\u201c", ""),
    (f"\u00ab {ADA} \u00bb", ""),
    (f"\u00ab{ADA}\u00bb", ""),
    (f"\u2039{ADA}\u203a", ""),
    # Mail programs.
    (f"Ada Lee <{ADA}>", "Ada Lee"),
    (f"Ada Lee<{ADA}>;", "Ada Lee"),
    (f'"Lee, Ada" <{ADA}>', "Lee, Ada"),
    (f'"Lee, Ada" <{ADA}>,', "Lee, Ada"),
    (f"'Ada L.' <{ADA}>", "Ada L."),
    (f"\u201cAda\u201d <{ADA}>", "Ada"),
    (f"{ADA} <{ADA}>", ""),
    (f"{ADA} (Ada Lee)", "Ada Lee"),
    (f"Ada Lee ({ADA})", "Ada Lee"),
    (f"({ADA})", ""),
    (f"Xan BoX <{ADA}>", "Xan BoX"),
    *((f"{label}: {ADA}", "") for label in ("To", "Cc", "Bcc", "From", "Email", "E-mail", "Mail")),
    *((f"{label}: {ADA}", "") for label in ("Address", "An", "Von")),
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
    (f"{ADA}\tAda L.", "Ada L."),
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
    # Emoji, bullets and full-width brackets.
    (f"\U0001f4e7{ADA}", ""),
    (f"\u2709\ufe0f {ADA}", ""),
    (f"\u25aa{ADA}", ""),
    (f"\uf0b7\t{ADA}", ""),
    (f"\u27a4 Ada Lee {ADA}", "Ada Lee"),
    (f"\uff08{ADA}\uff09", ""),
    (f"Ada Lee\uff1c{ADA}\uff1e", "Ada Lee"),
    (f"\u3010{ADA}\u3011", ""),
    (f"{ADA}\u060c Ada", "Ada"),
    # Prefixes of chats and directories.
    (f"[12:03, 28/11/2026] Ada Lee: {ADA}", "Ada Lee"),
    (f"\u200e[28.11.26, 12:03:04] Ada Lee: {ADA}", "Ada Lee"),
    (f"28/11/2026, 12:03 - Ada Lee: {ADA}", "Ada Lee"),
    (f"[10:00\u202fAM] Ada Lee: {ADA}", "Ada Lee"),
    (f"[10:03, 28/11/2026] +49 170 123: {ADA}", ""),
    (f"SMTP:{ADA}", ""),
    (f"sip:{ADA}", ""),
    (f"E-Mail:{ADA}", ""),
    (f"mailto://{ADA}", ""),
    (f"<{ADA}> Ada Lee", "Ada Lee"),
    (f"Ada Lee <{ADA}> a > b", "Ada Lee"),
    (f"Ada Lee <{ADA}>, {ADA}", "Ada Lee"),
    (f"Ann Lee {ADA}", "Ann Lee"),
    (f"[10:00] Ada Lee 11:00 {ADA}", "Ada Lee 11:00"),
    # Marks around the address.
    (f"{'*' * 16}{ADA}{'*' * 16}", ""),
    (f"_**{ADA}**_", ""),
    (f"..{ADA}", ""),
    (f"\uf0b7{ADA}", ""),
    (f"\uf0b7 Ada Lee {ADA}", "Ada Lee"),
]

MALFORMED = [
    *(f"jane@example,{end}" for end in ("com", "org", "net", "edu", "gov", "mil", "int", "info")),
    *("jane@example,biz", "jane@example,name", "jane@example,example"),
    *("jane@mail,example.org", "jane@example;org", "jane@example .org"),
    *("jane@example org", "jane@mail.example,org", "jane@example.co,uk", "jane@@example.org"),
    *("jane@ example.org", "jane @example.org", "jane@", "@example.org", "@jane", "a@b@c.org"),
    *("jane@example..org", "jane.@example.org", "jane\uff20example.org", "j\ufe6bexample.org"),
    *("o\u2019brien@example.org", "j\u0430ne@example.org", "jane@example.invalid"),
    *("jane@example.org .de", "jane@example.org, .de", "jane@example.org,com.au", "jane@lab,xy"),
    *("jane@lab,exam-ple.org", "j.doe@lab org", "jane@lab,x.y", "jane@lab,1x.2", "j@Lab,Ex.Org"),
    *("JANE@EXAMPLE,ORG", "Jane@Example,Org", "JANE@EXAMPLE.ORG,DE", "JANE@MAIL.EXAMPLE,ORG"),
    *("jane@exa_mple.org", "jane(work)@example.org", "<jane@example,org>", "a@b.org/c@d.org"),
    "Jane <jane@example,org>",
    "Jane <jane doe@example.org>",
    "Jane <jane @example.org>",
    "\uff20",
]


@pytest.mark.parametrize(("line", "name"), VALID)
def test_lines_of_other_programs_are_read(line: str, name: str | None) -> None:
    email = ADA if name is not None else "ada+lab@example.org"
    assert read_people(line, 200) == [PastedPerson(line.strip(), email, name or "")]


@pytest.mark.parametrize("line", MALFORMED)
def test_malformed_address_is_reported_and_never_cut(line: str) -> None:
    people = read_people(line, 200)
    assert people
    assert not any(person.email for person in people)
    assert all(person.fault.endswith(".") and person.fault != NONE for person in people)


@pytest.mark.parametrize(
    ("after", "name"),
    [
        *(
            (".org de", "de"),
            (".org,De", "De"),
            (".org,DE", "DE"),
            (".org,xyz", "xyz"),
            (".org,x-y.com", "x-y.com"),
        ),
        *((".org,d1", "d1"), (".org,12", ""), (".org, .", ""), (",xyz", "xyz"), (",c-d", "c-d")),
        *(("(org)", "org"), ('"org"', "org"), (",\u00e9x.org", "\u00e9x.org"), (",-.-", "")),
        *((",De", "De"), (" J. Lee", "J. Lee"), (", Dr. Lee", "Dr. Lee")),
    ],
)
def test_name_after_an_address_is_no_part_of_its_domain(after: str, name: str) -> None:
    assert names_of(f"jane@example{after}") == [
        (f"jane@example{'.org' * after.startswith('.')}", name)
    ]


@pytest.mark.parametrize(
    ("malformed", "fault"),
    [
        ("jane@", "The part after the @ is missing."),
        ("j\u0430ne@example.org", "The address mixes letters of several scripts."),
        ("jane@example,org", "A comma or a space may stand where a dot belongs."),
        ("jane do@example.org", "A comma or a space may stand where a dot belongs."),
    ],
)
def test_malformed_address_of_several_is_returned_as_it_was(malformed: str, fault: str) -> None:
    line = f"<{malformed}>" if " " in malformed else malformed
    assert read_people(f"{line}; joe@; {ADA}", 200) == [
        PastedPerson(malformed, "", "", fault),
        PastedPerson("joe@", "", "", "The part after the @ is missing."),
        PastedPerson(ADA, ADA, ""),
    ]


@pytest.mark.parametrize("email", ["Xan@example.boX", "\u00fclle@example.org", "#ada@example.org"])
def test_characters_of_an_address_are_no_marks_around_it(email: str) -> None:
    assert read_people(email, 200) == [PastedPerson(email, email, "")]


@pytest.mark.parametrize("line", ["Xaver", "Name;E-mail", "ada(at)example.org", "-"])
def test_line_without_an_address_is_reported(line: str) -> None:
    fault = "This line contains no e-mail address."
    assert read_people(line, 200) == [PastedPerson(line, "", "", fault)]


@pytest.mark.parametrize("text", ["", " \n\t\n", "\ufeff\n\u200b", "\u3000"])
def test_invisible_lines_are_ignored(text: str) -> None:
    assert read_people(text, 200) == []


def names_of(text: str) -> list[tuple[str, str]]:
    return [(person.email, person.name) for person in read_people(text, 200)]


def emails_of(text: str) -> list[str]:
    return [person.email for person in read_people(text, 200)]


def test_several_people_in_a_line_keep_their_names() -> None:
    line = 'Ada Lee <ada@example.org>, "Hopper, Grace" <grace@example.org>; joan@example.org'
    expected = {"ada@example.org": "Ada Lee", "grace@example.org": "Hopper, Grace"}
    assert names_of(line) == [*expected.items(), ("joan@example.org", "")]


def test_returned_texts_give_the_same_result_again() -> None:
    line = "Ada Lee <ada@example.org>, jane@example,org, Grace <grace@example.org>"
    people = read_people(line, 200)
    again = read_people("\n".join(person.text for person in people), 200)
    assert [person[1:] for person in again] == [person[1:] for person in people]
    assert emails_of(line) == ["ada@example.org", "", "grace@example.org"]


def test_two_spellings_of_a_mailbox_in_a_line_are_one_person() -> None:
    line = "[Ada](mailto:ADA@xn--mnchen-3ya.example) ada@m\u00fcnchen.example"
    ((_, name),) = names_of(line)
    assert name == "Ada"


def test_address_with_a_space_is_reported() -> None:
    line = "Ada <ada@example.org>, Jane <jane doe@example.org>"
    assert names_of(line) == [("ada@example.org", "Ada"), ("", "Jane")]


def test_numeric_local_part_is_not_taken_for_a_time() -> None:
    assert emails_of("12.34@example.org") == ["12.34@example.org"]


def test_domain_keeps_its_joiners() -> None:
    domain = "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example"
    assert emails_of(f"\u200ba\u200bda@{domain}\u200e") == [f"ada@{domain}"]
    assert emails_of(f"ada@{domain.replace('.', chr(0x200B) + '.')}") == [f"ada@{domain}"]
    assert emails_of("ada@exam\u200cple.org") == ["ada@example.org"]


@pytest.mark.parametrize("separator", ["; ", ", ", ";"])
def test_all_recipients_in_one_line_are_read(separator: str) -> None:
    emails = [f"Xan{number}@example.org" for number in range(40)]
    people = read_people(separator.join(f"Lee, Ada <{email}>" for email in emails), 200)
    assert [person[1:] for person in people] == [(email, "Lee, Ada", "") for email in emails]
    assert emails_of(separator.join(emails)) == emails


def test_long_line_assigns_no_wrong_names() -> None:
    line = ", ".join(f"ada{number}@example.org, Ada {number}" for number in range(40))
    people = read_people(line, 200)
    assert len(people) == len({person.email for person in people}) == 40
    again = read_people("\n".join(person.text for person in people), 200)
    assert {person.name for person in people + again} == {""}


def test_long_line_cuts_no_address() -> None:
    for separator, template in ((", ", "jane{}@example,org"), ("; ", "Jane <jane{}@example;org>")):
        line = separator.join(template.format(number) for number in range(40))
        assert set(emails_of(line)) == {""}


def test_too_long_line_is_reported() -> None:
    (person,) = read_people("x" * 500 + " ada@example.org", 200)
    assert (*person[1:], len(person.text)) == ("", "", "This line is too long.", 500)


def test_too_long_name_is_reported() -> None:
    (person,) = read_people("ada@example.org " + "x" * 101, 200)
    assert person.fault == "The name is too long."
    (person,) = read_people("ada@example.org " + "x" * 100, 200)
    assert person.fault == ""


@given(st.text(st.sampled_from("a@.,;<>()[]\"' \n|:*_\u200b\u201c-/?&="), max_size=120))
def test_any_text_gives_only_valid_addresses(text: str) -> None:
    for person in read_people(text, 200):
        assert bool(person.email) != (person.fault not in {"", "The name is too long."})
        assert not person.email or not address_error(person.email)


@pytest.mark.parametrize(
    "unit", ["a", "@", ".", ",", " ", "0", "<", "a@b.c,", "&lt;", "a@b\n", "<a@b>"]
)
def test_long_list_is_read_quickly(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    start = time.process_time()
    read_people(text, 200)
    assert time.process_time() - start < 0.2


@pytest.mark.skipif(not CASES.exists(), reason="the collected cases are missing")
def test_collected_cases_are_read() -> None:
    lines = CASES.read_text(encoding="utf-8").splitlines()
    results = [read_people(line, 200) for line in lines]
    valid = [[person.email for person in people if not person.fault] for people in results]
    assert [len(emails) for emails in valid[:18]] == [1] * 18
    assert valid[18:] == [[], [], []]
    assert all(people[0].fault for people in results[18:])


@pytest.mark.parametrize("spaces", [0, 1])
def test_part_of_a_long_line_is_split_only_if_it_is_too_long(spaces: int) -> None:
    part = 'bob@example.org "Lee, Ada" <ada@example.org>,'
    part = part.replace(' "', " " * (LINE_MAX + 1 - len(part) + spaces) + '"')
    assert len(part) == LINE_MAX + spaces
    people = read_people(f"{part} Cy <cy@example.org>,", 200)
    names = {person.email: person.name for person in people}
    assert names == {
        "bob@example.org": "",
        "ada@example.org": "Ada" if spaces else "Lee, Ada",
        "cy@example.org": "Cy",
    }
    assert people[-1].text == "Cy <cy@example.org>"


def test_line_of_the_maximum_length_is_read_as_a_whole() -> None:
    line = f"Ada{' ' * (LINE_MAX - len(ADA) - 3)}{ADA}"
    assert read_people(line, 200) == [PastedPerson(line, ADA, "Ada")]


def test_reading_stops_after_the_first_person_too_many() -> None:
    lines = "\n".join(f"ada{number}@example.org" for number in range(5))
    assert [len(read_people(lines, most)) for most in (1, 3, 4, 5)] == [2, 4, 5, 5]


def test_texts_of_several_people_of_a_line_can_be_read_again() -> None:
    people = read_people(f"bob@example.org, Ada Lee <{ADA}>, Ada <1> cy@example.org", 200)
    texts = [person.text for person in people]
    assert texts == ["bob@example.org", f"Ada Lee <{ADA}>", "Ada 1 <cy@example.org>"]
    assert [read_people(text, 200) for text in texts] == [[person] for person in people]
