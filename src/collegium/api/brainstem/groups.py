"""``/api/…/users/group/``: groups, for those who are logged in and for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from collegium.access.rules import NOBODY
from collegium.api import limits
from collegium.api.brainstem import bodies, query, schemas
from collegium.api.brainstem.paths import deed, number, spelled
from collegium.api.request import Answer, Operation, Routes
from collegium.refusals import Invalid
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups import queries as group_queries
from collegium.scopes.groups.rules import NAME_LENGTH

if TYPE_CHECKING:
    from collegium.access.rules import Actor
    from collegium.api.request import Call
    from collegium.db.database import Read
    from collegium.db.statements import Row

_TABLE: Final = query.Table(
    group_queries.listing, {"id": query.Number(), "name": query.Text()}, orders=("id", "name")
)
_NAME: Final = bodies.Name(required=True, blank=False, max=NAME_LENGTH)
_NEW: Final = {"name": _NAME}
_CHANGE: Final = {
    "name": bodies.Name(blank=False, max=NAME_LENGTH),
    "users": bodies.People(),
}
_READ_ONLY: Final = frozenset(schemas.Group.__struct_fields__)


def _one(tx: Read, actor: Actor, row: Row, status: int = 200, *, shows_all: bool = False) -> Answer:
    (shown,) = schemas.groups(tx, actor, [row], shows_all=shows_all)
    return Answer(status, schemas.encode(schemas.OneGroup(shown)))


def _page(tx: Read, actor: Actor, found: query.Found, *, shows_all: bool = False) -> Answer:
    shown = schemas.groups(tx, actor, found.rows, shows_all=shows_all)
    page = schemas.GroupPage(shown, found.meta, found.count, found.next, found.previous)
    return Answer(200, schemas.encode(page))


def _list(call: Call, tx: Read) -> Answer:
    return _page(tx, call.actor, query.find(call, tx, call.actor, _TABLE))


def _retrieve(call: Call, tx: Read) -> Answer:
    return _one(tx, call.actor, group_queries.by_number(tx, number(call, "group")))


def _list_public(call: Call, tx: Read) -> Answer:
    found = query.find(call, tx, NOBODY, _TABLE)
    return _page(tx, NOBODY, found, shows_all=call.settings.brainstem_public_emails)


def _retrieve_public(call: Call, tx: Read) -> Answer:
    row = group_queries.by_number(tx, number(call, "group"))
    return _one(tx, NOBODY, row, shows_all=call.settings.brainstem_public_emails)


def _create(call: Call) -> Answer:
    values = bodies.read(call, _NEW, read_only=_READ_ONLY)
    with call.write() as tx:
        group = group_actions.create(tx, call.actor, values["name"], settings=call.settings)
        return _one(tx, call.actor, group_queries.by_number(tx, group), 201)


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
        reached = group_actions.hold(tx, call.actor, number(call, "group"))
        # Only now: whoever may not change the group is told that, whatever they have sent.
        values = bodies.read(call, _CHANGE, read_only=_READ_ONLY)
        wishes = values.get("users", ())
        count = group_actions.change(
            tx, call.actor, call.settings, reached, values.get("name"), wishes
        )
        limits.count(call, tx, limits.INVITE, count)
        return _one(tx, call.actor, group_queries.by_number(tx, reached.scope.id))


def _delete(call: Call) -> Answer:
    with call.write() as tx:
        group_actions.delete(tx, call.actor, number(call, "group"))
    return Answer(204)


def _join(call: Call) -> Answer:
    limits.check(call, limits.JOIN)
    with call.write() as tx:
        row, is_new = group_actions.join(
            tx, call.actor, number(call, "group"), settings=call.settings
        )
        limits.count(call, tx, limits.JOIN, int(is_new))
        (shown,) = schemas.requests(tx, call.actor, [row])
    return Answer(200, schemas.encode(schemas.OneMembershipRequest(shown)))


def _leave(call: Call) -> Answer:
    with call.write() as tx:
        group = number(call, "group")
        group_actions.leave(tx, call.actor, group)
        return _one(tx, call.actor, group_queries.by_number(tx, group))


def _private(base: str) -> Routes:
    one = f"{base}{{id}}/"
    return {
        base: {
            "GET": Operation(
                _list, "List the groups.", answers=schemas.GroupPage, filters=_TABLE.described()
            ),
            "POST": Operation(
                _create, "Found a group.", form=_NEW, answers=schemas.OneGroup, status=201
            ),
        },
        one: {
            "GET": Operation(_retrieve, "Show a group.", answers=schemas.OneGroup),
            "PATCH": Operation(
                _change,
                "Rename a group; invite, promote, demote and remove people.",
                form=_CHANGE,
                answers=schemas.OneGroup,
                partial=True,
            ),
            "DELETE": Operation(_delete, "Give a group up.", status=204),
        },
        **deed(f"{one}join/", _join, "Ask to be let in to a group.", schemas.OneMembershipRequest),
        **deed(f"{one}leave/", _leave, "Leave a group.", schemas.OneGroup),
    }


def _public(base: str) -> Routes:
    return {
        base: {
            "GET": Operation(
                _list_public,
                "List the groups, for everybody.",
                open=True,
                answers=schemas.GroupPage,
                filters=_TABLE.described(),
                asks=True,
            )
        },
        f"{base}{{id}}/": {
            "GET": Operation(
                _retrieve_public,
                "Show a group to everybody.",
                open=True,
                answers=schemas.OneGroup,
                asks=True,
            )
        },
    }


_private_routes = spelled(_private, "/api/private/users/group/", "/api/private/auth/group/")
_public_routes = spelled(_public, "/api/public/users/group/", "/api/public/auth/group/")
DESCRIBED: Final = _private_routes[0] | _public_routes[0]
ROUTES: Final = _private_routes[1] | _public_routes[1]
