"""What claim rules give to a person who signs in, and what they take away again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountDetails
from collegium.claim_rules import queries as claim_rule_queries
from collegium.claim_rules import rules as claim_rule_rules
from collegium.claim_rules.queries import GivenRole, RuleRow
from collegium.claim_rules.rules import Check, Facts
from collegium.db.database import ForeignKeyViolationError, ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invite_links import rules as invite_link_rules
from collegium.memberships import queries as membership_queries
from collegium.memberships.admission import check_may_have
from collegium.memberships.leaving import is_last_owner
from collegium.memberships.notices import actions as notice_actions
from collegium.memberships.rules import GrantSource
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.scopes.actions import ScopeRef, grant
from collegium.scopes.projects import actions as project_actions
from collegium.settings import Settings

PROTECTED: Final = "claim_rule.protected"
UNMATCHED: Final = "claim_rule.unmatched"


class Target(NamedTuple):
    """A role that a rule gives.

    Args:
        scope: id of the scope; None for a project that is not there yet.
        name: name of the scope; empty for such a project.
        is_gone: whether the scope was deleted, or is elsewhere.
    """

    role: int
    scope: int | None
    kind: ScopeKind
    name: str
    is_gone: bool


class Changes(NamedTuple):
    """What rules have to give to a person, and which of their gifts are over."""

    gives: list[tuple[RuleRow, Target]]
    ends: list[tuple[RuleRow, GivenRole]]
    """Roles to take away."""
    releases: list[GivenRole]
    """Roles that somebody has taken away, and that may be given again later."""


class Preview(NamedTuple):
    """What a rule would do for a person who signs in now.

    Args:
        checks: the conditions.
        obstacle: why the rule would give nothing, a code; empty if it would.
        project: name of the project; empty if the rule gives no role in one.
        project_exists: whether the project exists.
        project_is_gone: whether the project was deleted or somebody has taken the role away.
    """

    checks: list[Check]
    obstacle: str
    project: str = ""
    project_exists: bool = False
    project_is_gone: bool = False


def facts_of(tx: ReadTransaction, account: AccountDetails) -> Facts:
    """Return what is stored about a person."""
    return Facts(
        account.email,
        tuple(account.affiliations),
        account.identity_source,
        claim_rule_queries.stored_claims(tx, account.id),
    )


def scopes_to_lock(
    tx: ReadTransaction,
    account: AccountDetails,
    load_facts: Callable[[ReadTransaction, AccountDetails], Facts] = facts_of,
) -> list[int]:
    """Return the ids of the scopes in which rules will change something; mostly there are none.

    Args:
        load_facts: returns what is known about the person; called only if there are rules.
    """
    changes = _changes(tx, account, load_facts)
    ids = {rule.organisation_id for rule, _ in changes.gives}
    ids |= {target.scope for _, target in changes.gives if target.scope is not None}
    for given in (*(given for _, given in changes.ends), *changes.releases):
        ids |= {given.scope_id, *([] if given.parent_id is None else [given.parent_id])}
    return sorted(ids)


def apply(
    tx: WriteTransaction, settings: Settings, account: AccountDetails, locked: Collection[int]
) -> None:
    """Grant an account the roles of the rules that it meets; take away those that are over.

    What cannot be given at the moment is left out: a rule prevents no sign-in.

    Args:
        account: as it is stored now.
        locked: ids of the scopes that are locked, from ``scopes_to_lock``. Anything that concerns
            other scopes waits for the next sign-in.
    """
    if not locked:
        return
    # Another sign-in may have done it while this one waited for the locks.
    changes = _changes(tx, account)
    for given in changes.releases:
        claim_rule_queries.release(tx, account.id, given)
    for rule, given in changes.ends:
        if given.scope_id in locked:
            _take_away(tx, account, rule, given)
    for rule, target in changes.gives:
        # Its lock is enough for a project that another sign-in has created or found meanwhile.
        if rule.organisation_id in locked:
            # The last error: somebody has removed the rule in the meantime.
            refusals = (Conflict, Invalid, NotFound, ForeignKeyViolationError)
            with suppress(*refusals), tx.savepoint():
                _give(tx, settings, account, rule, target)


def lock(tx: WriteTransaction, scopes: Iterable[int]) -> None:
    """Lock scopes in the order of all transactions: parents first."""
    if ids := set(scopes):
        access_queries.lock_scopes(tx, ids)


def preview(tx: ReadTransaction, rule: RuleRow, account: AccountDetails) -> Preview:
    """Return what a rule would do for a person who signs in now. Nothing changes."""
    checks = claim_rule_rules.checks(rule, facts_of(tx, account))
    given = [one for one in claim_rule_queries.given_to(tx, account.id) if one.rule_id == rule.id]
    obstacle = ""
    if _is_protected(account):
        obstacle = PROTECTED
    elif not all(check.is_met for check in checks):
        obstacle = UNMATCHED
    elif not account.is_active:
        obstacle = "account.inactive"
    else:
        targets = _targets(rule, given)
        obstacle = next(filter(None, (_obstacle(rule, target) for target in targets)), "")
        obstacle = obstacle or _refusal_to_admit(tx, account, rule, targets)
    if not rule.creates_project:
        return Preview(checks, obstacle)
    own = _own_project(rule, given)
    if own is not None:
        is_gone = own.deleted_at is not None or (own.ended_at is not None and not own.is_released)
        return Preview(checks, obstacle, own.scope_name, not is_gone, is_gone)
    name = rule.project_name or _project_name(rule, account)
    is_there = rule.project_id is not None or (
        not claim_rule_rules.is_for_each(rule.template)
        and claim_rule_queries.project_named(tx, rule.organisation_id, name) is not None
    )
    is_gone = _is_project_gone(rule)
    return Preview(checks, obstacle, name, is_there and not is_gone, is_gone)


def _refusal_to_admit(
    tx: ReadTransaction, account: AccountDetails, rule: RuleRow, targets: Sequence[Target]
) -> str:
    """Return a code if the organisation or project does not admit the person, or use the role."""
    try:
        for one in targets:
            check_may_have(tx, account.id, one.role, one.scope or rule.organisation_id)
    except Conflict as refusal:
        return refusal.code
    return ""


def obstacles(rule: RuleRow) -> list[str]:
    """Return why a rule can give nothing, or not everything, to anybody: codes of refusals."""
    found = (_obstacle(rule, target) for target in _targets(rule, []))
    return list(dict.fromkeys(filter(None, found)))


def _is_protected(account: AccountDetails) -> bool:
    """Return whether rules leave an account alone: staff and support see everything anyway."""
    return account.is_staff or account.is_support


def _changes(
    tx: ReadTransaction,
    account: AccountDetails,
    load_facts: Callable[[ReadTransaction, AccountDetails], Facts] = facts_of,
) -> Changes:
    changes = Changes([], [], [])
    rules = claim_rule_queries.all_rules(tx)
    if not rules or _is_protected(account):
        return changes
    facts = load_facts(tx, account)
    given: dict[int, list[GivenRole]] = {}
    for one in claim_rule_queries.given_to(tx, account.id):
        given.setdefault(one.rule_id, []).append(one)
    held = {
        (one.role_id, one.scope_id): one.id
        for one in membership_queries.open_grants(tx, account.id)
        if one.valid_until is None or one.valid_until > tx.now
    }
    targets = [
        (rule, _targets(rule, given.get(rule.id, [])))
        for rule in rules
        if claim_rule_rules.matches(rule, facts)
    ]
    wanted = {(rule.id, one.role, one.scope) for rule, ones in targets for one in ones}
    matched = {rule.id for rule, _ in targets}
    uncertain = {
        rule.id
        for rule in rules
        if rule.id not in matched and claim_rule_rules.could_match(rule, facts)
    }
    for rule in rules:
        for record in given.get(rule.id, []):
            key = (record.role_id, record.scope_id)
            if record.is_released or (rule.id, *key) in wanted:
                continue
            if held.get(key) != record.grant_id:
                # Somebody has taken it away, and perhaps given it again.
                changes.releases.append(record)
            elif rule.revokes and rule.id not in uncertain:
                changes.ends.append((rule, record))
                # Another rule may give the same role.
                del held[key]
    for rule, ones in targets:
        kept = {
            (one.role_id, one.scope_id) for one in given.get(rule.id, []) if not one.is_released
        }
        changes.gives.extend(
            (rule, one)
            for one in ones
            if not _obstacle(rule, one) and (one.role, one.scope) not in {*held, *kept}
        )
    return changes


def _targets(rule: RuleRow, given: Sequence[GivenRole]) -> list[Target]:
    targets = []
    if rule.organisation_role_id is not None:
        targets.append(
            Target(
                rule.organisation_role_id,
                rule.organisation_id,
                ScopeKind.ORGANISATION,
                rule.organisation_name,
                is_gone=False,
            )
        )
    if rule.creates_project and rule.project_role_id is not None:
        project, name = rule.project_id, rule.project_name or ""
        is_gone = _is_project_gone(rule)
        if (own := _own_project(rule, given)) is not None:
            project, name, is_gone = own.scope_id, own.scope_name, own.deleted_at is not None
        targets.append(Target(rule.project_role_id, project, ScopeKind.PROJECT, name, is_gone))
    return targets


def _is_project_gone(rule: RuleRow) -> bool:
    """Return whether the project for everybody was deleted, or moved to another organisation."""
    return rule.project_id is not None and (
        rule.project_deleted_at is not None or rule.project_parent_id != rule.organisation_id
    )


def _own_project(rule: RuleRow, given: Sequence[GivenRole]) -> GivenRole | None:
    """Return the latest gift of the project that a rule created for a person; None if it did not.

    A deleted project counts too: nobody gets a second one.
    """
    if not claim_rule_rules.is_for_each(rule.template):
        return None
    own = [one for one in given if one.is_own_project and one.parent_id == rule.organisation_id]
    return own[-1] if own else None


def _obstacle(rule: RuleRow, target: Target) -> str:
    """Return why a role cannot be given today, as far as the rule's row says; empty otherwise."""
    is_project = target.kind is ScopeKind.PROJECT
    is_active = rule.project_role_is_active if is_project else rule.organisation_role_is_active
    if rule.organisation_deleted_at is not None:
        return "organisation.unknown"
    if rule.blocked or rule.archived:
        return "organisation.unavailable"
    if target.is_gone:
        return "project.unknown"
    return "" if is_active else "role.inactive"


def _give(
    tx: WriteTransaction, settings: Settings, account: AccountDetails, rule: RuleRow, target: Target
) -> None:
    """Grant a role.

    Raises:
        Conflict: ``grant.elsewhere``, ``organisation.too_many_projects``, ``account.inactive``,
            ``scope.not_admitted``.
    """
    if settings.invitation_disable_multiple_roles:
        access_queries.lock_account(tx, account.id)
        if membership_queries.has_any_grant(tx, account.id):
            raise Conflict("grant.elsewhere")
    is_project = target.kind is ScopeKind.PROJECT
    scope = target.scope
    if scope is None:
        scope = _find_or_create_project(tx, settings, account, rule)
        if membership_queries.active_grant(tx, account.id, target.role, scope) is not None:
            # It was given otherwise, so it is not the rule's.
            return
    grant_id = grant(
        tx,
        None,
        account.id,
        target.role,
        ScopeRef(scope, target.kind),
        by=None,
        source=GrantSource.RULE,
    )
    claim_rule_queries.record_given(
        tx,
        account.id,
        rule.id,
        scope,
        target.role,
        grant_id,
        is_own_project=is_project and claim_rule_rules.is_for_each(rule.template),
    )
    role = rule.project_role_name if is_project else rule.organisation_role_name
    event_queries.record(
        tx,
        None,
        events.RoleGranted(
            scope=scope,
            account=account.id,
            role=role or "",
            scope_name=target.name or _project_name(rule, account),
            username=account.username,
            rule=rule.name,
        ),
    )


def _find_or_create_project(
    tx: WriteTransaction, settings: Settings, account: AccountDetails, rule: RuleRow
) -> int:
    """Return the project of a rule; its organisation is locked.

    A project of a person's own is always a new one. Otherwise people would get into other projects
    by the names that they choose.
    """
    is_own = claim_rule_rules.is_for_each(rule.template)
    name = _project_name(rule, account)
    project = None
    if not is_own:
        project = claim_rule_queries.project_named(tx, rule.organisation_id, name)
    if project is None:
        values = {"name": name}
        project = project_actions.add(tx, None, rule.organisation_id, values, settings=settings)[0]
    if not is_own:
        claim_rule_queries.set_project(tx, rule.id, project)
    return project


def _project_name(rule: RuleRow, account: AccountDetails) -> str:
    return invite_link_rules.project_name(
        rule.template,
        username=account.username,
        email=account.email,
        full_name=account_queries.full_name(account),
    )


def _take_away(
    tx: WriteTransaction, account: AccountDetails, rule: RuleRow, given: GivenRole
) -> None:
    """End a role that a rule gave, unless it is the last owner's."""
    current = membership_queries.active_grant(tx, account.id, given.role_id, given.scope_id)
    if current is None or is_last_owner(tx, given.scope_kind, given.role_name, current):
        return
    if membership_queries.end(tx, current.id, None):
        notice_actions.removed(tx, None, current.id)
        claim_rule_queries.release(tx, account.id, given)
        event_queries.record(
            tx,
            None,
            events.RoleRevoked(
                scope=given.scope_id,
                account=account.id,
                role=given.role_name,
                scope_name=given.scope_name,
                username=account.username,
                until=tx.now,
                rule=rule.name,
            ),
        )
