"""The pages of one's own sessions and tokens, and of programs that wait for device sign-in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from collegium.api.request import Answer, Routes, hex_uuid, network_of
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Row
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.security.rate_limits.rules import CODE_ADDRESS
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens import sessions as session_actions
from collegium.sign_in.tokens.rules import TokenKind
from collegium.web import confirmation
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import lasting
from collegium.web.page import Page, page

_HERE: Final = "/account/tokens/"
_NAME_MAX: Final = 150

_USES: Final = {
    TokenKind.API: "API token, for programs that sign in with your password",
    TokenKind.PERSONAL: "created on this page",
    TokenKind.DEVICE: "program that you approved in a browser",
    TokenKind.REFRESH: "program that signed in with your password",
}
_LIFETIMES: Final = tuple(days * 86400 for days in (1, 7, 30, 90, 365))
"""Lifetimes that the page offers for a device token, in seconds."""


class Listed(NamedTuple):
    """A token or a session as the page lists it."""

    id: int
    name: str
    use: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime | None


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Answer:
    return _shown(browser, tx, Form())


def _shown(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200, token: str = ""
) -> Answer:
    found = token_queries.list_valid(tx, browser.actor.id, browser.settings.token_max_age)
    # An access token belongs to its refresh token and ends with it.
    access = {row.family: row for row, _ in found if row.kind == TokenKind.ACCESS}
    listed: dict[bool, list[Listed]] = {True: [], False: []}
    for row, ends in found:
        if row.kind == TokenKind.ACCESS:
            continue
        beside = access.get(row.family) if row.family is not None else None
        used = row.last_used_at if beside is None else max(row.last_used_at, beside.last_used_at)
        use = _USES.get(row.kind, "")
        one = Listed(row.id, row.name, use, row.created_at, used, ends)
        listed[row.kind == TokenKind.SESSION].append(one)
    by_use = sorted(listed[True], key=lambda one: (one.last_used_at, one.id), reverse=True)
    return page(
        browser, "tokens", status, sessions=by_use, tokens=listed[False], form=form, token=token
    )


def _make(browser: BrowserRequest) -> Answer:
    form = browser.form
    name = form.name("name", _NAME_MAX, required=True)
    token = ""
    if form.is_valid:
        try:
            with browser.create() as tx:
                token, number = token_actions.issue_personal(
                    tx, browser.app.vault, browser.actor, name, settings=browser.settings
                )
                browser.created(tx, token, number)
        except Conflict as refusal:
            form.add_refusal(refusal)
    with browser.read() as tx:
        if not form.is_valid:
            return _shown(browser, tx, form, 422)
        # No redirect: the token is shown once and must not be stored on the way.
        return _shown(browser, tx, Form(), token=token)


def _shown_again(browser: BrowserRequest, token: str, number: int) -> Answer:
    """Show the same token, not a second one: the browser dropped the first response with it."""
    with browser.read() as tx:
        if any(row.id == number for row in token_queries.personal(tx, browser.actor.id)):
            return _shown(browser, tx, Form(), token=token)
    return browser.redirect(
        _HERE, "The access token that you created has already ended.", kind="not"
    )


def _end(browser: BrowserRequest) -> Answer:
    """End one session or token, all other sessions, or everything but this session.

    Raises:
        NotFound: ``token.none``: the number is not valid or not the account's own.
    """
    kind = browser.form.choice("kind", "session", "token", "others", "everything")
    if kind == "everything":
        with browser.write() as tx:
            token_actions.revoke_all_but_session(tx, browser.actor)
        return browser.redirect(
            _HERE, "All other browsers are signed out, and all access tokens are revoked."
        )
    if kind == "others":
        with browser.write() as tx:
            for row in token_queries.sessions(tx, browser.actor.id):
                if row.id != browser.token_id:
                    session_actions.end(tx, browser.actor, row.id)
        return browser.redirect(_HERE, "All other browsers are signed out.")
    text = browser.form.raw("number")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004 - fits
        raise NotFound("token.none")
    number = int(text)
    with browser.write() as tx:
        if kind == "token":
            token_actions.revoke_own(tx, browser.actor, number)
            said = "The access token is revoked. Programs can no longer use it."
        else:
            session_actions.end(tx, browser.actor, number)
            said = "The browser is signed out."
    return browser.redirect(_HERE, said)


def _ask_device(browser: BrowserRequest, tx: ReadTransaction) -> Answer:
    """Show the program whose request the URL names, or ask for its code."""
    del tx
    if not browser.query_value("session"):
        return page(browser, "authorize", state="ask", form=Form())
    try:
        return _device(browser, browser.query_value("session"), Form())
    except NotFound:
        return page(browser, "authorize", 404, state="gone", form=Form())


def _uuid(text: str) -> str:
    uuid = hex_uuid(text)
    if uuid is None:
        raise NotFound("device.unknown")
    return uuid


def _device(browser: BrowserRequest, uuid: str, form: Form, status: int = 200) -> Answer:
    """Show the program that the URL names, to be approved or denied.

    Raises:
        NotFound: ``device.unknown``: there is no pending request with this UUID.
        Limited: ``tries.wait`` after too many wrong UUIDs or codes from one network.
    """
    with (
        browser.rate_limited(f"code address {browser.network}", CODE_ADDRESS),
        browser.read() as tx,
    ):
        found = device_actions.get_pending_by_uuid(tx, _uuid(uuid))
        return _question(browser, tx, found, form, status)


def _offered(browser: BrowserRequest, device: Row) -> list[int]:
    """Return the lifetimes to choose from in seconds, with the one that the program asked for."""
    longest = device_actions.longest_lifetime(browser.settings)
    lives = device_actions.lifetime(device, browser.settings)
    return sorted({lives, *(one for one in _LIFETIMES if one <= longest)})


def _question(
    browser: BrowserRequest, tx: ReadTransaction, device: Row, form: Form, status: int = 200
) -> Answer:
    lives = device_actions.lifetime(device, browser.settings)
    form.values.setdefault("lifetime", [str(lives)])
    return page(
        browser,
        "authorize",
        status,
        state="decide",
        device=device,
        code=device_actions.user_code(browser.app.vault, device),
        is_near=network_of(device.ip_address) == browser.network,
        lives=lasting(lives),
        ends=tx.now + timedelta(seconds=lives),
        lifetimes=[(str(one), lasting(one)) for one in _offered(browser, device)],
        proof=confirmation.credentials_from(browser, tx) if browser.actor.sees_all else "",
        form=form,
    )


def _decide_device(browser: BrowserRequest) -> Answer:
    form = browser.form
    action = form.choice("action", "find", "approve", "deny")
    try:
        if action == "find":
            return _find_device(browser)
        if action == "approve":
            return _approve_device(browser)
        guard = browser.rate_limited(f"code address {browser.network}", CODE_ADDRESS)
        with guard, browser.create() as tx:
            device_actions.deny(tx, browser.actor, _uuid(form.raw("device")))
            browser.created(tx, action)
    except NotFound as refusal:
        form.add_refusal(refusal)
        return page(browser, "authorize", 404, state="ask", form=form)
    return page(browser, "authorize", state=action, form=form)


def _find_device(browser: BrowserRequest) -> Answer:
    form = browser.form
    code = form.text("code", 40, required=True)
    if not form.is_valid:
        return page(browser, "authorize", 422, state="ask", form=form)
    with (
        browser.rate_limited(f"code address {browser.network}", CODE_ADDRESS),
        browser.read() as tx,
    ):
        found = device_actions.get_pending_by_code(tx, browser.app.vault, code)
        return _question(browser, tx, found, form)


def _approve_device(browser: BrowserRequest) -> Answer:
    """Approve a program. Staff and support must enter their password or a two-factor code again.

    Raises:
        NotFound: ``device.unknown``: there is no pending request with this UUID.
        Limited: ``tries.wait`` after too many wrong UUIDs, passwords or codes.
    """
    form = browser.form
    uuid = _uuid(form.raw("device"))
    chosen = form.raw("lifetime")
    lifetime = int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 10 else None  # noqa: PLR2004 - fits

    def approve(tx: WriteTransaction) -> None:
        # Read ``browser.actor`` only here: ``confirmed`` has replaced it.
        device_actions.approve(
            tx, browser.actor, uuid, lifetime=lifetime, settings=browser.settings
        )
        browser.created(tx, "approve")

    guard = browser.rate_limited(f"code address {browser.network}", CODE_ADDRESS)
    with guard, browser.read() as tx:
        # Look the request up before a password or code is checked or counted, in case it has ended.
        offered = _offered(browser, device_actions.get_pending_by_uuid(tx, uuid))
    if chosen and lifetime not in offered:
        form.add_error("lifetime", "Please choose an option.")
    elif browser.actor.sees_all:
        confirmation.confirmed(browser, approve)
    else:
        try:
            with browser.create() as tx:
                approve(tx)
        except (Conflict, Invalid) as refusal:
            form.add_refusal(refusal)
    if form.is_valid:
        return page(browser, "authorize", state="approve", form=form)
    return _device(browser, uuid, form, 422)


def _decided_again(browser: BrowserRequest, action: str) -> Answer:
    """Show the decision again. The program no longer waits."""
    return page(browser, "authorize", state=action, form=browser.form)


def _moved(browser: BrowserRequest, _tx: ReadTransaction) -> Answer:
    """Redirect people who follow the instructions of a BrainSTEM client to our page for tokens."""
    return browser.redirect(_HERE)


ROUTES: Routes = {
    "/private/users/tokens/": {
        "GET": Page(_moved, "Redirect to the page for access tokens.", public=True)
    },
    _HERE: {
        "GET": Page(_show, "List my sessions and access tokens."),
        "POST": Page(_make, "Create an access token.", creates=True, replay=_shown_again),
    },
    "/account/tokens/end/": {"POST": Page(_end, "Sign out a session, or revoke an access token.")},
    "/account/authorize/": {
        "GET": Page(_ask_device, "Show a program that asks for access."),
        "POST": Page(
            _decide_device, "Approve or deny a program.", creates=True, replay=_decided_again
        ),
    },
}
