"""What an account was after each change, from the audit log."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from tests.accounts.test_api import AGREES, patch
from tests.accounts.test_email_change_api import confirm, mailed_codes
from tests.support.site import Site
from tests.support.world import Person, World


def history(site: Site, world: World, person: Person, query: str = "") -> list[Any]:
    rows: list[Any] = site.get(f"/api/users/{person.uuid}/history/{query}", world.staff).json()
    return rows


def test_history_tells_what_an_account_was_after_each_change(site: Site, world: World) -> None:
    ada = world.person("ada", first_name="Ada", birth_date=date(1815, 12, 10))
    times = [datetime.now(UTC).isoformat()]
    changes: list[tuple[Person, dict[str, Any]]] = [
        (ada, {"job_title": "Countess", **AGREES}),
        (world.staff, {"nationalities": ["GB"], "deactivation_reason": "x", "is_active": False}),
        (world.staff, {"is_active": True, "birth_date": None}),
    ]
    for caller, body in changes:
        assert patch(site, ada, caller, **body).status_code == 200
        times.append(datetime.now(UTC).isoformat())
    rows = history(site, world, ada)
    data = [row["serialized_data"] for row in rows]
    assert [one["job_title"] for one in data] == ["Countess", "Countess", "Countess", ""]
    assert [one["is_active"] for one in data] == [True, False, True, True]
    assert [one["deactivation_reason"] for one in data] == ["", "x", "", ""]
    assert [one["nationalities"] for one in data] == [["GB"], ["GB"], [], []]
    assert [one["birth_date"] for one in data] == [None, *["1815-12-10"] * 3]
    agreed = [one["agreement_date"] for one in data]
    assert agreed[0] == agreed[1] == agreed[2] is not None
    assert agreed[0].endswith("Z")
    assert agreed[3] is None
    assert [row["revision_comment"] for row in rows] == [
        "Changed: birth_date, deactivation_reason, is_active",
        "Changed: deactivation_reason, is_active, nationalities",
        "Changed: agreement_date, job_title",
        "Initial version",
    ]
    users = [row["revision_user"] and row["revision_user"]["username"] for row in rows]
    assert users == [world.staff.actor.username, world.staff.actor.username, "ada", None]
    # No secret and nothing that only the person may see.
    assert not {"password", "token_lifetime", "image", "token_hash"} & data[0].keys()
    path = f"/api/users/{ada.uuid}/history/at/"
    for time, row in zip(times, reversed(rows), strict=True):
        found = site.get(path, world.staff, params={"timestamp": time}).json()
        assert found.pop("queried_at")
        assert found == row
    assert site.get(f"{path}?timestamp=2001-01-01", world.staff).status_code == 404
    for wrong in ("", "?timestamp=", "?timestamp=x"):
        assert site.get(f"{path}{wrong}", world.staff).status_code == 400
    assert history(site, world, ada, "?page=2&page_size=1") == rows[1:2]


def test_history_tells_the_former_address(site: Site, world: World) -> None:
    ada = world.person("ada", email="old@example.org", agreed_at=datetime.now(UTC))
    site.post(f"/api/users/{ada.uuid}/change_email/", ada, json={"email": "new@example.org"})
    code, _cancel = mailed_codes(world)
    assert confirm(site, code).status_code == 200
    assert [row["serialized_data"]["email"] for row in history(site, world, ada)] == [
        "new@example.org",
        "old@example.org",
    ]
