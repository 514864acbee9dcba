"""Record the statements of the service for an operation, for replay by the baseline.

The service runs an operation several times in this process. Each parameter is then traced to its
source: the request, a row read before, the clock or a random number; the others are constant. So
the baseline follows every change of the service.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from psycopg import Binary
from psycopg.types.json import Json, Jsonb

from collegium.db.database import ReadTransaction, WriteTransaction

_HEX: Final = frozenset("0123456789abcdef")
# Hexadecimal strings of at least this length are random.
_SHORTEST: Final = 16
_EPOCH: Final = re.compile(r"1\d{9}\.\d{1,6}")


@dataclass
class Step:
    """A statement of one run, with its parameters and rows."""

    text: str
    binds: dict[str, Any]
    now: datetime
    writes: bool
    rows: list[Any] = field(default_factory=list)


@dataclass
class Sample:
    """One recorded run of an operation.

    Args:
        inputs: values of the request by name.
    """

    inputs: dict[str, Any]
    steps: list[Step]
    status: int
    body: bytes


class _Cursor:
    """A cursor of the driver that records its statements."""

    def __init__(self, cursor: Any, now: datetime, steps: list[Step], *, writes: bool) -> None:
        self._cursor = cursor
        self._now = now
        self._steps = steps
        self._writes = writes
        self.rowcount = 0

    def execute(self, text: str, binds: Any = None) -> None:
        self._cursor.execute(text, binds or {})
        self.rowcount = self._cursor.rowcount
        if text != "COMMIT":
            rows = self._cursor.fetchall() if self._cursor.description else []
            step = Step(text, dict(binds or {}), self._now, self._writes, [*map(tuple, rows)])
            self._steps.append(step)

    def fetchall(self) -> list[Any]:
        return self._steps[-1].rows

    def fetchone(self) -> Any:
        rows = self._steps[-1].rows
        return rows[0] if rows else None


@contextmanager
def recorded_steps() -> Iterator[list[Step]]:
    """Collect the statements that the service runs in this process."""
    steps: list[Step] = []
    execute = ReadTransaction._execute

    def recording(self: Any, statement: Any, parameters: dict[str, Any]) -> Any:
        if not isinstance(self._cursor, _Cursor):
            self._cursor = _Cursor(
                self._cursor, self.now, steps, writes=isinstance(self, WriteTransaction)
            )
        return execute(self, statement, parameters)

    ReadTransaction._execute = recording  # type: ignore[method-assign]
    try:
        yield steps
    finally:
        ReadTransaction._execute = execute  # type: ignore[method-assign]


Origin = tuple[Any, ...]
"""Source of a value. The first item names its type:

* ``same`` and the value, ``input`` and its name;
* ``cell`` or ``name``, the number of a statement and a column of its first row, or two;
* ``fresh``, an index and a number of digits; ``now`` or ``response time`` and an offset in seconds;
* ``list`` or ``object`` and origins; ``json text`` and one; ``wrapped``, a driver's type, and one.
"""


@dataclass(frozen=True)
class RecordedOperation:
    """An operation that the baseline can replay.

    Args:
        steps: SQL, constant parameters, variable parameters, and whether the statement is in the
            write transaction.
        body: parts of the response, bytes or origins.
    """

    steps: list[tuple[str, dict[str, Any], list[tuple[str, Origin]], bool]]
    status: int
    body: list[bytes | Origin]


def learn(samples: list[Sample]) -> RecordedOperation:
    """Return the operation that does what was done in all the samples.

    Raises ValueError when they differ in more than values.
    """
    texts = [[(step.text, step.writes) for step in sample.steps] for sample in samples]
    if any(text != texts[0] for text in texts):
        raise ValueError("the samples ran different statements")
    learner = _Learner(samples)
    steps = []
    for at, (text, writes) in enumerate(texts[0]):
        same: dict[str, Any] = {}
        varied: list[tuple[str, Origin]] = []
        for name in samples[0].steps[at].binds:
            origin = learner.origin(at, [sample.steps[at].binds[name] for sample in samples])
            if origin[0] == "same":
                same[name] = origin[1]
            else:
                varied.append((name, origin))
        steps.append((text, same, varied, writes))
    return RecordedOperation(
        steps, samples[0].status, learner.pieces([sample.body for sample in samples])
    )


class _Learner:
    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples
        self._fresh: list[list[Any]] = []

    def origin(self, at: int, values: list[Any]) -> Origin:  # noqa: C901, PLR0911 - one type after the other
        """Find the source of a value, given the value in each sample."""
        first = values[0]
        if isinstance(first, (Json, Jsonb, Binary)):
            return ("wrapped", type(first), self.origin(at, [value.obj for value in values]))
        for name in self._samples[0].inputs:
            if [sample.inputs[name] for sample in self._samples] == values:
                return ("input", name)
        if all(value == first for value in values):
            return ("same", first)
        if isinstance(first, list):
            parts = zip(*map(sorted, values), strict=True)
            return ("list", [self.origin(at, list(part)) for part in parts])
        if isinstance(first, dict):
            return ("object", {k: self.origin(at, [v[k] for v in values]) for k in first})
        found = self._known(at, values)
        if found is not None:
            return found
        if isinstance(first, str) and first[:1] in {"{", "["}:
            return ("json text", self.origin(at, [json.loads(value) for value in values]))
        times = [_time(value) for value in values]
        if None not in times:
            nows = [sample.steps[at].now for sample in self._samples]
            return self._after(times, nows)
        epochs = [_epoch(value) for value in values]
        if None not in epochs:
            nows = [sample.steps[at].now for sample in self._samples]
            return ("epoch", self._after(epochs, nows)[1])
        if isinstance(first, str) and len(first) >= _SHORTEST and _HEX.issuperset(first):
            self._fresh.append(values)
            return ("fresh", len(self._fresh) - 1, len(first))
        raise ValueError(f"unknown source of {values}")

    def _known(self, steps: int, values: list[Any]) -> Origin | None:
        if values in self._fresh:
            return ("fresh", self._fresh.index(values), 0)
        for before in range(steps):
            rows = [sample.steps[before].rows for sample in self._samples]
            if all(rows):
                columns = [list(cells) for cells in zip(*(row[0] for row in rows), strict=True)]
                if values in columns:
                    return ("cell", before, columns.index(values))
                for at, (one, other) in enumerate(pairwise(columns)):
                    if [f"{a} {b}" for a, b in zip(one, other, strict=True)] == values:
                        return ("name", before, at)
        return None

    def _after(self, times: list[Any], nows: list[datetime]) -> Origin:
        spans = {time - now for time, now in zip(times, nows, strict=True)}
        if len(spans) != 1:
            raise ValueError(f"unknown source of {times}")
        return ("now", spans.pop().total_seconds())

    def pieces(self, bodies: list[bytes]) -> list[bytes | Origin]:
        """Split the responses where they differ."""
        if all(body == bodies[0] for body in bodies):
            return [bodies[0]]
        at = len(self._samples[0].steps)
        pieces: list[bytes | Origin] = []
        splits = [body.split(b'"') for body in bodies]
        for parts in zip(*splits, strict=True):
            if pieces:
                pieces.append(b'"')
            if all(part == parts[0] for part in parts):
                pieces.append(parts[0])
                continue
            texts = [part.decode() for part in parts]
            head = texts[0].rpartition("invitations/")[0] + "invitations/"
            if all(text.startswith(head) for text in texts) and head != "invitations/":
                pieces.append(head.encode())
                texts = [text.removeprefix(head).rstrip("/") for text in texts]
                pieces += [self.origin(at, texts), b"/"]
            else:
                pieces.append(self._response_value(at, texts))
        return pieces

    def _response_value(self, at: int, texts: list[str]) -> Origin:
        times = [_time(text.removesuffix("Z")) for text in texts]
        if None in times:
            return self.origin(at, texts)
        nows = [sample.steps[-1].now for sample in self._samples]
        return ("response time", self._after(times, nows)[1])


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or "T" not in value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _epoch(value: Any) -> datetime | None:
    """Read seconds since 1970, written as text with a fraction."""
    if not isinstance(value, str) or not _EPOCH.fullmatch(value):
        return None
    return datetime.fromtimestamp(float(value), UTC)


class ReplayContext:
    """Values of one replay.

    Args:
        inputs: values of the request by name.
        now: time of the transaction.
    """

    __slots__ = ("fresh", "inputs", "now", "rows")

    def __init__(self, inputs: Mapping[str, Any], now: datetime) -> None:
        self.inputs = inputs
        self.fresh: dict[int, str] = {}
        self.now = now
        self.rows: list[list[Any]] = []

    def random_hex(self, which: int, digits: int) -> str:
        """Return a random string, the same for each index."""
        if which not in self.fresh:
            self.fresh[which] = secrets.token_hex(digits // 2)
        return self.fresh[which]


ValueSource = Callable[[ReplayContext], Any]


def value_source(origin: Origin, *, as_text: bool) -> ValueSource:  # noqa: C901, PLR0911, PLR0912 - one type after the other
    """Return the function that computes a value from its origin.

    Args:
        as_text: pass timestamps as strings.
    """

    def inner(one: Origin) -> ValueSource:
        return value_source(one, as_text=as_text)

    match origin:
        case ("same", value):
            return lambda _: value
        case ("input", name):
            return lambda context: context.inputs[name]
        case ("cell", step, column):
            return lambda context: context.rows[step][0][column]
        case ("name", step, at):
            return lambda context: "{} {}".format(*context.rows[step][0][at : at + 2])
        case ("fresh", which, digits):
            return lambda context: context.random_hex(which, digits)
        case ("now", seconds):
            span = timedelta(seconds=seconds)
            if as_text:
                return lambda context: _text(context.now + span)
            return lambda context: context.now + span
        case ("epoch", seconds):
            return lambda context: str(context.now.timestamp() + seconds)
        case ("response time", seconds):
            later = timedelta(seconds=seconds)
            return lambda context: _text(context.now + later) + "Z"
        case ("list", origins):
            parts = [inner(one) for one in origins]
            return lambda context: [part(context) for part in parts]
        case ("object", origins):
            fields = {name: inner(one) for name, one in origins.items()}
            return lambda context: {name: field(context) for name, field in fields.items()}
        case ("json text", one):
            bare = inner(one)
            return lambda context: json.dumps(bare(context))
        case ("wrapped", wrapper, one):
            bare = inner(one)
            return lambda context: wrapper(bare(context))
    raise ValueError(origin)


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


class PreparedOperation:
    """A recorded operation, prepared for one database.

    Args:
        begin: statement that starts a write transaction.
        as_text: pass timestamps as strings.
    """

    def __init__(self, recorded: RecordedOperation, begin: str, *, as_text: bool) -> None:
        self.status = recorded.status
        self._begin = begin
        self._steps = [
            (
                text,
                same,
                [(name, value_source(one, as_text=as_text)) for name, one in varied],
                writes,
            )
            for text, same, varied, writes in recorded.steps
        ]
        self._body = [
            piece if isinstance(piece, bytes) else value_source(piece, as_text=as_text)
            for piece in recorded.body
        ]

    def run(self, connection: Any, inputs: Mapping[str, Any]) -> bytes:
        """Do it: what is only read first, then the one transaction; give the response."""
        context = ReplayContext(inputs, datetime.now(UTC))
        cursor = connection.cursor()
        writing = False
        try:
            for text, same, varied, writes in self._steps:
                if writes and not writing:
                    cursor.execute(self._begin)
                    writing = True
                    context.now = datetime.now(UTC)
                binds = {**same, **{name: value(context) for name, value in varied}}
                cursor.execute(text, binds)
                context.rows.append(cursor.fetchall() if cursor.description else [])
            cursor.execute("COMMIT")
        except BaseException:
            if writing:
                cursor.execute("ROLLBACK")
            raise
        return b"".join(
            piece if isinstance(piece, bytes) else str(piece(context)).encode()
            for piece in self._body
        )
