"""What the users API of 8.1.3 has besides that of 7.9.0, with the newer official client.

Usage: users_newer.py BASE_URL STAFF_TOKEN; prints one JSON object at the end: the operations that
were called, and all of the client's folder.
"""

import datetime as dt
import json
import pkgutil
import sys
from importlib import import_module

from helpers import refused
from waldur_api_client import AuthenticatedClient
from waldur_api_client.api import users
from waldur_api_client.models import GenderEnum, PatchedUserRequest, UserRequest

base, token = sys.argv[1:3]
staff = AuthenticatedClient(base_url=base, token=token)
called = set()


def call(name, client=staff, **options):
    called.add(name)
    module = import_module(f"waldur_api_client.api.users.users_{name}")
    sync = getattr(module, "sync", None)
    if sync is not None:
        return sync(client=client, **options)
    response = module.sync_detailed(client=client, **options)
    assert response.status_code == 200, response
    return json.loads(response.content)


before = dt.datetime.now(dt.UTC)
ada = call("create", body=UserRequest(username="ada", email="ada@example.org"))
key = call("token_retrieve", uuid=ada.uuid)
key = key.additional_properties["token"] if hasattr(key, "additional_properties") else key["token"]
own = AuthenticatedClient(base_url=base, token=key)

# 1. Facts about the person, by the person and by staff.
facts = PatchedUserRequest(
    gender=GenderEnum.FEMALE,
    personal_title="Countess",
    nationality="GB",
    nationalities=["GB", "EE"],
    organization_vat_code="GB1",
    affiliations=["member@example.org"],
    deactivation_reason="ignored",
    agree_with_policy=True,
)
shown = call("partial_update", client=own, uuid=ada.uuid, body=facts)
assert (shown.gender, shown.personal_title) == (GenderEnum.FEMALE, "Countess"), shown
assert shown.nationalities == ["GB", "EE"], shown
assert (shown.affiliations, shown.has_usable_password) == ([], False), shown
assert shown.attribute_sources.to_dict() == shown.details.to_dict() == {}, shown
changed = dt.datetime.now(dt.UTC)
reason = PatchedUserRequest(
    deactivation_reason="left", is_active=False, affiliations=["member@example.org"]
)
shown = call("partial_update", uuid=ada.uuid, body=reason)
assert (shown.is_admin_deactivated, shown.deactivation_reason) == (True, "left"), shown
assert shown.affiliations == ["member@example.org"], shown
call("partial_update", uuid=ada.uuid, body=PatchedUserRequest(is_active=True))
fresh = import_module("waldur_api_client.api.users.users_refresh_token")
called.add("refresh_token")
key = json.loads(fresh.sync_detailed(uuid=ada.uuid, client=staff).content)["token"]
own = AuthenticatedClient(base_url=base, token=key)

# 2. What a profile misses, and what waits.
missing = call("profile_completeness_retrieve", client=own)
assert missing.missing_fields == ["first_name", "last_name"], missing
assert call("profile_completeness_count", client=own) == 1
me = call("me_retrieve", client=own)
assert me.profile_completeness.is_complete is False, me
assert call("me_count", client=own) == 1
assert call("dashboard_general_stats_retrieve", client=own).active_invitations == 0

# 3. Counts for staff.
assert {row.status: row.count for row in call("user_active_status_count_list")} == {"active": 2}
assert call("user_active_status_count_count") == 1
assert {row.language: row.count for row in call("user_language_count_list")} == {"": 2}
assert call("user_language_count_count") == 1
(month,) = call("user_registration_trend_list", is_active=True)
assert (month.month, month.count) == (f"{before:%Y-%m}", 2), month
assert call("user_registration_trend_count") == 1
refused(403, call, "user_language_count_list", client=own)

# 4. History, for staff.
versions = call("history_list", uuid=ada.uuid)
assert [row.serialized_data["deactivation_reason"] for row in versions] == ["", "left", "", ""]
assert versions[2].revision_user["username"] == "ada", versions
at = call("history_at_retrieve", uuid=ada.uuid, timestamp=changed.isoformat())
assert at.serialized_data["personal_title"] == "Countess", at
assert len(call("history_list", uuid=ada.uuid, created_before=changed.isoformat())) == 2
refused(403, call, "history_list", client=own, uuid=ada.uuid)
refused(404, call, "history_at_retrieve", uuid=ada.uuid, timestamp="2001-01-01T00:00:00Z")

# 5. Who can see a profile, and who has looked at it.
access = call("data_access_retrieve", client=own, uuid=ada.uuid)
assert access.administrative_access.staff_count == 1, access
assert access.summary.total_administrative_access == 1, access
assert access.organizational_access == access.service_provider_access == [], access
(admin,) = call("data_access_retrieve", uuid=ada.uuid).administrative_access.users
assert (admin.username, admin.access_type.value) == ("boss", "staff"), admin
call("retrieve", uuid=ada.uuid)
(view,) = call("data_access_history_list", client=own, uuid=ada.uuid)
assert view.accessor_type.value == "staff", view
assert "personal_title" in view.accessed_fields, view
(view,) = call("data_access_history_list", uuid=ada.uuid, start_date=before.date())
assert view.accessor.username == "boss", view

# 6. Staff remove a password.
call("remove_password", uuid=ada.uuid)
refused(403, call, "remove_password", client=own, uuid=ada.uuid)

names = (module.name.removeprefix("users_") for module in pkgutil.iter_modules(users.__path__))
print(json.dumps({"called": sorted(called), "all": sorted(names)}))
