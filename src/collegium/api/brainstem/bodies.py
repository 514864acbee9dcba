"""Validate JSON bodies against a table of fields; all errors are reported at once.

``read`` is for bodies whose fields are judged by their kind alone, ``read_all`` for those of which
rules refuse values that are right by kind: ``Body.refuse`` adds these refusals.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from collegium import values
from collegium.api import request_bodies
from collegium.api.brainstem.errors import VALUES, field_errors
from collegium.api.request import BadRequestError, RequestContext
from collegium.refusals import Invalid
from collegium.scopes.groups.actions import MemberChange
from collegium.text.names import clean_name, trim, without_controls
from collegium.values import (
    MESSAGES_MAX,
    InvalidValueError,
    Kind,
    Problem,
    Text,
    check_storable,
    invalid,
    parse_fields,
)

_ITEMS_MAX: Final = 1000
_EMAIL_MAX: Final = 320
_FLAGS: Final = ("is_manager", "is_owner", "remove")
_FLAGS_TEXT: Final = ", ".join(_FLAGS)
_NAME_SHOWN_MAX: Final = 64


def _one_line(text: str) -> str:
    """Replace control characters and line breaks by spaces."""
    return " ".join(without_controls(text).split())


@dataclass(frozen=True, kw_only=True)
class Line(Text):
    """A text on one line."""

    def parse(self, raw: Any) -> str:
        """Return the text with control characters and line breaks replaced by spaces."""
        return _one_line(super().parse(raw))


@dataclass(frozen=True, kw_only=True)
class Name(values.Name):
    """The name of a person or a thing, which counts its invisible characters too."""

    def normalise(self, text: str) -> str:
        """Return the name without the white space around it."""
        return text.strip()

    def parse(self, raw: Any) -> str:
        """Return the name without invisible characters."""
        # Unicode normalisation may make the name longer, so it is checked again.
        return self.check(clean_name(_one_line(super().parse(raw))))


@dataclass(frozen=True, kw_only=True)
class WebAddress(Text):
    """The URL of a page; ``http`` is the default scheme."""

    max: int | None = 200

    def parse(self, raw: Any) -> str:
        """Return the URL with its scheme."""
        text = super().parse(raw)
        if not text:
            return text
        if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) or re.match(r"[^/]+:\d", text):
            text = f"http://{text}"
        try:
            parts = urlsplit(text)
            is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            is_valid = False
        if not is_valid or re.search(r"\s", text):
            raise invalid("url")
        return self.check(text)


@dataclass(frozen=True, kw_only=True)
class Projects(Kind):
    """A list of ids or names of projects, which another service keeps."""

    def parse(self, raw: Any) -> list[int | str]:
        """Return the list."""
        if not isinstance(raw, list) or len(raw) > _ITEMS_MAX:
            raise invalid("projects", max=_ITEMS_MAX)
        return values.parse_all(self._parse_project, raw)

    @staticmethod
    def _parse_project(project: Any) -> int | str:
        if (
            isinstance(project, bool)
            or not isinstance(project, (int, str))
            or len(str(project)) > 64  # noqa: PLR2004 - longer than any project name
        ):
            raise invalid("project")
        return check_storable(project) if isinstance(project, str) else project

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array."""
        item = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
        return {"type": "array", "items": item}


@dataclass(frozen=True, kw_only=True)
class People(Kind):
    """Changes to the members of a group: e-mail address to flags, or to ``remove``."""

    def parse(self, raw: Any) -> list[MemberChange]:
        """Return one change per address."""
        if not isinstance(raw, Mapping) or len(raw) > _ITEMS_MAX:
            raise invalid("people", max=_ITEMS_MAX)
        return values.parse_all(self._parse_change, raw.items())

    @staticmethod
    def _parse_change(item: tuple[str, Any]) -> MemberChange:
        email, flags = item
        if len(email) > _EMAIL_MAX or not (email := trim(email)):
            raise invalid("addresses")
        check_storable(email)
        if not isinstance(flags, Mapping):
            raise invalid("flags", email=email)
        problems = [
            # Ignoring a misspelled flag would read it as not set and demote the member.
            Problem("unknown_flag", {"name": _shorten(name), "email": email, "known": _FLAGS_TEXT})
            for name in islice((name for name in flags if name not in _FLAGS), MESSAGES_MAX)
        ]
        problems += [
            Problem("flag", {"name": name, "email": email})
            for name in _FLAGS
            if not isinstance(flags.get(name, False), bool)
        ]
        if flags.get("remove") and (flags.get("is_manager") or flags.get("is_owner")):
            problems.append(Problem("removed_with_role", {"email": email}))
        if problems:
            raise InvalidValueError(*problems)
        return MemberChange(
            email,
            is_manager=flags.get("is_manager", False),
            is_owner=flags.get("is_owner", False),
            removes=flags.get("remove", False),
        )

    def schema(self) -> dict[str, Any]:
        """Return the schema of an object."""
        flags = {
            "type": "object",
            "properties": {name: {"type": "boolean"} for name in _FLAGS},
            "additionalProperties": False,
        }
        return {"type": "object", "additionalProperties": flags}


def _shorten(name: str) -> str:
    return name if len(name) <= _NAME_SHOWN_MAX else f"{name[:_NAME_SHOWN_MAX]}…"


@dataclass(slots=True)
class Body:
    """A validated body: the valid values, and the errors of the other fields."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, refusal: Invalid) -> None:
        """Add the refusal of a rule, so that it is reported together with all other errors."""
        for name, texts in field_errors(refusal).items():
            self.errors.setdefault(name, []).extend(texts)

    def check(self) -> None:
        """Refuse a body that has errors.

        Raises:
            BadRequestError: with the errors of all fields.
        """
        if self.errors:
            raise BadRequestError(self.errors)


def read(
    context: RequestContext,
    table: Mapping[str, Kind],
    *,
    one_of: Sequence[str] = (),
    read_only: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the validated values of a JSON body of which no rule judges more.

    Args:
        table: as ``read_all``.
        one_of: as ``read_all``.
        read_only: as ``read_all``.

    Raises:
        BadRequestError: with the errors of all fields; 415 if the body is not JSON.
    """
    body = read_all(context, table, one_of=one_of, read_only=read_only)
    body.check()
    return body.values


def read_all(
    context: RequestContext,
    table: Mapping[str, Kind],
    *,
    one_of: Sequence[str] = (),
    read_only: Collection[str] | None = None,
) -> Body:
    """Return the valid values of a JSON body, and the errors of the other fields.

    Args:
        table: name to kind of value.
        one_of: names of fields of which one must be present; if none is, the error names the first.
        read_only: further names that are accepted and ignored, because clients send back what they
            were shown. Any other name is an error. None: all other names are ignored.

    Raises:
        BadRequestError: the body is no JSON object; 415 if it is not JSON.
    """
    raw = _parse_object(context)
    parsed, invalid_fields = parse_fields(raw, table, is_strict=True)
    if one_of and not any(name in raw for name in one_of):
        invalid_fields = {one_of[0]: invalid("required"), **invalid_fields}
    errors = {}
    if read_only is not None:
        unknown = (name for name in raw if name not in table and name not in read_only)
        errors = {_shorten(name): [VALUES["unknown"]] for name in islice(unknown, MESSAGES_MAX)}
    errors |= {name: error.messages(VALUES) for name, error in invalid_fields.items()}
    return Body(parsed, errors)


def _parse_object(context: RequestContext) -> Mapping[str, Any]:
    if not context.body.strip():
        return {}
    header = context.header("content-type", "application/json")
    try:
        if header.split(";")[0].strip().lower() != "application/json":
            raise invalid("body.type")
        return request_bodies.parse_json(context.body, msgspec.json.decode)
    except InvalidValueError as error:
        (problem,) = error.problems
        status = 415 if problem.code == "body.type" else 400
        raise BadRequestError({"detail": problem.message(VALUES)}, status) from None
