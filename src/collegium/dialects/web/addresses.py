"""The page that confirms a new address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.actions import addresses
from collegium.dialects.http import hex_uuid
from collegium.dialects.web.page import Page, page
from collegium.rules.refusals import Limited, Refusal
from collegium.rules.tries import CODE_ADDRESS

if TYPE_CHECKING:
    from collegium.dialects.http import Answer, Routes
    from collegium.dialects.web.visit import Visit
    from collegium.store.db import Read


def _ask(visit: Visit, _tx: Read) -> Answer:
    """Show the button. Opening the page changes nothing, and tells nothing of the code."""
    return page(visit, "address", state="ask")


def _confirm(visit: Visit) -> Answer:
    """Confirm the address whose code is in the path; the code is all that is needed."""
    code = hex_uuid(visit.segments["code"])
    if code is None:
        return page(visit, "address", 404, state="gone")
    try:
        with visit.guarded(f"code address {visit.network}", CODE_ADDRESS), visit.write() as tx:
            addresses.confirm(tx, visit.settings, visit.house.vault, code)
    except Limited as refusal:
        answer = page(visit, "address", 429, state="wait")
        answer.headers["Retry-After"] = str(refusal.facts["seconds"])
        return answer
    except Refusal:
        return page(visit, "address", 410, state="gone")
    return page(visit, "address", state="done")


ROUTES: Routes = {
    "/user_email_change/{code}/": {
        "GET": Page(_ask, "Confirm a new address?", open=True),
        "POST": Page(_confirm, "Confirm a new address.", open=True),
    },
}
