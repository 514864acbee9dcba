"""Selects that follow from the declared rows."""

from typing import Any

import pytest
from sqlalchemy import func
from sqlalchemy.exc import SAWarning

from collegium.db.relations import Relation, Relations
from collegium.db.tables import accounts, grants, roles, scopes

_granter = accounts.alias("granter")
_parent = scopes.alias("parent")
_RELATIONS = Relations(
    grants,
    account=Relation(accounts, unprefixed=("username",)),
    role=roles,
    scope=scopes,
    parent=Relation(_parent, scopes.c.parent_id),
    granted_by=_granter,
)


class _Id:
    id: int


class _Grant(_Id):
    role_id: int
    role_name: str


def _sql(select: Any) -> str:
    return " ".join(str(select).split())


def test_the_declared_columns_are_selected_with_the_joins_that_they_need() -> None:
    assert _sql(_RELATIONS.select(_Id)) == "SELECT grants.id FROM grants"
    assert _sql(_RELATIONS.select(_Grant)) == (
        "SELECT grants.id, grants.role_id, roles.name AS role_name"
        " FROM grants JOIN roles ON roles.id = grants.role_id"
    )


def test_a_foreign_key_that_may_be_null_makes_an_outer_join() -> None:
    assert _sql(_RELATIONS.select("granted_by", "granted_by_username")) == (
        "SELECT grants.granted_by, granter.username AS granted_by_username FROM grants"
        " LEFT OUTER JOIN accounts AS granter ON granter.id = grants.granted_by"
    )


def test_a_relation_joins_those_that_its_condition_needs() -> None:
    expected = (
        " FROM grants JOIN scopes ON scopes.id = grants.scope_id"
        " LEFT OUTER JOIN scopes AS parent ON parent.id = scopes.parent_id"
    )
    assert _sql(_RELATIONS.select("parent_name")).endswith(expected)
    assert _sql(_RELATIONS.select(_Id, join=["parent"])).endswith(expected)


def test_expressions_take_precedence_and_their_relations_are_joined() -> None:
    select = _RELATIONS.select(_Id, "username", id=func.upper(roles.c.name))
    assert _sql(select) == (
        "SELECT upper(roles.name) AS id, accounts.username FROM grants"
        " JOIN accounts ON accounts.id = grants.account_id JOIN roles ON roles.id = grants.role_id"
    )


def test_the_longest_name_of_a_relation_counts() -> None:
    relations = Relations(
        grants,
        role=Relation(accounts, grants.c.account_id),
        role_last=Relation(roles, grants.c.role_id),
    )
    assert [str(c) for c in relations.select("role_last_name").selected_columns] == ["roles.name"]


def test_an_unknown_name_is_refused() -> None:
    class Misspelt(_Grant):
        scope_nme: str

    with pytest.raises(TypeError, match=r"^Misspelt: scope_nme is no column of grants or its rel"):
        _RELATIONS.select(Misspelt)


def test_an_ambiguous_name_is_refused() -> None:
    relations = Relations(
        grants,
        valid=Relation(roles, grants.c.role_id, unprefixed=("name", "uuid")),
        scope=Relation(scopes, unprefixed=("name",)),
    )
    for name, found in (("uuid", "grants.uuid, roles.uuid"), ("name", "roles.name, scopes.name")):
        with pytest.raises(TypeError, match=f"^select: {name} is ambiguous: {found}. Give one of"):
            relations.select(name)


def test_a_relation_without_its_foreign_key_needs_a_condition() -> None:
    for name in ("owner", "role"):
        with pytest.raises(TypeError, match=f"^grants: {name} has no foreign key or condition$"):
            Relations(grants, **{name: accounts})
        with pytest.raises(TypeError, match=f"^grants: {name} has no foreign key or condition$"):
            Relations(grants, **{name: Relation(accounts, grants.c.role_id)})


def test_a_condition_on_a_relation_that_is_not_joined_is_found() -> None:
    """``row_types.check_all`` has every statement of a test run checked."""
    select = _RELATIONS.select(_Id, join=["role"]).where(roles.c.is_active)
    assert str(select)
    with pytest.warns(SAWarning, match="cartesian product"):
        str(_RELATIONS.select(_Id).where(roles.c.is_active))
