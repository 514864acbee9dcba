"""Where my account is signed in: browsers, programs with tokens of mine, and programs that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.actions import devices, sessions
from collegium.actions import tokens as actions
from collegium.dialects.http import hex_uuid
from collegium.dialects.web.forms import Form
from collegium.dialects.web.page import Page, page
from collegium.rules.refusals import NotFound
from collegium.rules.tokens import end
from collegium.rules.tries import CODE_ADDRESS
from collegium.store import tokens

if TYPE_CHECKING:
    from collegium.dialects.http import Answer, Routes
    from collegium.dialects.web.visit import Visit
    from collegium.store.db import Read
    from collegium.store.statements import Row

_HERE: Final = "/account/tokens/"
_NAME_MAX: Final = 150


def _show(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200, token: str = "") -> Answer:
    def alive(row: Row) -> bool:
        ends = end(row.issued, row.used, row.lifetime, visit.settings.token_max_age, row.ends)
        return ends is None or ends >= tx.now

    return page(
        visit,
        "tokens",
        status,
        sessions=list(filter(alive, tokens.sessions(tx, visit.actor.id))),
        tokens=list(filter(alive, tokens.personal(tx, visit.actor.id))),
        form=form,
        token=token,
    )


def _make(visit: Visit) -> Answer:
    form = visit.form
    name = form.text("name", _NAME_MAX, required=True)
    if not form.ok:
        with visit.read() as tx:
            return _shown(visit, tx, form, 422)
    with visit.write() as tx:
        token, _number = actions.issue_personal(tx, visit.house.vault, visit.actor, name)
    with visit.read() as tx:
        # Not sent on to another page: nowhere could the token be kept on the way.
        return _shown(visit, tx, Form(), token=token)


def _end(visit: Visit) -> Answer:
    """End one session or token, or all the other sessions."""
    kind = visit.form.choice("kind", "session", "token", "others")
    if kind == "others":
        with visit.write() as tx:
            for row in tokens.sessions(tx, visit.actor.id):
                if row.id != visit.token_id:
                    sessions.end(tx, visit.actor, row.id)
        return visit.go(_HERE, "Every other browser is signed out.")
    text = visit.form.raw("number")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004 - fits
        raise NotFound("token.none")
    number = int(text)
    with visit.write() as tx:
        if kind == "token":
            actions.revoke_personal(tx, visit.actor, number)
            said = "The token is dead. A program that still uses it is turned away."
        else:
            sessions.end(tx, visit.actor, number)
            said = "That browser is signed out."
    return visit.go(_HERE, said)


def _ask_device(visit: Visit, tx: Read) -> Answer:
    """Show what waits under the code in the address, or ask for the code."""
    del tx
    if not visit.asked("session"):
        return page(visit, "authorize", state="ask", form=Form())
    return _device(visit, visit.asked("session"))


def _uuid(text: str) -> str:
    uuid = hex_uuid(text)
    if uuid is None:
        raise NotFound("device.unknown")
    return uuid


def _device(visit: Visit, uuid: str) -> Answer:
    try:
        with visit.guarded(f"code address {visit.network}", CODE_ADDRESS), visit.read() as tx:
            found = devices.find_by_uuid(tx, _uuid(uuid))
    except NotFound:
        return page(visit, "authorize", 404, state="gone", form=Form())
    return page(visit, "authorize", state="decide", device=found, form=Form())


def _decide_device(visit: Visit) -> Answer:
    form = visit.form
    deed = form.choice("deed", "find", "approve", "deny")
    guard = visit.guarded(f"code address {visit.network}", CODE_ADDRESS)
    try:
        if deed == "find":
            code = form.text("code", 40, required=True)
            if not form.ok:
                return page(visit, "authorize", 422, state="ask", form=form)
            with guard, visit.read() as tx:
                found = devices.find(tx, visit.house.vault, code)
            return page(visit, "authorize", state="decide", device=found, form=form)
        with guard, visit.write() as tx:
            decide = devices.approve if deed == "approve" else devices.deny
            decide(tx, visit.actor, _uuid(form.raw("device")))
    except NotFound as refusal:
        form.refused(refusal)
        return page(visit, "authorize", 404, state="ask", form=form)
    return page(visit, "authorize", state=deed, form=form)


def _moved(visit: Visit, _tx: Read) -> Answer:
    """Lead whoever follows the advice of a described client to where tokens are made here."""
    return visit.go(_HERE)


ROUTES: Routes = {
    "/private/users/tokens/": {"GET": Page(_moved, "Where tokens are made.", open=True)},
    _HERE: {"GET": Page(_show, "My sessions and tokens."), "POST": Page(_make, "Make a token.")},
    "/account/tokens/end/": {"POST": Page(_end, "End a session or a token.")},
    "/account/authorize/": {
        "GET": Page(_ask_device, "Let a program in?"),
        "POST": Page(_decide_device, "Let a program in, or not."),
    },
}
