"""The pages of one's own hooks: add them, pause them, see what became of the latest deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.hooks import actions as hook_actions
from collegium.hooks import queries as hook_queries
from collegium.hooks.queries import Delivery, HookRow
from collegium.hooks.rules import (
    GIVE_UP_AFTER,
    GIVE_UP_FAILURES,
    GROUPS,
    URL_MAX,
    ContentType,
    Kind,
    check_events,
    events_of,
    host_of,
)
from collegium.integrations import hook_endpoints
from collegium.refusals import NotFound
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, translated
from collegium.web.browser_request import BrowserRequest
from collegium.web.delivery_reasons import delivery_reason
from collegium.web.forms import Form
from collegium.web.page import Page, page

_HERE: Final = "/account/hooks/"
_SHOWN: Final = 50
"""Maximum number of deliveries that the page lists."""

_GROUPS: Final = {
    "auth": mark("Sign-ins, passwords, tokens and passkeys"),
    "customers": mark("Organisations"),
    "invitations": mark("Invitations and invite links"),
    "mails": mark("E-mails that were not delivered"),
    "permissions": mark("Roles"),
    "projects": mark("Projects"),
    "ssh": mark("SSH keys"),
    "users": mark("Accounts"),
}
GROUP_LABELS: Final = {group: _GROUPS.get(group, group) for group in GROUPS}
"""Label of each group of events."""

_CONTENT_TYPES: Final = ((ContentType.JSON.value, "JSON"), (ContentType.FORM.value, mark("Form")))
_KINDS: Final = (
    (Kind.WEB.value, mark("to a program, by a web hook")),
    (Kind.EMAIL.value, mark("to me, by e-mail")),
)


def _destination(row: HookRow) -> str:
    return row.email or host_of(row.destination_url)


def _list(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_list(browser, tx, Form.showing(content_type=ContentType.JSON))


def _render_list(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    rows = hook_queries.of_account(tx, browser.actor.id)
    return page(
        browser,
        "hooks",
        status,
        hooks=[(row, _destination(row)) for row in rows],
        form=form,
        groups=_groups_for(browser),
        kinds=[(value, _(label)) for value, label in _KINDS],
        content_types=[(value, _(label)) for value, label in _CONTENT_TYPES],
        url_max=URL_MAX,
        days=GIVE_UP_AFTER.days,
        failures=GIVE_UP_FAILURES,
    )


def _groups_for(browser: BrowserRequest) -> dict[str, str]:
    """Return the groups to choose from: only staff and support see events of failed e-mails."""
    return {
        name: label
        for name, label in translated(GROUP_LABELS).items()
        if name != "mails" or browser.actor.sees_all
    }


def _read_values(browser: BrowserRequest, kind: Kind, kinds: Sequence[str] = ()) -> dict[str, Any]:
    """Return the columns of the form; errors are in the form.

    Args:
        kinds: stored names of events that the hook names besides.
    """
    form = browser.form
    groups = sorted({name for name in form.many("event_groups") if name in GROUP_LABELS})
    values: dict[str, Any] = {"event_groups": groups}
    form.judge(check_events, kinds, groups)
    with form.showing_refusals():
        values |= _read_destination(browser, kind)
    return values


def _read_destination(browser: BrowserRequest, kind: Kind) -> dict[str, Any]:
    """Return the columns of the destination, and look its host up.

    Raises:
        Invalid: as ``hook_endpoints.check``.
    """
    form = browser.form
    if kind is Kind.EMAIL:
        is_given = bool(form.raw("email").strip())
        return {"email": form.email("email") if is_given else browser.actor.email}
    url = form.text("destination_url", URL_MAX, required=True)
    content_type = form.choice("content_type", *ContentType)
    if "destination_url" not in form.errors:
        hook_endpoints.check(browser.settings, url)
    return {"destination_url": url, "content_type": content_type}


def _add(browser: BrowserRequest) -> Response:
    form = browser.form
    kind = Kind(form.choice("kind", *Kind))
    values = _read_values(browser, kind)
    with form.showing_refusals():
        if form.is_valid:
            destination = (_HERE, _("The hook is added."))
            with browser.create() as tx:
                hook_actions.create(tx, browser.actor, kind, values, settings=browser.settings)
                browser.created(tx, *destination)
            return browser.redirect(*destination)
    with browser.read() as tx:
        return _render_list(browser, tx, form, 422)


def _load(browser: BrowserRequest, tx: ReadTransaction) -> HookRow:
    """Return the hook of the page, which is one's own.

    Raises:
        NotFound: ``hook.unknown``.
    """
    uuid = browser.uuid("hook")
    for row in hook_queries.of_account(tx, browser.actor.id):
        if row.uuid == uuid:
            return row
    raise NotFound("hook.unknown")


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    row = _load(browser, tx)
    form = Form({"event_groups": row.event_groups})
    for name in ("destination_url", "content_type", "email"):
        form.values[name] = [getattr(row, name)]
    return _render(browser, tx, row, form)


def _render(
    browser: BrowserRequest, tx: ReadTransaction, row: HookRow, form: Form, status: int = 200
) -> Response:
    deliveries = hook_queries.deliveries(tx, row.id, _SHOWN)
    return page(
        browser,
        "hook",
        status,
        row=row,
        destination=_destination(row),
        deliveries=[(one, _event_label(one), _state(one), _answer(one)) for one in deliveries],
        form=form,
        groups=_groups_for(browser),
        content_types=[(value, _(label)) for value, label in _CONTENT_TYPES],
        url_max=URL_MAX,
        shown=_SHOWN,
    )


def _event_label(delivery: Delivery) -> str:
    label = str(delivery.payload["type"]).replace(".", " ").replace("_", " ")
    others = len(events_of(delivery.payload)) - 1
    return _("{label} and {others} more").format(label=label, others=others) if others else label


def _answer(delivery: Delivery) -> str:
    return delivery_reason(delivery.error) or str(delivery.response_status or "") or _("none")


def _state(delivery: Delivery) -> str:
    if delivery.state == "queued":
        return _("waiting")
    return _("delivered") if delivery.state == "sent" else _("not delivered")


def _change(browser: BrowserRequest) -> Response:
    form = browser.form
    with browser.read() as tx:
        row = _load(browser, tx)
    kind, here = Kind(row.kind), f"{_HERE}{row.uuid}/"
    action = form.choice("action", "save", "pause", "activate", "remove")
    if action == "remove":
        with browser.write() as tx:
            hook_actions.remove(tx, browser.actor, kind, row.uuid)
            return browser.answer(tx, _HERE, _("The hook is removed."))
    if action != "save":
        is_active = action == "activate"
        with browser.write() as tx:
            hook_actions.update(tx, browser.actor, kind, row.uuid, {"is_active": is_active})
        text = _("The hook is active.") if is_active else _("The hook is paused.")
        return browser.redirect(here, text)
    values = _read_values(browser, kind, row.event_kinds)
    with form.showing_refusals():
        if form.is_valid:
            with browser.write() as tx:
                hook_actions.update(tx, browser.actor, kind, row.uuid, values)
            return browser.redirect(here, _("The hook is changed."))
    with browser.read() as tx:
        return _render(browser, tx, _load(browser, tx), form, 422)


ROUTES: Routes = {
    _HERE: {
        "GET": Page(_list, "List my hooks."),
        "POST": Page(_add, "Add a hook.", creates=True),
    },
    "/account/hooks/{uuid}/": {
        "GET": Page(_show, "Show a hook and its latest deliveries."),
        "POST": Page(_change, "Change, pause, activate or remove a hook.", once=True),
    },
}
