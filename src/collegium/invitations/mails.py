"""Contents of the e-mails about invitations to staff and to the inviter."""

from collections.abc import Callable
from typing import Any, Final

from collegium.access.labels import role_label
from collegium.access.queries import permissions_in_scope
from collegium.access.rules import KINDS
from collegium.accounts import queries as account_queries
from collegium.accounts.mails import load_account, name_of
from collegium.accounts.queries import AccountDetails
from collegium.db.database import ReadTransaction
from collegium.invitations import approvals, links
from collegium.invitations import queries as invitation_queries
from collegium.invitations.queries import InvitationRow
from collegium.invitations.rules import State, effective_state
from collegium.outbox.mails import (
    InvitationAccepted,
    InvitationDeclined,
    InvitationExpired,
    InvitationInviteeDeactivated,
    InvitationRejected,
    InvitationRenewalRequested,
    InvitationRequested,
)
from collegium.outbox.outcomes import ObsoleteError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import actor_of
from collegium.text.email_addresses import same_mailbox
from collegium.text.languages import gettext as _
from collegium.text.plain import name_line, paragraph

Loader = Callable[[ReadTransaction, Settings, Vault, dict[str, Any]], dict[str, Any]]


def _load_invitation(tx: ReadTransaction, invitation_id: int) -> InvitationRow:
    invitation = invitation_queries.by_id(tx, invitation_id)
    if invitation is None or invitation.scope_deleted_at is not None:
        raise ObsoleteError("The invitation no longer exists.")
    return invitation


def _load_for_creator(tx: ReadTransaction, invitation_id: int) -> InvitationRow:
    """Load an invitation for an e-mail that only its creator gets."""
    invitation = _load_invitation(tx, invitation_id)
    load_account(tx, invitation.created_by)
    return invitation


def _load_for_inviter(tx: ReadTransaction, payload: dict[str, Any]) -> InvitationRow:
    """Load an invitation for an e-mail that its inviter gets, or else the managers of the scope."""
    invitation = _load_invitation(tx, payload["invitation"])
    account = load_account(tx, payload["account"])
    if account.id != invitation.created_by and not _is_manager(tx, account, invitation):
        raise ObsoleteError("The recipient can no longer invite people there.")
    return invitation


def _is_manager(tx: ReadTransaction, account: AccountDetails, invitation: InvitationRow) -> bool:
    access = permissions_in_scope(tx, actor_of(account), invitation.scope_id)
    grant = KINDS[invitation.scope_kind].grant
    return account.is_active and access is not None and grant in access.permissions


def _common_values(settings: Settings, invitation: InvitationRow) -> dict[str, Any]:
    """Return the values that all of these templates use."""
    name = name_line(f"{invitation.creator_first_name or ''} {invitation.creator_last_name or ''}")
    in_organisation = invitation.scope_kind == "project"
    return {
        "sender": name or name_line(invitation.creator_username or ""),
        "role": name_line(role_label(invitation.role_description, invitation.role_name)),
        "scope_kind": invitation.scope_kind,
        "scope_name": name_line(invitation.scope_name),
        "organisation_name": name_line(invitation.organisation_name) if in_organisation else "",
        "email": name_line(invitation.email),
        "full_name": name_line(invitation.full_name),
        "link": (settings.homeport_url or settings.base_url).rstrip("/") + "/",
    }


def _values_with_team_link(settings: Settings, invitation: InvitationRow) -> dict[str, Any]:
    """Return the common values, with a link to the invitations of the scope.

    A separate front end (``homeport_url``) has pages of its own, so the link then stays general.
    """
    values = _common_values(settings, invitation)
    if not settings.homeport_url:
        path = links.scope_path(invitation.scope_kind, invitation.scope_uuid, invitation.scope_id)
        values["link"] = f"{settings.base_url.rstrip('/')}{path}invitations/"
    return values


def _load_requested(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    invitation = _load_invitation(tx, payload["invitation"])
    if invitation.state != State.REQUESTED:
        raise ObsoleteError("Somebody else has already decided.")
    # E-mails that an earlier release has queued have no generation.
    if payload.get("generation", invitation.link_version) != invitation.link_version:
        raise ObsoleteError("The invitation was changed and needs approval again.")
    staff = account_queries.by_id(tx, payload["staff"])
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

    return _common_values(settings, invitation) | {
        "approve_link": link(approvals.APPROVE),
        "reject_link": link(approvals.REJECT),
        "known": [
            (label, name_line(value))
            for label, value in (
                (_("Native name"), invitation.native_name),
                (_("Phone number"), invitation.phone_number),
                (_("Institution"), invitation.organization),
                (_("Job title"), invitation.job_title),
                (_("Civil number"), invitation.civil_number),
            )
            if value
        ],
        "extra_invitation_text": paragraph(invitation.extra_text),
    }


def _load_rejected(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    return _common_values(settings, _load_for_creator(tx, payload["invitation"]))


def _load_expired(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    return _expired_values(tx, settings, _load_for_creator(tx, payload["invitation"]))


def _load_renewal_requested(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    return _expired_values(tx, settings, _load_for_inviter(tx, payload))


def _expired_values(
    tx: ReadTransaction, settings: Settings, invitation: InvitationRow
) -> dict[str, Any]:
    if effective_state(invitation.state, invitation.expires_at, tx.now) is not State.EXPIRED:
        raise ObsoleteError("The invitation was sent again, cancelled or accepted.")
    return _values_with_team_link(settings, invitation) | {"expires": invitation.expires_at}


def _load_invitee_deactivated(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    invitation = _load_for_inviter(tx, payload)
    if invitation.invitee_deactivated_at is None:
        raise ObsoleteError("The invitation was sent again, or the account was activated.")
    return _values_with_team_link(settings, invitation)


def _load_accepted(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    invitation = _load_for_creator(tx, payload["invitation"])
    account = account_queries.by_id(tx, invitation.accepted_by) if invitation.accepted_by else None
    if account is None:
        raise ObsoleteError("The account no longer exists.")
    return _common_values(settings, invitation) | {
        "taker": name_of(account),
        "taker_email": name_line(account.email),
    }


def _load_declined(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    invitation = _load_for_creator(tx, payload["invitation"])
    account = account_queries.by_id(tx, payload["account"]) if payload["account"] else None
    other_account = ""
    # With a link that an inviter has shared, an account with another address may have declined. The
    # e-mail then names it.
    if (
        account is not None
        and account.deleted_at is None
        and not same_mailbox(account.email, invitation.email)
    ):
        name = name_of(account)
        other_account = f"{name} <{name_line(account.email)}>"
    return _values_with_team_link(settings, invitation) | {"other": other_account}


LOADERS: Final[dict[str, Loader]] = {
    InvitationRequested.kind: _load_requested,
    InvitationRejected.kind: _load_rejected,
    InvitationRenewalRequested.kind: _load_renewal_requested,
    InvitationExpired.kind: _load_expired,
    InvitationInviteeDeactivated.kind: _load_invitee_deactivated,
    InvitationAccepted.kind: _load_accepted,
    InvitationDeclined.kind: _load_declined,
}
