"""The pages of one's own sessions and tokens, and of programs that wait for device sign-in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from collegium.api.request import Response, Routes, network_of
from collegium.db.database import ReadTransaction
from collegium.refusals import NotFound, or_not_found
from collegium.security.rate_limits.rules import CODE
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.devices.queries import DeviceRow
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens import sessions as session_actions
from collegium.sign_in.tokens.rules import TokenKind
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, translated
from collegium.values import hex_uuid, whole_number
from collegium.web import browser_names, confirmation
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import duration
from collegium.web.page import Page, page

_HERE: Final = "/account/tokens/"
_NAME_MAX: Final = 150

_USES: Final[dict[str, str]] = {
    TokenKind.API: mark("API token, for programs that sign in with your password"),
    TokenKind.PERSONAL: mark("created on this page"),
    TokenKind.DEVICE: mark("program that you approved in a browser"),
    TokenKind.REFRESH: mark("program that signed in with your password"),
}
_LIFETIMES: Final = tuple(days * 86400 for days in (1, 7, 30, 90, 365))
"""Lifetimes that the page offers for a device token, in seconds."""


class TokenItem(NamedTuple):
    """A token or a session as the page lists it."""

    id: int
    name: str
    use: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime | None


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_tokens(browser, tx, Form())


def _render_tokens(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200, token: str = ""
) -> Response:
    valid_tokens = token_queries.list_valid(tx, browser.actor.id, browser.settings.token_max_age)
    # An access token belongs to its refresh token and ends with it.
    access_tokens = {row.family: row for row, _ in valid_tokens if row.kind == TokenKind.ACCESS}
    items: dict[bool, list[TokenItem]] = {True: [], False: []}
    for row, expires_at in valid_tokens:
        if row.kind == TokenKind.ACCESS:
            continue
        access_token = access_tokens.get(row.family) if row.family is not None else None
        last_used_at = (
            row.last_used_at
            if access_token is None
            else max(row.last_used_at, access_token.last_used_at)
        )
        use = translated(_USES).get(row.kind, "")
        is_session = row.kind == TokenKind.SESSION
        name = browser_names.in_current_language(row.name) if is_session else row.name
        item = TokenItem(row.id, name, use, row.created_at, last_used_at, expires_at)
        items[is_session].append(item)
    sessions = sorted(items[True], key=lambda item: (item.last_used_at, item.id), reverse=True)
    return page(
        browser, "tokens", status, sessions=sessions, tokens=items[False], form=form, token=token
    )


def _create(browser: BrowserRequest) -> Response:
    confirmation.require(browser)
    form = browser.form
    name = form.name("name", _NAME_MAX, required=True)
    token = ""
    if form.is_valid:
        with form.showing_refusals(), browser.create() as tx:
            token, token_id = token_actions.issue_personal(
                tx, browser.app.vault, browser.actor, name, settings=browser.settings
            )
            browser.created(tx, token, token_id)
    with browser.read() as tx:
        if not form.is_valid:
            return _render_tokens(browser, tx, form, 422)
        # No redirect: the token is shown once and must not be stored on the way.
        return _render_tokens(browser, tx, Form(), token=token)


def _replay_token(browser: BrowserRequest, token: str, token_id: int) -> Response:
    """Show the same token, not a second one: the browser dropped the first response with it."""
    with browser.read() as tx:
        if any(row.id == token_id for row in token_queries.personal(tx, browser.actor.id)):
            return _render_tokens(browser, tx, Form(), token=token)
    return browser.redirect(
        _HERE, _("The access token that you created has already ended."), kind="not"
    )


def _revoke(browser: BrowserRequest) -> Response:
    """End one session or token, all other sessions, or everything but this session.

    Raises:
        NotFound: ``token.none``: the number is not valid or not the account's own.
    """
    kind = browser.form.choice("kind", "session", "token", "others", "everything")
    if kind == "everything":
        with browser.write() as tx:
            token_actions.revoke_all_but_session(tx, browser.actor)
        return browser.redirect(
            _HERE, _("All other browsers are signed out, and all access tokens are revoked.")
        )
    if kind == "others":
        with browser.write() as tx:
            for row in token_queries.sessions(tx, browser.actor.id):
                if row.id != browser.token_id:
                    session_actions.end(tx, browser.actor, row.id)
        return browser.redirect(_HERE, _("All other browsers are signed out."))
    token_id = or_not_found(whole_number(browser.form.raw("number")), "token.none")
    with browser.write() as tx:
        if kind == "token":
            token_actions.revoke_own(tx, browser.actor, token_id)
            message = _("The access token is revoked. Programs can no longer use it.")
        else:
            session_actions.end(tx, browser.actor, token_id)
            message = _("The browser is signed out.")
        return browser.answer(tx, _HERE, message)


def _ask_device(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    """Show the program whose request the URL names, or ask for its code."""
    del tx
    if not browser.query_value("session"):
        return page(browser, "authorize", state="ask", form=Form())
    try:
        return _render_device(browser, browser.query_value("session"), Form())
    except NotFound:
        return page(browser, "authorize", 404, state="gone", form=Form())


def _parse_uuid(text: str) -> str:
    return or_not_found(hex_uuid(text), "device.unknown")


def _render_device(browser: BrowserRequest, uuid: str, form: Form, status: int = 200) -> Response:
    """Show the program that the URL names, to be approved or denied.

    Raises:
        NotFound: ``device.unknown``: there is no pending request with this UUID.
        Limited: ``tries.wait`` after too many wrong UUIDs or codes from one network.
    """
    with (
        browser.rate_limited(CODE),
        browser.read() as tx,
    ):
        device = device_actions.get_pending_by_uuid(tx, _parse_uuid(uuid))
        return _render_decision(browser, tx, device, form, status)


def _lifetime_options(browser: BrowserRequest, device: DeviceRow) -> list[int]:
    """Return the lifetimes to choose from in seconds, with the one that the program asked for."""
    longest = device_actions.longest_lifetime(browser.settings)
    lifetime = device_actions.lifetime(device, browser.settings)
    return sorted({lifetime, *(seconds for seconds in _LIFETIMES if seconds <= longest)})


def _render_decision(
    browser: BrowserRequest, tx: ReadTransaction, device: DeviceRow, form: Form, status: int = 200
) -> Response:
    lifetime = device_actions.lifetime(device, browser.settings)
    form.values.setdefault("lifetime", [str(lifetime)])
    return page(
        browser,
        "authorize",
        status,
        state="decide",
        device=device,
        code=device_actions.user_code(browser.app.vault, device),
        is_near=network_of(device.ip_address) == browser.network,
        lives=duration(lifetime),
        ends=tx.now + timedelta(seconds=lifetime),
        lifetimes=[
            (str(seconds), duration(seconds)) for seconds in _lifetime_options(browser, device)
        ],
        form=form,
    )


def _decide_device(browser: BrowserRequest) -> Response:
    form = browser.form
    action = form.choice("action", "find", "approve", "deny")
    try:
        if action == "find":
            return _find_device(browser)
        if action == "approve":
            return _approve_device(browser)
        limiter = browser.rate_limited(CODE)
        with limiter, browser.create() as tx:
            device_actions.deny(tx, browser.actor, _parse_uuid(form.raw("device")))
            browser.created(tx, action)
    except NotFound as refusal:
        form.add_refusal(refusal)
        return page(browser, "authorize", 404, state="ask", form=form)
    return page(browser, "authorize", state=action, form=form)


def _find_device(browser: BrowserRequest) -> Response:
    form = browser.form
    code = form.text("code", 40, required=True)
    if not form.is_valid:
        return page(browser, "authorize", 422, state="ask", form=form)
    with (
        browser.rate_limited(CODE),
        browser.read() as tx,
    ):
        device = device_actions.get_pending_by_code(tx, browser.app.vault, code)
        return _render_decision(browser, tx, device, form)


def _approve_device(browser: BrowserRequest) -> Response:
    """Approve a program.

    Raises:
        NotFound: ``device.unknown``: there is no pending request with this UUID.
        Limited: ``tries.wait`` after too many wrong UUIDs, passwords or codes.
    """
    form = browser.form
    uuid = _parse_uuid(form.raw("device"))
    chosen = form.raw("lifetime")
    lifetime = whole_number(chosen, 9)

    limiter = browser.rate_limited(CODE)
    with limiter, browser.read() as tx:
        # Look the request up before a password or code is checked or counted, in case it has ended.
        options = _lifetime_options(browser, device_actions.get_pending_by_uuid(tx, uuid))
    confirmation.require(browser)
    if chosen and lifetime not in options:
        form.add_error("lifetime", _("Please choose an option."))
    else:
        with form.showing_refusals(), browser.create() as tx:
            device_actions.approve(
                tx, browser.actor, uuid, lifetime=lifetime, settings=browser.settings
            )
            browser.created(tx, "approve")
    if form.is_valid:
        return page(browser, "authorize", state="approve", form=form)
    return _render_device(browser, uuid, form, 422)


def _replay_decision(browser: BrowserRequest, action: str) -> Response:
    """Show the decision again. The program no longer waits."""
    return page(browser, "authorize", state=action, form=browser.form)


def _redirect_moved(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
    """Redirect people who follow the instructions of a BrainSTEM client to our page for tokens."""
    return browser.redirect(_HERE)


ROUTES: Routes = {
    "/private/users/tokens/": {
        "GET": Page(_redirect_moved, "Redirect to the page for access tokens.", public=True)
    },
    _HERE: {
        "GET": Page(_show, "List my sessions and access tokens."),
        "POST": Page(_create, "Create an access token.", creates=True, replay=_replay_token),
    },
    "/account/tokens/end/": {
        "POST": Page(_revoke, "Sign out a session, or revoke an access token.", once=True)
    },
    "/account/authorize/": {
        "GET": Page(_ask_device, "Show a program that asks for access."),
        "POST": Page(
            _decide_device, "Approve or deny a program.", creates=True, replay=_replay_decision
        ),
    },
}
