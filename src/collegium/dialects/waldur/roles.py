"""``/api/roles/``: roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.dialects.http import Answer, Operation, Routes
from collegium.dialects.waldur import lists, wire
from collegium.store import roles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collegium.dialects.http import Call
    from collegium.store.db import Read, Row


def _shown(call: Call, tx: Read, rows: Sequence[Row]) -> list[wire.Role]:
    ids = [row.id for row in rows]
    carried = roles.permissions_of(tx, ids)
    people = roles.people_in(tx, ids) if call.actor.sees_all else None
    return [
        wire.role(
            row,
            carried.get(row.id, ()),
            None if people is None else people.get(row.id, 0),
        )
        for row in rows
    ]


def _list(call: Call, tx: Read) -> Answer:
    return lists.answer(call, tx, roles.listing, lambda rows: _shown(call, tx, rows), sparse=True)


def _retrieve(call: Call, tx: Read) -> Answer:
    row = roles.find(tx, call.uuid("role"))
    return Answer(200, wire.encode(lists.fields(call, _shown(call, tx, [row])[0])))


ROUTES: Routes = {
    "/api/roles/": {
        "GET": Operation(_list, "List the roles.", answers=wire.Role, many=True),
    },
    "/api/roles/{uuid}/": {
        "GET": Operation(_retrieve, "Show a role.", answers=wire.Role),
    },
}
