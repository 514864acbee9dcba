"""Passwords, passkeys and identities that are removed at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from collegium.accounts import queries as account_queries
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import Refusal
from collegium.settings import Settings
from collegium.sign_in.identities import linking
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.passkeys import actions as passkey_actions
from collegium.sign_in.passwords import actions as password_actions
from tests.races.conftest import Together, outcome, statuses
from tests.races.test_credentials import HASHED, OTHER, PASSWORD, remaining_access
from tests.sign_in.identity_scene import add_provider, link, person
from tests.support.passkeys import add_passkey
from tests.support.site import Site
from tests.support.world import Person, World

ROUNDS = 20


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(rate_limits="false")


@pytest.fixture
def people(world: World) -> Iterator[Person]:
    rounds = 2 if world.database.is_sqlite else ROUNDS
    return (world.person(f"ada{number}", password=HASHED) for number in range(rounds))


def remove_password(site: Site, world: World, one: Person) -> Callable[[], Any]:
    return partial(site.post, f"/api/users/{one.uuid}/remove_password/", world.staff)


def password_of(world: World, one: Person) -> str | None:
    with world.database.read() as tx:
        account = account_queries.with_password(tx, id=one.id)
    assert account is not None
    return account.password


def test_removed_password_leaves_nothing_of_a_sign_in_or_a_change_at_the_same_moment(
    site: Site, world: World, people: Iterator[Person], together: Together
) -> None:
    for ada in people:
        with world.database.read() as tx:
            account = account_queries.with_password(tx, id=ada.id)
        assert account is not None
        # Who has just shown the old password.
        actor = replace(ada.actor, credentials=account.credentials_version)

        def change(actor: Any = actor) -> None:
            with world.database.write() as tx:
                password_actions.change(tx, actor, OTHER)

        body = {"username": ada.actor.username, "password": PASSWORD}
        removed, signed_in, changed = together(
            remove_password(site, world, ada),
            partial(site.post, "/api-auth/password/", json=body),
            partial(outcome, change),
        )
        assert removed.status_code == 200
        assert signed_in.status_code in {200, 401}
        assert changed is None or str(changed) == "token.unknown"
        assert password_of(world, ada) is None
        assert remaining_access(world, ada) == []


def test_password_is_removed_once(
    site: Site, world: World, people: Iterator[Person], together: Together
) -> None:
    for ada in people:
        remove = remove_password(site, world, ada)
        assert statuses(together(remove, remove)) == [200, 200]
        with world.database.read() as tx:
            assert len(event_queries.payloads_of(tx, events.PasswordRemoved, ada.id)) == 1


def test_one_way_in_remains_when_both_are_removed_at_once(
    world: World, settings: Settings, together: Together
) -> None:
    providers = [add_provider(world, name, issuer=f"https://{name}.example.org") for name in "ab"]
    for number in range(3 if world.database.is_sqlite else 2 * ROUNDS):
        ada = world.person(f"ada{number}")
        # Two passkeys, one of each, or two identities.
        identities = number % 3
        for provider in providers[:identities]:
            link(world, ada.actor, provider, person(f"s{number}", issuer=provider.issuer))
        with world.database.write() as tx:
            passkeys = [add_passkey(tx, ada.id) for _ in range(2 - identities)]
            rows = identity_queries.of_account(tx, ada.id)

        def revoke(action: Callable[..., None], uuid: str, actor: Any = ada.actor) -> None:
            with world.database.write() as tx:
                action(tx, actor, settings, uuid)

        removals = [
            *(partial(revoke, passkey_actions.revoke, uuid) for uuid in passkeys),
            *(partial(revoke, linking.unlink, row.uuid) for row in rows),
        ]
        outcomes = together(*(partial(outcome, removal) for removal in removals))
        refused = [one for one in outcomes if isinstance(one, Refusal)]
        assert len(refused) == 1
        assert refused[0].code in {"passkey.last_way_in", "identity.last_way"}
        with world.database.read() as reader:
            assert linking.ways_to_sign_in(reader, ada.id, settings) == 1
