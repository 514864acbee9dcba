"""The objects, bodies and forms of the requests of each row of the matrix."""

import re
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

from collegium.access.rules import KINDS
from collegium.api.request import Endpoint
from collegium.invitations import approvals
from collegium.roles import queries as role_queries
from tests.api.scene import sample
from tests.matrix.scene import PASSWORD, Scene, Tenant
from tests.rules.test_providers import VALID
from tests.support.hooks import DESTINATION
from tests.support.remote import new_key
from tests.support.world import Person

_REQUESTS: Final = "/api/private/users/groupmembershiprequest/"
_INVITATIONS: Final = "/api/private/users/groupmembershipinvitation/"

# The object for each name in a path; the longest matching prefix decides.
OBJECTS: Final[dict[str, dict[str, str]]] = {
    "/api-auth/": {"provider": "unknown provider"},
    "/api/auth-tokens/": {"user_id": "account number"},
    "/api/users/": {"uuid": "account"},
    "/api/customers/": {"uuid": "organisation"},
    "/api/projects/": {"uuid": "project"},
    "/api/projects/{uuid}/recover/": {"uuid": "deleted project"},
    "/api/roles/": {"uuid": "role"},
    "/api/role-availabilities/": {"uuid": "availability"},
    "/api/customer-role-concealments/": {"uuid": "concealment"},
    "/api/identity-providers/": {"provider": "provider"},
    "/api/autoprovisioning-rules/": {"uuid": "rule"},
    "/api/user-agreements/": {"uuid": "agreement"},
    "/api/customer-permissions-reviews/": {"uuid": "organisation's review"},
    "/api/project-permissions-reviews/": {"uuid": "review"},
    "/api/imports/": {"uuid": "judged import"},
    "/api/imports/{uuid}/cancel/": {"uuid": "running import"},
    "/api/imports/{uuid}/undo/": {"uuid": "done import"},
    "/api/user-permissions/": {"uuid": "grant"},
    "/api/user-invitations/": {"uuid": "invitation"},
    "/api/user-group-invitations/": {"uuid": "link"},
    "/api/user-group-invitations/{uuid}/projects/": {"uuid": "organisation's link"},
    "/api/user-permission-requests/": {"uuid": "request"},
    "/api/keys/": {"uuid": "key"},
    "/api/hooks-web/": {"uuid": "web hook"},
    "/api/hooks-email/": {"uuid": "email hook"},
    "/api/passkeys/": {"uuid": "passkey"},
    "/api/staff-passkeys/": {"uuid": "passkey"},
    "/api/events/": {"uuid": "event"},
    "/api/notification-messages-templates/": {"uuid": "mail template"},
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
    "/identity_link/": {"token": "unknown provider"},
    "/setup/": {"token": "unknown provider"},
    "/staff/mails/": {"id": "mail"},
    "/password_reset/": {"token": "password link"},
    "/user_email_change/": {"code": "address code"},
    "/user_email_change_cancel/": {"code": "address cancel code"},
    "/unsubscribe/": {"token": "unsubscribe link"},
    "/invitation/": {"token": "mailed link"},
    **{f"/{purpose}/": {"token": purpose} for purpose in (approvals.APPROVE, approvals.REJECT)},
    "/open_invitation/": {"uuid": "link"},
    "/group/": {"number": "group"},
    "/group/{number}/team/people/": {"one": "group's grant"},
    "/group/{number}/team/invitations/": {"one": "group's invitation"},
    "/group/{number}/team/bulk/": {"one": "group's bulk change"},
    "/group/{number}/team/reviews/": {"one": "group's review"},
    "/staff/accounts/": {"uuid": "account"},
    "/staff/organisations/": {"uuid": "organisation"},
    "/staff/roles/": {"uuid": "role"},
    "/staff/providers/": {"provider": "provider"},
    "/staff/rules/": {"uuid": "rule"},
    "/staff/agreements/": {"uuid": "agreement"},
    "/account/requests/": {"uuid": "request"},
    "/account/leave/": {"uuid": "grant"},
    "/account/keys/": {"uuid": "key"},
    "/account/hooks/": {"uuid": "web hook"},
    "/organisation/": {"uuid": "organisation"},
    "/organisation/{uuid}/people/": {"one": "organisation's grant"},
    "/organisation/{uuid}/invitations/": {"one": "ownership"},
    "/organisation/{uuid}/imports/": {"one": "organisation's import"},
    "/organisation/{uuid}/bulk/": {"one": "organisation's bulk change"},
    "/organisation/{uuid}/links/": {"one": "organisation's link"},
    "/organisation/{uuid}/reviews/": {"one": "organisation's review"},
    "/organisation/{uuid}/deleted/": {"one": "deleted project"},
    "/project/": {"uuid": "project"},
    "/project/{uuid}/people/": {"one": "grant"},
    "/project/{uuid}/invitations/": {"one": "invitation"},
    "/project/{uuid}/imports/": {"one": "judged import"},
    "/project/{uuid}/bulk/": {"one": "bulk change"},
    "/project/{uuid}/links/": {"one": "link"},
    "/project/{uuid}/reviews/": {"one": "review"},
}

# The text that identifies the object of a tenant in a list, where it is not the UUID.
LISTED: Final[dict[str, Callable[[Tenant], str]]] = {
    "/api/auth-tokens/": lambda tenant: f"{tenant.name}colleague",
    "/api/user-permissions/": lambda tenant: f"{tenant.name}colleague".title(),
    "/api/user-group-invitations/{uuid}/projects/": lambda tenant: tenant.project.uuid,
    "/api/private/users/group/": lambda tenant: f"{tenant.name.title()} Club",
    "/api/public/users/group/": lambda tenant: f"{tenant.name.title()} Club",
    "/api/private/users/user/": lambda tenant: f"{tenant.name}clubcolleague".title(),
    "/api/public/users/user/": lambda tenant: f"{tenant.name}clubcolleague".title(),
    "/requests/": lambda tenant: str(tenant.objects["request"]),
    "/account/reviews/": lambda tenant: tenant.objects["review"],
    "/account/bulk_changes/": lambda tenant: str(tenant.objects["bulk change"]),
    "/api/hooks/": lambda tenant: tenant.objects["web hook"],
}
WITHOUT_TENANT: Final = {
    "/api/notification-messages-templates/",
    *("/api/roles/", "/api/identity-providers/", "/api/customers/countries/"),
    *("/api/users/user_active_status_count/", "/api/users/user_language_count/"),
    "/api/users/user_registration_trend/",
    "/api/autoprovisioning-rules/",
    "/api/user-agreements/",
}
"""Lists without objects of a tenant."""

REVEALING: Final = {
    "/api/user-invitations/{uuid}/check/": "the UUID of an invitation is a capability",
    "/api/user-invitations/{uuid}/details/": "the same",
    "/invitation/{token}/": "its link is a capability",
    "/invitation/{token}/decline/": "its link is a capability",
    "/invitation/{token}/provider/": "its link is a capability",
    "/api/user-group-invitations/{uuid}/": "the UUID of an invite link is a capability",
    "/api/user-group-invitations/{uuid}/submit_request/": "the response names the scope",
    "/open_invitation/{uuid}/": "as the route of the API",
    "/open_invitation/{uuid}/provider/": "the same",
    "/invitation_approve/{token}/": "the link is for staff",
    "/invitation_reject/{token}/": "the link is for staff",
    "/password_reset/{token}/": "the link is for the account",
    "/user_email_change/{code}/": "its e-mail says the same",
    "/forgotten_password/": "it repeats the input",
}
"""Paths that reveal something of the tenant to everybody who has the link, and why."""

RECORDED: Final = {"/api/users/{uuid}/token/": "staff see a secret of another account"}
"""Reads that write an event, and why."""


def is_of_group(path: str) -> bool:
    """Return whether a path belongs to groups, which have other members."""
    return path.startswith(("/api/private/", "/api/public/", "/group/"))


def object_names(path: str) -> dict[str, str]:
    """Return the object for each name in a path."""
    names: dict[str, str] = {}
    for prefix in sorted(OBJECTS, key=len):
        if path.startswith(prefix):
            names |= OBJECTS[prefix]
    return {name: names[name] for name in re.findall(r"{(\w+)}", path) if name in names}


def own(scene: Scene, path: str, caller: Person | None) -> dict[str, str]:
    """Return the own objects for a (self) row; without an account those of the stranger."""
    account = caller or scene.outside["stranger"]
    assert account is not None

    def own_of(noun: str) -> str:
        found = (tenant.objects.get(f"{noun} of {account.uuid}") for tenant in scene.tenants)
        return next(filter(None, found), "")

    return {
        "account": account.uuid,
        "group member's number": str(account.id),
        **{noun: own_of(noun) for noun in ("key", "web hook", "email hook")},
        "grant": scene.grants.get(account.uuid, uuid4().hex),
    }


def fill(scene: Scene, path: str, tenant: Tenant, mine: dict[str, str] | None) -> str:
    """Return the path with the objects of a tenant or with the own ones."""
    objects = scene.objects | tenant.objects | (mine or {})
    return path.format_map({name: objects[what] for name, what in object_names(path).items()})


def _waldur(scene: Scene, path: str, operation: Endpoint, tenant: Tenant) -> dict[str, Any]:
    """Return a body with every field of the operation."""
    body = {name: sample(name, field) for name, field in (operation.body or {}).items()}
    role = "CUSTOMER.OWNER" if "/customers/" in path else "PROJECT.MEMBER"
    holder = "coowner" if "/customers/" in path else "colleague"
    values = {
        "customer": tenant.organisation.path,
        "scope": tenant.project.path,
        "role": scene.world.role(role).uuid,
        "project_role": scene.world.role("PROJECT.MEMBER").uuid,
        "user": (scene.world.staff if "add_user" in path else tenant.tree[holder]).uuid,
        "slug": f"s-{uuid4().hex}",
        "username": f"u-{uuid4().hex}",
        "agree_with_policy": True,
        "is_public": False,
        "code": tenant.objects["address code"],
        "password": PASSWORD,
        "new_password": PASSWORD,
        "public_key": new_key(),
        "name": f"CUSTOM.{uuid4().hex}",
        "content_type": "project",
    }
    body |= {name: value for name, value in values.items() if name in body}
    return body | (_WALDUR[path](tenant) if path in _WALDUR else {})


def _claim_rule(tenant: Tenant) -> dict[str, Any]:
    return {
        "name": "Physicists",
        "customer": tenant.organisation.path,
        "customer_role": None,
        "customer_role_name": "CUSTOMER.OWNER",
        "project_role": None,
        "project_role_name": None,
        "user_claims": {"groups": ["physics"]},
        "user_email_patterns": [],
        "project_name_template": "",
        "create_project": False,
        "use_user_organization_as_customer_name": False,
        "plan": None,
    }


def _web_hook(_tenant: Tenant) -> dict[str, Any]:
    return {"destination_url": DESTINATION, "content_type": "form"}


_WALDUR: Final[dict[str, Callable[[Tenant], dict[str, Any]]]] = {
    "/api-auth/password/": lambda tenant: {"username": f"{tenant.name}colleague"},
    "/api/identity-providers/": lambda _tenant: {**VALID, "provider": "other"},
    "/api/identity-providers/{provider}/": lambda _tenant: {
        **VALID,
        "provider": "campus",
        "discovery_url": "https://campus.example.org/.well-known/openid-configuration",
        "verify_ssl": True,
    },
    **{f"/api/autoprovisioning-rules/{one}": _claim_rule for one in ("", "{uuid}/")},
    "/api/autoprovisioning-rules/{uuid}/test-match/": lambda tenant: {
        "user_uuid": tenant.tree["colleague"].uuid
    },
    "/api/roles/{uuid}/clone_to_customer/": lambda tenant: {"customer": tenant.organisation.uuid},
    "/api/customer-role-concealments/": lambda tenant: {"customer": tenant.organisation.uuid},
    "/api/imports/": lambda _tenant: {"text": "somebody.new@example.org"},
    # Changing the end date needs another permission.
    "/api/projects/{uuid}/": lambda _tenant: {"end_date": None},
    **{f"/api/hooks-web/{one}": _web_hook for one in ("", "{uuid}/")},
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


def _team(role: str) -> dict[str, Callable[[Scene, Tenant], dict[str, Any]]]:
    """Return the forms of the pages for members, with the role that they give."""
    return {
        # Managers of groups remove members, and cannot change the end of a grant.
        "people/{one}/": lambda _scene, _tenant: (
            {"action": "remove"}
            if role == "GROUP.MEMBER"
            else {"action": "end", "until": "2099-12-31"}
        ),
        "add/": lambda scene, tenant: {
            "account": _newcomer(role, tenant).uuid,
            "role": _role_uuid(scene, role),
        },
        "invite/": lambda scene, _tenant: {
            "action": "send",
            "addresses": "somebody.new@example.org",
            "role": _role_uuid(scene, role),
        },
        "imports/": lambda scene, _tenant: {
            "text": "somebody.new@example.org",
            "role": _role_uuid(scene, role),
        },
        "imports/{one}/": lambda _scene, _tenant: {"action": "start"},
        "": lambda _scene, _tenant: {"action": "remove", "which": "matching"},
        "invitations/": lambda _scene, _tenant: {"action": "cancel", "which": "matching"},
        "bulk/{one}/": lambda _scene, _tenant: {"action": "confirm"},
        "invitations/{one}/": lambda _scene, _tenant: {"action": "cancel"},
        "link/": lambda scene, _tenant: {"role": scene.world.role(role).uuid},
        "links/{one}/": lambda _scene, _tenant: {"action": "close"},
        "reviews/{one}/": lambda scene, tenant: {"seen": scene.seen(tenant, role)},
    }


def _newcomer(role: str, tenant: Tenant) -> Person:
    """Return an account that can be added: visible to managers, without the role."""
    if role == "GROUP.MEMBER":
        return tenant.group["sibling"]
    return tenant.tree["member" if role == "CUSTOMER.OWNER" else "owner"]


def _role_uuid(scene: Scene, role: str) -> str:
    with scene.database.read() as tx:
        row: Any = role_queries.by_name_or_uuid(tx, role, None, KINDS)
    return str(row.uuid)


_TWICE: Final = {"password": f"{PASSWORD} again", "again": f"{PASSWORD} again"}
FORMS: Final[dict[str, Callable[[Scene, Tenant], dict[str, Any]]]] = {
    "/sign_in/": lambda _scene, tenant: {
        "username": f"{tenant.name}colleague",
        "password": PASSWORD,
    },
    "/forgotten_password/": lambda _scene, tenant: {"email": tenant.tree["colleague"].email},
    "/password_reset/{token}/": lambda _scene, _tenant: _TWICE,
    "/setup/{token}/": lambda _scene, _tenant: {
        "username": "first",
        "email": "first@example.org",
        "site_name": "Members",
        **_TWICE,
    },
    "/account/agreements/": lambda scene, _tenant: {"agreements": str(scene.agreement)},
    "/invitation/{token}/": lambda scene, _tenant: {
        "agreements": str(scene.agreement),
        "username": "somebody.new",
        "first_name": "Some",
        "last_name": "Body",
        # The invitee has an account, and forwards the e-mail.
        "email": "somebody.new@example.org",
        "agrees": "yes",
        **_TWICE,
    },
    "/requests/": lambda _scene, tenant: {
        "action": "approve",
        "request": str(tenant.objects["request"]),
    },
    "/account/profile/": lambda _scene, _tenant: {"first_name": "New", "agree_with_policy": "yes"},
    "/account/picture/": lambda _scene, _tenant: {"remove": "yes", "agree_with_policy": "yes"},
    "/account/address/": lambda _scene, _tenant: {
        "email": "somebody.new@example.org",
        "password": PASSWORD,
    },
    "/account/password/": lambda _scene, _tenant: {"current": PASSWORD, **_TWICE},
    "/account/keys/": lambda _scene, _tenant: {"public_key": new_key(), "name": "new"},
    "/account/hooks/": lambda _scene, _tenant: {
        "kind": "email",
        "event_groups": "projects",
    },
    "/account/hooks/{uuid}/": lambda _scene, _tenant: {"action": "pause"},
    "/account/second_factor/": lambda _scene, _tenant: {"action": "begin"},
    "/account/confirm/": lambda _scene, _tenant: {"provider": "nobody"},
    "/account/passkeys/": lambda _scene, tenant: {
        "action": "remove",
        "passkey": tenant.objects["passkey"],
    },
    "/account/passkeys/ (self)": lambda _scene, _tenant: {"action": "add", "name": "new"},
    "/account/tokens/": lambda _scene, _tenant: {"name": "new"},
    "/account/tokens/end/": lambda _scene, tenant: {
        "kind": "token",
        "number": tenant.objects["token"],
    },
    "/account/tokens/end/ (self)": lambda _scene, _tenant: {"kind": "others"},
    "/account/authorize/": lambda _scene, tenant: {
        "action": "approve",
        "device": tenant.objects["device"],
    },
    "/teams/": lambda _scene, _tenant: {"name": "Another Club"},
    "/staff/accounts/new/": lambda _scene, _tenant: {
        "username": "somebody.new",
        "email": "somebody.new@example.org",
        "first_name": "Some",
        "last_name": "Body",
        "kind": "",
    },
    "/staff/accounts/{uuid}/": lambda _scene, _tenant: {"action": "deactivate"},
    "/staff/organisations/new/": lambda _scene, _tenant: {
        "name": "New",
        "email": "somebody.new@example.org",
    },
    "/staff/organisations/{uuid}/": lambda _scene, _tenant: {"action": "block"},
    "/staff/organisations/{uuid}/roles/": lambda _scene, tenant: {
        "action": "reveal",
        "role": tenant.objects["concealment"],
    },
    "/staff/roles/new/": lambda _scene, _tenant: {"name": "CUSTOM.NEW", "kind": "project"},
    "/staff/roles/{uuid}/": lambda _scene, _tenant: {"action": "disable"},
    "/staff/providers/new/": lambda scene, _tenant: {
        "name": "other",
        "label": "Other",
        "discovery_url": scene.openid.issuer,
        "client_id": "x",
        "registration": "open",
    },
    "/staff/providers/{provider}/": lambda _scene, _tenant: {"action": "deactivate"},
    "/staff/rules/new/": lambda scene, tenant: {
        "name": "Physicists",
        "organisation": tenant.organisation.uuid,
        "organisation_role": scene.world.role("CUSTOMER.OWNER").uuid,
        "project_role": "",
        "claims": "groups = physics",
    },
    "/staff/rules/{uuid}/": lambda _scene, _tenant: {"action": "remove"},
    "/staff/agreements/new/": lambda _scene, _tenant: {"kind": "terms", "content": "Be kind."},
    "/staff/agreements/{uuid}/": lambda _scene, _tenant: {"action": "remove"},
    "/staff/mails/": lambda _scene, _tenant: {"action": "retry_all"},
    **{
        f"/group/{{number}}/team/{at}": form
        for at, form in _team("GROUP.MEMBER").items()
        if "link" not in at
    },
    **{
        f"/{kind}/{{uuid}}/settings/": lambda _scene, _tenant: {"affiliations": "x"}
        for kind in ("organisation", "project")
    },
    "/organisation/{uuid}/deleted/{one}/": lambda _scene, _tenant: {"members": ""},
    "/project/{uuid}/move/": lambda _scene, tenant: {
        "organisation": tenant.organisation.uuid,
        "members": "keep",
    },
    **{f"/organisation/{{uuid}}/{at}": form for at, form in _team("CUSTOMER.OWNER").items()},
    **{f"/project/{{uuid}}/{at}": form for at, form in _team("PROJECT.MEMBER").items()},
}
"""The fields of the form of a page, besides its token."""


def body(
    scene: Scene, path: str, operation: Endpoint, tenant: Tenant, caller: Person | None = None
) -> dict[str, Any]:
    """Return a valid body for a route of an API."""
    if path.startswith("/api/hooks-email/") and caller is not None:
        # Only staff enter the address of somebody else.
        return {**_waldur(scene, path, operation, tenant), "email": caller.email}
    if is_of_group(path) or path.startswith(("/api/token/", "/api/auth/")):
        return _BRAINSTEM[path](tenant) if path in _BRAINSTEM else {}
    return _waldur(scene, path, operation, tenant)
