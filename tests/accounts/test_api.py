"""Changing and deleting accounts, their tokens: who may, what is passed over, what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Row, Statement
from collegium.db.tables import email_changes, events, ssh_keys
from collegium.db.tables import tokens as token_rows
from collegium.settings import Settings
from tests.support.site import Site
from tests.support.world import Person, World

AGREES = {"agree_with_policy": True}


def path_of(person: Person) -> str:
    return f"/api/users/{person.uuid}/"


def row_of(world: World, person: Person) -> Row:
    with world.database.read() as tx:
        return account_queries.by_id(tx, person.id)


def told(database: Database, kind: str) -> list[Row]:
    with database.read() as tx:
        return tx.fetch_all(Statement(select(events).where(events.c.kind == kind)))


def patch(site: Site, person: Person, who: Person, **body: Any) -> Any:
    return site.request("PATCH", path_of(person), who, json=body)


def test_everybody_changes_their_own_profile_and_nobody_elses(site: Site, world: World) -> None:
    ada, bob, support = world.person("ada"), world.person("bob"), world.person(is_support=True)
    place = world.organisation()
    for person in (ada, bob):
        world.seat(person, "CUSTOMER.OWNER", place)
    stranger = world.person()
    answer = patch(site, ada, ada, job_title="Countess", **AGREES)
    assert answer.status_code == 200
    assert answer.json()["job_title"] == "Countess"
    assert answer.json()["agreement_date"]
    assert patch(site, ada, bob, job_title="x").status_code == 403
    assert patch(site, ada, support, job_title="x").status_code == 403
    assert patch(site, ada, stranger, job_title="x").status_code == 404
    assert patch(site, ada, world.staff, job_title="Lady").status_code == 200
    assert row_of(world, ada).job_title == "Lady"


def test_who_may_not_change_it_is_told_so_before_what_is_wrong_with_the_body(
    site: Site, world: World
) -> None:
    ada, support = world.person("ada"), world.person(is_support=True)
    assert patch(site, ada, support, birth_date="nonsense").status_code == 403
    assert patch(site, ada, world.person(), birth_date="nonsense").status_code == 404
    assert patch(site, ada, ada, birth_date="nonsense").status_code == 400


def test_the_policy_must_be_agreed_to_once(site: Site, world: World) -> None:
    ada = world.person("ada")
    refused = patch(site, ada, ada, job_title="x")
    assert refused.status_code == 400
    assert refused.json() == {"agree_with_policy": ["User must agree with the policy."]}
    assert row_of(world, ada).job_title == ""
    assert patch(site, ada, ada, **AGREES).status_code == 200
    agreed = row_of(world, ada).agreed_at
    assert patch(site, ada, ada, job_title="x").status_code == 200
    assert patch(site, ada, ada, **AGREES).status_code == 200
    assert row_of(world, ada).agreed_at == agreed


def test_staff_need_no_agreement_for_others_nor_for_themselves(site: Site, world: World) -> None:
    ada = world.person("ada")
    assert patch(site, ada, world.staff, job_title="x").status_code == 200
    assert patch(site, world.staff, world.staff, job_title="x").status_code == 200
    assert row_of(world, ada).agreed_at is None


def test_what_only_staff_may_write_is_passed_over_for_others(site: Site, world: World) -> None:
    ada = world.person("ada")
    body = {
        "is_staff": True,
        "is_support": True,
        "is_active": False,
        "description": "mine",
        "slug": "mine",
        "notifications_enabled": False,
        "username": "other",
        "email": "other@example.org",
        "civil_number": "1",
    }
    before = row_of(world, ada)
    assert patch(site, ada, ada, **body, **AGREES).status_code == 200
    after = row_of(world, ada)
    for name in body:
        assert getattr(after, name) == getattr(before, name), name
    assert patch(site, ada, world.staff, **body).status_code == 200
    changed = row_of(world, ada)
    kept = {"username", "email", "civil_number"}
    for name, value in body.items():
        wanted = getattr(before, name) if name in kept else value
        assert getattr(changed, name) == wanted, name


def test_a_tokens_lifetime_is_set_by_oneself_and_by_staff_within_the_limit(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(token_max_age="2h"))
    ada = world.person("ada", agreed_at=None)
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


def test_staff_let_the_token_of_another_live_for_ever(site: Site, world: World) -> None:
    ada = world.person("ada")
    assert patch(site, ada, ada, token_lifetime=None, **AGREES).status_code == 400
    assert patch(site, ada, world.staff, token_lifetime=None).status_code == 200
    shown = site.get("/api/users/me/", ada).json()
    assert shown["token_lifetime"] is None
    assert shown["token_expires_at"] is None


def test_fields_of_the_accounts_provider_are_passed_over(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(local_idp_protected_fields="full_name,job_title"))
    ada = world.person("ada")
    remote = world.person("remote", registration_method="eduteams")
    body = {"first_name": "X", "job_title": "X", "organization": "X"}
    shown = patch(site, ada, ada, **body, **AGREES).json()
    assert (shown["first_name"], shown["job_title"], shown["organization"]) == ("Ada", "", "X")
    assert shown["identity_provider_fields"] == ["full_name", "job_title"]
    shown = patch(site, remote, remote, **body, **AGREES).json()
    assert (shown["first_name"], shown["job_title"]) == ("Remote", "X")


def test_details_of_frozen_registration_methods_are_staffs_alone(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    frozen = make_settings(protect_user_details_for_registration_methods="saml2")
    site = make_site(frozen)
    # The method of the one who is changed decides, not that of the one who changes.
    ada = world.person("ada", registration_method="saml2")
    clerk = world.person("clerk", is_staff=True, registration_method="saml2")
    bob = world.person("bob")
    assert patch(site, ada, ada, organization="X", **AGREES).json()["organization"] == ""
    assert patch(site, ada, clerk, organization="X").json()["organization"] == "X"
    assert patch(site, bob, bob, organization="X", **AGREES).json()["organization"] == "X"


def test_put_needs_no_user_name_and_patch_changes_what_is_there_alone(
    site: Site, world: World
) -> None:
    ada = world.person("ada", native_name="Ада", job_title="Countess")
    answer = site.request("PUT", path_of(ada), ada, json={"job_title": "Lady", **AGREES})
    assert answer.status_code == 200
    assert answer.json()["native_name"] == "Ада"
    assert answer.json()["username"] == "ada"


def test_the_history_tells_what_changed_and_nothing_when_nothing_did(
    site: Site, world: World, database: Database
) -> None:
    ada = world.person("ada")
    patch(site, ada, world.staff, job_title="Countess", birth_date="1815-12-10")
    (event,) = told(database, "account.updated")
    assert event.actor_name == "Staff Lee"
    assert event.payload["changes"] == {
        "job_title": ["", "Countess"],
        "birth_date": [None, "1815-12-10"],
    }
    patch(site, ada, world.staff, job_title="Countess")
    assert len(told(database, "account.updated")) == 1


def test_switching_off_and_on_is_told_and_kept_from_directories(
    site: Site, world: World, database: Database
) -> None:
    ada = world.person("ada")
    assert patch(site, ada, world.staff, is_active=False).status_code == 200
    assert row_of(world, ada).disabled_by_staff
    gone = site.get("/api/users/me/", ada)
    assert gone.status_code == 401
    assert gone.json() == {"detail": "User inactive or deleted."}
    assert patch(site, ada, world.staff, is_active=True).status_code == 200
    assert not row_of(world, ada).disabled_by_staff
    assert site.get("/api/users/me/", ada).json() == {"detail": "Invalid token."}
    assert len(told(database, "account.deactivated")) == 1
    assert len(told(database, "account.activated")) == 1


def test_changing_an_account_writes_only_what_changed(site: Site, world: World) -> None:
    ada = world.person("ada")
    stale = row_of(world, ada)
    patch(site, ada, world.staff, is_active=False)
    # Somebody who read before writes something else afterwards.
    with world.database.write() as tx:
        account_queries.change(tx, stale.id, {"job_title": "x"})
    assert not row_of(world, ada).is_active


def test_only_staff_delete_accounts_inactive_ones_too(site: Site, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob", is_active=False)
    assert site.request("DELETE", path_of(ada), ada).status_code == 403
    assert site.request("DELETE", path_of(ada), world.person()).status_code == 404
    support = world.person(is_support=True)
    assert site.request("DELETE", path_of(ada), support).status_code == 403
    for person in (ada, bob):
        assert site.request("DELETE", path_of(person), world.staff).status_code == 204
        assert site.get(path_of(person), world.staff).status_code == 404
        assert site.request("DELETE", path_of(person), world.staff).status_code == 404
    assert site.get("/api/users/me/", ada).status_code == 401


def test_a_deleted_account_leaves_nothing_personal_but_a_readable_history(
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
    place = world.project(world.organisation(owner=owner))
    world.seat(ada, "PROJECT.MANAGER", place)
    uuid = world.invite(ada, "somebody@example.org", "PROJECT.MEMBER", place)
    with database.write() as tx:
        tx.execute(
            Statement(
                email_changes.insert().values(
                    account_id=ada.id,
                    email="new@example.org",
                    code_hash=b"1" * 32,
                    created_at=tx.now,
                )
            )
        )
    assert site.request("DELETE", path_of(ada), world.staff).status_code == 204

    row = row_of(world, ada)
    kept = " ".join(str(value) for value in row._asdict().values())
    for value in [*personal.values(), "ada@example.org", "new@example.org"]:
        assert value not in kept
    with database.read() as tx:
        for table in (ssh_keys, token_rows, email_changes):
            rows = tx.fetch_all(Statement(select(table).where(table.c.account_id == ada.id)))
            assert rows == []
    assert world.grants_in(place) == []
    shown = site.get(f"/api/user-invitations/{uuid}/", owner).json()
    assert shown["created_by_full_name"] == f"Deleted account {ada.id}"
    (event,) = told(database, "account.deleted")
    assert event.payload == {"username": f"~deleted-{ada.id}"}
    # The name is free again, the number is not.
    again = world.person("ada")
    assert again.id > ada.id
    invitation = site.post(f"/api/user-invitations/{uuid}/accept/", again)
    assert invitation.status_code == 404


def test_the_last_owner_cannot_be_deleted(site: Site, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    place = world.organisation(owner=ada)
    refused = site.request("DELETE", path_of(ada), world.staff)
    assert refused.status_code == 409
    assert refused.json() == {"detail": "Cannot delete the last owner of an organization"}
    assert len(world.grants_in(place)) == 1
    world.seat(bob, "CUSTOMER.OWNER", place)
    assert site.request("DELETE", path_of(ada), world.staff).status_code == 204
    assert [row.username for row in world.grants_in(place)] == ["bob"]


def test_staff_read_a_token_and_that_is_written_down(
    site: Site, world: World, database: Database
) -> None:
    ada = world.person("ada")
    answer = site.get(f"{path_of(ada)}token/", world.staff)
    assert answer.status_code == 200
    assert answer.json()["token"] == ada.token
    assert set(answer.json()) == {
        "created",
        "user_first_name",
        "user_last_name",
        "user_username",
        "user_is_active",
        "user_token_lifetime",
        "token",
    }
    assert len(told(database, "token.read")) == 1
    for who, status in ((ada, 403), (world.person(is_support=True), 403), (world.person(), 404)):
        assert site.get(f"{path_of(ada)}token/", who).status_code == status
    site.post("/api-auth/logout/", ada)
    assert site.get(f"{path_of(ada)}token/", world.staff).status_code == 404


@pytest.mark.parametrize("by", ["self", "staff"])
def test_a_refreshed_token_ends_the_old_one(site: Site, world: World, by: str) -> None:
    ada = world.person("ada")
    who = ada if by == "self" else world.staff
    answer = site.post(f"{path_of(ada)}refresh_token/", who)
    assert answer.status_code == 200
    assert answer.json()["token"] != ada.token
    assert site.get("/api/users/me/", ada).status_code == 401
    assert site.get("/api/users/me/", answer.json()["token"]).status_code == 200
    support = world.person(is_support=True)
    assert site.post(f"{path_of(ada)}refresh_token/", support).status_code == 403
    assert site.post(f"{path_of(ada)}refresh_token/", world.person()).status_code == 404


def test_a_token_rests_nowhere_in_clear(world: World, database: Database) -> None:
    ada = world.person("ada")
    with database.read() as tx:
        rows = tx.fetch_all(Statement(select(token_rows)))
    assert ada.token.encode() not in b"".join(row.token_encrypted + row.token_hash for row in rows)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_asking_for_a_few_fields_loses_nothing_of_what_is_written(
    site: Site, world: World, method: str
) -> None:
    ada = world.person("ada")
    path = f"{path_of(ada)}?field=uuid"
    answer = site.request(method, path, ada, json={"job_title": "Countess", **AGREES})
    assert answer.status_code == 200
    assert row_of(world, ada).job_title == "Countess"
