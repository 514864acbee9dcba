"""Create the account of an invitee who has none and accept the invitation, or do neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from collegium.access.rules import Actor
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.queries import AccountDetails
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.invitations import actions as invitation_actions
from collegium.invitations.queries import InvitationRow
from collegium.refusals import Conflict
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import actor_of
from collegium.text.email_addresses import same_mailbox

_KNOWN: Final = ("native_name", "phone_number", "organization", "job_title")
"""What an invitation may say about the invitee, besides the name, which the form shows."""


class Joined(NamedTuple):
    """A new account that has accepted an invitation.

    Args:
        unconfirmed: the address that an e-mail asks to confirm; empty if none.
    """

    account: AccountDetails
    actor: Actor
    unconfirmed: str


def own_address(tx: ReadTransaction, invitation: InvitationRow, stated: str) -> str:
    """Return the invited address if it is that of a new person; empty if it is not.

    A mailed link alone does not say whose address it is: the one who is invited can forward the
    e-mail to somebody else, and would then receive what opens the account of that person. The new
    person must state the same mailbox, here or at a provider.

    Args:
        invitation: of a link that was only mailed to the invited address.
        stated: the address that the person states.

    Raises:
        Conflict: ``account.deactivated``: a deactivated account has the invited address. The
            invitation must not be a way around that, whatever the person states.
    """
    if account_queries.is_email_deactivated(tx, invitation.email):
        raise Conflict("account.deactivated")
    return invitation.email if same_mailbox(invitation.email, stated) else ""


def join(
    tx: WriteTransaction,
    vault: Vault,
    settings: Settings,
    invitation: InvitationRow,
    values: Mapping[str, Any],
    stated: str,
    ip_address: str,
    request_id: str,
) -> Joined:
    """Create an account with a password and accept the invitation.

    The account gets the invited address if the person states it. Any other address is first
    confirmed by an e-mail to it, as every new address is; until then the account has none, and
    nothing of what the invitation says about the invitee.

    Args:
        invitation: of a link that was only mailed to the invited address.
        values: further columns of the account.
        stated: the address that the person has entered.

    Raises:
        Conflict: ``account.deactivated``. ``account.email_taken``: an account has the invited
            address, which is that of the person.
        NotFound, Conflict, Invalid: as ``accounts.actions.create``, ``invitations.actions.accept``.
    """
    email = own_address(tx, invitation, stated)
    if account_queries.at_email(tx, email):
        raise Conflict("account.email_taken", field="email")
    known = {name: getattr(invitation, name) for name in _KNOWN} if email else {}
    account_id = account_actions.create(
        tx, None, settings, vault, {**known, **values, "email": email}, invitation=invitation.uuid
    )
    account = account_queries.existing(tx, account_id)
    actor = actor_of(account, ip_address, request_id)
    is_sent = not email and email_change_actions.request_first(
        tx, actor, settings, vault, account, stated
    )
    invitation_actions.accept(
        tx, actor, settings, invitation.uuid, link_version=invitation.link_version
    )
    if email:
        account_queries.lock_address(tx, email)
        if len(account_queries.at_email(tx, email)) > 1:
            # Another person has just taken it.
            raise Conflict("account.email_taken", field="email")
    return Joined(account, actor, stated if is_sent else "")
