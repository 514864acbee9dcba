"""People at an OpenID provider, as the protocol client describes them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from pyotp.totp import TOTP
from sqlalchemy import select

from collegium.access.rules import Actor
from collegium.db.statements import Statement
from collegium.db.tables import accounts, events, identities
from collegium.sign_in.identities import actions as identity_actions
from collegium.sign_in.identities import linking
from collegium.sign_in.identities.values import NOWHERE, Arrival, SignedIn
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import Claims
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from tests.support.world import Person, World

ISSUER = "https://login.example.org"


def add_provider(world: World, name: str = "campus", **values: Any) -> ProviderRow:
    """Add a provider without a network."""
    issuer = values.pop("issuer", ISSUER)
    with world.database.write() as tx:
        provider_actions.create(
            tx,
            None,
            world.vault,
            {
                "name": name,
                "label": name.title(),
                "client_id": "collegium",
                "client_secret": "a secret",
                "discovery_url": f"{issuer}/.well-known/openid-configuration",
                **values,
            },
            {"issuer": issuer},
        )
        provider = provider_queries.by_name(tx, name)
    assert provider is not None
    return provider


def change_provider(world: World, name: str = "campus", **changes: Any) -> None:
    with world.database.write() as tx:
        provider_actions.update(tx, None, world.vault, name, changes)


def person(subject: str = "ada-1", issuer: str = ISSUER, **claims: Any) -> Claims:
    """Return the claims of a person with a verified address, unless others are given."""
    known = {
        "given_name": "Ada",
        "family_name": "Byron",
        "email": "ada@example.org",
        "email_verified": True,
        **claims,
    }
    return Claims(
        issuer, subject, known, acr=str(known.pop("acr", "")), sid="s-1", id_token="i.d.t"
    )


def arrive(
    world: World, provider: ProviderRow, claims: Claims, arrival: Arrival = NOWHERE
) -> SignedIn:
    """Let somebody come back from a provider."""
    with world.database.write() as tx:
        return identity_actions.complete(
            tx, world.vault, world.settings, provider, claims, arrival, ip_address="192.0.2.1"
        )


def link(world: World, actor: Actor, provider: ProviderRow, claims: Claims) -> bool:
    with world.database.write() as tx:
        return linking.link(tx, actor, provider, claims)


def account(world: World, account_id: int) -> Any:
    with world.database.read() as tx:
        return tx.fetch_only(Statement[Any](select(accounts).where(accounts.c.id == account_id)))


def counts(world: World) -> tuple[int, int]:
    """Return the number of accounts and of identities."""
    with world.database.read() as tx:
        return tuple(
            len(tx.fetch_all(Statement[Any](select(t.c.id)))) for t in (accounts, identities)
        )  # type: ignore[return-value]  # two numbers


def kinds(world: World) -> list[str]:
    """Return the kinds of all events, oldest first."""
    with world.database.read() as tx:
        return tx.fetch_all(Statement[str](select(events.c.kind).order_by(events.c.id)))


def enable_second_factor(world: World, person: Person) -> list[str]:
    """Turn two-factor authentication on; return the recovery codes."""
    with world.database.write() as tx:
        token = token_queries.existing(tx, person.id).id
        actor = replace(person.actor, token=token)
        two_factor_actions.begin(tx, actor, world.vault)
        row = two_factor_queries.of_account(tx, person.id)
        assert row is not None
        secret = world.vault.decrypt(row.secret_encrypted, row.secret_hash).partition(" ")[0]
        return two_factor_actions.confirm(tx, actor, world.vault, TOTP(secret).at(tx.now))
