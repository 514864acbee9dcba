"""Who somebody is who comes back from a provider: linked, registered, invited, or refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.database import WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import provider_sign_ins
from collegium.refusals import Conflict, Forbidden, NotFound, Refusal, Unauthenticated
from collegium.scopes.actions import change_account
from collegium.sign_in import credentials
from collegium.sign_in.identities import actions as identity_actions
from collegium.sign_in.identities import linking, mail_links, removal, sign_ins
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import sessions as identity_sessions
from collegium.sign_in.identities.values import METHOD, Arrival, CodeKind
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.rules import DEFAULT_VOUCHED, Purpose
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from tests.sign_in.identity_scene import (
    account,
    add_provider,
    arrive,
    change_provider,
    counts,
    enable_second_factor,
    kinds,
    link,
    person,
)
from tests.support.mails import mail_text, sent_mails
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import Person, World

PRESSED = Arrival(accepts=True)
TRUSTED: dict[str, Any] = {"trusted_domains": ["example.org"]}


def refused(code: str, kind: type[Refusal], call: Any, *args: Any) -> None:
    with pytest.raises(kind) as raised:
        call(*args)
    assert raised.value.code == code


def test_linked_person_signs_in_and_others_do_not(world: World) -> None:
    provider = add_provider(world)
    ada = world.person("ada")
    assert link(world, ada.actor, provider, person())
    assert arrive(world, provider, person()).actor.id == ada.id
    assert not link(world, ada.actor, provider, person())
    bob = world.person("bob")
    refused("identity.taken", Conflict, link, world, bob.actor, provider, person())
    for stranger in (person("ada-2", email=""), person(issuer="https://evil.example", email="")):
        refused("identity.unknown", Forbidden, arrive, world, provider, stranger)
    assert counts(world) == (3, 1)


def test_several_identities_lead_to_one_account(world: World) -> None:
    first, second = add_provider(world), add_provider(world, "other", issuer="https://b.example")
    ada = world.person("ada")
    link(world, ada.actor, first, person())
    link(world, ada.actor, second, person("x", "https://b.example"))
    assert arrive(world, second, person("x", "https://b.example")).actor.id == ada.id


@pytest.mark.parametrize(
    ("provider_values", "claims", "code"),
    [
        pytest.param({}, {}, "identity.unknown", id="untrusted"),
        pytest.param(
            {"trusted_domains": ["other.org", "le.org"]}, {}, "identity.unknown", id="other"
        ),
        pytest.param({"registration": "open"}, {}, "", id="untrusted and open"),
        pytest.param(TRUSTED, {"email_verified": False}, "identity.unknown", id="unverified"),
        pytest.param(TRUSTED, {"email_verified": None}, "identity.unknown", id="unsaid"),
        pytest.param(TRUSTED, {"email_verified": 1}, "identity.unknown", id="number"),
        pytest.param(
            TRUSTED, {"email": "ad\u0430@example.org"}, "identity.unknown", id="cyrillic letter"
        ),
        pytest.param(
            {**TRUSTED, "registration": "open"}, {"email": ["ada@example.org"]}, "", id="list"
        ),
    ],
)
def test_equal_address_links_nobody(
    world: World, provider_values: dict[str, Any], claims: dict[str, Any], code: str
) -> None:
    ada = world.person("ada")
    provider = add_provider(world, **provider_values)
    if code:
        refused(code, Forbidden, arrive, world, provider, person(**claims))
        assert counts(world) == (2, 0)
    else:
        signed_in = arrive(world, provider, person(**claims))
        assert signed_in.actor.id != ada.id
        assert account(world, signed_in.actor.id).email == ""


def test_trusted_provider_links_the_verified_address(world: World) -> None:
    ada = world.person("ada")
    provider = add_provider(world, **TRUSTED)
    assert arrive(world, provider, person(email="Ada@Example.ORG")).actor.id == ada.id
    assert kinds(world)[-1] == "identity.linked"
    # The account keeps its own profile, because it does not come from there.
    assert account(world, ada.id).last_name == "Lee"
    # A second person with the same address at the same provider.
    refused("identity.mismatch", Conflict, arrive, world, provider, person("ada-2"))


@pytest.mark.parametrize("right", ["is_staff", "is_support", "is_identity_manager", "factor"])
def test_word_of_a_provider_opens_no_account_with_rights(world: World, right: str) -> None:
    ada = world.person("ada", **({right: True} if right != "factor" else {}))
    if right == "factor":
        enable_second_factor(world, ada)
    provider = add_provider(world, **TRUSTED, user_field="username", user_claim="voperson_id")
    for claims in (person(), person(email="", voperson_id="ada")):
        refused("identity.email_taken", Conflict, arrive, world, provider, claims)
    assert counts(world) == (2, 0)


def test_ambiguous_address_links_nobody(world: World) -> None:
    for name in ("ada", "ada2"):
        world.person(name, email="ada@example.org")
    provider = add_provider(world, **TRUSTED, registration="open")
    refused("identity.email_taken", Conflict, arrive, world, provider, person())


@pytest.mark.parametrize("field", ["username", "civil_number"])
def test_assigned_claim_recognises_an_account(world: World, field: str) -> None:
    ada = world.person("ada", civil_number="EE-1")
    value = {"username": "ada", "civil_number": "EE-1"}[field]
    provider = add_provider(world, user_field=field, user_claim="voperson_id")
    for wrong in (None, "", ["ada"], 1, {"a": 1}, "bob"):
        claims = person("wrong", email="", voperson_id=wrong)
        refused("identity.unknown", Forbidden, arrive, world, provider, claims)
    assert arrive(world, provider, person(email="", voperson_id=value)).actor.id == ada.id
    second = person("second", email="", voperson_id=value)
    if field == "username":
        # The account is in use now, so the user name does not count any more.
        refused("identity.unknown", Forbidden, arrive, world, provider, second)
    else:
        refused("identity.mismatch", Conflict, arrive, world, provider, second)


@pytest.mark.parametrize("way", ["password", "sign-in", "provider", "civil_number"])
def test_value_that_somebody_may_have_chosen_recognises_no_account(world: World, way: str) -> None:
    field = "civil_number" if way == "civil_number" else "username"
    provider = add_provider(world, registration="open", user_field=field, user_claim="voperson_id")
    other = add_provider(
        world,
        "other",
        issuer="https://other.example",
        registration="open",
        attribute_mapping={"civil_number": "national_id"},
    )
    if way in {"password", "sign-in"}:
        # The invitation page sets a password with the user name.
        used = {"password": "hash"} if way == "password" else {"last_login_at": datetime.now(UTC)}
        taken = world.person("v-1", **used).id
    else:
        claim = {"provider": "preferred_username", "civil_number": "national_id"}[way]
        claims = person("mallory", other.issuer, email="", **{claim: "v-1"})
        taken = arrive(world, other, claims).actor.id
    assert getattr(account(world, taken), field) == "v-1"
    arrived = arrive(world, provider, person("victim", email="", voperson_id="v-1"))
    assert (arrived.is_new, arrived.actor.id != taken) == (True, True)


def test_deactivated_account_stays_out(world: World) -> None:
    provider = add_provider(world, **TRUSTED, registration="open")
    ada = world.person("ada")
    link(world, ada.actor, provider, person())
    with world.database.write() as tx:
        account_actions.update(
            tx,
            world.staff.actor,
            world.settings,
            ada.uuid,
            {"is_active": False},
            agrees_to_policy=False,
        )
    refused("identity.deactivated", Forbidden, arrive, world, provider, person())
    # Another identity with the address is no way around it.
    refused("identity.deactivated", Forbidden, arrive, world, provider, person("new"))
    assert counts(world) == (2, 1)


@pytest.mark.parametrize("registration", ["off", "invited", "open"])
def test_registration_decides_about_new_people(world: World, registration: str) -> None:
    provider = add_provider(world, **TRUSTED, registration=registration)
    if registration != "open":
        refused("identity.unknown", Forbidden, arrive, world, provider, person())
        assert counts(world) == (1, 0)
        return
    signed_in = arrive(world, provider, person(preferred_username="Ada.Byron"))
    row = account(world, signed_in.actor.id)
    assert signed_in.is_new
    assert (row.username, row.email, row.first_name, row.last_name) == (
        *("ada.byron", "ada@example.org"),
        *("Ada", "Byron"),
    )
    assert (row.registration_method, row.password) == ("campus", None)
    assert arrive(world, provider, person()).actor.id == signed_in.actor.id
    other = arrive(world, provider, person("b", email="b@example.org", preferred_username="admin"))
    assert account(world, other.actor.id).username == "b"


def mailed(world: World, uuid: str, **values: Any) -> Arrival:
    version = world.invitation(uuid).link_version
    return Arrival(invitation=uuid, link_version=version, is_mailed=True, accepts=True, **values)


def test_invitee_gets_account_and_role_together(world: World, scene: Scene) -> None:
    provider = add_provider(world)
    uuid = world.invite(scene.people["owner"], "ada@example.org", "PROJECT.MEMBER", scene.project)
    signed_in = arrive(world, provider, person(), mailed(world, uuid))
    assert signed_in.is_new
    assert signed_in.accepted == (uuid,)
    assert signed_in.actor.id in {grant.account_id for grant in world.grants_in(scene.project)}
    assert world.invitation(uuid).state == "accepted"
    # It is consumed: the next person with the link gets neither an account nor a role.
    before = counts(world)
    stranger = person("mallory", email="mallory@example.org")
    refused("invitation.unknown", NotFound, arrive, world, provider, stranger, mailed(world, uuid))
    assert counts(world) == before


@pytest.mark.parametrize("is_verified", [False, True])
def test_mailed_link_and_provider_together_prove_an_address(
    world: World, scene: Scene, *, is_verified: bool
) -> None:
    provider = add_provider(world)
    owner = scene.people["owner"]
    uuid = world.invite(owner, "ada@example.org", "PROJECT.MEMBER", scene.project)
    untrusted = person(email="Ada@Example.org", email_verified=is_verified)
    signed_in = arrive(world, provider, untrusted, mailed(world, uuid))
    assert account(world, signed_in.actor.id).email == "ada@example.org"
    assert signed_in.unconfirmed == ""
    # A link that was shared by other means proves nothing.
    uuid = world.invite(owner, "bob@example.org", "PROJECT.MEMBER", scene.project)
    shared = mailed(world, uuid)._replace(is_mailed=False)
    claims = person("bob", email="bob@example.org", email_verified=is_verified)
    signed_in = arrive(world, provider, claims, shared)
    assert account(world, signed_in.actor.id).email == ""


@pytest.mark.parametrize("stated", ["ada@victim.org", "", None])
def test_forwarded_invitation_puts_no_address_into_an_account(
    world: World, scene: Scene, stated: str | None
) -> None:
    """Otherwise who forwards it gets the e-mails that open the account of somebody else."""
    provider = add_provider(world)
    evil = "mallory@evil.example"
    uuid = world.invite(scene.people["owner"], evil, "PROJECT.MEMBER", scene.project)
    signed_in = arrive(world, provider, person(email=stated), mailed(world, uuid))
    assert (signed_in.is_new, signed_in.accepted) == (True, (uuid,))
    assert account(world, signed_in.actor.id).email == ""
    assert signed_in.unconfirmed == (stated or "")
    # Neither a forgotten password nor a link by e-mail leads into it.
    with world.database.write() as tx:
        password_actions.request_reset(tx, evil, "192.0.2.66")
        candidate = mail_links.candidate(
            world.vault, provider, person("mallory", email=evil), "b" * 32, "/account/"
        )
        assert candidate is not None
        mail_links.request(tx, world.vault, candidate, "192.0.2.66")
    sent = [(mail["X-Collegium-Mail"], mail["To"]) for mail in sent_mails(world)]
    links = {"change_email_request", "password_reset", "identity_link_request"}
    asked = [("change_email_request", stated)] if stated else []
    assert [mail for mail in sent if mail[0] in links] == asked


def test_mailed_link_makes_no_second_account(world: World, scene: Scene) -> None:
    provider = add_provider(world)
    world.person("ada")
    uuid = world.invite(scene.people["owner"], "ada@example.org", "PROJECT.MEMBER", scene.project)
    claims = person(email_verified=False)
    refused("identity.email_taken", Conflict, arrive, world, provider, claims, mailed(world, uuid))
    assert world.invitation(uuid).state == "pending"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_forwarded_invitation_of_somebody_with_an_account_opens_another(
    world: World, scene: Scene
) -> None:
    provider = add_provider(world)
    ada = world.person("ada")
    uuid = world.invite(scene.people["owner"], "ada@example.org", "PROJECT.MEMBER", scene.project)
    claims = person("bob", email="bob@example.org", email_verified=False)
    if_deactivated = person("mallory", email=None)
    with world.database.write() as tx:
        change_account(tx, ada.id, {"is_active": False})
    # It is no way around a deactivation.
    for known in (if_deactivated, person(email_verified=False)):
        refused(
            "account.deactivated", Conflict, arrive, world, provider, known, mailed(world, uuid)
        )
    with world.database.write() as tx:
        change_account(tx, ada.id, {"is_active": True})
    signed_in = arrive(world, provider, claims, mailed(world, uuid))
    assert (signed_in.is_new, signed_in.accepted) == (True, (uuid,))
    assert account(world, signed_in.actor.id).email == ""


def test_existing_account_accepts_by_the_button_alone(world: World, scene: Scene) -> None:
    provider = add_provider(world)
    ada = world.person("ada")
    link(world, ada.actor, provider, person())
    uuid = world.invite(scene.people["owner"], "ada@example.org", "PROJECT.MEMBER", scene.project)
    seen = mailed(world, uuid)._replace(accepts=False)
    assert arrive(world, provider, person(), seen).accepted == ()
    assert arrive(world, provider, person(), mailed(world, uuid)).accepted == (uuid,)
    again = arrive(world, provider, person(), mailed(world, uuid))
    assert (again.accepted, again.refused) == ((), "invitation.unknown")


def test_second_factor_comes_before_acceptance(world: World, scene: Scene) -> None:
    provider = add_provider(world, second_factor_values=["https://refeds.org/profile/mfa"])
    ada = world.person("ada")
    link(world, ada.actor, provider, person())
    enable_second_factor(world, ada)
    uuid = world.invite(scene.people["owner"], "ada@example.org", "PROJECT.MEMBER", scene.project)
    signed_in = arrive(world, provider, person(acr="urn:other"), mailed(world, uuid))
    assert not signed_in.has_second_factor
    assert signed_in.accepted == ()
    signed_in = arrive(
        world, provider, person(acr="https://refeds.org/profile/mfa"), mailed(world, uuid)
    )
    assert signed_in.has_second_factor
    assert signed_in.accepted == (uuid,)


def test_pending_invitation_counts_only_at_a_trusted_domain(world: World, scene: Scene) -> None:
    provider = add_provider(world)
    uuid = world.invite(scene.people["owner"], "ada@example.org", "PROJECT.MEMBER", scene.project)
    refused("identity.unknown", Forbidden, arrive, world, provider, person())
    change_provider(world, **TRUSTED)
    provider = _again(world)
    refused("identity.unknown", Forbidden, arrive, world, provider, person(email_verified=False))
    refused("identity.unknown", Forbidden, arrive, world, provider, person(email="b@example.org"))
    assert arrive(world, provider, person(), PRESSED).accepted == (uuid,)


def _again(world: World) -> Any:
    with world.database.read() as tx:
        return provider_queries.by_name(tx, "campus")


def test_invite_link_brings_a_new_person_in(world: World, scene: Scene) -> None:
    mapping = {"affiliations": "eduperson_scoped_affiliation"}
    speaks = [*DEFAULT_VOUCHED, "eduperson_scoped_affiliation@example.org"]
    provider = add_provider(world, attribute_mapping=mapping, vouched_claims=speaks)
    uuid = world.create_link(
        scene.people["owner"], "PROJECT.MEMBER", scene.project, auto_approve=True
    )
    signed_in = arrive(world, provider, person(), Arrival(invite_link=uuid, accepts=True))
    assert (signed_in.accepted, signed_in.asked) == ((uuid,), "")
    assert signed_in.actor.id in {grant.account_id for grant in world.grants_in(scene.project)}
    limited = world.create_link(
        scene.people["owner"], "PROJECT.MEMBER", scene.project, affiliations=["staff@example.org"]
    )
    claims = person("bob", email="bob@example.org")
    refused(
        "invite_link.not_for_you",
        Conflict,
        arrive,
        world,
        provider,
        claims,
        Arrival(invite_link=limited, accepts=True),
    )
    claims = person(
        "bob", email="bob@example.org", eduperson_scoped_affiliation=["staff@example.org"]
    )
    signed_in = arrive(world, provider, claims, Arrival(invite_link=limited, accepts=True))
    assert (signed_in.is_new, signed_in.accepted, signed_in.asked) == (True, (), limited)


HIGH = "https://refeds.org/assurance/IAP/high"
SURE: dict[str, Any] = {"vouched_claims": ["eduperson_assurance", "schac_home_organization@*"]}


def test_invite_link_asks_for_what_a_provider_states(
    world: World, scene: Scene, site: Site
) -> None:
    elsewhere = "https://elsewhere.example"
    sure = add_provider(world, **SURE)
    unsure = add_provider(world, "unsure", issuer=elsewhere)
    claims = {"eduperson_assurance": [HIGH, "other"], "schac_home_organization": ["uni.example"]}
    uuid = world.create_link(
        scene.people["owner"], "PROJECT.MEMBER", scene.project, auto_approve=True, claims=claims
    )
    arrival = Arrival(invite_link=uuid, accepts=True)
    home: dict[str, Any] = {"schac_home_organization": "uni.example"}
    high: dict[str, Any] = {"eduperson_assurance": [HIGH]}
    before = counts(world)
    # Not the level, not the institution, and no provider that vouches for it.
    for said in (home, high, home | {"eduperson_assurance": [f"{HIGH}er"]}):
        refused("invite_link.claims", Conflict, arrive, world, sure, person(**said), arrival)
    there = person("x", elsewhere, email="x@example.org", **home, **high)
    refused("invite_link.claims", Conflict, arrive, world, unsure, there, arrival)
    assert counts(world) == before
    signed_in = arrive(world, sure, person(**home, **high), arrival)
    assert (signed_in.is_new, signed_in.accepted) == (True, (uuid,))
    # Two institutions do not add up, and a password states nothing.
    bob = world.person("bob")
    link(world, bob.actor, sure, person("bob", **home))
    link(world, bob.actor, sure, person("bob-2", **high))
    path = f"/api/user-group-invitations/{uuid}/submit_request/"
    denied = site.post(path, bob, json={})
    assert (denied.status_code, "does not state what" in denied.text) == (400, True)
    # What is stated at this very sign-in counts, not what was stated before.
    for said, code in (({}, "invite_link.claims"), (home | high, ""), (home, "invite_link.claims")):
        done = arrive(world, sure, person("bob", **said), arrival)
        assert done.refused == (code or ""), said
        assert done.accepted == (() if code else (uuid,))
        world.remove_role(bob, "PROJECT.MEMBER", scene.project) if not code else None
    # A provider that staff do not believe any more is not believed here either.
    arrive(world, sure, person("bob", **home, **high))
    change_provider(world, vouched_claims=["schac_home_organization@*"])
    assert site.post(path, bob, json={}).status_code == 400
    change_provider(world, **SURE)
    assert site.post(path, bob, json={}).status_code == 200


@pytest.mark.parametrize("way", ["invitation", "open", "invite link", "pending"])
def test_nothing_is_accepted_for_a_new_person_who_pressed_no_button(
    world: World, scene: Scene, way: str
) -> None:
    owner = scene.people["owner"]
    provider = add_provider(
        world,
        trusted_domains=["example.org"] if way == "pending" else [],
        registration="open" if way == "open" else "invited",
    )
    uuid = world.invite(owner, "ada@example.org", "PROJECT.MEMBER", scene.project)
    arrival = Arrival()
    if way in {"invitation", "open"}:
        arrival = mailed(world, uuid)._replace(accepts=False)
    if way == "invite link":
        open_link = world.create_link(owner, "PROJECT.MEMBER", scene.project, auto_approve=True)
        arrival = Arrival(invite_link=open_link)
    members = world.grants_in(scene.project)
    if way == "invitation":
        # Its page has the button. Here somebody else may have put it into the address.
        refused("identity.unknown", Forbidden, arrive, world, provider, person(), arrival)
        return
    signed_in = arrive(world, provider, person(), arrival)
    assert (signed_in.is_new, signed_in.accepted, signed_in.asked) == (True, (), "")
    assert world.grants_in(scene.project) == members
    assert world.invitation(uuid).state == "pending"
    new = account(world, signed_in.actor.id)
    # The invitation proves nothing about who follows the address.
    assert (new.email, new.agreed_at) == ("ada@example.org" if way == "pending" else "", None)


def test_invite_link_that_is_over_opens_no_account(world: World, scene: Scene) -> None:
    provider = add_provider(world)
    unknown = Arrival(invite_link="0" * 32)
    refused("invite_link.unknown", NotFound, arrive, world, provider, person(), unknown)
    assert counts(world)[1] == 0


@pytest.mark.parametrize("accepts", [False, True])
def test_offer_that_is_over_shuts_nobody_out_where_everybody_gets_an_account(
    world: World, scene: Scene, *, accepts: bool
) -> None:
    provider = add_provider(world, registration="open")
    over = Arrival(invite_link="0" * 32, accepts=accepts)
    signed_in = arrive(world, provider, person(), over)
    assert (signed_in.is_new, signed_in.accepted) == (True, ())
    assert signed_in.refused == ("invite_link.unknown" if accepts else "")
    uuid = world.invite(scene.people["owner"], "bob@example.org", "PROJECT.MEMBER", scene.project)
    old = mailed(world, uuid)._replace(link_version=0, is_mailed=False, accepts=accepts)
    assert arrive(world, provider, person("bob"), old).is_new


def test_person_whom_the_operator_unlinks_is_recognised_again(world: World) -> None:
    """The provider has changed the subject, and nothing else opens the account."""
    provider = add_provider(world, **TRUSTED)
    ada = world.person("ada")
    link(world, ada.actor, provider, person("old"))
    refused("identity.mismatch", Conflict, arrive, world, provider, person("new"))

    def unlink(tx: WriteTransaction, *, force: bool = True) -> int:
        row = account_queries.existing(tx, ada.id)
        return removal.unlink_as_operator(tx, world.settings, row, provider, force=force)

    with pytest.raises(Conflict, match=r"identity\.last_way_of"), world.database.write() as tx:
        unlink(tx, force=False)
    with world.database.write() as tx:
        assert unlink(tx) == 1
    assert kinds(world)[-1] == "identity.unlinked"
    (notice,) = sent_mails(world, "identity_changed")[1:]
    assert "removed" in mail_text(notice)
    assert arrive(world, provider, person("new")).actor.id == ada.id
    with world.database.write() as tx:
        assert unlink(tx) == 1
        assert unlink(tx) == 0


def test_each_sign_in_refreshes_the_profile(world: World) -> None:
    provider = add_provider(world, **TRUSTED, registration="open")
    ada = arrive(world, provider, person()).actor
    world.person("bob")
    arrive(world, provider, person(family_name="King", email="countess@example.org"))
    row = account(world, ada.id)
    assert (row.last_name, row.email) == ("King", "countess@example.org")
    assert kinds(world)[-1] == "account.updated"
    # An untrusted address, and the address of somebody else, change nothing.
    for claims in (
        person(email="x@example.org", email_verified=False),
        person(email="x@elsewhere.org"),
        person(email="bob@example.org"),
    ):
        arrive(world, provider, claims)
        assert account(world, ada.id).email == "countess@example.org"


MAPPED: dict[str, Any] = {
    "registration": "open",
    "trusted_domains": ["example.org"],
    "attribute_mapping": {
        "affiliations": "eduperson_scoped_affiliation",
        "civil_number": "national_id",
        "email": "email",
        "first_name": "given_name",
        "gender": "gender",
        "job_title": "title",
        "nationalities": "citizenships",
        "personal_title": "honorific",
    },
}
STATED: dict[str, Any] = {
    "eduperson_scoped_affiliation": ["staff@example.org"],
    "national_id": "EE-1",
    "gender": "female",
    "title": "Countess",
    "citizenships": ["GB"],
    "honorific": "Lady",
}


def test_fact_that_the_provider_states_no_more_is_gone(world: World) -> None:
    provider = add_provider(world, **MAPPED)
    ada = arrive(world, provider, person(**STATED)).actor
    names = ("affiliations", "nationalities", "gender", "job_title", "personal_title")

    def facts() -> tuple[Any, ...]:
        row = account(world, ada.id)
        return tuple(getattr(row, name) for name in names)

    assert facts() == (["staff@example.org"], ["GB"], "female", "Countess", "Lady")
    # What staff enter is theirs from then on.
    with world.database.write() as tx:
        changes = {"job_title": "Mathematician"}
        uuid, actor = ada.uuid, world.staff.actor
        account_actions.update(tx, actor, world.settings, uuid, changes, agrees_to_policy=False)
    gone: dict[str, Any] = {"eduperson_scoped_affiliation": [], "citizenships": ["?"], "title": ""}
    arrive(world, provider, person(**gone, given_name=None))
    assert facts() == ([], [], None, "Mathematician", "")
    row = account(world, ada.id)
    assert row.attribute_sources.keys() == {
        "civil_number",
        "first_name",
        "registration_method",
    }
    # These say who it is.
    assert (row.first_name, row.civil_number, row.email) == ("Ada", "EE-1", "ada@example.org")


@pytest.mark.parametrize(
    ("values", "believed"),
    [
        ({"trusted_domains": []}, []),
        ({"attribute_mapping": {"email": "email"}}, []),
        ({}, ["staff@example.org"]),
        (
            {"vouched_claims": ["eduperson_scoped_affiliation@*"], "trusted_domains": []},
            ["staff@example.org", "professor@victim.example"],
        ),
    ],
    ids=["untrusted", "not mapped", "own institution", "proxy"],
)
def test_provider_makes_nobody_a_professor_of_another_institution(
    world: World, values: dict[str, Any], believed: list[str]
) -> None:
    provider = add_provider(world, **(MAPPED | values))
    stated = ["staff@example.org", "professor@victim.example"]
    ada = arrive(world, provider, person(eduperson_scoped_affiliation=stated)).actor
    assert account(world, ada.id).affiliations == believed


@pytest.mark.parametrize("way", ["factor", "factor at the provider", "staff"])
def test_profile_waits_for_the_second_factor(world: World, way: str) -> None:
    """Rights follow the provider. The facts of the person do not, nor does the address of staff."""
    provider = add_provider(world, **MAPPED, second_factor_values=["mfa"])
    ada = arrive(world, provider, person(**STATED)).actor
    if way == "staff":
        with world.database.write() as tx:
            change_account(tx, ada.id, {"is_staff": True})
    else:
        with world.database.write() as tx:
            token_actions.log_in(tx, world.vault, world.settings, ada, METHOD)
        enable_second_factor(world, Person(ada, ""))
    new = {"email": "evil@example.org", "title": "Baroness"}
    acr = "mfa" if way == "factor at the provider" else ""
    arrive(world, provider, person(**new, acr=acr))
    row = account(world, ada.id)
    assert row.affiliations == []
    assert row.job_title == ("Countess" if way == "factor" else "Baroness")
    assert row.email == (new["email"] if acr else "ada@example.org")


def test_untrusted_provider_gets_nobody_the_address_of_the_next_person(world: World) -> None:
    campus = add_provider(world, **TRUSTED, registration="open")
    issuer = "https://b.example"
    other = add_provider(world, "other", issuer=issuer, registration="open")
    created = arrive(world, other, person("m", issuer, email="provost@example.org")).actor
    arrive(world, other, person("m", issuer, email="provost@example.org"))
    assert account(world, created.id).email == ""
    provost = arrive(world, campus, person(email="provost@example.org")).actor
    assert provost.id != created.id
    assert account(world, provost.id).email == "provost@example.org"


def test_untrusted_address_meets_no_pattern_of_an_invite_link(world: World, scene: Scene) -> None:
    provider = add_provider(world)
    link = world.create_link(
        scene.people["owner"],
        "PROJECT.MEMBER",
        scene.project,
        auto_approve=True,
        email_patterns=[r".*@example\.org"],
    )
    arrival = Arrival(invite_link=link, accepts=True)
    code = "invite_link.not_for_you"
    refused(code, Conflict, arrive, world, provider, person(), arrival)
    change_provider(world, **TRUSTED)
    assert arrive(world, provider, person(), arrival).accepted == (link,)


def test_address_from_a_provider_ends_pending_changes_and_the_old_one_is_told(
    world: World,
) -> None:
    provider = add_provider(world, **TRUSTED, registration="open")
    ada = arrive(world, provider, person()).actor
    bob = world.person("bob")
    new = "countess@example.org"
    pending = {ada: "mallory@example.org", bob.actor: new}
    with world.database.write() as tx:
        for actor, email in pending.items():
            email_change_actions.request_change(
                tx, actor, world.settings, world.vault, actor.uuid, email
            )
    arrive(world, provider, person(email=new))
    (mail,) = sent_mails(world, "email_changed")
    assert mail["To"] == "ada@example.org"
    assert new in mail_text(mail)
    with world.database.read() as tx:
        assert [email_change_queries.of_account(tx, actor.id) for actor in pending] == [None, None]


@pytest.mark.parametrize(
    "recognised", [TRUSTED, {"user_field": "civil_number", "user_claim": "oid"}]
)
def test_removed_identity_comes_back_by_its_owner_alone(
    world: World, recognised: dict[str, Any]
) -> None:
    provider = add_provider(world, **recognised, registration="open")
    ada = world.person("ada", civil_number="EE-1")
    link(world, ada.actor, add_provider(world, "other"), person("x", "https://b.example"))
    claims = person(oid="EE-1")
    assert arrive(world, provider, claims).actor.id == ada.id
    with world.database.write() as tx:
        _, identity = identity_queries.of_account(tx, ada.id)
        linking.unlink(tx, ada.actor, world.settings, identity.uuid)
    for subject in ("ada-1", "ada-2"):
        refused(
            "identity.email_taken", Conflict, arrive, world, provider, person(subject, oid="EE-1")
        )
    assert counts(world) == (2, 1)
    assert link(world, ada.actor, provider, claims)
    assert arrive(world, provider, claims).actor.id == ada.id


@pytest.mark.parametrize("how", ["added again", "another name", "second client"])
def test_removed_identity_stays_removed_whatever_the_provider_is_called(
    world: World, how: str
) -> None:
    ada = world.person("ada", password="x")
    provider = add_provider(world, **TRUSTED)
    link(world, ada.actor, provider, person())

    def remove_provider() -> None:
        with world.database.write() as tx:
            provider_actions.remove(tx, None, "campus")

    if how == "added again":
        remove_provider()
    with world.database.write() as tx:
        (identity,) = identity_queries.of_account(tx, ada.id)
        linking.unlink(tx, ada.actor, world.settings, identity.uuid)
    if how == "another name":
        remove_provider()
    name = "campus" if how == "added again" else "other"
    provider = add_provider(world, name, client_id="two", **TRUSTED)
    refused("identity.email_taken", Conflict, arrive, world, provider, person())
    # A provider of somebody else is another matter.
    elsewhere = add_provider(world, "else", issuer="https://b.example", **TRUSTED)
    claims = person("x", "https://b.example")
    assert arrive(world, elsewhere, claims).actor.id == ada.id


BY_NUMBER: dict[str, Any] = {
    "registration": "open",
    "user_field": "civil_number",
    "user_claim": "national_id",
    "attribute_mapping": {"civil_number": "national_id"},
}


def test_number_counts_for_the_issuer_that_stated_it(world: World) -> None:
    provider = add_provider(world, **BY_NUMBER)
    first = arrive(world, provider, person("s1", email="", national_id="EE-1")).actor
    with world.database.write() as tx:
        (identity,) = identity_queries.of_account(tx, first.id)
        identity_queries.remove(tx, first.id, identity.uuid)
    # The provider has changed the subject.
    again = arrive(world, provider, person("s2", email="", national_id="EE-1"))
    assert again.actor.id == first.id
    with world.database.write() as tx:
        provider_actions.remove(tx, None, "campus")
    issuer = "https://b.example"
    another = add_provider(world, **BY_NUMBER, issuer=issuer)
    victim = arrive(world, another, person("v", issuer, email="", national_id="EE-1"))
    assert (victim.is_new, victim.actor.id != first.id) == (True, True)


def test_number_that_another_account_has_just_got_is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a refusal that no page explains would come of it."""
    provider = add_provider(world, registration="open")
    ada = arrive(world, provider, person()).actor
    mapping = {"civil_number": "national_id", "first_name": "given_name"}
    change_provider(world, attribute_mapping=mapping)
    world.person("bob", civil_number="EE-1")
    claims = person(national_id="EE-1", given_name="Augusta")
    with monkeypatch.context() as patch:
        # The other transaction has not been committed yet.
        patch.setattr("collegium.accounts.queries.with_password", lambda *_, **__: None)
        refused("identity.concurrent", Conflict, arrive, world, provider, claims)
    arrive(world, provider, claims)
    row = account(world, ada.id)
    assert (row.first_name, row.civil_number) == ("Augusta", None)


def test_taken_number_shuts_nobody_out(world: World) -> None:
    world.person("ada", civil_number="EE-1")
    values = BY_NUMBER | {"user_field": "", "user_claim": ""}
    provider = add_provider(world, **values)
    arrived = arrive(world, provider, person(email="", national_id="EE-1"))
    assert arrived.is_new
    assert account(world, arrived.actor.id).civil_number is None
    arrive(world, provider, person(email="", national_id="EE-1"))


def test_removed_or_disabled_provider_lets_nobody_in(world: World) -> None:
    provider = add_provider(world, registration="open")
    change_provider(world, is_active=False)
    refused("provider.unknown", NotFound, arrive, world, provider, person())
    change_provider(world, is_active=True, client_id="another")
    refused("provider.unknown", NotFound, arrive, world, provider, person())
    with world.database.write() as tx:
        provider_actions.remove(tx, None, "campus")
    refused("provider.unknown", NotFound, arrive, world, provider, person())
    assert counts(world) == (1, 0)


def test_sign_in_works_once_in_its_browser_in_time(world: World) -> None:
    provider = add_provider(world)

    def begin() -> str:
        with world.database.write() as tx:
            return sign_ins.begin(
                tx, world.vault, provider, "cookie", Purpose.SIGN_IN, "/account/"
            ).state

    def claim(state: str, cookie: str = "cookie", later: int = 0) -> Any:
        with world.database.write(datetime.now(UTC) + timedelta(seconds=later)) as tx:
            return sign_ins.claim(tx, world.vault, state, cookie).sign_in

    begin()
    with world.database.write(datetime.now(UTC) + timedelta(seconds=601)) as tx:
        identity_queries.purge(tx)
        assert tx.fetch_all(Statement[int](select(provider_sign_ins.c.provider_id))) == []
    state = begin()
    claimed = claim(state)
    assert claimed.row.return_to == "/account/"
    assert len(claimed.verifier) >= 43
    assert claim(state) is None
    foreign = begin()
    assert claim(foreign, "another") is None
    assert claim(foreign) is None
    assert claim(begin(), "") is None
    assert claim(begin(), later=601) is None
    assert claim(begin(), later=590) is not None
    assert claim("unknown") is None


def test_code_works_once_for_its_purpose_in_time(world: World) -> None:
    provider = add_provider(world, registration="open")
    signed_in = arrive(world, provider, person())
    origin = identity_sessions.origin_of(world.vault, signed_in, person())

    def issue() -> str:
        with world.database.write() as tx:
            return identity_sessions.issue_code(
                tx, world.vault, signed_in.actor, origin, CodeKind.EXCHANGE
            )

    def redeem(code: str, kind: CodeKind = CodeKind.EXCHANGE, later: int = 0) -> int:
        with world.database.write(datetime.now(UTC) + timedelta(seconds=later)) as tx:
            return identity_sessions.redeem(tx, world.vault, kind, code)[0].id

    code = issue()
    refused("identity.code", NotFound, redeem, code, CodeKind.SECOND_FACTOR)
    assert redeem(code) == signed_in.actor.id
    refused("identity.code", NotFound, redeem, code)
    refused("identity.code", NotFound, redeem, issue(), CodeKind.EXCHANGE, 61)
    code = issue()
    with world.database.write() as tx:
        credentials.revoke_everything(tx, signed_in.actor.id)
    refused("identity.code", NotFound, redeem, code)


def test_last_way_in_stays(world: World) -> None:
    provider = add_provider(world, registration="open")
    second = add_provider(world, "other", issuer="https://b.example")
    ada = arrive(world, provider, person()).actor

    def unlink(index: int) -> None:
        with world.database.write() as tx:
            uuid = identity_queries.of_account(tx, ada.id)[index].uuid
            linking.unlink(tx, ada, world.settings, uuid)

    refused("identity.last_way", Conflict, unlink, 0)
    link(world, ada, second, person("x", "https://b.example"))
    change_provider(world, "other", is_active=False)
    refused("identity.last_way", Conflict, unlink, 0)
    change_provider(world, "other", is_active=True)
    unlink(0)
    assert kinds(world)[-1] == "identity.unlinked"
    # The version of the credentials has changed, so the same actor must come again.
    ada = arrive(world, second, person("x", "https://b.example")).actor
    refused("identity.last_way", Conflict, unlink, 0)
    bob = world.person("bob")
    with world.database.write() as tx, pytest.raises(NotFound, match=r"identity\.none"):
        linking.unlink(
            tx, bob.actor, world.settings, identity_queries.of_account(tx, ada.id)[0].uuid
        )


def test_number_of_identities_is_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person at a provider could otherwise add any number, and each sign-in reads all of them."""
    monkeypatch.setattr("collegium.sign_in.identities.rules.IDENTITIES_MAX", 2)
    provider = add_provider(world)
    ada = world.person("ada")
    for subject in ("a", "b", "a"):
        link(world, ada.actor, provider, person(subject))
    refused("identity.too_many", Conflict, link, world, ada.actor, provider, person("c"))
    assert counts(world) == (2, 2)
    assert link(world, world.person("bob").actor, provider, person("c"))


@pytest.mark.parametrize("way", ["address", "number", "mailed link"])
def test_number_of_identities_is_limited_whatever_recognises_the_account(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    values = BY_NUMBER if way == "number" else TRUSTED if way == "address" else {}
    provider = add_provider(world, **values)
    other = add_provider(world, "other", issuer="https://b.example")
    ada = world.person("ada", civil_number="EE-1")
    for subject in ("a", "b"):
        link(world, ada.actor, other, person(subject, "https://b.example"))
    claims = person("c", national_id="EE-1")
    before = counts(world)

    def come() -> None:
        if way != "mailed link":
            arrive(world, provider, claims)
            return
        candidate = mail_links.candidate(world.vault, provider, claims, "b" * 32, "")
        assert candidate is not None
        with world.database.write() as tx:
            mail_links.request(tx, world.vault, candidate, "192.0.2.1")
        (mail,) = (m for m in sent_mails(world) if "link_request" in m["X-Collegium-Mail"])
        (url,) = re.findall(r"/identity_link/([\w.-]+)/", mail_text(mail))
        with world.database.write() as tx:
            mail_links.use(tx, world.vault, url, "b" * 32, "192.0.2.1", "")

    monkeypatch.setattr("collegium.sign_in.identities.rules.IDENTITIES_MAX", 2)
    refused("identity.too_many", Conflict, come)
    assert counts(world) == before
    monkeypatch.setattr("collegium.sign_in.identities.rules.IDENTITIES_MAX", 3)
    if way != "mailed link":
        come()
        assert counts(world) == (before[0], before[1] + 1)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_limit_of_identities_holds_under_the_lock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two providers may add one at the same moment; both have counted before."""
    monkeypatch.setattr("collegium.sign_in.identities.rules.IDENTITIES_MAX", 1)
    provider = add_provider(world, **TRUSTED)
    other = add_provider(world, "other", issuer="https://b.example")
    ada = world.person("ada")

    def lock_account(tx: WriteTransaction, account: int) -> None:
        access_queries.lock_account(tx, account)
        claims = person("late", "https://b.example")
        with monkeypatch.context() as patch:
            patch.setattr("collegium.sign_in.identities.rules.IDENTITIES_MAX", 2)
            linking.add(tx, other, claims, ada.id)

    monkeypatch.setattr(identity_actions, "lock_account", lock_account)
    refused("identity.too_many", Conflict, arrive, world, provider, person())
    assert counts(world) == (2, 0)


def test_ended_session_links_nothing(world: World) -> None:
    provider = add_provider(world)
    ada = world.person("ada")
    with world.database.write() as tx:
        credentials.revoke_everything(tx, ada.id)
    stale = token_actions.actor_of(account(world, ada.id), credentials=0)
    refused("token.unknown", Unauthenticated, link, world, stale, provider, person())


def test_provider_ends_what_came_of_its_session(world: World) -> None:
    provider = add_provider(world, registration="open")
    tokens = {}
    for subject in ("a", "b"):
        claims = person(subject, email=f"{subject}@example.org")
        signed_in = arrive(world, provider, claims)
        origin = identity_sessions.origin_of(world.vault, signed_in, claims)
        with world.database.write() as tx:
            tokens[subject] = token_actions.log_in(
                tx, world.vault, world.settings, signed_in.actor, METHOD
            )
            identity_sessions.record_origin(tx, world.vault, tokens[subject], origin)

    def is_valid(subject: str) -> bool:
        with world.database.read() as tx:
            digest = world.vault.keyed_hash(tokens[subject])
            return token_queries.owner(tx, digest) is not None

    def end(jti: str, subject: str | None, sid: str | None) -> int:
        with world.database.write() as tx:
            return identity_sessions.end_sessions_of_provider(
                tx, world.vault, provider, jti, subject, sid, tx.now + timedelta(minutes=5)
            )

    assert end("1", "a", "another") == 0
    assert end("2", "a", "s-1") == 1
    assert (is_valid("a"), is_valid("b")) == (False, True)
    refused("identity.logout_used", Conflict, end, "2", "b", None)
    assert end("3", None, "s-1") == 1
    assert not is_valid("b")
