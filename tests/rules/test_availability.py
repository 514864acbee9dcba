"""Names of roles that are copied into an organisation."""

from __future__ import annotations

import pytest

from collegium.roles.availability.rules import name_of_copy


@pytest.mark.parametrize(
    ("template", "kind", "number", "name"),
    [
        ("PROJECT.MEMBER", "project", None, "PROJECT.sea.MEMBER"),
        ("PROJECT.land.MEMBER", "project", 1, "PROJECT.sea.MEMBER"),
        ("Reader", "organisation", 2, "CUSTOMER.sea.Reader-2"),
        ("X" * 150, "project", 12, f"PROJECT.sea.{'X' * 135}-12"),
        ("X" * 150, "project", 1, f"PROJECT.sea.{'X' * 138}"),
    ],
)
def test_copy_is_named_after_its_kind_and_organisation(
    template: str, kind: str, number: int | None, name: str
) -> None:
    numbered = {} if number is None else {"number": number}
    assert name_of_copy(template, kind, "sea", **numbered) == name
