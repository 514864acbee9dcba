"""Identity providers, with an official client.

Usage: identity_providers.py BASE_URL STAFF_TOKEN DISCOVERY_URL; prints one JSON object at the end.
"""

import json
import sys
from importlib.util import find_spec

from helpers import refused
from waldur_api_client import AuthenticatedClient, Client
from waldur_api_client.api.identity_providers import (
    identity_providers_count,
    identity_providers_create,
    identity_providers_destroy,
    identity_providers_list,
    identity_providers_partial_update,
    identity_providers_retrieve,
    identity_providers_update,
)
from waldur_api_client.models import IdentityProviderRequest, PatchedIdentityProviderRequest

PACKAGE = "waldur_api_client.api.identity_providers"
base, staff_token, discovery_url = sys.argv[1:4]
nobody = Client(base_url=base)
staff = AuthenticatedClient(base_url=base, token=staff_token)
request = IdentityProviderRequest(
    provider="campus",
    label="Campus",
    client_id="collegium",
    client_secret="a secret",
    discovery_url=discovery_url,
    protected_fields=["email"],
)

refused(401, identity_providers_create.sync, client=nobody, body=request)
created = identity_providers_create.sync(client=staff, body=request)
assert created.client_secret == "a secret" and created.protected_fields == ["email"], created
assert created.auth_url.endswith("/authorize") and created.token_url.endswith("/token"), created
assert identity_providers_retrieve.sync("campus", client=staff) == created
assert identity_providers_list.sync(client=staff, page=1, page_size=5) == [created]
assert identity_providers_count.sync(client=staff) == 1
# The older client expects every field, which only staff get.
(button,) = nobody.get_httpx_client().get("/api/identity-providers/").json()
shown = {"provider": "campus", "label": "Campus", "is_active": True, "is_default": False}
assert button == shown, button
request.label = "Uni"
assert identity_providers_update.sync("campus", client=staff, body=request).label == "Uni"
patch = PatchedIdentityProviderRequest(is_active=False)
assert identity_providers_partial_update.sync("campus", client=staff, body=patch).label == "Uni"
refused(404, identity_providers_retrieve.sync, "campus", client=nobody)

# Only the newer client has these.
discovers = find_spec(f"{PACKAGE}.identity_providers_discover_metadata") is not None
if discovers:
    from waldur_api_client.api.identity_providers import (
        identity_providers_discover_metadata,
        identity_providers_generate_mapping,
    )
    from waldur_api_client.models import DiscoverMetadataRequestRequest

    body = DiscoverMetadataRequestRequest(discovery_url=discovery_url)
    found = identity_providers_discover_metadata.sync(client=staff, body=body)
    assert found.suggested_scopes == ["openid", "profile", "email"], found
    assert found.endpoints.authorization_endpoint == created.auth_url, found
    mapping = identity_providers_generate_mapping.sync(client=staff, body=body)
    assert mapping.attribute_mapping["first_name"] == "given_name", mapping

identity_providers_destroy.sync_detailed("campus", client=staff)
assert identity_providers_count.sync(client=staff) == 0
print(json.dumps({"discovers": discovers}))
