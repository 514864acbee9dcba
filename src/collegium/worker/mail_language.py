"""Decide in which language an e-mail is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import String, Table, bindparam, literal_column, select

from collegium.accounts import queries as account_queries
from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import grants, invitations, join_requests
from collegium.invitations import queries as invitation_queries
from collegium.invitations.queries import MailedInvitation
from collegium.outbox.mails import (
    InvitationApproved,
    InvitationCreated,
    InvitationDeclined,
    InvitationRequested,
    ProfileChangesOperator,
)
from collegium.outbox.queries import ClaimedMail
from collegium.scopes.organisations import queries as organisation_queries
from collegium.settings import Settings
from collegium.text import languages
from collegium.text.email_addresses import comparable_address

TO_INVITEE: Final = frozenset({InvitationCreated.kind, InvitationApproved.kind})
_ABOUT_OTHERS: Final = frozenset({InvitationDeclined.kind, ProfileChangesOperator.kind})
"""Kinds whose data name the account of somebody else than the reader."""


def language_of(tx: ReadTransaction, settings: Settings, row: ClaimedMail) -> str:
    """Return the language of an e-mail: the first of these that has a catalogue.

    It is the language of the reader's account, that of the invitation (of an e-mail to the invited
    person), that of the organisation that the e-mail is about, and that of the site. E-mails to
    staff, and those about several organisations, are not about one.

    Args:
        row: ``kind recipient payload`` of the outbox.
    """
    candidates = _of_invitation(tx, row) if row.kind in TO_INVITEE else _candidates(tx, row)
    for code in candidates:
        if code and (language := languages.if_available(code)):
            return language
    return languages.first_available(settings.language)


def _of_invitation(tx: ReadTransaction, row: ClaimedMail) -> Sequence[str | None]:
    """Return codes of languages for an invited person, the preferred one first."""
    invitation = invitation_of(tx, row.payload)
    if invitation is None:
        return ()
    return invitation.account_language, invitation.language, invitation.organisation_language


def invitation_of(tx: ReadTransaction, payload: Mapping[str, Any]) -> MailedInvitation | None:
    """Return the invitation of an e-mail to the invited person; ``look_up`` may have loaded it."""
    number: int = payload["invitation"]
    key = MailedInvitation, number
    if key not in tx.cache:
        tx.cache[key] = invitation_queries.mailed(tx, [number]).get(number)
    invitation: MailedInvitation | None = tx.cache[key]
    return invitation


def look_up(tx: ReadTransaction, rows: Iterable[ClaimedMail]) -> None:
    """Load what e-mails to invited people say into ``tx.cache``, with one statement for all."""
    named = [row.payload.get("invitation") for row in rows if row.kind in TO_INVITEE]
    # An entry that cannot be read fails by itself, when it is rendered.
    numbers = {number for number in named if isinstance(number, int)}
    if numbers:
        found = invitation_queries.mailed(tx, numbers)
        tx.cache |= {(MailedInvitation, number): found.get(number) for number in numbers}


def _candidates(tx: ReadTransaction, row: ClaimedMail) -> Sequence[str | None]:
    """Return codes of languages, the preferred one first."""
    payload = row.payload
    account = payload.get("account") or payload.get("staff")
    if row.kind in _ABOUT_OTHERS:
        account = None
    table, about = _about(row)
    found = tx.fetch_only(
        _languages(bool(account), table),
        **({"account": account} if account else _address(row.recipient)),
        **({} if table is None else {"row": about}),
    )
    return found.of_account, found.of_organisation


def _about(row: ClaimedMail) -> tuple[Table | None, int]:
    """Return what an e-mail is about: the table, and the id of the row."""
    payload = row.payload
    if row.kind != InvitationRequested.kind:
        if "invitation" in payload:
            return invitations, payload["invitation"]
        if "request" in payload:
            return join_requests, payload["request"]
        if payload.get("roles"):
            return grants, payload["roles"][0]["grant"]
    return None, 0


def _address(email: str) -> dict[str, str]:
    return {"email_comparable": comparable_address(email)}


class _Languages:
    of_account: str | None
    of_organisation: str | None


@lru_cache(maxsize=16)
def _languages(by_account: bool, table: Table | None) -> Statement[_Languages]:
    none = select(literal_column("NULL", String()))
    at_email = account_queries.language_at_email(bindparam("email_comparable", type_=String()))
    parts = {
        "of_account": account_queries.LANGUAGE if by_account else at_email,
        "of_organisation": none if table is None else organisation_queries.language_of(table),
    }
    return Statement[_Languages](
        select(*(part.scalar_subquery().label(name) for name, part in parts.items()))
    )
