"""Admission: whom an organisation or project lets have a role.

The restrictions of an organisation also apply to its projects. They are judged when a role is
given; members who have one already keep it.
"""

from __future__ import annotations

from collections.abc import Sequence

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


class _Admission:
    """An account, and the restrictions of a scope; None where there is no such scope."""

    email: str
    affiliations: list[str]
    identity_source: str
    organisation_patterns: list[str] | None
    organisation_affiliations: list[str] | None
    organisation_sources: list[str] | None
    project_patterns: list[str] | None
    project_affiliations: list[str] | None
    project_sources: list[str] | None
    organisation_id: int
    role_organisation_id: int | None
    concealment_id: int | None


_ADMISSION = Statement[_Admission](
    select(
        accounts.c.email,
        accounts.c.affiliations,
        accounts.c.identity_source,
        organisations.c.email_patterns.label("organisation_patterns"),
        organisations.c.affiliations.label("organisation_affiliations"),
        organisations.c.identity_sources.label("organisation_sources"),
        projects.c.email_patterns.label("project_patterns"),
        projects.c.affiliations.label("project_affiliations"),
        projects.c.identity_sources.label("project_sources"),
        func.coalesce(scopes.c.parent_id, scopes.c.id).label("organisation_id"),
        organisation_roles.c.organisation_id.label("role_organisation_id"),
        role_concealments.c.id.label("concealment_id"),
    )
    .select_from(scopes)
    .join(accounts, accounts.c.id == bindparam("account", type_=BigInt))
    .outerjoin(
        organisations, organisations.c.scope_id == func.coalesce(scopes.c.parent_id, scopes.c.id)
    )
    .outerjoin(projects, projects.c.scope_id == scopes.c.id)
    .outerjoin(organisation_roles, organisation_roles.c.role_id == bindparam("role", type_=BigInt))
    .outerjoin(
        role_concealments,
        and_(
            role_concealments.c.role_id == bindparam("role", type_=BigInt),
            role_concealments.c.organisation_id == func.coalesce(scopes.c.parent_id, scopes.c.id),
        ),
    )
    .where(scopes.c.id == bindparam("scope", type_=BigInt))
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
    for restrictions in (
        _restrictions(
            row.organisation_patterns, row.organisation_affiliations, row.organisation_sources
        ),
        _restrictions(row.project_patterns, row.project_affiliations, row.project_sources),
    ):
        if not is_admitted(restrictions, applicant):
            raise Conflict("scope.not_admitted")


def _restrictions(*lists: Sequence[str] | None) -> Restrictions:
    return Restrictions(*(values or () for values in lists))
