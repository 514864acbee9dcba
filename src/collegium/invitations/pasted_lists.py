"""Parser for pasted lists of people from spreadsheets, mail programs, chats and web pages.

A line is split at characters that no address contains, and each part with an @ is validated. A
part that is not an address is returned with the reason. Nothing is ever shortened until it is
valid: the mailbox `jane@example` does not belong to the person meant by `jane@example,org`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote

from collegium.text.email_addresses import (
    MIXED,
    address_error,
    ascii_domain,
    canonical_address,
    comparable_address,
)
from collegium.text.names import clean_name, holds_link, remove_hidden, trim, without_controls

LINE_MAX: Final = 500
"""Maximum characters of a line. A longer line is read in parts, each with this maximum."""
NAME_MAX: Final = 100

NONE: Final = "This line contains no e-mail address."
TOO_LONG: Final = "This line is too long."
_SPLIT_DOMAIN: Final = "A comma or a space may stand where a dot belongs."
_TYPOGRAPHIC_QUOTE: Final = "The address contains a typographic quotation mark."

_SEPARATORS: Final = (
    '\\s,;|<>()\\[\\]{}"\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a`\u3001\uff0c\uff1b'
    "\u060c\u061b\u3008-\u3011\u3014-\u301b\uff08\uff09\uff1c\uff1e\uff3b\uff3d\uff5b\uff5c\uff5d"
)
_SPLIT: Final = re.compile(f"([{_SEPARATORS}]+)")
_INSTEAD_OF_DOT: Final = re.compile("[ ,;\u3001\uff0c\uff1b|]+")
AT_SIGNS: Final = "@\uff20\ufe6b"
_ENTITY: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")
_LEADING_PUNCTUATION: Final = "'.:!?="
_TRAILING_PUNCTUATION: Final = "'.:!?/\\"
_AROUND_NAMES: Final = " ,;:|'\u2018\u2019\u201a\u201b\"\u2022\u00b7\u2013\u2014-*=/\\_"
_MARKUP: Final = frozenset("*_~")
_QUOTES: Final = "\u2018\u2019\u201a\u201b\u2032\u00b4"
_MAILTO: Final = "mailto:"
_SCHEME: Final = re.compile(r"(?:(mailto)|smtp|sip|e-?mail|mail)[:\uff1a](?://)?", re.IGNORECASE)
_TIME_PATTERN: Final = r"\d{1,4}[./:-]\d{1,2}(?:[./:-]\d{1,4})?"
_CHAT_TIMESTAMP: Final = re.compile(
    rf"\[?{_TIME_PATTERN}(?:,?\s+{_TIME_PATTERN})?(?:\s?[AaPp]\.?[Mm]\.?)?(?:\]|(?=\s))\s*[-\u2013]?\s*"
)
"""The time of a chat message, which precedes the name of its author."""

_JOINERS: Final = "\u200c\u200d"
_AFTER_BRACKET: Final = re.compile(r"(?<=>[,;])")
_AFTER_SEPARATOR: Final = re.compile(r"(?<=[,;])")
_SEPARATORS_AROUND: Final = " ,;\t"
_NUMBERING: Final = re.compile(r"\d{1,4}[.)]?")
_LABELS: Final = frozenset(
    {"to", "cc", "bcc", "from", "email", "e-mail", "mail", "address", "an", "von"}
)
_TOP_LEVEL_DOMAINS: Final = frozenset(
    {"com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "example"}
)
_TAG: Final = re.compile(r"/?[A-Za-z][A-Za-z0-9]*(?:/?\Z|\s[^@]*(?:=|\Z))")


class PastedPerson(NamedTuple):
    """A person of a pasted list, or a part that was not understood, with the reason.

    Args:
        text: the original text, which the form shows again.
        email: the address as it was written; empty if there is none.
        name: the name beside the address; empty if there is none.
        fault: the reason why the part cannot be used; empty if there is none.
    """

    text: str
    email: str
    name: str
    fault: str = ""


class _Part(NamedTuple):
    """A part of a line, the separators after it, and the next part."""

    text: str
    separators: str
    following: str


def read_people(text: str, max_people: int) -> list[PastedPerson]:
    """Return the people of a pasted text in its order, and the parts that name nobody.

    The time is linear in the length of the text.

    Args:
        text: of bounded length.
        max_people: reading stops once more people than this are found.
    """
    people: list[PastedPerson] = []
    for line in text.splitlines():
        for part in _read_parts(line.strip()):
            people += part
            if len(people) > max_people:
                return people
    return people


def _read_parts(line: str) -> Iterator[list[PastedPerson]]:
    """Read a line, a long one in parts: mail programs put all recipients into one line."""
    if len(line) <= LINE_MAX:
        yield _read_line(line)
        return
    for part in _split_long_line(line):
        people = _read_line(part.strip(_SEPARATORS_AROUND))
        # Without brackets it is unknown whether a name belongs to the address before or after it.
        # The names are dropped.
        yield people if "<" in part else [_drop_name(person) for person in people]


def _split_long_line(line: str) -> Iterator[str]:
    """Split a long line after brackets, or before each address if a part is still too long.

    The text after an address may belong to it, so it stays with the address before it.
    """
    for part in _AFTER_BRACKET.split(line):
        pending, has_pending_address = "", False
        for piece in _AFTER_SEPARATOR.split(part) if len(part) > LINE_MAX else (part,):
            has_address = any(char in piece for char in AT_SIGNS)
            if has_address and has_pending_address:
                yield pending
                pending = ""
            pending += piece
            has_pending_address = has_pending_address or has_address
        yield pending


def _drop_name(person: PastedPerson) -> PastedPerson:
    return person._replace(text=person.email, name="") if person.email else person


def _read_line(line: str) -> list[PastedPerson]:
    if len(line) > LINE_MAX:
        return [PastedPerson(line[:LINE_MAX], "", "", TOO_LONG)]
    plain = without_controls(_ENTITY.sub(lambda match: html.unescape(match[0]), line))
    if not remove_hidden(plain).strip():
        return []
    plain = _CHAT_TIMESTAMP.sub("", trim(plain), count=1)
    people = _merge_same_mailboxes(_parse_people(plain))
    if not people:
        return [PastedPerson(line, "", "", NONE)]
    if len(people) == 1:
        # The whole line is kept, so that the user can correct it in its place.
        return [people[0]._replace(text=line)]
    return [_with_own_text(person) for person in people]


def _with_own_text(person: PastedPerson) -> PastedPerson:
    """Return one of several people of a line with a text of its own that can be parsed again."""
    return (
        person._replace(text=f"{person.name} <{person.email}>")
        if person.email and person.name
        else person
    )


def _parse_people(line: str) -> list[PastedPerson]:
    """Read names before addresses in angle brackets, and everything else part by part."""
    people: list[PastedPerson] = []
    pending, *rest = line.split("<")
    for part in rest:
        inside, closes, after = part.partition(">")
        if closes and _is_one_address(inside):
            named, name = _parse_plain_text(pending)
            people += named
            bracketed, remainder = _parse_plain_text(inside)
            if remainder and bracketed[0].email:
                people.append(PastedPerson(inside, "", name, _SPLIT_DOMAIN))
            else:
                people += [person._replace(name=name) for person in bracketed]
            pending = after
        elif closes and _TAG.match(inside):
            # In an HTML tag only the address that it links to is useful.
            links = [word for word in re.split(r"[\s\"'=]+", inside) if _MAILTO in word.lower()]
            pending = " ".join([pending, *links, after])
        else:
            pending = f"{pending} {inside} {after}"
    named, name = _parse_plain_text(pending)
    named = _merge_same_mailboxes(named)
    if len(named) == 1 and not named[0].name:
        named = [named[0]._replace(name=name)]
    elif not named and name and len(people) == 1 and not people[0].name:
        people = [people[0]._replace(name=name)]
    return people + named


def _is_one_address(inside: str) -> bool:
    return any(char in inside for char in AT_SIGNS) and not _TAG.match(inside)


def _parse_plain_text(text: str) -> tuple[list[PastedPerson], str]:
    """Return the people in a text without angle brackets, and the remaining text as a name."""
    pieces = _SPLIT.split(f"{text} ")  # so that separators follow the last part too
    parts = map(_Part, pieces[::2], pieces[1::2], pieces[2::2])
    people: list[PastedPerson] = []
    words: list[_Part] = []
    for part in parts:
        if any(char in part.text for char in AT_SIGNS):
            person = _parse_person(part)
            people.append(person)
            if person.fault == _SPLIT_DOMAIN:
                next(parts)
        else:
            words.append(part)
    return people, _join_name(words)


def _parse_person(part: _Part) -> PastedPerson:
    email = canonical_address(_without_marks(_without_hidden(part.text)))
    fault = address_error(email)
    if not fault and _is_domain_split(email, part):
        return PastedPerson("".join(part), "", "", _SPLIT_DOMAIN)
    if not fault and any(char in email for char in _QUOTES):
        fault = _TYPOGRAPHIC_QUOTE
    if fault == MIXED:
        fault = "The address mixes letters of several scripts."
    if fault:
        return PastedPerson(part.text, "", "", fault)
    return PastedPerson(part.text, email, "")


def _without_hidden(text: str) -> str:
    """Remove invisible characters, except joiners that a domain may contain (RFC 5892 A.1, A.2)."""
    local, at, domain = text.rpartition("@")
    cleaned = "".join(char if char in _JOINERS else remove_hidden(char) for char in domain)
    try:
        ascii_domain(_without_end(cleaned))
    except ValueError:
        return remove_hidden(text)
    return remove_hidden(local) + at + cleaned


def _without_marks(text: str) -> str:
    """Remove punctuation and markup around an address in running text."""
    text = _without_start(text)
    while text[:1] in _MARKUP and text[-1] == text[0]:
        text = text[1:-1]
    text = _without_start(text)
    if scheme := _SCHEME.match(text):
        text = text[scheme.end() :]
        if scheme[1]:
            text = unquote(text.partition("?")[0])
    return _without_end(text)


def _without_start(text: str) -> str:
    start = 0
    while start < len(text) and (text[start] in _LEADING_PUNCTUATION or _is_mark(text[start])):
        start += 1
    return text[start:]


def _without_end(text: str) -> str:
    end = len(text)
    while end and (text[end - 1] in _TRAILING_PUNCTUATION or _is_mark(text[end - 1])):
        end -= 1
    return text[:end]


def _is_mark(char: str) -> bool:
    """Return whether a character is a bullet, quotation mark or pictograph.

    Word processors use bullets from the private use area.
    """
    return not char.isascii() and unicodedata.category(char).startswith(("P", "S", "Co"))


def _is_domain_split(email: str, part: _Part) -> bool:
    """Return whether the text after an address looks like the rest of its domain.

    Args:
        email: the address, which is valid.
        part: the part of the line that has it.
    """
    rest = _without_end(remove_hidden(part.following))
    if not rest or not _INSTEAD_OF_DOT.fullmatch(part.separators):
        return False
    domain = email.rpartition("@")[2]
    if part.following.startswith("."):
        return True
    if any(char in rest for char in AT_SIGNS):
        return False
    if not (rest.isascii() and rest.replace("-", "").replace(".", "").isalnum()):
        return False
    is_ending = rest.lower().partition(".")[0] in _TOP_LEVEL_DOMAINS
    # Two letters are a country if they are written like the domain. "De" is part of a name.
    cases = (str.lower, str.upper) if domain == domain.upper() else (str.lower,)
    is_country = rest.isalpha() and len(rest) == 2 and rest in [case(rest) for case in cases]  # noqa: PLR2004 - a country code
    if "." in domain:
        return (is_ending or is_country) and not any(char.isspace() for char in part.separators)
    return is_ending or is_country or "." in rest


def _join_name(words: list[_Part]) -> str:
    """Join the words of a name, without labels or numbering before it or punctuation around it."""
    text = ""
    for word in words:
        plain = trim(word.text)
        is_label = plain.endswith(":") and plain[:-1].lower() in _LABELS
        if not text and (is_label or _NUMBERING.fullmatch(plain)):
            continue
        separator = ", " if "," in word.separators and " " in word.separators else " "
        text += plain + separator
    name = clean_name(_without_bullets(text))
    return "" if holds_link(name) or not any(map(str.isalpha, name)) else name


def _without_bullets(text: str) -> str:
    first, last = 0, len(text)
    while first < last and _is_bullet(text[first]):
        first += 1
    while last > first and _is_bullet(text[last - 1]):
        last -= 1
    return text[first:last]


def _is_bullet(char: str) -> bool:
    return char in _AROUND_NAMES or unicodedata.category(char) in {"So", "Co"}


def _merge_same_mailboxes(people: list[PastedPerson]) -> list[PastedPerson]:
    """Merge entries of a line with the same mailbox into one, with the first name among them."""
    by_mailbox: dict[str, PastedPerson] = {}
    for index, person in enumerate(people):
        key = comparable_address(person.email) if person.email else f"\n{index}"
        earlier = by_mailbox.get(key)
        if earlier is None:
            by_mailbox[key] = person
        elif not earlier.name:
            by_mailbox[key] = earlier._replace(name=person.name)
    return [_check_name_length(person) for person in by_mailbox.values()]


def _check_name_length(person: PastedPerson) -> PastedPerson:
    return person._replace(fault="The name is too long.") if len(person.name) > NAME_MAX else person
