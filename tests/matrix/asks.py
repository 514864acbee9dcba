"""What the rows of the matrix ask for, and what they send along."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from collegium.api.request import Endpoint
from collegium.api.waldur import fields, roles
from collegium.invitations import approvals
from collegium.roles import queries as role_queries
from tests.matrix.stage import PASSWORD, Stage, Tenant
from tests.support.remote import new_key
from tests.support.world import Person

_REQUESTS: Final = "/api/private/users/groupmembershiprequest/"
_INVITATIONS: Final = "/api/private/users/groupmembershipinvitation/"

# The object that each place in a path stands for; the longest beginning of the path decides.
OBJECTS: Final[dict[str, dict[str, str]]] = {
    "/api/auth-tokens/": {"user_id": "account number"},
    "/api/users/": {"uuid": "account"},
    "/api/customers/": {"uuid": "organisation"},
    "/api/projects/": {"uuid": "project"},
    "/api/roles/": {"uuid": "role"},
    "/api/user-permissions/": {"uuid": "grant"},
    "/api/user-invitations/": {"uuid": "invitation"},
    "/api/user-group-invitations/": {"uuid": "link"},
    "/api/user-group-invitations/{uuid}/projects/": {"uuid": "organisation's link"},
    "/api/user-permission-requests/": {"uuid": "request"},
    "/api/keys/": {"uuid": "key"},
    "/api/events/": {"uuid": "event"},
    "/api/media/": {"uuid": "picture"},
    _REQUESTS: {"uuid": "group's request"},
    _INVITATIONS: {"uuid": "group's invitation"},
    "/api/private/users/group/": {"id": "group"},
    "/api/public/users/group/": {"id": "group"},
    "/api/private/users/user/": {"id": "group member's number"},
    "/api/public/users/user/": {"id": "group member's number"},
    **{
        f"/api/{portal}/{app}/laboratory/": {"uuid": "organisation"}
        for portal in ("private", "public")
        for app in ("users", "attributes")
    },
    "/password_reset/": {"token": "password link"},
    "/user_email_change/": {"code": "address code"},
    "/user_email_change_cancel/": {"code": "address cancel code"},
    "/invitation/": {"token": "mailed link"},
    **{f"/{one}/": {"token": one} for one in (approvals.APPROVE, approvals.REJECT)},
    "/open_invitation/": {"uuid": "link"},
    "/group/": {"number": "group"},
    "/group/{number}/team/people/": {"one": "group's grant"},
    "/group/{number}/team/invitations/": {"one": "group's invitation"},
    "/staff/accounts/": {"uuid": "account"},
    "/staff/organisations/": {"uuid": "organisation"},
    "/staff/roles/": {"uuid": "role"},
    "/account/requests/": {"uuid": "request"},
    "/account/leave/": {"uuid": "grant"},
    "/account/keys/": {"uuid": "key"},
    "/organisation/": {"uuid": "organisation"},
    "/organisation/{uuid}/people/": {"one": "organisation's grant"},
    "/organisation/{uuid}/invitations/": {"one": "ownership"},
    "/organisation/{uuid}/links/": {"one": "organisation's link"},
    "/project/": {"uuid": "project"},
    "/project/{uuid}/people/": {"one": "grant"},
    "/project/{uuid}/invitations/": {"one": "invitation"},
    "/project/{uuid}/links/": {"one": "link"},
}

# What tells in a list whether the tenant's object is in it, where that is not its UUID.
LISTED: Final[dict[str, Callable[[Tenant], str]]] = {
    "/api/auth-tokens/": lambda tenant: f"{tenant.name}colleague",
    "/api/user-permissions/": lambda tenant: f"{tenant.name}colleague".title(),
    "/api/user-group-invitations/{uuid}/projects/": lambda tenant: tenant.project.uuid,
    "/api/private/users/group/": lambda tenant: f"{tenant.name.title()} Club",
    "/api/public/users/group/": lambda tenant: f"{tenant.name.title()} Club",
    "/api/private/users/user/": lambda tenant: f"{tenant.name}clubcolleague".title(),
    "/api/public/users/user/": lambda tenant: f"{tenant.name}clubcolleague".title(),
    "/requests/": lambda tenant: f"tree {tenant.objects['request']}",
}
OF_EVERYBODY: Final = {"/api/roles/", "/api/customers/countries/"}
"""Lists that hold nothing of any tenant."""

TELLING: Final = {
    "/api/user-invitations/{uuid}/check/": "the UUID of an invitation is a capability",
    "/api/user-invitations/{uuid}/details/": "so it is here",
    "/invitation/{token}/": "its link is one",
    "/invitation/{token}/decline/": "its link is one",
    "/api/user-group-invitations/{uuid}/": "so is that of an open invitation",
    "/api/user-group-invitations/{uuid}/submit_request/": "it says where one has asked",
    "/open_invitation/{uuid}/": "as the route of the API",
    "/invitation_approve/{token}/": "the link is staff's",
    "/invitation_reject/{token}/": "the link is staff's",
    "/password_reset/{token}/": "the link is the account's",
    "/forgotten_password/": "it repeats what was typed",
}
"""Paths that tell whoever has got hold of them something of the tenant."""

WRITTEN_DOWN: Final = {"/api/users/{uuid}/token/": "a secret of somebody else is shown to staff"}
"""What leaves a note in history although it only shows something, and why."""


def is_of_group(path: str) -> bool:
    """Tell whether a path is about groups, whose people are others."""
    return path.startswith(("/api/private/", "/api/public/", "/group/"))


def places(path: str) -> dict[str, str]:
    """The names of the objects in a path."""
    found: dict[str, str] = {}
    for beginning in sorted(OBJECTS, key=len):
        if path.startswith(beginning):
            found |= OBJECTS[beginning]
    return {name: found[name] for name in re.findall(r"{(\w+)}", path) if name in found}


def own(stage: Stage, path: str, who: Person | None) -> dict[str, str]:
    """The objects of a (self) row: one's own, or a stranger's for who has no account."""
    someone = who or stage.outside["stranger"]
    assert someone is not None
    tenants = stage.tenants
    keys = (tenant.objects.get(f"key of {someone.uuid}") for tenant in tenants)
    return {
        "account": someone.uuid,
        "group member's number": str(someone.id),
        "key": next(filter(None, keys), ""),
        "grant": stage.grants.get(someone.uuid, uuid4().hex),
    }


def fill(stage: Stage, path: str, tenant: Tenant, mine: dict[str, str] | None) -> str:
    """The path to the object of a tenant, or to one's own."""
    known = {"role": stage.role} | tenant.objects | (mine or {})
    return path.format_map({name: known[what] for name, what in places(path).items()})


# Bodies.

_SAMPLES: Final[dict[type[fields.Field], Callable[[], Any]]] = {
    fields.Boolean: lambda: False,
    fields.Integer: lambda: 60,
    fields.Decimal: lambda: 1.5,
    fields.Date: lambda: _soon().date().isoformat(),
    fields.DateTime: lambda: _soon().isoformat(),
    fields.Uuid: lambda: uuid4().hex,
    fields.File: lambda: None,
    fields.StringList: lambda: ["x"],
    roles.ContentType: lambda: "project",
    roles.Permissions: lambda: ["PROJECT.UPDATE"],
}
_TEXTS: Final = (
    "EE",
    "somebody@example.org",
    "+372 5555",
    "1.00",
    "10.0.0.0/8",
    "https://example.org/",
)


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(days=30)


def _sample(name: str, kind: fields.Field) -> Any:
    """A value that a field of a body takes."""
    if isinstance(kind, fields.Text):
        return next(text for text in _TEXTS if _is_taken(kind, text))
    if isinstance(kind, fields.Choice):
        return next(iter(kind.of))
    assert type(kind) in _SAMPLES, f"add a sample of {type(kind).__name__}, for {name}"
    return _SAMPLES[type(kind)]()


def _is_taken(kind: fields.Field, text: str) -> bool:
    try:
        kind.read(text, form=False)
    except fields.ValidationError:
        return False
    return True


def _waldur(stage: Stage, path: str, operation: Endpoint, tenant: Tenant) -> dict[str, Any]:
    """A body with every field of the operation."""
    body = {name: _sample(name, kind) for name, kind in (operation.body or {}).items()}
    role = "CUSTOMER.OWNER" if "/customers/" in path else "PROJECT.MEMBER"
    holder = "coowner" if "/customers/" in path else "colleague"
    newcomer = stage.world.staff
    known = {
        "customer": tenant.organisation.path,
        "scope": tenant.project.path,
        "role": stage.world.role(role).uuid,
        "project_role": stage.world.role("PROJECT.MEMBER").uuid,
        "user": (newcomer if "add_user" in path else tenant.tree[holder]).uuid,
        "slug": f"s-{uuid4().hex}",
        "username": f"u-{uuid4().hex}",
        "agree_with_policy": True,
        "is_public": False,
        "code": tenant.objects["address code"],
        "password": PASSWORD,
        "new_password": PASSWORD,
        "public_key": new_key(),
        "name": f"CUSTOM.{uuid4().hex}",
    }
    body |= {name: value for name, value in known.items() if name in body}
    return body | (_WALDUR[path](tenant) if path in _WALDUR else {})


_WALDUR: Final[dict[str, Callable[[Tenant], dict[str, Any]]]] = {
    "/api-auth/password/": lambda tenant: {"username": f"{tenant.name}colleague"},
    # An end is given by who may remove the project, and access by fewer still.
    "/api/projects/{uuid}/": lambda _tenant: {"end_date": None},
    "/api/user-invitations/approve/": lambda tenant: {"token": tenant.objects[approvals.APPROVE]},
    "/api/user-invitations/reject/": lambda tenant: {"token": tenant.objects[approvals.REJECT]},
}
_BRAINSTEM: Final[dict[str, Callable[[Tenant], dict[str, Any]]]] = {
    "/api/token/": lambda tenant: {"username": f"{tenant.name}colleague", "password": PASSWORD},
    "/api/auth/token/": lambda tenant: {
        "email": tenant.tree["colleague"].email,
        "password": PASSWORD,
    },
    "/api/auth/token/refresh/": lambda tenant: {"refresh": tenant.objects["refresh"]},
    "/api/auth/device/": lambda _tenant: {"client_name": "a test"},
    "/api/auth/device/token/": lambda tenant: {"device_code": tenant.objects["device code"]},
    "/api/private/users/group/": lambda _tenant: {"name": "Another Club"},
    "/api/private/users/group/{id}/": lambda _tenant: {"name": "Another Club"},
    "/api/private/users/user/{id}/": lambda _tenant: {"atlas_preference": "AIA"},
}


def _team(role: str) -> dict[str, Callable[[Stage, Tenant, Person | None], dict[str, Any]]]:
    """The forms of the pages of a team.

    Args:
        role: that is given there.
    """
    return {
        # In groups managers take members out, and give no role another end.
        "people/{one}/": lambda _s, _t, _w: (
            {"action": "remove"}
            if role == "GROUP.MEMBER"
            else {"action": "end", "until": "2099-12-31"}
        ),
        "add/": lambda s, t, _w: {
            "account": _newcomer(role, t).uuid,
            "role": _number_of(s, role),
        },
        "invite/": lambda s, _t, _w: {
            "action": "send",
            "addresses": "somebody.new@example.org",
            "role": _number_of(s, role),
        },
        "invitations/{one}/": lambda _s, _t, _w: {"action": "cancel"},
        "link/": lambda s, _t, _w: {"role": s.world.role(role).uuid},
        "links/{one}/": lambda _s, _t, _w: {"action": "close"},
    }


def _newcomer(role: str, tenant: Tenant) -> Person:
    """Somebody whom whoever lets people in can see, and who has not that role there."""
    if role == "GROUP.MEMBER":
        return tenant.group["sibling"]
    return tenant.tree["member" if role == "CUSTOMER.OWNER" else "owner"]


def _number_of(stage: Stage, role: str) -> str:
    with stage.database.read() as tx:
        row: Any = role_queries.named(tx, role, None, groups=role.startswith("GROUP."))
    return str(row.uuid)


_TWICE: Final = {"password": f"{PASSWORD} again", "again": f"{PASSWORD} again"}
FORMS: Final[dict[str, Callable[[Stage, Tenant, Person | None], dict[str, Any]]]] = {
    "/sign_in/": lambda _s, t, _w: {"username": f"{t.name}colleague", "password": PASSWORD},
    "/forgotten_password/": lambda _s, t, _w: {"email": t.tree["colleague"].email},
    "/password_reset/{token}/": lambda _s, _t, _w: _TWICE,
    "/invitation/{token}/": lambda _s, _t, _w: {
        "username": "somebody.new",
        "first_name": "Some",
        "last_name": "Body",
        "agrees": "yes",
        **_TWICE,
    },
    "/requests/": lambda _s, t, _w: {
        "action": "approve",
        "request": f"tree {t.objects['request']}",
    },
    "/account/profile/": lambda _s, _t, _w: {"first_name": "New", "agree_with_policy": "yes"},
    "/account/picture/": lambda _s, _t, _w: {"remove": "yes", "agree_with_policy": "yes"},
    "/account/address/": lambda _s, _t, _w: {
        "email": "somebody.new@example.org",
        "password": PASSWORD,
    },
    "/account/password/": lambda _s, _t, _w: {"current": PASSWORD, **_TWICE},
    "/account/keys/": lambda _s, _t, _w: {"public_key": new_key(), "name": "new"},
    "/account/second_factor/": lambda _s, _t, _w: {"action": "begin", "password": PASSWORD},
    "/account/tokens/": lambda _s, _t, _w: {"name": "new"},
    "/account/tokens/end/": lambda _s, t, _w: {"kind": "token", "number": t.objects["token"]},
    "/account/tokens/end/ (self)": lambda _s, _t, _w: {"kind": "others"},
    "/account/authorize/": lambda _s, t, _w: {"action": "approve", "device": t.objects["device"]},
    "/teams/": lambda _s, _t, _w: {"name": "Another Club"},
    "/staff/accounts/new/": lambda _s, _t, _w: {
        "username": "somebody.new",
        "email": "somebody.new@example.org",
        "first_name": "Some",
        "last_name": "Body",
        "kind": "",
    },
    "/staff/accounts/{uuid}/": lambda _s, _t, _w: {"action": "deactivate"},
    "/staff/organisations/new/": lambda _s, _t, _w: {
        "name": "New",
        "email": "somebody.new@example.org",
    },
    "/staff/organisations/{uuid}/": lambda _s, _t, _w: {"action": "block"},
    "/staff/roles/new/": lambda _s, _t, _w: {"name": "CUSTOM.NEW", "kind": "project"},
    "/staff/roles/{uuid}/": lambda _s, _t, _w: {"action": "disable"},
    "/staff/mails/": lambda _s, _t, _w: {"action": "retry_all"},
    **{
        f"/group/{{number}}/team/{at}": form
        for at, form in _team("GROUP.MEMBER").items()
        if "link" not in at
    },
    **{f"/organisation/{{uuid}}/{at}": form for at, form in _team("CUSTOMER.OWNER").items()},
    **{f"/project/{{uuid}}/{at}": form for at, form in _team("PROJECT.MEMBER").items()},
}
"""What is sent along with the form of a page, besides its token."""


def body(
    stage: Stage, path: str, operation: Endpoint, tenant: Tenant, who: Person | None
) -> dict[str, Any]:
    """What somebody sends to a route of an API who means it."""
    if is_of_group(path) or path.startswith(("/api/token/", "/api/auth/")):
        return _BRAINSTEM[path](tenant) if path in _BRAINSTEM else {}
    return _waldur(stage, path, operation, tenant)
