"""Where my account is signed in: browsers, programs with tokens of mine, and programs that wait."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from collegium.api.request import hex_uuid, network_of
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.security.rate_limits.rules import CODE_ADDRESS
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens import sessions as session_actions
from collegium.sign_in.tokens.rules import Kind
from collegium.web import confirmation
from collegium.web.forms import Form
from collegium.web.messages import lasting
from collegium.web.page import Page, page

if TYPE_CHECKING:
    from datetime import datetime

    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read, Write
    from collegium.db.statements import Row
    from collegium.web.browser_request import Visit

_HERE: Final = "/account/tokens/"
_NAME_MAX: Final = 150

_USES: Final = {
    Kind.API: "API token: programs that log in with your password",
    Kind.PERSONAL: "made on this page",
    Kind.DEVICE: "a program that you let in from a browser",
    Kind.REFRESH: "a program that logged in with your password, for an hour at a time",
}
_LIFETIMES: Final = tuple(days * 86400 for days in (1, 7, 30, 90, 365))
"""What the page offers for the token of a program, in seconds."""


class Listed(NamedTuple):
    """A token or a session as the page lists it."""

    id: int
    name: str
    use: str
    issued: datetime
    used: datetime
    ends: datetime | None


def _show(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200, token: str = "") -> Answer:
    found = token_queries.valid(tx, visit.actor.id, visit.settings.token_max_age)
    # An access token is part of its pair, and ends with it.
    access = {row.family: row for row, _ in found if row.kind == Kind.ACCESS}
    listed: dict[bool, list[Listed]] = {True: [], False: []}
    for row, ends in found:
        if row.kind == Kind.ACCESS:
            continue
        beside = access.get(row.family) if row.family is not None else None
        used = row.used if beside is None else max(row.used, beside.used)
        use = _USES.get(row.kind, "")
        one = Listed(row.id, row.name, use, row.issued, used, ends)
        listed[row.kind == Kind.SESSION].append(one)
    by_use = sorted(listed[True], key=lambda one: (one.used, one.id), reverse=True)
    return page(
        visit, "tokens", status, sessions=by_use, tokens=listed[False], form=form, token=token
    )


def _make(visit: Visit) -> Answer:
    form = visit.form
    name = form.name("name", _NAME_MAX, required=True)
    token = ""
    if form.ok:
        try:
            with visit.create() as tx:
                token, number = token_actions.issue_personal(
                    tx, visit.house.vault, visit.actor, name, settings=visit.settings
                )
                visit.created(tx, token, number)
        except Conflict as refusal:
            form.refused(refusal)
    with visit.read() as tx:
        if not form.ok:
            return _shown(visit, tx, form, 422)
        # Not sent on to another page: nowhere could the token be kept on the way.
        return _shown(visit, tx, Form(), token=token)


def _shown_again(visit: Visit, token: str, number: int) -> Answer:
    """Show the same token, not a second one: a second press threw away the page with the first."""
    with visit.read() as tx:
        if any(row.id == number for row in token_queries.personal(tx, visit.actor.id)):
            return _shown(visit, tx, Form(), token=token)
    return visit.go(_HERE, "The token that this form made has ended.", kind="not")


def _end(visit: Visit) -> Answer:
    """End one session or token, all the other sessions, or everything but this session."""
    kind = visit.form.choice("kind", "session", "token", "others", "everything")
    if kind == "everything":
        with visit.write() as tx:
            token_actions.revoke_everything_else(tx, visit.actor)
        return visit.go(_HERE, "Everything else is ended: every other browser, and every token.")
    if kind == "others":
        with visit.write() as tx:
            for row in token_queries.sessions(tx, visit.actor.id):
                if row.id != visit.token_id:
                    session_actions.end(tx, visit.actor, row.id)
        return visit.go(_HERE, "Every other browser is signed out.")
    text = visit.form.raw("number")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004 - fits
        raise NotFound("token.none")
    number = int(text)
    with visit.write() as tx:
        if kind == "token":
            token_actions.revoke_own(tx, visit.actor, number)
            said = "The token is dead. A program that still uses it is turned away."
        else:
            session_actions.end(tx, visit.actor, number)
            said = "That browser is signed out."
    return visit.go(_HERE, said)


def _ask_device(visit: Visit, tx: Read) -> Answer:
    """Show what waits under the code in the address, or ask for the code."""
    del tx
    if not visit.asked("session"):
        return page(visit, "authorize", state="ask", form=Form())
    try:
        return _device(visit, visit.asked("session"), Form())
    except NotFound:
        return page(visit, "authorize", 404, state="gone", form=Form())


def _uuid(text: str) -> str:
    uuid = hex_uuid(text)
    if uuid is None:
        raise NotFound("device.unknown")
    return uuid


def _device(visit: Visit, uuid: str, form: Form, status: int = 200) -> Answer:
    """Ask about the program that the address of the page names.

    Refuses: NotFound ``device.unknown``.
    """
    with visit.guarded(f"code address {visit.network}", CODE_ADDRESS), visit.read() as tx:
        found = device_actions.find_by_uuid(tx, _uuid(uuid))
        return _question(visit, tx, found, form, status)


def _offered(visit: Visit, device: Row) -> list[int]:
    """Return the lifetimes in seconds that a person may choose: what was asked for among them."""
    longest = device_actions.longest(visit.settings)
    lives = device_actions.lifetime(device, visit.settings)
    return sorted({lives, *(one for one in _LIFETIMES if one <= longest)})


def _question(visit: Visit, tx: Read, device: Row, form: Form, status: int = 200) -> Answer:
    lives = device_actions.lifetime(device, visit.settings)
    form.values.setdefault("lifetime", [str(lives)])
    return page(
        visit,
        "authorize",
        status,
        state="decide",
        device=device,
        code=device_actions.user_code(visit.house.vault, device),
        is_near=network_of(device.address) == visit.network,
        lives=lasting(lives),
        ends=tx.now + timedelta(seconds=lives),
        lifetimes=[(str(one), lasting(one)) for one in _offered(visit, device)],
        proof=confirmation.proof(visit, tx) if visit.actor.sees_all else "",
        form=form,
    )


def _decide_device(visit: Visit) -> Answer:
    form = visit.form
    deed = form.choice("deed", "find", "approve", "deny")
    try:
        if deed == "find":
            return _find_device(visit)
        if deed == "approve":
            return _approve_device(visit)
        guard = visit.guarded(f"code address {visit.network}", CODE_ADDRESS)
        with guard, visit.create() as tx:
            device_actions.deny(tx, visit.actor, _uuid(form.raw("device")))
            visit.created(tx, deed)
    except NotFound as refusal:
        form.refused(refusal)
        return page(visit, "authorize", 404, state="ask", form=form)
    return page(visit, "authorize", state=deed, form=form)


def _find_device(visit: Visit) -> Answer:
    form = visit.form
    code = form.text("code", 40, required=True)
    if not form.ok:
        return page(visit, "authorize", 422, state="ask", form=form)
    with visit.guarded(f"code address {visit.network}", CODE_ADDRESS), visit.read() as tx:
        found = device_actions.find(tx, visit.house.vault, code)
        return _question(visit, tx, found, form)


def _approve_device(visit: Visit) -> Answer:
    """Let a program in; staff and support show their password or a code of their factor again.

    Refuses: NotFound ``device.unknown``.
    """
    form = visit.form
    uuid = _uuid(form.raw("device"))
    chosen = form.raw("lifetime")
    lifetime = int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 10 else None  # noqa: PLR2004 - fits

    def approve(tx: Write) -> None:
        # Only now: the proof has changed whom the visit speaks for.
        device_actions.approve(tx, visit.actor, uuid, lifetime=lifetime, settings=visit.settings)
        visit.created(tx, "approve")

    guard = visit.guarded(f"code address {visit.network}", CODE_ADDRESS)
    with guard, visit.read() as tx:
        # Before anything is proven or counted on a program that waits no more.
        offered = _offered(visit, device_actions.find_by_uuid(tx, uuid))
    if chosen and lifetime not in offered:
        form.wrong("lifetime", "Please choose one of these.")
    elif visit.actor.sees_all:
        confirmation.confirmed(visit, approve)
    else:
        try:
            with visit.create() as tx:
                approve(tx)
        except (Conflict, Invalid) as refusal:
            form.refused(refusal)
    if form.ok:
        return page(visit, "authorize", state="approve", form=form)
    return _device(visit, uuid, form, 422)


def _decided_again(visit: Visit, deed: str) -> Answer:
    """Say once more what was decided; the program does not wait any more."""
    return page(visit, "authorize", state=deed, form=visit.form)


def _moved(visit: Visit, _tx: Read) -> Answer:
    """Lead whoever follows the advice of a described client to where tokens are made here."""
    return visit.go(_HERE)


ROUTES: Routes = {
    "/private/users/tokens/": {"GET": Page(_moved, "Where tokens are made.", open=True)},
    _HERE: {
        "GET": Page(_show, "My sessions and tokens."),
        "POST": Page(_make, "Make a token.", creates=True, replay=_shown_again),
    },
    "/account/tokens/end/": {"POST": Page(_end, "End a session or a token.")},
    "/account/authorize/": {
        "GET": Page(_ask_device, "Let a program in?"),
        "POST": Page(
            _decide_device, "Let a program in, or not.", creates=True, replay=_decided_again
        ),
    },
}
