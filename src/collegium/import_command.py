"""What ``collegium import`` does: judge a file with people, and invite them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import WALDUR_KINDS, Actor, ScopeKind
from collegium.accounts import queries as account_queries
from collegium.db.database import Database, ReadTransaction
from collegium.imports import actions as import_actions
from collegium.imports import queries as import_queries
from collegium.imports import rules as import_rules
from collegium.imports.actions import Judged
from collegium.imports.judging import Judgement, Roles
from collegium.imports.reasons import reason, reason_of
from collegium.imports.rules import RowState, State
from collegium.refusals import NotFound, Refusal
from collegium.roles.queries import RoleRow
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import actor_of
from collegium.text.plain import one_line, short
from collegium.values import InvalidValueError, hex_uuid

_LABELS: Final = {
    RowState.READY: "ready",
    RowState.MALFORMED: "malformed",
    RowState.REPEATED: "in the file twice",
    RowState.INVITED: "already invited",
    RowState.MEMBER: "already a member",
    RowState.REFUSED: "refused",
    RowState.WAITING: "waiting",
    RowState.CREATED: "invited",
    RowState.WITHDRAWN: "withdrawn",
}
_FAULTS: Final = frozenset({RowState.MALFORMED, RowState.REFUSED})
_SHOWN: Final = _FAULTS | {RowState.REPEATED}
_POLL_INTERVAL: Final = 0.1  # seconds
_ADDRESS_MAX: Final = 100
_PLURALS: Final = {"customers": ScopeKind.ORGANISATION, "projects": ScopeKind.PROJECT}


class UnfitImportError(Exception):
    """The file, the scope or the account is wrong. The message says why, in one line."""


def judge(
    database: Database,
    settings: Settings,
    path: Path,
    username: str,
    scope: str,
    role: str,
    columns: Mapping[str, str | int],
) -> tuple[Actor, Judged]:
    """Read a file and judge its rows; return who invites, and the result.

    Args:
        username: of the account in whose name people are invited.
        scope: UUID or URL of an organisation or project.
        role: name or UUID of the role of rows that name none; empty for none.
        columns: field to name or number of a column; empty to recognise them.

    Raises:
        UnfitImportError: something is wrong.
    """
    content = _read(path, settings)
    with database.read() as tx:
        account = account_queries.by_username(tx, username)
        if account is None or not account.is_active:
            raise UnfitImportError(f"there is no active account {username}")
        actor = actor_of(account)
        access = _find(tx, actor, scope)
        default = _default_role(tx, actor, access, role)
    try:
        judged = import_actions.judge_file(
            database.read, actor, settings, access, content, path.name, default, columns or None
        )
    except InvalidValueError as error:
        (problem,) = error.problems
        raise UnfitImportError(reason_of(problem.code, problem.facts)) from None
    return actor, judged


def _read(path: Path, settings: Settings) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(settings.import_max_size + 1)
    except OSError as error:
        raise UnfitImportError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > settings.import_max_size:
        raise UnfitImportError(reason_of("import.size", {"max": settings.import_max_size}))
    return content


def _find(tx: ReadTransaction, actor: Actor, scope: str) -> ScopeAccess:
    *_, plural, text = ["", *scope.strip("/").split("/")]
    uuid = hex_uuid(text)
    kinds = [_PLURALS[plural]] if plural in _PLURALS else sorted(map(ScopeKind, WALDUR_KINDS))
    for kind in kinds if uuid else ():
        try:
            access = access_queries.get_visible(tx, actor, kind, uuid or "")
            import_actions.require_may_import(actor, access)
        except NotFound:
            continue
        except Refusal:
            raise UnfitImportError(f"{actor.username} may not invite people there") from None
        return access
    raise UnfitImportError(f"{actor.username} sees no organisation or project {scope}")


def _default_role(
    tx: ReadTransaction, actor: Actor, access: ScopeAccess, name: str
) -> RoleRow | None:
    if not name:
        return None
    role = Roles(tx, actor, access).find(name)
    if role is None:
        raise UnfitImportError(f"there is no role {name} there")
    return role


def run(
    database: Database,
    settings: Settings,
    actor: Actor,
    judged: Judged,
    progress: Callable[[Mapping[str, int]], None],
) -> Counter[RowState]:
    """Invite the people of all ready rows; return how many rows are in each state then.

    This process does the work. A worker may do a part of it at the same time, and goes on if this
    process ends.

    Args:
        progress: is told the number of rows in each state from time to time.

    Returns:
        The counts. Rows that are still ready show that somebody has stopped the import, or that the
        account was deactivated.

    Raises:
        UnfitImportError: a rule has changed in the meantime.
    """
    try:
        while True:
            uuid, is_begun = _begin(database, actor, judged)
            found = _work(database, settings, actor, uuid, progress)
            if is_begun:
                return Counter({RowState(name): count for name, count in found.items()})
    except Refusal as refusal:
        raise UnfitImportError(reason_of(refusal.code, refusal.facts)) from None


def _begin(database: Database, actor: Actor, judged: Judged) -> tuple[str, bool]:
    """Store an import and start it; return its UUID, and False if others had started or undone it.

    Raises:
        Refusal: as ``store`` and ``start``.
    """
    with database.write() as tx:
        uuid, _ = import_actions.store(tx, actor, judged)
        row = import_queries.get_visible(tx, actor, uuid)
        ready = import_queries.counts(tx, [row.id])[row.id].get(RowState.READY, 0)
        is_startable = State(row.state) in import_rules.STARTABLE
        if is_startable and ready:
            import_actions.start(tx, actor, uuid, None)
        return uuid, is_startable


def _work(
    database: Database,
    settings: Settings,
    actor: Actor,
    uuid: str,
    progress: Callable[[Mapping[str, int]], None],
) -> dict[str, int]:
    """Work until an import is done; return how many of its rows are in each state.

    Raises:
        NotFound: ``import.unknown``: it is gone, or the actor may not see it any more.
    """
    while True:
        with database.read() as tx:
            row = import_queries.get_visible(tx, actor, uuid)
            found = import_queries.counts(tx, [row.id])[row.id]
        progress(found)
        if State(row.state) not in import_rules.BUSY:
            return found
        with database.write() as tx:
            has_worked = import_actions.run_next(tx, settings)
        if not has_worked:
            # A worker is at it.
            time.sleep(_POLL_INTERVAL)


def counts(rows: Collection[Judgement]) -> Counter[RowState]:
    """Return how many rows are in each state."""
    return Counter(row.state for row in rows)


def summary(found: Mapping[RowState, int]) -> Iterator[str]:
    """Yield a line for each state that rows are in."""
    for state in RowState:
        if found.get(state):
            yield f"{found[state]:>6}  {_LABELS[state]}"


def details(rows: Collection[Judgement]) -> Iterator[str]:
    """Yield a line for each row that somebody has to look at."""
    for judgement in rows:
        if judgement.problem is not None and judgement.state in _SHOWN:
            problem = judgement.problem.stored()
            # A cell may contain what a terminal would obey.
            email = short(one_line(judgement.row.cells.get("email", "")), _ADDRESS_MAX)
            field = f" ({problem['field']})" if problem["field"] else ""
            yield f"row {judgement.row.number}: {email or 'no address'}{field}: {reason(problem)}"


def is_stopped(found: Mapping[RowState, int]) -> bool:
    """Return whether an import that ``run`` has started was stopped before its end."""
    return bool(found.get(RowState.READY))


def has_faults(found: Mapping[RowState, int]) -> bool:
    """Return whether somebody has to look at rows: malformed and refused ones."""
    return any(found.get(state) for state in _FAULTS)
