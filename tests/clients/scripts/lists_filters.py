"""Every filter of the other lists, with an official client.

Usage: lists_filters.py BASE_URL STAFF_TOKEN; prints one JSON object at the end: for each list the
filters that were used, and the parameters of the client.
"""

import datetime as dt
import inspect
import json
import sys
from types import SimpleNamespace

from helpers import refused
from waldur_api_client import AuthenticatedClient
from waldur_api_client.api.customers import (
    customers_add_user,
    customers_count,
    customers_create,
    customers_list,
    customers_list_users_list,
    customers_partial_update,
)
from waldur_api_client.api.projects import (
    projects_add_user,
    projects_count,
    projects_create,
    projects_destroy,
    projects_list,
    projects_list_users_list,
)
from waldur_api_client.api.roles import roles_count, roles_list
from waldur_api_client.api.user_invitations import (
    user_invitations_cancel,
    user_invitations_count,
    user_invitations_create,
    user_invitations_list,
)
from waldur_api_client.api.user_permissions import user_permissions_count, user_permissions_list
from waldur_api_client.api.users import users_create
from waldur_api_client.models import (
    CustomerRequest,
    InvitationRequest,
    PatchedCustomerRequest,
    ProjectRequest,
    UserRequest,
    UserRoleCreateRequest,
)

base, token = sys.argv[1:3]
staff = AuthenticatedClient(base_url=base, token=token)
used = {}
parameters = {}


class List:
    """A list of the client, with its count if it has one."""

    def __init__(self, name, listed, counted, key, **always):
        self.name, self.listed, self.counted, self.key = name, listed, counted, key
        self.always = always
        known = set(inspect.signature(listed.sync).parameters)
        parameters[name] = sorted(known - {"client", "field", "o", "page", "page_size", *always})
        used[name] = set()

    def ask(self, expected, **filters):
        """Expect these rows in the list, and their number as the count."""
        # The older client lacks some parameters.
        if not set(filters) <= set(inspect.signature(self.listed.sync).parameters):
            return
        rows = self.listed.sync(client=staff, page_size=100, **self.always, **filters)
        assert sorted(map(self.key, rows)) == expected, (self.name, filters, rows)
        if self.counted is not None:
            count = self.counted.sync(client=staff, **self.always, **filters)
            assert count == len(expected), (self.name, filters, count)
        used[self.name].update(filters)

    def refused(self, **filters):
        refused(400, self.listed.sync, client=staff, **self.always, **filters)

    def order(self, expected, *names):
        """Expect the rows in this order, sorted by these names."""
        names = [word(name) for name in names]
        rows = self.listed.sync(client=staff, page_size=100, o=names, **self.always)
        assert [self.key(row) for row in rows] == expected, (self.name, names, rows)


def word(text):
    """Return a text for a parameter for which the client wants its own enum."""
    return SimpleNamespace(value=text)


people = {}
for name in ("ada", "bob"):
    names = {"username": name, "first_name": name.title(), "native_name": f"{name} native"}
    body = UserRequest(email=f"{name}@example.org", last_name="Lee", **names)
    people[name] = users_create.sync(client=staff, body=body)
role = {row.name: row for row in roles_list.sync(client=staff)}
body = CustomerRequest(
    name="Sea",
    native_name="Meri",
    abbreviation="SE",
    contact_details="Room 7",
    registration_code="RC-1",
    agreement_number="AG-1",
    backend_id="b-sea",
)
sea = customers_create.sync(client=staff, body=body)
air = customers_create.sync(client=staff, body=CustomerRequest(name="Air"))
body = PatchedCustomerRequest(archived=True)
customers_partial_update.sync(uuid=air.uuid, client=staff, body=body)
project = {
    name: projects_create.sync(
        client=staff, body=ProjectRequest(name=name, customer=sea.url, **more)
    )
    for name, more in (
        ("Survey", {"description": "Depths", "backend_id": "b-survey"}),
        ("Gone", {}),
        ("Later", {"start_date": dt.date(2999, 1, 1), "end_date": dt.date(2999, 2, 1)}),
    )
}
survey = project["Survey"]
projects_destroy.sync_detailed(uuid=project["Gone"].uuid, client=staff)
until = dt.datetime.now(dt.UTC) + dt.timedelta(days=9)
for add, uuid, name, who, end in (
    (customers_add_user, sea.uuid, "CUSTOMER.OWNER", "ada", None),
    (projects_add_user, survey.uuid, "PROJECT.MEMBER", "bob", until),
):
    body = UserRoleCreateRequest(role=str(role[name].uuid), user=people[who].uuid)
    if end is not None:
        body.expiration_time = end
    add.sync_detailed(uuid=uuid, client=staff, body=body)
for address, name, url, number in (
    ("one", "CUSTOMER.OWNER", sea.url, "EE1"),
    ("two", "PROJECT.MEMBER", survey.url, ""),
    ("three", "PROJECT.ADMIN", project["Later"].url, ""),
):
    body = InvitationRequest(
        email=f"{address}@example.org", role=role[name].uuid, scope=url, civil_number=number
    )
    invitation = user_invitations_create.sync(client=staff, body=body)
    if address == "two":
        user_invitations_cancel.sync_detailed(uuid=invitation.uuid, client=staff)

past = dt.datetime(2001, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
future = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
nowhere = "0" * 32

lists = List(
    "user-invitations",
    user_invitations_list,
    user_invitations_count,
    lambda row: row.email.split("@")[0],
)
lists.ask(["one", "three", "two"])
lists.ask(["one"], civil_number="EE1")
lists.ask([], civil_number="ee1")
lists.ask(["one", "three", "two"], customer_uuid=sea.uuid)
lists.ask([], customer_uuid=air.uuid)
lists.ask(["three"], email="HREE@")
lists.ask(["two"], email_exact="TWO@example.org")
lists.ask([], email_exact="two@example")
lists.ask(["two"], role_name="PROJECT.MEMBER")
lists.ask([], role_name="project.member")
lists.ask(["three"], role_uuid=role["PROJECT.ADMIN"].uuid)
lists.ask([], role_uuid=nowhere)
lists.ask(["one"], scope=sea.url)
lists.ask(["two"], scope_description="DEPTH")
lists.ask([], scope_description="height")
lists.ask(["two"], scope_name="surv")
lists.ask([], scope_name="air")
lists.ask(["one"], scope_type="customer")
lists.ask([], scope_type="offering")
lists.ask(["one"], state=[word("pending")])
lists.ask(["three", "two"], state=[word("canceled"), word("project")])
lists.ask([], state=[word("expired")])
lists.refused(customer_uuid="x")
lists.refused(role_uuid="x")
lists.refused(state=[word("held")])
lists.order(["two", "one", "three"], "state")
lists.order(["two", "three", "one"], "-email")
lists.order(["three", "two", "one"], "created_by", "-created")

lists = List(
    "user-permissions", user_permissions_list, user_permissions_count, lambda row: row.role_name
)
lists.ask(["CUSTOMER.OWNER", "PROJECT.MEMBER"])
for name, value, miss in (
    ("created", past, future),
    ("modified", past, future),
    ("scope_type", "project", None),
):
    both = ["CUSTOMER.OWNER", "PROJECT.MEMBER"] if miss else ["PROJECT.MEMBER"]
    lists.ask(both, **{name: value})
    lists.ask([], **{name: miss or "call"})
for name, value, miss in (
    ("customer_uuid", None, nowhere),
    ("expiration_time", past, future),
    ("full_name", "OB LEE", "bob l e"),
    ("native_name", "B NATIVE", "nobody"),
    ("role_name", "MEMB", "ADMIN"),
    ("role_uuid", role["PROJECT.MEMBER"].uuid, nowhere),
    ("scope_name", "VEY", "kites"),
    ("scope_uuid", str(survey.uuid), nowhere),
    ("user", people["bob"].uuid, nowhere),
    ("user_slug", "BOB", "nobody"),
    ("user_url", people["bob"].url, survey.url),
    ("username", "bob", "Bob"),
):
    if value is None:
        lists.ask(["CUSTOMER.OWNER", "PROJECT.MEMBER"], **{name: sea.uuid})
    else:
        lists.ask(["PROJECT.MEMBER"], **{name: value})
    lists.ask([], **{name: miss})
if "show_inactive" in parameters["user-permissions"]:
    both = ["CUSTOMER.OWNER", "PROJECT.MEMBER"]
    for name in ("created_before", "modified_before"):
        lists.ask(both, **{name: future})
        lists.ask([], **{name: past})
    for name in ("is_active", "show_inactive"):
        lists.ask(both, **{name: True})
    lists.ask([], is_active=False, show_inactive=True)
lists.refused(user="x")
lists.refused(role_uuid="x")
lists.refused(scope_uuid="x")
for name in ("created", "email", "full_name", "native_name", "role", "username"):
    lists.order(["CUSTOMER.OWNER", "PROJECT.MEMBER"], name)
    lists.order(["PROJECT.MEMBER", "CUSTOMER.OWNER"], f"-{name}")
lists.listed.sync(client=staff, o=[word("-expiration_time")])

for listed, scope, who, other in (
    (projects_list_users_list, survey, "bob", "ada"),
    (customers_list_users_list, sea, "ada", "bob"),
):
    lists = List("team", listed, None, lambda row: row.user_username, uuid=scope.uuid)
    held = "PROJECT.MEMBER" if who == "bob" else "CUSTOMER.OWNER"
    lists.ask([who])
    for name, value, miss in (
        ("full_name", f"{who.upper()} L", f"{other} l"),
        ("native_name", f"{who} n", f"{other} n"),
        ("role", str(role[held].uuid), str(role["PROJECT.ADMIN"].uuid)),
        ("search_string", f"{who}@", "native"),
        ("user", people[who].uuid, people[other].uuid),
        ("user_slug", who, other),
        ("user_url", people[who].url, people[other].url),
        ("username", who, who.upper()),
    ):
        lists.ask([who], **{name: value})
        lists.ask([], **{name: miss})
    lists.refused(user="x")
    for order in ("created", "email", "expiration_time", "full_name", "native_name", "role"):
        lists.order([who], order, "username")

lists = List("roles", roles_list, roles_count, lambda row: row.name)
lists.ask(["PROJECT.ADMIN"], description="ADMINistrator")
lists.ask([], description="group")
lists.ask(["CUSTOMER.MANAGER", "CUSTOMER.SUPPORT"], is_active=False)
lists.ask(["PROJECT.MANAGER"], name="ct.man")
lists.ask([], name="group")
lists.ask(["CUSTOMER.MANAGER", "CUSTOMER.OWNER", "CUSTOMER.SUPPORT"], content_type="customer")
lists.ask([], is_system_role=False)
lists.ask(["CUSTOMER.OWNER"], query="sation own")
lists.ask(["PROJECT.ADMIN"], available_for_customer=sea.uuid, name="project.admin")
lists.ask([], available_for_customer=nowhere)
lists.ask(["PROJECT.ADMIN"], include_concealed=True, name="project.admin")

lists = List("customers", customers_list, customers_count, lambda row: row.name)
lists.ask(["Air", "Sea"])
for name, value, miss in (
    ("abbreviation", "e", "x"),
    ("agreement_number", "AG-1", "ag-1"),
    ("backend_id", "b-sea", "sea"),
    ("contact_details", "ROOM", "hall"),
    ("name", "SE", "see"),
    ("name_exact", "Sea", "sea"),
    ("native_name", "MER", "sea"),
    ("query", "rc-1", "nothing"),
    ("query", str(sea.uuid), nowhere),
    ("registration_code", "RC-1", "rc-1"),
    ("slug", sea.slug, "x"),
    ("user_uuid", people["bob"].uuid, nowhere),
):
    lists.ask(["Sea"], **{name: value})
    lists.ask([], **{name: miss})
lists.ask(["Air"], archived=True)
lists.ask(["Sea"], archived=False)
lists.ask([], current_user_has_role=["CUSTOMER.OWNER"])
lists.ask([], owned_by_current_user=True)
lists.ask(["Air", "Sea"], owned_by_current_user=False)
lists.ask(["Air", "Sea"], current_user_has_project_create_permission=True)
for name in ("name", "abbreviation", "native_name", "contact_details", "registration_code"):
    for sign, expected in (("", ["Air", "Sea"]), ("-", ["Sea", "Air"])):
        rows = customers_list.sync(client=staff, o=sign + name)
        assert [row.name for row in rows] == expected, name

lists = List("projects", projects_list, projects_count, lambda row: row.name)
lists.ask(["Later", "Survey"])
for name, value, miss in (
    ("backend_id", "b-survey", "B-survey"),
    ("description", "DEPTHS", "heights"),
    ("name", "URV", "gone"),
    ("name_exact", "Survey", "survey"),
    ("query", "B-SURVEY", "gone"),
    ("slug", survey.slug, "x"),
    ("user_uuid", people["bob"].uuid, nowhere),
    ("user_uuid_with_active_role", people["bob"].uuid, people["ada"].uuid),
):
    lists.ask(["Survey"], **{name: value})
    lists.ask([], **{name: miss})
for name, value, miss in (
    ("created", past, future),
    ("created_before", future, past),
    ("customer", [sea.uuid, air.uuid], [air.uuid]),
    ("customer_abbreviation", "s", "x"),
    ("customer_name", "SEA", "air"),
    ("customer_native_name", "eri", "x"),
    ("modified", past, future),
    ("modified_before", future, past),
):
    lists.ask(["Later", "Survey"], **{name: value})
    lists.ask([], **{name: miss})
lists.ask([], can_admin=True)
lists.ask([], can_manage=True)
lists.ask([], current_user_has_role=["PROJECT.MEMBER"])
lists.ask(["Later", "Survey"], conceal_finished_projects=True)
lists.ask(["Gone", "Later", "Survey"], include_terminated=True)
lists.ask(["Gone"], is_removed=True)
lists.ask(["Later", "Survey"], is_removed=False)
lists.refused(customer=["x"])
for name in ("created", "customer_abbreviation", "customer_name", "customer_native_name"):
    lists.order(["Survey", "Later"], name)
    lists.order(["Later", "Survey"], f"-{name}")
lists.order(["Later", "Survey"], "name")
lists.order(["Survey", "Later"], "estimated_cost")
lists.listed.sync(client=staff, o=[word("start_date"), word("-end_date")])
result = {name: sorted(filters) for name, filters in used.items()}
print(json.dumps({"used": result, "parameters": parameters}))
