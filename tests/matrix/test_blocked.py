"""In a blocked organisation nothing can be created or changed; removing stays possible.

Every writing route of every protocol is tried by several callers, with every button of the pages.
The changes that stay possible are listed here with their columns.
"""

from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import update

from collegium.db.statements import Statement
from collegium.db.tables import organisations, roles
from tests.matrix import requests
from tests.matrix.rows import ROWS, Row, RowCheck
from tests.matrix.scene import Scene, Tenant
from tests.support.world import Person

CALLERS: Final = ("staff", "owner", "manager", "member", "invitee", "stranger", "nobody")
TABLES: Final = {
    "scopes": ("id", "parent_id"),
    "denied_ranges": ("scope_id",),
    **dict.fromkeys(
        ("organisations", "projects", "grants", "invitations", "invite_links", "join_requests"),
        ("scope_id",),
    ),
}
"""The tables of an organisation, and the columns that refer to it."""

# Further buttons of pages, and further bodies, besides those of ``requests.py``.
_PEOPLE: Final[dict[str, dict[str, Any]]] = {
    "end": {"action": "end", "until": "2099-12-31"},
    "no end": {"action": "end", "until": ""},
    "role": {"action": "role"},
    "remove": {"action": "remove"},
}
_LINKS: Final[dict[str, dict[str, Any]]] = {
    "save": {"action": "save", "custom_text": "New", "auto_approve": "yes"},
    "close": {"action": "close"},
}
_INVITATIONS: Final[dict[str, dict[str, Any]]] = {
    "send": {"action": "send"},
    "cancel": {"action": "cancel"},
}
BUTTONS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "/requests/": {"approve": {"action": "approve"}, "reject": {"action": "reject"}},
    **{
        f"/{kind}/{{uuid}}/{page}/{{one}}/": buttons
        for kind in ("organisation", "project")
        for page, buttons in (("people", _PEOPLE), ("links", _LINKS), ("invitations", _INVITATIONS))
    },
    "/staff/organisations/{uuid}/": {
        action: {"action": action} for action in ("block", "unblock", "archive", "unarchive")
    },
    "/staff/accounts/{uuid}/": {
        action: {"action": action} for action in ("deactivate", "activate", "password")
    },
    "/api/customers/{uuid}/": {
        "unblock": {"blocked": False},
        "reblock": {"blocked": True},
        "archive": {"archived": True},
        "name": {"name": "New"},
        "name, blocked": {"name": "New", "blocked": True},
        "networks": {"access_subnets": "10.0.0.0/8"},
    },
}
PARTIAL: Final = {"/api/customers/{uuid}/"}
"""Their variants are the full body of a PATCH."""

GRANT_ENDED: Final = "grants: ended_at ended_by"
INVITATION_ENDED: Final = "invitations: state"
LINK_CLOSED: Final = "invite_links: canceled_at"
REQUEST_DECIDED: Final = "join_requests: state decided_at decided_by"
ALLOWED: Final[dict[str, set[str]]] = {
    # Staff unblock or archive it.
    "PATCH /api/customers/{uuid}/ unblock": {"organisations: blocked"},
    "PATCH /api/customers/{uuid}/ archive": {"organisations: archived"},
    "POST /staff/organisations/{uuid}/ unblock": {"organisations: blocked"},
    "POST /staff/organisations/{uuid}/ archive": {"organisations: archived"},
    # Members are removed, leave, or delete their account.
    "POST /api/customers/{uuid}/delete_user/": {GRANT_ENDED},
    "POST /api/projects/{uuid}/delete_user/": {GRANT_ENDED},
    "POST /organisation/{uuid}/people/{one}/ remove": {GRANT_ENDED},
    "POST /project/{uuid}/people/{one}/ remove": {GRANT_ENDED},
    "POST /account/leave/{uuid}/ (self)": {GRANT_ENDED},
    "POST /api/user-permissions/{uuid}/revoke/": {f"{GRANT_ENDED} end_reason"},
    "DELETE /api/users/{uuid}/": {GRANT_ENDED},
    # Invitations are cancelled, declined or rejected.
    "POST /api/user-invitations/{uuid}/cancel/": {INVITATION_ENDED},
    "POST /organisation/{uuid}/invitations/{one}/ cancel": {INVITATION_ENDED},
    "POST /project/{uuid}/invitations/{one}/ cancel": {INVITATION_ENDED},
    "POST /organisation/{uuid}/invitations/{one}/": {INVITATION_ENDED},
    "POST /project/{uuid}/invitations/{one}/": {INVITATION_ENDED},
    "POST /organisation/{uuid}/bulk/{one}/": {INVITATION_ENDED},
    "POST /project/{uuid}/bulk/{one}/": {INVITATION_ENDED},
    "POST /invitation/{token}/decline/": {INVITATION_ENDED},
    "POST /api/user-invitations/reject/": {INVITATION_ENDED},
    "POST /invitation_reject/{token}/": {INVITATION_ENDED},
    # Invite links are closed.
    "POST /api/user-group-invitations/{uuid}/cancel/": {LINK_CLOSED},
    "POST /organisation/{uuid}/links/{one}/": {LINK_CLOSED},
    "POST /project/{uuid}/links/{one}/": {LINK_CLOSED},
    "POST /organisation/{uuid}/links/{one}/ close": {LINK_CLOSED},
    "POST /project/{uuid}/links/{one}/ close": {LINK_CLOSED},
    # Join requests are rejected, withdrawn or deleted.
    "DELETE /api/user-permission-requests/{uuid}/": {"join_requests: deleted"},
    "POST /api/user-permission-requests/{uuid}/reject/": {f"{REQUEST_DECIDED} comment"},
    "POST /requests/ reject": {REQUEST_DECIDED},
    "POST /api/user-permission-requests/{uuid}/cancel_request/": {REQUEST_DECIDED},
    "POST /account/requests/{uuid}/withdraw/": {REQUEST_DECIDED},
}
"""The columns that may change, by route."""

REFUSED: Final = {
    *(f"{method} /api/customers/{{uuid}}/" for method in ("PUT", "PATCH")),
    *(f"PATCH /api/customers/{{uuid}}/ {what}" for what in ("name", "name, blocked", "networks")),
    "POST /api/customers/{uuid}/add_user/",
    "POST /api/customers/{uuid}/update_user/",
    "POST /api/projects/",
    *(f"{method} /api/projects/{{uuid}}/" for method in ("PUT", "PATCH", "DELETE")),
    "POST /api/projects/{uuid}/add_user/",
    "POST /api/projects/{uuid}/update_user/",
    "POST /api/user-group-invitations/",
    "POST /api/user-group-invitations/{uuid}/submit_request/",
    "POST /api/user-invitations/",
    *(f"{method} /api/user-invitations/{{uuid}}/" for method in ("PUT", "PATCH", "DELETE")),
    "POST /api/user-invitations/approve/",
    *(f"POST /api/user-invitations/{{uuid}}/{what}/" for what in ("accept", "delete", "send")),
    "POST /api/user-permission-requests/{uuid}/approve/",
    "POST /invitation/{token}/",
    "POST /invitation_approve/{token}/",
    "POST /open_invitation/{uuid}/",
    "POST /requests/ approve",
    *(
        f"POST /{kind}/{{uuid}}/{page}"
        for kind in ("organisation", "project")
        for page in (
            "add/",
            "invite/",
            "link/",
            "invitations/{one}/ send",
            "links/{one}/ save",
            "people/{one}/ end",
            "people/{one}/ role",
            "settings/",
        )
    ),
    "POST /organisation/{uuid}/deleted/{one}/",
    "POST /api/projects/{uuid}/recover/",
}
"""Requests that succeed in an open organisation only."""


@pytest.fixture
def blocked(scene: Scene) -> Scene:
    with scene.database.write() as tx:
        tx.execute(Statement(update(organisations).values(blocked=True)))
        # Organisations have a second role to change to.
        tx.execute(Statement(update(roles).values(is_active=True)))
    scene.keep()
    return scene


def writes(scene: Scene) -> Iterator[tuple[Row, str, dict[str, Any]]]:
    """Yield rows with button and body; on PostgreSQL, which restores slowly, the refused ones."""
    for row in ROWS:
        forms = BUTTONS.get(row.path, {}) if row.method in {"POST", "PATCH"} else {}
        for name, form in {"": {}, **forms}.items():
            if row.writes and (scene.database.is_sqlite or label(row, name) in REFUSED):
                yield row, name, form


def send(
    scene: Scene, row: Row, form: dict[str, Any], caller: Person | None, tenant: Tenant
) -> httpx.Response:
    mine = requests.own(scene, row.path, caller) if row.own else None
    path = requests.fill(scene, row.path, tenant, mine)
    check = RowCheck(scene, row)
    is_full = row.path in PARTIAL and not form
    if is_full and row.method in {"PUT", "PATCH"}:
        # All fields, and the organisation stays blocked.
        form = {"blocked": True}
    if not form:
        return check.request(row.method, path, caller, tenant)
    if row.protocol != "web":
        headers = {"Authorization": f"Token {caller.token}"} if caller else {}
        partial = row.path in PARTIAL and not is_full
        body = {} if partial else requests.body(scene, row.path, row.operation, tenant)
        return scene.site.request(row.method, path, headers=headers, json=body | form)
    cookies, csrf = scene.cookies(caller)
    default = requests.FORMS.get(row.path)
    data = (default(scene, tenant) if default else {}) | form | {"csrf": csrf}
    if form.get("action") == "role":
        name = "CUSTOMER.MANAGER" if row.path.startswith("/organisation") else "PROJECT.ADMIN"
        data["role"] = scene.world.role(name).uuid
    headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}
    return scene.site.request(row.method, path, headers=headers, data=data)


def rows_of(scene: Scene, tenant: Tenant) -> dict[str, dict[Any, Any]]:
    """Return the rows of an organisation by table and key."""
    inside = {tenant.organisation.id, tenant.project.id, tenant.sibling_project.id}
    found: dict[str, dict[Any, Any]] = {}
    contents = scene.contents(TABLES)
    for table, columns in TABLES.items():
        found[table] = {
            next(iter(row)): row._asdict()
            for row in contents[table]
            if any(getattr(row, column) in inside for column in columns)
        }
    return found


def differences(before: dict[str, dict[Any, Any]], after: dict[str, dict[Any, Any]]) -> set[str]:
    found = set()
    for table, rows in before.items():
        for key, row in rows.items():
            now = after[table].get(key)
            if now is None:
                found.add(f"{table}: deleted")
            elif now != row:
                columns = [name for name in row if now[name] != row[name]]
                found.add(f"{table}: {' '.join(columns)}")
        if after[table].keys() - rows.keys():
            found.add(f"{table}: created")
    return found


def label(row: Row, variant: str) -> str:
    return f"{row} {variant}".strip()


@pytest.mark.timeout(600)
def test_blocked_organisation_allows_only_removing(blocked: Scene) -> None:
    tenant = blocked.tenants[0]
    before = rows_of(blocked, tenant)
    changed: dict[str, set[str]] = {}
    errors = []
    tried = 0
    for row, variant, form in writes(blocked):
        in_group = requests.is_of_group(row.path)
        for name in CALLERS:
            caller = blocked.caller(name, in_group=in_group)
            response = send(blocked, row, form, caller, tenant)
            tried += 1
            if response.status_code >= 500:
                errors.append(f"{label(row, variant)} as {name}: {response.status_code}")
            if blocked.has_changed():
                columns = differences(before, rows_of(blocked, tenant))
                blocked.restore()
                allowed = ALLOWED.get(label(row, variant), set())
                errors += [
                    f"{label(row, variant)} as {name}: {column}"
                    for column in sorted(columns - allowed)
                ]
                changed.setdefault(label(row, variant), set()).update(columns & allowed)
    assert not errors, "\n".join([f"{len(errors)} errors", *errors])
    if blocked.database.is_sqlite:
        missing = {
            route: columns for route, columns in ALLOWED.items() if changed.get(route) != columns
        }
        assert not missing, missing
    assert tried > (500 if blocked.database.is_sqlite else 200)


def test_same_requests_succeed_in_an_open_organisation(blocked: Scene) -> None:
    """The same callers and bodies change an organisation that is not blocked."""
    tenant = blocked.tenants[0]
    with blocked.database.write() as tx:
        tx.execute(Statement(update(organisations).values(blocked=False)))
    blocked.keep()
    before = rows_of(blocked, tenant)
    changed: set[str] = set()
    for row, variant, form in writes(blocked):
        for name in CALLERS:
            if label(row, variant) in changed:
                break
            caller = blocked.caller(name, in_group=requests.is_of_group(row.path))
            send(blocked, row, form, caller, tenant)
            if blocked.has_changed():
                if differences(before, rows_of(blocked, tenant)):
                    changed.add(label(row, variant))
                blocked.restore()
    assert changed >= REFUSED, REFUSED - changed
