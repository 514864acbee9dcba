"""Endpoints for imports: ``/api/imports/``. Waldur has none; the words are ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final

from msgspec import Struct

from collegium.accounts.queries import join_names
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Lookup, Related, Resource, ResourceList, Source, field, link
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.invitations import named_role, named_scope
from collegium.api.waldur.lookups import UUID, scope_lookups
from collegium.db.database import ReadTransaction
from collegium.db.statements import any_of
from collegium.db.tables import import_rows, imports, scopes
from collegium.imports import actions as import_actions
from collegium.imports import files
from collegium.imports import queries as import_queries
from collegium.imports import rules as import_rules
from collegium.imports.queries import ImportRow as ImportRecord
from collegium.imports.reasons import reason, reason_of
from collegium.refusals import Invalid
from collegium.security.rate_limits.rules import IMPORT, IMPORT_START
from collegium.values import (
    File,
    Integer,
    InvalidValueError,
    Kind,
    Name,
    Text,
    Uuid,
    check_list,
    invalid,
    list_from_form,
)

_NUMBER_MAX: Final = 2**31 - 1


class ImportColumn(Struct, frozen=True, gc=False):
    """A column of a file, and what it was taken for; null if it is ignored."""

    name: str
    field: str | None


_STATE: Final = Lookup(
    filters.MultipleFilter(tuple(import_rules.State)), lambda name, column: any_of(column, name)
)
_COUNTS: Final = Related(
    lambda _context, tx, rows: import_queries.counts(tx, [row.id for row in rows]), default={}
)


class Import(Resource, frozen=True, gc=False):
    """A file with people to invite, and how many of its rows are in each state."""

    url: str = link("/api/imports/{}/", "uuid")
    uuid: str = field()
    scope: str = field(
        *(Source.CONTEXT, "scope_kind", "scope_uuid"),
        get=lambda context, kind, uuid: f"{context.base}/api/{schemas.KINDS[kind]}s/{uuid}/",
    )
    scope_uuid: str = field(filter=UUID.on(scopes.c.uuid))
    scope_type: str = field("scope_kind", get=schemas.KINDS.__getitem__)
    scope_name: str = field()
    file_name: str = field()
    columns: list[ImportColumn] = field(
        get=lambda columns: [ImportColumn(**column) for column in columns]
    )
    state: str = field(filter=_STATE)
    rows: dict[str, int] = field(_COUNTS)
    total: int = field(_COUNTS, get=lambda counts: sum(counts.values()))
    created: datetime = field("created_at", order=True)
    created_by_uuid: str | None = field("creator_uuid")
    created_by_full_name: str = field("creator_first_name", "creator_last_name", get=join_names)
    started: datetime | None = field("started_at")
    finished: datetime | None = field("finished_at")


class ImportRow(Resource, frozen=True, gc=False):
    """A row of a file: what it says, its state, and what is wrong with it."""

    number: int = field()
    state: str = field()
    code: str = field("problem", get=lambda problem: problem.get("code", ""))
    reason: str = field("problem", get=reason)
    cells: dict[str, str] = field()
    invitation_uuid: str | None = field()
    invitation_state: str | None = field()
    # The last one, because its name hides the function.
    field: str = field("problem", get=lambda problem: problem.get("field", ""))


@dataclass(frozen=True, kw_only=True)
class ColumnsMapping(Kind):
    """The columns of some fields: each the name of a column, or its number beginning with 1."""

    json_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            each.value: {"type": ["string", "integer"], "minLength": 1, "minimum": 1}
            for each in import_rules.Field
        },
    }

    def from_form(self, raw: str | bytes) -> Any:
        """Return the parsed JSON of a text."""
        text = super().from_form(raw)
        if not isinstance(text, str):
            return text
        if len(text) > _MAPPING_MAX:
            raise invalid("too_long", max=_MAPPING_MAX)
        try:
            return json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError):
            raise invalid("json") from None

    def parse(self, raw: Any) -> dict[str, str | int]:
        """Return the column of each field."""
        if not isinstance(raw, dict):
            raise invalid("object", type=type(raw).__name__)
        if len(raw) > len(import_rules.Field):
            raise invalid("too_many", max=len(import_rules.Field))
        columns: dict[str, str | int] = {}
        for key, column in raw.items():
            is_number = isinstance(column, int) and not isinstance(column, bool)
            if is_number and not 1 <= column <= import_rules.COLUMNS_MAX:
                raise invalid("too_large", max=import_rules.COLUMNS_MAX)
            columns[key] = column if is_number else _COLUMN.parse(column)
        return columns


@dataclass(frozen=True, kw_only=True)
class RowNumbers(Kind):
    """Numbers of rows."""

    json_schema: ClassVar[Mapping[str, Any]] = {
        "type": "array",
        "items": {"type": "integer", "minimum": 1},
    }

    def from_form(self, raw: str | bytes) -> Any:
        """Return the parsed JSON of a text."""
        return list_from_form(super().from_form(raw), len(str(_NUMBER_MAX)), _NUMBERS_MAX)

    def parse(self, raw: Any) -> list[int]:
        """Return the numbers without duplicates."""
        check_list(raw, _NUMBERS_MAX)
        return list(dict.fromkeys(map(_NUMBER.parse, raw)))


_COLUMN_MAX: Final = 200
_MAPPING_MAX: Final = 10_000
_COLUMN: Final = Text(blank=False, max=_COLUMN_MAX)
_NUMBERS_MAX: Final = 25_000
"""Numbers of a body; more rows are chosen by choosing all."""

_NUMBER: Final = Integer(min=1, max=_NUMBER_MAX)
_FILE_MAX: Final = 100_000_000
"""More than any useful value of ``IMPORT_MAX_SIZE``, which is checked besides."""

LIST: Final = ResourceList(
    Import,
    import_queries.listing,
    filters=scope_lookups(imports.c.scope_id, "customer_uuid", "scope", "scope_type"),
)
ROWS: Final = ResourceList(
    ImportRow,
    import_queries.rows_of,
    filters={
        "state": Lookup(
            filters.MultipleFilter(tuple(import_rules.RowState)),
            lambda name, column: any_of(column, name),
            import_rows.c.state,
        )
    },
)
_BODY: Final[dict[str, Kind]] = {
    "scope": Text(required=True, blank=False, max=2000),
    "role": Uuid(),
    "file": File(null=True, max=_FILE_MAX),
    "text": Text(max=_FILE_MAX),
    "file_name": Name(max=import_actions.FILE_NAME_MAX),
    "columns": ColumnsMapping(null=True),
}
_CHOICE: Final[dict[str, Kind]] = {"rows": RowNumbers(null=True)}


def _create(context: RequestContext) -> Response:
    form = read(context, _BODY)
    with context.read() as tx:
        access = named_scope(tx, context, form)
        role = named_role(tx, form)
        content = _content(context, form)
        access = form.checked(access)
        if role is not None and role.kind != access.scope.kind:
            form.refuse(Invalid("role.other_kind"))
        form.check()
        import_actions.require_may_import(context.actor, access)
    with context.write() as tx:
        context.count_attempts(tx, IMPORT)
    # Nothing is locked while the file is read and judged.
    try:
        judged = import_actions.judge_file(
            context.read,
            context.actor,
            context.settings,
            access,
            content,
            form.values.get("file_name", ""),
            role,
            form.values.get("columns"),
        )
    except InvalidValueError as error:
        (problem,) = error.problems
        name = "columns" if problem.code == "import.mapping" else _given(form)
        raise BadRequestError({name: [reason_of(problem.code, problem.facts)]}) from None
    with context.write() as tx:
        uuid, is_new = import_actions.store(tx, context.actor, judged)
        row = import_queries.get_visible(tx, context.actor, uuid)
        return lists.detail(context, tx, Import, row, 201 if is_new else 200)


def _given(form: Form) -> str:
    return "text" if form.values.get("file") is None else "file"


def _content(context: RequestContext, form: Form) -> bytes:
    """Return the bytes to read; a missing or too large file becomes an error of the form."""
    name = _given(form)
    given = form.values.get(name)
    if not given:
        if not form.errors:
            form.reject("file", "Send a file or a text.")
        return b""
    content: bytes = given if isinstance(given, bytes) else given.encode()
    size = context.settings.import_max_size
    if len(content) > size:
        form.reject(name, reason_of("import.size", {"max": size}))
    return content


def _load(context: RequestContext, tx: ReadTransaction) -> ImportRecord:
    return import_queries.get_visible(tx, context.actor, context.uuid("import"))


def _rows(context: RequestContext, tx: ReadTransaction) -> Response:
    row = _load(context, tx)
    return lists.respond(context, tx, ROWS, {**lists.read(context, ROWS), "import_id": row.id})


def _result(context: RequestContext, tx: ReadTransaction) -> Response:
    row = _load(context, tx)
    content = files.result_csv(import_queries.all_rows(tx, row.id))
    headers = {"Content-Disposition": f'attachment; filename="import-{row.uuid}.csv"'}
    return Response(200, content, headers, media="text/csv; charset=utf-8")


def _start(context: RequestContext) -> Response:
    form = read(context, _CHOICE)
    with context.write() as tx:
        row = _load(context, tx)
        form.check()
        import_actions.start(tx, context.actor, row.uuid, form.values.get("rows"))
        context.count_attempts(tx, IMPORT_START)
        return lists.detail(context, tx, Import, _load(context, tx))


def _act(action: Callable[..., object], context: RequestContext) -> Response:
    with context.write() as tx:
        action(tx, context.actor, context.uuid("import"))
        return lists.detail(context, tx, Import, _load(context, tx))


_ONE: Final = "/api/imports/{uuid}/"

ROUTES: Routes = {
    "/api/imports/": {
        "GET": lists.endpoint(LIST, "List the imports to the scopes to which you may invite."),
        "POST": Endpoint(
            _create,
            "Upload a file with people to invite. Every row is judged; nobody is invited yet.",
            body=_BODY,
            response_type=Import,
            status=201,
            limits=(IMPORT,),
            is_large=True,
        ),
    },
    _ONE: {
        "GET": lists.retrieve(
            Import,
            import_queries.get_visible,
            "import",
            "Show an import: its progress and its result.",
        )
    },
    f"{_ONE}rows/": {"GET": lists.endpoint(ROWS, "List the rows of an import.", _rows)},
    f"{_ONE}result/": {
        "GET": Endpoint(_result, "Download the rows of an import as a CSV file.", reads_db=True)
    },
    f"{_ONE}start/": {
        "POST": Endpoint(
            _start,
            "Invite the people of the chosen rows, or of all that are ready, in the background.",
            body=_CHOICE,
            response_type=Import,
            limits=(IMPORT_START,),
        )
    },
    f"{_ONE}cancel/": {
        "POST": Endpoint(
            partial(_act, import_actions.cancel),
            "Stop an import. Invitations that were created stay.",
            response_type=Import,
        )
    },
    f"{_ONE}undo/": {
        "POST": Endpoint(
            partial(_act, import_actions.undo),
            "Cancel the invitations of an import that are not decided yet, in the background.",
            response_type=Import,
        )
    },
}
