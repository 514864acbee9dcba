"""Reviews of roles, with the newer official client.

Usage: reviews.py BASE_URL STAFF_TOKEN OWNER_TOKEN; prints one JSON object at the end. One review of
an organisation and one of a project are pending.
"""

import datetime as dt
import json
import sys

from helpers import refused
from waldur_api_client import AuthenticatedClient
from waldur_api_client.api.customer_permissions_reviews import (
    customer_permissions_reviews_close,
    customer_permissions_reviews_count,
    customer_permissions_reviews_list,
    customer_permissions_reviews_retrieve,
)
from waldur_api_client.api.project_permissions_reviews import (
    project_permissions_reviews_close,
    project_permissions_reviews_count,
    project_permissions_reviews_list,
    project_permissions_reviews_retrieve,
)
from waldur_api_client.api.users import users_me_retrieve
from waldur_api_client.models import CustomerPermissionReviewOEnum as Order

base, staff_token, owner_token = sys.argv[1:4]
staff = AuthenticatedClient(base_url=base, token=staff_token)
owner = AuthenticatedClient(base_url=base, token=owner_token)
me = users_me_retrieve.sync(client=owner)
long_ago = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)

for noun, close, count, listed, retrieve in (
    (
        "customer",
        customer_permissions_reviews_close,
        customer_permissions_reviews_count,
        customer_permissions_reviews_list,
        customer_permissions_reviews_retrieve,
    ),
    (
        "project",
        project_permissions_reviews_close,
        project_permissions_reviews_count,
        project_permissions_reviews_list,
        project_permissions_reviews_retrieve,
    ),
):
    (review,) = listed.sync(client=owner, is_pending=True, page=1, page_size=5)
    assert (review.closed, review.reviewer_uuid, review.is_pending) == (None, None, True), review
    assert retrieve.sync(review.uuid, client=staff) == review
    scope = {f"{noun}_uuid": getattr(review, f"{noun}_uuid")}
    assert count.sync(client=owner, is_pending=True, **scope) == 1
    assert count.sync(client=owner, closed=long_ago) == 0
    assert close.sync_detailed(review.uuid, client=owner).status_code == 200
    refused(400, close.sync_detailed, review.uuid, client=owner)
    (closed,) = listed.sync(
        client=staff,
        closed=long_ago,
        is_pending=False,
        reviewer_uuid=me.uuid,
        o=[Order.VALUE_1, Order.CLOSED],
        **scope,
    )
    assert (closed.uuid, closed.reviewer_full_name) == (review.uuid, me.full_name), closed
    assert closed.closed > closed.created, closed
    assert count.sync(client=staff, reviewer_uuid=me.uuid, o=[Order.CLOSED]) == 1
print(json.dumps({}))
