"""What staff, the command line and ``doctor`` ask of an OpenID provider before people sign in."""

from __future__ import annotations

from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import Provider


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
