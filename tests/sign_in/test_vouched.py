"""What a provider vouches for: it follows the provider, and goes with the identity."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement
from collegium.db.tables import exchange_codes, released_identities
from collegium.scopes.actions import change_account
from collegium.sign_in.identities import actions as identity_actions
from collegium.sign_in.identities import linking, removal
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import sessions as identity_sessions
from collegium.sign_in.identities.values import METHOD, Arrival, CodeKind
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.tokens import actions as token_actions
from collegium.worker.scheduler import Scheduler
from tests.claim_rules.scene import add_rule, held
from tests.sign_in.identity_scene import (
    account,
    add_provider,
    arrive,
    change_provider,
    enable_second_factor,
    kinds,
    link,
    person,
)
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import Person, Place, World

OWNER = "CUSTOMER.OWNER"
CLAIM = "eduperson_scoped_affiliation"
STAFF: dict[str, Any] = {CLAIM: ["staff@example.org"]}
CAMPUS: dict[str, Any] = {
    "registration": "open",
    "trusted_domains": ["example.org"],
    "attribute_mapping": {"affiliations": CLAIM, "job_title": "title", "email": "email"},
    "protected_fields": ["job_title"],
}


def remove(world: World, name: str = "campus") -> None:
    with world.database.write() as tx:
        provider_actions.remove(tx, None, name)


def rule(world: World, **conditions: Any) -> Place:
    """Add a rule that gives a role in an organisation, and takes it away."""
    place = world.organisation("Physics", owner=world.person("owner"))
    add_rule(world, place, OWNER, **{"claims": {}, "revokes": True, **conditions})
    return place


@pytest.mark.parametrize("how", ["another name", "second client", "another name, first inactive"])
def test_profile_follows_the_issuer_whatever_its_provider_is_called(
    site: Site, world: World, how: str
) -> None:
    campus = add_provider(world, **CAMPUS)
    ada = arrive(world, campus, person(**STAFF, title="Countess")).actor
    if how == "another name":
        remove(world)
    if how == "another name, first inactive":
        change_provider(world, is_active=False)
    other = add_provider(world, "other", client_id="two", **CAMPUS)
    arrive(world, other, person(title="Baroness"))
    row = account(world, ada.id)
    assert (row.affiliations, row.job_title) == ([], "Baroness")
    follows = how != "second client"
    assert row.registration_method == ("other" if follows else "campus")
    # What the provider of today protects is protected.
    change_provider(world, "other" if follows else "campus", protected_fields=["email"])
    shown = site.get(f"/api/users/{ada.uuid}/", world.staff).json()
    assert shown["identity_provider_fields"] == ["email"]
    arrive(world, other, person(**STAFF))
    assert account(world, ada.id).affiliations == ["staff@example.org"]


def test_provider_with_the_name_of_a_former_one_speaks_for_none_of_its_people(
    site: Site, world: World
) -> None:
    ada = arrive(world, add_provider(world, **CAMPUS), person(**STAFF, title="Countess")).actor
    remove(world)
    issuer = "https://another.example.org"
    another = add_provider(world, issuer=issuer, **CAMPUS)
    link(world, ada, another, person("x", issuer))
    arrive(world, another, person("x", issuer, title="Nobody"))
    assert account(world, ada.id).job_title == "Countess"
    shown = site.get(f"/api/users/{ada.uuid}/", world.staff).json()
    assert (shown["identity_provider_fields"], shown["identity_provider_label"]) == ([], "")
    changes = {"job_title": "Baroness"}
    site.request("PATCH", f"/api/users/{ada.uuid}/", world.staff, json=changes)
    assert account(world, ada.id).job_title == "Baroness"


@pytest.mark.parametrize("way", ["person", "operator", "staff", "provider", "another issuer"])
@pytest.mark.parametrize("condition", ["affiliations", "claims"])
def test_what_a_provider_vouched_for_goes_with_the_identity(
    world: World, way: str, condition: str
) -> None:
    if condition == "affiliations":
        rule(world, affiliations=["staff@example.org"])
    else:
        rule(world, claims={CLAIM: ["staff@example.org"]})
    campus = add_provider(world, **CAMPUS)
    ada = arrive(world, campus, person(**STAFF, title="Countess")).actor
    elsewhere = "https://elsewhere.example.org"
    link(world, ada, add_provider(world, "elsewhere", issuer=elsewhere), person("x", elsewhere))
    assert held(world, ada.id) == [("Physics", OWNER)]
    go(world, ada, way)
    row = account(world, ada.id)
    assert (row.affiliations, held(world, ada.id)) == ([], [])
    assert row.attribute_sources.keys() & {"affiliations", "job_title"} == {"job_title"}
    # Facts that give no right stay.
    assert (row.job_title, row.email, row.first_name) == ("Countess", "ada@example.org", "")
    assert kinds(world).count("account.updated") == 1


def go(world: World, ada: Any, way: str) -> None:
    """Let the identity at the first provider go."""
    with world.database.write() as tx:
        if way == "person":
            uuid = identity_queries.of_account(tx, ada.id)[0].uuid
            linking.unlink(tx, ada, world.settings, uuid)
        if way == "staff":
            uuid = identity_queries.of_account(tx, ada.id)[0].uuid
            staff = world.staff.actor
            removal.unlink_as_staff(tx, staff, world.settings, ada.uuid, uuid, force=True)
        if way == "operator":
            campus = identity_queries.of_account(tx, ada.id)[0]
            assert campus.provider_name == "campus"
            provider = provider_queries.by_name(tx, "campus")
            assert provider is not None
            row = account_queries.existing(tx, ada.id)
            assert removal.unlink_as_operator(tx, world.settings, row, provider, force=True) == 1
        if way == "another issuer":
            url = "https://new.example.org/.well-known/openid-configuration"
            provider_actions.update(
                tx,
                None,
                world.vault,
                "campus",
                {"discovery_url": url},
                {"issuer": "https://new.example.org"},
            )
    if way == "provider":
        remove(world)
    if way in {"provider", "another issuer"}:
        # The worker does it, however many people there are.
        assert account(world, ada.id).affiliations == ["staff@example.org"]
        Scheduler(world.database, world.settings).run()
        with world.database.read() as tx:
            assert tx.fetch_all(Statement[Any](select(released_identities.c.identity_id))) == []


@pytest.mark.parametrize("stays", ["another identity", "another client", "it is added again"])
def test_what_the_issuer_still_vouches_for_stays(world: World, stays: str) -> None:
    campus = add_provider(world, **CAMPUS)
    ada = arrive(world, campus, person(**STAFF)).actor
    if stays == "another client":
        add_provider(world, "other", client_id="two", **CAMPUS)
    if stays == "another identity":
        link(world, ada, campus, person("ada-2"))
        go(world, ada, "person")
    else:
        remove(world)
        if stays == "it is added again":
            campus = add_provider(world, **CAMPUS)
            arrive(world, campus, person(**STAFF))
        Scheduler(world.database, world.settings).run()
    assert account(world, ada.id).affiliations == ["staff@example.org"]


@pytest.mark.parametrize("is_staff_now", [False, True])
def test_offer_compares_what_the_same_sign_in_has_said(
    world: World, scene: Scene, *, is_staff_now: bool
) -> None:
    provider = add_provider(world, **CAMPUS)
    said: list[dict[str, Any]] = [{}, STAFF] if is_staff_now else [STAFF, {}]
    arrive(world, provider, person(**said[0]))
    uuid = world.create_link(
        scene.people["owner"],
        "PROJECT.MEMBER",
        scene.project,
        auto_approve=True,
        affiliations=["staff@example.org"],
    )
    arrival = Arrival(invite_link=uuid, accepts=True)
    arrived = arrive(world, provider, person(**said[1]), arrival)
    expected = ((uuid,), "") if is_staff_now else ((), "invite_link.not_for_you")
    assert (arrived.accepted, arrived.refused) == expected


def test_offer_compares_the_address_of_the_same_sign_in(world: World, scene: Scene) -> None:
    provider = add_provider(world, **(CAMPUS | {"trusted_domains": ["example.org", "left.org"]}))
    arrive(world, provider, person(email="ada@left.org"))
    uuid = world.create_link(
        scene.people["owner"],
        "PROJECT.MEMBER",
        scene.project,
        auto_approve=True,
        email_patterns=[r".*@example\.org"],
    )
    arrived = arrive(world, provider, person(), Arrival(invite_link=uuid, accepts=True))
    assert (arrived.accepted, arrived.actor.email) == ((uuid,), "ada@example.org")


def with_second_factor(world: World) -> Any:
    """Return somebody who came from the provider and has two-factor authentication here."""
    ada = arrive(world, add_provider(world, **CAMPUS), person(**STAFF, title="Countess")).actor
    with world.database.write() as tx:
        token_actions.log_in(tx, world.vault, world.settings, ada, METHOD)
    enable_second_factor(world, Person(ada, ""))
    return ada


@pytest.mark.parametrize("meanwhile", ["", "provider changed", "staff"])
def test_profile_is_refreshed_when_the_code_was_entered(world: World, meanwhile: str) -> None:
    rule(world, email_patterns=[r"new@example\.org"])
    ada = with_second_factor(world)
    with world.database.read() as tx:
        provider = provider_queries.by_name(tx, "campus")
    assert provider is not None
    claims = person(email="new@example.org", title="Baroness")
    with world.database.write() as tx:
        signed_in = identity_actions.complete(tx, world.vault, world.settings, provider, claims)
        origin = identity_sessions.origin_of(world.vault, signed_in, claims)
        factor = CodeKind.SECOND_FACTOR
        code = identity_sessions.issue_code(
            tx, world.vault, signed_in.actor, origin, factor, signed_in.stated
        )
        (stored,) = tx.fetch_all(Statement[Any](select(exchange_codes)))
    assert b"Baroness" not in stored.stated_encrypted
    row = account(world, ada.id)
    assert (row.affiliations, row.job_title, row.email) == ([], "Countess", "ada@example.org")
    if meanwhile == "provider changed":
        change_provider(world, trusted_domains=[])
    if meanwhile == "staff":
        with world.database.write() as tx:
            change_account(tx, ada.id, {"is_identity_manager": True})
    with world.database.write() as tx:
        locked = identity_actions.lock_for_finish(tx, world.vault, code)
        finished = identity_actions.finish(
            tx, world.vault, world.settings, signed_in.actor, code, locked
        )
    assert finished[1].name == "campus"
    row = account(world, ada.id)
    changed = meanwhile != "provider changed"
    assert row.job_title == ("Baroness" if changed else "Countess")
    # The address of staff does not follow a provider.
    address = "ada@example.org" if meanwhile else "new@example.org"
    assert row.email == address
    assert held(world, ada.id) == ([] if meanwhile else [("Physics", OWNER)])
