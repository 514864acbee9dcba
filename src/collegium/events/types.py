"""All events: one class each, with its facts, their readers, and its sentences.

A new event is one class here, and one call of ``record`` where it happens.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from msgspec import UNSET, UnsetType

from collegium.events.event import Event, Fact, Readers
from collegium.text.languages import mark

_BY: Final = "[ by {user_full_name}]"

Username = Annotated[str, Fact("affected_user_username")]
OptionalUsername = Annotated[str | UnsetType, Fact("affected_user_username")]
IpAddress = Annotated[str | UnsetType, Fact("ip_address", Readers.PERSON)]
StaffIpAddress = Annotated[str | UnsetType, Fact("ip_address", Readers.STAFF)]
Because = Annotated[str | UnsetType, Fact(kept=True)]
"""``link``: it was done with a link from an e-mail, without signing in.

``operator``: it was done at the command line."""


# Accounts

_USER: Final = "User {affected_user_username}"
_PRIVILEGED: Final = frozenset(
    {"description", "is_staff", "is_support", "is_active", "deactivation_reason"}
)
"""Columns of an account that people do not see on their own account."""

Changes = Annotated[dict[str, Any], Fact("changes", Readers.PERSON, staff_only=_PRIVILEGED)]
"""Column → its former and its new value."""
Source = Annotated[str | UnsetType, Fact("identity_source")]


class _Account(Event):
    group = "users"
    subject = _USER
    account: int


class _NamedAccount(_Account):
    username: Username


class AccountCreated(_NamedAccount, kind="account.created", text="has been created"):
    waldur_type = "user_creation_succeeded"
    by: Source = UNSET
    invitation: Annotated[str | UnsetType, Fact(kept=True)] = UNSET
    """UUID of the invitation for which the account was created."""


class AccountUpdated(_NamedAccount, kind="account.updated"):
    waldur_type = "user_update_succeeded"
    message = f"{_USER} has been updated{_BY}[: {{fields}}]."
    by: Source = UNSET
    changes: Changes


class AccountProfileChanged(_NamedAccount, kind="account.profile_changed"):
    waldur_type = "user_profile_changed"
    message = f"{_USER} has changed personal details[: {{fields}}]."
    changes: Changes
    organizations: list[str]


class AccountActivated(_NamedAccount, kind="account.activated", text="has been activated"):
    waldur_type = "user_activated"


class AccountDeactivated(_NamedAccount, kind="account.deactivated", text="has been deactivated"):
    waldur_type = "user_deactivated"


class AccountDeleted(_NamedAccount, kind="account.deleted", text="has been deleted"):
    waldur_type = "user_deletion_succeeded"


class AccountImpersonated(_NamedAccount, kind="account.impersonated"):
    message = f"{_USER} has been read or acted for{_BY} with their rights."


class AccountViewed(_Account, kind="account.viewed"):
    """Somebody has looked at the profile of another person. Only staff see who."""

    message = "The details[ of user {affected_user_username}] have been read[ by {user_full_name}]."
    people = Readers.STAFF
    viewer: Annotated[str, Fact("viewer", Readers.PERSON, kept=True)]
    """``staff``, ``support`` or ``colleague``."""
    fields: Annotated[list[str], Fact("fields", Readers.PERSON, kept=True)]


class AccountMadeStaff(_NamedAccount, kind="account.made_staff", text="has been made staff"): ...


class PasswordChanged(
    _Account, kind="account.password_changed", text="has been given another password"
):
    waldur_type = "user_password_updated"
    because: Because = UNSET
    address: IpAddress = UNSET


class PasswordRemoved(
    _Account, kind="account.password_removed", text="has no password any more"
): ...


class PasswordResetRequested(Event, kind="account.password_reset_asked"):
    group = "users"
    message = (
        "A new password[ for user {affected_user_username}] has been asked for[ from {ip_address}]."
    )
    account: int | None
    address: StaffIpAddress = UNSET


class EmailChangeRequested(_Account, kind="account.address_change_asked"):
    message = f"{_USER} asked for another e-mail address[, {{requested_email}}]."
    email: Annotated[str, Fact("requested_email", Readers.PERSON)]


class EmailChangeCanceled(_Account, kind="account.address_change_canceled"):
    message = f"{_USER} took back the wish for another e-mail address."
    address: IpAddress = UNSET
    because: Because = UNSET


class EmailChanged(_Account, kind="account.address_changed"):
    message = f"{_USER} has another e-mail address[: {{new_email}}]."
    old: Annotated[str, Fact("old_email", Readers.PERSON)]
    new: Annotated[str, Fact("new_email", Readers.PERSON)]


# Signing in

_WRONG_CODES: Final = (
    "Wrong codes of the second factor were given for user {affected_user_username}, "
    "after the right password[, {codes} in a row][ from {ip_address}]"
)


class _SignIn(Event):
    group = "auth"
    account: int


class _Token(_SignIn):
    subject = "The token of user {affected_user_username}"


class TokenCreated(_Token, kind="token.created", text="has been created"):
    name: str | UnsetType = UNSET


class TokenRead(_Token, kind="token.read", text="has been read"): ...


class TokenRevoked(_Token, kind="token.revoked", text="has been revoked"):
    name: str | UnsetType = UNSET


class TokenReused(
    _Token,
    kind="token.reused",
    text="has been shown again after it was spent, so its successors ended",
): ...


class SignedIn(_SignIn, kind="login.succeeded"):
    waldur_type = "auth_logged_in_with_username"
    message = f"{_USER} has logged in[ with a {{login_method}}]."
    method: Annotated[str, Fact("login_method", kept=True)]


class SignInFailed(Event, kind="login.failed"):
    group = "auth"
    waldur_type = "auth_login_failed_with_username"
    message = f"{_USER} failed to log in[ from {{ip_address}}]."
    account: int | None
    address: StaffIpAddress


class LoggedOut(_SignIn, kind="logout"):
    waldur_type = "auth_logged_out"
    message = f"{_USER} has logged out."


class _Factor(_SignIn):
    subject = "The second factor of user {affected_user_username}"


class SecondFactorEnabled(_Factor, kind="second_factor.enabled", text="has been turned on"): ...


class SecondFactorDisabled(_Factor, kind="second_factor.disabled", text="has been turned off"):
    username: OptionalUsername = UNSET


class SecondFactorRecovered(
    _Factor, kind="second_factor.recovered", text="has been replaced by a recovery code"
): ...


class RecoveryCodesRenewed(
    _Factor, kind="second_factor.codes_renewed", text="has been given other recovery codes"
): ...


class _WrongCodes(_SignIn):
    username: Username
    codes: Annotated[int, Fact("codes", kept=True)]
    """Number of wrong codes in a row."""
    address: StaffIpAddress


class SecondFactorFailed(_WrongCodes, kind="second_factor.failed"):
    message = f"{_WRONG_CODES}."


class SecondFactorLocked(_WrongCodes, kind="second_factor.locked"):
    message = f"{_WRONG_CODES}; only a recovery code is accepted now."


class _Passkey(_SignIn):
    subject = "Passkey[ {passkey_name}] of user {affected_user_username}"
    passkey: Annotated[str, Fact("passkey_uuid", Readers.PERSON)]
    name: Annotated[str, Fact("passkey_name", Readers.PERSON)]


class PasskeyRegistered(_Passkey, kind="passkey.registered", text="has been added"):
    waldur_type = "passkey_registered"


class PasskeyRenamed(_Passkey, kind="passkey.renamed", text="has been renamed"):
    waldur_type = "passkey_renamed"


class PasskeyRevoked(_Passkey, kind="passkey.revoked", text="has been revoked"):
    waldur_type = "passkey_revoked"


class PasskeyRevokedByStaff(
    _Passkey, kind="passkey.revoked_by_staff", text="has been revoked by staff"
):
    waldur_type = "passkey_revoked_by_staff"


class PasskeyFailed(_Passkey, kind="passkey.failed"):
    waldur_type = "passkey_authentication_failed"
    message = f"{_Passkey.subject} gave an answer that was refused[ from {{ip_address}}]."
    address: StaffIpAddress


class _Provider(Event):
    group = "auth"
    subject = "Identity provider[ {provider_name}]"
    provider: Annotated[str, Fact("provider_name", Readers.STAFF, kept=True)]
    label: Annotated[str, Fact("provider_label", Readers.STAFF)]


class ProviderCreated(_Provider, kind="provider.created", text="has been added"):
    waldur_type = "identity_provider_created"


class ProviderUpdated(_Provider, kind="provider.updated"):
    waldur_type = "identity_provider_updated"
    message = f"{_Provider.subject} has been changed{_BY}[: {{fields}}]."
    fields: Annotated[list[str], Fact("fields", Readers.STAFF, kept=True)]


class ProviderRemoved(_Provider, kind="provider.removed", text="has been removed"):
    waldur_type = "identity_provider_deleted"


class _ClaimRule(Event):
    group = "permissions"
    subject = "Claim rule[ {claim_rule_name}]"
    rule: Annotated[str, Fact("claim_rule_name", Readers.STAFF, kept=True)]


class ClaimRuleCreated(_ClaimRule, kind="claim_rule.created", text="has been added"):
    waldur_type = "autoprovisioning_rule_created"


class ClaimRuleUpdated(_ClaimRule, kind="claim_rule.updated"):
    waldur_type = "autoprovisioning_rule_updated"
    message = f"{_ClaimRule.subject} has been changed{_BY}[: {{fields}}]."
    fields: Annotated[list[str], Fact("fields", Readers.STAFF, kept=True)]


class ClaimRuleRemoved(_ClaimRule, kind="claim_rule.removed", text="has been removed"):
    waldur_type = "autoprovisioning_rule_deleted"


class AgreementsAccepted(_Account, kind="agreements.accepted"):
    message = f"{_USER} has agreed to the current texts[: {{agreements}}]."
    agreements: Annotated[list[str], Fact("agreements", Readers.PERSON, kept=True)]
    """Kind, language and version of each."""


class _Agreement(Event):
    group = "users"
    subject = "User agreement[ {agreement_type}]"
    agreement: Annotated[str, Fact("agreement_uuid", Readers.STAFF, kept=True)]
    agreement_kind: Annotated[str, Fact("agreement_type", Readers.STAFF, kept=True)]
    language: Annotated[str, Fact("agreement_language", Readers.STAFF, kept=True)]
    version: Annotated[str, Fact("agreement_version", Readers.STAFF, kept=True)]


class AgreementPublished(_Agreement, kind="agreement.published", text="has been published"): ...


class AgreementChanged(_Agreement, kind="agreement.changed", text="has been changed"): ...


class AgreementRemoved(_Agreement, kind="agreement.removed", text="has been removed"): ...


class _Identity(_SignIn):
    subject = "A sign-in method[, {provider_name},] of user {affected_user_username}"
    provider: Annotated[str, Fact("provider_name", Readers.PERSON, kept=True)]


class IdentityLinked(_Identity, kind="identity.linked", text="has been added"): ...


class IdentityUnlinked(_Identity, kind="identity.unlinked", text="has been removed"):
    issuer: Annotated[str | UnsetType, Fact(kept=True)] = UNSET
    because: Because = UNSET


class IdentityClaimsCut(_Identity, kind="identity.claims_cut"):
    message = (
        "More about user {affected_user_username} than is stored has been sent[ by {provider_name}]"
        "[: {claims}]. Claim rules take no role away because of it."
    )
    claims: Annotated[list[str], Fact("claims", Readers.STAFF, kept=True)]


class IdentityLinkRequested(Event, kind="identity.link_requested"):
    group = "auth"
    message = (
        "A link that adds a sign-in method[, {provider_name},][ to user {affected_user_username}]"
        " has been requested[ from {ip_address}]."
    )
    account: int | None
    provider: Annotated[str, Fact("provider_name", Readers.STAFF, kept=True)]
    address: StaffIpAddress


class ProviderSignInFailed(Event, kind="login.provider_failed"):
    group = "auth"
    message = (
        "A sign-in[ with {provider_name}][ of user {affected_user_username}] failed"
        "[ from {ip_address}][: {reason}]."
    )
    account: int | None
    provider: Annotated[str, Fact("provider_name", Readers.STAFF, kept=True)]
    reason: Annotated[str, Fact("reason", Readers.STAFF, kept=True)]
    """Code of the refusal."""
    address: StaffIpAddress


class _Device(_SignIn):
    subject = "A program[, {device_name},] of user {affected_user_username}"
    name: Annotated[str, Fact("device_name", Readers.PERSON)]


class DeviceApproved(_Device, kind="device.approved", text="has been approved"): ...


class DeviceDenied(_Device, kind="device.denied", text="has been turned away"): ...


class _Key(Event):
    group = "ssh"
    subject = "SSH key[ {ssh_key_name}][ of user {affected_user_username}]"
    account: int
    key: Annotated[str, Fact("ssh_key_uuid", Readers.PERSON, kept=True)]
    name: Annotated[str, Fact("ssh_key_name", Readers.PERSON)]
    fingerprint: Annotated[str, Fact("ssh_key_fingerprint", Readers.PERSON)]


class KeyCreated(_Key, kind="key.created", text="has been added"):
    waldur_type = "ssh_key_creation_succeeded"


class KeyDeleted(_Key, kind="key.deleted", text="has been deleted"):
    waldur_type = "ssh_key_deletion_succeeded"


# Hooks


class _Hook(Event):
    group = "users"
    subject = "Hook of user {affected_user_username}"
    account: int
    hook: Annotated[str, Fact("hook_uuid", Readers.PERSON, kept=True)]
    hook_kind: Annotated[str, Fact("hook_type", Readers.PERSON, kept=True)]


class HookCreated(_Hook, kind="hook.created", text="has been created"):
    pass


class HookUpdated(_Hook, kind="hook.updated"):
    message = f"{_Hook.subject} has been changed{_BY}[: {{fields}}]."
    fields: Annotated[list[str], Fact("fields", Readers.PERSON, kept=True)]


class HookDeleted(_Hook, kind="hook.deleted", text="has been deleted"):
    pass


class HookDeactivated(_Hook, kind="hook.deactivated"):
    message = f"{_Hook.subject} has been deactivated, because all deliveries failed."


# Scopes

Fields = Annotated[list[str], Fact("fields", staff_only=frozenset({"staff_notes"}), kept=True)]


class _Scope(Event):
    scope: int
    name: Annotated[str, Fact("scope_name")]


class _Organisation(_Scope):
    group = "customers"
    subject = "Organization[ {scope_name}]"


class OrganisationCreated(_Organisation, kind="organisation.created", text="has been created"):
    waldur_type = "customer_creation_succeeded"
    sentence = mark("{who} created the organisation.")


class OrganisationUpdated(_Organisation, kind="organisation.updated"):
    waldur_type = "customer_update_succeeded"
    message = f"{_Organisation.subject} has been updated{_BY}[: {{fields}}]."
    sentence = mark("{who} changed the organisation{fields}.")
    fields: Fields
    replaced: dict[str, Any]
    """Column → its former value, of the columns that have another value now."""


class OrganisationDeleted(_Organisation, kind="organisation.deleted", text="has been deleted"):
    waldur_type = "customer_deletion_succeeded"
    sentence = mark("{who} deleted the organisation.")


class _Project(_Scope):
    group = "projects"
    subject = "Project[ {scope_name}]"


class ProjectCreated(_Project, kind="project.created", text="has been created"):
    waldur_type = "project_creation_succeeded"
    sentence = mark("{who} created the project.")


class ProjectUpdated(_Project, kind="project.updated"):
    waldur_type = "project_update_succeeded"
    message = f"{_Project.subject} has been updated{_BY}[: {{fields}}]."
    sentence = mark("{who} changed the project{fields}.")
    fields: Fields


class ProjectDeleted(_Project, kind="project.deleted", text="has been deleted"):
    waldur_type = "project_deletion_succeeded"
    sentence = mark("{who} deleted the project.")


class ProjectRecovered(_Project, kind="project.recovered", text="has been recovered"):
    sentence = mark("{who} restored the project.")


class ProjectMoved(_Project, kind="project.moved", text="has been moved to another organization"):
    sentence = mark("{who} moved the project to another organisation.")
    organisation: Annotated[str, Fact("customer_name", Readers.STAFF, kept=True)]
    former_organisation: Annotated[str, Fact("former_customer_name", Readers.STAFF, kept=True)]
    keeps_members: Annotated[bool, Fact("preserve_permissions", Readers.STAFF, kept=True)]


class _Exported(Event):
    group = "permissions"
    scope: int
    export_format: Annotated[str, Fact("format", Readers.SCOPE, kept=True)]
    export_filters: Annotated[list[str], Fact("filters", Readers.SCOPE, kept=True)]
    """The names of the filters; their values may be personal."""


class MembersExported(_Exported, kind="export.members"):
    message = f"The members[ of {{scope_name}}] have been exported{_BY}."
    sentence = mark("{who} downloaded the list of members.")


class InvitationsExported(_Exported, kind="export.invitations"):
    message = f"The invitations[ of {{scope_name}}] have been exported{_BY}."
    sentence = mark("{who} downloaded the list of invitations.")


class HistoryExported(_Exported, kind="export.history"):
    message = f"The audit log[ of {{scope_name}}] has been exported{_BY}."
    sentence = mark("{who} downloaded the audit log.")


class GroupCreated(_Scope, kind="group.created"):
    sentence = mark("{who} created the group.")


class GroupUpdated(_Scope, kind="group.updated"):
    sentence = mark("{who} renamed the group.")
    fields: Fields


class GroupDeleted(_Scope, kind="group.deleted"):
    sentence = mark("{who} deleted the group.")


# Reviews of roles


class _Review(Event):
    group = "permissions"
    subject = "A review of the roles"
    scope: int
    review: Annotated[str, Fact("review_uuid", Readers.SCOPE, kept=True)]


class ReviewOpened(_Review, kind="review.opened", text="has been opened"):
    sentence = mark("A review of the roles was opened.")


class ReviewClosed(_Review, kind="review.closed", text="has been closed"):
    sentence = mark("{who} reviewed the roles of the members.")
    roles: Annotated[str, Fact("reviewed_roles", Readers.SCOPE, kept=True)]
    """Number of roles that were looked at."""


# Roles of people

_IN: Final = "[ in {scope_name}]"

RoleName = Annotated[str, Fact("role_name", Readers.ALL, kept=True)]
ScopeName = Annotated[str, Fact("scope_name", kept=True)]


class GrantEvent(Event):
    """An event of a role that an account has in a scope."""

    group = "permissions"
    subject = f"The role {{role_name}}{_IN} of user {{affected_user_username}}"
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
    rule: Annotated[str | UnsetType, Fact("claim_rule_name", Readers.STAFF, kept=True)] = UNSET
    """The claim rule that gave the role, or took it away."""
    remark: Annotated[str | UnsetType, Fact("reason", Readers.STAFF)] = UNSET
    """Why, in the words of the account that acts. Erasure decides by the name of a fact, and keeps
    the ``reason`` of others, which is a code."""


class RoleGranted(GrantEvent, kind="role.granted"):
    message = f"{_USER} has been given the role {{role_name}}{_IN}{_BY}."
    sentence = mark("{who} gave {whom} the role {role}{until}.")
    sentence_of_self = mark("{who} got the role {role}{until}.")


class RoleUpdated(GrantEvent, kind="role.updated"):
    message = f"{GrantEvent.subject} has a new end date[, {{expiration_time}}]{_BY}."
    sentence = mark("{who} changed the end date of the role {role} of {whom}{until}.")


class RoleRevoked(GrantEvent, kind="role.revoked"):
    message = f"{GrantEvent.subject} was removed{_BY}[: {{reason}}]."
    sentence = mark("{who} removed the role {role} from {whom}.")
    sentence_of_self = mark("{who} gave up the role {role}.")


class RoleRestored(GrantEvent, kind="role.restored"):
    message = f"{_USER} has been given the role {{role_name}}{_IN} again{_BY}[: {{reason}}]."
    sentence = mark("{who} gave {whom} the role {role} again{until}.")


class RoleExpired(GrantEvent, kind="role.expired", text="has expired"):
    sentence = mark("The role {role} of {whom} ended.")


# Definitions of roles


class _Role(Event):
    group = "permissions"
    subject = "Role {role_name}"
    role: RoleName
    role_uuid: Annotated[str, Fact("role_uuid", kept=True)]


class RoleCreated(_Role, kind="role.created", text="has been created"):
    waldur_type = "role_definition_created"
    permissions: Annotated[list[str], Fact("permissions", kept=True)]


class RoleChanged(_Role, kind="role.changed", text="has been changed"):
    waldur_type = "role_definition_updated"
    changes: Annotated[dict[str, Any], Fact("changes")]
    permissions_added: Annotated[list[str], Fact("permissions_added", kept=True)]
    permissions_removed: Annotated[list[str], Fact("permissions_removed", kept=True)]


class RoleDeleted(_Role, kind="role.deleted", text="has been deleted"):
    waldur_type = "role_definition_deleted"


class RoleEnabled(_Role, kind="role.enabled", text="has been enabled"): ...


class RoleDisabled(_Role, kind="role.disabled", text="has been disabled"): ...


class RoleReleased(_Role, kind="role.released", text="can be used by all organizations now"): ...


class RoleConcealed(_Role, kind="role.concealed", text="is not used by an organization any more"):
    sentence = mark("{who} stopped the use of the role {role}.")
    scope: int


class RoleRevealed(_Role, kind="role.revealed", text="is used by an organization again"):
    sentence = mark("{who} allowed the use of the role {role} again.")
    scope: int


# Invitations and invite links


class InvitationEvent(Event):
    """An event of an invitation or of an invite link."""

    group = "invitations"
    subject = "An invitation[ of {invitation_email}][ to {scope_name}]"
    scope: int
    role: Annotated[str | UnsetType, Fact("role_name", Readers.ALL, kept=True)] = UNSET
    invitation: Annotated[str, Fact("invitation_uuid", Readers.INVITATIONS, kept=True)]
    """UUID."""

    @classmethod
    def of(cls, invitation: Any) -> Self:
        """Return the event of an invitation or invite link, a row."""
        return cls(scope=invitation.scope_id, invitation=invitation.uuid)


class _Import(Event):
    group = "invitations"
    subject = "An import"
    scope: int
    import_uuid: Annotated[str, Fact("import_uuid", Readers.INVITATIONS, kept=True)]


class ImportStarted(_Import, kind="import.started", text="has been started"):
    sentence = mark("{who} started to invite the people of {import_rows} rows of a file.")
    import_rows: Annotated[str, Fact("import_rows", Readers.INVITATIONS, kept=True)]
    """How many rows were chosen."""


class ImportCanceled(_Import, kind="import.canceled", text="has been canceled"):
    sentence = mark("{who} stopped an import of people.")


class ImportUndone(_Import, kind="import.undone", text="has been undone"):
    sentence = mark("{who} cancelled the open invitations of an import.")


class _Addressed(InvitationEvent):
    email: Annotated[str, Fact("invitation_email", Readers.INVITATIONS)]

    @classmethod
    def of(cls, invitation: Any) -> Self:
        return cls(scope=invitation.scope_id, invitation=invitation.uuid, email=invitation.email)


class InvitationCreated(_Addressed, kind="invitation.created", text="has been made"):
    sentence = mark("{who} invited {email}.")


class InvitationSent(_Addressed, kind="invitation.sent", text="has been sent again"):
    sentence = mark("{who} sent the invitation for {email} again.")


class InvitationUpdated(_Addressed, kind="invitation.updated", text="has been changed"):
    waldur_type = "user_invitation_updated"
    sentence = mark("{who} changed the invitation for {email}{fields}.")
    fields: Annotated[list[str], Fact("fields", Readers.INVITATIONS, kept=True)]
    """What has changed: ``email``, ``role``, ``end``."""
    former_email: Annotated[
        str | UnsetType, Fact("former_invitation_email", Readers.INVITATIONS)
    ] = UNSET


class InvitationAccepted(InvitationEvent, kind="invitation.accepted", text="has been accepted"):
    sentence = mark("{who} accepted the invitation.")
    role: RoleName

    @classmethod
    def of(cls, invitation: Any) -> Self:
        return cls(scope=invitation.scope_id, invitation=invitation.uuid, role=invitation.role_name)


class InvitationDeclined(_Addressed, kind="invitation.declined", text="has been declined"):
    sentence = mark("{who} declined the invitation for {email}.")
    sentence_of_link = mark("The invitation for {email} was declined with the link in the e-mail.")


class InvitationCanceled(InvitationEvent, kind="invitation.canceled", text="has been canceled"):
    sentence = mark("{who} cancelled the invitation for {email}.")
    because: Annotated[
        str | UnsetType, Fact("because_of_invitation_uuid", Readers.INVITATIONS, kept=True)
    ] = UNSET
    """UUID of the invitation that was accepted instead."""


class InvitationDeleted(_Addressed, kind="invitation.deleted", text="has been deleted"):
    sentence = mark("{who} deleted the invitation for {email}.")


class InvitationApproved(_Addressed, kind="invitation.approved", text="has been approved"):
    sentence = mark("{who} approved the invitation for {email}.")


class InvitationRejected(_Addressed, kind="invitation.rejected", text="has been rejected"):
    sentence = mark("{who} rejected the invitation for {email}.")


class InvitationReleased(
    InvitationEvent, kind="invitation.released", text="was sent, because its project starts"
):
    sentence = mark("The invitation for {email} was sent, because the project starts.")


class InvitationExpired(InvitationEvent, kind="invitation.expired", text="has expired"):
    sentence = mark("The invitation for {email} expired.")


class InvitationInviteeDeactivated(
    InvitationEvent,
    kind="invitation.invitee_deactivated",
    text="was not accepted: the account of the invited address is deactivated",
):
    sentence = mark("The invited account is deactivated and could not accept.")


class InvitationRenewalRequested(
    InvitationEvent,
    kind="invitation.renewal_requested",
    text="has expired, and a new link was requested",
):
    sentence = mark("The invited person asked for a new link.")


class _InviteLink(InvitationEvent):
    subject = "A group invitation[ to {scope_name}]"


class InviteLinkCreated(_InviteLink, kind="invite_link.created", text="has been made"):
    sentence = mark("{who} created an invite link.")
    role: RoleName


class InviteLinkUpdated(_InviteLink, kind="invite_link.updated", text="has been changed"):
    sentence = mark("{who} edited an invite link.")
    fields: Annotated[list[str], Fact(kept=True)]


class InviteLinkCanceled(_InviteLink, kind="invite_link.canceled", text="has been canceled"):
    sentence = mark("{who} closed an invite link.")


class InviteLinkDeleted(_InviteLink, kind="invite_link.deleted", text="has been deleted"):
    sentence = mark("{who} deleted an invite link.")


# Join requests


class JoinRequestEvent(Event):
    """An event of a join request: only some readers may know the requester."""

    group = "invitations"
    subject = f"The request[ of user {{affected_user_username}}][ for the role {{role_name}}]{_IN}"
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


class JoinRequestSubmitted(JoinRequestEvent, kind="request.submitted", text="has been made"):
    sentence = mark("{who} asked to join.")


class JoinRequestApproved(JoinRequestEvent, kind="request.approved", text="has been approved"):
    sentence = mark("{who} approved the join request of {whom}.")


class JoinRequestRejected(JoinRequestEvent, kind="request.rejected", text="has been rejected"):
    sentence = mark("{who} rejected the join request of {whom}.")


class JoinRequestCanceled(JoinRequestEvent, kind="request.canceled", text="was withdrawn"):
    sentence = mark("{who} cancelled the join request of {whom}.")
    sentence_of_self = mark("{who} withdrew their join request.")


class JoinRequestDeleted(JoinRequestEvent, kind="request.deleted", text="has been deleted"):
    sentence = mark("{who} deleted the join request of {whom}.")


# E-mails


class MailEvent(Event):
    """A decision of staff about queued e-mails."""

    group = "mails"
    subject = "Mail[ of kind {mail_kind}][ to {mail_recipient}][, {mails} in number,]"
    mail: Annotated[str | UnsetType, Fact("mail_kind", Readers.STAFF, kept=True)] = UNSET
    recipient: Annotated[str | UnsetType, Fact("mail_recipient", Readers.STAFF)] = UNSET
    mails: Annotated[int | UnsetType, Fact("mails", Readers.STAFF, kept=True)] = UNSET


class MailRetried(MailEvent, kind="mail.retried", text="is queued again"): ...


class MailDiscarded(MailEvent, kind="mail.dropped", text="was discarded"): ...


class UnknownEvent(Event):
    """A kind of event that an earlier or later release has recorded."""

    message = f"Something has been done{_BY}."
    sentence = mark("{who} did something else.")


BY_KIND: Final = {event.kind: event for event in Event.all()}
"""The stored name of an event → its class."""


def of_kind(kind: str) -> type[Event]:
    """Return the class of an event by its stored name."""
    return BY_KIND.get(kind, UnknownEvent)
