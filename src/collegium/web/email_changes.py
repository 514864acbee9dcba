"""The pages that confirm a new address, and that cancel the change of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.accounts.email_changes import actions as email_change_actions
from collegium.api.request import hex_uuid
from collegium.refusals import Limited, Refusal
from collegium.security.rate_limits.rules import CODE_ADDRESS
from collegium.web.page import Page, page

if TYPE_CHECKING:
    from collections.abc import Callable

    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read, Write
    from collegium.web.browser_request import Visit


def _ask(visit: Visit, _tx: Read) -> Answer:
    """Show the button. Opening the page changes nothing, and tells nothing of the code."""
    return page(visit, "address", state="ask")


def _confirm(visit: Visit) -> Answer:
    """Confirm the address whose code is in the path; the code is all that is needed."""
    return _use(
        visit,
        "address",
        lambda tx, code: email_change_actions.confirm(tx, visit.settings, visit.house.vault, code),
    )


def _ask_cancel(visit: Visit, _tx: Read) -> Answer:
    """Show the button. Opening the page changes nothing, and tells nothing of the code."""
    return page(visit, "address_cancel", state="ask")


def _cancel(visit: Visit) -> Answer:
    """Cancel the change whose code is in the path; the code is all that is needed."""
    return _use(
        visit,
        "address_cancel",
        lambda tx, code: email_change_actions.cancel_everything(
            tx, visit.house.vault, code, visit.address
        ),
    )


def _use(visit: Visit, name: str, act: Callable[[Write, str], None]) -> Answer:
    code = hex_uuid(visit.segments["code"])
    if code is None:
        return page(visit, name, 404, state="gone")
    try:
        with visit.guarded(f"code address {visit.network}", CODE_ADDRESS), visit.write() as tx:
            act(tx, code)
    except Limited as refusal:
        answer = page(visit, name, 429, state="wait")
        answer.headers["Retry-After"] = str(refusal.facts["seconds"])
        return answer
    except Refusal:
        return page(visit, name, 410, state="gone")
    return page(visit, name, state="done")


ROUTES: Routes = {
    "/user_email_change/{code}/": {
        "GET": Page(_ask, "Confirm a new address?", open=True),
        "POST": Page(_confirm, "Confirm a new address.", open=True),
    },
    f"/{email_change_actions.CANCEL}/{{code}}/": {
        "GET": Page(_ask_cancel, "Cancel the change of an address?", open=True),
        "POST": Page(
            _cancel, "Cancel the change of an address, and sign out everywhere.", open=True
        ),
    },
}
