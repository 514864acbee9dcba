"""Every mail there is: a class each, with its name and what it is about.

A new kind of mail is one class here, one loader in ``post/mails.py`` and three templates in
``post/templates``; a test fails while one of them is missing.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail owed to somebody, before there is a word of it.

    Args:
        recipient: the address it goes to.
    """

    kind: ClassVar[str]
    recipient: str

    def payload(self) -> dict[str, Any]:
        """Give what the mail is about, for JSON: all fields but the recipient; never a secret."""
        about = [field.name for field in fields(self) if field.name != "recipient"]
        return {name: getattr(self, name) for name in about}


@dataclass(frozen=True, slots=True)
class InvitationCreated(Mail):
    """You are invited: to the invited address.

    Args:
        invitation: number of the row; the link is made when the mail is written.
        reminder: the time to decide is nearly over.
    """

    kind: ClassVar[str] = "invitation_created"
    invitation: int
    reminder: bool = False


@dataclass(frozen=True, slots=True)
class InvitationApproved(Mail):
    """You are invited, and this is your account: to the invited address.

    What was owed as ``InvitationCreated`` becomes this when there was nobody to accept it.

    Args:
        invitation: number of the row.
        account: number of the row; its first password is derived when the mail is written.
    """

    kind: ClassVar[str] = "invitation_approved"
    invitation: int
    account: int


@dataclass(frozen=True, slots=True)
class ChangeEmailRequest(Mail):
    """Confirm that this address is yours: to the new address.

    Args:
        account: number of the row.
        asked: the moment it was asked for, ISO 8601; with it the code is derived again.
    """

    kind: ClassVar[str] = "change_email_request"
    account: int
    asked: str


@dataclass(frozen=True, slots=True)
class EmailChanged(Mail):
    """Your account has another address now: to the old one.

    Args:
        account: number of the row.
        email: the new address.
    """

    kind: ClassVar[str] = "email_changed"
    account: int
    email: str


@dataclass(frozen=True, slots=True)
class InvitationRequested(Mail):
    """May this invitation go out? To a member of staff.

    Args:
        invitation: number of the row; the links are made when the mail is written.
        staff: number of the account that may decide by them.
        generation: of the invitation that is asked about; a later one is asked about anew.
    """

    kind: ClassVar[str] = "invitation_requested"
    invitation: int
    staff: int
    generation: int


@dataclass(frozen=True, slots=True)
class InvitationRejected(Mail):
    """Your invitation does not go out: to whoever made it.

    Args:
        invitation: number of the row.
    """

    kind: ClassVar[str] = "invitation_rejected"
    invitation: int


@dataclass(frozen=True, slots=True)
class InvitationExpired(Mail):
    """Nobody took your invitation in time: to whoever made it.

    Args:
        invitation: number of the row.
    """

    kind: ClassVar[str] = "invitation_expired"
    invitation: int


@dataclass(frozen=True, slots=True)
class InvitationAccepted(Mail):
    """Your invitation was taken: to whoever made it.

    Args:
        invitation: number of the row.
    """

    kind: ClassVar[str] = "invitation_accepted"
    invitation: int


@dataclass(frozen=True, slots=True)
class InvitationDeclined(Mail):
    """Your invitation was declined: to whoever made it.

    Args:
        invitation: number of the row.
        account: number of the account that declined; None for whoever followed the mailed link.
    """

    kind: ClassVar[str] = "invitation_declined"
    invitation: int
    account: int | None


@dataclass(frozen=True, slots=True)
class InvitationTurnedAway(Mail):
    """The person you invited cannot accept, because their account is deactivated: to the inviter.

    Args:
        invitation: id of the row.
    """

    kind: ClassVar[str] = "invitation_turned_away"
    invitation: int


@dataclass(frozen=True, slots=True)
class InvitationRenewalWished(Mail):
    """The link that you sent has expired, and somebody wants a new one: to whoever invited.

    Args:
        invitation: number of the row.
    """

    kind: ClassVar[str] = "invitation_renewal_wished"
    invitation: int


@dataclass(frozen=True, slots=True)
class PasswordReset(Mail):
    """Set a new password: to the address of an account.

    Args:
        account: number of the row.
        asked: the moment it was asked for, ISO 8601; with it the link is made.
    """

    kind: ClassVar[str] = "password_reset"
    account: int
    asked: str


@dataclass(frozen=True, slots=True)
class PasswordChanged(Mail):
    """Your password was changed: to the address of an account.

    Args:
        account: number of the row.
        at: when, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``actions.notices``.
        address: the network address of the person; empty for staff.
    """

    kind: ClassVar[str] = "password_changed"
    account: int
    at: str
    by: str
    address: str


@dataclass(frozen=True, slots=True)
class TokenCreated(Mail):
    """A new token can use your account: to its address.

    Args:
        account: number of the row.
        at: when, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``actions.notices``.
        address: the network address of the person; empty for staff.
        name: what the token or the program is called; empty for the API token.
        program: whether a program was let in that asked by itself.
    """

    kind: ClassVar[str] = "token_created"
    account: int
    at: str
    by: str
    address: str
    name: str = ""
    program: bool = False


@dataclass(frozen=True, slots=True)
class ChangeEmailNotice(Mail):
    """Your account is to have another address: to the one it has.

    Args:
        account: number of the row.
        at: when, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``actions.notices``.
        address: the network address of the person; empty for staff.
        email: the new address.
        version: of the account's credentials; with it the code that cancels is derived again.
    """

    kind: ClassVar[str] = "change_email_notice"
    account: int
    at: str
    by: str
    address: str
    email: str
    version: int


@dataclass(frozen=True, slots=True)
class SecondFactorEnabled(Mail):
    """Your second factor is on: to the address of an account.

    Args:
        account: number of the row.
        at: when, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``actions.notices``.
        address: the network address of the person; empty for staff.
    """

    kind: ClassVar[str] = "second_factor_enabled"
    account: int
    at: str
    by: str
    address: str


@dataclass(frozen=True, slots=True)
class SecondFactorDisabled(Mail):
    """You turned your second factor off: to the address of an account.

    Args:
        account: number of the row.
        at: when, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``actions.notices``.
        address: the network address of the person; empty for staff.
    """

    kind: ClassVar[str] = "second_factor_disabled"
    account: int
    at: str
    by: str
    address: str


@dataclass(frozen=True, slots=True)
class SecondFactorReset(Mail):
    """Your second factor is off: to the account that staff turned it off for.

    Args:
        account: number of the row.
        at: when, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``actions.notices``.
        address: the network address of the person; empty for staff.
    """

    kind: ClassVar[str] = "second_factor_reset"
    account: int
    at: str
    by: str
    address: str


@dataclass(frozen=True, slots=True)
class SecondFactorFailed(Mail):
    """Somebody knows your password and guesses codes: to the address of an account.

    Args:
        account: number of the row.
        at: when, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``actions.notices``.
        address: the network address of the person; empty for staff.
        codes: how many wrong codes were given in a row.
        locked: whether only a recovery code is accepted now.
    """

    kind: ClassVar[str] = "second_factor_failed"
    account: int
    at: str
    by: str
    address: str
    codes: int
    locked: bool


@dataclass(frozen=True, slots=True)
class PermissionRequestSubmitted(Mail):
    """Somebody asks to be let in: to those who may decide.

    Args:
        request: number of the row.
    """

    kind: ClassVar[str] = "permission_request_submitted"
    request: int


@dataclass(frozen=True, slots=True)
class PermissionRequestRejected(Mail):
    """You were turned down: to whoever asked.

    Args:
        request: number of the row.
    """

    kind: ClassVar[str] = "permission_request_rejected"
    request: int


@dataclass(frozen=True, slots=True)
class StructureRoleGranted(Mail):
    """You are in: to whoever asked.

    Args:
        request: number of the row.
    """

    kind: ClassVar[str] = "structure_role_granted"
    request: int


@dataclass(frozen=True, slots=True)
class ProfileChangesOperator(Mail):
    """Somebody in charge of organisations has other details: to an operator.

    Args:
        account: number of the row.
        changes: field of the profile to what it was and what it is; what it was is nowhere else.
        organizations: names of those that the person is an owner of.
    """

    kind: ClassVar[str] = "notifications_profile_changes_operator"
    account: int
    changes: dict[str, list[str]]
    organizations: list[str]
