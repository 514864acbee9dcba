"""Judge the rows of an import, by the rules of a single invitation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from collegium.access.labels import role_label
from collegium.access.queries import ScopeAccess
from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction
from collegium.imports import rules as import_rules
from collegium.imports.rules import Field, Person, Row, RowProblem, RowState
from collegium.invitations import candidates
from collegium.invitations.actions import initial_state, refusal_to_invite
from collegium.invitations.candidates import Candidates, Obstacle
from collegium.invitations.mail_budgets import actions as mail_budget_actions
from collegium.invitations.rules import State, refusal_of_end
from collegium.refusals import Refusal
from collegium.roles import queries as role_queries
from collegium.roles.queries import RoleRow
from collegium.settings import Settings
from collegium.text import languages

BATCH: Final = 1000
"""Rows that are judged with one set of statements."""

_FACTS: Final = frozenset({"seconds", "start"})
"""The facts of refusals that are kept: they are JSON, and the reasons name them."""

_OF_THE_END: Final = frozenset({"invitation.role_ended", "invitation.ends_before_start"})

_STATES: Final = {Obstacle.MEMBER: RowState.MEMBER, Obstacle.INVITED: RowState.INVITED}


class Roles:
    """The roles that the rows of an import can name.

    Args:
        default: the role of rows that name none; None if there is none.
    """

    def __init__(
        self,
        tx: ReadTransaction,
        actor: Actor,
        scope_access: ScopeAccess,
        default: RoleRow | None = None,
    ) -> None:
        scope = scope_access.scope
        self._actor = actor
        self._scope_access = scope_access
        self._default = default
        self._by_name: dict[str, RoleRow] = {}
        self.by_uuid: dict[str, RoleRow] = {}
        for role in role_queries.of_kind(tx, scope.kind, scope.parent_id or scope.id):
            self.by_uuid[role.uuid] = role
            for name in (role.name, role.name.rpartition(".")[2], role.description, role.uuid):
                self._by_name.setdefault(name.casefold(), role)
        self._has_translations = False
        if default is not None:
            self.by_uuid.setdefault(default.uuid, default)
        self._refusals: dict[int, Refusal | None] = {}

    def find(self, name: str) -> RoleRow | None:
        """Return the role that a row names, by its name, its label in any language or its UUID."""
        if not name:
            return self._default
        found = self._by_name.get(name.casefold())
        if found is None and not self._has_translations:
            self._add_translations()
            found = self._by_name.get(name.casefold())
        return found

    def _add_translations(self) -> None:
        """Add what the roles are called on pages and in e-mails of every language."""
        for language in languages.available():
            with languages.using(language):
                for role in self.by_uuid.values():
                    label = role_label(role.description, role.name)
                    self._by_name.setdefault(label.casefold(), role)
        self._has_translations = True

    def refusal(self, tx: ReadTransaction, role: RoleRow) -> Refusal | None:
        """Return why the actor cannot invite to a role; the rules are asked once for each role."""
        if role.id not in self._refusals:
            self._refusals[role.id] = refusal_to_invite(tx, self._actor, self._scope_access, role)
        return self._refusals[role.id]


class Judgement(NamedTuple):
    """What was found about a row.

    Args:
        person: what the row says; None if it is malformed.
        role: the role that it means; None if it is malformed.
    """

    row: Row
    state: RowState
    problem: RowProblem | None
    person: Person | None = None
    role: RoleRow | None = None

    def stored(self) -> dict[str, Any]:
        """Return the columns of the row."""
        return {
            "number": self.row.number,
            "cells": dict(self.row.cells),
            "email_comparable": self.person.key if self.person else "",
            "role_uuid": self.role.uuid if self.role else None,
            "state": self.state.value,
            "problem": self.problem.stored() if self.problem else {},
        }


def judge(
    tx: ReadTransaction,
    actor: Actor,
    settings: Settings,
    scope_access: ScopeAccess,
    roles: Roles,
    rows: Sequence[Row],
    *,
    role_uuids: Mapping[int, str] | None = None,
    seen: set[tuple[str, int]] | None = None,
) -> list[Judgement]:
    """Judge a bounded number of rows. The number of statements does not depend on it.

    Args:
        role_uuids: the roles that were found before, by number of the row.
        seen: address and role of earlier rows of the file; those of these rows are added.
    """
    seen = set() if seen is None else seen
    parsed = [_parse(row, roles, tx, (role_uuids or {}).get(row.number)) for row in rows]
    keys = {each.person.key for each in parsed if each.person is not None}
    known = candidates.load(tx, scope_access.scope, keys)
    start_date = scope_access.scope.start_date
    judged = [_judge_one(tx, each, roles, known, seen, start_date) for each in parsed]
    if initial_state(tx, actor, settings, start_date, approved=False) is State.PENDING:
        return _judge_budgets(tx, actor, settings, judged)
    return judged


def _parse(row: Row, roles: Roles, tx: ReadTransaction, role_uuid: str | None) -> Judgement:
    person = import_rules.parse(row, tx.now)
    if isinstance(person, RowProblem):
        return Judgement(row, RowState.MALFORMED, person)
    role = roles.find(person.role) if role_uuid is None else roles.by_uuid.get(role_uuid)
    if role is None:
        code = "import.unknown_role" if person.role or role_uuid else "import.no_role"
        return Judgement(row, RowState.MALFORMED, RowProblem(Field.ROLE, code, {}))
    return Judgement(row, RowState.READY, None, person, role)


def _judge_one(
    tx: ReadTransaction,
    judgement: Judgement,
    roles: Roles,
    known: Candidates,
    seen: set[tuple[str, int]],
    start_date: date | None,
) -> Judgement:
    person, role = judgement.person, judgement.role
    if person is None or role is None:
        return judgement
    place = (person.key, role.id)
    if place in seen:
        return judgement._replace(
            state=RowState.REPEATED, problem=RowProblem("", "import.repeated", {})
        )
    seen.add(place)
    obstacle = known.obstacle(person.key, role.id)
    if obstacle is not None:
        return judgement._replace(
            state=_STATES[obstacle], problem=RowProblem("", f"import.{obstacle}", {})
        )
    refusal = roles.refusal(tx, role) or refusal_of_end(person.until, start_date, tx.now)
    if refusal is not None:
        return refused(judgement, refusal)
    return judgement


def _judge_budgets(
    tx: ReadTransaction, actor: Actor, settings: Settings, judged: list[Judgement]
) -> list[Judgement]:
    ready = {
        index: each.person.email
        for index, each in enumerate(judged)
        if each.state is RowState.READY and each.person is not None
    }
    found = mail_budget_actions.refusals(tx, settings, list(ready.values()), actor)
    for index, refusal in zip(ready, found, strict=True):
        if refusal is not None:
            judged[index] = refused(judged[index], refusal)
    return judged


def refused(judgement: Judgement, refusal: Refusal) -> Judgement:
    """Return the judgement of a row that a rule refuses."""
    facts = {name: fact for name, fact in refusal.facts.items() if name in _FACTS}
    field = Field.UNTIL if refusal.code in _OF_THE_END else ""
    problem = RowProblem(field, refusal.code, facts)
    return judgement._replace(state=RowState.REFUSED, problem=problem)
