"""Sign people out of the identity provider with which they have signed in."""

from __future__ import annotations

from collegium.integrations import provider_setup
from collegium.integrations.openid import client, discovery
from collegium.integrations.waiting import BusyError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import ProviderError


def sign_out_url(
    settings: Settings, vault: Vault, provider: ProviderRow, id_token: str, home: str
) -> str:
    """Return the URL at which a browser signs out of a provider; empty if it stays signed in there.

    Never call it inside a transaction: it may send a request.

    Args:
        id_token: the ID token of the sign-in; empty if it is not known.
        home: URL to which the provider sends the browser afterwards.
    """
    if not provider.enable_post_logout_redirect:
        return ""
    party = provider_setup.client_of(settings, vault, provider)
    try:
        metadata = discovery.metadata_of(party)
    except (ProviderError, BusyError):
        return ""
    return client.sign_out_url(
        party,
        metadata,
        id_token=id_token,
        post_logout_redirect_uri=home,
    )
