"""Sign-in at an identity provider, as a front end with an official client.

Usage: provider_sign_ins.py BASE_URL STAFF_TOKEN DISCOVERY_URL CLIENT_ID CLIENT_SECRET; prints one
JSON object at the end.
"""

import json
import sys
from importlib.util import find_spec
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from helpers import refused
from waldur_api_client import AuthenticatedClient, Client
from waldur_api_client.api.api_auth import (
    api_auth_keycloak_complete_retrieve,
    api_auth_keycloak_init_retrieve,
    api_auth_logout,
)
from waldur_api_client.api.identity_providers import identity_providers_create
from waldur_api_client.api.users import users_me_retrieve
from waldur_api_client.models import IdentityProviderRequest

base, staff_token, discovery_url, client_id, client_secret = sys.argv[1:6]
# An address of our own stands for the front end, so that the last redirect is answered.
front_end = f"{base}/healthz"
request = IdentityProviderRequest(
    provider="keycloak",
    label="Keycloak",
    client_id=client_id,
    client_secret=client_secret,
    discovery_url=discovery_url,
    enable_post_logout_redirect=True,
)
request.additional_properties |= {
    "allowed_redirects": [front_end],
    "registration": "open",
    "trusted_domains": ["example.org"],
    "is_default": True,
}
staff = AuthenticatedClient(base_url=base, token=staff_token)
identity_providers_create.sync(client=staff, body=request)

visited = []


def sign_in():
    """Sign in with the client; return the code that the front end gets."""
    browser = Client(
        base_url=base,
        follow_redirects=True,
        headers={"Referer": front_end},
        httpx_args={"event_hooks": {"response": [lambda response: visited.append(response.url)]}},
    )
    api_auth_keycloak_init_retrieve.sync_detailed(client=browser)
    (code,) = parse_qs(urlsplit(str(visited[-1])).query)["code"]
    return code


code = sign_in()
assert str(visited[-1]).startswith(f"{front_end}?code="), visited
nobody = Client(base_url=base)
refused(400, api_auth_keycloak_complete_retrieve.sync_detailed, client=nobody, code="x", state="x")

exchanges = find_spec("waldur_api_client.api.api_auth.api_auth_token_exchange") is not None
if exchanges:
    from waldur_api_client.api.api_auth import (
        api_auth_default_init_retrieve,
        api_auth_token_exchange,
    )
    from waldur_api_client.models import TokenExchangeRequest

    begun = api_auth_default_init_retrieve.sync_detailed(client=nobody, return_url=front_end)
    assert begun.status_code == 302, begun
    body = TokenExchangeRequest(code=UUID(code))
    token = api_auth_token_exchange.sync(client=nobody, body=body).token
    again = api_auth_token_exchange.sync_detailed(client=nobody, body=body)
    assert again.status_code == 400, again
else:
    body = {"code": code}
    exchanged = nobody.get_httpx_client().post("/api-auth/token-exchange/", json=body)
    token = exchanged.json()["token"]

person = AuthenticatedClient(base_url=base, token=token)
assert users_me_retrieve.sync(client=person).email == "ada@example.org"
left = api_auth_logout.sync_detailed(client=person)
assert left.status_code == 200 and b"/logout?" in left.content, left
refused(401, users_me_retrieve.sync, client=person)
print(json.dumps({"exchanges": exchanges}))
