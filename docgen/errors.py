"""The page of the errors of both APIs, from their ``errors`` modules."""

from __future__ import annotations

import re
from typing import Final

from collegium.api.brainstem import errors as brainstem
from collegium.api.waldur import errors as waldur
from docgen import markdown
from docgen.markdown import code, table

_INTRODUCTION: Final = """What the APIs answer to a request that is refused. Responses have the \
message, not the code: the codes name the refusals in the
source and in the audit log. Parts in braces are filled. Objects that the caller may not see are \
answered like objects that do not exist."""

_SHAPES: Final = """The Waldur API answers `{"detail": "…"}`, or with status 400 an array of \
messages, or an object with the messages of each field. The field
`non_field_errors` stands for the request as a whole. The BrainSTEM API answers `{"detail": "…"}`, \
or an object with the messages of each field; its
statuses are 400 instead of 409, and otherwise the same. A refusal without a message there is \
answered by a general one."""

_VALUES: Final = """A value that is not accepted is answered with status 400, in all fields at \
once. Where two messages are given, the second is that
of query parameters."""


def page() -> str:
    """Return the page."""
    return markdown.page(
        "Errors",
        "src/collegium/api/waldur/errors.py and src/collegium/api/brainstem/errors.py",
        _INTRODUCTION,
        "## Refusals",
        _SHAPES,
        _refusals(),
        "## Values",
        _VALUES,
        _values(),
    )


def _refusals() -> str:
    in_waldur = {one[0]: one[1:] for one in waldur.documented()}
    in_brainstem = {one[0]: one[1:] for one in brainstem.documented()}
    rows = []
    for name in sorted(in_waldur | in_brainstem):
        status, field, message = in_waldur.get(name, (0, "", ""))
        other_field, other = in_brainstem.get(name, ("", ""))
        rows.append(
            (
                code(name),
                str(int(status)) if status else "",
                code(field),
                _shown(message),
                _shown(f"`{other_field}`: {other}" if other_field else other),
            )
        )
    return table(("code", "status", "field", "Waldur API", "BrainSTEM API"), rows)


def _values() -> str:
    rows = [
        (
            code(name),
            _both(waldur.VALUES.get(name, ""), waldur.PARAMETERS.get(name, "")),
            _both(brainstem.VALUES.get(name, ""), brainstem.PARAMETERS.get(name, "")),
        )
        for name in sorted({*waldur.PARAMETERS, *brainstem.PARAMETERS})
    ]
    return table(("problem", "Waldur API", "BrainSTEM API"), rows)


def _both(in_body: str, in_parameter: str) -> str:
    return _shown(" / ".join(dict.fromkeys(filter(None, (in_body, in_parameter)))))


def _shown(template: str) -> str:
    """Return a template without the signs that are for Python's formatting alone."""
    plain = re.sub(r"{(\w+)[!:][^}]*}", r"{\1}", template)
    return plain.replace("{{", "{").replace("}}", "}")
