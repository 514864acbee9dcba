"""Claim rules, with the newer official client.

Usage: claim_rules.py BASE_URL STAFF_TOKEN ORGANISATION_UUID PERSON_UUID; the person has an identity
with the claim ``groups``: physics.
"""

import sys
from uuid import UUID, uuid4

from helpers import refused
from waldur_api_client import AuthenticatedClient, Client
from waldur_api_client.api.autoprovisioning_rules import (
    autoprovisioning_rules_count,
    autoprovisioning_rules_create,
    autoprovisioning_rules_destroy,
    autoprovisioning_rules_list,
    autoprovisioning_rules_partial_update,
    autoprovisioning_rules_retrieve,
    autoprovisioning_rules_test_match,
    autoprovisioning_rules_update,
)
from waldur_api_client.models import (
    PatchedRuleRequest,
    RuleRequest,
    RuleRequestUserClaims,
    RuleTestMatchRequestRequest,
)

base, token, organisation, person = sys.argv[1:5]
staff, nobody = AuthenticatedClient(base_url=base, token=token), Client(base_url=base)
claims = RuleRequestUserClaims()
claims.additional_properties = {"groups": ["phys*"]}
request = RuleRequest(
    name="Physicists",
    customer=f"{base}/api/customers/{organisation}/",
    customer_role_name="CUSTOMER.OWNER",
    user_claims=claims,
)

refused(401, autoprovisioning_rules_create.sync, client=nobody, body=request)
refused(400, autoprovisioning_rules_create.sync, client=staff, body=RuleRequest(name="Everybody"))
created = autoprovisioning_rules_create.sync(client=staff, body=request)
assert created.customer_uuid == organisation and created.customer == request.customer, created
assert created.customer_role.startswith(f"{base}/api/roles/"), created
assert created.user_claims.additional_properties == {"groups": ["phys*"]}, created
assert created.create_project is False and created.revoke_when_unmatched is False, created
assert autoprovisioning_rules_retrieve.sync(created.uuid, client=staff) == created
assert autoprovisioning_rules_list.sync(client=staff, page=1, page_size=5) == [created]
assert autoprovisioning_rules_count.sync(client=staff) == 1

test = RuleTestMatchRequestRequest(user_uuid=UUID(person))
result = autoprovisioning_rules_test_match.sync(created.uuid, client=staff, body=test)
assert result.would_provision and result.project_action is None, result
assert result.user_claims.additional_properties == {"groups": ["physics"]}, result
assert result.unconfigured_claims == [], result
(check,) = [one for one in result.filter_results if one.configured]
assert (check.name, check.matched) == ("user_claims", True), result
unknown = RuleTestMatchRequestRequest(user_uuid=uuid4())
refused(404, autoprovisioning_rules_test_match.sync, created.uuid, client=staff, body=unknown)

request.customer_role = created.customer_role
request.project_role_name = "PROJECT.MEMBER"
request.create_project, request.project_name_template = True, "{username} lab"
changed = autoprovisioning_rules_update.sync(created.uuid, client=staff, body=request)
assert changed.project_role_display_name == "PROJECT.MEMBER", changed
result = autoprovisioning_rules_test_match.sync(created.uuid, client=staff, body=test)
assert str(result.project_action) == "create", result
assert result.resolved_project_name == f"{result.user_username} lab", result
patch = PatchedRuleRequest(revoke_when_unmatched=True, user_email_patterns=["nobody@x"])
changed = autoprovisioning_rules_partial_update.sync(created.uuid, client=staff, body=patch)
assert changed.revoke_when_unmatched and changed.project_name_template == "{username} lab", changed
result = autoprovisioning_rules_test_match.sync(created.uuid, client=staff, body=test)
assert not result.would_provision and result.block_reason, result

autoprovisioning_rules_destroy.sync_detailed(created.uuid, client=staff)
assert autoprovisioning_rules_count.sync(client=staff) == 0
refused(404, autoprovisioning_rules_retrieve.sync, created.uuid, client=staff)
print("{}")
