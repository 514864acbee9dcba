"""What a list is asked for: query parameters by a table of kinds, all errors at once.

Like ``fields``, for what stands behind the question mark: a table of names and kinds gives the
values for the filters of a ``Listing``. Nothing here knows what a list makes of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from collegium.dialects.http import hex_uuid
from collegium.dialects.waldur.errors import Malformed
from collegium.dialects.waldur.fields import Wrong, instant
from collegium.store.db import part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from collegium.dialects.http import Call

_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}


class Kind:
    """One kind of parameter; with several values the last one counts."""

    def read(self, texts: Sequence[str]) -> Any:
        """Give the value, None to pass the parameter over, or raise ``Wrong``.

        Args:
            texts: all values of the parameter, stripped, empty ones left out; one at least.
        """
        return texts[-1]


class Exact(Kind):
    """A text that is matched as it is."""


class Contains(Kind):
    """A text that ``store.db.contains`` looks for; a ``Filter`` of the store takes it plain."""

    def read(self, texts: Sequence[str]) -> str:
        """Give the pattern that finds the text anywhere."""
        return part(texts[-1])


class Uuid(Kind):
    """A UUID in any form; handed on as 32 hex digits."""

    def read(self, texts: Sequence[str]) -> str:
        """Read a UUID."""
        found = hex_uuid(texts[-1])
        if found is None:
            raise Wrong("Enter a valid UUID.")
        return found


class Since(Kind):
    """The earliest date-time wanted; a space before its offset was a plus sign."""

    def read(self, texts: Sequence[str]) -> Any:
        """Read an ISO 8601 date-time."""
        found = instant(texts[-1])
        if found is None:
            raise Wrong("Enter a valid date/time.")
        return found


class Truth(Kind):
    """A truth value; what is none is passed over."""

    def read(self, texts: Sequence[str]) -> bool | None:
        """Read ``true``, ``false``, ``1`` or ``0``."""
        return _TRUTH.get(texts[-1].lower())


@dataclass(frozen=True)
class Many(Kind):
    """A list: the parameter repeated, a list with commas in it, or both.

    A list of nothing but commas names nobody, so nothing is found.

    Args:
        of: the words there are; None: any.
        commas: whether a comma separates.
    """

    of: Collection[str] | None = None
    commas: bool = True

    def read(self, texts: Sequence[str]) -> list[str]:
        """Read the list, each name once."""
        names = [name for text in texts for name in (text.split(",") if self.commas else [text])]
        names = list(dict.fromkeys(name for name in map(str.strip, names) if name))
        for name in names:
            if self.of is not None and name not in self.of:
                shown = name[:100]
                raise Wrong(f"Select a valid choice. {shown} is not one of the available choices.")
        return names


def read(call: Call, table: Mapping[str, Kind]) -> dict[str, Any]:
    """Read the query by a table of kinds; unknown names and empty values are passed over.

    Refuses: ``Malformed`` with the errors of all parameters.
    """
    values: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for name, kind in table.items():
        texts = [text for text in map(str.strip, call.query.get(name, ())) if text]
        if not texts:
            continue
        try:
            value = kind.read([_storable(text) for text in texts])
        except Wrong as wrong:
            errors[name] = [str(wrong)]
            continue
        if value is not None:
            values[name] = value
    if errors:
        raise Malformed(400, errors)
    return values


def _storable(text: str) -> str:
    """Give the text back, unless no database could hold it."""
    if "\0" in text:
        raise Wrong("Null characters are not allowed.")
    for sign in text:
        if "\ud800" <= sign <= "\udfff":
            raise Wrong(f"Surrogate characters are not allowed: U+{ord(sign):X}.")
    return text
