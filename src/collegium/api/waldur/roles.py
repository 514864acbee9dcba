"""Endpoints for roles: ``/api/roles/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from collegium.access.rules import ScopeKind
from collegium.accounts.actions import require_staff
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Row
from collegium.refusals import Invalid
from collegium.roles import actions as role_actions
from collegium.roles import queries as role_queries
from collegium.roles.rules import NAME_MAX, check_kind, check_permissions
from collegium.values import Boolean, Choice, Kind, Name, Text, check_list, parse_all

_KINDS: Final = {word: kind.value for kind, word in schemas.KINDS.items()}
_PERMISSION_NAME: Final = Text(blank=False, max=64)
_NAMES_MAX: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Permissions(Kind):
    """Names of permissions, without duplicates."""

    def from_form(self, raw: str | bytes) -> Any:
        """Return the names in a text with commas."""
        if not isinstance(raw, str):
            return raw
        names = raw.split(",", _NAMES_MAX + 1)
        return names if len(names) > _NAMES_MAX else [name for name in names if name.strip()]

    def parse(self, raw: Any) -> list[str]:
        """Return the list of names.

        Client 8.1.3 can only send an object. Its keys are the names; keys with the value ``null``
        or ``false`` are left out.
        """
        if isinstance(raw, dict):
            check_list([*raw], _NAMES_MAX)
            raw = [name for name, value in raw.items() if value not in (None, False)]
        check_list(raw, _NAMES_MAX)
        return list(dict.fromkeys(parse_all(_PERMISSION_NAME.parse, raw)))

    def schema(self) -> dict[str, Any]:
        """Return the schema of a list of names."""
        return {"type": "array", "items": {"type": "string"}}


_DESCRIPTIONS: Final[dict[str, Kind]] = {
    "description": Text(max=2000),
    **{f"description_{code}": Text(max=2000, null=True) for code in schemas.LANGUAGES},
}
_FIELDS: Final[dict[str, Kind]] = {
    "name": Name(required=True, blank=False, max=NAME_MAX),
    "permissions": Permissions(required=True),
    "content_type": Choice(required=True, source="kind", of=_KINDS, problem="content_type"),
    **_DESCRIPTIONS,
    "is_active": Boolean(),
}


def _render_roles(
    context: RequestContext, tx: ReadTransaction, rows: Sequence[Row]
) -> list[schemas.Role]:
    ids = [row.id for row in rows]
    permissions = role_queries.permissions_of(tx, ids)
    holder_counts = role_queries.count_people(tx, ids) if context.actor.sees_all else None
    return [
        schemas.role(
            row,
            permissions.get(row.id, ()),
            None if holder_counts is None else holder_counts.get(row.id, 0),
        )
        for row in rows
    ]


FILTERS: Final = {
    "content_type": filters.SCOPE_TYPE,
    "description": filters.Contains(),
    "is_active": filters.BooleanFilter(),
    "is_system_role": filters.BooleanFilter(),
    "name": filters.Contains(),
    "query": filters.Contains(),
}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    return lists.respond_page(
        context,
        tx,
        role_queries.listing,
        lambda rows: _render_roles(context, tx, rows),
        filters=filters.read(context, FILTERS, role_queries.listing.orders),
        sparse=True,
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = role_queries.get_visible(tx, context.actor, context.uuid("role"))
    return Response(
        200, schemas.encode(lists.fields(context, _render_roles(context, tx, [row])[0]))
    )


def _read_form(
    context: RequestContext, fields: dict[str, Kind], *, is_partial: bool = False
) -> Form:
    form = read(context, fields, partial=is_partial)
    descriptions = {
        code: form.values.pop(f"description_{code}")
        for code in schemas.LANGUAGES
        if f"description_{code}" in form.values
    }
    if descriptions:
        form.values["descriptions"] = descriptions
    return form


def _check_unique(tx: WriteTransaction, form: Form, role: Row | None) -> None:
    """Add the errors of a body that only the rules and the other roles reveal.

    Args:
        role: the role that is changed; None: a new one.

    Raises:
        BadRequestError: with the errors of all fields.
    """
    values = form.values
    kind = values.get("kind") if role is None else role.kind
    try:
        if role is not None:
            check_kind(role.kind, values.get("kind", role.kind))
    except Invalid as refusal:
        form.refuse(refusal)
    try:
        if kind is not None:
            check_permissions(ScopeKind(kind), values.get("permissions", ()))
    except Invalid as refusal:
        form.refuse(refusal)
    if "name" in values and role_queries.is_name_taken(tx, values["name"], role.id if role else 0):
        form.refuse(Invalid("role.name_taken", field="name"))
    form.check()


def _role_response(context: RequestContext, tx: ReadTransaction, uuid: str) -> Response:
    return Response(
        200, schemas.encode(_render_roles(context, tx, [role_queries.get_by_uuid(tx, uuid)])[0])
    )


def _create(context: RequestContext) -> Response:
    require_staff(context.actor)
    form = _read_form(context, _FIELDS)
    with context.write() as tx:
        _check_unique(tx, form, None)
        permissions = form.values.pop("permissions")
        uuid = role_actions.create(tx, context.actor, form.values, permissions)
        response = _role_response(context, tx, uuid)
    response.status = 201
    return response


def _update(context: RequestContext) -> Response:
    require_staff(context.actor)
    uuid = context.uuid("role")
    with context.write() as tx:
        role = role_queries.get_by_uuid_locked(tx, uuid)
        form = _read_form(context, _FIELDS, is_partial=context.method == "PATCH")
        _check_unique(tx, form, role)
        permissions = form.values.pop("permissions", None)
        role_actions.update(tx, context.actor, uuid, form.values, permissions)
        return _role_response(context, tx, uuid)


def _describe(context: RequestContext) -> Response:
    require_staff(context.actor)
    uuid = context.uuid("role")
    with context.write() as tx:
        role_queries.get_by_uuid_locked(tx, uuid)
        form = _read_form(context, _DESCRIPTIONS)
        form.check()
        role_actions.update(tx, context.actor, uuid, form.values)
        return Response(
            200, schemas.encode(schemas.role_description(role_queries.get_by_uuid(tx, uuid)))
        )


def _set_active(context: RequestContext, *, active: bool) -> Response:
    with context.write() as tx:
        role = role_actions.set_active(tx, context.actor, context.uuid("role"), active=active)
    state = "enabled" if active else "disabled"
    return Response(200, schemas.encode(schemas.Detail(f"The role {role.name} has been {state}")))


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        role_actions.delete(tx, context.actor, context.uuid("role"))
    return Response(204)


ROUTES: Routes = {
    "/api/roles/": {
        "GET": Endpoint(
            _list,
            "List the roles. Without an account, only the built-in ones.",
            public=True,
            reads_db=True,
            response_type=schemas.Role,
            is_list=True,
            filters=FILTERS,
            orders=role_queries.listing.orders,
            sparse_fields=True,
        ),
        "POST": Endpoint(
            _create,
            "Create a role, for staff.",
            body=_FIELDS,
            response_type=schemas.Role,
            status=201,
        ),
    },
    "/api/roles/{uuid}/": {
        "GET": Endpoint(
            _retrieve,
            "Show a role. Without an account, only a built-in one.",
            public=True,
            reads_db=True,
            response_type=schemas.Role,
            sparse_fields=True,
        ),
        "PUT": Endpoint(
            _update, "Change a role, for staff.", body=_FIELDS, response_type=schemas.Role
        ),
        "PATCH": Endpoint(
            _update,
            "Change some fields of a role, for staff.",
            body=_FIELDS,
            response_type=schemas.Role,
            partial=True,
        ),
        "DELETE": Endpoint(_delete, "Delete a role that was never used, for staff.", status=204),
    },
    "/api/roles/{uuid}/enable/": {
        "POST": Endpoint(
            partial(_set_active, active=True),
            "Enable a role, for staff.",
            response_type=schemas.Detail,
        ),
    },
    "/api/roles/{uuid}/disable/": {
        "POST": Endpoint(
            partial(_set_active, active=False),
            "Disable a role, for staff.",
            response_type=schemas.Detail,
        ),
    },
    "/api/roles/{uuid}/update_descriptions/": {
        "PUT": Endpoint(
            _describe,
            "Change the descriptions of a role, for staff.",
            body=_DESCRIPTIONS,
            response_type=schemas.RoleDescription,
        ),
    },
}
