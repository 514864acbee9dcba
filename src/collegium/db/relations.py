"""Select what rows declare from a table and the tables that it refers to, named and joined once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from inspect import get_annotations
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, select


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """A table to which rows refer.

    Args:
        table: the table or an alias.
        key: the foreign key that refers to it. By default that of the referring table which has
            the name of the relation, or this name with ``_id``.
        on: the condition of the join, if there is no such key.
        is_outer: whether rows without it are selected, with nulls. A key that may be null always
            makes it so.
        unprefixed: columns that rows call by their own names, without that of the relation.
    """

    table: FromClause
    key: Any = None
    on: ColumnElement[bool] | None = None
    is_outer: bool = False
    unprefixed: Collection[str] = ()


class Relations:
    """A table, and by name the tables to which it refers, in the order in which they are joined.

    A class with ``role_name`` and ``granted_by_username`` is selected so::

        _grants = Relations(grants, role=roles, granted_by=accounts.alias("granter"))
        _BY_ID = Statement[GrantRow](_grants.select(GrantRow).where(grants.c.id == …))

    Args:
        table: the table or an alias.
        relations: a ``Relation``, or the table for one without options.

    Raises:
        TypeError: if a relation has no condition, and there is no foreign key.
    """

    def __init__(self, table: FromClause, /, **relations: FromClause | Relation) -> None:
        self._table = table
        self._relations = {
            name: self._join_condition(
                name, relation if isinstance(relation, Relation) else Relation(relation)
            )
            for name, relation in relations.items()
        }

    def select(
        self, *rows: type[Any] | str, join: Collection[str] = (), **computed: ColumnElement[Any]
    ) -> Select[Any]:
        """Select the columns that rows declare, with the joins that these columns need.

        A name is one of ``computed``, a column of the table, one of ``Relation.unprefixed``, or a
        relation and its column: ``role_name``.

        Args:
            rows: classes as in ``Statement``, or names of single columns.
            join: names of relations that only conditions or orders need.
            computed: expressions by name, which take precedence. Relations in them are joined.

        Raises:
            TypeError: for a name that is no column, or more than one.
        """
        names = dict.fromkeys(name for row in rows for name in _names(row))
        needed = {self._relations[name].table for name in join}
        columns: dict[str, ColumnElement[Any]] = {}
        for name in (*names, *(name for name in computed if name not in names)):
            column = computed[name] if name in computed else self._find(name, rows)
            columns[name] = column if getattr(column, "key", None) == name else column.label(name)
            needed.update(_tables(column))
        return select(*columns.values()).select_from(self._join(needed))

    def _join_condition(self, name: str, relation: Relation) -> Relation:
        """Return a relation with its condition."""
        if relation.on is not None:
            return relation
        targets = {relation.table, getattr(relation.table, "element", None)}  # the aliased table
        names = {name, f"{name}_id"}
        keys = [one for one in self._table.c if one.name in names]
        for key in keys if relation.key is None else [relation.key]:
            for target in (one.column for one in key.foreign_keys if one.column.table in targets):
                return replace(
                    relation,
                    on=relation.table.c[target.name] == key,
                    is_outer=relation.is_outer or bool(key.nullable),
                )
        raise TypeError(f"{self._table.description}: {name} has no foreign key or condition")

    def _find(self, name: str, rows: Collection[Any]) -> ColumnElement[Any]:
        """Return the column with a name."""
        found = list(self._candidates(name))
        if len(found) == 1:
            return found[0]
        of = ", ".join(row.__name__ for row in rows if name in _names(row) and row != name)
        relations = ", ".join(self._relations) or "none"
        raise TypeError(
            f"{of or 'select'}: {name} is "
            + (
                f"ambiguous: {', '.join(map(str, found))}. Give one of them as an expression."
                if found
                else f"no column of {self._table.description} or its relations ({relations})."
            )
        )

    def _candidates(self, name: str) -> Iterator[ColumnElement[Any]]:
        """Yield the columns that a name may mean."""
        found = [self._table.c[name]] if name in self._table.c else []
        prefixes = []
        for prefix, relation in self._relations.items():
            if name in relation.unprefixed:
                found.append(relation.table.c[name])
            if name.startswith(f"{prefix}_") and name[len(prefix) + 1 :] in relation.table.c:
                prefixes.append(prefix)
        yield from found
        # A foreign key and the id to which it refers are the same.
        if prefixes and not (found and name.endswith("_id")):
            prefix = max(prefixes, key=len)
            yield self._relations[prefix].table.c[name[len(prefix) + 1 :]]

    def _join(self, needed: set[FromClause]) -> FromClause:
        """Return the table with the joins of tables, and of those that their conditions need."""
        joined = []
        for relation in reversed(self._relations.values()):
            if relation.table in needed:
                needed |= _tables(relation.on)
                joined.append(relation)
        tables = self._table
        for relation in reversed(joined):
            tables = tables.join(relation.table, relation.on, isouter=relation.is_outer)
        return tables


def _names(row: type[Any] | str) -> list[str]:
    """Return the names of the columns of a row, those of its base classes first."""
    if isinstance(row, str):
        return [row]
    return [name for each in reversed(row.__mro__) for name in get_annotations(each)]


def _tables(expression: Any) -> set[FromClause]:
    return set(expression._from_objects)  # noqa: SLF001 - there is no public way
