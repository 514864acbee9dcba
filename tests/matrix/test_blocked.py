"""In a blocked organisation nothing is made, given, changed or deleted; taking away stays possible.

Every writing route of every dialect is tried by everybody who could use it otherwise, with every
button of the pages. What changes rows of the organisation is listed here, with what it changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import update

from collegium.db.statements import Statement
from collegium.db.tables import organisations
from tests.matrix import asks
from tests.matrix.stage import Stage, Tenant
from tests.matrix.walk import ROWS, Row, Walk
from tests.support.world import Person

WALKERS: Final = ("staff", "owner", "manager", "member", "invitee", "stranger", "nobody")
TABLES: Final = {
    "scopes": ("id", "parent_id"),
    **dict.fromkeys(
        (
            "organisations",
            "projects",
            "grants",
            "invitations",
            "invite_links",
            "join_requests",
            "denied_ranges",
        ),
        ("scope_id",),
    ),
}
"""The tables that belong to an organisation, and the columns that say so."""

# The buttons of pages that have several, and bodies that mean something else; beside the one of
# ``asks.py``, which is "".
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
        for page, buttons in (
            ("people", _PEOPLE),
            ("links", _LINKS),
            ("invitations", _INVITATIONS),
        )
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
"""Whose variants are the whole body of a PATCH."""

REMOVED: Final = "grants: ended_at ended_by"
CANCELLED: Final = "invitations: state"
DECLINED: Final = "invitations: state"
ALLOWED: Final[dict[str, set[str]]] = {
    # Staff open it, or close it otherwise.
    "PATCH /api/customers/{uuid}/ unblock": {"organisations: blocked"},
    "PATCH /api/customers/{uuid}/ archive": {"organisations: archived"},
    "POST /staff/organisations/{uuid}/ unblock": {"organisations: blocked"},
    "POST /staff/organisations/{uuid}/ archive": {"organisations: archived"},
    # Members are removed, leave, or are deleted with their account.
    "POST /api/customers/{uuid}/delete_user/": {REMOVED},
    "POST /api/projects/{uuid}/delete_user/": {REMOVED},
    "POST /organisation/{uuid}/people/{one}/ remove": {REMOVED},
    "POST /project/{uuid}/people/{one}/ remove": {REMOVED},
    "POST /account/leave/{uuid}/ (self)": {REMOVED},
    "DELETE /api/users/{uuid}/": {REMOVED},
    # Invitations are cancelled, declined, and rejected by staff.
    "POST /api/user-invitations/{uuid}/cancel/": {CANCELLED},
    "POST /organisation/{uuid}/invitations/{one}/ cancel": {CANCELLED},
    "POST /project/{uuid}/invitations/{one}/ cancel": {CANCELLED},
    "POST /organisation/{uuid}/invitations/{one}/": {CANCELLED},
    "POST /project/{uuid}/invitations/{one}/": {CANCELLED},
    "POST /invitation/{token}/decline/": {DECLINED},
    "POST /api/user-invitations/reject/": {"invitations: state"},
    "POST /invitation_reject/{token}/": {"invitations: state"},
    # Links are closed.
    "POST /api/user-group-invitations/{uuid}/cancel/": {"invite_links: canceled_at"},
    "POST /organisation/{uuid}/links/{one}/": {"invite_links: canceled_at"},
    "POST /project/{uuid}/links/{one}/": {"invite_links: canceled_at"},
    "POST /organisation/{uuid}/links/{one}/ close": {"invite_links: canceled_at"},
    "POST /project/{uuid}/links/{one}/ close": {"invite_links: canceled_at"},
    # Requests are rejected and withdrawn.
    "POST /api/user-permission-requests/{uuid}/reject/": {
        "join_requests: state decided_at decided_by comment"
    },
    "POST /requests/ reject": {"join_requests: state decided_at decided_by"},
    "POST /api/user-permission-requests/{uuid}/cancel_request/": {
        "join_requests: state decided_at decided_by"
    },
    "POST /account/requests/{uuid}/withdraw/": {"join_requests: state decided_at decided_by"},
}
"""What may change, route by route."""

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
        )
    ),
    "POST /project/{uuid}/people/{one}/ role",
}
"""What an open organisation lets somebody do, and a blocked one does not."""


@pytest.fixture
def blocked(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Stage]:
    path = tmp_path_factory.mktemp("blocked") / "collegium.db"
    path.write_bytes(sqlite_template.read_bytes())
    stage = Stage(f"sqlite:///{path}")
    with stage.database.write() as tx:
        tx.execute(Statement(update(organisations).values(blocked=True)))
    stage.keep()
    yield stage
    stage.close()


def writing() -> Iterator[tuple[Row, str, dict[str, Any]]]:
    for row in ROWS:
        if row.acts:
            yield row, "", {}
            if row.method in {"POST", "PATCH"}:
                for name, form in BUTTONS.get(row.path, {}).items():
                    yield row, name, form


def send(
    stage: Stage, row: Row, form: dict[str, Any], who: Person | None, tenant: Tenant
) -> httpx.Response:
    mine = asks.own(stage, row.path, who) if row.own else None
    path = asks.fill(stage, row.path, tenant, mine)
    walk = Walk(stage, row)
    whole = row.path in PARTIAL and not form
    if whole and row.method in {"PUT", "PATCH"}:
        # All fields of it, and that it stays as it is.
        form = {"blocked": True}
    if not form:
        return walk.ask(row.method, path, who, tenant)
    if row.dialect != "web":
        headers = {"Authorization": f"Token {who.token}"} if who else {}
        partial = row.path in PARTIAL and not whole
        body = {} if partial else asks.body(stage, row.path, row.operation, tenant, who)
        return stage.site.request(row.method, path, headers=headers, json=body | form)
    cookies, csrf = stage.cookies(who)
    usual = asks.FORMS.get(row.path)
    data = (usual(stage, tenant, who) if usual else {}) | form | {"csrf": csrf}
    if form.get("action") == "role":
        name = "CUSTOMER.MANAGER" if row.path.startswith("/organisation") else "PROJECT.ADMIN"
        data["role"] = stage.world.role(name).uuid
    headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}
    answer = stage.site.request(row.method, path, headers=headers, data=data)
    stage.site._client.cookies.clear()
    return answer


def belonging(stage: Stage, tenant: Tenant) -> dict[str, dict[Any, Any]]:
    """The rows of an organisation, by table and key."""
    inside = {tenant.organisation.id, tenant.project.id, tenant.sibling_project.id}
    found: dict[str, dict[Any, Any]] = {}
    contents = stage.contents()
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
                found.add(f"{table}: gone")
            elif now != row:
                columns = [name for name in row if now[name] != row[name]]
                found.add(f"{table}: {' '.join(columns)}")
        if after[table].keys() - rows.keys():
            found.add(f"{table}: made")
    return found


def label(row: Row, variant: str) -> str:
    return f"{row} {variant}".strip()


@pytest.mark.timeout(600)
def test_blocked_organisation_allows_only_removing(blocked: Stage) -> None:
    tenant = blocked.tenants[0]
    before = belonging(blocked, tenant)
    changed: dict[str, set[str]] = {}
    faults = []
    tried = 0
    for row, variant, form in writing():
        in_group = asks.is_of_group(row.path)
        for name in WALKERS:
            who = blocked.walker(name, in_group=in_group)
            answer = send(blocked, row, form, who, tenant)
            tried += 1
            if answer.status_code >= 500:
                faults.append(f"{label(row, variant)} as {name}: {answer.status_code}")
            if blocked.has_changed():
                found = differences(before, belonging(blocked, tenant))
                blocked.restore()
                allowed = ALLOWED.get(label(row, variant), set())
                faults += [
                    f"{label(row, variant)} as {name}: {one}" for one in sorted(found - allowed)
                ]
                changed.setdefault(label(row, variant), set()).update(found & allowed)
    assert not faults, "\n".join([f"{len(faults)} faults", *faults])
    # What is to stay possible is.
    missing = {what: one for what, one in ALLOWED.items() if changed.get(what) != one}
    assert not missing, missing
    assert tried > 500


def test_same_requests_succeed_in_an_open_organisation(
    blocked: Stage,
) -> None:
    """The twin: with the same people and bodies, the same routes change the organisation."""
    tenant = blocked.tenants[0]
    with blocked.database.write() as tx:
        tx.execute(Statement(update(organisations).values(blocked=False)))
    blocked.keep()
    before = belonging(blocked, tenant)
    done = set()
    for row, variant, form in writing():
        for name in WALKERS:
            who = blocked.walker(name, in_group=asks.is_of_group(row.path))
            send(blocked, row, form, who, tenant)
            if blocked.has_changed():
                if differences(before, belonging(blocked, tenant)):
                    done.add(label(row, variant))
                blocked.restore()
    assert done >= REFUSED, REFUSED - done
