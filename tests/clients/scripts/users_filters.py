"""Every filter of the users list with a match and without one, with an official client.

Usage: users_filters.py BASE_URL STAFF_TOKEN; prints the filters at the end.
"""

import datetime as dt
import json
import sys

from helpers import refused
from waldur_api_client import AuthenticatedClient
from waldur_api_client.api.customers import customers_add_user, customers_create
from waldur_api_client.api.projects import projects_add_user, projects_create
from waldur_api_client.api.roles import roles_list
from waldur_api_client.api.users import users_count, users_create, users_list
from waldur_api_client.models import (
    CustomerRequest,
    ProjectRequest,
    UserRequest,
    UserRoleCreateRequest,
)

base, token = sys.argv[1:3]
staff = AuthenticatedClient(base_url=base, token=token)
used = set()


def ask(expected, **filters):
    """Expect these user names in the list, and their number as the count."""
    rows = users_list.sync(client=staff, page_size=100, **filters)
    assert [row.username for row in rows] == expected, (filters, rows)
    assert users_count.sync(client=staff, **filters) == len(expected), filters
    used.update(filters)


people = {}
mari = {
    "phone_number": "+372 555",
    "description": "Knows everything",
    "native_name": "Мари",
    "organization": "Tartu Ülikool",
    "job_title": "Õppejõud",
}
for username, first, last, more in (
    ("mari", "Mari-Liis", "Jürimäe", mari),
    ("bob", "Bob", "Mari", {"is_support": True}),
    ("old", "Old", "Hand", {"is_active": False}),
):
    names = {"username": username, "first_name": first, "last_name": last}
    body = UserRequest(email=f"{username}@example.org", **names, **more)
    people[username] = users_create.sync(client=staff, body=body)
roles = {role.name: role for role in roles_list.sync(client=staff)}
customer = customers_create.sync(client=staff, body=CustomerRequest(name="Institute"))
project = projects_create.sync(
    client=staff, body=ProjectRequest(name="Survey", customer=customer.url)
)
for add, uuid, role, who in (
    (customers_add_user, customer.uuid, "CUSTOMER.OWNER", "mari"),
    (projects_add_user, project.uuid, "PROJECT.MEMBER", "bob"),
):
    body = UserRoleCreateRequest(role=str(roles[role].uuid), user=people[who].uuid)
    add.sync_detailed(uuid=uuid, client=staff, body=body)

everybody = ["bob", "boss", "mari", "old"]
# With an offset, whose plus sign the client encodes.
past = dt.datetime(2001, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
future = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
nowhere = "0" * 32

ask(everybody)
ask([], agreement_date=past)
ask(everybody, date_joined=past)
ask([], date_joined=future)
ask(everybody, modified=past)
ask([], modified=future)
ask([], civil_number="EE1")
ask(["mari"], phone_number="+372 555")
ask([], phone_number="+372")
ask(["mari"], description="Knows everything")
ask([], description="Knows")
ask(everybody, registration_method="default")
ask([], registration_method="eduteams")
ask(["mari"], email="MARI@")
ask([], email="jürimäe")
ask(["mari"], native_name="мари")
ask([], native_name="mari")
ask(["mari"], organization="ÜLIKOOL")
ask([], organization="tallinn")
ask(["mari"], job_title="õppe")
ask([], job_title="prof")
ask(["mari"], username="mari")
ask([], username="Mari")
ask(["mari", "old"], username_list="old, mari,,nobody")
ask([], username_list=",")
ask(["mari"], full_name="Jurimae")
ask([], full_name="jurimae mari")
ask(["mari"], user_keyword="liis jüri")
ask(["old"], user_keyword="OLD@")
ask(["bob", "mari"], query="mari")
ask(["bob", "old"], query="old mari")
ask([], query="nobody")
ask(["old"], is_active=False)
ask(["bob", "boss", "mari"], is_active=True)
ask(["boss"], is_staff=True)
ask(["bob", "mari", "old"], is_staff=False)
ask(["bob"], is_support=True)
ask(["boss", "mari", "old"], is_support=False)
ask(["bob", "mari"], customer_uuid=customer.uuid)
ask([], customer_uuid=nowhere)
ask(["bob"], project_uuid=project.uuid)
ask([], project_uuid=nowhere)
ask(["mari"], organization_roles="CUSTOMER.OWNER")
ask([], organization_roles="PROJECT.MEMBER")
ask(["bob"], project_roles="PROJECT.MEMBER,PROJECT.ADMIN")
ask([], project_roles="CUSTOMER.OWNER")
ask(["bob"], customer_uuid=customer.uuid, query="mari", is_support=True)
for call in (users_list.sync, users_count.sync):
    refused(400, call, client=staff, customer_uuid="not-a-uuid")
    refused(400, call, client=staff, project_uuid="not-a-uuid")

pages = [users_list.sync(client=staff, page=page, page_size=3) for page in (1, 2)]
assert [[row.username for row in page] for page in pages] == [["bob", "boss", "mari"], ["old"]]
print(json.dumps(sorted(used)))
