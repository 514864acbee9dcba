"""What ``collegium provider`` does: add, list and check OpenID providers, unlink people."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from collegium.accounts import queries as account_queries
from collegium.claim_rules import queries as claim_rule_queries
from collegium.claim_rules import rules as claim_rule_rules
from collegium.db.database import Database
from collegium.integrations import provider_setup
from collegium.integrations.provider_setup import Check
from collegium.refusals import Conflict, Invalid
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.identities import linking, removal
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers import rules as provider_rules
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import to_discovery_url

_REMEDIES: Final = {
    "provider.name": "the name can have small letters, digits, hyphens and underscores, and some "
    "names, such as default, are reserved",
    "provider.name_taken": "a provider with this name exists",
    "provider.label": "--label must not be empty",
    "provider.client_id": "--client-id must be printable ASCII",
    "provider.client_secret": "the client secret must be printable ASCII",
    "provider.discovery_url": "--url must be an https URL",
    **{
        f"discovery.{problem}": f"the provider {sentence}"
        for problem, sentence in provider_setup.SENTENCES.items()
    },
}


class UnfitProviderError(Exception):
    """The provider cannot be added or found. The text says why, in one line."""


def add(
    database: Database, settings: Settings, vault: Vault, url: str, values: Mapping[str, Any]
) -> str:
    """Add a provider; return the redirect URI to register there.

    Args:
        url: its issuer, or the URL of its metadata.
        values: columns of the provider, with ``client_secret`` in plain text.

    Raises:
        UnfitProviderError: A value is wrong, or the provider cannot be used.
    """
    values = {
        "registration": provider_setup.default_registration(settings),
        **values,
        "discovery_url": to_discovery_url(url.strip()),
    }
    try:
        provider_rules.check(values)
        metadata = provider_setup.discover(settings, values["discovery_url"], verify_tls=True)
        mapping = provider_rules.suggested_mapping(metadata.claims_supported)
        values["attribute_mapping"] = mapping
        values["extra_scope"] = provider_rules.extra_scope(
            mapping.values(), metadata.scopes_supported
        )
        with database.write() as tx:
            provider_actions.create(tx, None, vault, values, provider_setup.to_columns(metadata))
    except Invalid as refusal:
        raise UnfitProviderError(f"{_REMEDIES.get(refusal.code, refusal.code)}.") from None
    return f"{settings.base_url.rstrip('/')}/api-auth/{values['name']}/complete/"


def lines(database: Database) -> Iterator[str]:
    """Yield a line for each provider."""
    with database.read() as tx:
        rows = provider_queries.all_providers(tx)
    for row in rows:
        states = [word for word in ("default",) if row.is_default]
        states += [] if row.is_active else ["inactive"]
        yield "\t".join([row.name, row.label, row.issuer, *states])


def unlink(
    database: Database, settings: Settings, name: str, username: str, *, force: bool = False
) -> int:
    """Remove the sign-in methods of an account at a provider; return how many there were.

    Args:
        force: Whether to remove the only way to sign in too.

    Raises:
        UnfitProviderError: The provider or the account is unknown, or it is the only way to sign
            in.
    """
    with database.write() as tx:
        provider = provider_queries.by_name(tx, name)
        if provider is None:
            raise UnfitProviderError(f"there is no provider named {name}.")
        account = account_queries.by_username(tx, username)
        if account is None:
            raise UnfitProviderError(f"there is no account with the user name {username}.")
        try:
            return removal.unlink_as_operator(tx, settings, account, provider, force=force)
        except Conflict as refusal:
            again = (
                "only its owner adds it again, while signed in. Give them another way first"
                if linking.is_protected(tx, account)
                else "the provider must recognise them by an address or a claim"
            )
            raise UnfitProviderError(
                f"{username} has no other way to sign in; {again}. --force removes it all the same."
            ) from refusal


def checked(
    database: Database, settings: Settings, vault: Vault, names: Collection[str] = ()
) -> Iterator[tuple[ProviderRow, list[Check]]]:
    """Yield providers with the results of asking them now.

    Args:
        names: which; all of them if there are none.

    Raises:
        UnfitProviderError: One of the names is unknown.
    """
    with database.read() as tx:
        rows = provider_queries.all_providers(tx)
        compared = claim_rule_rules.compared_claims(claim_rule_queries.all_rules(tx))
    unknown = set(names) - {row.name for row in rows}
    if unknown:
        raise UnfitProviderError(f"there is no provider named {min(unknown)}.")
    for row in rows:
        if not names or row.name in names:
            yield row, provider_setup.check(settings, vault, row, compared)
