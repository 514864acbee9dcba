"""What lists sort names by, and the names of groups in the form that is compared today.

Two groups whose names turn out to be the same keep them and go on working: the younger one's
comparable name gets a number behind a sign that nobody can type, so that it takes no new name away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op

from collegium.db.tables import BigInt
from collegium.text.names import comparable_name, sort_key

if TYPE_CHECKING:
    from collections.abc import Sequence

revision = "0018"
down_revision = "0017"

_BATCH = 5000
_TABLES = {
    "accounts": ("id", ("first_name", "last_name", "native_name", "organization")),
    "scopes": ("id", ("name",)),
    "organisations": ("scope_id", ("native_name", "abbreviation")),
    "keys": ("id", ("name",)),
    "roles": ("id", ("name",)),
}
_INDEXES = {
    ("accounts", "ix_accounts_name"): ["first_name_sort", "last_name_sort", "username"],
    ("accounts", "ix_accounts_native_name"): ["native_name_sort", "username"],
    ("accounts", "ix_accounts_organization"): ["organization_sort", "username"],
    ("keys", "ix_keys_name"): ["name_sort", "id"],
}


def upgrade() -> None:
    """Go forward."""
    # By code points, whatever the database thinks of an alphabet.
    kind = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
    for table, (key, names) in _TABLES.items():
        for name in names:
            op.add_column(table, sa.Column(f"{name}_sort", kind, server_default="", nullable=False))
        _fill(table, key, names)
    for (table, index), columns in _INDEXES.items():
        op.drop_index(index, table)
        op.create_index(index, table, columns)
    op.create_index("ix_scopes_kind_name_sort", "scopes", ["kind", "name_sort", "id"])
    _compare_groups()


def _fill(table: str, key: str, names: Sequence[str]) -> None:
    connection = op.get_bind()
    texts = [sa.column(one, sa.Text()) for name in names for one in (name, f"{name}_sort")]
    rows = sa.table(table, sa.column(key, BigInt), *texts)
    some = (
        sa.select(rows.c[key].label("key"), *(rows.c[name] for name in names))
        .order_by(rows.c[key])
        .limit(_BATCH)
    )
    last = -1
    while found := connection.execute(some.where(rows.c[key] > last)).mappings().all():
        connection.execute(
            sa.update(rows)
            .where(rows.c[key] == sa.bindparam("_key"))
            .values({f"{name}_sort": sa.bindparam(f"_{name}") for name in names}),
            [
                {"_key": row["key"], **{f"_{name}": sort_key(row[name]) for name in names}}
                for row in found
            ],
        )
        last = found[-1]["key"]


def _compare_groups() -> None:
    connection = op.get_bind()
    groups = sa.table("groups", sa.column("scope_id", BigInt), sa.column("folded", sa.Text()))
    scopes = sa.table("scopes", sa.column("id", BigInt), sa.column("name", sa.Text()))
    named = (
        sa.select(groups.c.scope_id, scopes.c.name)
        .join(scopes, scopes.c.id == groups.c.scope_id)
        .where(groups.c.folded.is_not(None))
        .order_by(groups.c.scope_id)
    )
    taken: set[str] = set()
    found = []
    for scope, name in connection.execute(named).all():
        form = comparable_name(name)
        if form in taken:
            form = f"{form}\x1f{scope}"
        taken.add(form)
        found.append((scope, form))
    # In two steps: on the way no name may meet one that is about to go.
    for step in ("\x1f{scope}", "{form}"):
        for scope, form in found:
            connection.execute(
                sa.update(groups)
                .where(groups.c.scope_id == scope)
                .values(folded=step.format(scope=scope, form=form))
            )
