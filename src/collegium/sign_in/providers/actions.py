"""Actions on OpenID providers: create, update, remove. All of them require staff.

The metadata of a provider are fetched before the transaction; see ``integrations.openid``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from cryptography.exceptions import InvalidTag

from collegium.access.rules import Actor, require_staff
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import Conflict
from collegium.security.crypto import Vault
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers import rules as provider_rules
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import to_discovery_url

_TRUST: Final = frozenset({"discovery_url", "client_id", "verify_ssl", "is_active"})
"""Columns whose change ends the sign-ins that have begun: they would return to something else."""


def client_secret(vault: Vault, provider: ProviderRow) -> str:
    """Return the client secret of a provider; empty for a public client, or if it is lost."""
    return decrypt_secret(vault, provider.uuid, provider.client_secret_encrypted)


def decrypt_secret(vault: Vault, uuid: str, encrypted: bytes | None) -> str:
    """Return the client secret of the provider with a UUID.

    It is empty for a public client, and if the secret key has been replaced since. Then nobody
    signs in with the provider until staff enter the secret again.
    """
    if encrypted is None:
        return ""
    try:
        return vault.decrypt(encrypted, _binding(vault, uuid))
    except InvalidTag:
        return ""


def is_secret_lost(vault: Vault, provider: ProviderRow) -> bool:
    """Tell whether a provider has a client secret that this secret key cannot decrypt."""
    return provider.client_secret_encrypted is not None and not client_secret(vault, provider)


def create(
    tx: WriteTransaction,
    actor: Actor | None,
    vault: Vault,
    values: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> int:
    """Create a provider. Return its id.

    Args:
        actor: staff; None for the operator at the command line.
        values: columns of the provider, at least ``name``, ``label``, ``client_id`` and
            ``discovery_url``; ``client_secret`` in plain text.
        metadata: what the provider published at ``discovery_url``, at least ``issuer``.

    Raises:
        Forbidden: ``permission.missing``: the actor is not staff.
        Invalid: a value is not accepted, see ``provider_rules.problems``; or
            ``provider.name_taken``.
        Conflict: ``provider.metadata``: the metadata come from another address.
    """
    if actor is not None:
        require_staff(actor)
    provider_rules.check(values)
    _check_same_source(values["discovery_url"], metadata)
    uuid = uuid4().hex
    row = {
        "attribute_mapping": dict(provider_rules.DEFAULT_MAPPING),
        "vouched_claims": list(provider_rules.DEFAULT_VOUCHED),
        **_columns(vault, uuid, values),
        "uuid": uuid,
        "issuer": metadata["issuer"],
        "metadata": dict(metadata),
        "created_at": tx.now,
        "modified_at": tx.now,
    }
    if row.get("is_default"):
        provider_queries.lock_all(tx)
        provider_queries.clear_default(tx)
    provider_id = provider_queries.add(tx, row)
    event_queries.record(
        tx, actor, events.ProviderCreated(provider=row["name"], label=row["label"])
    )
    return provider_id


def update(
    tx: WriteTransaction,
    actor: Actor | None,
    vault: Vault,
    name: str,
    changes: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Update a provider. A change of where or as whom people sign in ends begun sign-ins.

    What came of a sign-in ends too when the provider is deactivated, or speaks for another issuer:
    it cannot end it any more. The token of the request stays.

    Args:
        actor: staff; None for the operator at the command line.
        name: name of the provider.
        changes: columns; ``client_secret`` in plain text.
        metadata: what the provider published at the new ``discovery_url``; None if that stays.

    Raises:
        NotFound: ``provider.unknown``.
        Forbidden: ``permission.missing``.
        Invalid: a value is not accepted, see ``provider_rules.problems``; or
            ``provider.name_is_fixed``.
        Conflict: ``provider.metadata``: the address of the metadata was changed at the same time.
    """
    if actor is not None:
        require_staff(actor)
    if changes.get("is_default"):
        provider_queries.lock_all(tx)
    provider = provider_queries.get_locked(tx, name)
    provider_rules.check_same_name(provider.name, changes.get("name", provider.name))
    together = {"user_field": provider.user_field, "user_claim": provider.user_claim}
    provider_rules.check({**together, **changes})
    changed = _changed_columns(vault, provider, changes)
    if metadata is None and "discovery_url" in changed:
        raise Conflict("provider.metadata")
    if metadata is not None:
        # Another request may have changed the address since the metadata were fetched.
        _check_same_source(changed.get("discovery_url", provider.discovery_url), metadata)
    if not changed and metadata is None:
        return
    fields = sorted(column.removesuffix("_encrypted") for column in changed)
    if changed.get("is_default"):
        provider_queries.clear_default(tx)
    if metadata is not None:
        changed |= {"issuer": metadata["issuer"], "metadata": dict(metadata)}
    provider_queries.change(tx, provider.id, {**changed, "modified_at": tx.now})
    _end_what_rests_on(tx, actor, provider, changed)
    if fields:
        event_queries.record(
            tx, actor, events.ProviderUpdated(provider=name, label=provider.label, fields=fields)
        )


def remove(tx: WriteTransaction, actor: Actor | None, name: str) -> None:
    """Remove a provider. Nobody signs in with it any more; the identities stay.

    Everything that came of a sign-in there ends, except the token of the request. The identities
    work again when a provider with the same issuer is added. So a provider can be replaced
    without a loss, and nobody else can take over an account in the meantime.

    Raises:
        NotFound: ``provider.unknown``.
        Forbidden: ``permission.missing``.
    """
    if actor is not None:
        require_staff(actor)
    provider = provider_queries.get_locked(tx, name)
    provider_queries.end_sessions(tx, provider.id, _token_of(actor))
    provider_queries.release_identities(tx, provider.id)
    provider_queries.remove(tx, provider.id)
    event_queries.record(
        tx, actor, events.ProviderRemoved(provider=provider.name, label=provider.label)
    )


def _end_what_rests_on(
    tx: WriteTransaction, actor: Actor | None, before: ProviderRow, changed: Mapping[str, Any]
) -> None:
    """End the sign-ins and the sessions of a provider that its changed columns make void."""
    if not _TRUST.isdisjoint(changed):
        provider_queries.end_sign_ins(tx, before.id)
    is_another = changed.get("issuer", before.issuer) != before.issuer
    if is_another or (before.is_active and not changed.get("is_active", True)):
        provider_queries.end_sessions(tx, before.id, _token_of(actor))
    if is_another:
        provider_queries.release_identities(tx, before.id)


def _token_of(actor: Actor | None) -> int:
    """Return the id of the token of the request; 0 if there is none."""
    return 0 if actor is None else (actor.impersonator or actor).token


def _check_same_source(discovery_url: str, metadata: Mapping[str, Any]) -> None:
    """Check that metadata are those of an address, which follows from their issuer.

    Raises:
        Conflict: ``provider.metadata``.
    """
    if to_discovery_url(metadata["issuer"]) != discovery_url:
        raise Conflict("provider.metadata")


def _changed_columns(
    vault: Vault, provider: ProviderRow, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the columns whose values change."""
    changed = {
        column: value
        for column, value in _columns(vault, provider.uuid, changes).items()
        if column == "client_secret_encrypted" or getattr(provider, column) != value
    }
    is_same = client_secret(vault, provider) == changes.get("client_secret")
    if is_same and not is_secret_lost(vault, provider):
        del changed["client_secret_encrypted"]
    return changed


def _columns(vault: Vault, uuid: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of values, the secret encrypted."""
    columns = {name: value for name, value in values.items() if name != "client_secret"}
    if "client_secret" in values:
        secret = values["client_secret"]
        columns["client_secret_encrypted"] = (
            vault.encrypt(secret, _binding(vault, uuid)) if secret else None
        )
    return columns


def _binding(vault: Vault, uuid: str) -> bytes:
    """Return what a stored secret is bound to, so that swapped rows are detected."""
    return vault.keyed_hash(f"client secret {uuid}")
