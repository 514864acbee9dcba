"""All operations of the users API, with an official client.

Usage: users.py BASE_URL STAFF_TOKEN MAIL_FOLDER; prints {} at the end.
"""

import json
import pathlib
import re
import sys
import time

from helpers import refused
from waldur_api_client import AuthenticatedClient
from waldur_api_client.api.users import (
    users_cancel_change_email,
    users_change_email,
    users_change_password,
    users_confirm_email,
    users_count,
    users_create,
    users_destroy,
    users_list,
    users_me_retrieve,
    users_partial_update,
    users_pull_remote_user,
    users_refresh_token,
    users_retrieve,
    users_token_retrieve,
    users_update,
)
from waldur_api_client.models import (
    ConfirmEmailRequestRequest,
    PasswordChangeRequest,
    PatchedUserRequest,
    UserEmailChangeRequest,
    UserRequest,
)

base, token, folder = sys.argv[1:4]
staff = AuthenticatedClient(base_url=base, token=token)


def read_token(uuid):
    """Return the token of an account; the newer client's model has none."""
    response = users_token_retrieve.sync_detailed(uuid=uuid, client=staff)
    return json.loads(response.content)["token"]


ada = users_create.sync(client=staff, body=UserRequest(username="ada", email="ada@example.org"))
key = read_token(ada.uuid)
own = AuthenticatedClient(base_url=base, token=key)
assert users_me_retrieve.sync(client=own).username == "ada"
assert users_retrieve.sync(uuid=ada.uuid, client=staff).email == "ada@example.org"
assert [user.username for user in users_list.sync(client=own)] == ["ada"]
assert users_count.sync(client=own) == 1

body = PatchedUserRequest(job_title="Countess")
refused(400, users_partial_update.sync, uuid=ada.uuid, client=own, body=body)
body = PatchedUserRequest(job_title="Countess", agree_with_policy=True)
changed = users_partial_update.sync(uuid=ada.uuid, client=own, body=body)
assert changed.job_title == "Countess", changed
assert changed.agreement_date is not None
body = UserRequest(username="ignored", email="ignored@example.org", first_name="Ada")
changed = users_update.sync(uuid=ada.uuid, client=own, body=body)
assert (changed.username, changed.email, changed.first_name) == ("ada", "ada@example.org", "Ada")
assert changed.job_title == "Countess"
refused(403, users_destroy.sync_detailed, uuid=ada.uuid, client=own)
refused(403, users_token_retrieve.sync, uuid=ada.uuid, client=own)
new_password = PasswordChangeRequest(new_password="a quiet harbour 41")
refused(403, users_change_password.sync_detailed, uuid=ada.uuid, client=own, body=new_password)

fresh = users_refresh_token.sync_detailed(uuid=ada.uuid, client=own)
assert fresh.status_code == 200, fresh
refused(401, users_me_retrieve.sync, client=own)
own = AuthenticatedClient(base_url=base, token=json.loads(fresh.content)["token"])

users_change_email.sync_detailed(
    uuid=ada.uuid, client=own, body=UserEmailChangeRequest(email="new@example.org")
)
assert users_me_retrieve.sync(client=own).requested_email == "new@example.org"
users_cancel_change_email.sync_detailed(uuid=ada.uuid, client=own)
assert users_me_retrieve.sync(client=own).requested_email is None
users_change_email.sync_detailed(
    uuid=ada.uuid, client=own, body=UserEmailChangeRequest(email="newer@example.org")
)
code = None
for _ in range(400):
    for mail in pathlib.Path(folder).glob("*change_email_request.eml"):
        text = mail.read_text()
        if "To: newer@example.org" in text:
            code = re.search(r"/user_email_change/([0-9a-f]{32})/", text)[1]
    if code:
        break
    time.sleep(0.05)
users_confirm_email.sync_detailed(client=own, body=ConfirmEmailRequestRequest(code=code))
assert users_me_retrieve.sync(client=own).email == "newer@example.org"

refused(400, users_pull_remote_user.sync_detailed, uuid=ada.uuid, client=own)
users_change_password.sync_detailed(uuid=ada.uuid, client=staff, body=new_password)
refused(401, users_me_retrieve.sync, client=own)
users_destroy.sync_detailed(uuid=ada.uuid, client=staff)
refused(404, users_retrieve.sync, uuid=ada.uuid, client=staff)
print("{}")
