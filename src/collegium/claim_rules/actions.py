"""Actions on claim rules: create, update, remove. All of them require staff.

What a rule gives and takes is in ``granting``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from collegium.access.rules import Actor, require_staff
from collegium.claim_rules import queries as claim_rule_queries
from collegium.claim_rules import rules as claim_rule_rules
from collegium.claim_rules.queries import RuleRow
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import check_quota

COLUMNS: Final = (
    *("name", "organisation_id", "organisation_role_id", "project_role_id", "creates_project"),
    *("template", "revokes", *claim_rule_rules.CONDITIONS),
)
"""The columns of a rule that people set."""

_FIXES_PROJECT: Final = frozenset({"organisation_id", "template", "creates_project"})
"""Columns whose change lets the rule look for its project anew."""


def create(tx: WriteTransaction, actor: Actor, values: Mapping[str, Any]) -> str:
    """Create a rule; return its UUID, 32 hex digits. It is judged from the next sign-ins on.

    Args:
        values: columns of the rule, at least ``name``.

    Raises:
        Forbidden: ``permission.missing``: the actor is not staff.
        Invalid: a value is not accepted, see ``claim_rules.rules.problems``.
        Conflict: ``claim_rule.too_many``.
    """
    require_staff(actor)
    for problem in claim_rule_rules.problems(values):
        raise problem
    check_quota(claim_rule_queries.count(tx), claim_rule_rules.RULES_MAX, "claim_rule.too_many")
    uuid = uuid4().hex
    row = {**values, "uuid": uuid, "created_at": tx.now, "modified_at": tx.now}
    claim_rule_queries.add(tx, row)
    event_queries.record(tx, actor, events.ClaimRuleCreated(rule=values["name"]))
    return uuid


def update(tx: WriteTransaction, actor: Actor, uuid: str, changes: Mapping[str, Any]) -> None:
    """Update a rule. People get and lose roles by it at their next sign-ins.

    Args:
        changes: columns of the rule.

    Raises:
        NotFound: ``claim_rule.unknown``.
        Forbidden: ``permission.missing``: the actor is not staff.
        Invalid: a value is not accepted, see ``claim_rules.rules.problems``.
    """
    require_staff(actor)
    rule = claim_rule_queries.get_locked(tx, actor, uuid)
    before = values_of(rule)
    for problem in claim_rule_rules.problems({**before, **changes}):
        raise problem
    changed = {name: value for name, value in changes.items() if before[name] != value}
    if not changed:
        return
    fields = sorted(changed)
    if not _FIXES_PROJECT.isdisjoint(changed):
        changed["project_id"] = None
    claim_rule_queries.change(tx, rule.id, {**changed, "modified_at": tx.now})
    event_queries.record(tx, actor, events.ClaimRuleUpdated(rule=rule.name, fields=fields))


def remove(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Remove a rule. The roles that it gave stay.

    Raises:
        NotFound: ``claim_rule.unknown``.
        Forbidden: ``permission.missing``: the actor is not staff.
    """
    require_staff(actor)
    rule = claim_rule_queries.get_locked(tx, actor, uuid)
    claim_rule_queries.remove(tx, rule.id)
    event_queries.record(tx, actor, events.ClaimRuleRemoved(rule=rule.name))


def values_of(rule: RuleRow) -> dict[str, Any]:
    """Return the columns of a rule that people set."""
    return {name: getattr(rule, name) for name in COLUMNS}
