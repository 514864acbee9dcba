"""Names of roles that are copied into an organisation."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import ScopeKind
from collegium.roles.rules import NAME_MAX

_PREFIX: Final = {ScopeKind.ORGANISATION.value: "CUSTOMER", ScopeKind.PROJECT.value: "PROJECT"}


def name_of_copy(template: str, kind: str, slug: str, number: int = 1) -> str:
    """Return the name of a role that is copied into an organisation.

    Args:
        template: name of the role that is copied.
        kind: kind of scope of the role.
        slug: of the organisation.
        number: 1, or the next number if the name is taken.
    """
    ending = f"-{number}" if number > 1 else ""
    name = f"{_PREFIX[kind]}.{slug}.{template.rpartition('.')[2]}"
    return name[: NAME_MAX - len(ending)] + ending
