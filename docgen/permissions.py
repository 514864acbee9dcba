"""The page of the built-in roles and their permissions, from ``collegium.access.rules``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from collegium.access.rules import SYSTEM_ROLES, ScopeKind, SystemRole
from collegium.web import staff_roles
from collegium.web.staff_roles import Area
from docgen import markdown
from docgen.markdown import code, table

_INTRODUCTION: Final = """Every installation begins with these roles. Staff change what a role may \
do, and add others, at *Staff → Roles*; the names
of the built-in roles stay. A permission of a role in an organisation applies to the projects of \
the organisation too. Nobody gives a
role with more permissions than their own."""

_STAFF: Final = """Beside the roles, an account can be *staff*, which may do everything, or \
*support*, which reads everything and changes nothing."""

_INACTIVE: Final = """Roles in *italics* are disabled at first: nobody is given them until staff \
enable them."""


def page() -> str:
    """Return the page."""
    tree = [role for role in SYSTEM_ROLES if role.kind is not ScopeKind.GROUP]
    groups = [role for role in SYSTEM_ROLES if role.kind is ScopeKind.GROUP]
    return markdown.page(
        "Roles and permissions",
        "src/collegium/access/rules.py",
        _INTRODUCTION,
        _STAFF,
        "## Organisations and projects",
        _INACTIVE,
        _matrix(tree, staff_roles.TREE),
        "## Groups",
        _matrix(groups, staff_roles.GROUPS),
        "## Roles",
        table(
            ("role", "is"),
            [(code(role.name), role.description) for role in SYSTEM_ROLES],
        ),
    )


def _matrix(roles: Sequence[SystemRole], areas: Sequence[Area]) -> str:
    heads = [f"`{role.name}`" if role.is_active else f"*`{role.name}`*" for role in roles]
    return table(("permission", "allows to", *heads), _rows(roles, areas))


def _rows(roles: Sequence[SystemRole], areas: Sequence[Area]) -> Iterator[tuple[str, ...]]:
    for area in areas:
        for permission, (_, sentence) in area.words.items():
            marks = ["yes" if permission in role.permissions else "" for role in roles]
            yield code(permission), sentence[:1].lower() + sentence[1:], *marks
