"""Decide in which language an e-mail is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from collegium.accounts import queries as account_queries
from collegium.db.database import ReadTransaction
from collegium.db.tables import grants, invitations, join_requests
from collegium.invitations import queries as invitation_queries
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

_TO_INVITEE: Final = frozenset({InvitationCreated.kind, InvitationApproved.kind})
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
    for code in _candidates(tx, row):
        if code and (language := languages.if_available(code)):
            return language
    return languages.first_available(settings.language)


def _candidates(tx: ReadTransaction, row: ClaimedMail) -> Iterator[str]:
    """Yield codes of languages, the preferred one first; each is looked up only if it is needed."""
    payload = row.payload
    account = payload.get("account") or payload.get("staff")
    if account and row.kind not in _ABOUT_OTHERS:
        yield account_queries.language_of(tx, account)
    else:
        yield account_queries.language_at(tx, row.recipient)
    if row.kind in _TO_INVITEE:
        yield invitation_queries.language_of(tx, payload["invitation"])
    if row.kind == InvitationRequested.kind:
        return
    if "invitation" in payload:
        yield organisation_queries.language_of(tx, invitations, payload["invitation"])
    elif "request" in payload:
        yield organisation_queries.language_of(tx, join_requests, payload["request"])
    elif payload.get("roles"):
        yield organisation_queries.language_of(tx, grants, payload["roles"][0]["grant"])
