"""The pages of bulk changes: choose rows of a list, confirm, follow the progress."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from collegium.access.rules import Actor, ScopeKind
from collegium.api.request import Response, Routes
from collegium.bulk_changes import actions as bulk_change_actions
from collegium.bulk_changes import queries as bulk_change_queries
from collegium.bulk_changes.queries import BulkChangeRow, ChosenRow, ListedBulkChange
from collegium.bulk_changes.rules import BUSY, OF_INVITATIONS, STOPPABLE, Change, RowState, State
from collegium.db.database import ReadTransaction
from collegium.invitations.links import scope_path
from collegium.invitations.rules import effective_state
from collegium.memberships import rules as membership_rules
from collegium.refusals import Forbidden, NotFound
from collegium.security.rate_limits.rules import BULK_CHANGE, PEOPLE
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, ngettext
from collegium.values import hex_uuid
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import invitation_state, message_for
from collegium.web.page import Page, load_page, page
from collegium.web.scope import Right, ScopePage
from collegium.web.sorting import BULK_CHANGES, Sorting

CHANGES: Final = {
    Change.SEND: mark("Send the invitations again"),
    Change.EXTEND: mark("Extend the invitations"),
    Change.CANCEL: mark("Cancel the invitations"),
    Change.END: mark("Change the end date"),
    Change.REMOVE: mark("Remove the members"),
}
"""Label of each change."""

_EXPLANATIONS: Final = {
    Change.SEND: mark("Each person gets the e-mail again."),
    Change.EXTEND: mark(
        "Each person has as much time as with a new invitation. Nobody gets an e-mail."
    ),
    Change.CANCEL: mark("The links in the e-mails stop working."),
    Change.REMOVE: mark("Each person loses the role at once, with everything that it allows."),
}

STATES: Final = {
    State.JUDGING: mark("being checked"),
    State.JUDGED: mark("not started"),
    State.RUNNING: mark("running"),
    State.DONE: mark("done"),
    State.CANCELED: mark("stopped"),
}
"""Label of each state of a bulk change."""

ROW_STATES: Final = {
    RowState.CHOSEN: mark("waiting"),
    RowState.READY: mark("will be changed"),
    RowState.DONE: mark("changed"),
    RowState.UNCHANGED: mark("stays as it is"),
    RowState.REFUSED: mark("refused"),
}
"""Label of each state of a row, in the order of the page."""

_REFRESH_SECONDS: Final = 3
_WHICH: Final = ("ticked", "matching")


class Chooser(NamedTuple):
    """The form below a list that chooses rows and what is done to them.

    Args:
        options: value and label of each change that the viewer may make.
        ticked: UUIDs of the rows that are ticked.
        has_end: whether one of the changes needs an end date.
    """

    form: Form
    options: Sequence[tuple[str, str]]
    ticked: Collection[str]
    has_end: bool


class RenderList(Protocol):
    """Renders a list with the form below it, in one read transaction."""

    def __call__(
        self,
        kind: ScopeKind,
        browser: BrowserRequest,
        tx: ReadTransaction,
        form: Form | None = None,
        status: int = 200,
    ) -> Response:
        """Return the page."""
        ...


def chooser(
    scope_page: ScopePage, changes: Collection[Change], form: Form | None
) -> Chooser | None:
    """Return the form below a list; None if the viewer may change nothing there.

    Args:
        changes: what can be done to the rows of the list.
        form: what was posted; None if nothing was.
    """
    allowed = _allowed(scope_page, changes)
    if not allowed:
        return None
    posted = form or Form()
    options = [(change.value, _(CHANGES[change])) for change in allowed]
    return Chooser(posted, options, posted.many("rows"), Change.END in allowed)


def _allowed(scope_page: ScopePage, changes: Collection[Change]) -> list[Change]:
    return [
        change
        for change in changes
        if scope_page.holds(bulk_change_actions.permission_for(change, scope_page.access))
    ]


def _choose(
    kind: ScopeKind,
    changes: Collection[Change],
    read_filters: Callable[[BrowserRequest], dict[str, Any]],
    render: RenderList,
    browser: BrowserRequest,
) -> Response:
    """Choose the ticked rows, or all that match; the next page shows what would change.

    Raises:
        NotFound: The scope is not visible; ``bulk_change.no_rows``.
        Forbidden: ``permission.missing``.
        Limited: ``tries.wait`` after too many changes.
    """
    form = browser.form
    right: Right = "invitations" if Change.SEND in changes else ""
    with browser.read() as tx:
        scope_page = ScopePage.load(browser, tx, kind, right=right)
        allowed = _allowed(scope_page, changes)
        if not allowed:
            raise Forbidden("permission.missing")
        change = Change(form.choice("action", *(each.value for each in allowed)))
        is_ticked = form.choice("which", *_WHICH) == "ticked"
        until = form.end("until") if change is Change.END else None
        form.judge(membership_rules.check_end, until, tx.now)
        uuids = {uuid for uuid in map(hex_uuid, form.many("rows")) if uuid}
        if is_ticked and not uuids:
            form.add_error("rows", _("Please tick at least one row."))
        ids: list[int] = []
        if form.is_valid:
            with form.showing_refusals():
                ids = bulk_change_actions.find_rows(
                    tx,
                    browser.actor,
                    scope_page.access,
                    change,
                    read_filters(browser),
                    uuids if is_ticked else None,
                )
    if kind is ScopeKind.GROUP and change is Change.SEND:
        # The result tells which accounts exist no more.
        browser.check_limits(PEOPLE)
    if form.is_valid:
        with form.showing_refusals():
            with browser.create() as tx:
                row = bulk_change_actions.create(
                    tx, browser.actor, browser.settings, scope_page.access, change, ids, until
                )
                browser.count_attempts(tx, BULK_CHANGE)
                missing = len(uuids) - len(ids) if is_ticked else 0
                message = missing and ngettext(
                    "{num} ticked row is not in the list any more.",
                    "{num} ticked rows are not in the list any more.",
                    missing,
                ).format(num=missing)
                destination = (f"{scope_page.path}bulk/{row.uuid}/", message or "")
                browser.created(tx, *destination)
            return browser.redirect(*destination)
    with browser.read() as tx:
        return render(kind, browser, tx, form, 422)


class RowItem(NamedTuple):
    """A row as the page shows it."""

    row: ChosenRow
    label: str
    reason: str
    present: str


def _load(
    kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction
) -> tuple[ScopePage, BulkChangeRow]:
    scope_page = ScopePage.load(browser, tx, kind)
    uuid = browser.uuid("bulk_change", "one")
    row = bulk_change_queries.get_own(tx, browser.actor, uuid)
    if row.scope_id != scope_page.scope.id:
        raise NotFound("bulk_change.unknown")
    # The rows name people. Who has lost the right to change them does not see them any more.
    if not _allowed(scope_page, [Change(row.change)]):
        raise Forbidden("permission.missing")
    return scope_page, row


def _show(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    scope_page, row = _load(kind, browser, tx)
    change, state = Change(row.change), State(row.state)
    counts = bulk_change_queries.counts(tx, row.id)
    chosen = browser.query_value("state")
    filters: dict[str, object] = {"bulk_change_id": row.id}
    if chosen in list(RowState):
        filters["state"] = [chosen]
    listing = bulk_change_queries.rows_of
    rows, paging = load_page(browser, tx, listing, filters)
    total = sum(counts.values())
    waiting = counts.get(RowState.CHOSEN if state is State.JUDGING else RowState.READY, 0)
    return page(
        browser,
        "bulk_change",
        scope_page=scope_page,
        row=row,
        title=_(CHANGES[change]),
        explanation=_(_EXPLANATIONS[change]) if change in _EXPLANATIONS else "",
        label=_(STATES[state]),
        total=total,
        done=total - waiting,
        parts=[
            (each, _(ROW_STATES[each]), counts[each]) for each in ROW_STATES if counts.get(each)
        ],
        chosen=chosen,
        rows=[_item(tx, each) for each in rows],
        paging=paging,
        ready=counts.get(RowState.READY, 0),
        is_busy=state in BUSY,
        refresh=_REFRESH_SECONDS,
        may_stop=state in STOPPABLE,
        back=f"{scope_page.path}invitations/" if change in OF_INVITATIONS else scope_page.path,
    )


def _item(tx: ReadTransaction, row: ChosenRow) -> RowItem:
    refusal = bulk_change_actions.refusal_of(row.problem)
    present = ""
    if row.invitation_state and row.expires_at:
        present = invitation_state(effective_state(row.invitation_state, row.expires_at, tx.now))
    return RowItem(
        row,
        _(ROW_STATES[RowState(row.state)]),
        message_for(refusal) if refusal else "",
        present,
    )


def _act(kind: ScopeKind, browser: BrowserRequest) -> Response:
    """Do what the pressed button says: make the change, or stop it.

    Raises:
        NotFound: ``bulk_change.unknown``: no such bulk change or button.
        Conflict: ``bulk_change.wrong_state``, ``bulk_change.nothing_ready``.
    """
    action = browser.form.raw("action")
    if action not in {"confirm", "stop"}:
        raise NotFound("bulk_change.unknown")
    with browser.write() as tx:
        scope_page, row = _load(kind, browser, tx)
        if action == "stop":
            bulk_change_actions.stop(tx, browser.actor, row.uuid)
        else:
            bulk_change_actions.confirm(tx, browser.actor, browser.settings, row.uuid)
        try:
            _load(kind, browser, tx)
        except (NotFound, Forbidden):
            # Those who have removed their own role may not see this page any more.
            return browser.redirect("/account/")
    return browser.redirect(f"{scope_page.path}bulk/{row.uuid}/")


def choosing(
    kind: ScopeKind,
    changes: Collection[Change],
    read_filters: Callable[[BrowserRequest], dict[str, Any]],
    render: RenderList,
) -> Page:
    """Return the page that takes the form below a list.

    Args:
        changes: what can be done to the rows of the list.
        read_filters: reads the filters of the list from the query.
        render: shows the list again with the errors of the form.
    """
    return Page(
        partial(_choose, kind, changes, read_filters, render),
        "Choose rows that are changed together.",
        creates=True,
        limits=(BULK_CHANGE,),
    )


HERE: Final = "/account/bulk_changes/"


def _list_own(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    filters = {"created_by": browser.actor.id}
    listing = bulk_change_queries.own
    sorting = Sorting(browser, BULK_CHANGES)
    rows, paging = load_page(browser, tx, listing, filters, sorting.order)
    return page(browser, "bulk_changes", rows=_items(rows), paging=paging, sorting=sorting)


class ChangeItem(NamedTuple):
    """A bulk change in the list of its maker."""

    row: ListedBulkChange
    title: str
    label: str
    path: str


def _items(rows: Iterable[ListedBulkChange]) -> list[ChangeItem]:
    return [
        ChangeItem(
            row,
            _(CHANGES[Change(row.change)]),
            _(STATES[State(row.state)]),
            f"{scope_path(row.scope_kind, row.scope_uuid, row.scope_id)}bulk/{row.uuid}/",
        )
        for row in rows
    ]


def unfinished(tx: ReadTransaction, actor: Actor, most: int) -> list[ChangeItem]:
    """Return the latest bulk changes of a person that are not finished, for the overview.

    Args:
        most: maximum number.
    """
    filters = {"created_by": actor.id, "is_open": True}
    return _items(bulk_change_queries.own.page(tx, actor, filters, (), most, 0))


ROUTES: Routes = {HERE: {"GET": Page(_list_own, "List the bulk changes that I have made.")}}


def routes(kind: ScopeKind, path: str) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        path: Path of the scope.
    """
    return {
        f"{path}bulk/{{one}}/": {
            "GET": Page(partial(_show, kind), "Show a change of many rows, and its progress."),
            "POST": Page(partial(_act, kind), "Make a change of many rows, or stop it."),
        },
    }
