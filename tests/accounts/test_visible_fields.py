"""Viewer by field: what anybody is shown of an account, from one table; the rest is hidden."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import insert

from collegium.api.waldur.schemas import User
from collegium.db.statements import Statement
from collegium.db.tables import email_changes
from tests.support.site import Site
from tests.support.world import Person, World

OWN = {"token", "token_lifetime"}
PRIVILEGED = {"is_staff", "is_active", "is_support", "description", "has_active_session"}
PERSONAL = {"civil_number", "birth_date", "requested_email", "token_expires_at"}
EVERY = set(User.__struct_fields__)
OPEN = EVERY - OWN - PRIVILEGED - PERSONAL

# Whoever looks, and what they are told of somebody whose every field holds something.
# None: nothing at all; the account is not there for them.
SHOWN: dict[str, set[str] | None] = {
    "staff": OPEN | PRIVILEGED | PERSONAL,
    "support": OPEN | PRIVILEGED | PERSONAL,
    "self": OPEN | OWN | PERSONAL,
    "owner": OPEN,
    "manager": OPEN,
    "member": OPEN,
    "sibling": None,
    "stranger": None,
}
# Empty for want of anything to say, not for want of a right.
NEVER_TOLD = {"image", "ip_address", "agreement_date", "identity_provider_management_url"}


def scene(world: World) -> tuple[Person, dict[str, Person]]:
    """Somebody who has everything, in a project, and everybody who might look."""
    target = world.person(
        "target",
        civil_number="38001010000",
        birth_date=date(1980, 1, 1),
        description="what staff noted",
        native_name="native",
        job_title="job",
        phone_number="+372 5555",
        organization="organization",
        preferred_language="et",
        identity_source="source",
        affiliations=["member@example.org"],
    )
    people = {name: world.person(name) for name in ("owner", "manager", "member", "sibling")}
    people |= {
        "self": target,
        "staff": world.staff,
        "support": world.person("support", is_support=True),
        "stranger": world.person("stranger"),
    }
    organisation = world.organisation(owner=people["owner"])
    project, other = world.project(organisation), world.project(organisation)
    world.seat(target, "PROJECT.MEMBER", project)
    world.seat(people["manager"], "PROJECT.MANAGER", project)
    world.seat(people["member"], "PROJECT.MEMBER", project)
    world.seat(people["sibling"], "PROJECT.MEMBER", other)
    with world.database.write() as tx:
        values = {"account_id": target.id, "email": "new@example.org", "code_hash": b"1" * 32}
        tx.execute(Statement(insert(email_changes).values(**values, created_at=tx.now)))
    return target, people


def told(row: dict[str, Any]) -> set[str]:
    """The fields that say something."""
    return {name for name, value in row.items() if value is not None}


@pytest.mark.parametrize("viewer", SHOWN)
def test_nobody_is_shown_a_field_outside_the_table(site: Site, world: World, viewer: str) -> None:
    target, people = scene(world)
    expected = SHOWN[viewer]
    answer = site.get(f"/api/users/{target.uuid}/", people[viewer])
    listed = {
        row["uuid"]: row for row in site.get("/api/users/?page_size=100", people[viewer]).json()
    }
    if expected is None:
        assert answer.status_code == 404
        assert target.uuid not in listed
        return
    assert answer.status_code == 200
    assert told(answer.json()) | NEVER_TOLD == expected | NEVER_TOLD
    assert told(listed[target.uuid]) | NEVER_TOLD == (expected - OWN) | NEVER_TOLD
    # No name brings out what is hidden.
    every = "&".join(f"field={name}" for name in EVERY)
    sparse = site.get(f"/api/users/{target.uuid}/?{every}", people[viewer]).json()
    assert told(sparse) | NEVER_TOLD == expected | NEVER_TOLD


def test_the_table_speaks_of_every_field_and_of_every_kind_of_viewer() -> None:
    assert OWN | PRIVILEGED | PERSONAL | OPEN == EVERY
    assert len(SHOWN) == 8
