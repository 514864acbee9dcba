"""Hooks, with the newer official client.

Usage: hooks.py BASE_URL STAFF_TOKEN TOKEN EMAIL DESTINATION; the second token and the address are
those of a person. Prints one JSON object at the end.
"""

import json
import sys

from helpers import refused
from waldur_api_client import AuthenticatedClient, Client
from waldur_api_client.api.hooks import hooks_count, hooks_list
from waldur_api_client.api.hooks_email import (
    hooks_email_count,
    hooks_email_create,
    hooks_email_destroy,
    hooks_email_list,
    hooks_email_partial_update,
    hooks_email_retrieve,
    hooks_email_update,
)
from waldur_api_client.api.hooks_web import (
    hooks_web_count,
    hooks_web_create,
    hooks_web_destroy,
    hooks_web_list,
    hooks_web_partial_update,
    hooks_web_retrieve,
    hooks_web_update,
)
from waldur_api_client.models import (
    EmailHookRequest,
    EventGroupsEnum,
    EventTypesEnum,
    PatchedEmailHookRequest,
    PatchedWebHookRequest,
    WebHookContentTypeEnum,
    WebHookRequest,
)

base, staff_token, token, email, destination = sys.argv[1:6]
nobody = Client(base_url=base)
staff = AuthenticatedClient(base_url=base, token=staff_token)
person = AuthenticatedClient(base_url=base, token=token)
groups = [EventGroupsEnum.PERMISSIONS, EventGroupsEnum.USERS]
types = [EventTypesEnum.ROLE_GRANTED]
FORM, JSON = WebHookContentTypeEnum.FORM, WebHookContentTypeEnum.JSON

request = WebHookRequest(destination, event_types=types, event_groups=groups, content_type=FORM)
refused(401, hooks_web_create.sync, client=nobody, body=request)
refused(400, hooks_web_create.sync, client=person, body=WebHookRequest(destination))
web = hooks_web_create.sync(client=person, body=request)
assert (web.destination_url, web.content_type, web.is_active) == (destination, FORM, True), web
assert (web.event_types, web.event_groups) == (types, groups), web
assert web.author_email == email, web
mail_request = EmailHookRequest(email, event_groups=[EventGroupsEnum.PROJECTS])
mail = hooks_email_create.sync(client=person, body=mail_request)
assert (mail.email, mail.hook_type, web.hook_type) == (email, "email", "webhook"), mail
refused(
    400,
    hooks_email_create.sync,
    client=person,
    body=EmailHookRequest("other@example.org", event_types=types),
)

assert hooks_web_retrieve.sync(web.uuid, client=person) == web
assert hooks_email_retrieve.sync(mail.uuid, client=staff) == mail
paging = {"page": 1, "page_size": 9}
author = {
    "author_email": web.author_email,
    "author_fullname": web.author_fullname,
    "author_username": web.author_username,
    "author_uuid": web.author_uuid,
    "is_active": True,
    "query": web.author_username,
}
of_web = {**author, "content_type": FORM, "destination_url": destination}
of_mail = {**author, "email": email}
assert hooks_web_list.sync(client=person, **paging, **of_web) == [web]
assert hooks_email_list.sync(client=person, **paging, **of_mail) == [mail]
assert hooks_web_count.sync(client=person, **of_web) == 1
assert hooks_email_count.sync(client=staff, **of_mail) == 1
assert hooks_web_list.sync(client=person, content_type=JSON) == []
assert hooks_web_list.sync(client=person, last_published=web.created) == []
assert hooks_count.sync(client=person, **author) == 2
answer = hooks_list.sync_detailed(client=person, **paging, **author)
assert {one["hook_type"] for one in json.loads(answer.content)} == {"webhook", "email"}

request.event_groups, request.content_type = [], JSON
changed = hooks_web_update.sync(web.uuid, client=person, body=request)
assert (changed.event_groups, changed.content_type) == ([], JSON), changed
assert (changed.created, changed.modified > web.modified) == (web.created, True), changed
patch = PatchedWebHookRequest(is_active=False)
assert hooks_web_partial_update.sync(web.uuid, client=person, body=patch).is_active is False
patch = PatchedEmailHookRequest(event_types=types)
assert hooks_email_partial_update.sync(mail.uuid, client=staff, body=patch).event_types == types
mail_request.event_groups = groups
changed = hooks_email_update.sync(mail.uuid, client=person, body=mail_request)
assert changed.event_groups == groups, changed
hooks_web_destroy.sync_detailed(web.uuid, client=person)
hooks_email_destroy.sync_detailed(mail.uuid, client=person)
refused(404, hooks_web_retrieve.sync, web.uuid, client=person)
assert hooks_count.sync(client=staff) == 0
print(json.dumps({}))
