"""What python-waldur-client does with members, organisations and projects.

Usage: python_client.py BASE_URL STAFF_TOKEN USER_UUID; prints the e-mail address that it invited.
"""

import json
import sys

from waldur_client import ObjectDoesNotExist, WaldurClient, WaldurClientException

base, token, user = sys.argv[1:4]
client = WaldurClient(f"{base}/api/", token)


def refused(call, *arguments, **options):
    """Expect that a call raises the error of the client; return its text."""
    try:
        call(*arguments, **options)
    except WaldurClientException as error:
        return str(error)
    raise AssertionError(f"{call.__name__} was not refused: {arguments}")


assert client.get_configuration()["WALDUR_CORE"]["SITE_NAME"]
staff = client.get_current_user()
assert client.get_user(staff["uuid"])["username"] == staff["username"]
assert client.count_users() == len(client.list_users()) == 2
assert client.list_users({"username": "nobody"}) == []
assert client.list_ssh_keys() == []
roles = {role["name"]: role["uuid"] for role in client.get_roles()}

acme = client.create_customer("ACME", email="info@example.org", country="EE")
assert client.get_customer("ACME")["uuid"] == client.get_customer(acme["uuid"])["uuid"]
assert "name" in refused(client.create_customer, "")
assert "country" in refused(client.create_customer, "No", country="Nowhere")
assert client.count_customers() == len(client.list_customers({"name": "ACME"})) == 1

survey = client.create_project(acme["uuid"], "Survey", description="Rocks")
assert client.update_project(survey["uuid"], name="Survey 2")["description"] == "Rocks"
# More projects than fit on one page of the client's default, which follows the Link header.
for number in range(3):
    client.create_project(acme["uuid"], f"Extra {number}")
names = [project["name"] for project in client.list_projects({"page_size": 1, "o": "name"})]
assert names == ["Extra 0", "Extra 1", "Extra 2", "Survey 2"], names
assert client.count_projects() == len(names)

# The last owner cannot get an end date, so there is another one.
client.create_customer_permission(acme["uuid"], staff["uuid"], roles["CUSTOMER.OWNER"])
for kind, uuid, role in (
    ("customer", acme["uuid"], roles["CUSTOMER.OWNER"]),
    ("project", survey["uuid"], roles["PROJECT.MEMBER"]),
):
    create, read, update, remove = (
        getattr(client, f"{verb}_{kind}_permission{end}")
        for verb, end in (("create", ""), ("get", "s"), ("update", ""), ("remove", ""))
    )
    person = user, role
    assert read(uuid, user) == []
    create(uuid, *person)
    assert refused(create, uuid, *person)
    end = "2999-01-02T03:04:05Z"
    assert update(uuid, *person, end)["expiration_time"].startswith("2999-01-02T03:04:05")
    [row] = read(uuid, *person)
    assert (row["user_uuid"], row["role_uuid"]) == person
    assert read(uuid, role_uuid=roles["PROJECT.MANAGER"]) == []
    remove(uuid, *person)
    assert read(uuid, user) == []

address = "guest@example.org"
invitation = client.create_project_invitation(
    address, survey["uuid"], roles["PROJECT.ADMIN"], full_name="Guest", extra_invitation_text="Hi"
)
assert invitation["state"] == "pending"
assert "email" in refused(
    client.create_project_invitation, "nonsense", survey["uuid"], roles["PROJECT.ADMIN"]
)
[listed] = client.list_invitations({"email": address})
assert listed["uuid"] == invitation["uuid"]

doomed = client.create_project(acme["uuid"], "Doomed")
client.delete_project(doomed["uuid"])
assert refused(client.delete_project, doomed["uuid"])
empty = client.create_customer("Empty")
client.delete_customer(empty["url"])
try:
    client.get_customer("Empty")
except ObjectDoesNotExist:
    pass
else:
    raise AssertionError("the organisation is still there")
assert "Invalid token" in refused(WaldurClient(f"{base}/api/", "0" * 40).get_current_user)
print(json.dumps(address))
