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
class _OfAccount(Mail):
    """An e-mail about an account.

    Args:
        account: id of the row. What the e-mail says is found when it is rendered.
    """

    account: int


@dataclass(frozen=True, slots=True)
class _Notice(_OfAccount):
    """Notice of something that happened to an account, to its owner; see ``sign_in.notices``.

    Args:
        at: time of it, ISO 8601.
        by: ``person``, ``staff`` or ``operator``.
        address: IP address of the person; empty for staff.
    """

    at: str
    by: str
    address: str


@dataclass(frozen=True, slots=True)
class _OfInvitation(Mail):
    """An e-mail about an invitation.

    Args:
        invitation: id of the row; links are made when the e-mail is rendered.
    """

    invitation: int


@dataclass(frozen=True, slots=True)
class _OfJoinRequest(Mail):
    """An e-mail about a join request.

    Args:
        request: id of the row.
    """

    request: int


@dataclass(frozen=True, slots=True)
class InvitationCreated(_OfInvitation):
    """Invitation, to the invited address.

    Args:
        link_version: of the link for which the e-mail is queued. It is not sent with a later one.
        reminder: whether it reminds of an invitation that ends soon.
    """

    kind = "invitation_created"
    link_version: int
    reminder: bool = False


@dataclass(frozen=True, slots=True)
class InvitationApproved(_OfInvitation):
    """Invitation with a new account, to the invited address.

    A queued ``InvitationCreated`` is changed to this if the invited person had no account.

    Args:
        account: id of the row; its first password is derived when the e-mail is rendered.
    """

    kind = "invitation_approved"
    account: int


class MailTest(_OfAccount):
    """Test whether e-mails arrive, to the member of staff who asks for it."""

    kind = "mail_test"


class ReviewsPending(_OfAccount):
    """Notice or reminder that reviews of roles are pending, to a person who can close them."""

    kind = "role_reviews_pending"


@dataclass(frozen=True, slots=True)
class ChangeEmailRequest(_OfAccount):
    """Confirmation of a new address of an account, to the new address.

    Args:
        asked: time of the request, ISO 8601; the code is derived from it again.
    """

    kind = "change_email_request"
    asked: str


@dataclass(frozen=True, slots=True)
class EmailChanged(_OfAccount):
    """Notice that an account has a new address, to the old address.

    Args:
        email: the new address.
    """

    kind = "email_changed"
    email: str


@dataclass(frozen=True, slots=True)
class InvitationRequested(_OfInvitation):
    """Question whether an invitation is approved, to a member of staff.

    Args:
        staff: id of the account that may decide with these links.
        generation: of the invitation in question; staff are asked again about a later one.
    """

    kind = "invitation_requested"
    staff: int
    generation: int


class InvitationRejected(_OfInvitation):
    """Notice that staff rejected an invitation, to its creator."""

    kind = "invitation_rejected"


class InvitationExpired(_OfInvitation):
    """Notice that an invitation has expired without an answer, to its creator."""

    kind = "invitation_expired"


class InvitationAccepted(_OfInvitation):
    """Notice that an invitation was accepted, to its creator."""

    kind = "invitation_accepted"


@dataclass(frozen=True, slots=True)
class InvitationDeclined(_OfInvitation):
    """Notice that an invitation was declined, to its creator.

    Args:
        account: id of the account that declined; None for an anonymous person with the mailed link.
    """

    kind = "invitation_declined"
    account: int | None


@dataclass(frozen=True, slots=True)
class InvitationInviteeDeactivated(_OfInvitation):
    """Notice that an invitee cannot accept with a deactivated account, to the inviter.

    Args:
        account: id of the account that gets the e-mail.
    """

    kind = "invitation_invitee_deactivated"
    account: int


@dataclass(frozen=True, slots=True)
class InvitationRenewalRequested(_OfInvitation):
    """Notice that an invitee asks for a new link to an expired invitation, to the inviter.

    Args:
        account: id of the account that gets the e-mail.
    """

    kind = "invitation_renewal_requested"
    account: int


@dataclass(frozen=True, slots=True)
class PasswordReset(_OfAccount):
    """Link to set a new password, to the address of an account.

    Args:
        asked: time of the request, ISO 8601; the link is made from it.
    """

    kind = "password_reset"
    asked: str


@dataclass(frozen=True, slots=True)
class PasswordChanged(_Notice):
    """Notice that a password was changed or removed, to the address of the account.

    Args:
        removed: whether the account has no password any more.
    """

    kind = "password_changed"
    removed: bool = False


@dataclass(frozen=True, slots=True)
class TokenCreated(_Notice):
    """Notice that a new token can use an account, to its address.

    Args:
        name: of the token or the program; empty for the API token.
        program: whether a program asked for the token by device sign-in.
    """

    kind = "token_created"
    name: str = ""
    program: bool = False


@dataclass(frozen=True, slots=True)
class ChangeEmailNotice(_Notice):
    """Notice that a new address was requested for an account, to its present address.

    Args:
        email: the new address.
        version: of the account's credentials; the code that cancels is derived from it again.
    """

    kind = "change_email_notice"
    email: str
    version: int


@dataclass(frozen=True, slots=True)
class PasskeyChanged(_Notice):
    """Notice that a passkey was added to an account or removed from it, to its address.

    Args:
        name: of the passkey.
        removed: whether it was removed.
    """

    kind = "passkey_changed"
    name: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class IdentityLinkRequest(_OfAccount):
    """Link that adds an identity to an account, to its address.

    Args:
        asked: time of the request, ISO 8601.
        name: of the identity provider.
        provider: its id.
        mark: code of the provider as it was.
        subject: the provider's id of the person.
        browser: digest of a cookie of the browser that may use the link.
        return_to: where the sign-in continues.
    """

    kind = "identity_link_request"
    asked: str
    name: str
    provider: int
    mark: str
    subject: str
    browser: str
    return_to: str


@dataclass(frozen=True, slots=True)
class IdentityChanged(_Notice):
    """Notice that an identity was linked to an account or removed from it, to its address.

    Args:
        name: of the identity provider.
        removed: whether it was removed.
    """

    kind = "identity_changed"
    name: str
    removed: bool = False


class SecondFactorEnabled(_Notice):
    """Notice that two-factor authentication was activated, to the address of the account."""

    kind = "second_factor_enabled"


class SecondFactorDisabled(_Notice):
    """Notice that a person deactivated two-factor authentication, to the address of the account."""

    kind = "second_factor_disabled"


class SecondFactorReset(_Notice):
    """Notice that staff deactivated two-factor authentication, to the address of the account."""

    kind = "second_factor_reset"


@dataclass(frozen=True, slots=True)
class SecondFactorFailed(_Notice):
    """Warning of wrong two-factor codes after a correct password, to the address of the account.

    Args:
        codes: number of wrong codes in a row.
        locked: whether only a recovery code is accepted now.
    """

    kind = "second_factor_failed"
    codes: int
    locked: bool


@dataclass(frozen=True, slots=True)
class JoinRequestSubmitted(_OfJoinRequest):
    """Notice of a join request, to the accounts that may decide.

    Args:
        account: id of the account that gets the e-mail.
    """

    kind = "permission_request_submitted"
    account: int


class JoinRequestRejected(_OfJoinRequest):
    """Notice that a join request was rejected, to the requester."""

    kind = "permission_request_rejected"


class JoinRequestApproved(_OfJoinRequest):
    """Notice that a join request was approved, to the requester."""

    kind = "structure_role_granted"


@dataclass(frozen=True, slots=True)
class EventNotification(_OfAccount):
    """Events that a person wants to be told of, to the address of the e-mail hook.

    Args:
        hook: id of the row.
        events: ids of the rows; what the person may see of them is found when the e-mail is
            rendered.
        type: stored name of the first event.
    """

    kind = "event_notification"
    hook: int
    events: list[int]
    type: str


@dataclass(frozen=True, slots=True)
class HookChanged(_Notice):
    """Notice that a hook was added or sends somewhere else, to its author.

    Args:
        uuid: of the hook.
        host: of the URL of a web hook; empty for an e-mail hook.
        changed: whether the hook existed before.
    """

    kind = "hook_changed"
    uuid: str
    host: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class HookDeactivated(_OfAccount):
    """Notice that a hook was deactivated because every delivery failed, to its author.

    Args:
        stopped: id of the hook.
    """

    kind = "hook_deactivated"
    stopped: int


@dataclass(frozen=True, slots=True)
class ProfileChangesOperator(_OfAccount):
    """Notice that an organisation owner's profile has changed, to an operator.

    Args:
        changes: old and new value by field of the profile; the old value is stored nowhere else.
        organizations: names of the organisations that the person owns.
    """

    kind = "notifications_profile_changes_operator"
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
class _OfRoles(_OfAccount):
    """Something that happened to roles, to the person.

    Args:
        roles: what happened.
        more: number of further roles.
    """

    roles: list[RoleItem]
    more: int = 0


class RoleGranted(_OfRoles):
    """Notice that roles were given, to the person."""

    kind = "role_granted"


class RoleChanged(_OfRoles):
    """Notice that roles have another end, or were replaced, to the person."""

    kind = "role_changed"


class RoleEnding(_OfRoles):
    """Reminder that roles end soon, to the person."""

    kind = "role_ending"


class RoleEnded(_OfRoles):
    """Notice that the time of roles is over, to the person."""

    kind = "role_ended"


class RoleRemoved(_OfRoles):
    """Notice that roles were taken away, to the person."""

    kind = "role_removed"


class RoleDigest(_OfAccount):
    """Weekly summary of what waits and what ends soon, to a person who manages members."""

    kind = "role_digest"
