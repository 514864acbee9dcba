"""Endpoints for accounts from a remote directory, eduTEAMS.

They are ``/api/remote-eduteams/`` and ``/api/users/{uuid}/pull_remote_user/``.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from collegium.accounts import queries as account_queries
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import schemas
from collegium.api.waldur.fields import read
from collegium.integrations.eduteams import actions as eduteams_actions
from collegium.integrations.eduteams import client
from collegium.integrations.eduteams.rules import NAME, Person
from collegium.integrations.waiting import waiting
from collegium.refusals import NotFound
from collegium.values import Text

_NEW: Final = {
    "cuid": Text(
        required=True, blank=False, max=128, pattern=NAME, message="Enter a valid username."
    ),
}


class RemoteAccount(Struct, frozen=True):
    """The account that was created or updated."""

    uuid: str


def _fetch(context: RequestContext, username: str) -> Person | None:
    """Return a person from the directory.

    Raises:
        BusyError: too many requests wait for it.
    """
    with waiting.at("eduteams"):
        return client.fetch(context.settings, username)


def _add(context: RequestContext) -> Response:
    eduteams_actions.check_may_add(context.actor)
    form = read(context, _NEW)
    form.check()
    cuid = form.values["cuid"]
    person = _fetch(context, cuid)
    with context.write() as tx:
        uuid = eduteams_actions.apply(
            tx, context.actor, context.settings, context.app.vault, cuid, person, creates=True
        )
    if uuid is None:
        raise NotFound("account.unknown")
    return Response(200, schemas.encode(RemoteAccount(uuid)))


def _pull(context: RequestContext) -> Response:
    with context.read() as tx:
        account = account_queries.get_visible(tx, context.actor, context.uuid("account"))
    eduteams_actions.check_may_pull(context.actor, account)
    person = _fetch(context, account.username)
    with context.write() as tx:
        eduteams_actions.apply(
            tx, context.actor, context.settings, context.app.vault, account.username, person
        )
    return Response(200)


ROUTES: Routes = {
    "/api/remote-eduteams/": {
        "POST": Endpoint(
            _add,
            "Create or update an account from eduTEAMS.",
            body=_NEW,
            response_type=RemoteAccount,
        ),
    },
    "/api/users/{uuid}/pull_remote_user/": {
        "POST": Endpoint(_pull, "Update an account from eduTEAMS."),
    },
}
