"""Admission: whom an organisation or project lets have a role.

The restrictions of an organisation also apply to its projects. They are judged when a role is
given; members who have one already keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from sqlalchemy import and_, bindparam, func, select

from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import (
    BigInt,
    accounts,
    organisation_roles,
    organisations,
    projects,
    role_concealments,
    scopes,
)
from collegium.memberships.rules import Applicant, Restrictions, is_admitted
from collegium.refusals import Conflict
from collegium.roles.availability import queries as availability_queries


class Candidate(Protocol):
    """A person and the role to give them."""

    @property
    def role_id(self) -> int:
        """The id of the role."""

    @property
    def email(self) -> str:
        """The address of the account."""

    @property
    def affiliations(self) -> list[str]:
        """The affiliations of the account."""

    @property
    def identity_source(self) -> str:
        """The source of the account."""


C = TypeVar("C", bound=Candidate)


class _ScopeRestrictions:
    """The restrictions of a scope; None where there is no such scope."""

    organisation_patterns: list[str] | None
    organisation_affiliations: list[str] | None
    organisation_sources: list[str] | None
    project_patterns: list[str] | None
    project_affiliations: list[str] | None
    project_sources: list[str] | None
    organisation_id: int


class _Admission(_ScopeRestrictions):
    """A role and an account, and the restrictions of a scope."""

    email: str
    affiliations: list[str]
    identity_source: str
    role_organisation_id: int | None
    concealment_id: int | None


_scope_restrictions = (
    select(
        organisations.c.email_patterns.label("organisation_patterns"),
        organisations.c.affiliations.label("organisation_affiliations"),
        organisations.c.identity_sources.label("organisation_sources"),
        projects.c.email_patterns.label("project_patterns"),
        projects.c.affiliations.label("project_affiliations"),
        projects.c.identity_sources.label("project_sources"),
        func.coalesce(scopes.c.parent_id, scopes.c.id).label("organisation_id"),
    )
    .select_from(scopes)
    .outerjoin(
        organisations, organisations.c.scope_id == func.coalesce(scopes.c.parent_id, scopes.c.id)
    )
    .outerjoin(projects, projects.c.scope_id == scopes.c.id)
    .where(scopes.c.id == bindparam("scope", type_=BigInt))
)
_RESTRICTIONS = Statement[_ScopeRestrictions](_scope_restrictions)
_ADMISSION = Statement[_Admission](
    _scope_restrictions.add_columns(
        accounts.c.email,
        accounts.c.affiliations,
        accounts.c.identity_source,
        organisation_roles.c.organisation_id.label("role_organisation_id"),
        role_concealments.c.id.label("concealment_id"),
    )
    .join(accounts, accounts.c.id == bindparam("account", type_=BigInt))
    .outerjoin(organisation_roles, organisation_roles.c.role_id == bindparam("role", type_=BigInt))
    .outerjoin(
        role_concealments,
        and_(
            role_concealments.c.role_id == bindparam("role", type_=BigInt),
            role_concealments.c.organisation_id == func.coalesce(scopes.c.parent_id, scopes.c.id),
        ),
    )
)


def check_may_have(tx: ReadTransaction, account: int, role: int, scope: int) -> None:
    """Require that an organisation or project admits a person, and uses a role.

    Args:
        account: id of the account.
        role: id of the role.
        scope: id of the scope, which the caller has locked.

    Raises:
        Conflict: ``scope.not_admitted``, ``role.not_available``, ``role.concealed``.
    """
    row = tx.fetch_only(_ADMISSION, account=account, role=role, scope=scope)
    if row.role_organisation_id not in {None, row.organisation_id}:
        raise Conflict("role.not_available")
    if row.concealment_id is not None:
        raise Conflict("role.concealed")
    applicant = Applicant(row.email, row.affiliations, row.identity_source)
    if not all(is_admitted(restrictions, applicant) for restrictions in _restrictions_of(row)):
        raise Conflict("scope.not_admitted")


def select_admitted(tx: ReadTransaction, candidates: Sequence[C], scope: int) -> list[C]:
    """Return those whom ``check_may_have`` would let have their role, with two statements.

    Args:
        scope: id of the scope, which the caller has locked.
    """
    row = tx.fetch_only(_RESTRICTIONS, scope=scope)
    used = availability_queries.select_available(
        tx, {one.role_id for one in candidates}, row.organisation_id
    )
    restrictions = _restrictions_of(row)
    return [
        one
        for one in candidates
        if one.role_id in used
        and all(
            is_admitted(each, Applicant(one.email, one.affiliations, one.identity_source))
            for each in restrictions
        )
    ]


def _restrictions_of(row: _ScopeRestrictions) -> tuple[Restrictions, Restrictions]:
    """Return the restrictions of the organisation and of the project."""
    return (
        _restrictions(
            row.organisation_patterns, row.organisation_affiliations, row.organisation_sources
        ),
        _restrictions(row.project_patterns, row.project_affiliations, row.project_sources),
    )


def _restrictions(*lists: Sequence[str] | None) -> Restrictions:
    return Restrictions(*(values or () for values in lists))
