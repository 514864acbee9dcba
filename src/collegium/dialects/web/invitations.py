"""The page that the link in a mail leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.dialects.web.page import page
from collegium.rules.invitations import State, seen
from collegium.store import invitations

if TYPE_CHECKING:
    from collegium.dialects.http import Answer, Call
    from collegium.store.db import Read


def show(call: Call, tx: Read) -> Answer:
    """Show what somebody is invited to. Opening the page changes nothing.

    A link that is not ours, or whose invitation was revived since, says no more than that.
    """
    facts = call.house.vault.follow("invitation", call.segments["token"])
    row = None
    if facts is not None and len(facts) == 2 and isinstance(facts[0], str):  # noqa: PLR2004 - uuid, generation
        row = invitations.by_uuid(tx, facts[0])
    if row is None or facts is None or row.generation != facts[1]:
        return page(call.settings, "invitation_gone", 404)
    state = seen(row.state, row.expires, tx.now)
    if row.scope_removed is not None and state is State.PENDING:
        state = State.CANCELED
    inviter = f"{row.creator_first_name or ''} {row.creator_last_name or ''}".strip()
    return page(
        call.settings,
        "invitation",
        200 if state is State.PENDING else 410,
        invitation=row,
        inviter=inviter or row.creator_username or "",
        state=state.value,
        base=call.base,
    )
