"""Organisations and projects, with an official client.

Usage: scopes.py BASE_URL STAFF_TOKEN; prints one JSON object at the end: the operations that were
called.
"""

import datetime as dt
import json
import sys
from importlib import import_module

from helpers import refused
from waldur_api_client import AuthenticatedClient, models
from waldur_api_client.models import (
    CustomerRequest,
    ProjectRequest,
    UserRequest,
    UserRoleCreateRequest,
)

base, token = sys.argv[1:3]
staff = AuthenticatedClient(base_url=base, token=token)
called = set()


def operation(group, name):
    called.add(f"{group} {name}")
    return import_module(f"waldur_api_client.api.{group}.{group}_{name}")


def call(group, name, /, **options):
    module = operation(group, name)
    sync = getattr(module, "sync", None)
    if sync is not None:
        return sync(client=staff, **options)
    response = module.sync_detailed(client=staff, **options)
    assert response.status_code in {200, 204}, response
    return None


def body(name, /, **values):
    return getattr(models, name)(**values)


before = dt.datetime.now(dt.UTC)
sea = call("customers", "create", body=CustomerRequest(name="Sea", grace_period_days=2))
survey, atlas = (
    call("projects", "create", body=ProjectRequest(name=name, customer=sea.url))
    for name in ("Survey", "Atlas")
)

# 1. The contact of an organisation, and its history.
contact = body("CustomerContactUpdateRequest", email="desk@example.org", phone_number="+1 555")
shown = call("customers", "contact", uuid=sea.uuid, body=contact)
assert (shown.email, shown.phone_number, shown.homepage) == ("desk@example.org", "+1 555", "")
versions = call("customers", "history_list", uuid=sea.uuid)
assert [row.serialized_data["email"] for row in versions] == ["desk@example.org", ""], versions
assert versions[0].revision_user["username"], versions
assert len(call("customers", "history_list", uuid=sea.uuid, page_size=1)) == 1
now = dt.datetime.now(dt.UTC).isoformat()
version = call("customers", "history_at_retrieve", uuid=sea.uuid, timestamp=now)
assert version.id == versions[0].id, version
refused(
    404,
    operation("customers", "history_at_retrieve").sync,
    client=staff,
    uuid=sea.uuid,
    timestamp=(before - dt.timedelta(days=1)).isoformat(),
)

# 2. The slug of a project, its end, and the people of the others.
assert call("projects", "set_slug", uuid=survey.uuid, body=body("ProjectSlugRequest", slug="deep"))
last = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=5)
patch = body("PatchedProjectRequest", end_date=last)
call("projects", "partial_update", uuid=survey.uuid, body=patch)
project = call("projects", "retrieve", uuid=survey.uuid)
assert (project.slug, project.is_in_grace_period) == ("deep", False), project
assert project.customer_grace_period_days == 2, project
assert project.effective_end_date == last + dt.timedelta(days=2), project
user = call("users", "create", body=UserRequest(username="ada", email="ada@example.org"))
grant = UserRoleCreateRequest(role="PROJECT.MEMBER", user=user.uuid)
call("projects", "add_user", uuid=survey.uuid, body=grant)
for scope, names in ((atlas, ["ada"]), (survey, [])):
    rows = call("projects", "other_users_list", project_uuid=scope.uuid)
    assert [row.username for row in rows] == names, rows
    count = call("projects", "other_users_count", project_uuid=scope.uuid)
    assert count == len(names), count

# 3. A project that is deleted, brought back with its members, and moved.
call("projects", "destroy", uuid=survey.uuid)
wishes = body("ProjectRecoveryRequest", restore_team_members=True)
project = call("projects", "recover", uuid=survey.uuid, body=wishes)
assert project.is_removed is False, project
assert [row.user_username for row in call("projects", "list_users_list", uuid=survey.uuid)] == [
    "ada"
]
air = call("customers", "create", body=CustomerRequest(name="Air"))
target = body("MoveProjectRequest", customer=air.url, preserve_permissions=True)
assert call("projects", "move_project", uuid=survey.uuid, body=target).customer_uuid == air.uuid

# 4. Whom an organisation admits.
patch = body(
    "PatchedCustomerRequest",
    user_email_patterns=[".*@uni.example"],
    user_affiliations=["staff@uni"],
    user_identity_sources=["campus"],
)
shown = call("customers", "partial_update", uuid=air.uuid, body=patch)
assert shown.user_email_patterns == [".*@uni.example"], shown
assert shown.user_affiliations == ["staff@uni"], shown
assert shown.user_identity_sources == ["campus"], shown
grant = UserRoleCreateRequest(role="PROJECT.ADMIN", user=user.uuid)
response = operation("projects", "add_user").sync_detailed(
    client=staff, uuid=survey.uuid, body=grant
)
assert response.status_code == 400, response

# 5. Figures of dashboards, and what front ends show beside them.
for group, scope in (("customers", air), ("projects", survey)):
    assert call(group, "stats_retrieve", uuid=scope.uuid, for_current_month=True).components == []
today = dt.datetime.now(dt.UTC).date()
for scope, members in ((survey, 1), (air, 1), (sea, 0)):
    figures = call(
        "daily_quotas",
        "retrieve",
        scope=scope.uuid,
        quota_names=["nc_user_count"],
        start=today - dt.timedelta(days=2),
    )
    assert figures["nc_user_count"] == [0, 0, members], (scope.name, figures)
response = operation("projects", "sync_user_roles").sync_detailed(
    client=staff, uuid=str(survey.uuid)
)
assert response.status_code == 200, response
name = "invitation_created"
(template,) = call(
    "notification_messages_templates", "list", name=name, path="invitation_created_message.html"
)
assert "invites you to join" in template.content, template
shown = call("notification_messages_templates", "retrieve", uuid=template.uuid)
assert shown.content == template.content
assert call("notification_messages_templates", "count", name=name) == 3

# 6. Roles of an organisation, and roles that it does not use.
roles = {row.name: row for row in call("roles", "list", page_size=50)}
manager = roles["PROJECT.MANAGER"]
copy = call(
    "roles",
    "clone_to_customer",
    uuid=manager.uuid,
    body=body("RoleCloneRequest", customer=sea.uuid, description="Captain"),
)
assert (copy.description, copy.template_name) == ("Captain", "PROJECT.MANAGER"), copy
assert copy.customer_uuid == sea.uuid, copy
assert call("roles", "retrieve", uuid=copy.uuid).name == copy.name
usable = {row.name for row in call("roles", "list", available_for_customer=sea.uuid, page_size=50)}
assert copy.name in usable, usable
assert manager.name not in usable, usable
for order in models.RoleDetailsOEnum:
    assert call("roles", "list", o=[order], page_size=50)
report = call("roles", "hygiene_report_retrieve")
assert report.roles_checked == len(roles) + 1, report
assert call("roles", "hygiene_report_count") == len(report.findings)
(found,) = call("customer_role_concealments", "list", scope_uuid=sea.uuid)
assert (found.role, found.customer_uuid) == (manager.uuid, str(sea.uuid).replace("-", "")), found
assert call("customer_role_concealments", "count", role_uuid=manager.uuid) == 1
assert call("customer_role_concealments", "retrieve", uuid=found.uuid).role_name == manager.name
call("customer_role_concealments", "destroy", uuid=found.uuid)
again = body("CustomerRoleConcealmentRequest", role=manager.uuid, customer=sea.uuid)
assert call("customer_role_concealments", "create", body=again).role == manager.uuid
(found,) = call("role_availabilities", "list", scope_type="customer", role_name=copy.name)
assert found.role_uuid == copy.uuid, found
assert call("role_availabilities", "count", role_uuid=copy.uuid) == 1
assert call("role_availabilities", "retrieve", uuid=found.uuid).scope_name == "Sea"
call("role_availabilities", "destroy", uuid=found.uuid)
created = call(
    "roles",
    "create",
    body=body(
        "RoleModifyRequest",
        name="CUSTOM.READER",
        content_type="project",
        permissions=models.RoleModifyRequestPermissions(),
    ),
)
for name in ("disable", "enable"):
    call("roles", name, uuid=created.uuid)
patch = body("PatchedRoleDetailsRequest", description="Reads", description_hr="X")
assert call("roles", "partial_update", uuid=created.uuid, body=patch).description_hr == "X"
update = body("RoleDescriptionRequest", description="Reads on", description_km="Y")
shown = call("roles", "update_descriptions_update", uuid=created.uuid, body=update)
assert (shown.description, shown.description_km) == ("Reads on", "Y"), shown
update = body(
    "RoleModifyRequest",
    name="CUSTOM.WRITER",
    content_type="project",
    permissions=models.RoleModifyRequestPermissions(),
)
assert call("roles", "update", uuid=created.uuid, body=update).name == "CUSTOM.WRITER"
call("roles", "destroy", uuid=created.uuid)
assert call("roles", "count") == len(roles) + 1

# 7. Countries, the people of an organisation, and what is replaced or removed as a whole.
countries = call("customers", "countries_list", page_size=100)
assert any(row.value == "EE" for row in countries), countries
assert call("customers", "countries_count") >= len(countries)
people = call("customers", "users_list", customer_uuid=air.uuid)
assert [row.username for row in people] == ["ada"], people
assert call("customers", "users_count", customer_uuid=air.uuid) == 1
shown = call("customers", "update", uuid=air.uuid, body=CustomerRequest(name="Sky"))
assert shown.name == call("customers", "retrieve", uuid=air.uuid).name == "Sky"
renamed = ProjectRequest(name="Chart", customer=air.url)
assert call("projects", "update", uuid=survey.uuid, body=renamed).name == "Chart"
call("projects", "destroy", uuid=survey.uuid)
call("customers", "destroy", uuid=air.uuid)

print(json.dumps({"called": sorted(called)}))
