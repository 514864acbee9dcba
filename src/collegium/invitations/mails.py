"""Contents of the e-mails about invitations to staff and to the inviter."""

from collections.abc import Callable
from typing import Any, Final

from collegium.accounts import queries as account_queries
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.invitations import approvals, links
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import State, effective_state
from collegium.outbox.mails import (
    InvitationAccepted,
    InvitationDeclined,
    InvitationExpired,
    InvitationRejected,
    InvitationRenewalWished,
    InvitationRequested,
    InvitationTurnedAway,
)
from collegium.outbox.outcomes import ObsoleteError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.text.email_addresses import same_mailbox
from collegium.text.plain import name_line, paragraph

Loader = Callable[[ReadTransaction, Settings, Vault, dict[str, Any]], dict[str, Any]]


def _found(tx: ReadTransaction, number: int) -> Row:
    invitation = invitation_queries.by_id(tx, number)
    if invitation is None or invitation.scope_removed_at is not None:
        raise ObsoleteError("The invitation no longer exists.")
    return invitation


def _common(settings: Settings, invitation: Row) -> dict[str, Any]:
    """Return the values that all of these templates use."""
    name = name_line(f"{invitation.creator_first_name or ''} {invitation.creator_last_name or ''}")
    in_organisation = invitation.scope_kind == "project"
    return {
        "sender": name or name_line(invitation.creator_username or ""),
        "role": name_line(invitation.role_description) or name_line(invitation.role_name),
        "scope_kind": invitation.scope_kind,
        "scope_name": name_line(invitation.scope_name),
        "organisation_name": name_line(invitation.organisation_name) if in_organisation else "",
        "email": name_line(invitation.email),
        "full_name": name_line(invitation.full_name),
        "link": (settings.homeport_url or settings.base_url).rstrip("/") + "/",
    }


def _at_team(settings: Settings, invitation: Row) -> dict[str, Any]:
    """Return the common values, with a link to the invitations of the scope.

    A separate front end (``homeport_url``) has pages of its own, so the link then stays general.
    """
    found = _common(settings, invitation)
    if not settings.homeport_url:
        team = links.scope_path(invitation.scope_kind, invitation.scope_uuid, invitation.scope_id)
        found["link"] = f"{settings.base_url.rstrip('/')}{team}invitations/"
    return found


def _requested(
    tx: ReadTransaction, settings: Settings, vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    invitation = _found(tx, facts["invitation"])
    if invitation.state != State.REQUESTED:
        raise ObsoleteError("Somebody else has already decided.")
    # E-mails that an earlier release has queued have no generation.
    if facts.get("generation", invitation.link_version) != invitation.link_version:
        raise ObsoleteError("The invitation was changed and needs approval again.")
    staff = account_queries.by_id(tx, facts["staff"])
    if staff is None or not staff.is_active or not staff.is_staff:
        raise ObsoleteError("The recipient can no longer approve invitations.")
    base = (settings.homeport_url or settings.base_url).rstrip("/")

    def link(purpose: str) -> str:
        # Each purpose has its own signature: the link that approves cannot reject, and vice versa.
        signed = vault.sign(
            purpose,
            staff.uuid,
            invitation.uuid,
            invitation.link_version,
            int(tx.now.timestamp()),
        )
        return f"{base}/{purpose}/{signed}/"

    return _common(settings, invitation) | {
        "approve_link": link(approvals.APPROVE),
        "reject_link": link(approvals.REJECT),
        "known": [
            (label, name_line(value))
            for label, value in (
                ("Native name", invitation.native_name),
                ("Phone number", invitation.phone_number),
                ("Institution", invitation.organization),
                ("Job title", invitation.job_title),
                ("Civil number", invitation.civil_number),
            )
            if value
        ],
        "extra_invitation_text": paragraph(invitation.extra_text),
    }


def _rejected(
    tx: ReadTransaction, settings: Settings, _vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    return _common(settings, _found(tx, facts["invitation"]))


def _expired(
    tx: ReadTransaction, settings: Settings, _vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    invitation = _found(tx, facts["invitation"])
    if effective_state(invitation.state, invitation.expires_at, tx.now) is not State.EXPIRED:
        raise ObsoleteError("The invitation was sent again, cancelled or accepted.")
    return _at_team(settings, invitation) | {"expires": invitation.expires_at}


def _turned_away(
    tx: ReadTransaction, settings: Settings, _vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    invitation = _found(tx, facts["invitation"])
    if invitation.turned_away_at is None:
        raise ObsoleteError("The invitation was sent again, or the account was activated.")
    return _at_team(settings, invitation)


def _accepted(
    tx: ReadTransaction, settings: Settings, _vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    invitation = _found(tx, facts["invitation"])
    taker = account_queries.by_id(tx, invitation.accepted_by) if invitation.accepted_by else None
    if taker is None:
        raise ObsoleteError("The account no longer exists.")
    return _common(settings, invitation) | {
        "taker": name_line(account_queries.full_name(taker)) or name_line(taker.username),
        "taker_email": name_line(taker.email),
    }


def _declined(
    tx: ReadTransaction, settings: Settings, _vault: Vault, facts: dict[str, Any]
) -> dict[str, Any]:
    invitation = _found(tx, facts["invitation"])
    who = account_queries.by_id(tx, facts["account"]) if facts["account"] else None
    other = ""
    # With a link that an inviter has shared, an account with another address may have declined. The
    # e-mail then names it.
    if who is not None and who.deleted_at is None and not same_mailbox(who.email, invitation.email):
        name = name_line(account_queries.full_name(who)) or name_line(who.username)
        other = f"{name} <{name_line(who.email)}>"
    return _at_team(settings, invitation) | {"other": other}


LOADERS: Final[dict[str, Loader]] = {
    InvitationRequested.kind: _requested,
    InvitationRejected.kind: _rejected,
    InvitationRenewalWished.kind: _expired,
    InvitationExpired.kind: _expired,
    InvitationTurnedAway.kind: _turned_away,
    InvitationAccepted.kind: _accepted,
    InvitationDeclined.kind: _declined,
}
