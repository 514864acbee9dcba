"""``/api/remote-eduteams/`` and ``pull_remote_user``: accounts from a remote directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from collegium.accounts import queries as account_queries
from collegium.api.request import Answer, Operation, Routes
from collegium.api.waldur import schemas
from collegium.api.waldur.fields import Text, read
from collegium.integrations.eduteams import actions as eduteams_actions
from collegium.integrations.eduteams.rules import NAME
from collegium.refusals import NotFound

if TYPE_CHECKING:
    from collegium.api.request import Call

_NEW: Final = {
    "cuid": Text(
        required=True, blank=False, max=128, pattern=NAME, message="Enter a valid username."
    ),
}


class RemoteAccount(Struct, frozen=True):
    """The account that was brought in."""

    uuid: str


def _add(call: Call) -> Answer:
    eduteams_actions.check_may_add(call.actor)
    form = read(call, _NEW)
    form.check()
    cuid = form.values["cuid"]
    person = eduteams_actions.fetch(call.settings, cuid)
    with call.write() as tx:
        uuid = eduteams_actions.apply(
            tx, call.actor, call.settings, call.house.vault, cuid, person, adds=True
        )
    if uuid is None:
        raise NotFound("account.unknown")
    return Answer(200, schemas.encode(RemoteAccount(uuid)))


def _pull(call: Call) -> Answer:
    with call.read() as tx:
        account = account_queries.reach(tx, call.actor, call.uuid("account"))
    eduteams_actions.check_may_pull(call.actor, account)
    person = eduteams_actions.fetch(call.settings, account.username)
    with call.write() as tx:
        eduteams_actions.apply(
            tx, call.actor, call.settings, call.house.vault, account.username, person
        )
    return Answer(200)


ROUTES: Routes = {
    "/api/remote-eduteams/": {
        "POST": Operation(
            _add, "Bring somebody in from eduTEAMS.", form=_NEW, answers=RemoteAccount
        ),
    },
    "/api/users/{uuid}/pull_remote_user/": {
        "POST": Operation(_pull, "Bring an account up to date with eduTEAMS."),
    },
}
