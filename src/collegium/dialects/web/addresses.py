"""The page that confirms a new address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.actions import addresses
from collegium.dialects.http import Answer, hex_uuid
from collegium.dialects.web.page import page
from collegium.rules.refusals import Limited, Refusal
from collegium.rules.tries import CODE_ADDRESS

if TYPE_CHECKING:
    from collegium.dialects.http import Call


def ask(call: Call) -> Answer:
    """Show the button. Opening the page changes nothing, and tells nothing of the code."""
    return page(call.settings, "address", state="ask")


def confirm(call: Call) -> Answer:
    """Confirm the address whose code is in the path; the code is all that is needed."""
    code = hex_uuid(call.segments["code"])
    if code is None:
        return page(call.settings, "address", 404, state="gone")
    try:
        with call.guarded(f"code address {call.address}", CODE_ADDRESS), call.write() as tx:
            addresses.confirm(tx, call.settings, call.house.vault, code)
    except Limited as refusal:
        answer = page(call.settings, "address", 429, state="wait")
        answer.headers["Retry-After"] = str(refusal.facts["seconds"])
        return answer
    except Refusal:
        return page(call.settings, "address", 410, state="gone")
    return page(call.settings, "address", state="done")
