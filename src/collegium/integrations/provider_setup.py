"""What staff, the command line and ``doctor`` ask of an OpenID provider before people sign in.

Never call it inside a transaction: it sends requests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from collegium.integrations.openid import discovery
from collegium.refusals import Invalid
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import rules as provider_rules
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.rules import Registration
from collegium.sign_in.providers.values import Metadata, Problem, Provider, ProviderError
from collegium.text.languages import mark

SENTENCES: Final[Mapping[Problem, str]] = {
    Problem.UNREACHABLE: mark(
        "does not respond. Check the address, the network and, for an address in your own network, "
        "COLLEGIUM_OUTGOING_INTERNAL_HOSTS"
    ),
    Problem.UNREADABLE: mark(
        "responds, but not with the metadata or keys of an OpenID provider. Check the address"
    ),
    Problem.INSECURE: mark(
        "names a URL that is not https, or leads to an internal address that "
        "COLLEGIUM_OUTGOING_INTERNAL_HOSTS does not name"
    ),
    Problem.WRONG_ISSUER: mark(
        "names itself differently than its address. Use the address that ends with the issuer and "
        "/.well-known/openid-configuration"
    ),
    Problem.UNSUPPORTED: mark(
        "does not offer the authorization code flow with signatures that are safe"
    ),
    Problem.CLIENT_REFUSED: mark(
        "does not accept the client ID and the client secret. Enter them again; a secret may expire"
    ),
}
"""What is wrong with a provider as a whole, for operators. The subject is the provider."""


class Check(NamedTuple):
    """A result of asking a provider.

    Args:
        template: a marked text, whose subject is the provider.
        facts: the values of its placeholders.
    """

    is_well: bool
    template: str
    warns: bool = False
    facts: Mapping[str, object] = MappingProxyType({})

    @property
    def text(self) -> str:
        """The result in English, for the command line."""
        return self.template.format_map(self.facts)


def default_registration(settings: Settings) -> str:
    """Return who gets an account at a new provider, if staff do not say it."""
    blocks = settings.oidc_block_creation_of_uninvited_users
    return Registration.INVITED if blocks else Registration.OPEN


def discover(settings: Settings, discovery_url: str, *, verify_tls: bool) -> Metadata:
    """Return the present metadata of a provider.

    Raises:
        Invalid: ``discovery.…`` with a ``Problem``, for the field ``discovery_url``.
        BusyError: Too many threads wait for other services.
    """
    try:
        return discovery.fetch_metadata(
            discovery_url,
            internal_hosts=settings.outgoing_internal_hosts,
            verify_tls=verify_tls,
            fresh=True,
        )
    except ProviderError as error:
        raise Invalid(f"discovery.{error.problem}", field="discovery_url") from None


def discover_changed(
    settings: Settings, before: ProviderRow, changes: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the metadata as columns store them, if a change concerns where they come from.

    Raises:
        Invalid: as ``discover``.
    """
    url = changes.get("discovery_url", before.discovery_url)
    verify_tls = changes.get("verify_ssl", before.verify_ssl)
    if (url, verify_tls) == (before.discovery_url, before.verify_ssl):
        return None
    return to_columns(discover(settings, url, verify_tls=verify_tls))


def to_columns(metadata: Metadata) -> dict[str, Any]:
    """Return metadata as they are stored."""
    columns: dict[str, Any] = msgspec.to_builtins(metadata)
    return columns


def client_of(settings: Settings, vault: Vault, provider: ProviderRow) -> Provider:
    """Return what the OpenID client needs to know of a provider."""
    return Provider(
        name=provider.name,
        discovery_url=provider.discovery_url,
        issuer=provider.issuer,
        client_id=provider.client_id,
        client_secret=provider_actions.client_secret(vault, provider),
        internal_hosts=settings.outgoing_internal_hosts,
        verify_tls=provider.verify_ssl,
    )


def check(
    settings: Settings, vault: Vault, provider: ProviderRow, compared: Collection[str] = ()
) -> list[Check]:
    """Ask a provider for its metadata and keys now; return what is well and what is wrong.

    Args:
        compared: the claims that claim rules compare.
    """
    if provider_actions.is_secret_lost(vault, provider):
        return [
            Check(
                is_well=False,
                template=mark(
                    "has a client secret that another secret key has encrypted. Enter it again"
                ),
            )
        ]
    client = client_of(settings, vault, provider)
    try:
        metadata = discovery.metadata_of(client, fresh=True)
        keys = discovery.check_keys(client, metadata)
    except ProviderError as error:
        return [Check(is_well=False, template=SENTENCES[error.problem])]
    found = [
        Check(
            is_well=True,
            template=mark("responds as {issuer}; usable keys: {keys}"),
            facts={"issuer": metadata.issuer, "keys": keys},
        )
    ]

    def warn(template: str, **facts: object) -> None:
        found.append(Check(is_well=True, template=template, warns=True, facts=facts))

    methods = metadata.code_challenge_methods_supported
    if methods and "S256" not in methods:
        warn(mark("does not say that it supports PKCE with S256, which every sign-in uses"))
    if not provider.verify_ssl:
        warn(
            mark(
                "is not asked for a valid certificate, so anybody in the network between can sign "
                "in as anybody"
            )
        )
    if claims := provider_rules.speaks_for_all(provider):
        warn(
            mark(
                "speaks for every institution with {claims}. That is right for a proxy that checks "
                "them, and wrong for the provider of one institution"
            ),
            claims=", ".join(claims),
        )
    mapped = provider.attribute_mapping.get("affiliations", "").split()
    offered = (name for name in compared if name in metadata.claims_supported)
    if claims := provider_rules.void_claims((*mapped, *offered), provider):
        warn(
            mark(
                "speaks for no institution, so its {claims} count nowhere. Enter its trusted "
                "domains, or a scope in the claims that it vouches for"
            ),
            claims=", ".join(claims),
        )
    if not provider.is_active:
        warn(mark("is inactive: nobody signs in with it"))
    return found
