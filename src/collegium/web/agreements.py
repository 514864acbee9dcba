"""The pages with the terms of service and the privacy policy, and the one that asks to agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from markupsafe import Markup

from collegium.agreements import acceptance
from collegium.agreements import queries as agreement_queries
from collegium.agreements.queries import AgreementRow
from collegium.agreements.rules import Kind, choose
from collegium.api.request import READ_METHODS, Response, Routes
from collegium.db.database import ReadTransaction
from collegium.refusals import Forbidden, Invalid
from collegium.text.languages import accepted, mark
from collegium.text.languages import gettext as _
from collegium.values import whole_number
from collegium.web.agreement_html import render
from collegium.web.browser_request import BrowserRequest, leading_to
from collegium.web.forms import Form
from collegium.web.messages import message_for
from collegium.web.page import Page, page

TITLES: Final = {
    Kind.TERMS.value: mark("Terms of service"),
    Kind.PRIVACY.value: mark("Privacy policy"),
}
_HERE: Final = "/account/agreements/"
_SHOWN_MAX: Final = 200


class Shown(NamedTuple):
    """A text as a page shows it."""

    row: AgreementRow
    title: str
    html: Markup


def languages(browser: BrowserRequest) -> list[str]:
    """Return the languages in which the browser wants a text, the preferred one first."""
    wanted = browser.query_value("language")[:_SHOWN_MAX]
    return [*([wanted] if wanted else []), *accepted(browser.header("accept-language"))]


def current(browser: BrowserRequest, tx: ReadTransaction) -> list[Shown]:
    """Return the current texts in the language of the browser, one of each kind."""
    return _shown(browser, agreement_queries.current(tx))


def shown_ids(form: Form) -> list[int]:
    """Return the ids of the texts that the page with the form has shown."""
    words = form.raw("agreements")[:_SHOWN_MAX].split()
    numbers = (whole_number(word, 9) for word in words)
    return [number for number in numbers if number is not None]


def _shown(browser: BrowserRequest, rows: Iterable[AgreementRow]) -> list[Shown]:
    return [
        Shown(row, _(TITLES[row.kind]), render(row.content))
        for row in choose(rows, languages(browser))
    ]


def _show_all(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    rows = agreement_queries.current(tx)
    others = sorted({row.language for row in rows if row.language})
    return page(browser, "agreements", shown=_shown(browser, rows), others=others)


def _ask(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render(browser, tx, Form())


def _render(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    pending = agreement_queries.pending(tx, browser.actor.id)
    return page(
        browser,
        "account_agreements",
        status,
        form=form,
        shown=_shown(browser, pending),
        accepted=[
            (row, _(TITLES[row.kind]), render(row.content))
            for row in agreement_queries.accepted_by(tx, browser.actor.id)
        ],
        after=browser.next,
    )


def _agree(browser: BrowserRequest) -> Response:
    try:
        with browser.write() as tx:
            acceptance.accept(tx, browser.actor, shown_ids(browser.form))
    except Invalid as refusal:
        browser.form.add_refusal(refusal)
        with browser.read() as tx:
            return _render(browser, tx, browser.form, 422)
    return browser.redirect(browser.next or _HERE, _("Thank you. Your agreement is recorded."))


def ask_first(browser: BrowserRequest) -> Response:
    """Redirect somebody to this page who has to agree before the requested one."""
    message = message_for(Forbidden("agreement.required"))
    where = browser.page if browser.method not in READ_METHODS else browser.path
    return browser.redirect(leading_to(_HERE, where), message, kind="not")


ROUTES: Routes = {
    "/agreements/": {
        "GET": Page(
            _show_all,
            "Show the terms of service and the privacy policy.",
            public=True,
            during_setup=True,
        )
    },
    _HERE: {
        "GET": Page(_ask, "Show what I agree to, and what I have agreed to.", during_setup=True),
        "POST": Page(_agree, "Agree to the current texts.", during_setup=True),
    },
}
