"""Invite a person into a project, with an official client.

Usage: main_job.py BASE_URL STAFF_TOKEN NAME [--wait-for-mail]; prints one JSON object at the end.
"""

import datetime as dt
import json
import sys
import time

from helpers import refused, value
from waldur_api_client import AuthenticatedClient, Client
from waldur_api_client.api.api_auth import api_auth_password
from waldur_api_client.api.customers import customers_add_user, customers_create
from waldur_api_client.api.projects import projects_create, projects_list_users_list
from waldur_api_client.api.roles import roles_list
from waldur_api_client.api.user_invitations import (
    user_invitations_accept,
    user_invitations_cancel,
    user_invitations_check,
    user_invitations_create,
    user_invitations_details_retrieve,
    user_invitations_list,
    user_invitations_retrieve,
    user_invitations_send,
)
from waldur_api_client.api.user_permissions import user_permissions_list
from waldur_api_client.api.users import (
    users_change_password,
    users_count,
    users_create,
    users_me_count,
)
from waldur_api_client.api.users import users_me_retrieve as users_me
from waldur_api_client.models import (
    CustomerRequest,
    InvitationRequest,
    ObtainAuthTokenRequest,
    PasswordChangeRequest,
    ProjectRequest,
    UserRequest,
    UserRoleCreateRequest,
)

base, staff_token, suffix = sys.argv[1:4]
waits = sys.argv[4:] == ["--wait-for-mail"]
nobody = Client(base_url=base)
staff = AuthenticatedClient(base_url=base, token=staff_token)


def mailed(invitation, client):
    """Wait until the service has sent the invitation's mail."""
    for _ in range(400 if waits else 0):
        current = user_invitations_retrieve.sync(uuid=invitation.uuid, client=client)
        if value(current.execution_state) == "OK":
            return
        time.sleep(0.05)
    assert not waits, current


def log_in(username, password):
    body = ObtainAuthTokenRequest(username=username, password=password)
    response = api_auth_password.sync(client=nobody, body=body)
    assert len(response.token) == 40, response
    return AuthenticatedClient(base_url=base, token=response.token)


# 1. Staff prepares.
people = {}
for name in ("ada", "bob"):
    username, address = f"{name}-{suffix}", f"{name}-{suffix}@example.org"
    person = users_create.sync(
        client=staff,
        body=UserRequest(
            username=username, email=address, first_name=name.title(), last_name="Lee"
        ),
    )
    password = f"quiet-harbour-{name}-{suffix}"
    users_change_password.sync_detailed(
        uuid=person.uuid, client=staff, body=PasswordChangeRequest(new_password=password)
    )
    people[name] = (person, username, address, password)
roles = {role.name: role for role in roles_list.sync(client=staff)}
customer = customers_create.sync(client=staff, body=CustomerRequest(name=f"Institute {suffix}"))
project = projects_create.sync(
    client=staff, body=ProjectRequest(name=f"Survey {suffix}", customer=customer.url)
)
ada, bob = people["ada"], people["bob"]
customers_add_user.sync_detailed(
    uuid=customer.uuid,
    client=staff,
    body=UserRoleCreateRequest(role=str(roles["CUSTOMER.OWNER"].uuid), user=ada[0].uuid),
)

# 2. The owner invites.
wrong = api_auth_password.sync_detailed(
    client=nobody, body=ObtainAuthTokenRequest(username=ada[1], password="not this one")
)
assert wrong.status_code == 401, wrong
owner = log_in(ada[1], ada[3])
me = users_me.sync(client=owner)
assert me.username == ada[1] and me.full_name == "Ada Lee", me
assert [grant.role_name for grant in me.permissions] == ["CUSTOMER.OWNER"], me.permissions
assert users_me_count.sync(client=owner) == 1
assert users_count.sync(client=owner) >= 1
refused(403, customers_create.sync_detailed, client=owner, body=CustomerRequest(name="Mine"))
invitation = user_invitations_create.sync(
    client=owner,
    body=InvitationRequest(
        email=bob[2],
        scope=project.url,
        role=roles["PROJECT.MEMBER"].uuid,
        extra_invitation_text="Please join us.",
    ),
)
assert value(invitation.state) == "pending", invitation
assert invitation.scope_uuid == project.uuid and invitation.customer_uuid == customer.uuid
assert invitation.expires - invitation.created == dt.timedelta(days=7)
assert invitation.uuid in [row.uuid for row in user_invitations_list.sync(client=owner)]
mailed(invitation, owner)

# 3. The invitee takes it.
invitee = log_in(bob[1], bob[3])
seen = user_invitations_check.sync(uuid=invitation.uuid, client=nobody)
assert seen.email == bob[2], seen
details = user_invitations_details_retrieve.sync(uuid=invitation.uuid, client=invitee)
assert details.scope_name == project.name and details.role_name == "PROJECT.MEMBER"
assert details.created_by_full_name == "Ada Lee"
user_invitations_accept.sync_detailed(uuid=invitation.uuid, client=invitee)

# 4. The grant is visible, and the invitation cannot be accepted again.
team = projects_list_users_list.sync(uuid=project.uuid, client=owner)
assert [(row.user_uuid, row.role_name) for row in team] == [(bob[0].uuid, "PROJECT.MEMBER")], team
assert team[0].created_by_full_name == "Ada Lee", team
me = users_me.sync(client=invitee)
(grant,) = me.permissions
assert (grant.scope_uuid, grant.role_name) == (project.uuid, "PROJECT.MEMBER"), grant
assert me.permissions[0].customer_uuid == customer.uuid
mine = user_permissions_list.sync(client=invitee)
assert [grant.scope_uuid for grant in mine] == [project.uuid], mine
after = user_invitations_retrieve.sync(uuid=invitation.uuid, client=owner)
assert value(after.state) == "accepted", after
refused(404, user_invitations_accept.sync_detailed, uuid=invitation.uuid, client=invitee)
refused(404, user_invitations_check.sync_detailed, uuid=invitation.uuid, client=nobody)

second = user_invitations_create.sync(
    client=owner,
    body=InvitationRequest(email=bob[2], scope=project.url, role=roles["PROJECT.ADMIN"].uuid),
)
mailed(second, owner)
user_invitations_cancel.sync_detailed(uuid=second.uuid, client=owner)
refused(400, user_invitations_cancel.sync_detailed, uuid=second.uuid, client=owner)
refused(404, user_invitations_accept.sync_detailed, uuid=second.uuid, client=invitee)
user_invitations_send.sync_detailed(uuid=second.uuid, client=owner)
mailed(second, owner)
user_invitations_accept.sync_detailed(uuid=second.uuid, client=invitee)
team = projects_list_users_list.sync(uuid=project.uuid, client=owner)
assert sorted(row.role_name for row in team) == ["PROJECT.ADMIN", "PROJECT.MEMBER"], team

third = user_invitations_create.sync(
    client=owner,
    body=InvitationRequest(email=bob[2], scope=project.url, role=roles["PROJECT.MANAGER"].uuid),
)
mailed(third, owner)
result = {"owner": owner.token, "invitee": invitee.token, "project": project.uuid.hex}
result |= {"first": invitation.uuid.hex, "open": third.uuid.hex, "address": bob[2]}
print(json.dumps(result))
