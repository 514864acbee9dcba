"""Which fields of an account each kind of viewer sees."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import insert

from collegium.api.waldur.accounts import User
from collegium.db.statements import Statement
from collegium.db.tables import email_changes
from tests.support.site import Site
from tests.support.world import Person, World

OWN = {"token", "token_lifetime"}
PRIVILEGED = {
    *("is_staff", "is_active", "is_support", "description", "has_active_session"),
    *("deactivation_reason", "is_admin_deactivated"),
}
PERSONAL = {
    *("civil_number", "birth_date", "requested_email", "token_expires_at"),
    *("gender", "place_of_birth", "address", "country_of_residence"),
    *("nationality", "nationalities", "organization_registry_code", "organization_vat_code"),
    *("organization_address", "eduperson_assurance", "uid_number", "primary_gid"),
    *("has_usable_password", "is_identity_manager", "can_use_personal_access_tokens"),
    *("attribute_sources", "managed_isds", "active_isds", "details"),
    *("has_passkey", "passkey_count"),
}
EVERY = set(User.__struct_fields__)
PUBLIC = EVERY - OWN - PRIVILEGED - PERSONAL

# The fields that a viewer sees of an account with a value in every field. None: 404.
VISIBLE: dict[str, set[str] | None] = {
    "staff": PUBLIC | PRIVILEGED | PERSONAL,
    "support": PUBLIC | PRIVILEGED | PERSONAL,
    "self": PUBLIC | OWN | PERSONAL,
    "owner": PUBLIC,
    "manager": PUBLIC,
    "member": PUBLIC,
    "sibling": None,
    "stranger": None,
}
# Fields without a value in this test.
EMPTY = {
    "profile_completeness",
    "image",
    "ip_address",
    "agreement_date",
    "identity_provider_management_url",
}


def create_people(world: World) -> dict[str, Person]:
    """Create a project member with a value in every field ("self"), and every viewer."""
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
        gender="female",
        uid_number=1000,
        primary_gid=100,
    )
    names = ("owner", "manager", "member", "sibling", "stranger")
    people = {name: world.person(name) for name in names}
    people |= {"self": target, "staff": world.staff}
    people["support"] = world.person("support", is_support=True)
    organisation = world.organisation(owner=people["owner"])
    project, other = world.project(organisation), world.project(organisation)
    world.give_role(people["manager"], "PROJECT.MANAGER", project)
    for name, scope in (("self", project), ("member", project), ("sibling", other)):
        world.give_role(people[name], "PROJECT.MEMBER", scope)
    with world.database.write() as tx:
        values = {
            "account_id": target.id,
            "email": "new@example.org",
            "code_hash": b"1" * 32,
            "cancel_code_hash": b"2" * 32,
        }
        tx.execute(Statement(insert(email_changes).values(**values, created_at=tx.now)))
    return people


def fields_with_values(row: dict[str, Any]) -> set[str]:
    return {name for name, value in row.items() if value is not None} | EMPTY


@pytest.mark.parametrize("viewer", VISIBLE)
def test_viewer_sees_exactly_the_fields_of_the_table(site: Site, world: World, viewer: str) -> None:
    people = create_people(world)
    caller, uuid, expected = people[viewer], people["self"].uuid, VISIBLE[viewer]
    response = site.get(f"/api/users/{uuid}/", caller)
    rows = {row["uuid"]: row for row in site.get("/api/users/?page_size=100", caller).json()}
    if expected is None:
        assert response.status_code == 404
        assert uuid not in rows
        return
    assert response.status_code == 200
    assert fields_with_values(response.json()) == expected | EMPTY
    assert fields_with_values(rows[uuid]) == (expected - OWN) | EMPTY
    # Naming hidden fields does not show them.
    every = "&".join(f"field={name}" for name in EVERY)
    sparse = site.get(f"/api/users/{uuid}/?{every}", caller).json()
    assert fields_with_values(sparse) == expected | EMPTY


def test_table_has_every_field_and_every_kind_of_viewer() -> None:
    assert OWN | PRIVILEGED | PERSONAL | PUBLIC == EVERY
    assert len(VISIBLE) == 8
