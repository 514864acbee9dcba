"""The pages of imports: upload a file, look at the judgement, start, follow the progress, undo."""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from collegium.access.rules import ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.imports import actions as import_actions
from collegium.imports import files
from collegium.imports import queries as import_queries
from collegium.imports.queries import FileRow, ImportRow
from collegium.imports.reasons import reason, reason_of
from collegium.imports.rules import BUSY, STARTABLE, UNDOABLE, Field, RowState, State
from collegium.refusals import Conflict, Forbidden, Invalid, NotFound
from collegium.roles import queries as role_queries
from collegium.security.rate_limits.rules import IMPORT, IMPORT_START
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, translated
from collegium.text.names import isolated
from collegium.values import InvalidValueError, whole_number
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, load_page, page
from collegium.web.scope import ScopePage, grantable_roles
from collegium.web.sorting import IMPORT_ROWS, IMPORTS, Sorting

KINDS: Final = (ScopeKind.ORGANISATION, ScopeKind.PROJECT)
"""The kinds of scope that have these pages."""

STATES: Final = {
    State.JUDGED: mark("not started"),
    State.RUNNING: mark("running"),
    State.DONE: mark("done"),
    State.CANCELED: mark("stopped"),
    State.UNDOING: mark("being undone"),
    State.UNDONE: mark("undone"),
}
"""Label of each state of an import."""

ROW_STATES: Final = {
    RowState.READY: mark("ready"),
    RowState.WAITING: mark("waiting"),
    RowState.CREATED: mark("invited"),
    RowState.MALFORMED: mark("malformed"),
    RowState.REFUSED: mark("refused"),
    RowState.REPEATED: mark("twice in the file"),
    RowState.INVITED: mark("already invited"),
    RowState.MEMBER: mark("already a member"),
    RowState.WITHDRAWN: mark("withdrawn"),
}
"""Label of each state of a row, in the order of the page."""

FIELDS: Final = {
    Field.EMAIL: mark("E-mail addresses"),
    Field.NAME: mark("Names"),
    Field.FIRST_NAME: mark("First names"),
    Field.LAST_NAME: mark("Last names"),
    Field.ROLE: mark("Roles"),
    Field.UNTIL: mark("End dates"),
    Field.MESSAGE: mark("Personal messages"),
    Field.LANGUAGE: mark("Languages"),
}
"""Label of what a column can contain."""

_COLUMN_MAX: Final = 200
_REFRESH_SECONDS: Final = 3


class RowItem(NamedTuple):
    """A row as the page shows it."""

    row: FileRow
    label: str
    reason: str
    is_ready: bool


def _load(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> ScopePage:
    scope_page = ScopePage.load(browser, tx, kind)
    if not (scope_page.may_add or browser.actor.sees_all):
        raise Forbidden("permission.missing")
    return scope_page


def _load_import(browser: BrowserRequest, tx: ReadTransaction, scope_page: ScopePage) -> ImportRow:
    uuid = browser.uuid("import", "one")
    row = import_queries.get_visible(tx, browser.actor, uuid)
    if row.scope_id != scope_page.scope.id:
        raise NotFound("import.unknown")
    return row


def _ask(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_form(kind, browser, tx, Form())


def _render_form(
    kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    scope_page = _load(kind, browser, tx)
    filters = {"scope_id": scope_page.scope.id}
    sorting = Sorting(browser, IMPORTS)
    rows, paging = load_page(browser, tx, import_queries.of_scope, filters, sorting.order)
    return page(
        browser,
        "imports",
        status,
        scope_page=scope_page,
        form=form,
        options=[("", _("As in the file")), *grantable_roles(tx, scope_page)],
        fields=[(f"column_{field}", label) for field, label in translated(FIELDS).items()],
        names_columns=bool(browser.query_value("columns") or form.errors),
        rows=rows,
        counts=import_queries.counts(tx, [row.id for row in rows]),
        labels=translated(STATES),
        paging=paging,
        sorting=sorting,
        max_rows=browser.settings.import_max_rows,
    )


def _upload(kind: ScopeKind, browser: BrowserRequest) -> Response:
    """Judge a file or a pasted list.

    Raises:
        NotFound: The scope is not visible.
        Forbidden: ``permission.missing``.
        Limited: ``tries.wait`` after too many files.
    """
    form = browser.form
    with browser.read() as tx:
        scope_page = ScopePage.load(browser, tx, kind, right="grant")
        roles = [uuid for uuid, _ in grantable_roles(tx, scope_page)]
        role_uuid = form.choice("role", "", *roles)
        role = role_queries.existing(tx, uuid=role_uuid) if role_uuid else None
    mapping = _mapping(form)
    content = form.files.get("file") or form.raw("text").encode()
    size = browser.settings.import_max_size
    if not content.strip():
        form.add_error("file", _("Please choose a file, or paste a list."))
    elif len(content) > size:
        form.add_error("file", reason_of("import.size", {"max": size}))
    if form.is_valid:
        with browser.write() as tx:
            browser.count_attempts(tx, IMPORT)
        try:
            judged = import_actions.judge_file(
                browser.read,
                browser.actor,
                browser.settings,
                scope_page.access,
                content,
                role=role,
                mapping=mapping or None,
            )
        except InvalidValueError as error:
            (problem,) = error.problems
            field = "column_email" if problem.code == "import.mapping" else "file"
            facts = {name: isolated(str(fact)) for name, fact in problem.facts.items()}
            form.add_error(field, reason_of(problem.code, facts))
    if not form.is_valid:
        with browser.read() as tx:
            return _render_form(kind, browser, tx, form, 422)
    with browser.write() as tx:
        uuid, is_new = import_actions.store(tx, browser.actor, judged)
    message = "" if is_new else _("This file was uploaded before. Its rows were judged again.")
    return browser.redirect(f"{scope_page.path}imports/{uuid}/", message)


def _mapping(form: Form) -> dict[str, str | int]:
    """Return the columns that the form names, each by its name or its number."""
    mapping: dict[str, str | int] = {}
    for field in Field:
        text = form.text(f"column_{field}", _COLUMN_MAX)
        if text:
            number = whole_number(text, 2)
            mapping[field.value] = text if number is None else number
    return mapping


def _show(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    scope_page = _load(kind, browser, tx)
    row = _load_import(browser, tx, scope_page)
    state = State(row.state)
    counts = import_queries.counts(tx, [row.id])[row.id]
    chosen = browser.query_value("state")
    filters: dict[str, object] = {"import_id": row.id}
    if chosen in list(RowState):
        filters["state"] = [chosen]
    sorting = Sorting(browser, IMPORT_ROWS)
    rows, paging = load_page(browser, tx, import_queries.rows_of, filters, sorting.order)
    may_act = scope_page.may_add
    ready = counts.get(RowState.READY, 0)
    done, waiting = counts.get(RowState.CREATED, 0), counts.get(RowState.WAITING, 0)
    return page(
        browser,
        "import",
        scope_page=scope_page,
        row=row,
        label=_(STATES[state]),
        total=sum(counts.values()),
        parts=[
            (each, _(ROW_STATES[each]), counts[each]) for each in ROW_STATES if counts.get(each)
        ],
        chosen=chosen,
        rows=[
            RowItem(
                each,
                _(ROW_STATES[RowState(each.state)]),
                reason(each.problem),
                each.state == RowState.READY,
            )
            for each in rows
        ],
        paging=paging,
        sorting=sorting,
        fields=translated(FIELDS),
        ready=ready,
        done=done,
        waiting=waiting,
        is_busy=state in BUSY,
        refresh=_REFRESH_SECONDS,
        may_start=may_act and state in STARTABLE and ready and not scope_page.is_closed,
        may_cancel=may_act and state is State.RUNNING,
        may_undo=may_act and state in UNDOABLE and import_queries.has_open(tx, row.id),
    )


def _act(kind: ScopeKind, browser: BrowserRequest) -> Response:
    """Do what the pressed button says: start, start the ticked rows, stop or undo.

    Raises:
        NotFound: ``import.unknown``: no such import or button.
        Forbidden: ``permission.missing``.
        Conflict: The import is in another state by now.
        Limited: ``tries.wait`` after too many imports.
    """
    action = browser.form.raw("action")
    if action in {"start", "chosen"}:
        browser.check_limits(IMPORT_START)
    try:
        with browser.write() as tx:
            scope_page = _load(kind, browser, tx)
            row = _load_import(browser, tx, scope_page)
            message = _do(tx, browser, row.uuid, action)
            return browser.answer(tx, f"{scope_page.path}imports/{row.uuid}/", message)
    except (Conflict, Invalid) as refusal:
        if refusal.code not in {"import.not_ready", "import.nothing_ready"}:
            raise
        message = _("Please tick rows that are ready.")
    return browser.redirect(f"{scope_page.path}imports/{row.uuid}/", message)


def _do(tx: WriteTransaction, browser: BrowserRequest, uuid: str, action: str) -> str:
    """Take an action; return the sentence that says what happens now."""
    if action in {"start", "chosen"}:
        numbers = None if action == "start" else _ticked(browser.form)
        import_actions.start(tx, browser.actor, uuid, numbers)
        browser.count_attempts(tx, IMPORT_START)
        return _("The people are being invited. You can leave this page.")
    if action == "cancel":
        import_actions.cancel(tx, browser.actor, uuid)
        return _("The import is stopped. People who were invited stay invited.")
    if action == "undo":
        import_actions.undo(tx, browser.actor, uuid)
        return _("The open invitations of this import are being cancelled.")
    raise NotFound("import.unknown")


def _ticked(form: Form) -> list[int]:
    numbers = (whole_number(text, 7) for text in form.many("rows"))
    return [number for number in numbers if number is not None]


def _result(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    row = _load_import(browser, tx, _load(kind, browser, tx))
    content = files.result_csv(import_queries.all_rows(tx, row.id))
    headers = {"Content-Disposition": f'attachment; filename="import-{row.uuid}.csv"'}
    return Response(200, content, headers, media="text/csv; charset=utf-8")


def routes(kind: ScopeKind, path: str) -> Routes:
    """Return the routes of one kind of scope; groups have none.

    Args:
        path: Path of the scope.
    """
    if kind not in KINDS:
        return {}
    return {
        f"{path}imports/": {
            "GET": Page(partial(_ask, kind), "Upload a file with people, and list earlier ones."),
            "POST": Page(
                partial(_upload, kind),
                "Judge a file with people to invite.",
                limits=(IMPORT,),
                is_large=True,
            ),
        },
        f"{path}imports/{{one}}/": {
            "GET": Page(partial(_show, kind), "Show an import: judgement, progress, result."),
            "POST": Page(partial(_act, kind), "Start, stop or undo an import.", once=True),
        },
        f"{path}imports/{{one}}/result/": {
            "GET": Page(partial(_result, kind), "Download the rows of an import as CSV."),
        },
    }
