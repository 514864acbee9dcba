"""The staff pages for user agreements: list, publish, change, remove."""

from __future__ import annotations

from typing import Final

from collegium.agreements import actions as agreement_actions
from collegium.agreements import queries as agreement_queries
from collegium.agreements.rules import CONTENT_MAX, LANGUAGE_MAX
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.text.languages import CODE, translated
from collegium.text.languages import gettext as _
from collegium.web.agreement_html import render
from collegium.web.agreements import TITLES
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page
from collegium.web.staff import page, staff_only

HERE: Final = "/staff/agreements/"


def _list(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    rows = agreement_queries.current(tx)
    counts = agreement_queries.counts(tx, [row.id for row in rows])
    return page(browser, "staff_agreements", rows=rows, counts=counts, titles=translated(TITLES))


def _show_new(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    del tx
    return _render_new(browser, Form())


def _render_new(browser: BrowserRequest, form: Form, status: int = 200) -> Response:
    return page(
        browser,
        "staff_agreement_new",
        status,
        form=form,
        titles=list(translated(TITLES).items()),
        most=CONTENT_MAX,
    )


def _read(form: Form) -> dict[str, str]:
    values = {
        "kind": form.choice("kind", *TITLES),
        "language": form.text("language", LANGUAGE_MAX).lower(),
        "content": form.text("content", CONTENT_MAX, required=True, lines=True),
    }
    if values["language"] and not CODE.fullmatch(values["language"]):
        form.add_error("language", _("Please enter a language code, such as en or pt-br."))
    return values


def _publish(browser: BrowserRequest) -> Response:
    form = browser.form
    values = _read(form)
    if form.is_valid:
        with form.showing_refusals():
            with browser.create() as tx:
                agreement_actions.publish(tx, browser.actor, values)
                destination = (
                    HERE,
                    _("The text is published. People agree at their next sign-in."),
                )
                browser.created(tx, *destination)
            return browser.redirect(*destination)
    return _render_new(browser, form, 422)


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render(browser, tx)


def _render(
    browser: BrowserRequest, tx: ReadTransaction, form: Form | None = None, status: int = 200
) -> Response:
    row = agreement_queries.get_visible(tx, browser.actor, browser.uuid("agreement"))
    return page(
        browser,
        "staff_agreement",
        status,
        row=row,
        title=_(TITLES[row.kind]),
        html=render(row.content),
        form=form or Form.showing(kind=row.kind, language=row.language, content=row.content),
        titles=list(translated(TITLES).items()),
        most=CONTENT_MAX,
    )


def _change(browser: BrowserRequest) -> Response:
    form, uuid = browser.form, browser.uuid("agreement")
    if form.choice("action", "save", "remove") == "remove":
        with browser.write() as tx:
            agreement_actions.remove(tx, browser.actor, uuid)
            return browser.answer(tx, HERE, _("The text is removed."))
    values = _read(form)
    if form.is_valid:
        with form.showing_refusals(), browser.write() as tx:
            agreement_actions.change(tx, browser.actor, uuid, values)
            return browser.answer(tx, HERE, _("The text is saved."))
    with browser.read() as tx:
        return _render(browser, tx, form, 422)


ROUTES: Routes = staff_only(
    {
        HERE: {"GET": Page(_list, "List the user agreements.")},
        f"{HERE}new/": {
            "GET": Page(_show_new, "Show the form that publishes a user agreement."),
            "POST": Page(_publish, "Publish a user agreement.", creates=True),
        },
        f"{HERE}{{uuid}}/": {
            "GET": Page(_show, "Show a user agreement."),
            "POST": Page(
                _change, "Publish a new version of a user agreement, or remove it.", once=True
            ),
        },
    },
    staff_paths=(f"{HERE}new/",),
)
