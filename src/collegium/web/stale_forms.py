"""The page for a form whose session has changed since it was opened: it can be sent again."""

from __future__ import annotations

from collegium.api.request import Response
from collegium.text.languages import gettext as _
from collegium.text.names import isolated
from collegium.web.browser_request import BrowserRequest
from collegium.web.page import page


def ask_again(browser: BrowserRequest) -> Response | None:
    """Return a page that sends the posted form again, so that nothing typed is lost.

    Only for a form that one of our pages sent, as the browser says; otherwise None. Without that,
    the token of the form is the only proof.
    """
    if not browser.is_from_own_page:
        return None
    if browser.is_signed_in and browser.path.startswith("/sign_in/"):
        # The page was opened before the person signed in, in another tab.
        return is_signed_in_already(browser)
    kept = browser.form.kept()
    if browser.needs_session and not browser.is_signed_in and not kept:
        return browser.redirect("/sign_in/")
    return page(browser, "form_again", 403, kept=kept)


def is_signed_in_already(browser: BrowserRequest) -> Response:
    """Redirect a sign-in from a browser that has a session already, and say whose it is.

    It may be that of the person who used the browser before. Who pressed the button twice with
    the same user name needs no word about it.
    """
    goal, username = browser.next or "/", browser.actor.username
    if browser.form.raw("username").strip() == username:
        return browser.redirect(goal)
    said = _("This browser is signed in as {username} already. Sign out to use another account.")
    return browser.redirect(goal, said.format(username=isolated(username)), kind="not")
