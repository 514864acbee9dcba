"""Accounts in the Waldur API: changing and deleting them, and their API tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Statement, as_dict
from collegium.db.tables import email_changes, events, ssh_keys
from collegium.db.tables import tokens as tokens_table
from tests.support.site import Site
from tests.support.world import Person, World

ME = "/api/users/me/"
AGREES = {"agree_with_policy": True}


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")


def path_of(person: Person) -> str:
    return f"/api/users/{person.uuid}/"


def row_of(world: World, person: Person) -> Any:
    with world.database.read() as tx:
        return account_queries.by_id(tx, person.id)


def events_of(database: Database, kind: str) -> list[Any]:
    with database.read() as tx:
        return tx.fetch_all(
            Statement[Any](select(events).where(events.c.kind == kind).order_by(events.c.id))
        )


def patch(site: Site, person: Person, caller: Person, **body: Any) -> Any:
    return site.request("PATCH", path_of(person), caller, json=body)


def test_permission_to_change_is_checked_before_the_body(
    site: Site, world: World, ada: Person
) -> None:
    support = world.person(is_support=True)
    for caller, status in ((support, 403), (world.person(), 404), (ada, 400)):
        assert patch(site, ada, caller, birth_date="nonsense").status_code == status


def test_account_must_agree_to_the_policy_once(site: Site, world: World, ada: Person) -> None:
    refused = patch(site, ada, ada, job_title="x")
    assert refused.status_code == 400
    assert refused.json() == {"agree_with_policy": ["User must agree with the policy."]}
    assert row_of(world, ada).job_title == ""
    changed = patch(site, ada, ada, job_title="Countess", **AGREES)
    assert changed.status_code == 200
    assert changed.json()["job_title"] == "Countess"
    assert changed.json()["agreement_date"]
    agreed_at = row_of(world, ada).agreed_at
    for body in ({"job_title": "x"}, AGREES):
        assert patch(site, ada, ada, **body).status_code == 200
    assert row_of(world, ada).agreed_at == agreed_at


def test_staff_change_accounts_without_agreement(site: Site, world: World, ada: Person) -> None:
    for person in (ada, world.staff):
        assert patch(site, person, world.staff, job_title="x").status_code == 200
        assert row_of(world, person).job_title == "x"
    assert row_of(world, ada).agreed_at is None


def test_fields_of_staff_are_ignored_from_others(site: Site, world: World, ada: Person) -> None:
    body = {
        "is_staff": True,
        "is_support": True,
        "is_active": False,
        "description": "mine",
        "slug": "mine",
        "notifications_enabled": False,
    }
    read_only = {"username": "other", "email": "other@example.org", "civil_number": "1"}

    def values() -> dict[str, Any]:
        row = row_of(world, ada)
        return {name: getattr(row, name) for name in (*body, *read_only)}

    before = values()
    assert patch(site, ada, ada, **body, **read_only, **AGREES).status_code == 200
    assert values() == before
    assert patch(site, ada, world.staff, **body, **read_only).status_code == 200
    assert values() == before | body


def test_lifetime_of_a_token_is_limited_by_its_maximum_age(
    site_with: Callable[..., Site], world: World, ada: Person
) -> None:
    site = site_with(token_max_age="2h")
    assert patch(site, ada, world.staff, token_lifetime=60).status_code == 200
    assert row_of(world, ada).token_lifetime == 60
    assert patch(site, ada, world.staff, token_lifetime=7201).status_code == 400
    assert patch(site, ada, ada, token_lifetime=600, **AGREES).json()["token_lifetime"] == 600
    for value, text in ((59, "greater than or equal to 60"), (7201, "less than or equal to 7200")):
        refused = patch(site, ada, ada, token_lifetime=value)
        assert refused.status_code == 400
        assert text in refused.json()["token_lifetime"][0]
    assert patch(site, ada, ada, token_lifetime=None).status_code == 400
    assert row_of(world, ada).token_lifetime == 600


def test_fields_protected_by_the_identity_provider_are_ignored(
    site_with: Callable[..., Site], world: World, ada: Person
) -> None:
    site = site_with(local_idp_protected_fields="full_name,job_title")
    remote = world.person("remote", registration_method="eduteams")
    body = {"first_name": "X", "job_title": "X", "organization": "X", **AGREES}
    local = patch(site, ada, ada, **body).json()
    assert (local["first_name"], local["job_title"], local["organization"]) == ("Ada", "", "X")
    assert local["identity_provider_fields"] == ["full_name", "job_title"]
    changed = patch(site, remote, remote, **body).json()
    assert (changed["first_name"], changed["job_title"]) == ("Remote", "X")


def test_only_staff_change_details_of_protected_registration_methods(
    site_with: Callable[..., Site], world: World
) -> None:
    site = site_with(protect_user_details_for_registration_methods="saml2")
    # The method of the changed account counts, not that of the caller.
    ada = world.person("ada", registration_method="saml2")
    clerk = world.person("clerk", is_staff=True, registration_method="saml2")
    bob = world.person("bob")
    for person, caller, organization in ((ada, ada, ""), (ada, clerk, "X"), (bob, bob, "X")):
        changed = patch(site, person, caller, organization="X", **AGREES)
        assert changed.json()["organization"] == organization


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_missing_fields_are_kept_and_sparse_fields_limit_only_the_response(
    site: Site, world: World, method: str
) -> None:
    ada = world.person("ada", native_name="Ада", job_title="Countess")
    for query, title in (("", "Lady"), ("?field=uuid", "Duchess")):
        body = {"job_title": title, **AGREES}
        response = site.request(method, f"{path_of(ada)}{query}", ada, json=body)
        assert response.status_code == 200
        row = row_of(world, ada)
        assert (row.job_title, row.native_name, row.username) == (title, "Ада", "ada")


def test_audit_log_records_changes_and_no_unchanged_values(
    site: Site, world: World, database: Database, ada: Person
) -> None:
    patch(site, ada, world.staff, job_title="Countess", birth_date="1815-12-10")
    (event,) = events_of(database, "account.updated")
    assert event.actor_name == "Staff Lee"
    assert event.payload["changes"] == {
        "job_title": ["", "Countess"],
        "birth_date": [None, "1815-12-10"],
    }
    patch(site, ada, world.staff, job_title="Countess")
    assert len(events_of(database, "account.updated")) == 1


def test_deactivation_by_staff_is_recorded_and_marked(
    site: Site, world: World, database: Database, ada: Person
) -> None:
    for is_active, kind in ((False, "account.deactivated"), (True, "account.activated")):
        assert patch(site, ada, world.staff, is_active=is_active).status_code == 200
        assert row_of(world, ada).disabled_by_staff is not is_active
        assert len(events_of(database, kind)) == 1


def test_account_change_writes_only_changed_columns(site: Site, world: World, ada: Person) -> None:
    stale = row_of(world, ada)
    patch(site, ada, world.staff, is_active=False)
    with world.database.write() as tx:
        account_queries.change(tx, stale.id, {"job_title": "x"})
    assert not row_of(world, ada).is_active


def test_staff_delete_active_and_inactive_accounts(site: Site, world: World, ada: Person) -> None:
    for person in (ada, world.person("bob", is_active=False)):
        assert site.request("DELETE", path_of(person), world.staff).status_code == 204
        assert site.get(path_of(person), world.staff).status_code == 404
        assert site.request("DELETE", path_of(person), world.staff).status_code == 404
    assert site.get(ME, ada).status_code == 401


def test_deleted_account_is_anonymised_and_its_name_is_free_again(
    site: Site, world: World, database: Database
) -> None:
    personal = {
        "civil_number": "38001010000",
        "phone_number": "+372 5555",
        "native_name": "Ада",
        "description": "knows a lot",
        "organization": "Analytical Engines",
    }
    owner, ada = world.person("owner"), world.person("ada", **personal)
    project = world.project(world.organisation(owner=owner))
    world.give_role(ada, "PROJECT.MANAGER", project)
    uuid = world.invite(ada, "somebody@example.org", "PROJECT.MEMBER", project)
    values = {"account_id": ada.id, "email": "new@example.org"}
    hashes = {"code_hash": b"1" * 32, "cancel_code_hash": b"2" * 32}
    with database.write() as tx:
        tx.execute(Statement(email_changes.insert().values(**values, **hashes, created_at=tx.now)))
    assert site.request("DELETE", path_of(ada), world.staff).status_code == 204

    row = " ".join(str(value) for value in as_dict(row_of(world, ada)).values())
    for value in [*personal.values(), "ada@example.org", "new@example.org"]:
        assert value not in row
    with database.read() as tx:
        for table in (ssh_keys, tokens_table, email_changes):
            query = select(table).where(table.c.account_id == ada.id)
            assert tx.fetch_all(Statement[Any](query)) == []
    assert world.grants_in(project) == []
    invitation = site.get(f"/api/user-invitations/{uuid}/", owner).json()
    assert invitation["created_by_full_name"] == f"Deleted account {ada.id}"
    (event,) = events_of(database, "account.deleted")
    assert event.payload == {"username": f"~deleted-{ada.id}"}
    # The user name can be used again, the id cannot.
    again = world.person("ada")
    assert again.id > ada.id
    assert site.post(f"/api/user-invitations/{uuid}/accept/", again).status_code == 404


def test_last_owner_cannot_be_deleted(site: Site, world: World, ada: Person) -> None:
    organisation = world.organisation(owner=ada)
    refused = site.request("DELETE", path_of(ada), world.staff)
    assert refused.status_code == 409
    assert refused.json() == {"detail": "Cannot delete the last owner of an organization"}
    assert len(world.grants_in(organisation)) == 1
    world.give_role(world.person("bob"), "CUSTOMER.OWNER", organisation)
    assert site.request("DELETE", path_of(ada), world.staff).status_code == 204
    assert [row.username for row in world.grants_in(organisation)] == ["bob"]


def test_reading_an_api_token_as_staff_is_recorded(
    site: Site, world: World, database: Database, ada: Person
) -> None:
    response = site.get(f"{path_of(ada)}token/", world.staff)
    assert response.status_code == 200
    assert response.json()["token"] == ada.token
    user_fields = {"first_name", "last_name", "username", "is_active", "token_lifetime"}
    assert set(response.json()) == {"created", "token", *(f"user_{name}" for name in user_fields)}
    assert len(events_of(database, "token.read")) == 1
    site.post("/api-auth/logout/", ada)
    assert site.get(f"{path_of(ada)}token/", world.staff).status_code == 404


@pytest.mark.parametrize("by", ["self", "staff"])
def test_refreshed_api_token_replaces_the_old_one(
    site: Site, world: World, ada: Person, by: str
) -> None:
    response = site.post(f"{path_of(ada)}refresh_token/", ada if by == "self" else world.staff)
    assert response.status_code == 200
    assert response.json()["token"] != ada.token
    assert site.get(ME, ada).status_code == 401
    assert site.get(ME, response.json()["token"]).status_code == 200


def test_api_token_is_stored_encrypted_and_hashed(database: Database, ada: Person) -> None:
    with database.read() as tx:
        rows = tx.fetch_all(Statement[Any](select(tokens_table)))
    assert ada.token.encode() not in b"".join(row.token_encrypted + row.token_hash for row in rows)
