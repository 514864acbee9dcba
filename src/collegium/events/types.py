"""All events: one class each, with its facts, their readers, and its sentences.

A new event is one class here, and one call of ``record`` where it happens.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from msgspec import UNSET, UnsetType

from collegium.events.event import Event, Fact, Readers

_BY: Final = "[ by {user_full_name}]"

Username = Annotated[str, Fact("affected_user_username")]
OptionalUsername = Annotated[str | UnsetType, Fact("affected_user_username")]
IpAddress = Annotated[str | UnsetType, Fact("ip_address", Readers.PERSON)]
StaffIpAddress = Annotated[str | UnsetType, Fact("ip_address", Readers.STAFF)]
Because = Annotated[str | UnsetType, Fact(kept=True)]
"""``link``: it was done with a link from an e-mail, without signing in."""


# Accounts

_USER: Final = "User {affected_user_username}"
_PRIVILEGED: Final = frozenset({"description", "is_staff", "is_support", "is_active"})
"""Columns of an account that people do not see on their own account."""

Changes = Annotated[dict[str, Any], Fact("changes", Readers.PERSON, staff_only=_PRIVILEGED)]
"""Column → its former and its new value."""
Source = Annotated[str | UnsetType, Fact("identity_source")]


class _AccountEvent(Event):
    group = "users"
    account: int


class AccountCreated(_AccountEvent, kind="account.created"):
    waldur_type = "user_creation_succeeded"
    message = f"{_USER} has been created{_BY}."
    username: Username
    by: Source = UNSET
    invitation: Annotated[str | UnsetType, Fact(kept=True)] = UNSET
    """UUID of the invitation for which the account was created."""


class AccountUpdated(_AccountEvent, kind="account.updated"):
    waldur_type = "user_update_succeeded"
    message = f"{_USER} has been updated{_BY}[: {{fields}}]."
    username: Username
    by: Source = UNSET
    changes: Changes


class AccountProfileChanged(_AccountEvent, kind="account.profile_changed"):
    waldur_type = "user_profile_changed"
    message = f"{_USER} has changed personal details[: {{fields}}]."
    username: Username
    changes: Changes
    organizations: list[str]


class AccountActivated(_AccountEvent, kind="account.activated"):
    waldur_type = "user_activated"
    message = f"{_USER} has been activated{_BY}."
    username: Username


class AccountDeactivated(_AccountEvent, kind="account.deactivated"):
    waldur_type = "user_deactivated"
    message = f"{_USER} has been deactivated{_BY}."
    username: Username


class AccountDeleted(_AccountEvent, kind="account.deleted"):
    waldur_type = "user_deletion_succeeded"
    message = f"{_USER} has been deleted{_BY}."
    username: Username


class AccountImpersonated(_AccountEvent, kind="account.impersonated"):
    message = f"{_USER} has been read or acted for{_BY} with their rights."
    username: Username


class AccountMadeStaff(_AccountEvent, kind="account.made_staff"):
    message = f"{_USER} has been made staff{_BY}."
    username: Username


class PasswordChanged(_AccountEvent, kind="account.password_changed"):
    waldur_type = "user_password_updated"
    message = f"{_USER} has been given another password{_BY}."
    because: Because = UNSET
    address: IpAddress = UNSET


class PasswordResetRequested(Event, kind="account.password_reset_asked"):
    group = "users"
    message = (
        "A new password[ for user {affected_user_username}] has been asked for[ from {ip_address}]."
    )
    account: int | None
    address: StaffIpAddress = UNSET


class EmailChangeRequested(_AccountEvent, kind="account.address_change_asked"):
    message = f"{_USER} asked for another e-mail address[, {{requested_email}}]."
    email: Annotated[str, Fact("requested_email", Readers.PERSON)]


class EmailChangeCanceled(_AccountEvent, kind="account.address_change_canceled"):
    message = f"{_USER} took back the wish for another e-mail address."
    address: IpAddress = UNSET
    because: Because = UNSET


class EmailChanged(_AccountEvent, kind="account.address_changed"):
    message = f"{_USER} has another e-mail address[: {{new_email}}]."
    old: Annotated[str, Fact("old_email", Readers.PERSON)]
    new: Annotated[str, Fact("new_email", Readers.PERSON)]


# Signing in

_TOKEN: Final = "The token of user {affected_user_username}"  # noqa: S105 - begins a message
_FACTOR: Final = "The second factor of user {affected_user_username}"
_WRONG_CODES: Final = (
    "Wrong codes of the second factor were given for user {affected_user_username}, "
    "after the right password[, {codes} in a row][ from {ip_address}]"
)
_DEVICE: Final = "A program[, {device_name},] of user {affected_user_username}"


class _SignInEvent(Event):
    group = "auth"
    account: int


class TokenCreated(_SignInEvent, kind="token.created"):
    message = f"{_TOKEN} has been created{_BY}."
    name: str | UnsetType = UNSET


class TokenRead(_SignInEvent, kind="token.read"):
    message = f"{_TOKEN} has been read{_BY}."


class TokenRevoked(_SignInEvent, kind="token.revoked"):
    message = f"{_TOKEN} has been revoked{_BY}."
    name: str | UnsetType = UNSET


class TokenReused(_SignInEvent, kind="token.reused"):
    message = f"{_TOKEN} has been shown again after it was spent, so its successors ended{_BY}."


class LoggedIn(_SignInEvent, kind="login.succeeded"):
    waldur_type = "auth_logged_in_with_username"
    message = f"{_USER} has logged in[ with a {{login_method}}]."
    method: Annotated[str, Fact("login_method", kept=True)]


class LoginFailed(Event, kind="login.failed"):
    group = "auth"
    waldur_type = "auth_login_failed_with_username"
    message = f"{_USER} failed to log in[ from {{ip_address}}]."
    account: int | None
    address: StaffIpAddress


class LoggedOut(_SignInEvent, kind="logout"):
    waldur_type = "auth_logged_out"
    message = f"{_USER} has logged out."


class SecondFactorEnabled(_SignInEvent, kind="second_factor.enabled"):
    message = f"{_FACTOR} has been turned on{_BY}."


class SecondFactorDisabled(_SignInEvent, kind="second_factor.disabled"):
    message = f"{_FACTOR} has been turned off{_BY}."
    username: OptionalUsername = UNSET


class SecondFactorRecovered(_SignInEvent, kind="second_factor.recovered"):
    message = f"{_FACTOR} has been replaced by a recovery code{_BY}."


class RecoveryCodesRenewed(_SignInEvent, kind="second_factor.codes_renewed"):
    message = f"{_FACTOR} has been given other recovery codes{_BY}."


class _WrongCodes(_SignInEvent):
    username: Username
    codes: Annotated[int, Fact("codes", kept=True)]
    """Number of wrong codes in a row."""
    address: StaffIpAddress


class SecondFactorFailed(_WrongCodes, kind="second_factor.failed"):
    message = f"{_WRONG_CODES}."


class SecondFactorLocked(_WrongCodes, kind="second_factor.locked"):
    message = f"{_WRONG_CODES}; only a recovery code is accepted now."


class _DeviceEvent(_SignInEvent):
    name: Annotated[str, Fact("device_name", Readers.PERSON)]


class DeviceApproved(_DeviceEvent, kind="device.approved"):
    message = f"{_DEVICE} has been let in{_BY}."


class DeviceDenied(_DeviceEvent, kind="device.denied"):
    message = f"{_DEVICE} has been turned away{_BY}."


class _KeyEvent(Event):
    group = "ssh"
    account: int
    key: Annotated[str, Fact("ssh_key_uuid", Readers.PERSON, kept=True)]
    name: Annotated[str, Fact("ssh_key_name", Readers.PERSON)]
    fingerprint: Annotated[str, Fact("ssh_key_fingerprint", Readers.PERSON)]


_KEY: Final = "SSH key[ {ssh_key_name}][ of user {affected_user_username}]"


class KeyCreated(_KeyEvent, kind="key.created"):
    waldur_type = "ssh_key_creation_succeeded"
    message = f"{_KEY} has been added{_BY}."


class KeyDeleted(_KeyEvent, kind="key.deleted"):
    waldur_type = "ssh_key_deletion_succeeded"
    message = f"{_KEY} has been deleted{_BY}."


# Scopes

Fields = Annotated[list[str], Fact("fields", staff_only=frozenset({"staff_notes"}), kept=True)]


class _ScopeEvent(Event):
    scope: int
    name: Annotated[str, Fact("scope_name")]


class OrganisationCreated(_ScopeEvent, kind="organisation.created"):
    group = "customers"
    waldur_type = "customer_creation_succeeded"
    message = f"Organization[ {{scope_name}}] has been created{_BY}."
    sentence = "{who} created the organisation."


class OrganisationUpdated(_ScopeEvent, kind="organisation.updated"):
    group = "customers"
    waldur_type = "customer_update_succeeded"
    message = f"Organization[ {{scope_name}}] has been updated{_BY}[: {{fields}}]."
    sentence = "{who} changed the organisation{fields}."
    fields: Fields


class OrganisationDeleted(_ScopeEvent, kind="organisation.deleted"):
    group = "customers"
    waldur_type = "customer_deletion_succeeded"
    message = f"Organization[ {{scope_name}}] has been deleted{_BY}."
    sentence = "{who} deleted the organisation."


class ProjectCreated(_ScopeEvent, kind="project.created"):
    group = "projects"
    waldur_type = "project_creation_succeeded"
    message = f"Project[ {{scope_name}}] has been created{_BY}."
    sentence = "{who} created the project."


class ProjectUpdated(_ScopeEvent, kind="project.updated"):
    group = "projects"
    waldur_type = "project_update_succeeded"
    message = f"Project[ {{scope_name}}] has been updated{_BY}[: {{fields}}]."
    sentence = "{who} changed the project{fields}."
    fields: Fields


class ProjectDeleted(_ScopeEvent, kind="project.deleted"):
    group = "projects"
    waldur_type = "project_deletion_succeeded"
    message = f"Project[ {{scope_name}}] has been deleted{_BY}."
    sentence = "{who} deleted the project."


class GroupCreated(_ScopeEvent, kind="group.created"):
    sentence = "{who} created the group."


class GroupUpdated(_ScopeEvent, kind="group.updated"):
    sentence = "{who} renamed the group."
    fields: Fields


class GroupDeleted(_ScopeEvent, kind="group.deleted"):
    sentence = "{who} deleted the group."


# Roles of people

_IN: Final = "[ in {scope_name}]"
_HELD: Final = f"The role {{role_name}}{_IN} of user {{affected_user_username}}"

RoleName = Annotated[str, Fact("role_name", Readers.ALL, kept=True)]
ScopeName = Annotated[str, Fact("scope_name", kept=True)]


class GrantEvent(Event):
    """An event of a role that an account has in a scope."""

    group = "permissions"
    scope: int
    account: int
    role: RoleName
    scope_name: ScopeName
    username: Username
    until: Annotated[
        datetime | UnsetType | None, Fact("expiration_time", Readers.ALL, kept=True)
    ] = UNSET
    request_uuid: Annotated[str | UnsetType, Fact("permission_request_uuid", kept=True)] = UNSET
    """The join request that asked for the role."""


class RoleGranted(GrantEvent, kind="role.granted"):
    message = f"{_USER} has been given the role {{role_name}}{_IN}{_BY}."
    sentence = "{who} gave {whom} the role {role}{until}."
    sentence_of_self = "{who} got the role {role}{until}."


class RoleUpdated(GrantEvent, kind="role.updated"):
    message = f"{_HELD} has another end[, {{expiration_time}}]{_BY}."
    sentence = "{who} changed the end date of the role {role} of {whom}{until}."


class RoleRevoked(GrantEvent, kind="role.revoked"):
    message = f"{_HELD} has been taken away{_BY}."
    sentence = "{who} removed the role {role} from {whom}."
    sentence_of_self = "{who} gave up the role {role}."


class RoleExpired(GrantEvent, kind="role.expired"):
    message = f"{_HELD} has run out{_BY}."
    sentence = "The role {role} of {whom} ended."


# Definitions of roles


class _RoleDefinitionEvent(Event):
    group = "permissions"
    role: RoleName
    role_uuid: Annotated[str, Fact("role_uuid", kept=True)]


class RoleCreated(_RoleDefinitionEvent, kind="role.created"):
    waldur_type = "role_definition_created"
    message = f"Role {{role_name}} has been created{_BY}."
    permissions: Annotated[list[str], Fact("permissions", kept=True)]


class RoleChanged(_RoleDefinitionEvent, kind="role.changed"):
    waldur_type = "role_definition_updated"
    message = f"Role {{role_name}} has been changed{_BY}."
    changes: Annotated[dict[str, Any], Fact("changes")]
    permissions_added: Annotated[list[str], Fact("permissions_added", kept=True)]
    permissions_removed: Annotated[list[str], Fact("permissions_removed", kept=True)]


class RoleDeleted(_RoleDefinitionEvent, kind="role.deleted"):
    waldur_type = "role_definition_deleted"
    message = f"Role {{role_name}} has been deleted{_BY}."


class RoleEnabled(_RoleDefinitionEvent, kind="role.enabled"):
    message = f"Role {{role_name}} has been enabled{_BY}."


class RoleDisabled(_RoleDefinitionEvent, kind="role.disabled"):
    message = f"Role {{role_name}} has been disabled{_BY}."


# Invitations and invite links

_INVITATION: Final = "An invitation[ of {invitation_email}][ to {scope_name}]"
_INVITE_LINK: Final = "An open invitation[ to {scope_name}]"


class InvitationEvent(Event):
    """An event of an invitation or of an invite link."""

    group = "invitations"
    scope: int
    role: Annotated[str | UnsetType, Fact("role_name", Readers.ALL, kept=True)] = UNSET
    invitation: Annotated[str, Fact("invitation_uuid", Readers.INVITATIONS, kept=True)]
    """UUID."""


class _AddressedEvent(InvitationEvent):
    email: Annotated[str, Fact("invitation_email", Readers.INVITATIONS)]


class InvitationCreated(_AddressedEvent, kind="invitation.created"):
    message = f"{_INVITATION} has been made{_BY}."
    sentence = "{who} invited {email}."


class InvitationSent(_AddressedEvent, kind="invitation.sent"):
    message = f"{_INVITATION} has been sent again{_BY}."
    sentence = "{who} sent the invitation for {email} again."


class InvitationAccepted(InvitationEvent, kind="invitation.accepted"):
    message = f"{_INVITATION} has been accepted{_BY}."
    sentence = "{who} accepted the invitation for {email}."
    role: RoleName


class InvitationDeclined(_AddressedEvent, kind="invitation.declined"):
    message = f"{_INVITATION} has been declined{_BY}."
    sentence = "{who} declined the invitation for {email}."
    sentence_of_link = "The invitation for {email} was declined with the link in the e-mail."


class InvitationCanceled(InvitationEvent, kind="invitation.canceled"):
    message = f"{_INVITATION} has been canceled{_BY}."
    sentence = "{who} cancelled the invitation for {email}."
    because: Annotated[
        str | UnsetType, Fact("because_of_invitation_uuid", Readers.INVITATIONS, kept=True)
    ] = UNSET
    """UUID of the invitation that was accepted instead."""


class InvitationDeleted(_AddressedEvent, kind="invitation.deleted"):
    message = f"{_INVITATION} has been deleted{_BY}."
    sentence = "{who} deleted the invitation for {email}."


class InvitationApproved(_AddressedEvent, kind="invitation.approved"):
    message = f"{_INVITATION} has been approved{_BY}."
    sentence = "{who} approved the invitation for {email}."


class InvitationRejected(_AddressedEvent, kind="invitation.rejected"):
    message = f"{_INVITATION} has been rejected{_BY}."
    sentence = "{who} rejected the invitation for {email}."


class InvitationReleased(InvitationEvent, kind="invitation.released"):
    message = f"{_INVITATION} has gone out, for its project begins{_BY}."
    sentence = "The invitation for {email} was sent, because the project starts."


class InvitationExpired(InvitationEvent, kind="invitation.expired"):
    message = f"{_INVITATION} has expired{_BY}."
    sentence = "The invitation for {email} expired."


class InvitationInviteeDeactivated(InvitationEvent, kind="invitation.invitee_deactivated"):
    message = f"{_INVITATION} was not accepted: its account is deactivated{_BY}."
    sentence = "The invited account is deactivated and could not accept."


class InvitationRenewalRequested(InvitationEvent, kind="invitation.renewal_requested"):
    message = f"{_INVITATION} is wished for anew{_BY}."
    sentence = "The invited person asked for a new link."


class InviteLinkCreated(InvitationEvent, kind="invite_link.created"):
    message = f"{_INVITE_LINK} has been made{_BY}."
    sentence = "{who} created an invite link."
    role: RoleName


class InviteLinkUpdated(InvitationEvent, kind="invite_link.updated"):
    message = f"{_INVITE_LINK} has been changed{_BY}."
    sentence = "{who} edited an invite link."
    fields: Annotated[list[str], Fact(kept=True)]


class InviteLinkCanceled(InvitationEvent, kind="invite_link.canceled"):
    message = f"{_INVITE_LINK} has been canceled{_BY}."
    sentence = "{who} closed an invite link."


# Join requests

_REQUEST: Final = (
    f"The request[ of user {{affected_user_username}}][ for the role {{role_name}}]{_IN}"
)


class JoinRequestEvent(Event):
    """An event of a join request: only some readers may know the requester."""

    group = "invitations"
    people = Readers.REQUESTS
    scope: int
    account: int
    role: Annotated[str | UnsetType, Fact("role_name", Readers.ALL, kept=True)] = UNSET
    scope_name: Annotated[str | UnsetType, Fact("scope_name", kept=True)] = UNSET
    username: Annotated[str | UnsetType, Fact("affected_user_username", Readers.REQUESTS)] = UNSET
    request_uuid: Annotated[str, Fact("permission_request_uuid", Readers.REQUESTS, kept=True)]

    @classmethod
    def of(cls, request: Any) -> Self:
        """Return the event of a join request, a row with its account, role and scope."""
        return cls(
            scope=request.scope_id,
            account=request.account_id,
            role=request.role_name,
            scope_name=request.scope_name,
            username=request.username,
            request_uuid=request.uuid,
        )


class JoinRequestSubmitted(JoinRequestEvent, kind="request.submitted"):
    message = f"{_REQUEST} has been made{_BY}."
    sentence = "{who} asked to join."


class JoinRequestApproved(JoinRequestEvent, kind="request.approved"):
    message = f"{_REQUEST} has been approved{_BY}."
    sentence = "{who} approved the join request of {whom}."


class JoinRequestRejected(JoinRequestEvent, kind="request.rejected"):
    message = f"{_REQUEST} has been rejected{_BY}."
    sentence = "{who} rejected the join request of {whom}."


class JoinRequestCanceled(JoinRequestEvent, kind="request.canceled"):
    message = f"{_REQUEST} has been taken back{_BY}."
    sentence = "The join request of {whom} was withdrawn."


# E-mails

_MAIL: Final = "Mail[ of kind {mail_kind}][ to {mail_recipient}][, {mails} in number,]"


class MailEvent(Event):
    """A decision of staff about queued e-mails."""

    group = "mails"
    mail: Annotated[str | UnsetType, Fact("mail_kind", Readers.STAFF, kept=True)] = UNSET
    recipient: Annotated[str | UnsetType, Fact("mail_recipient", Readers.STAFF)] = UNSET
    mails: Annotated[int | UnsetType, Fact("mails", Readers.STAFF, kept=True)] = UNSET


class MailRetried(MailEvent, kind="mail.retried"):
    message = f"{_MAIL} is queued again{_BY}."


class MailDropped(MailEvent, kind="mail.dropped"):
    message = f"{_MAIL} is not sent any more{_BY}."


class UnknownEvent(Event):
    """A kind of event that an earlier or later release has recorded."""

    message = f"Something has been done{_BY}."
    sentence = "{who} did something else."


BY_KIND: Final = {event.kind: event for event in Event.all()}
"""The stored name of an event → its class."""


def of_kind(kind: str) -> type[Event]:
    """Return the class of an event by its stored name."""
    return BY_KIND.get(kind, UnknownEvent)
