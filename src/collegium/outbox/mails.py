"""All e-mails: one class each, with its name and its data.

A new e-mail is one class here, one loader in a ``mails`` module that ``worker/mails.py`` lists,
and two templates in ``worker/templates``. A test fails while one of them is missing. The ``kind``
of an e-mail is the name that Waldur gives it, where there is one.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypedDict


@dataclass(frozen=True, slots=True)
class Mail:
    """A queued e-mail before it is rendered.

    Args:
        recipient: the address to which it is sent.
    """

    kind: ClassVar[str]
    recipient: str

    def payload(self) -> dict[str, Any]:
        """Return the data of the e-mail for JSON: all fields but the recipient, never a secret."""
        names = [field.name for field in fields(self) if field.name != "recipient"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class InvitationCreated(Mail):
    """Invitation, to the invited address.

    Args:
        invitation: id of the row; the link is made when the e-mail is rendered.
        link_version: of the link for which the e-mail is queued. It is not sent with a later one.
        reminder: whether it reminds of an invitation that ends soon.
    """

    kind: ClassVar[str] = "invitation_created"
    invitation: int
    link_version: int
    reminder: bool = False


@dataclass(frozen=True, slots=True)
class InvitationApproved(Mail):
    """Invitation with a new account, to the invited address.

    A queued ``InvitationCreated`` is changed to this if the invited person had no account.

    Args:
        invitation: id of the row.
        account: id of the row; its first password is derived when the e-mail is rendered.
    """

    kind: ClassVar[str] = "invitation_approved"
    invitation: int
    account: int


@dataclass(frozen=True, slots=True)
class MailTest(Mail):
    """Test whether e-mails arrive, to the member of staff who asks for it.

    Args:
        account: id of the row.
    """

    kind: ClassVar[str] = "mail_test"
    account: int


@dataclass(frozen=True, slots=True)
class ReviewsPending(Mail):
    """Notice or reminder that reviews of roles are pending, to a person who can close them.

    Args:
        account: id of the row; the reviews are found when the e-mail is rendered.
    """

    kind: ClassVar[str] = "role_reviews_pending"
    account: int


@dataclass(frozen=True, slots=True)
class ChangeEmailRequest(Mail):
    """Confirmation of a new address of an account, to the new address.

    Args:
        account: id of the row.
        asked: time of the request, ISO 8601; the code is derived from it again.
    """

    kind: ClassVar[str] = "change_email_request"
    account: int
    asked: str


@dataclass(frozen=True, slots=True)
class EmailChanged(Mail):
    """Notice that an account has a new address, to the old address.

    Args:
        account: id of the row.
        email: the new address.
    """

    kind: ClassVar[str] = "email_changed"
    account: int
    email: str


@dataclass(frozen=True, slots=True)
class InvitationRequested(Mail):
    """Question whether an invitation is approved, to a member of staff.

    Args:
        invitation: id of the row; the links are made when the e-mail is rendered.
        staff: id of the account that may decide with these links.
        generation: of the invitation in question; staff are asked again about a later one.
    """

    kind: ClassVar[str] = "invitation_requested"
    invitation: int
    staff: int
    generation: int


@dataclass(frozen=True, slots=True)
class InvitationRejected(Mail):
    """Notice that staff rejected an invitation, to its creator.

    Args:
        invitation: id of the row.
    """

    kind: ClassVar[str] = "invitation_rejected"
    invitation: int


@dataclass(frozen=True, slots=True)
class InvitationExpired(Mail):
    """Notice that an invitation has expired without an answer, to its creator.

    Args:
        invitation: id of the row.
    """

    kind: ClassVar[str] = "invitation_expired"
    invitation: int


@dataclass(frozen=True, slots=True)
class InvitationAccepted(Mail):
    """Notice that an invitation was accepted, to its creator.

    Args:
        invitation: id of the row.
    """

    kind: ClassVar[str] = "invitation_accepted"
    invitation: int


@dataclass(frozen=True, slots=True)
class InvitationDeclined(Mail):
    """Notice that an invitation was declined, to its creator.

    Args:
        invitation: id of the row.
        account: id of the account that declined; None for an anonymous person with the mailed link.
    """

    kind: ClassVar[str] = "invitation_declined"
    invitation: int
    account: int | None


@dataclass(frozen=True, slots=True)
class InvitationInviteeDeactivated(Mail):
    """Notice that an invitee cannot accept with a deactivated account, to the inviter.

    Args:
        invitation: id of the row.
        account: id of the account that gets the e-mail.
    """

    kind: ClassVar[str] = "invitation_invitee_deactivated"
    invitation: int
    account: int


@dataclass(frozen=True, slots=True)
class InvitationRenewalRequested(Mail):
    """Notice that an invitee asks for a new link to an expired invitation, to the inviter.

    Args:
        invitation: id of the row.
        account: id of the account that gets the e-mail.
    """

    kind: ClassVar[str] = "invitation_renewal_requested"
    invitation: int
    account: int


@dataclass(frozen=True, slots=True)
class PasswordReset(Mail):
    """Link to set a new password, to the address of an account.

    Args:
        account: id of the row.
        asked: time of the request, ISO 8601; the link is made from it.
    """

    kind: ClassVar[str] = "password_reset"
    account: int
    asked: str


@dataclass(frozen=True, slots=True)
class PasswordChanged(Mail):
    """Notice that a password was changed or removed, to the address of the account.

    Args:
        account: id of the row.
        at: time of the change, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
        removed: whether the account has no password any more.
    """

    kind: ClassVar[str] = "password_changed"
    account: int
    at: str
    by: str
    address: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class TokenCreated(Mail):
    """Notice that a new token can use an account, to its address.

    Args:
        account: id of the row.
        at: time of creation, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
        name: of the token or the program; empty for the API token.
        program: whether a program asked for the token by device sign-in.
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
    """Notice that a new address was requested for an account, to its present address.

    Args:
        account: id of the row.
        at: time of the request, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
        email: the new address.
        version: of the account's credentials; the code that cancels is derived from it again.
    """

    kind: ClassVar[str] = "change_email_notice"
    account: int
    at: str
    by: str
    address: str
    email: str
    version: int


@dataclass(frozen=True, slots=True)
class PasskeyChanged(Mail):
    """Notice that a passkey was added to an account or removed from it, to its address.

    Args:
        account: id of the row.
        at: time of the change, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
        name: of the passkey.
        removed: whether it was removed.
    """

    kind: ClassVar[str] = "passkey_changed"
    account: int
    at: str
    by: str
    address: str
    name: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class IdentityLinkRequest(Mail):
    """Link that adds an identity to an account, to its address.

    Args:
        account: id of the row; the link is made when the e-mail is rendered.
        asked: time of the request, ISO 8601.
        name: of the identity provider.
        provider: its id.
        mark: code of the provider as it was.
        subject: the provider's id of the person.
        browser: digest of a cookie of the browser that may use the link.
        return_to: where the sign-in continues.
    """

    kind: ClassVar[str] = "identity_link_request"
    account: int
    asked: str
    name: str
    provider: int
    mark: str
    subject: str
    browser: str
    return_to: str


@dataclass(frozen=True, slots=True)
class IdentityChanged(Mail):
    """Notice that an identity was linked to an account or removed from it, to its address.

    Args:
        account: id of the row.
        at: time of the change, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
        name: of the identity provider.
        removed: whether it was removed.
    """

    kind: ClassVar[str] = "identity_changed"
    account: int
    at: str
    by: str
    address: str
    name: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class SecondFactorEnabled(Mail):
    """Notice that two-factor authentication was activated, to the address of the account.

    Args:
        account: id of the row.
        at: time of the change, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
    """

    kind: ClassVar[str] = "second_factor_enabled"
    account: int
    at: str
    by: str
    address: str


@dataclass(frozen=True, slots=True)
class SecondFactorDisabled(Mail):
    """Notice that a person deactivated their two-factor authentication, to the account's address.

    Args:
        account: id of the row.
        at: time of the change, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
    """

    kind: ClassVar[str] = "second_factor_disabled"
    account: int
    at: str
    by: str
    address: str


@dataclass(frozen=True, slots=True)
class SecondFactorReset(Mail):
    """Notice that staff deactivated two-factor authentication, to the address of the account.

    Args:
        account: id of the row.
        at: time of the change, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
    """

    kind: ClassVar[str] = "second_factor_reset"
    account: int
    at: str
    by: str
    address: str


@dataclass(frozen=True, slots=True)
class SecondFactorFailed(Mail):
    """Warning of wrong two-factor codes after a correct password, to the address of the account.

    Args:
        account: id of the row.
        at: time of the latest attempt, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
        codes: number of wrong codes in a row.
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
class JoinRequestSubmitted(Mail):
    """Notice of a join request, to the accounts that may decide.

    Args:
        request: id of the row.
        account: id of the account that gets the e-mail.
    """

    kind: ClassVar[str] = "permission_request_submitted"
    request: int
    account: int


@dataclass(frozen=True, slots=True)
class JoinRequestRejected(Mail):
    """Notice that a join request was rejected, to the requester.

    Args:
        request: id of the row.
    """

    kind: ClassVar[str] = "permission_request_rejected"
    request: int


@dataclass(frozen=True, slots=True)
class JoinRequestApproved(Mail):
    """Notice that a join request was approved, to the requester.

    Args:
        request: id of the row.
    """

    kind: ClassVar[str] = "structure_role_granted"
    request: int


@dataclass(frozen=True, slots=True)
class EventNotification(Mail):
    """Events that a person wants to be told of, to the address of the e-mail hook.

    Args:
        account: id of the person who has the hook.
        hook: id of the row.
        events: ids of the rows; what the person may see of them is found when the e-mail is
            rendered.
        type: stored name of the first event.
    """

    kind: ClassVar[str] = "event_notification"

    account: int
    hook: int
    events: list[int]
    type: str


@dataclass(frozen=True, slots=True)
class HookChanged(Mail):
    """Notice that a hook was added or sends somewhere else, to its author.

    Args:
        account: id of the author.
        at: time of the change, ISO 8601.
        by: ``person``, ``staff`` or ``operator``; see ``sign_in.notices``.
        address: IP address of the person; empty for staff.
        uuid: of the hook.
        host: of the URL of a web hook; empty for an e-mail hook.
        changed: whether the hook existed before.
    """

    kind: ClassVar[str] = "hook_changed"

    account: int
    at: str
    by: str
    address: str
    uuid: str
    host: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class HookDeactivated(Mail):
    """Notice that a hook was deactivated because every delivery failed, to its author.

    Args:
        account: id of the author.
        stopped: id of the hook.
    """

    kind: ClassVar[str] = "hook_deactivated"

    account: int
    stopped: int


@dataclass(frozen=True, slots=True)
class ProfileChangesOperator(Mail):
    """Notice that an organisation owner's profile has changed, to an operator.

    Args:
        account: id of the row.
        changes: old and new value by field of the profile; the old value is stored nowhere else.
        organizations: names of the organisations that the person owns.
    """

    kind: ClassVar[str] = "notifications_profile_changes_operator"
    account: int
    changes: dict[str, list[str]]
    organizations: list[str]


class RoleItem(TypedDict):
    """A role in an e-mail to its holder.

    Args:
        grant: id of the grant.
        former: id of the grant that this one replaces; None if it replaces none.
        actor: id of the account that did it; None if it is not named.
        scope_name: name of the scope when it happened.
    """

    grant: int
    former: int | None
    actor: int | None
    scope_name: str


@dataclass(frozen=True, slots=True)
class RoleGranted(Mail):
    """Notice that roles were given, to the person.

    Args:
        account: id of the person's account.
        roles: what happened.
        more: number of further roles.
    """

    kind: ClassVar[str] = "role_granted"
    account: int
    roles: list[RoleItem]
    more: int = 0


@dataclass(frozen=True, slots=True)
class RoleChanged(Mail):
    """Notice that roles have another end, or were replaced, to the person.

    Its data are those of ``RoleGranted``.
    """

    kind: ClassVar[str] = "role_changed"
    account: int
    roles: list[RoleItem]
    more: int = 0


@dataclass(frozen=True, slots=True)
class RoleEnding(Mail):
    """Reminder that roles end soon, to the person.

    Its data are those of ``RoleGranted``.
    """

    kind: ClassVar[str] = "role_ending"
    account: int
    roles: list[RoleItem]
    more: int = 0


@dataclass(frozen=True, slots=True)
class RoleEnded(Mail):
    """Notice that the time of roles is over, to the person.

    Its data are those of ``RoleGranted``.
    """

    kind: ClassVar[str] = "role_ended"
    account: int
    roles: list[RoleItem]
    more: int = 0


@dataclass(frozen=True, slots=True)
class RoleRemoved(Mail):
    """Notice that roles were taken away, to the person.

    Its data are those of ``RoleGranted``.
    """

    kind: ClassVar[str] = "role_removed"
    account: int
    roles: list[RoleItem]
    more: int = 0


@dataclass(frozen=True, slots=True)
class RoleDigest(Mail):
    """Weekly summary of what waits and what ends soon, to a person who manages members.

    Args:
        account: id of the row; the contents are found when the e-mail is rendered.
    """

    kind: ClassVar[str] = "role_digest"
    account: int
