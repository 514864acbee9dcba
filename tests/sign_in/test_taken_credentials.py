"""What ends when somebody else takes a credential away, and what goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from collegium.access.rules import Actor
from collegium.db.database import WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import exchange_codes, identities
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import Conflict
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import sessions as identity_sessions
from collegium.sign_in.identities.values import CodeKind
from collegium.sign_in.passkeys import actions as passkey_actions
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens import sessions
from collegium.sign_in.two_factor import actions as two_factor_actions
from tests.sign_in.identity_scene import (
    account,
    add_provider,
    arrive,
    change_provider,
    counts,
    enable_second_factor,
    link,
    person,
)
from tests.sign_in.test_confirmation import leave_alone
from tests.support.browser import Browser, text
from tests.support.mails import mail_text, sent_mails
from tests.support.passkeys import add_passkey
from tests.support.world import Person, World

OTHER = "https://other.example.org"


class Begun(NamedTuple):
    """A session of a person, by its token, and the actor in it."""

    token: str
    actor: Actor


def sign_in(world: World, actor: Actor) -> Begun:
    """Begin a session by password."""
    with world.database.write() as tx:
        token = sessions.begin(tx, world.vault, actor, "password", "Firefox")
        owner = token_queries.owner(tx, world.vault.keyed_hash(token))
    assert owner is not None
    return Begun(token, replace(actor, token=owner.token_id))


def sign_in_at(world: World, provider: ProviderRow, subject: str) -> Begun:
    """Begin a session by an identity, as ``/complete/`` does."""
    claims = person(subject, provider.issuer)
    signed_in = arrive(world, provider, claims)
    origin = identity_sessions.origin_of(world.vault, signed_in, claims)
    begun = sign_in(world, signed_in.actor)
    with world.database.write() as tx:
        identity_sessions.record_origin(tx, world.vault, begun.token, origin)
        identity_sessions.issue_code(tx, world.vault, signed_in.actor, origin, CodeKind.EXCHANGE)
    return begun


def personal_token(world: World, actor: Actor) -> str:
    with world.database.write() as tx:
        return token_actions.issue_personal(tx, world.vault, actor, "script")[0]


def are_valid(world: World, *tokens: str) -> list[bool]:
    with world.database.read() as tx:
        hashes = map(world.vault.keyed_hash, tokens)
        return [token_queries.owner(tx, one) is not None for one in hashes]


def revoke_passkey(world: World, tx: WriteTransaction, ada: Person) -> None:
    uuid = add_passkey(tx, ada.id, "lost phone")
    passkey_actions.revoke_by_staff(tx, world.staff.actor, ada.id, uuid, "stolen")


def reset_two_factor(world: World, tx: WriteTransaction, ada: Person) -> None:
    two_factor_actions.reset(tx, world.staff.actor, ada.uuid)


@pytest.mark.parametrize("take", [revoke_passkey, reset_two_factor])
def test_staff_who_take_a_second_factor_away_sign_the_person_out_everywhere(
    world: World, take: Callable[[World, WriteTransaction, Person], None]
) -> None:
    ada = world.person("ada")
    enable_second_factor(world, ada)
    begun = sign_in(world, ada.actor)
    tokens = (begun.token, personal_token(world, begun.actor), ada.token)
    assert are_valid(world, *tokens) == [True, True, True]
    before = account(world, ada.id).credentials_version
    with world.database.write() as tx:
        take(world, tx, ada)
    assert are_valid(world, *tokens) == [False, False, False]
    assert account(world, ada.id).credentials_version > before
    assert are_valid(world, world.staff.token) == [True]


def test_staff_who_revoke_their_own_passkey_stay_signed_in(world: World) -> None:
    begun = sign_in(world, world.staff.actor)
    with world.database.write() as tx:
        uuid = add_passkey(tx, world.staff.id, "lost phone")
        passkey_actions.revoke_by_staff(tx, begun.actor, world.staff.id, uuid, "lost")
    assert are_valid(world, begun.token) == [True]


def deactivate(world: World, actor: Actor) -> None:
    with world.database.write() as tx:
        provider_actions.update(tx, actor, world.vault, "campus", {"is_active": False})


def remove(world: World, actor: Actor) -> None:
    with world.database.write() as tx:
        provider_actions.remove(tx, actor, "campus")


def replace_issuer(world: World, actor: Actor) -> None:
    new = "https://new.example.org"
    changes = {"discovery_url": f"{new}/.well-known/openid-configuration"}
    with world.database.write() as tx:
        provider_actions.update(tx, actor, world.vault, "campus", changes, {"issuer": new})


@pytest.mark.parametrize("take", [deactivate, remove, replace_issuer])
def test_provider_that_is_gone_leaves_no_session_behind(
    world: World, take: Callable[[World, Actor], None]
) -> None:
    """Nobody could end these sessions at the provider any more. Others are not concerned."""
    campus, other = add_provider(world), add_provider(world, "other", issuer=OTHER)
    ada, boss = world.person("ada"), world.person("boss", is_staff=True)
    link(world, ada.actor, campus, person("ada"))
    link(world, ada.actor, other, person("ada", OTHER))
    link(world, boss.actor, campus, person("boss"))
    ended, elsewhere = sign_in_at(world, campus, "ada"), sign_in_at(world, other, "ada")
    api_token = token_of_front_end(world, campus, "ada")
    by_password, boss_here = sign_in(world, ada.actor), sign_in_at(world, campus, "boss")
    program = personal_token(world, ended.actor)
    kept = (elsewhere.token, by_password.token, program, boss_here.token)
    take(world, boss_here.actor)
    assert are_valid(world, ended.token, api_token) == [False, False]
    assert are_valid(world, *kept) == [True] * 4
    with world.database.read() as tx:
        issuers = tx.fetch_all(
            Statement[str](
                select(identities.c.issuer).join(
                    exchange_codes, exchange_codes.c.identity_id == identities.c.id
                )
            )
        )
    assert issuers == [OTHER]


def token_of_front_end(world: World, provider: ProviderRow, subject: str) -> str:
    """Return the API token that a front end gets after a sign-in."""
    claims = person(subject, provider.issuer)
    signed_in = arrive(world, provider, claims)
    origin = identity_sessions.origin_of(world.vault, signed_in, claims)
    with world.database.write() as tx:
        return identity_sessions.issue_api_token(
            tx, world.vault, world.settings, signed_in.actor, origin
        )


@pytest.mark.parametrize("changes", [{"label": "New"}, {"client_id": "new"}, {"is_active": True}])
def test_other_changes_of_a_provider_end_no_session(world: World, changes: dict[str, Any]) -> None:
    campus = add_provider(world)
    ada = world.person("ada")
    link(world, ada.actor, campus, person("ada"))
    begun = sign_in_at(world, campus, "ada")
    change_provider(world, **changes)
    assert are_valid(world, begun.token) == [True]


def test_personal_token_outlives_the_sign_out_of_the_session_that_made_it(world: World) -> None:
    """It is for programs, so it ends neither here nor there with a session, only by its owner."""
    campus = add_provider(world)
    ada = world.person("ada")
    link(world, ada.actor, campus, person("ada"))
    begun = sign_in_at(world, campus, "ada")
    program = personal_token(world, begun.actor)
    with world.database.write() as tx:
        ended = identity_sessions.end_sessions_of_provider(
            *(tx, world.vault, campus, "1", "ada", None), tx.now + timedelta(minutes=5)
        )
    assert ended == 1
    assert are_valid(world, begun.token, program) == [False, True]
    again = sign_in(world, ada.actor)
    with world.database.write() as tx:
        token_actions.log_out(tx, again.actor)
    assert are_valid(world, again.token, program) == [False, True]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_staff_remove_the_identity_of_somebody_else(
    world: World, browser: Browser, other: Browser
) -> None:
    provider = add_provider(world, trusted_domains=["example.org"])
    second = add_provider(world, "second", issuer=OTHER)
    ada = world.person("ada")
    link(world, ada.actor, second, person("x", OTHER))
    begun = sign_in_at(world, provider, "ada-1")
    with world.database.read() as tx:
        by_name = {row.provider_name: row.uuid for row in identity_queries.of_account(tx, ada.id)}
    path = f"/staff/accounts/{ada.uuid}/"
    form = {"action": "identity", "identity": by_name["campus"]}
    # Neither others nor support may.
    for who in (ada, world.person("helper", is_support=True), world.person("eve")):
        other.sign_in(world, who).open("/account/tokens/")
        assert other.send(path, **form).status_code in {403, 404}
    page = text(browser.sign_in(world, world.staff).open(path))
    assert "Remove a sign-in method" in page
    assert "the only way in which they can" not in page
    leave_alone(world, world.staff)
    assert browser.send(path, **form).status_code == 403
    assert (counts(world)[1], are_valid(world, begun.token)) == (2, [True])
    browser.sign_in(world, world.staff).open(path)
    done = browser.follow(browser.send(path, **form))
    assert "can no longer sign in with Campus" in text(done)
    assert are_valid(world, begun.token) == [False]
    with world.database.read() as tx:
        (event,) = event_queries.payloads_of(tx, events.IdentityUnlinked, ada.id)
    assert (event["issuer"], event.get("because")) == (provider.issuer, None)
    notice = sent_mails(world, "identity_changed")[-1]
    assert (notice["To"], "By: the staff" in mail_text(notice)) == (ada.actor.email, True)
    # Its address does not bring it back; the last way in stays unless staff say so.
    with pytest.raises(Conflict, match=r"identity\.email_taken"):
        arrive(world, provider, person())
    form["identity"] = by_name["second"]
    assert "the only way in which they can" in text(browser.open(path))
    refused = browser.send(path, **form)
    assert (refused.status_code, counts(world)[1]) == (422, 1)
    assert "only way in which this person can sign in" in text(refused)
    assert browser.send(path, **form, last_way="yes").status_code == 303
    assert counts(world)[1] == 0
    gone = browser.send(path, **form, last_way="yes")
    assert (gone.status_code, "does not exist any more" in text(gone)) == (422, True)
    # Staff remove their own on their own page.
    link(world, world.staff.actor, second, person("s", OTHER))
    with world.database.read() as tx:
        (own,) = identity_queries.of_account(tx, world.staff.id)
    here = f"/staff/accounts/{world.staff.uuid}/"
    browser.open(here)
    assert browser.send(here, action="identity", identity=own.uuid).status_code == 422
    assert counts(world)[1] == 1
