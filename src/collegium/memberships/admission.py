"""Admission: whom an organisation or project lets have a role.

The restrictions of an organisation also apply to its projects. They are judged when a role is
given; members who have one already keep it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select

from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import BigInt, accounts, organisations, projects, scopes
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
    )
    .select_from(scopes)
    .join(accounts, accounts.c.id == bindparam("account", type_=BigInt))
    .outerjoin(
        organisations, organisations.c.scope_id == func.coalesce(scopes.c.parent_id, scopes.c.id)
    )
    .outerjoin(projects, projects.c.scope_id == scopes.c.id)
    .where(scopes.c.id == bindparam("scope", type_=BigInt))
)


def check_admitted(tx: ReadTransaction, account: int, scope: int) -> None:
    """Require that an organisation, or a project and its organisation, admit a person.

    Args:
        account: id of the account.
        scope: id of the scope, which the caller has locked.

    Raises:
        Conflict: ``scope.not_admitted``.
    """
    row = tx.fetch_only(_ADMISSION, account=account, scope=scope)
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
