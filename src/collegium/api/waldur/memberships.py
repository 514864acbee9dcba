"""``/api/user-permissions/``, and the team of a customer or project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.access import queries as access_queries
from collegium.access.rules import TEAM, Kind, Permission
from collegium.accounts import queries as account_queries
from collegium.api.request import Answer, Operation, Routes, hex_uuid
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, Moment, Text, Uuid, read
from collegium.memberships import actions as membership_actions
from collegium.memberships import queries as membership_queries
from collegium.memberships import rules as membership_rules
from collegium.refusals import Conflict, Invalid
from collegium.roles import queries as role_queries

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from collegium.access.rules import Actor
    from collegium.api.request import Call
    from collegium.db.database import Read, Write
    from collegium.db.statements import Row

_SEAT: Final = {
    "role": Text(required=True, blank=False, max=150),
    "user": Uuid(required=True),
    "expiration_time": Moment(null=True),
}


_PEOPLE: Final = {
    **dict.fromkeys(("full_name", "native_name", "user_slug", "username"), filters.Exact()),
    "user": filters.Uuid(),
    "user_url": filters.UserLink(),
}
FILTERS: Final = {
    **_PEOPLE,
    **dict.fromkeys(("created", "expiration_time", "modified"), filters.Since()),
    **dict.fromkeys(("customer_uuid", "role_uuid", "scope_uuid"), filters.Uuid()),
    **dict.fromkeys(("role_name", "scope_name"), filters.Contains()),
    "scope_type": filters.SCOPE_TYPE,
}
TEAM_FILTERS: Final = {
    **_PEOPLE,
    "role": filters.Many(commas=False),
    "search_string": filters.Exact(),
}


def _shown(row: Row) -> schemas.Permission:
    return schemas.permission(row, row.account_uuid, account_queries.full_name(row), row.slug)


def _list(call: Call, tx: Read) -> Answer:
    return lists.answer(
        call,
        tx,
        membership_queries.listing,
        lambda rows: [_shown(row) for row in rows],
        filters=filters.read(call, FILTERS, membership_queries.listing.orders),
    )


def _retrieve(call: Call, tx: Read) -> Answer:
    row = membership_queries.find(tx, call.actor, call.uuid("grant"))
    return Answer(200, schemas.encode(_shown(row)))


def _seat(
    tx: Write, form: Form, reached: access_queries.Reached, *, judge_end: bool
) -> membership_actions.Seat:
    """Find who and what a body names; what is not found is an error of its field."""
    role = account = None
    if "role" in form.values:
        name = form.values["role"]
        role = role_queries.named(tx, name, hex_uuid(name))
        if role is None:
            form.reject("role", "Role is not found.")
    if "user" in form.values:
        account = account_queries.by_uuid(tx, form.values["user"])
        if account is None or not account.is_active:
            form.reject("user", "User is not found.")
    if judge_end:
        try:
            membership_rules.check_end(form.values.get("expiration_time"), tx.now)
        except Invalid as refusal:
            form.refuse(refusal)
    form.check()
    return membership_actions.Seat(reached, role, account)


def team_routes(base: str, kind: Kind) -> Routes:
    """Give the routes of the team of one kind of scope.

    Args:
        base: the path of the scope itself, ``/api/projects/{uuid}/``.
    """
    rights = TEAM[kind]

    def _team(call: Call, tx: Read) -> Answer:
        scope = access_queries.reach(tx, call.actor, kind, call.uuid(kind)).scope
        return lists.answer(
            call,
            tx,
            membership_queries.team,
            lambda rows: [schemas.team_member(call, row) for row in rows],
            filters={
                **filters.read(call, TEAM_FILTERS, membership_queries.team.orders),
                "scope": scope.id,
            },
            sparse=True,
        )

    def _change(
        call: Call,
        right: Permission,
        do: Callable[[Write, Actor, membership_actions.Seat, datetime | None], object],
    ) -> datetime | None:
        uuid = call.uuid(kind)
        with call.write() as tx:
            reached = access_queries.reach(tx, call.actor, kind, uuid, right)
            form = read(call, _SEAT)
            seat = _seat(tx, form, reached, judge_end=right is not rights.revoke)
            until: datetime | None = form.values.get("expiration_time")
            do(tx, call.actor, seat, until)
        return until

    def _add(call: Call) -> Answer:
        try:
            until = _change(call, rights.grant, membership_actions.add)
        except Conflict as refusal:
            # Only here is the role's kind a matter of where it is given.
            if refusal.code == "role.other_kind":
                raise Conflict("role.not_for_scope") from refusal
            raise
        return Answer(201, schemas.encode(schemas.Expiry(until)))

    def _update(call: Call) -> Answer:
        until = _change(call, rights.regrant, membership_actions.update)
        return Answer(200, schemas.encode(schemas.Expiry(until)))

    def _delete(call: Call) -> Answer:
        _change(
            call,
            rights.revoke,
            lambda tx, actor, seat, _until: membership_actions.remove(tx, actor, seat),
        )
        return Answer(200)

    return {
        f"{base}list_users/": {
            "GET": Operation(
                _team,
                "List the team.",
                answers=schemas.TeamMember,
                many=True,
                filters=TEAM_FILTERS,
                orders=membership_queries.team.orders,
                sparse=True,
            ),
        },
        f"{base}add_user/": {
            "POST": Operation(
                _add, "Give somebody a role.", form=_SEAT, answers=schemas.Expiry, status=201
            ),
        },
        f"{base}update_user/": {
            "POST": Operation(
                _update, "Set the end of somebody's role.", form=_SEAT, answers=schemas.Expiry
            ),
        },
        f"{base}delete_user/": {
            "POST": Operation(_delete, "Take a role away.", form=_SEAT),
        },
    }


ROUTES: Routes = {
    "/api/user-permissions/": {
        "GET": Operation(
            _list,
            "List your grants, or all of them.",
            answers=schemas.Permission,
            many=True,
            filters=FILTERS,
            orders=membership_queries.listing.orders,
        ),
    },
    "/api/user-permissions/{uuid}/": {
        "GET": Operation(_retrieve, "Show a grant.", answers=schemas.Permission),
    },
}
