"""``/api/…/users/group/``: groups, for those who are logged in and for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from collegium.actions import groups as actions
from collegium.dialects import limits
from collegium.dialects.brainstem import bodies, query, wire
from collegium.dialects.brainstem.paths import deed, number, spelled
from collegium.dialects.http import Answer, Operation, Routes
from collegium.rules.access import NOBODY
from collegium.rules.groups import NAME_LENGTH
from collegium.rules.refusals import Invalid
from collegium.store import groups

if TYPE_CHECKING:
    from collegium.dialects.http import Call
    from collegium.rules.access import Actor
    from collegium.store.db import Read
    from collegium.store.statements import Row

_TABLE: Final = query.Table(
    groups.listing, {"id": query.Number(), "name": query.Text()}, orders=("id", "name")
)
_NAME: Final = bodies.Name(required=True, blank=False, max=NAME_LENGTH)
_NEW: Final = {"name": _NAME}
_CHANGE: Final = {
    "name": bodies.Name(blank=False, max=NAME_LENGTH),
    "users": bodies.People(),
}
_READ_ONLY: Final = frozenset(wire.Group.__struct_fields__)


def _one(tx: Read, actor: Actor, row: Row, status: int = 200, *, shows_all: bool = False) -> Answer:
    (shown,) = wire.groups(tx, actor, [row], shows_all=shows_all)
    return Answer(status, wire.encode(wire.OneGroup(shown)))


def _page(tx: Read, actor: Actor, found: query.Found, *, shows_all: bool = False) -> Answer:
    shown = wire.groups(tx, actor, found.rows, shows_all=shows_all)
    page = wire.GroupPage(shown, found.meta, found.count, found.next, found.previous)
    return Answer(200, wire.encode(page))


def _list(call: Call, tx: Read) -> Answer:
    return _page(tx, call.actor, query.find(call, tx, call.actor, _TABLE))


def _retrieve(call: Call, tx: Read) -> Answer:
    return _one(tx, call.actor, groups.by_number(tx, number(call, "group")))


def _list_public(call: Call, tx: Read) -> Answer:
    found = query.find(call, tx, NOBODY, _TABLE)
    return _page(tx, NOBODY, found, shows_all=call.settings.brainstem_public_emails)


def _retrieve_public(call: Call, tx: Read) -> Answer:
    row = groups.by_number(tx, number(call, "group"))
    return _one(tx, NOBODY, row, shows_all=call.settings.brainstem_public_emails)


def _create(call: Call) -> Answer:
    values = bodies.read(call, _NEW, read_only=_READ_ONLY)
    with call.write() as tx:
        group = actions.create(tx, call.actor, values["name"], settings=call.settings)
        return _one(tx, call.actor, groups.by_number(tx, group), 201)


def _change(call: Call) -> Answer:
    limits.check(call, limits.INVITE)
    limits.check(call, limits.PEOPLE)
    try:
        return _changed(call)
    except Invalid as refusal:
        if refusal.code == "group.people":
            problems: Any = refusal.facts["problems"]
            limits.count_unknown(call, list(problems.values()).count("unknown"))
        raise


def _changed(call: Call) -> Answer:
    with call.write() as tx:
        reached = actions.hold(tx, call.actor, number(call, "group"))
        # Only now: whoever may not change the group is told that, whatever they have sent.
        values = bodies.read(call, _CHANGE, read_only=_READ_ONLY)
        wishes = values.get("users", ())
        count = actions.change(tx, call.actor, call.settings, reached, values.get("name"), wishes)
        limits.count(call, tx, limits.INVITE, count)
        return _one(tx, call.actor, groups.by_number(tx, reached.scope.id))


def _delete(call: Call) -> Answer:
    with call.write() as tx:
        actions.delete(tx, call.actor, number(call, "group"))
    return Answer(204)


def _join(call: Call) -> Answer:
    limits.check(call, limits.JOIN)
    with call.write() as tx:
        row, is_new = actions.join(tx, call.actor, number(call, "group"), settings=call.settings)
        limits.count(call, tx, limits.JOIN, int(is_new))
        (shown,) = wire.requests(tx, call.actor, [row])
    return Answer(200, wire.encode(wire.OneMembershipRequest(shown)))


def _leave(call: Call) -> Answer:
    with call.write() as tx:
        group = number(call, "group")
        actions.leave(tx, call.actor, group)
        return _one(tx, call.actor, groups.by_number(tx, group))


def _private(base: str) -> Routes:
    one = f"{base}{{id}}/"
    return {
        base: {
            "GET": Operation(
                _list, "List the groups.", answers=wire.GroupPage, filters=_TABLE.described()
            ),
            "POST": Operation(
                _create, "Found a group.", form=_NEW, answers=wire.OneGroup, status=201
            ),
        },
        one: {
            "GET": Operation(_retrieve, "Show a group.", answers=wire.OneGroup),
            "PATCH": Operation(
                _change,
                "Rename a group; invite, promote, demote and remove people.",
                form=_CHANGE,
                answers=wire.OneGroup,
                partial=True,
            ),
            "DELETE": Operation(_delete, "Give a group up.", status=204),
        },
        **deed(f"{one}join/", _join, "Ask to be let in to a group.", wire.OneMembershipRequest),
        **deed(f"{one}leave/", _leave, "Leave a group.", wire.OneGroup),
    }


def _public(base: str) -> Routes:
    return {
        base: {
            "GET": Operation(
                _list_public,
                "List the groups, for everybody.",
                open=True,
                answers=wire.GroupPage,
                filters=_TABLE.described(),
                asks=True,
            )
        },
        f"{base}{{id}}/": {
            "GET": Operation(
                _retrieve_public,
                "Show a group to everybody.",
                open=True,
                answers=wire.OneGroup,
                asks=True,
            )
        },
    }


_private_routes = spelled(_private, "/api/private/users/group/", "/api/private/auth/group/")
_public_routes = spelled(_public, "/api/public/users/group/", "/api/public/auth/group/")
DESCRIBED: Final = _private_routes[0] | _public_routes[0]
ROUTES: Final = _private_routes[1] | _public_routes[1]
