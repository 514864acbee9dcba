"""The page of one's own SSH keys."""

from __future__ import annotations

from typing import Final

from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import LENGTH_MAX, NAME_MAX, parse
from collegium.text.languages import gettext as _
from collegium.text.names import isolated
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, page

_HERE: Final = "/account/keys/"


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_keys(browser, tx, Form())


def _render_keys(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    return page(
        browser,
        "ssh_keys",
        status,
        keys=ssh_key_queries.of_account(tx, browser.actor.id),
        form=form,
    )


def _add(browser: BrowserRequest) -> Response:
    form = browser.form
    text = form.text("public_key", LENGTH_MAX + 500, required=True, lines=True)
    name = form.name("name", NAME_MAX)
    key = None if "public_key" in form.errors else form.judge(parse, text)
    if key is not None and "name" not in form.errors:
        name = ssh_key_actions.name_of(key, name or None)
        if not name:
            form.add_error("name", _("Please enter a name, because the key has no comment."))
    if key is not None and form.is_valid:
        destination = (_HERE, _("The key “{name}” is added.").format(name=isolated(name)))
        with form.showing_refusals():
            with browser.create() as tx:
                ssh_key_actions.create(tx, browser.actor, key, name, settings=browser.settings)
                browser.created(tx, *destination)
            return browser.redirect(*destination)
    with browser.read() as tx:
        return _render_keys(browser, tx, form, 422)


def _remove(browser: BrowserRequest) -> Response:
    with browser.write() as tx:
        ssh_key_actions.delete(tx, browser.actor, browser.uuid("key"))
        return browser.answer(tx, _HERE, _("The key is removed."))


ROUTES: Routes = {
    _HERE: {
        "GET": Page(_show, "List my SSH keys."),
        "POST": Page(_add, "Add an SSH key.", creates=True),
    },
    "/account/keys/{uuid}/remove/": {"POST": Page(_remove, "Remove an SSH key.", once=True)},
}
