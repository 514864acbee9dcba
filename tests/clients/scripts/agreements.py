"""User agreements, with the newer official client.

Usage: agreements.py BASE_URL STAFF_TOKEN; prints one JSON object at the end.
"""

import json
import sys

from helpers import refused
from waldur_api_client import AuthenticatedClient, Client
from waldur_api_client.api.user_agreements import (
    user_agreements_count,
    user_agreements_create,
    user_agreements_destroy,
    user_agreements_list,
    user_agreements_partial_update,
    user_agreements_retrieve,
    user_agreements_update,
)
from waldur_api_client.models import (
    AgreementTypeEnum,
    PatchedUserAgreementRequest,
    UserAgreementRequest,
)

base, staff_token = sys.argv[1:3]
nobody = Client(base_url=base)
staff = AuthenticatedClient(base_url=base, token=staff_token)
request = UserAgreementRequest("Be kind.", AgreementTypeEnum.TOS, "")

refused(401, user_agreements_create.sync, client=nobody, body=request)
terms = user_agreements_create.sync(client=staff, body=request)
assert (terms.content, terms.agreement_type, terms.language) == ("Be kind.", "TOS", ""), terms
german = user_agreements_create.sync(
    client=staff, body=UserAgreementRequest("Seid nett.", AgreementTypeEnum.TOS, "de")
)
privacy = user_agreements_create.sync(
    client=staff, body=UserAgreementRequest("Little.", AgreementTypeEnum.PP, "")
)
refused(400, user_agreements_create.sync, client=staff, body=request)
# Everybody reads them.
assert user_agreements_retrieve.sync(terms.uuid, client=nobody) == terms
assert user_agreements_list.sync(client=nobody, page=1, page_size=9) == [privacy, terms, german]
found = user_agreements_list.sync(
    client=nobody, agreement_type=AgreementTypeEnum.TOS, language="de"
)
assert found == [german], found
assert user_agreements_list.sync(client=nobody, language="fi") == [privacy, terms]
assert user_agreements_count.sync(client=nobody, language="de") == 2
assert user_agreements_count.sync(client=nobody, agreement_type=AgreementTypeEnum.PP) == 1
request.content = "Be very kind."
changed = user_agreements_update.sync(terms.uuid, client=staff, body=request)
assert (changed.content, changed.created) == ("Be very kind.", terms.created), changed
assert changed.modified > terms.modified, changed
patch = PatchedUserAgreementRequest(language="et")
assert user_agreements_partial_update.sync(german.uuid, client=staff, body=patch).language == "et"
user_agreements_destroy.sync_detailed(german.uuid, client=staff)
refused(404, user_agreements_retrieve.sync, german.uuid, client=staff)
assert user_agreements_count.sync(client=staff) == 2
print(json.dumps({}))
