"""Teams, invitations, invite links and join requests, with an official client.

Usage: memberships.py BASE_URL STAFF_TOKEN MAIL_FOLDER; prints row JSON object at the end.
The service mails to the folder, and invitations by others than staff need approval.
"""

import datetime as dt
import inspect
import json
import re
import sys
import time
from email import message_from_bytes
from email.policy import default
from importlib import import_module
from pathlib import Path
from uuid import UUID

from helpers import value
from waldur_api_client import AuthenticatedClient, Client, models
from waldur_api_client.errors import UnexpectedStatus
from waldur_api_client.models import (
    CustomerRequest,
    GroupInvitationRequest,
    InvitationRequest,
    ObtainAuthTokenRequest,
    PasswordChangeRequest,
    ProjectRequest,
    ReviewCommentRequest,
    TokenRequest,
    UserRequest,
    UserRoleCreateRequest,
    UserRoleDeleteRequest,
    UserRoleUpdateRequest,
)

base, token, folder = sys.argv[1:4]
nobody = Client(base_url=base)
staff = AuthenticatedClient(base_url=base, token=token)
newer = hasattr(models, "SubmitRequestRequest")
if newer:
    from waldur_api_client.models import (
        GroupInvitationUpdateRequest,
        InvitationDuplicateCheckItemRequest,
        InvitationDuplicateCheckRequest,
        InvitationUpdateRequest,
        PatchedGroupInvitationUpdateRequest,
        PatchedInvitationUpdateRequest,
        UserRolePermissionActionRequest,
    )
nowhere = UUID(int=0)
called, used = set(), set()


class Word(str):
    """A text for a parameter for which the client wants its own enum."""

    __slots__ = ()
    value = property(str)


def words(*texts):
    return [Word(text) for text in texts]


def operation(group, name):
    called.add(f"{group} {name}")
    return import_module(f"waldur_api_client.api.{group}.{group}_{name}")


def call(group, name, /, client=staff, **options):
    """Call an operation; one without a response body has only the detailed call."""
    module = operation(group, name)
    sync = getattr(module, "sync", None)
    if sync is not None:
        return sync(client=client, **options)
    response = module.sync_detailed(client=client, **options)
    assert response.status_code in {200, 204}, response
    return None


def refused(status, group, name, /, client=staff, **options):
    """Expect a status; for documented ones 8.1.3 returns the response instead of raising."""
    try:
        response = operation(group, name).sync_detailed(client=client, **options)
    except UnexpectedStatus as error:
        assert error.status_code == status, error
    else:
        assert response.status_code == status, response


def person(name, **more):
    names = {"username": name, "first_name": name.title(), "last_name": "Lee"}
    body = UserRequest(email=f"{name}@example.org", **names, **more)
    user = call("users", "create", body=body)
    password = f"quiet-harbour-{name}"
    call("users", "change_password", uuid=user.uuid, body=PasswordChangeRequest(password))
    body = ObtainAuthTokenRequest(username=name, password=password)
    log_in = import_module("waldur_api_client.api.api_auth.api_auth_password").sync
    token = log_in(client=nobody, body=body).token
    return user, AuthenticatedClient(base_url=base, token=token)


def mailed(kind, address, holding=""):
    """Wait for a mail; return its text."""
    for _ in range(400):
        for file in sorted(Path(folder).glob("*.eml")):
            mail = message_from_bytes(file.read_bytes(), policy=default)
            if mail["X-Collegium-Mail"] == kind and mail["To"] == address:
                text = mail.get_body(("plain",)).get_content()
                if holding in text:
                    return text
        time.sleep(0.05)
    raise AssertionError(f"no {kind} to {address}")


# 1. Staff prepares.
owner_user, owner = person("owner")
ada_user, ada = person("ada")
bob_user, bob = person("bob")
roles = {role.name: role for role in call("roles", "list", page_size=50)}
assert call("roles", "count") == len(roles)
member, admin = roles["PROJECT.MEMBER"], roles["PROJECT.ADMIN"]
customer = call("customers", "create", body=CustomerRequest(name="Institute"))
elsewhere = call("customers", "create", body=CustomerRequest(name="Elsewhere"))
survey = call("projects", "create", body=ProjectRequest(name="Survey", customer=customer.url))
other = call("projects", "create", body=ProjectRequest(name="Other", customer=elsewhere.url))

# 2. Teams.
soon = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=30)
for group, scope, role, who in (
    ("customers", customer, roles["CUSTOMER.OWNER"], owner_user),
    ("projects", survey, admin, bob_user),
):
    body = UserRoleCreateRequest(role=str(role.uuid), user=who.uuid, expiration_time=soon)
    response = call(group, "add_user", uuid=scope.uuid, body=body)
    assert response.expiration_time == soon, response
    refused(400, group, "add_user", uuid=scope.uuid, body=body)
    refused(404, group, "add_user", client=ada, uuid=scope.uuid, body=body)
    team = call(group, "list_users_list", uuid=scope.uuid, client=owner)
    (row,) = team
    assert (row.user_uuid, row.role_uuid, row.expiration_time) == (who.uuid, role.uuid, soon), row
    if newer:
        assert call(group, "list_users_count", uuid=scope.uuid) == 1
    body = UserRoleUpdateRequest(role=role.name, user=who.uuid, expiration_time=None)
    assert call(group, "update_user", uuid=scope.uuid, body=body).expiration_time is None
    body = UserRoleUpdateRequest(role=role.name, user=ada_user.uuid)
    refused(404, group, "update_user", uuid=scope.uuid, body=body)
    body = UserRoleCreateRequest(role=role.name, user=ada_user.uuid)
    assert call(group, "add_user", uuid=scope.uuid, body=body).expiration_time is None
    body = UserRoleDeleteRequest(role=role.name, user=ada_user.uuid)
    for _ in range(2):
        call(group, "delete_user", uuid=scope.uuid, body=body)
    team = call(group, "list_users_list", uuid=scope.uuid, client=owner)
    assert [row.user_username for row in team] == [who.username], team
rows = call("projects", "list_users_list", uuid=survey.uuid, search_string="BOB")
assert [row.user_username for row in rows] == ["bob"], rows
assert call("projects", "list_users_list", uuid=survey.uuid, search_string="nobody") == []
assert [row.role_name for row in call("user_permissions", "list", client=bob)] == ["PROJECT.ADMIN"]
assert call("user_permissions", "count", client=bob) == 1
if newer:
    (row,) = call("user_permissions", "list", client=bob)
    assert (row.user_username, row.is_active, row.source) == ("bob", True, "manual"), row
    body = UserRolePermissionActionRequest(reason="left")
    refused(403, "user_permissions", "revoke", client=bob, uuid=row.uuid, body=body)
    refused(404, "user_permissions", "revoke", client=ada, uuid=row.uuid, body=body)
    call("user_permissions", "revoke", uuid=row.uuid, body=body)
    refused(400, "user_permissions", "revoke", uuid=row.uuid, body=body)
    past = {"user": bob_user.uuid, "show_inactive": True, "is_active": False}
    (ended,) = call("user_permissions", "list", **past)
    assert (ended.uuid, ended.revoked_by_username, ended.revoke_reason) == (
        *(row.uuid, "boss", "left"),
    ), ended
    body = UserRolePermissionActionRequest()
    refused(404, "user_permissions", "restore", client=bob, uuid=row.uuid, body=body)
    call("user_permissions", "restore", uuid=row.uuid, body=body)
    refused(400, "user_permissions", "restore", uuid=row.uuid, body=body)
    again = call("user_permissions", "retrieve", client=bob, uuid=row.uuid)
    assert again.is_active and again.revoke_reason == "", again
# The last owner cannot be removed.
body = UserRoleDeleteRequest(role="CUSTOMER.OWNER", user=owner_user.uuid)
refused(400, "customers", "delete_user", uuid=customer.uuid, body=body)


# 3. Invitations.
def invite(client, email, role=member):
    body = InvitationRequest(
        email=email, scope=survey.url, role=role.uuid, extra_invitation_text=f"Dear {email}"
    )
    return call("user_invitations", "create", client=client, body=body)


def decision(act, invitation):
    """Return the token of the approval mail."""
    text = mailed("invitation_requested", "boss@example.org", f"Dear {invitation.email}")
    return TokenRequest(re.search(rf"/invitation_{act}/([^/\s]+)/", text)[1])


yes, no = invite(owner, "ada@example.org"), invite(owner, "no@example.org")
assert value(yes.state) == value(no.state) == "requested", yes
refused(404, "user_invitations", "check", client=nobody, uuid=yes.uuid)
refused(400, "user_invitations", "send", client=owner, uuid=yes.uuid)
refused(400, "user_invitations", "cancel", client=owner, uuid=yes.uuid)
refused(400, "user_invitations", "approve", client=nobody, body=decision("reject", yes))
refused(400, "user_invitations", "approve", client=nobody, body=TokenRequest("x"))
call("user_invitations", "approve", client=nobody, body=decision("approve", yes))
refused(400, "user_invitations", "approve", client=nobody, body=decision("approve", yes))
call("user_invitations", "reject", client=nobody, body=decision("reject", no))
refused(400, "user_invitations", "reject", client=nobody, body=decision("reject", no))
mailed("invitation_created", "ada@example.org")
assert "no@example.org" in mailed("invitation_rejected", "owner@example.org")
states = {row.uuid: value(row.state) for row in call("user_invitations", "list", client=owner)}
assert states == {yes.uuid: "pending", no.uuid: "rejected"}, states
assert call("user_invitations", "count", client=owner) == 2
assert [row.uuid for row in call("user_invitations", "list", client=ada)] == [yes.uuid]
assert call("user_invitations", "check", client=nobody, uuid=yes.uuid).email == "ada@example.org"
current = call("user_invitations", "details_retrieve", client=ada, uuid=yes.uuid)
assert (current.scope_name, current.role_name) == ("Survey", "PROJECT.MEMBER"), current
refused(404, "user_invitations", "details_retrieve", client=ada, uuid=no.uuid)
call("user_invitations", "cancel", client=owner, uuid=yes.uuid)
refused(404, "user_invitations", "accept", client=ada, uuid=yes.uuid)
call("user_invitations", "send", client=owner, uuid=yes.uuid)
# It has a new link: without it only the invited address may accept.
refused(404, "user_invitations", "accept", client=bob, uuid=yes.uuid)
call("user_invitations", "accept", client=ada, uuid=yes.uuid)
refused(404, "user_invitations", "accept", client=ada, uuid=yes.uuid)
after = call("user_invitations", "retrieve", client=owner, uuid=yes.uuid)
assert value(after.state) == "accepted", after
assert "Ada Lee" in mailed("invitation_accepted", "owner@example.org")
refused(403, "user_invitations", "delete", client=owner, uuid=no.uuid)
call("user_invitations", "delete", uuid=no.uuid)
refused(404, "user_invitations", "retrieve", uuid=no.uuid)

if newer:
    # An invitation of staff needs no approval. It then goes to another address, with another role.
    wrong = invite(staff, "wrong@example.org")
    items = [
        InvitationDuplicateCheckItemRequest(email=f"{name}@example.org", role=member.uuid)
        for name in ("wrong", "ada", "nobody")
    ]
    body = InvitationDuplicateCheckRequest(scope=survey.url, invitations=items)
    found = call("user_invitations", "check_duplicates", client=owner, body=body)
    (duplicate,), (held,) = found.duplicates, found.existing_roles
    assert duplicate.existing_invitation_uuid == wrong.uuid, found
    assert (held.email, held.existing_role, held.is_same_role) == (
        *("ada@example.org", member.uuid, True),
    ), found
    refused(403, "user_invitations", "check_duplicates", client=ada, body=body)
    body = PatchedInvitationUpdateRequest(role=admin.uuid)
    edited = call("user_invitations", "partial_update", uuid=wrong.uuid, body=body)
    assert (edited.email, edited.role) == ("wrong@example.org", admin.uuid), edited
    body = InvitationUpdateRequest(email="right@example.org")
    edited = call("user_invitations", "update", client=owner, uuid=wrong.uuid, body=body)
    assert (edited.email, edited.role) == ("right@example.org", admin.uuid), edited
    assert "right@example.org" in mailed("invitation_requested", "boss@example.org", "right@")
    # It waits for approval again.
    refused(400, "user_invitations", "update", uuid=wrong.uuid, body=body)
    refused(404, "user_invitations", "destroy", client=ada, uuid=wrong.uuid)
    call("user_invitations", "destroy", client=owner, uuid=wrong.uuid)
    refused(404, "user_invitations", "destroy", client=owner, uuid=wrong.uuid)


# 4. Invite links.
def open_scope(client, scope, role, **more):
    body = GroupInvitationRequest(scope=scope.url, role=role.uuid, **more)
    return call("user_group_invitations", "create", client=client, body=body)


link = open_scope(owner, survey, admin)
assert link.is_active and not link.is_public, link
assert (link.scope_uuid, link.customer_uuid) == (survey.uuid, customer.uuid), link
public = open_scope(
    staff,
    elsewhere,
    member,
    is_public=True,
    auto_create_project=True,
    project_name_template="Lab of {full_name}",
    project_role=roles["PROJECT.MANAGER"].uuid,
    user_affiliations=["staff@uni"],
    user_email_patterns=[r".*@EXAMPLE\.org"],
)
body = GroupInvitationRequest(scope=survey.url, role=member.uuid)
refused(403, "user_group_invitations", "create", client=bob, body=body)
assert [row.uuid for row in call("user_group_invitations", "list", client=nobody)] == [public.uuid]
assert call("user_group_invitations", "count", client=nobody) == 1
assert call("user_group_invitations", "retrieve", client=nobody, uuid=public.uuid) == public
refused(404, "user_group_invitations", "retrieve", client=nobody, uuid=link.uuid)
assert call("user_group_invitations", "retrieve", client=ada, uuid=link.uuid) == link
seen = call("user_group_invitations", "projects_list", uuid=public.uuid)
assert [row.uuid for row in seen] == [other.uuid], seen
assert call("user_group_invitations", "projects_list", client=ada, uuid=public.uuid) == []
refused(404, "user_group_invitations", "projects_list", uuid=link.uuid)


more = {"body": models.SubmitRequestRequest()} if newer else {}


def submit(client, to):
    return call("user_group_invitations", "submit_request", client=client, uuid=to.uuid, **more)


def not_submitted(client, to):
    refused(400, "user_group_invitations", "submit_request", client=client, uuid=to.uuid, **more)


# 5. Join requests.
first = submit(ada, link)
assert (first.scope_name, UUID(first.scope_uuid)) == ("Survey", survey.uuid), first
not_submitted(ada, link)
not_submitted(bob, link)  # has the role
waiting = call("user_permission_requests", "retrieve", client=owner, uuid=first.uuid)
assert value(waiting.state) == "pending", waiting
assert waiting.created_by_email == "ada@example.org", waiting
assert not waiting.reviewed_by_username and waiting.reviewed_at is None, waiting
assert "Ada Lee <ada@example.org>" in mailed("permission_request_submitted", "owner@example.org")
comment = ReviewCommentRequest(comment="Not yet.")
refused(403, "user_permission_requests", "reject", client=ada, uuid=first.uuid, body=comment)
refused(404, "user_permission_requests", "reject", client=bob, uuid=first.uuid, body=comment)
call("user_permission_requests", "reject", client=owner, uuid=first.uuid, body=comment)
refused(409, "user_permission_requests", "approve", client=owner, uuid=first.uuid, body=comment)
assert "Not yet." in mailed("permission_request_rejected", "ada@example.org")
second = submit(ada, link)
refused(403, "user_permission_requests", "cancel_request", client=owner, uuid=second.uuid)
back = call("user_permission_requests", "cancel_request", client=ada, uuid=second.uuid)
assert (back.uuid, back.scope_name) == (second.uuid, "Survey"), back
refused(400, "user_permission_requests", "cancel_request", client=ada, uuid=second.uuid)
third = submit(ada, link)
comment = ReviewCommentRequest()
call("user_permission_requests", "approve", client=owner, uuid=third.uuid, body=comment)
refused(409, "user_permission_requests", "reject", client=owner, uuid=third.uuid, body=comment)
after = call("user_permission_requests", "retrieve", client=ada, uuid=third.uuid)
assert (value(after.state), after.reviewed_by_full_name) == ("approved", "Owner Lee"), after
team = call("projects", "list_users_list", uuid=survey.uuid)
assert sorted((row.user_username, row.role_name) for row in team) == [
    ("ada", "PROJECT.ADMIN"),
    ("ada", "PROJECT.MEMBER"),
    ("bob", "PROJECT.ADMIN"),
], team
own = submit(bob, public)
call("user_permission_requests", "approve", uuid=own.uuid, body=comment)
mailed("structure_role_granted", "bob@example.org", "Lab of Bob Lee")
projects = call("projects", "list", client=bob, name="Lab of Bob Lee")
assert [row.customer_uuid for row in projects] == [elsewhere.uuid], projects
if newer:
    quick = open_scope(owner, survey, member, auto_approve=True, custom_text="Welcome.")
    current = call("user_group_invitations", "retrieve", client=bob, uuid=quick.uuid)
    assert current.custom_text == "Welcome." and current.auto_approve, current
    assert submit(bob, quick).auto_approved
    assert submit(owner, open_scope(owner, survey, member)).auto_approved is False
    body = GroupInvitationUpdateRequest(custom_text="Hello.", auto_approve=False)
    edited = call("user_group_invitations", "update", client=owner, uuid=quick.uuid, body=body)
    assert (edited.custom_text, edited.auto_approve, edited.role) == (
        *("Hello.", False, member.uuid),
    ), edited
    refused(403, "user_group_invitations", "update", client=ada, uuid=quick.uuid, body=body)
    body = PatchedGroupInvitationUpdateRequest(
        user_identity_sources=["campus"], allow_custom_project_details=True
    )
    edited = call(
        "user_group_invitations", "partial_update", client=owner, uuid=quick.uuid, body=body
    )
    assert edited.user_identity_sources == ["campus"], edited
    refused(400, "user_group_invitations", "destroy", client=owner, uuid=quick.uuid)
    call("user_group_invitations", "cancel", client=owner, uuid=quick.uuid)
    refused(409, "user_group_invitations", "destroy", client=owner, uuid=quick.uuid)
    refused(400, "user_group_invitations", "update", client=owner, uuid=quick.uuid, body=body)
    unused = open_scope(owner, survey, member)
    call("user_group_invitations", "cancel", client=owner, uuid=unused.uuid)
    call("user_group_invitations", "destroy", client=owner, uuid=unused.uuid)
    refused(404, "user_group_invitations", "retrieve", client=owner, uuid=unused.uuid)
    (asked,) = call("user_permission_requests", "list", client=bob, invitation=quick.uuid)
    assert (asked.project_name, asked.project_description) == ("", ""), asked
    refused(403, "user_permission_requests", "destroy", client=owner, uuid=asked.uuid)
    call("user_permission_requests", "destroy", uuid=asked.uuid)
    refused(404, "user_permission_requests", "destroy", uuid=asked.uuid)
    # Withdraw them, so that the lists below do not contain them.
    for request in call("user_permission_requests", "list", client=owner):
        if value(request.state) == "pending":
            call("user_permission_requests", "cancel_request", uuid=request.uuid)


# 6. Every filter with a match, without row, and with an invalid value.
def checks(group, **known):
    """Return functions that check filters of a list, and the parameters of its operation."""
    names = {UUID(str(each.uuid)): name for name, each in known.items()}

    def ask(expected, client=staff, **filters):
        rows = call(group, "list", client=client, page_size=100, **filters)
        uuids = [UUID(str(row.uuid)) for row in rows]
        actual = [names[uuid] for uuid in uuids if uuid in names]
        assert actual == expected, (filters, actual)
        assert call(group, "count", client=client, **filters) == len(rows), filters
        used.update(f"{group} {name}" for name in filters)

    def bad(status, **filters):
        for name in ("list", "count"):
            refused(status, group, name, **filters)

    return ask, bad, inspect.signature(operation(group, "list").sync).parameters


ask, bad, parameters = checks(
    "user_permission_requests", first=first, second=second, third=third, own=own
)
ask(["own", "third", "second", "first"])
ask(["third", "second", "first"], created_by=ada_user.uuid)
ask(["own"], created_by=bob_user.uuid)
ask([], created_by=nowhere)
ask(["own"], customer_uuid=elsewhere.uuid)
ask([], customer_uuid=nowhere)
ask(["third", "second", "first"], invitation=link.uuid)
ask([], invitation=nowhere)
ask(["first"], state=words("rejected"))
ask(["own", "third", "second"], state=words("approved", "canceled"))
ask([], state=words("draft"))
ask(["first", "second", "third", "own"], o=words("created"))
ask(["own", "third", "second", "first"], o=words("-created"))
ask(["third", "own", "first", "second"], o=words("state", "created"))
ask(["second", "first", "own", "third"], o=words("-state", "-created"))
ask(["third"], created_by=ada_user.uuid, invitation=link.uuid, state=words("approved"))
ask(["third", "second", "first"], client=ada)
ask(["third", "second", "first"], client=owner)
if "scope" in parameters:
    ask(["own"], scope=elsewhere.url)
    ask(["third", "second", "first"], scope=survey.url)
    ask([], scope=other.url)
for name in ("created_by", "customer_uuid", "invitation"):
    bad(400, **{name: "not-a-uuid"})
bad(400, state=words("pending", "nonsense"))
bad(400, o=words("name"))

ask, bad, parameters = checks("user_group_invitations", link=link, public=public)
ask(["public", "link"])
ask(["link"], customer_uuid=customer.uuid)
ask([], customer_uuid=nowhere)
ask(["public"], role_uuid=member.uuid)
ask([], role_uuid=nowhere)
ask(["link"], role_name="PROJECT.ADMIN")
ask([], role_name="project.admin")
ask(["link"], scope_type="project")
ask(["public"], scope_type="customer")
ask([], scope_type="offering")
ask(["public"], is_public=True)
ask(["link"], is_public=False)
ask(["public", "link"], is_active=True)
ask([], is_active=False)
ask(["link", "public"], o=words("created"))
ask(["public", "link"], o=words("-created"))
ask(["public", "link"], is_public="maybe", is_active="maybe")
if "scope" in parameters:
    ask(["link"], scope=survey.url)
    ask([], scope=other.url)
for name in ("customer_uuid", "role_uuid"):
    bad(400, **{name: "not-a-uuid"})
bad(400, o=words("state"))
for group in ("user_permission_requests", "user_group_invitations"):
    pages = [call(group, "list", page=page, page_size=1) for page in (1, 2)]
    assert len({row.uuid for page in pages for row in page}) == 2, pages
    used.update({f"{group} page", f"{group} page_size"})
    refused(404, group, "list", page=99)
    refused(404, group, "list", page="x")
    assert len(call(group, "list", page_size="x")) >= 2

# 7. Closed links.
call("user_group_invitations", "cancel", client=owner, uuid=link.uuid)
refused(400, "user_group_invitations", "cancel", client=owner, uuid=link.uuid)
refused(403, "user_group_invitations", "cancel", client=ada, uuid=public.uuid)
not_submitted(owner, link)
ask(["link"], is_active=False)
ask(["public"], is_active=True)
print(json.dumps({"called": sorted(called), "used": sorted(used)}))
