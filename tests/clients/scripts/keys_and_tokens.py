"""Keys, tokens, configuration and version, with an official client.

Usage: keys_and_tokens.py BASE_URL STAFF_TOKEN; prints one JSON object at the end.
"""

import datetime as dt
import json
import sys

from helpers import refused
from waldur_api_client import AuthenticatedClient, Client
from waldur_api_client.api.auth_tokens import (
    auth_tokens_count,
    auth_tokens_destroy,
    auth_tokens_list,
    auth_tokens_retrieve,
)
from waldur_api_client.api.configuration import configuration_retrieve
from waldur_api_client.api.keys import (
    keys_count,
    keys_create,
    keys_destroy,
    keys_list,
    keys_retrieve,
)
from waldur_api_client.api.users import users_create
from waldur_api_client.api.users import users_me_retrieve as users_me
from waldur_api_client.api.version import version_retrieve
from waldur_api_client.models import SshKeyRequest, UserRequest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP6pFoQ8hMkO0ZVwOcVYvNMwZ6SjvE0uVZxXfnJf0Kc8 ada@laptop"

base, staff_token = sys.argv[1:3]
nobody = Client(base_url=base)
staff = AuthenticatedClient(base_url=base, token=staff_token)


# 1. The configuration is public.
published = configuration_retrieve.sync(client=nobody).to_dict()
assert published["WALDUR_CORE"]["INVITATIONS_ENABLED"] is True, published
assert published["WALDUR_CORE"]["AUTHENTICATION_METHODS"] == ["LOCAL_SIGNIN"], published
refused(401, version_retrieve.sync, client=nobody)
version = version_retrieve.sync(client=staff).version
assert version

# 2. Keys.
mine = keys_create.sync(client=staff, body=SshKeyRequest(public_key=KEY, name="laptop"))
assert mine.type_ == "ssh-ed25519" and mine.public_key == KEY and mine.is_shared is False, mine
assert mine.fingerprint_sha256.startswith("SHA256:"), mine
refused(400, keys_create.sync, client=staff, body=SshKeyRequest(public_key=KEY, name="laptop"))
refused(400, keys_create.sync, client=staff, body=SshKeyRequest(public_key="none", name="x"))
unnamed = keys_create.sync(client=staff, body=SshKeyRequest(public_key=KEY))
assert unnamed.name == "ada@laptop", unnamed
assert keys_count.sync(client=staff) == 2
assert keys_retrieve.sync(uuid=mine.uuid, client=staff) == mine
me = users_me.sync(client=staff)
yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
for query in (
    {"name": "LAP", "name_exact": "laptop"},
    {"fingerprint_md5": mine.fingerprint_md5, "name_exact": "laptop"},
    {"fingerprint_sha256": mine.fingerprint_sha256, "name_exact": "laptop"},
    {"fingerprint_sha512": mine.fingerprint_sha512, "name_exact": "laptop"},
    {"user_uuid": me.uuid, "created": yesterday, "modified": yesterday, "name_exact": "laptop"},
    {"is_shared": False, "page": 1, "page_size": 1, "name_exact": "laptop"},
):
    assert keys_list.sync(client=staff, **query) == [mine], query
assert keys_list.sync(client=staff, is_shared=True) == []

person = users_create.sync(
    client=staff, body=UserRequest(username="ada-owned", email="ada-owned@example.org")
)

# 3. Tokens.
tokens = {row.user_username: row for row in auth_tokens_list.sync(client=staff)}
assert auth_tokens_count.sync(client=staff) == len(tokens) == 2, tokens
theirs = tokens["ada-owned"]
assert theirs.user == person.url and theirs.user_token_lifetime == 3600, theirs
number = int(theirs.url.rstrip("/").rsplit("/", 1)[1])
assert auth_tokens_retrieve.sync(number, client=staff) == theirs
assert staff_token not in json.dumps([row.to_dict() for row in tokens.values()])
refused(401, auth_tokens_list.sync, client=nobody)
auth_tokens_destroy.sync_detailed(number, client=staff)
refused(404, auth_tokens_retrieve.sync, number, client=staff)

for key in (mine, unnamed):
    keys_destroy.sync_detailed(uuid=key.uuid, client=staff)
refused(404, keys_retrieve.sync, uuid=mine.uuid, client=staff)
assert keys_count.sync(client=staff) == 0
print(json.dumps({"version": version}))
