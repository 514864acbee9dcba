"""Passkeys, with the newer official client.

Usage: passkeys.py BASE_URL STAFF_TOKEN; staff have one passkey, another account has one too.
"""

import sys
from uuid import uuid4

from helpers import refused
from waldur_api_client import AuthenticatedClient, Client
from waldur_api_client.api.passkeys import (
    passkeys_count,
    passkeys_list,
    passkeys_mfa_begin,
    passkeys_mfa_finish,
    passkeys_partial_update,
    passkeys_registration_begin,
    passkeys_registration_finish,
    passkeys_retrieve,
    passkeys_revoke,
    passkeys_signin_begin,
    passkeys_signin_finish,
    passkeys_update,
)
from waldur_api_client.api.staff_passkeys import (
    staff_passkeys_count,
    staff_passkeys_list,
    staff_passkeys_revoke,
)
from waldur_api_client.models import (
    PasskeyAssertionFinishRequest,
    PasskeyAssertionFinishRequestCredential,
    PasskeyCredentialUpdateRequest,
    PasskeyMfaBeginRequest,
    PasskeyRegistrationFinishRequest,
    PasskeyRegistrationFinishRequestCredential,
    PasskeyRevokeRequest,
    PasskeyStaffRevokeRequest,
    PatchedPasskeyCredentialUpdateRequest,
)

base, token = sys.argv[1:3]
staff, nobody = AuthenticatedClient(base_url=base, token=token), Client(base_url=base)

begun = passkeys_registration_begin.sync(client=staff)
assert begun.options.additional_properties["rp"]["id"] == "localhost", begun
made = PasskeyRegistrationFinishRequest(
    begun.ceremony, "phone", PasskeyRegistrationFinishRequestCredential()
)
refused(400, passkeys_registration_finish.sync, client=staff, body=made)
begun = passkeys_signin_begin.sync(client=nobody)
answer = PasskeyAssertionFinishRequest(begun.ceremony, PasskeyAssertionFinishRequestCredential())
refused(400, passkeys_signin_finish.sync, client=nobody, body=answer)
refused(400, passkeys_mfa_begin.sync, client=nobody, body=PasskeyMfaBeginRequest(uuid4()))
refused(400, passkeys_mfa_finish.sync, client=nobody, body=answer)

(own,) = passkeys_list.sync(client=staff, page=1, page_size=5)
assert passkeys_count.sync(client=staff) == 1
assert own.transports.additional_properties == {"internal": True}, own
assert passkeys_retrieve.sync(own.uuid, client=staff) == own
body = PasskeyCredentialUpdateRequest("laptop")
assert passkeys_update.sync(own.uuid, client=staff, body=body).name == "laptop"
patch = PatchedPasskeyCredentialUpdateRequest("desk")
assert passkeys_partial_update.sync(own.uuid, client=staff, body=patch).name == "desk"

assert staff_passkeys_count.sync(client=staff) == 2
listed = staff_passkeys_list.sync(client=staff)
(other,) = [one.uuid for one in listed if one.uuid != own.uuid]
reason = PasskeyStaffRevokeRequest("reported lost")
assert staff_passkeys_revoke.sync_detailed(other, client=staff, body=reason).status_code == 204
body = PasskeyRevokeRequest("lost")
assert passkeys_revoke.sync_detailed(own.uuid, client=staff, body=body).status_code == 204
gone = passkeys_retrieve.sync(own.uuid, client=staff)
assert (gone.is_active, gone.revocation_reason) == (False, "lost"), gone
print("{}")
