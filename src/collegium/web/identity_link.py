"""The pages that link an identity to an account by an e-mail to the address of the account."""

from __future__ import annotations

from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.refusals import Conflict, Limited, NotFound
from collegium.security.rate_limits.rules import CODE, PASSWORD_MAIL
from collegium.sign_in.identities import mail_links
from collegium.sign_in.providers.rules import Purpose
from collegium.text.email_addresses import comparable_address
from collegium.text.names import isolated
from collegium.web import provider_linking, provider_sign_in
from collegium.web.browser_request import BrowserRequest
from collegium.web.page import Page, page
from collegium.web.provider_failures import refuse


def _render(browser: BrowserRequest, state: str, status: int = 200, **values: str) -> Response:
    return page(browser, "identity_link", status, state=state, **values)


def _reload(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
    """Redirect a browser that reloads the page."""
    return browser.redirect("/sign_in/")


def _request(browser: BrowserRequest) -> Response:
    """Queue the e-mail, if an account has the address.

    The response is the same for every address, so that nobody learns which ones have accounts.

    Raises:
        Limited: ``tries.wait`` after too many e-mails to this address or from this network.
    """
    candidate = provider_linking.read_offer(browser)
    if candidate is None:
        return _render(browser, "gone", 410)
    target = browser.app.vault.keyed_hash(comparable_address(candidate.email)).hex()[:32]
    browser.check_limits(PASSWORD_MAIL, target=target)
    try:
        with browser.write() as tx:
            browser.count_attempts(tx, PASSWORD_MAIL, target=target)
            mail_links.request(tx, browser.app.vault, candidate, browser.ip_address)
    except NotFound:
        return _render(browser, "gone", 410)
    return _render(browser, "sent", email=candidate.email)


def _ask(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    """Show the button. Opening the page changes nothing."""
    try:
        link, account, provider = mail_links.read_link(
            tx, browser.app.vault, browser.segments["token"]
        )
    except NotFound:
        return _render(browser, "gone", 410)
    label = isolated(provider.label)
    try:
        mail_links.check_browser(link, provider_linking.browser_code(browser))
    except Conflict:
        return _render(browser, "other", 409, label=label)
    return _render(browser, "ask", username=account.username, label=label)


def _use(browser: BrowserRequest) -> Response:
    """Link the identity, and go on to the provider, which signs the person in."""
    code = provider_linking.browser_code(browser)

    def use() -> mail_links.Linked:
        with browser.write() as tx:
            linked = mail_links.use(
                tx,
                browser.app.vault,
                browser.segments["token"],
                code,
                browser.ip_address,
                browser.request_id,
            )
            browser.keep_answer(tx, linked.provider.name, linked.return_to)
            return linked

    try:
        with browser.rate_limited(CODE):
            linked = provider_linking.repeat_if_concurrent(use)
    except Limited as refusal:
        response = _render(browser, "wait", 429)
        response.headers["Retry-After"] = str(refusal.facts["seconds"])
        return response
    except NotFound:
        return _render(browser, "gone", 410)
    except Conflict as refusal:
        with browser.read() as tx:
            if refusal.code == "identity.other_browser":
                return _ask(browser, tx)
            _, _, provider = mail_links.read_link(tx, browser.app.vault, browser.segments["token"])
        return refuse(browser, refusal, provider.name, provider)
    return _enter(browser, linked.provider.name, linked.return_to)


def _enter(browser: BrowserRequest, provider: str, return_to: str) -> Response:
    return provider_sign_in.enter_from_page(browser, provider, Purpose.SIGN_IN, return_to)


ROUTES: Routes = {
    "/sign_in/link/": {
        "GET": Page(_reload, "Redirect to the sign-in page.", public=True),
        "POST": Page(_request, "Request a link that adds a sign-in method.", public=True),
    },
    f"/{mail_links.PURPOSE}/{{token}}/": {
        "GET": Page(_ask, "Ask to add a sign-in method.", public=True),
        "POST": Page(_use, "Add a sign-in method.", public=True, once=True, replay=_enter),
    },
}
