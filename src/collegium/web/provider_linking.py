"""Return from an identity provider to a session: link an identity, or confirm to be present."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from collegium.api.request import Response
from collegium.refusals import Conflict, Unauthenticated
from collegium.sign_in.identities import linking, mail_links
from collegium.sign_in.identities.sign_ins import ClaimedSignIn
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.rules import SIGN_IN_SECONDS
from collegium.sign_in.providers.values import Claims
from collegium.text.languages import gettext as _
from collegium.text.names import isolated
from collegium.web.browser_request import BrowserRequest

METHODS: Final = "/account/sign_in_methods/"

_HOME: Final = "/account/"
_ATTEMPTS: Final = 3
_CONCURRENT: Final = "identity.concurrent"

_COOKIE: Final = "linking"
"""Name of the cookie that binds the link in an e-mail to the browser."""

_OFFER: Final = "identity link offer"
_SECRET_LENGTH: Final = 43
_RETURN_MAX: Final = 500
_R = TypeVar("_R")


def repeat_if_concurrent(action: Callable[[], _R]) -> _R:
    """Return what an action returns. Run it again if another transaction was faster.

    Somebody pressed a button twice, or in two tabs: the account or the identity exists by now.
    """
    for _attempt in range(_ATTEMPTS - 1):
        try:
            return action()
        except Conflict as refusal:
            if refusal.code != _CONCURRENT:
                raise
    return action()


def link(
    browser: BrowserRequest, provider: ProviderRow, claimed: ClaimedSignIn, claims: Claims
) -> Response:
    """Link the identity of the person who came back to the account of the session.

    Raises:
        Conflict: ``identity.session``, or as ``linking.link``.
        NotFound: ``provider.unknown``.
    """
    _check_same_session(browser, claimed)

    def add() -> bool:
        with browser.write() as tx:
            return linking.link(tx, browser.actor, provider, claims)

    try:
        is_new = repeat_if_concurrent(add)
    except Unauthenticated:
        raise Conflict("identity.session") from None
    said = _("You can now sign in with {label}.") if is_new else _("{label} was linked already.")
    return browser.redirect(METHODS, said.format(label=isolated(provider.label)))


class Offer(NamedTuple):
    """The offer to link an account by e-mail.

    Args:
        email: the address, as the provider states it.
        value: what the form sends back, signed.
    """

    email: str
    value: str


def offer(
    browser: BrowserRequest, provider: ProviderRow, claims: Claims, return_to: str
) -> Offer | None:
    """Offer a person who was not recognised to link an account by an e-mail to its address."""
    vault = browser.app.vault
    secret = browser.cookie(_COOKIE)
    if len(secret) != _SECRET_LENGTH:
        secret = secrets.token_urlsafe(32)
    code = mail_links.browser_code(vault, secret)
    after = return_to if len(return_to) <= _RETURN_MAX else ""
    candidate = mail_links.candidate(vault, provider, claims, code, after)
    if candidate is None:
        return None
    browser.set_cookie(_COOKIE, secret, int(mail_links.LIFETIME.total_seconds()))
    return Offer(candidate.email, browser.sign_value(_OFFER, *candidate))


def browser_code(browser: BrowserRequest) -> str:
    """Return the digest of the cookie that binds an offer and its link to this browser."""
    return mail_links.browser_code(browser.app.vault, browser.cookie(_COOKIE))


def read_offer(browser: BrowserRequest) -> mail_links.Candidate | None:
    """Return what the form of an offer to this browser names; None if it is over or of another."""
    value = browser.form.raw("offer")
    match browser.read_signed_value(_OFFER, value, SIGN_IN_SECONDS):
        case [int(), str(), str(), str(), str(), str()] as facts:
            candidate = mail_links.Candidate(*facts)
            return candidate if candidate.browser == browser_code(browser) else None
    return None


def _check_same_session(browser: BrowserRequest, claimed: ClaimedSignIn) -> None:
    """Check that the browser is in the session in which this began.

    Raises:
        Conflict: ``identity.session``.
    """
    is_same = (browser.actor.id, browser.token_id) == (claimed.row.account_id, claimed.row.token_id)
    if not browser.is_signed_in or not is_same:
        raise Conflict("identity.session")


def confirm(
    browser: BrowserRequest, provider: ProviderRow, claimed: ClaimedSignIn, claims: Claims
) -> Response:
    """Record that the person of the session has proved at a provider to be present.

    Raises:
        Conflict: ``identity.session``, or as ``linking.confirm``.
        NotFound: ``provider.unknown``.
    """
    _check_same_session(browser, claimed)
    try:
        with browser.write() as tx:
            linking.confirm(tx, browser.actor, provider, claims)
    except Unauthenticated:
        raise Conflict("identity.session") from None
    return browser.redirect(
        claimed.row.return_to or _HOME, _("You have confirmed that it is you. Please go on.")
    )
