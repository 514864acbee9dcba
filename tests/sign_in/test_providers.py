"""OpenID providers are created, changed and removed by staff; their secrets are encrypted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import select

from collegium.db.statements import Statement, replace
from collegium.db.tables import events
from collegium.refusals import Conflict, Forbidden, Invalid, NotFound
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from tests.rules.refusing import refused
from tests.rules.test_providers import VALID
from tests.support.world import World

METADATA = {"issuer": "https://login.example.org/realms/a", "token_endpoint": "https://t.example/"}


def create(world: World, name: str = "campus", **values: Any) -> ProviderRow:
    with world.database.write() as tx:
        provider_actions.create(
            tx, world.staff.actor, world.vault, {**VALID, "name": name, **values}, METADATA
        )
    return get(world, name)


def get(world: World, name: str = "campus") -> ProviderRow:
    with world.database.read() as tx:
        provider = provider_queries.by_name(tx, name)
    assert provider is not None
    return provider


def update(world: World, metadata: Any = None, **changes: Any) -> None:
    with world.database.write() as tx:
        provider_actions.update(tx, world.staff.actor, world.vault, "campus", changes, metadata)


def provider_events(world: World) -> list[tuple[str, dict[str, Any]]]:
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement[Any](select(events).order_by(events.c.id)))
    return [(row.kind, row.payload) for row in rows if row.kind.startswith("provider.")]


def test_provider_is_stored_with_its_secret_encrypted(world: World) -> None:
    provider = create(world)
    assert provider.issuer == METADATA["issuer"]
    assert provider.metadata == METADATA
    assert provider_actions.client_secret(world.vault, provider) == "a secret"
    assert b"a secret" not in (provider.client_secret_encrypted or b"")
    public = create(world, "public", client_secret="")
    assert public.client_secret_encrypted is None
    assert provider_actions.client_secret(world.vault, public) == ""
    swapped = replace(public, client_secret_encrypted=provider.client_secret_encrypted)
    assert provider_actions.client_secret(world.vault, swapped) == ""
    assert provider_actions.is_secret_lost(world.vault, swapped)
    assert not provider_actions.is_secret_lost(world.vault, provider)
    assert not provider_actions.is_secret_lost(world.vault, public)


def test_audit_log_names_changed_fields_and_no_values(world: World) -> None:
    create(world)
    update(world, client_secret="another secret", label="Uni", is_active=True)
    update(world, client_secret="another secret", label="Uni")
    with world.database.write() as tx:
        provider_actions.remove(tx, None, "campus")
    names = {"provider": "campus", "label": "Campus"}
    assert provider_events(world) == [
        ("provider.created", names),
        ("provider.updated", {**names, "fields": ["client_secret", "label"]}),
        ("provider.removed", {**names, "label": "Uni"}),
    ]


def test_one_provider_is_the_default(world: World) -> None:
    create(world, is_default=True)
    create(world, "other", is_default=True)
    assert not get(world).is_default
    update(world, is_default=True)
    with world.database.read() as tx:
        found = provider_queries.default(tx)
        assert found is not None
        assert found.name == "campus"
        assert [row.name for row in provider_queries.active(tx)] == ["campus", "other"]
    update(world, is_active=False)
    with world.database.read() as tx:
        assert provider_queries.default(tx) is None
        assert [row.name for row in provider_queries.active(tx)] == ["other"]
        with refused(NotFound, "provider.unknown"):
            provider_queries.get_active(tx, "campus")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_of_two_new_defaults_at_once_one_remains(world: World) -> None:
    names = ("campus", "other")
    for name in names:
        create(world, name)
    barrier = Barrier(len(names))

    def make_default(name: str) -> None:
        barrier.wait()
        with world.database.write() as tx:
            changes = {"is_default": True}
            provider_actions.update(tx, world.staff.actor, world.vault, name, changes)

    with ThreadPoolExecutor(len(names)) as pool:
        for _ in range(10):
            update(world, is_default=False)
            list(pool.map(make_default, names))
            assert sorted(get(world, name).is_default for name in names) == [False, True]


def test_address_changes_only_together_with_the_metadata(world: World) -> None:
    create(world)
    address = "https://other.example.org/.well-known/openid-configuration"
    with refused(Conflict, "provider.metadata"):
        update(world, discovery_url=address)
    with refused(Conflict, "provider.metadata"):
        update(world, METADATA, discovery_url=address)
    with refused(Conflict, "provider.metadata"):  # of an address that another request replaced
        update(world, {"issuer": "https://other.example.org"}, verify_ssl=False)
    update(world, {"issuer": "https://other.example.org"}, discovery_url=address)
    assert (get(world).issuer, get(world).discovery_url) == ("https://other.example.org", address)


def test_wrong_changes_leave_the_provider_as_it_was(world: World) -> None:
    before = create(world)
    for code, changes in (
        ("provider.name_is_fixed", {"name": "other"}),
        ("provider.user_pair", {"user_claim": ""}),
        ("provider.user_claim", {"user_claim": "email"}),
    ):
        with refused(Invalid, code):
            update(world, **changes)
    with refused(Invalid, "provider.name_taken"):
        create(world)
    assert get(world) == before


@pytest.mark.parametrize("values", [{"is_support": True}, {}])
def test_only_staff_manage_providers(world: World, values: dict[str, Any]) -> None:
    create(world)
    actor = world.person(**values).actor
    with world.database.write() as tx:
        for act in (
            lambda: provider_actions.create(tx, actor, world.vault, VALID, METADATA),
            lambda: provider_actions.update(tx, actor, world.vault, "campus", {"label": "Mine"}),
            lambda: provider_actions.remove(tx, actor, "campus"),
        ):
            with refused(Forbidden, "permission.missing"):
                act()
        with refused(NotFound, "provider.unknown"):
            provider_actions.remove(tx, None, "unknown")
