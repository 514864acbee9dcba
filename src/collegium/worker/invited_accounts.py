"""Accounts for invited people who have none: created when the invitation e-mail is sent.

Such an account can only be used with the e-mail. Its password is derived from the secret key
when the e-mail is rendered, and is stored only as a hash.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountWithPassword
from collegium.accounts.rules import username_from, usernames_for
from collegium.db.database import Database, ReadTransaction, WriteTransaction
from collegium.db.statements import replace
from collegium.invitations import queries as invitation_queries
from collegium.invitations.actions import can_be_accepted
from collegium.invitations.queries import InvitationRow
from collegium.invitations.rules import is_current_mail
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import InvitationApproved, InvitationCreated
from collegium.outbox.queries import ClaimedMail
from collegium.refusals import Invalid
from collegium.security.crypto import Vault, check_password, hash_password
from collegium.settings import Settings
from collegium.text.email_addresses import same_mailbox

MAIL_KINDS: Final = frozenset({InvitationCreated.kind, InvitationApproved.kind})
"""The e-mails that can need an account for their recipient."""


def first_password(vault: Vault, uuid: str) -> str:
    """Derive the first password of an account that is created here; always the same.

    Args:
        uuid: of the account, 32 hex digits.
    """
    return vault.derive_code("first password", uuid)


def ensure_invited_account(
    database: Database,
    settings: Settings,
    vault: Vault,
    mail: ClaimedMail,
    now: datetime | None = None,
) -> ClaimedMail:
    """Ensure that an invited person has an account; return the e-mail as it must be rendered.

    The e-mail contains user name and password of an account that was created here and never used.
    That is an account created just now, or an earlier one unless the e-mail of another invitation
    already contains them. The account and the kind of the e-mail change in one transaction, so a
    retry finds both. An account that somebody uses is never changed.

    Args:
        mail: the claimed outbox row: ``id kind recipient payload attempts``; its kind is one of
            ``MAIL_KINDS``.
        now: the current time, UTC; None to read the clock.

    Raises:
        Conflict: ``mail.overtaken`` if another worker has claimed the e-mail in the meantime.
    """
    mentions_account = mail.kind == InvitationApproved.kind
    if not mentions_account and not settings.invitation_create_missing_user:
        return mail
    with database.read(now) as tx:
        invitation = invitation_queries.by_id(tx, mail.payload["invitation"])
        # No account is created for an invitation that cannot be accepted.
        if (
            invitation is None
            or not can_be_accepted(tx, invitation)
            or not is_current_mail(mail.payload, invitation.link_version)
        ):
            return mail
        # An invitation to a group belongs to an existing account, whatever its address is now.
        if invitation.account_id is not None:
            return mail
        account = (
            account_queries.with_password(tx, id=mail.payload["account"])
            if mentions_account
            else _find_account(tx, invitation)
        )
        is_sent = not mentions_account and invitation_queries.has_mail_of_other(
            tx, invitation, InvitationApproved.kind
        )
    if account is None and not mentions_account:
        return _create_account(database, settings, vault, mail, invitation, now)
    invitee = account if account and not is_sent and _is_fresh(vault, account, invitation) else None
    if mentions_account == (invitee is not None):
        return mail
    with database.write(now) as tx:
        return _set_mail_kind(tx, mail, None if invitee is None else invitee.id)


def _find_account(tx: ReadTransaction, invitation: InvitationRow) -> AccountWithPassword | None:
    """Return the account of the invited person, whether it was used or not."""
    return account_queries.with_password(
        tx,
        civil_number=invitation.civil_number,
        email=invitation.email,
        username=username_from(invitation.email),
    )


def _is_fresh(vault: Vault, account: AccountWithPassword, invitation: InvitationRow) -> bool:
    """Return whether an account was created here and has not been used or changed since."""
    return bool(
        account.is_active
        and account.last_login_at is None
        and account.password is not None
        and same_mailbox(account.email, invitation.email)
        and not invitation.civil_number
        and check_password(account.password, first_password(vault, account.uuid))
    )


def _create_account(
    database: Database,
    settings: Settings,
    vault: Vault,
    mail: ClaimedMail,
    invitation: InvitationRow,
    now: datetime | None,
) -> ClaimedMail:
    if invitation.civil_number:
        # Only a person with that civil number may accept. An inviter's claim must not put the
        # number into a new account.
        return mail
    uuid = uuid4().hex
    password = hash_password(first_password(vault, uuid))
    with database.write(now) as tx:
        while True:
            username = account_queries.free_username(tx, usernames_for(invitation.email))
            # This query must follow the choice of the name. A worker that creates the same account
            # at the same time has either chosen the same name, and then the unique index lets only
            # one of the two insert it, or its account is visible to this query.
            if _find_account(tx, invitation) is not None:
                return _set_mail_kind(tx, mail, None)
            values = _account_columns(invitation) | {
                "uuid": uuid,
                "username": username,
                "password": password,
            }
            try:
                account_id = account_actions.create(
                    tx, None, settings, vault, values, invitation=invitation.uuid
                )
            except Invalid as refusal:
                if refusal.code != "account.username_taken":
                    raise
            else:
                return _set_mail_kind(tx, mail, account_id)


def _account_columns(invitation: InvitationRow) -> dict[str, Any]:
    first, _, last = " ".join(invitation.full_name.split()).partition(" ")
    return {
        "email": invitation.email,
        "first_name": first,
        "last_name": last,
        "native_name": invitation.native_name,
        "phone_number": invitation.phone_number,
        "organization": invitation.organization,
        "job_title": invitation.job_title,
        "preferred_language": invitation.language,
    }


def _set_mail_kind(tx: WriteTransaction, mail: ClaimedMail, account: int | None) -> ClaimedMail:
    """Change the kind of an e-mail to match its account, or to mention no account."""
    kind = InvitationCreated.kind if account is None else InvitationApproved.kind
    payload = {name: value for name, value in mail.payload.items() if name != "account"}
    if account is not None:
        payload["account"] = account
    outbox_queries.change_kind(tx, mail.id, mail.attempts, kind, payload)
    return replace(mail, kind=kind, payload=payload)
