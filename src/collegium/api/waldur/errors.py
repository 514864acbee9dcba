"""Map refusals to the status, shape and message of this API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final

from collegium.api.request import Response, error_response, json_response
from collegium.refusals import (
    Conflict,
    Forbidden,
    Invalid,
    Limited,
    NotFound,
    Refusal,
    Unauthenticated,
)
from collegium.values import MESSAGES

DENIED: Final = "You do not have permission to perform this action."

_FORBIDDEN: Final = {
    "key.shared": "Only staff users are allowed to delete shared SSH public key.",
    "request.not_own": "You can only cancel your own permission requests.",
    "token.delegated": "This token cannot change the e-mail address. Use the API token of the "
    "account or its web page.",
    "second_factor.required": "Two-factor authentication is required for this account. Sign in on "
    "the web pages and set it up first.",
    "impersonation.no_session": "Unable to impersonate user that does not have an active session.",
}

_LOGIN_FAILURES: Final = {
    "login.failed": "Invalid username/password.",
    "login.locked": "Username is locked out. Try in 10 minutes.",
    "login.disabled": "Authentication method is disabled. "
    "Please use another authentication method or contact staff.",
}

_CREDENTIALS: Final = {
    "credentials.missing": "Authentication credentials were not provided.",
    "credentials.empty": "Invalid token. No credentials provided.",
    "credentials.spaces": "Invalid token. Token string should not contain spaces.",
    "credentials.characters": "Invalid token header. "
    "Token string should not contain invalid characters.",
    "token.unknown": "Invalid token.",
    "token.inactive": "User inactive or deleted.",
    "token.expired": "Token has expired.",
}

_NOT_FOUND: Final = {
    "account.unknown": "No User matches the given query.",
    "organisation.unknown": "No Customer matches the given query.",
    "project.unknown": "No Project matches the given query.",
    "role.unknown": "No Role matches the given query.",
    "availability.unknown": "No RoleAvailability matches the given query.",
    "concealment.unknown": "No CustomerRoleConcealment matches the given query.",
    "grant.unknown": "No UserRole matches the given query.",
    "import.unknown": "No Import matches the given query.",
    "invitation.unknown": "No Invitation matches the given query.",
    "invite_link.unknown": "No GroupInvitation matches the given query.",
    "request.unknown": "No PermissionRequest matches the given query.",
    "hook.unknown": "No Hook matches the given query.",
    "key.unknown": "No SshPublicKey matches the given query.",
    "review.unknown": "No PermissionReview matches the given query.",
    "agreement.unknown": "No UserAgreement matches the given query.",
    "provider.unknown": "No IdentityProvider matches the given query.",
    "claim_rule.unknown": "No Rule matches the given query.",
    "event.unknown": "No Event matches the given query.",
    "token.none": "No Token matches the given query.",
    "address.unknown_code": "No ChangeEmailRequest matches the given query.",
    "passkey.unknown": "No PasskeyCredential matches the given query.",
    "page.unknown": "Invalid page.",
    "version.unknown": "No version found before the specified timestamp.",
}

_CONFLICTS: Final = {
    "request.wrong_state": "Valid states for operation: pending.",
    "account.has_requests": "Cannot delete user with existing permission requests",
    "organisation.has_projects": "Cannot delete organization with existing projects",
    "invite_link.has_requests": "Cannot delete group invitation with existing permission requests",
    "account.last_owner": "Cannot delete the last owner of an organization",
    "import.group": "People cannot be imported into a group.",
    "import.nothing_ready": "No row is ready.",
    "import.nothing_to_undo": "No invitation of this import is open any more.",
    "import.wrong_state": "This is not possible in the present state of the import.",
}
"""Refusals that answer 409."""

_DETAILS: Final = {
    "account.address_protected": "The registration method does not allow direct email "
    "modification.",
    "passkey.ceremony": "The passkey ceremony is unknown, was used or has expired.",
    "passkey.invalid": "The passkey was not accepted.",
    "passkey.last_way_in": "This passkey is the only way to sign in to the account.",
    "passkey.no_domain": "This service has no domain name, so passkeys cannot be used.",
    "passkey.too_many": "You have {most} passkeys; no more can be added.",
    "review.closed": "The review is already closed.",
    "invitation.ends_before_start": "The role that this invitation offers would end before the "
    "project starts, on {start}.",
    "invitation.role_ended": "The role that this invitation offers would have ended already.",
    "second_factor.mandatory": "Two-factor authentication is required for this account.",
    "directory.no_token": "Unable to get access token.",
    "directory.token_unreadable": "Unable to parse JSON in access token response.",
    "directory.unreachable": "Unable to get user info.",
    "directory.unreadable": "Unable to parse JSON in user info response.",
    "directory.invalid": "The user info response cannot be used: {field}.",
}
"""Refusals that answer 400 with one sentence."""

NON_FIELD: Final = "non_field_errors"
"""Key of errors that belong to no single field."""

_NO_FIELD: Final = None
_OF_FACT: Final = "{field}"
"""The refusal names the field."""

# Code to (field, message). The field is a name, ``NON_FIELD``, or None for a bare array, in which
# this API reports the refusals of actions.
_FIELD_ERRORS: Final[Mapping[str, tuple[str | None, str]]] = {
    "account.username_taken": ("username", "user with this username already exists."),
    "account.slug_taken": ("slug", "user with this slug already exists."),
    "account.policy": ("agree_with_policy", "User must agree with the policy."),
    "account.lifetime": (
        "token_lifetime",
        "Ensure this value is less than or equal to {longest}.",
    ),
    "account.lifetime_elsewhere": (
        "token_lifetime",
        "Only the API token itself changes its lifetime.",
    ),
    "agreement.taken": (
        NON_FIELD,
        "The fields agreement_type, language must make a unique set.",
    ),
    "key.too_many": (_NO_FIELD, "You have {most} SSH keys; no more can be added."),
    "hook.too_many": (_NO_FIELD, "You have {most} hooks; no more can be added."),
    "hook.no_events": (NON_FIELD, "Please specify list of event_types or event_groups."),
    "hook.url": ("destination_url", "Enter an https URL without a user name."),
    "hook.internal": ("destination_url", "This is an internal address."),
    "hook.unknown_host": ("destination_url", "The host of this URL has no address."),
    "hook.other_address": ("email", "Only staff can enter the address of somebody else."),
    "address.code_expired": (_NO_FIELD, "Request has expired."),
    "key.lines": ("public_key", "Key is not valid: it should be single line."),
    "key.invalid": ("public_key", "Invalid SSH public key."),
    "key.name_taken": ("name", "This field must be unique."),
    "directory.not_managed": (_NO_FIELD, "User is not managed by eduTEAMS."),
    "directory.disabled": (
        _NO_FIELD,
        "Remote eduTEAMS account synchronization extension is disabled.",
    ),
    "scope.slug_taken": ("slug", "This field must be unique."),
    "provider.name": (
        "provider",
        "Enter up to 50 small letters, digits, hyphens and underscores; not a reserved name.",
    ),
    "provider.name_taken": ("provider", "identity provider with this provider already exists."),
    "provider.name_is_fixed": ("provider", "The name of an identity provider cannot be changed."),
    "provider.label": ("label", "This field may not be blank."),
    "provider.client_id": ("client_id", "Enter printable ASCII characters."),
    "provider.client_secret": ("client_secret", "Enter printable ASCII characters."),
    "provider.discovery_url": (
        "discovery_url",
        "Enter an https URL that ends with /.well-known/openid-configuration.",
    ),
    "discovery.unreachable": ("discovery_url", "Unable to discover endpoints."),
    "discovery.unreadable": (
        "discovery_url",
        "Unable to parse JSON in discovery response.",
    ),
    "discovery.insecure": (
        "discovery_url",
        "An endpoint is not https, or it is an internal address that is not allowed.",
    ),
    "discovery.wrong_issuer": (
        "discovery_url",
        "The issuer of the provider does not match its discovery URL.",
    ),
    "discovery.unsupported": (
        "discovery_url",
        "The provider does not support the authorization code flow with safe signatures.",
    ),
    "provider.metadata": ("discovery_url", "The discovery URL was changed at the same time."),
    "provider.url": ("management_url", "Enter a valid https URL."),
    "provider.scope": (_OF_FACT, "Enter words with one space between them."),
    "provider.user_field": ("user_field", "Only username and civil_number identify a user."),
    "provider.user_claim": (
        _OF_FACT,
        "This claim does not identify a person: people can choose it, or it can be reassigned.",
    ),
    "provider.user_pair": (_OF_FACT, "user_field and user_claim belong together."),
    "provider.mapping": ("attribute_mapping", "Map fields of a user to names of claims."),
    "provider.protected_fields": ("protected_fields", "These fields cannot be protected."),
    "provider.redirect": (
        "allowed_redirects",
        "Enter exact https URLs, without wildcards and fragments.",
    ),
    "provider.domain": ("trusted_domains", "Enter domain names in small letters."),
    "provider.factor_value": ("second_factor_values", "Enter values of acr and amr."),
    "provider.claim": ("vouched_claims", "Enter names of claims."),
    "provider.registration": ("registration", "Enter off, invited or open."),
    "claim_rule.organisation": ("customer", "This field may not be null."),
    "claim_rule.no_condition": (NON_FIELD, "A rule needs a condition; else it matches everybody."),
    "claim_rule.empty_claim": ("user_claims", "Each claim needs an accepted value."),
    "claim_rule.project_role": ("project_role", "This field is required to create a project."),
    "claim_rule.no_role": (NON_FIELD, "A rule needs customer_role, or project_role."),
    "claim_rule.too_many": (NON_FIELD, "There are {most} rules. Remove one first."),
    "role.name_taken": (NON_FIELD, "Name should be unique."),
    "role.permissions": ("permissions", "Invalid permissions {names}"),
    "role.kind_is_fixed": ("content_type", "Content type of an existing role cannot be changed."),
    "role.system_name": (_NO_FIELD, "Changing name for system role is not possible."),
    "role.is_system": (_NO_FIELD, "Destroying of system role is not available."),
    "role.used": (_NO_FIELD, "Role is still used."),
    "role.other_kind": (NON_FIELD, "Role and scope should belong to the same content type."),
    "role.not_for_scope": (NON_FIELD, "Role is not valid for this scope."),
    "role.not_available": (NON_FIELD, "Role is not available in this scope."),
    "role.concealed": (NON_FIELD, "Role is concealed for this organization."),
    "role.concealed_already": (NON_FIELD, "Role is already concealed for this organization."),
    "role.cloned": (NON_FIELD, "The role has already been cloned into this organization."),
    "role.of_organisation": (NON_FIELD, "Only roles of all organizations can be cloned."),
    "role.last_granting": (
        NON_FIELD,
        "It is the last role of this organization that can add members.",
    ),
    "role.inactive": (NON_FIELD, "Role is not active."),
    "organisation.unavailable": (NON_FIELD, "Customer is not available."),
    "organisation.blocked": (_NO_FIELD, "Blocked organization is not available."),
    "organisation.archived": (_NO_FIELD, "Archived organization is not available."),
    "membership.own_role": (NON_FIELD, "User can not manage own role."),
    "scope.last_owner": (NON_FIELD, "The last owner cannot be removed."),
    "scope.not_admitted": (
        NON_FIELD,
        "User does not match the membership restrictions of the organization or the project.",
    ),
    "grant.exists": (NON_FIELD, "User has already the same role in this scope."),
    "grant.held": (_NO_FIELD, "User has already the same role in this scope."),
    "grant.ended": (_NO_FIELD, "Role is already revoked."),
    "grant.active": (_NO_FIELD, "Role is already active."),
    "grant.replaced": (_NO_FIELD, "An active grant for this role already exists."),
    "grant.expired": (
        _NO_FIELD,
        "The end of this role has passed. Add the role again with another end.",
    ),
    "grant.scope_deleted": (_NO_FIELD, "The scope of this role was removed."),
    "grant.elsewhere": (_NO_FIELD, "User already has role within another scope."),
    "grant.ends_in_the_past": (
        "expiration_time",
        "Expiration time should be greater than current time.",
    ),
    "invitation.other_address": (
        _NO_FIELD,
        "User\N{RIGHT SINGLE QUOTATION MARK}s email and email of the invitation are not equal.",
    ),
    "invitation.not_cancelable": (
        _NO_FIELD,
        "Only pending or planned invitations can be canceled.",
    ),
    "import.not_ready": (_OF_FACT, "These rows are not ready: {wrong}."),
    "invitation.no_address": (
        _NO_FIELD,
        "The invited account was deleted with its address. Please create a new invitation.",
    ),
    "invitation.not_editable": (NON_FIELD, "Only pending invitations can be edited."),
    "invitation.not_sendable": (
        _NO_FIELD,
        "Only pending, expired and canceled invitations can be resent.",
    ),
    "invite_link.inactive": (_NO_FIELD, "Only pending invitation can be requested."),
    "invite_link.not_editable": (NON_FIELD, "Only active invitations can be edited."),
    "invite_link.not_deletable": (_NO_FIELD, "Only canceled invitation can be deleted."),
    "invite_link.has_pending": (
        NON_FIELD,
        "What this invitation offers cannot be changed while requests are pending.",
    ),
    "invite_link.scope": ("scope", "The scope of an invitation cannot be changed."),
    "invite_link.closed": (_NO_FIELD, "Only pending invitation can be canceled."),
    "invite_link.not_for_you": (
        _NO_FIELD,
        (
            "You are not allowed to accept this invitation. "
            "Your email or organization must match the invitation restrictions."
        ),
    ),
    "invite_link.claims": (
        _NO_FIELD,
        (
            "You are not allowed to accept this invitation. "
            "Your identity provider does not state what the invitation asks for."
        ),
    ),
    "invite_link.public_staff": (
        "is_public",
        "Only staff users can create public invitations.",
    ),
    "invite_link.public_auto": (
        "auto_create_project",
        "Public invitations must have auto_create_project enabled.",
    ),
    "invite_link.public_role": (
        "role",
        "Public invitations can only use project-level roles, not customer-level roles.",
    ),
    "invite_link.template": (
        "project_name_template",
        "Invalid placeholders in template: {wrong}. Allowed placeholders are: {allowed}",
    ),
    "invite_link.patterns": ("user_email_patterns", "Invalid regex patterns: [{wrong}]"),
    "request.too_many": (
        _NO_FIELD,
        "You have {most} pending requests. Withdraw one first.",
    ),
    "invite_link.too_many": (
        _NO_FIELD,
        "There are {most} open group invitations in this scope. Cancel one first.",
    ),
    "organisation.too_many_projects": (
        NON_FIELD,
        "An organization can have at most {most} projects.",
    ),
    "request.exists": (_NO_FIELD, "Request has been created already."),
    "request.not_cancelable": (_NO_FIELD, "Only pending or draft requests can be canceled."),
    "account.inactive": (_NO_FIELD, "User is not active."),
    "decision.signature": (_NO_FIELD, "Invalid signature."),
    "decision.payload": (_NO_FIELD, "Invalid payload."),
    "decision.no_staff": (_NO_FIELD, "Invalid user UUID."),
    "decision.no_invitation": (_NO_FIELD, "Invalid invitation UUID."),
    "project.not_deleted": (_NO_FIELD, "Project is not deleted and cannot be recovered."),
    "export.filter": (NON_FIELD, "A date of the filter is not valid."),
    "project.too_many_to_invite": (
        NON_FIELD,
        "At most {most} previous members can be invited at once.",
    ),
    "project.restore_or_invite": (
        NON_FIELD,
        "Restoring members and inviting them cannot be combined.",
    ),
    "project.moved": (_NO_FIELD, "The project was moved in the meantime."),
    "project.same_organisation": (
        "customer",
        "New customer must be different than current one.",
    ),
    "project.date_in_the_past": (_OF_FACT, "Cannot be earlier than the current date."),
}


VALUES: Final[Mapping[str, str]] = {
    **MESSAGES,
    "surrogate": "Surrogate characters are not allowed: U+{code_point:X}.",
    "pattern": "{message}",
    "email": "Enter a valid email address.",
    "scripts": "Enter an email address with letters of only one script.",
    "boolean": "Must be a valid boolean.",
    "number": "A valid number is required.",
    "uuid": "Must be a valid UUID.",
    "date": "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.",
    "date_time": "Datetime has wrong format. Use one of these formats instead: "
    "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].",
    "choice": '"{value}" is not a valid choice.',
    "content_type": "Invalid content type.",
    "network": '"{value}" is not a valid network.',
    "list": 'Expected a list of items but got type "{type}".',
    "too_many": "Ensure this field has no more than {max} elements.",
    "item": "Item {number}, {field}: {message}",
    "object": 'Expected a dictionary of items but got type "{type}".',
    "json": "Value must be valid JSON.",
    "file": "The submitted data was not a file. Check the encoding type on the form.",
    "empty_file": "The submitted file is empty.",
    "large_file": "The submitted file is larger than {max} bytes.",
    "body.type": 'Unsupported media type "{type}" in request.',
    "body.nested": "JSON parse error - nested too deeply",
    "body.recursion": "JSON parse error - nested too deeply",
    "body.json": "JSON parse error - {error}",
    "body.object": "Invalid data. Expected a dictionary, but got {type}.",
    "body.escapes": "Form parse error - too many percent signs",
    "body.form": "Form parse error - {error}",
    "body.multipart": "Multipart form parse error - {error}",
}
"""Messages for the problems of values in bodies."""

PARAMETERS: Final[Mapping[str, str]] = {
    **VALUES,
    "too_long": "Ensure this value has at most {max} characters.",
    "uuid": "Enter a valid UUID.",
    "date_time": "Enter a valid date/time.",
    "number": "Enter a number.",
    "choice": "Select a valid choice. {value} is not one of the available choices.",
    "not_searched": "Events cannot be searched by this here.",
}
"""The same for query parameters; some messages differ."""


def refusal_response(refusal: Refusal) -> Response:
    """Return the response for a refusal."""
    match refusal:
        case Unauthenticated(code=code) if code in _LOGIN_FAILURES:
            response = error_response(401, _LOGIN_FAILURES[code])
        case Unauthenticated():
            response = error_response(
                401, _CREDENTIALS[refusal.code], {"WWW-Authenticate": "Token"}
            )
        case NotFound():
            response = error_response(404, _NOT_FOUND.get(refusal.code, "Not found."))
        case Forbidden():
            response = error_response(403, _FORBIDDEN.get(refusal.code, DENIED))
        case Limited():
            is_budget_spent = refusal.code == "mail_budget.spent"
            sentence = _BUDGET_SPENT if is_budget_spent else _THROTTLED
            response = _throttled(int(str(refusal.facts["seconds"])), sentence)
        case Conflict(code=code) if code in _CONFLICTS:
            response = error_response(409, _CONFLICTS[code])
        case Conflict(code=code) | Invalid(code=code) if code in _DETAILS:
            response = error_response(400, _DETAILS[code].format(**refusal.facts))
        case Conflict() | Invalid():
            response = _field_error(refusal)
        case _:
            raise refusal
    return response


def documented() -> Iterator[tuple[str, int, str, str]]:
    """Yield every refusal of this API: its code, status, field (empty if none) and message."""
    for status, messages in (
        (HTTPStatus.UNAUTHORIZED, _LOGIN_FAILURES | _CREDENTIALS),
        (HTTPStatus.FORBIDDEN, {"permission.missing": DENIED} | _FORBIDDEN),
        (HTTPStatus.NOT_FOUND, _NOT_FOUND),
        (HTTPStatus.CONFLICT, _CONFLICTS),
        (HTTPStatus.BAD_REQUEST, _DETAILS),
        (
            HTTPStatus.TOO_MANY_REQUESTS,
            {"tries.wait": _THROTTLED, "mail_budget.spent": _BUDGET_SPENT},
        ),
    ):
        for code, message in messages.items():
            yield code, status, "", message
    for code, (field, message) in _FIELD_ERRORS.items():
        yield code, HTTPStatus.BAD_REQUEST, field or "", message


_THROTTLED: Final = "Request was throttled."
_BUDGET_SPENT: Final = "This address has got too many e-mails today."


def _throttled(seconds: int, sentence: str) -> Response:
    unit = "second" if seconds == 1 else "seconds"
    text = f"{sentence} Expected available in {seconds} {unit}."
    return error_response(429, text, {"Retry-After": str(seconds)})


def reason_for(refusal: Refusal) -> tuple[str | None, str]:
    """Return the field of a refusal (None: the action as a whole) and its message."""
    field, text = _FIELD_ERRORS[refusal.code]
    text = text.format(**{name: _format_fact(fact) for name, fact in refusal.facts.items()})
    if field == _OF_FACT:
        field = str(refusal.facts["field"])
    return field, text


def _format_fact(fact: object) -> str:
    return ",".join(map(str, fact)) if isinstance(fact, (list, tuple)) else str(fact)


def _field_error(refusal: Refusal) -> Response:
    field, text = reason_for(refusal)
    return json_response(400, [text] if field is None else {field: [text]})
