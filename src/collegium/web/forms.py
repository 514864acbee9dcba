"""What a form has sent: read field by field, every error kept for its field."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from io import BytesIO
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from multipart import MultipartError, MultipartParser, parse_options_header

from collegium.api.request import is_escaped
from collegium.text.email_addresses import MIXED, address_error, canonical_address
from collegium.text.names import clean_name, holds_link, trim
from collegium.web.messages import message_for

if TYPE_CHECKING:
    from collegium.refusals import Refusal

_PARTS: Final = 300
_DATE_MAX: Final = 11
"""One character more than a date has."""

_AROUND: Final = 1000
"""Characters around a name, such as white space, that are taken away without a word."""
WHOLE: Final = ""
"""Where an error goes that is no one field's."""


class Form:
    """The fields of a form, to be shown, or as they were posted.

    Each reader gives the value as far as it can be taken, and notes what is wrong with it;
    ``ok`` tells whether nothing was. A template shows value and error again by the name.

    Args:
        values: name to texts, in the order in which they came.
        files: name to bytes.
    """

    def __init__(
        self, values: dict[str, list[str]] | None = None, files: dict[str, bytes] | None = None
    ) -> None:
        self.values = values or {}
        self.files = files or {}
        self.errors: dict[str, str] = {}

    @classmethod
    def showing(cls, **values: str) -> Form:
        """Make a form that shows these values."""
        return cls({name: [value] for name, value in values.items()})

    @classmethod
    def showing_end(cls, name: str, stored: datetime | None, **values: str) -> Form:
        """Make a form that shows an end as its day, to be read by ``end``."""
        form = cls.showing(**values)
        form.show_end(name, stored)
        return form

    @classmethod
    def read(cls, header: str, body: bytes) -> Form:
        """Read a posted body; one that is no form has no fields, and so is refused as stale."""
        kind, options = parse_options_header(header)  # type: ignore[no-untyped-call]
        try:
            if kind == "application/x-www-form-urlencoded":
                return cls(_pairs(body))
            if kind == "multipart/form-data":
                return cls(*_parts(body, options.get("boundary", "")))
        except (MultipartError, ValueError, LookupError):
            pass
        return cls()

    @property
    def is_valid(self) -> bool:
        """Tell whether nothing was wrong so far."""
        return not self.errors

    def show_end(self, name: str, stored: datetime | None) -> None:
        """Show an end as ``showing_end`` does, unless the form was posted with one."""
        for one in (name, f"{name}_shown"):
            self.values.setdefault(one, [_day(stored)])

    def raw(self, name: str) -> str:
        """Give a field as it came; empty when it did not."""
        return self.values.get(name, [""])[0]

    def many(self, name: str) -> list[str]:
        """Give all values of a field, for boxes that may be ticked together."""
        return self.values.get(name, [])

    def flag(self, name: str) -> bool:
        """Tell whether a box is ticked."""
        return bool(self.raw(name))

    def text(
        self,
        name: str,
        most: int,
        *,
        required: bool = False,
        strip: bool = True,
        lines: bool = False,
    ) -> str:
        """Read a text.

        Args:
            most: characters that it may have.
            lines: whether it may have several.
        """
        text = self.raw(name).replace("\r\n", "\n")
        if strip:
            text = text.strip()
        if not text and required:
            self.add_error(name, "Please fill this in.")
        if len(text) > most:
            self.add_error(name, f"This is too long: at most {most} characters.")
        # What is beyond the length is not examined.
        if any(sign < " " and not (lines and sign in "\n\t") for sign in text[:most]):
            self.add_error(name, "This has signs in it that cannot be kept. Please type it anew.")
        return text

    def pasted(self, name: str, most: int) -> str:
        """Read what was copied from another program, whatever controls came with it.

        Args:
            most: characters that it may have.
        """
        text = self.raw(name)
        if len(text) > most:
            self.add_error(name, f"This is too long: at most {most} characters.")
        elif "\0" in text:
            self.add_error(name, "This has signs in it that cannot be kept. Please type it anew.")
        elif not trim(text):
            self.add_error(name, "Please fill this in.")
        return text

    def lines(self, name: str, most: int, many: int) -> list[str]:
        """Read texts, one in each line; the same one only once.

        Args:
            most: characters that a line may have.
            many: lines that there may be.
        """
        text = self.text(name, (most + 1) * many, lines=True)
        found = list(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))
        if len(found) > many:
            self.add_error(name, f"These are too many: at most {many} lines.")
        if any(len(line) > most for line in found):
            self.add_error(name, f"A line is too long: at most {most} characters.")
        return found

    def email(self, name: str) -> str:
        """Read an e-mail address."""
        text = canonical_address(trim(self.text(name, 320, required=True)))
        if name not in self.errors:
            fault = address_error(text)
            if fault == MIXED:
                self.add_error(name, "This address mixes alphabets. Please type it anew.")
            elif fault:
                self.add_error(
                    name, "This is not an e-mail address. It looks like name@example.org."
                )
        return text

    def name(self, name: str, most: int, *, required: bool = False) -> str:
        """Read the name of somebody or something, without what cannot be seen.

        Args:
            most: characters that it may have.
        """
        raw = self.raw(name)
        if len(raw) > most + _AROUND:
            self.add_error(name, f"This is too long: at most {most} characters.")
            return raw
        text = clean_name(raw)
        if "\0" in text:
            self.add_error(name, "This has signs in it that cannot be kept. Please type it anew.")
        elif not text and (required or raw.strip()):
            said = "Please fill this in." if not raw.strip() else "Nothing of this can be seen."
            self.add_error(name, said)
        if len(text) > most:
            self.add_error(name, f"This is too long: at most {most} characters.")
        if holds_link(text[:most]):
            self.add_error(name, "A name cannot have a web address in it.")
        return text

    def date(self, name: str) -> date | None:
        """Read a day; None when the field is empty."""
        text = self.raw(name).strip()
        if not text:
            return None
        try:
            return date.fromisoformat(text[:_DATE_MAX])
        except ValueError:
            self.add_error(name, "This is not a date. Please write it like 2026-12-31.")
            return None

    def end(self, name: str, stored: datetime | None = None) -> datetime | None:
        """Read a last day and return the end of it; None when the field is empty.

        A form shows an end as its day. The day that it showed means the end that is stored, at
        whatever time of that day, also when another one was stored meanwhile.

        Args:
            stored: the end as it is now.
        """
        last = self.date(name)
        day = last.isoformat() if last else ""
        shown = self.values.get(f"{name}_shown")
        if name not in self.errors and day == (shown[0] if shown else _day(stored)):
            return stored
        return None if last is None else datetime.combine(last, time(23, 59, 59), UTC)

    def choice(self, name: str, *known: str) -> str:
        """Read one of some words; anything else could only come from elsewhere."""
        text = self.raw(name)
        if text not in known:
            self.add_error(name, "Please choose one of these.")
            return known[0]
        return text

    def add_error(self, name: str, sentence: str) -> None:
        """Add what is wrong with a field; ``WHOLE`` for what is no one field's."""
        told = self.errors.get(name, "")
        if sentence not in told:
            self.errors[name] = f"{told} {sentence}".strip()

    def add_refusal(self, refusal: Refusal) -> None:
        """Say what a rule has refused, at its field where the form has it."""
        where = str(refusal.facts.get("field", WHOLE))
        self.add_error(where if where in self.values else WHOLE, message_for(refusal))


def _day(at: datetime | None) -> str:
    return at.astimezone(UTC).date().isoformat() if at else ""


def _pairs(body: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if is_escaped(body):
        raise ValueError
    text = body.decode("ascii")
    for name, value in parse_qsl(
        text, keep_blank_values=True, errors="strict", max_num_fields=_PARTS
    ):
        found.setdefault(name, []).append(value)
    return found


def _parts(body: bytes, boundary: str) -> tuple[dict[str, list[str]], dict[str, bytes]]:
    found: dict[str, list[str]] = {}
    files: dict[str, bytes] = {}
    parts = MultipartParser(  # type: ignore[no-untyped-call]
        BytesIO(body), boundary, len(body), part_limit=_PARTS, spool_limit=len(body) + 1
    )
    for part in parts:
        if part.filename is not None:
            files[part.name] = part.raw
        else:
            # Browsers write UTF-8; in other encodings half a character can be written.
            found.setdefault(part.name, []).append(part.raw.decode("utf-8"))
    return found, files
