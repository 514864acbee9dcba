"""SQL of claim rules, and of the roles that they have given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, delete, false, func, or_, select, update

from collegium.access.queries import OrganisationState
from collegium.access.rules import Actor
from collegium.claim_rules.rules import Conditions
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement
from collegium.db.tables import (
    BigInt,
    claim_rule_grants,
    claim_rules,
    grants,
    identities,
    identity_providers,
    organisations,
    roles,
    scopes,
)
from collegium.db.writing import insert_row, insertion, update_row
from collegium.lists.listing import Listing
from collegium.refusals import or_not_found
from collegium.sign_in.providers.rules import vouched_claims


class RuleRow(OrganisationState, Conditions):
    """A rule, with its organisation, its roles and its project."""

    id: int
    uuid: str
    name: str
    organisation_id: int
    organisation_uuid: str
    organisation_name: str
    organisation_deleted_at: datetime | None
    organisation_role_id: int | None
    organisation_role_uuid: str | None
    organisation_role_name: str | None
    organisation_role_description: str | None
    organisation_role_is_active: bool | None
    project_role_id: int | None
    project_role_uuid: str | None
    project_role_name: str | None
    project_role_description: str | None
    project_role_is_active: bool | None
    creates_project: bool
    template: str
    project_id: int | None
    project_uuid: str | None
    project_name: str | None
    project_parent_id: int | None
    project_deleted_at: datetime | None
    revokes: bool


class GivenRole:
    """A role that a rule has given to an account, with its latest grant."""

    rule_id: int
    scope_id: int
    role_id: int
    grant_id: int
    is_own_project: bool
    is_released: bool
    valid_until: datetime | None
    ended_at: datetime | None
    role_name: str
    scope_kind: str
    scope_name: str
    parent_id: int | None
    deleted_at: datetime | None


class StoredClaims:
    """What a provider said about a person at the latest sign-in."""

    id: int
    issuer: str
    claims: dict[str, Any]
    vouched_claims: list[str]
    trusted_domains: list[str]


class NamedScope:
    """A scope that was found by its name."""

    id: int
    uuid: str
    name: str


_rows = Relations(
    claim_rules,
    organisation=scopes.alias("rule_organisation"),
    organisations=Relation(
        organisations,
        on=organisations.c.scope_id == claim_rules.c.organisation_id,
        unprefixed=("blocked", "archived"),
    ),
    organisation_role=roles.alias("organisation_role"),
    project_role=roles.alias("project_role"),
    project=scopes.alias("rule_project"),
).select(RuleRow)

listing = Listing[RuleRow](
    rows=_rows,
    visible=false,  # only staff and support see rules
    key=claim_rules.c.id,
    default="created",
    orders={"created": (claim_rules.c.created_at,)},
)

_ALL = Statement[RuleRow](_rows.order_by(claim_rules.c.id))
_BY_UUID = Statement[RuleRow](_rows.where(claim_rules.c.uuid == bindparam("uuid")))
_LOCK = Statement[int](
    select(claim_rules.c.id).where(claim_rules.c.uuid == bindparam("uuid")).with_for_update()
)
_COUNT = Statement[int](select(func.count().label("count")).select_from(claim_rules))
_DELETE = Statement(delete(claim_rules).where(claim_rules.c.id == bindparam("rule", type_=BigInt)))
_SET_PROJECT = Statement(
    update(claim_rules)
    .where(claim_rules.c.id == bindparam("rule", type_=BigInt), claim_rules.c.project_id.is_(None))
    .values(project_id=bindparam("project", type_=BigInt))
)

_of_account = claim_rule_grants.c.account_id == bindparam("account", type_=BigInt)
_GIVEN = Statement[GivenRole](
    Relations(
        claim_rule_grants,
        grant=Relation(grants, unprefixed=("valid_until", "ended_at")),
        role=roles,
        scope=Relation(scopes, unprefixed=("parent_id", "deleted_at")),
    )
    .select(GivenRole)
    .where(_of_account)
    .order_by(claim_rule_grants.c.grant_id)
)
_CLAIMS = Statement[StoredClaims](
    select(
        identities.c.id,
        identities.c.issuer,
        identities.c.claims,
        identity_providers.c.vouched_claims,
        identity_providers.c.trusted_domains,
    )
    .join(identity_providers, identity_providers.c.id == identities.c.provider_id)
    .where(
        identities.c.account_id == bindparam("account", type_=BigInt),
        identity_providers.c.is_active,
    )
    .order_by(identities.c.id)
)
_same = and_(
    _of_account,
    claim_rule_grants.c.rule_id == bindparam("rule", type_=BigInt),
    claim_rule_grants.c.scope_id == bindparam("scope", type_=BigInt),
    claim_rule_grants.c.role_id == bindparam("role", type_=BigInt),
)
_INSERT_GIVEN = Statement(insertion(claim_rule_grants))
_GIVE_AGAIN = Statement(
    update(claim_rule_grants)
    .where(_same)
    .values(grant_id=bindparam("grant", type_=BigInt), is_released=False)
)
_RELEASE = Statement(update(claim_rule_grants).where(_same).values(is_released=True))
_COUNT_PEOPLE = Statement[int](
    select(func.count(claim_rule_grants.c.account_id.distinct()).label("count"))
    .join(grants, grants.c.id == claim_rule_grants.c.grant_id)
    .where(
        claim_rule_grants.c.rule_id == bindparam("rule", type_=BigInt), grants.c.ended_at.is_(None)
    )
)
_PROJECT_NAMED = Statement[int](
    select(scopes.c.id)
    .where(
        scopes.c.parent_id == bindparam("organisation", type_=BigInt),
        scopes.c.name == bindparam("name"),
        scopes.c.deleted_at.is_(None),
    )
    .order_by(scopes.c.id)
    .limit(1)
)
_ORGANISATIONS_NAMED = Statement[NamedScope](
    Relations(scopes)
    .select(NamedScope)
    .where(
        scopes.c.kind == "organisation",
        or_(scopes.c.name == bindparam("name"), scopes.c.uuid == bindparam("uuid")),
        scopes.c.deleted_at.is_(None),
    )
    .order_by(scopes.c.id)
    .limit(2)
)


def all_rules(tx: ReadTransaction) -> list[RuleRow]:
    """Return all rules, oldest first, without a visibility check."""
    return tx.fetch_all(_ALL)


def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> RuleRow:
    """Return a rule; only staff and support see one.

    Raises:
        NotFound: ``claim_rule.unknown``.
    """
    row = tx.fetch_one(_BY_UUID, uuid=uuid) if actor.sees_all else None
    return or_not_found(row, "claim_rule.unknown")


def get_locked(tx: WriteTransaction, actor: Actor, uuid: str) -> RuleRow:
    """Return a rule as ``get_visible``, with its row locked.

    Raises:
        NotFound: ``claim_rule.unknown``.
    """
    tx.fetch_one(_LOCK, uuid=uuid)
    return get_visible(tx, actor, uuid)


def count(tx: ReadTransaction) -> int:
    """Return the number of rules."""
    return tx.fetch_only(_COUNT)


def add(tx: WriteTransaction, values: Mapping[str, Any]) -> int:
    """Insert a rule and return its id."""
    return insert_row(tx, claim_rules, values)


def change(tx: WriteTransaction, rule: int, values: Mapping[str, Any]) -> None:
    """Update the given columns of a rule."""
    update_row(tx, claim_rules, rule, values)


def set_project(tx: WriteTransaction, rule: int, project: int) -> None:
    """Remember the project for everybody, unless the rule has one."""
    tx.execute(_SET_PROJECT, rule=rule, project=project)


def remove(tx: WriteTransaction, rule: int) -> None:
    """Delete a rule. The roles that it gave stay, and belong to no rule any more."""
    tx.execute(_DELETE, rule=rule)


def given_to(tx: ReadTransaction, account: int) -> list[GivenRole]:
    """Return the roles that rules have given to an account, ended ones too, oldest first."""
    return tx.fetch_all(_GIVEN, account=account)


def stored_claims(tx: ReadTransaction, account: int) -> dict[int, dict[str, Any]]:
    """Return the stored claims of an account by the id of the identity, at active providers.

    They are those for which the provider vouches. The issuer is among them as ``iss``.
    """
    rows = tx.fetch_all(_CLAIMS, account=account)
    return {row.id: vouched_claims({**row.claims, "iss": row.issuer}, row) for row in rows}


def record_given(
    tx: WriteTransaction,
    account: int,
    rule: int,
    scope: int,
    role: int,
    grant: int,
    *,
    is_own_project: bool,
) -> None:
    """Record that a rule has given a role, for the first time or again.

    Args:
        grant: id of the grant.
        is_own_project: whether the rule has created the scope for this account.
    """
    key = {"account": account, "rule": rule, "scope": scope, "role": role}
    if not tx.execute(_GIVE_AGAIN, **key, grant=grant):
        tx.execute(
            _INSERT_GIVEN,
            account_id=account,
            rule_id=rule,
            scope_id=scope,
            role_id=role,
            grant_id=grant,
            is_own_project=is_own_project,
            is_released=False,
        )


def release(tx: WriteTransaction, account: int, given: GivenRole) -> None:
    """Record that the person has stopped meeting the conditions."""
    tx.execute(
        _RELEASE, account=account, rule=given.rule_id, scope=given.scope_id, role=given.role_id
    )


def count_people(tx: ReadTransaction, rule: int) -> int:
    """Return the number of accounts with a role from a rule."""
    return tx.fetch_only(_COUNT_PEOPLE, rule=rule)


def project_named(tx: ReadTransaction, organisation: int, name: str) -> int | None:
    """Return the id of the oldest project of an organisation with exactly a name, or None."""
    return tx.fetch_one(_PROJECT_NAMED, organisation=organisation, name=name)


def organisations_named(tx: ReadTransaction, name: str, uuid: str | None) -> list[NamedScope]:
    """Return up to two organisations with exactly a name or with a UUID, 32 hex digits."""
    return tx.fetch_all(_ORGANISATIONS_NAMED, name=name, uuid=uuid)
