"""Sign-ins at an identity provider at the same moment; on PostgreSQL writers do not queue."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from collegium.access.queries import lock_account
from collegium.accounts import queries as account_queries
from collegium.db.database import WriteTransaction
from collegium.invitations import queries as invitation_queries
from collegium.invitations import sign_up
from collegium.invitations.mail_budgets import actions as mail_budget_actions
from collegium.refusals import Conflict
from collegium.scopes.actions import change_account
from collegium.sign_in.identities import actions as identity_actions
from collegium.sign_in.identities import linking
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import sessions as identity_sessions
from collegium.sign_in.identities.values import Arrival, CodeKind
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.tokens import queries as token_queries
from tests.races.conftest import Together, outcome, rounds_of
from tests.races.test_waiting import overlap, refusal
from tests.sign_in.identity_scene import add_provider, arrive, counts, person
from tests.support.browser import Browser
from tests.support.openid.hostile import CLIENT_ID, CLIENT_SECRET, HostileProvider
from tests.support.site import Site
from tests.support.world import World


def test_two_first_sign_ins_of_one_person_make_one_account(
    site_with: Callable[..., Site], world: World, together: Together, hostile: HostileProvider
) -> None:
    add_provider(
        world,
        "hostile",
        issuer=hostile.issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        registration="open",
    )
    site = site_with(outgoing_internal_hosts=hostile.host, rate_limits="false")

    rounds = rounds_of(world)
    for number in range(rounds):
        email = f"person{number}@example.org"
        hostile.person |= {"sub": f"person-{number}", "email": email}
        assert together(begin(site, hostile), begin(site, hostile)) == [303, 303]
    assert counts(world) == (1 + rounds, rounds)


def begin(site: Site, hostile: HostileProvider) -> partial[int]:
    """Sign in at the provider in a new browser. Return its way back, which returns the status."""
    browser = Browser(site)
    answer = browser.call("GET", "/api-auth/hostile/init/")
    path = hostile.authorize(answer.headers["location"]).partition("8000")[2]
    return partial(lambda: browser.call("GET", path).status_code)


def test_provider_that_is_removed_during_a_sign_in_refuses_it_or_comes_later(
    site_with: Callable[..., Site], world: World, together: Together, hostile: HostileProvider
) -> None:
    site = site_with(outgoing_internal_hosts=hostile.host, rate_limits="false")
    values = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "registration": "open"}

    def remove() -> None:
        with world.database.write() as tx:
            provider_actions.remove(tx, None, "hostile")

    for number in range(6):
        add_provider(world, "hostile", issuer=hostile.issuer, **values)
        if number % 2:
            hostile.person |= {"sub": f"person-{number}", "email": f"person{number}@example.org"}
        before = counts(world)
        status, _ = together(begin(site, hostile), remove)
        assert status in {303, 400, 404}
        assert counts(world) == before or status == 303


def test_provider_is_not_removed_while_somebody_is_linked(world: World) -> None:
    provider = add_provider(world)
    ada = world.person("ada")

    def remove() -> None:
        with world.database.write() as tx:
            provider_actions.remove(tx, None, provider.name)

    with ThreadPoolExecutor() as pool:
        with world.database.write() as tx:
            linking.current(tx, provider)
            removal = pool.submit(remove)
            assert wait([removal], timeout=0.2).not_done
            linking.add(tx, provider, person(), ada.id)
        removal.result(timeout=20)
    with world.database.read() as read:
        (identity,) = identity_queries.of_account(read, ada.id)
    assert identity.provider_id is None


@pytest.mark.parametrize("end", ["logout there", "deactivation"])
def test_sign_in_that_is_being_completed_ends_with_its_provider(world: World, end: str) -> None:
    """It is not committed yet when the provider says that the session is over, or is turned off."""
    provider = add_provider(world, registration="open")
    actor = arrive(world, provider, person()).actor

    def finish() -> None:
        with world.database.write() as tx:
            if end == "deactivation":
                changes = {"is_active": False}
                provider_actions.update(tx, None, world.vault, provider.name, changes)
                return
            expiry = tx.now + timedelta(minutes=5)
            identity_sessions.end_sessions_of_provider(
                tx, world.vault, provider, "1", "ada-1", "s-1", expiry
            )

    with world.database.write() as tx:
        signed_in = identity_actions.complete(tx, world.vault, world.settings, provider, person())
        origin = identity_sessions.origin_of(world.vault, signed_in, person())
        code = identity_sessions.issue_code(tx, world.vault, actor, origin, CodeKind.EXCHANGE)
    with ThreadPoolExecutor() as pool:
        with world.database.write() as tx:
            if end == "deactivation":
                token = identity_sessions.exchange(tx, world.vault, world.settings, code)
            else:
                identity_actions.complete(tx, world.vault, world.settings, provider, person())
                token = identity_sessions.issue_api_token(
                    tx, world.vault, world.settings, actor, origin
                )
            ending = pool.submit(finish)
            assert wait([ending], timeout=0.2).not_done
        ending.result(timeout=20)
    with world.database.read() as read:
        assert token_queries.owner(read, world.vault.keyed_hash(token)) is None


def test_invitation_is_consumed_by_one_of_two_new_people(world: World, together: Together) -> None:
    provider = add_provider(world, trusted_domains=["example.org"])
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    for number in range(rounds_of(world)):
        project = world.project(organisation)
        uuid = world.invite(owner, f"invited{number}@example.org", "PROJECT.MEMBER", project)
        arrival = Arrival(invitation=uuid, link_version=1, is_mailed=True, accepts=True)
        before = counts(world)
        people = (
            person(f"{name}-{number}", email=f"{name}{number}@example.org") for name in ("a", "b")
        )
        responses = together(
            *(
                partial(outcome, partial(arrive, world, provider, claims, arrival))
                for claims in people
            )
        )
        assert "invitation.unknown" in map(str, responses)
        assert len(world.grants_in(project)) == 1
        assert counts(world) == (before[0] + 1, before[1] + 1)


def test_one_of_two_people_with_an_address_is_linked(world: World, together: Together) -> None:
    provider = add_provider(world, trusted_domains=["example.org"])
    for number in range(rounds_of(world)):
        ada = world.person(f"ada{number}")
        people = (person(f"{name}-{number}", email=ada.email) for name in ("a", "b"))
        responses = together(
            *(partial(outcome, partial(arrive, world, provider, claims)) for claims in people)
        )
        assert "identity.mismatch" in map(str, responses)
        assert counts(world)[1] == number + 1


def _link_elsewhere(tx: WriteTransaction, ada: int) -> None:
    lock_account(tx, ada)
    values = {"uuid": "0" * 32, "account_id": ada, "provider_id": None, "issuer": "https://b"}
    values |= {"subject": "x", "email": "", "claims": {}, "created_at": tx.now}
    identity_queries.add(tx, values | {"last_used_at": tx.now})


@pytest.mark.parametrize(
    ("recognised", "change", "code"),
    [
        ({"trusted_domains": ["example.org"]}, {"email": "moved@other.org"}, "identity.unknown"),
        ({}, {"is_identity_manager": True}, "identity.email_taken"),
        ({}, {"last_login_at": datetime(2026, 1, 1, tzinfo=UTC)}, "identity.unknown"),
        ({}, None, "identity.unknown"),
    ],
    ids=["address", "protected", "used", "linked elsewhere"],
)
def test_account_that_changes_during_a_sign_in_is_recognised_again(
    world: World, recognised: dict[str, Any], change: dict[str, Any] | None, code: str
) -> None:
    """What was read before the lock does not count."""
    by_name = {"user_field": "username", "user_claim": "voperson_id"}
    provider = add_provider(world, **(recognised or by_name))
    ada = world.person("ada")
    claims = person(voperson_id="ada", **({} if recognised else {"email": ""}))

    def change_account_of_ada(tx: WriteTransaction) -> None:
        if change is None:
            _link_elsewhere(tx, ada.id)
        else:
            change_account(tx, ada.id, change)

    def come(tx: WriteTransaction) -> None:
        identity_actions.complete(tx, world.vault, world.settings, provider, claims)

    _, said = refusal(world.database, change_account_of_ada, come)
    assert said in {code, "identity.concurrent"}
    assert str(outcome(arrive, world, provider, claims)) == code
    assert counts(world) == (2, 1 if change is None else 0)


@pytest.mark.parametrize("is_new", [False, True])
def test_address_gets_into_one_of_two_accounts(world: World, *, is_new: bool) -> None:
    provider = add_provider(world, trusted_domains=["example.org"], registration="open")
    new = "new@example.org"
    for name in ("a", "b")[: 1 if is_new else 2]:
        arrive(world, provider, person(name, email=f"{name}@example.org"))

    def come(name: str, tx: WriteTransaction) -> int:
        claims = person(name, email=new)
        done = identity_actions.complete(tx, world.vault, world.settings, provider, claims)
        return done.actor.id

    overlap(world.database, partial(come, "a"), partial(come, "b"))
    with world.database.read() as tx:
        assert len(account_queries.at_email(tx, new)) == 1


def test_invited_address_gets_into_one_of_two_accounts_with_a_password(world: World) -> None:
    """Two invitations, in two browsers: nothing else makes one wait for the other."""
    new = "new@example.org"
    organisations = [world.organisation(name) for name in ("Initech", "Acme")]
    uuids = [world.invite(world.staff, new, "CUSTOMER.OWNER", place) for place in organisations]
    with world.database.write() as tx:
        mail_budget_actions.restore(tx, new)

    def join(number: int, tx: WriteTransaction) -> str:
        invitation = invitation_queries.by_uuid(tx, uuids[number])
        assert invitation is not None
        values = {"username": f"new{number}", "password": "hash"}
        sign_up.join(tx, world.vault, world.settings, invitation, values, new, "192.0.2.1", "")
        return invitation.uuid

    said = refusal(world.database, partial(join, 0), partial(join, 1))
    assert said == (Conflict, "account.email_taken")
    with world.database.read() as read:
        assert len(account_queries.at_email(read, new)) == 1
    assert [world.invitation(uuid).state for uuid in uuids] == ["accepted", "pending"]
