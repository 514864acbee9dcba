"""Validate bodies in three encodings against a table of fields; report all errors at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeVar

from multipart import MultipartPart

from collegium.api import request_bodies
from collegium.api.request import BadRequestError, RequestContext
from collegium.api.waldur.errors import NON_FIELD, VALUES, reason_for
from collegium.refusals import Refusal
from collegium.values import InvalidValueError, Kind, invalid, parse_fields

T = TypeVar("T")
_PARTS_MAX: Final = 256


@dataclass
class Form:
    """A validated body: the valid values, and the errors of the other fields."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)

    def reject(self, name: str, text: str) -> None:
        """Add an error, for example one that only the database can detect."""
        self.errors.setdefault(name, []).append(text)

    def refuse(self, refusal: Refusal) -> None:
        """Add the refusal of a rule, so that it is reported together with all other errors."""
        name, text = reason_for(refusal)
        self.reject(name or NON_FIELD, text)

    def drop_blank(self, name: str) -> None:
        """Remove a field that was sent empty, as if it had not been sent."""
        if self.values.get(name) == "":
            del self.values[name]

    def check(self) -> None:
        """Refuse a body that has errors.

        Raises:
            BadRequestError: with the errors of all fields.
        """
        if self.errors:
            raise BadRequestError(self.errors)

    def checked(self, value: T | None) -> T:
        """Return the object that a field names, after checking that the form has no errors.

        Args:
            value: the object; None only if the form has an error for its field.

        Raises:
            BadRequestError: with the errors of all fields.
        """
        self.check()
        if value is None:
            raise BadRequestError(self.errors)
        return value


def read(
    context: RequestContext, definitions: Mapping[str, Kind], *, partial: bool = False
) -> Form:
    """Validate a body against a table of fields; unknown names are ignored.

    Args:
        definitions: name to kind of value.
        partial: whether required fields may be left out.

    Raises:
        BadRequestError: if the body cannot be parsed. Errors of fields are in the returned form.
    """
    body, is_form = decode(context)
    values, errors = parse_fields(body, definitions, is_form=is_form, is_partial=partial)
    return Form(values, {name: error.messages(VALUES) for name, error in errors.items()})


def decode(context: RequestContext) -> tuple[dict[str, Any], bool]:
    """Return the parsed body, and whether it is a form, in which all values are text.

    Raises:
        BadRequestError: 400 if the body cannot be parsed; 415 for another media type.
    """
    header = context.header("content-type")
    try:
        return _parse(header, context.body)
    except InvalidValueError as error:
        (problem,) = error.problems
        text = problem.message(VALUES)
        if problem.code == "body.object":
            raise BadRequestError({NON_FIELD: [text]}) from None
        status = 415 if problem.code == "body.type" else 400
        raise BadRequestError({"detail": text}, status) from None


def _parse(header: str, body: bytes) -> tuple[dict[str, Any], bool]:
    media_type, boundary = request_bodies.media_type(header)
    # If a field is repeated, its last value counts.
    if media_type == request_bodies.MULTIPART:
        parts = request_bodies.parse_multipart(body, boundary, _part_value, _PARTS_MAX)
        return dict(parts), True
    if media_type == request_bodies.FORM:
        return dict(request_bodies.parse_urlencoded(body, "utf-8", _PARTS_MAX)), True
    if media_type == "application/json":
        return request_bodies.parse_json(body, _decode_json) if body else {}, False
    if not body:
        return {}, False
    raise invalid("body.type", type=header)


def _decode_json(body: bytes) -> Any:
    return json.loads(body, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    message = f"Out of range float values are not JSON compliant: {name}"
    raise ValueError(message)


def _part_value(part: MultipartPart) -> str | bytes:
    """Return a part as text; a part of another media type is a file without a file name."""
    is_text = not part.filename and str(part.content_type or "text/plain").startswith("text/")
    value: str | bytes = part.value if is_text else part.raw
    return value
