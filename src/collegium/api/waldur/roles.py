"""Endpoints for roles: ``/api/roles/``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

from msgspec import UnsetType
from sqlalchemy import true

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind, require_staff
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Lookup, Private, Related, Resource, ResourceList, field
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.lookups import BOOLEAN, CONTAINS, fixed, part_of_any
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.tables import roles
from collegium.lists.filters import is_equal
from collegium.refusals import NotFound
from collegium.roles import actions as role_actions
from collegium.roles import queries as role_queries
from collegium.roles.availability import actions as availability_actions
from collegium.roles.queries import RoleRow
from collegium.roles.rules import NAME_MAX
from collegium.values import Boolean, Choice, Kind, Name, Text, Uuid, check_list, parse_all

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


def _description(code: str) -> Any:
    """Declare a field with the description in one language."""
    return field(
        "descriptions",
        get=lambda descriptions: descriptions.get(code),
        write=Text(max=2000, null=True, source=f"description_{code}"),
        default=None,
    )


_PERMISSIONS: Final = Related(
    lambda _context, tx, rows: {
        key: list(names)
        for key, names in role_queries.permissions_of(tx, [row.id for row in rows]).items()
    },
    default=[],
)
_HOLDERS: Final = Related(
    lambda context, tx, rows: (
        role_queries.count_people(tx, [row.id for row in rows]) if context.actor.sees_all else {}
    ),
    default=0,
)


class RoleDescription(Resource, frozen=True, gc=False):
    """The description of a role, in every language of this API."""

    description: str = field(write=Text(max=2000))
    description_en: str | None = _description("en")
    description_et: str | None = _description("et")
    description_lt: str | None = _description("lt")
    description_lv: str | None = _description("lv")
    description_ru: str | None = _description("ru")
    description_it: str | None = _description("it")
    description_de: str | None = _description("de")
    description_da: str | None = _description("da")
    description_sv: str | None = _description("sv")
    description_es: str | None = _description("es")
    description_fr: str | None = _description("fr")
    description_nb: str | None = _description("nb")
    description_ar: str | None = _description("ar")
    description_cs: str | None = _description("cs")
    description_hr: str | None = _description("hr")
    description_km: str | None = _description("km")


class Role(Resource, frozen=True, gc=False):
    """A role, with its description in every language of this API."""

    sparse: ClassVar = True

    uuid: str = field()
    name: str = field(
        write=Name(required=True, blank=False, max=NAME_MAX),
        filter=CONTAINS,
        order=roles.c.name_sort,
    )
    description: str = field(write=Text(max=2000), filter=CONTAINS)
    permissions: list[str] = field(_PERMISSIONS, write=Permissions(required=True))
    is_system_role: bool = field("is_system", filter=BOOLEAN)
    is_active: bool = field(write=Boolean(), filter=BOOLEAN, order=True)
    content_type: str = field(
        "kind",
        get=lambda kind: schemas.KINDS.get(kind, kind),
        write=Choice(required=True, of=_KINDS, problem="content_type"),
        filter=Lookup(filters.SCOPE_TYPE, is_equal),
    )
    users_count: int | UnsetType = field(
        _HOLDERS, private=Private("sees_all"), order=role_queries.HOLDERS
    )
    description_en: str | None = _description("en")
    description_et: str | None = _description("et")
    description_lt: str | None = _description("lt")
    description_lv: str | None = _description("lv")
    description_ru: str | None = _description("ru")
    description_it: str | None = _description("it")
    description_de: str | None = _description("de")
    description_da: str | None = _description("da")
    description_sv: str | None = _description("sv")
    description_es: str | None = _description("es")
    description_fr: str | None = _description("fr")
    description_nb: str | None = _description("nb")
    description_ar: str | None = _description("ar")
    description_cs: str | None = _description("cs")
    description_hr: str | None = _description("hr")
    description_km: str | None = _description("km")
    template_uuid: str | None = field(default=None)
    template_name: str | None = field(default=None)
    customer_uuid: str | None = field("organisation_uuid", default=None)
    customer_name: str | None = field("organisation_name", default=None)


LIST: Final = ResourceList(
    Role,
    role_queries.listing,
    filters={
        "available_for_customer": fixed(
            filters.Uuid(), role_queries.listing.filters["for_organisation"]
        ),
        "include_concealed": fixed(filters.OptIn(), true()),
        "query": part_of_any(roles.c.name, roles.c.description),
    },
    orders={"origin": (roles.c.is_system,), "scope": (roles.c.kind,)},
)
_DESCRIPTIONS: Final = RoleDescription.body()
_BODY: Final = Role.body()
_CLONE: Final = {
    "customer": Uuid(required=True),
    "description": Text(max=2000),
    "conceal_template": Boolean(),
}


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


def _check_unique(tx: WriteTransaction, form: Form, role: RoleRow | None) -> None:
    """Add the errors of a body that only the rules and the other roles reveal.

    Args:
        role: the role that is changed; None: a new one.

    Raises:
        BadRequestError: with the errors of all fields.
    """
    for refusal in role_actions.problems(tx, role, form.values, form.values.get("permissions", ())):
        form.refuse(refusal)
    form.check()


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    values = lists.read(context, LIST)
    with_concealed = values.pop("include_concealed", False)
    if "available_for_customer" in values:
        values["available_for_customer"] = values["available_for_customer"], with_concealed
    return lists.respond(context, tx, LIST, values)


def _detail(context: RequestContext, tx: ReadTransaction, uuid: str, status: int = 200) -> Response:
    return lists.detail(context, tx, Role, role_queries.get_by_uuid(tx, uuid), status)


def _create(context: RequestContext) -> Response:
    require_staff(context.actor)
    form = _read_form(context, _BODY)
    with context.write() as tx:
        _check_unique(tx, form, None)
        permissions = form.values.pop("permissions")
        uuid = role_actions.create(tx, context.actor, form.values, permissions)
        return _detail(context, tx, uuid, 201)


def _update(context: RequestContext) -> Response:
    require_staff(context.actor)
    uuid = context.uuid("role")
    with context.write() as tx:
        role = role_queries.get_by_uuid_locked(tx, uuid)
        form = _read_form(context, _BODY, is_partial=context.method == "PATCH")
        _check_unique(tx, form, role)
        permissions = form.values.pop("permissions", None)
        role_actions.update(tx, context.actor, uuid, form.values, permissions)
        return _detail(context, tx, uuid)


def _describe(context: RequestContext) -> Response:
    require_staff(context.actor)
    uuid = context.uuid("role")
    with context.write() as tx:
        role_queries.get_by_uuid_locked(tx, uuid)
        form = _read_form(context, _DESCRIPTIONS)
        form.check()
        role_actions.update(tx, context.actor, uuid, form.values)
        return lists.detail(context, tx, RoleDescription, role_queries.get_by_uuid(tx, uuid))


def load_organisation(
    context: RequestContext, tx: ReadTransaction, form: Form
) -> access_queries.ScopeAccess | None:
    """Return the organisation that the field ``customer`` names by its UUID.

    An unknown one becomes an error of the form. The result is then None.
    """
    uuid = form.values.get("customer")
    if uuid is None:
        return None
    try:
        return access_queries.get_visible(tx, context.actor, ScopeKind.ORGANISATION, uuid)
    except NotFound:
        form.reject("customer", f"Object with uuid={uuid} does not exist.")
        return None


def _clone(context: RequestContext) -> Response:
    require_staff(context.actor)
    uuid = context.uuid("role")
    with context.write() as tx:
        role_queries.get_by_uuid(tx, uuid)
        form = read(context, _CLONE)
        organisation = form.checked(load_organisation(context, tx, form))
        clone = availability_actions.clone(
            tx,
            context.actor,
            uuid,
            organisation,
            description=form.values.get("description", ""),
            conceals=form.values.get("conceal_template", True),
        )
        return _detail(context, tx, clone)


def _set_active(context: RequestContext, *, active: bool) -> Response:
    with context.write() as tx:
        role = role_actions.set_active(tx, context.actor, context.uuid("role"), active=active)
    state = "enabled" if active else "disabled"
    return Response(200, schemas.encode(schemas.Detail(f"The role {role.name} has been {state}")))


ROUTES: Routes = {
    "/api/roles/": {
        "GET": lists.endpoint(
            LIST, "List the roles. Without an account, only the built-in ones.", _list, public=True
        ),
        "POST": Endpoint(
            _create,
            "Create a role, for staff.",
            body=_BODY,
            response_type=Role,
            status=201,
        ),
    },
    "/api/roles/{uuid}/": {
        "GET": lists.retrieve(
            Role,
            role_queries.get_visible,
            "role",
            "Show a role. Without an account, only a built-in one.",
            public=True,
        ),
        **lists.updates(
            _update,
            "Change a role, for staff.",
            "Change some fields of a role, for staff.",
            body=_BODY,
            response_type=Role,
        ),
        "DELETE": lists.delete(
            role_actions.delete, "role", "Delete a role that was never used, for staff."
        ),
    },
    "/api/roles/{uuid}/clone_to_customer/": {
        "POST": Endpoint(
            _clone,
            "Copy a role into an organisation, for staff.",
            body=_CLONE,
            response_type=Role,
        ),
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
            response_type=RoleDescription,
        ),
    },
}
