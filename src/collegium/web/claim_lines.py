"""Claims in a form: a claim, an equals sign and an accepted value on each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from collegium.claim_rules.rules import CLAIM_MAX, ITEMS_MAX, VALUE_MAX
from collegium.text.languages import gettext as _
from collegium.web.forms import Form

_LINES_MAX: Final = 200
"""Maximum number of lines of claims in a form."""


def read(form: Form) -> dict[str, list[str]]:
    """Return the accepted values by claim; what is wrong is added to the field ``claims``."""
    claims: dict[str, list[str]] = {}
    for line in form.lines("claims", CLAIM_MAX + VALUE_MAX + 3, _LINES_MAX):
        name, sign, value = (part.strip() for part in line.partition("="))
        is_short = len(name) <= CLAIM_MAX and len(value) <= VALUE_MAX
        if not (sign and name and value and is_short):
            form.add_error("claims", _("Please write “claim = value” on each line."))
            return {}
        claims.setdefault(name, []).append(value)
    if max(len(claims), *map(len, claims.values()), 0) > ITEMS_MAX:
        form.add_error(
            "claims", _("At most {items_max} values are possible.").format(items_max=ITEMS_MAX)
        )
    return claims


def text_of(claims: Mapping[str, Sequence[str]]) -> str:
    """Return the lines of claims."""
    return "\n".join(f"{name} = {value}" for name, values in claims.items() for value in values)
