"""E-mail addresses: syntax checks, and a comparable form in which one mailbox is one text."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

import idna
from email_validator import validate_email

from collegium.text.confusables import HIDDEN, is_single_script

ADDRESS_MAX: Final = 254
"""Maximum number of octets of an address (RFC 5321 4.5.3.1.3, errata 1690)."""

MIXED: Final = "The address mixes letters of several scripts."
"""The only error that is not about syntax: letters that imitate those of another script."""

_DOMAIN_MAX: Final = 253
_LABEL_MAX: Final = 63
_COMPARED_MAX: Final = 320
_DOMAIN_CHAR: Final = re.compile(r"[0-9A-Za-z.-]")
_DOT_ATOM: Final = re.compile(
    r"(?=.{1,64}\Z)[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII
)
"""The usual local part (RFC 5321 4.1.2, 4.5.3.1.1)."""

_AT_SIGNS: Final = "\uff20\ufe6b"
_ASCII_EQUIVALENTS: Final = re.compile("([\u212a\u037e\u1fef])")
"""The characters whose canonical form is an ASCII character.

They are the Kelvin sign, the Greek question mark and the Greek varia.
"""


def comparable_address(address: str) -> str:
    """Return the form of an address in which equal texts mean the same mailbox.

    All code compares addresses by equality of this form, and stores it where SQL compares; no
    database folds addresses. The local part is in NFC and lower-cased letter by letter, each to
    exactly one letter. The domain is the lower-case A-label of IDNA 2008, without the mappings of
    UTS 46. A text that is not ASCII never equals an ASCII text, except a domain and its A-label. A
    domain that IDNA does not allow is compared like a local part. The function is idempotent.

    Args:
        address: any text. A text that is no address, or too long for one, equals only itself.
    """
    if address.isascii():
        return address.lower()
    if len(address) > _COMPARED_MAX:
        return address
    return _comparable(address)


def canonical_address(text: str) -> str:
    """Return an address as it is stored: as written, in NFC (RFC 6532 3.1).

    Characters whose canonical form is ASCII stay unchanged.
    """
    return "".join(
        part if _ASCII_EQUIVALENTS.fullmatch(part) else unicodedata.normalize("NFC", part)
        for part in _ASCII_EQUIVALENTS.split(text)
    )


def same_mailbox(one: str, other: str) -> bool:
    """Return whether two addresses are the same mailbox. An empty address equals no other."""
    return bool(one) and comparable_address(one) == comparable_address(other)


@lru_cache(maxsize=1024)
def ascii_domain(domain: str) -> str:
    """Return the domain of an address as mail servers know it: lower-case A-labels.

    Raises:
        ValueError: this is no domain. The message is a sentence for the user.
    """
    if not domain or len(domain) > _DOMAIN_MAX:
        message = (
            "The part after the @ is too long." if domain else "The part after the @ is missing."
        )
        raise ValueError(message)
    labels = lower_letters(domain).split(".")
    if not all(labels):
        message = "The part after the @ has a dot at its start or end, or two dots in a row."
        raise ValueError(message)
    bad_char = next(
        (char for char in domain if char.isascii() and not _DOMAIN_CHAR.match(char)), None
    )
    if bad_char is not None:
        shown = f'"{bad_char}"' if bad_char.isprintable() else "a control character"
        shown = "a space" if bad_char == " " else shown
        message = f"A domain cannot contain {shown}."
        raise ValueError(message)
    _check_bidi(labels)
    return ".".join(map(_ascii_label, labels))


def address_error(address: str) -> str:
    """Return what is wrong with an address, as a sentence; "" if nothing is.

    Only the syntax is checked, not whether e-mail arrives. A single label, ``.local``, ``.test``
    and ``home.arpa`` are valid domains. ``.invalid`` is not (RFC 6761 6.4).
    """
    # Check the length first, because the time of the other checks grows with it.
    if len(address) > ADDRESS_MAX or len(address.encode(errors="replace")) > ADDRESS_MAX:
        return f"The address is too long (maximum {ADDRESS_MAX} characters)."
    local, at, domain = address.rpartition("@")
    try:
        if not at:
            _raise_without_at(address)
        domain = ascii_domain(domain)
        _check_host(domain)
        _check_local(local)
    except ValueError as error:
        return str(error)
    if len(f"{local}@{domain}".encode()) > ADDRESS_MAX:
        return f"The address is too long (maximum {ADDRESS_MAX} characters)."
    return "" if is_single_script_address(address) else MIXED


def is_single_script_address(address: str) -> bool:
    """Return whether an address has no letters that imitate those of another script."""
    return is_single_script(canonical_address(address))


def spellings(address: str) -> tuple[str, ...]:
    """Return the spellings by which an address is searched.

    They are the address as written, with A-labels and with U-labels. Each is lower-cased letter by
    letter. Equal spellings are returned once.
    """
    written, comparable = lower_letters(address), comparable_address(address)
    local, at, domain = comparable.rpartition("@")
    if "xn--" not in domain:
        return tuple(dict.fromkeys((written, comparable)))
    unicode_domain = ".".join(map(_unicode_label, domain.split(".")))
    return tuple(dict.fromkeys((written, comparable, local + at + unicode_domain)))


def lower_letters(text: str) -> str:
    """Return a text in NFC and lower-cased letter by letter.

    No letter becomes ASCII or more than one letter.
    """
    if text.isascii():
        return text.lower()
    # Normalise again: some capitals have no composed form although their small letters do, such as
    # U+1E96.
    return canonical_address("".join(map(_lower_letter, canonical_address(text))))


@lru_cache(maxsize=1024)
def _comparable(address: str) -> str:
    local, at, domain = address.rpartition("@")
    labels = (_comparable_label(label) for label in lower_letters(domain).split("."))
    return lower_letters(local) + at + ".".join(labels)


def _comparable_label(label: str) -> str:
    try:
        return _ascii_label(label)
    except ValueError:
        return label


def _unicode_label(label: str) -> str:
    try:
        return idna.ulabel(label)
    except (idna.IDNAError, UnicodeError):
        return label


def _lower_letter(letter: str) -> str:
    lowered = letter.lower()
    if len(lowered) != 1 or (lowered.isascii() and not letter.isascii()):
        return letter
    return lowered


def _ascii_label(label: str) -> str:
    if len(label) > _LABEL_MAX:
        message = "The part after the @ has too many characters without a dot."
        raise ValueError(message)
    if label.isascii():
        return label
    try:
        return idna.alabel(label).decode()
    except (idna.IDNAError, UnicodeError):
        message = "The part after the @ is not a domain name."
        raise ValueError(message) from None


def _check_bidi(labels: list[str]) -> None:
    """Raise ValueError for an invalid label, or for misleading reading directions (RFC 5893)."""
    try:
        shown = [idna.ulabel(label) for label in labels]
        # A label with Arabic digits has Arabic letters, or is refused by itself.
        directions = {unicodedata.bidirectional(char) for label in shown for char in label}
        if not directions.isdisjoint({"R", "AL"}):
            for label in shown:
                idna.check_bidi(label, check_ltr=True)
    except (idna.IDNAError, UnicodeError):
        message = "The part after the @ is not a domain name."
        raise ValueError(message) from None


def _raise_without_at(address: str) -> None:
    message = "An e-mail address must contain an @."
    if any(char in address for char in _AT_SIGNS):
        message = "The address contains a character that only looks like an @."
    raise ValueError(message)


def _check_local(local: str) -> None:
    """Raise ValueError if a text is no valid local part (RFC 5321 4.1.2, RFC 6531 3.3)."""
    if not local:
        message = "The part before the @ is missing."
        raise ValueError(message)
    if "@" in local:
        message = "An e-mail address can contain only one @."
        raise ValueError(message)
    if not local.isascii() and HIDDEN.search(local):
        # Two mailboxes would look alike, for instance with variation selectors.
        message = "The part before the @ contains an invisible character."
        raise ValueError(message)
    if _DOT_ATOM.fullmatch(local):
        return  # the library takes ten times as long for what nearly all addresses are
    # The domain is checked by our own code, so the library checks only the local part.
    validate_email(f"{local}@example.org", check_deliverability=False)


def _check_host(domain: str) -> None:
    """Raise ValueError for a domain that no host can have: too long, a number, or reserved."""
    if len(domain) > _DOMAIN_MAX:
        message = "The part after the @ is too long."
        raise ValueError(message)
    last = domain.rpartition(".")[2]
    if last.isdigit():
        message = "The part after the @ ends with a number."
        raise ValueError(message)
    if last == "invalid":
        message = "Domains that end with .invalid cannot receive e-mail."
        raise ValueError(message)
