"""The messages for refusals: what happened, what to do next. Also labels of fields and objects."""

from __future__ import annotations

from typing import Any, Final, Protocol

from collegium.access.rules import ScopeKind
from collegium.refusals import Refusal
from collegium.text.names import isolated

VALUES: Final = {
    "blank": "Please fill in this field.",
    "invisible": "This contains only invisible characters.",
    "too_long": "Please use at most {max} characters.",
    "long_line": "Please use at most {max} characters per line.",
    "too_many": "Please use at most {max} lines.",
    "null_character": "This contains characters that are not allowed. Please type it again.",
    "controls": "This contains characters that are not allowed. Please type it again.",
    "link": "A name cannot contain a web address.",
    "email": "Please enter an e-mail address, such as name@example.org.",
    "scripts": "This address mixes letters of several scripts. Please type it again.",
    "date": "Please enter a date, such as 2026-12-31.",
    "choice": "Please choose an option.",
}
"""Messages for the problems of values in forms."""

_MESSAGES: Final = {
    "account.username_taken": "This user name is already taken. Please choose another one.",
    "account.slug_taken": "This short name is already taken. Please choose another one.",
    "account.policy": "Please agree to the terms of this service first.",
    "account.address_protected": "The e-mail address of this account comes from another service. "
    "Please change it there.",
    "account.deactivated": "The account with this address is deactivated. You cannot create a "
    "second account with it.",
    "account.email_taken": "An account with this address exists. Please sign in with it to accept "
    "the invitation. If you have forgotten its password, you can set a new one by e-mail.",
    "account.inactive": "This account is deactivated, so it cannot get a role.",
    "account.lifetime": "This is longer than this service allows.",
    "address.unknown_code": "This link is no longer valid.",
    "address.code_expired": "This link has expired. Please request a new one.",
    "agreement.changed": "The texts have changed while you were reading. Please read the new ones.",
    "agreement.required": "Please agree to the terms of this service first.",
    "agreement.taken": "There is a text of this kind in this language. Please change that one.",
    "decision.no_invitation": "The invitation was already approved, rejected or cancelled.",
    "decision.no_staff": "This link belongs to an account that can no longer approve invitations.",
    "decision.payload": "This link is incomplete. Please open it from the e-mail again.",
    "decision.signature": "This link is incomplete or has expired.",
    "device.unknown": "This code is not valid. It may have expired. Start the program again to "
    "get a new code.",
    "export.filter": "A date in the filter is not valid. Please correct it and download again.",
    "export.too_many": "The list has more than {most} rows. Please filter it first.",
    "form.encrypted": "Nothing was saved: your browser uses https, but this service is configured "
    "for http. Please tell the operator of this service to set BASE_URL to https or to name the "
    "proxy in TRUSTED_PROXIES.",
    "form.insecure": "Nothing was saved: this page was opened over http, where your browser does "
    "not keep the cookies of this service. Please open it here instead:",
    "form.no_cookie": "Nothing was saved, because your browser sent no cookie. Please allow "
    "cookies for this service, reload the page and try again. Without signing in, cookies expire "
    "after two hours.",
    "form.foreign": "Nothing was saved, because this form came from another site.",
    "form.stale": "Nothing was saved, because this page was open for too long. Please go back, "
    "reload the page and try again.",
    "form.unreadable": "Nothing was saved, because the request was not a complete form. Please go "
    "back, reload the page and try again.",
    "grant.elsewhere": "This person already has another role here, and can have only one.",
    "grant.exists": "This person already has this role.",
    "grant.held": "You already have this role.",
    "grant.unknown": "This role has already ended.",
    "grant.ends_in_the_past": "Please choose a date in the future.",
    "group.name_taken": "A group with this name already exists. Please choose another name.",
    "group.no_account": "No account has this address. A group can invite only people with an "
    "account.",
    "group.unknown": "This group no longer exists.",
    "hook.internal": "This is an internal address, which hooks cannot reach.",
    "hook.no_events": "Please choose at least one group of events.",
    "hook.other_address": "Only staff can enter the address of somebody else. Please enter the "
    "address of your account.",
    "hook.too_many": "You have reached the maximum number of hooks. Please remove one first.",
    "hook.unknown": "This hook was already removed.",
    "hook.unknown_host": "The host of this address was not found.",
    "hook.url": "Please enter an address that begins with https, without a user name.",
    "identity.last_way_of": "This is the only way in which this person can sign in. Tick "
    "the box to remove it all the same.",
    "identity.none": "This sign-in method does not exist any more.",
    "identity.own": "You remove your own sign-in methods on your own page.",
    "identity.last_way": "This is your only way to sign in. Add another one first.",
    "invitation.civil_number": "This invitation is for a person with a certain civil number. Your "
    "account has another civil number or none.",
    "identity.number_taken": "Another account on this service has your civil number.",
    "invitation.exists": "Already invited.",
    "invitation.no_address": "The invited account was deleted together with its address. Please "
    "create a new invitation.",
    "invitation.other_address": "Only an account with the invited address can accept or decline "
    "this invitation.",
    "invitation.unknown": "This invitation is no longer valid, or it is for another account. "
    "Please ask the inviter.",
    "import.group": "People cannot be imported into a group.",
    "import.not_ready": "These rows are not ready",
    "import.nothing_ready": "No row is ready.",
    "import.nothing_to_undo": "No invitation of this import is open any more.",
    "import.unknown": "There is no such import.",
    "import.wrong_state": "Somebody has started, stopped or undone this import in the meantime.",
    "invitation.role_ended": "The role that this invitation offers would have ended already. "
    "Please invite the person again.",
    "invitation.wrong_state": "This invitation is no longer pending.",
    "key.invalid": "This is not a valid SSH public key. Please paste the content of a file that "
    "ends in .pub.",
    "key.lines": "A public key is one line. Please paste only that line.",
    "key.name_taken": "You already have a key with this name. Please choose another name.",
    "key.unknown": "This key was already removed.",
    "key.shared": "This key is shared by everybody. Only staff can remove it.",
    "login.failed": "Incorrect user name or password.",
    "login.locked": "Too many failed sign-ins with this user name. Please try again in ten "
    "minutes.",
    "login.disabled": "Signing in with a password is disabled. Please ask the operator of this "
    "service.",
    "membership.own_role": "You cannot change your own role. Please ask another owner or manager.",
    "invite_link.end": "Please choose a date in the future that is not later than the last "
    "possible day.",
    "invite_link.not_in_organisation": "Only links of an organisation can create projects.",
    "invite_link.patterns": "These regular expressions are not valid",
    "invite_link.project_role": "Please choose a role in a project.",
    "invite_link.public": "This link is visible to everybody, so only staff can edit it. You "
    "can close it.",
    "invite_link.public_auto": "A link that is visible to everybody must create a project for "
    "each new member. Please select that option too.",
    "invite_link.public_role": "A link that is visible to everybody must have a role in the "
    "new project.",
    "invite_link.public_staff": "Only staff can make a link visible to everybody.",
    "invite_link.template": "These placeholders are not available",
    "invite_link.closed": "This link was already closed.",
    "invite_link.inactive": "This link was closed or has expired. Please ask the person who "
    "gave it to you for a new one.",
    "invite_link.not_for_you": "This link is only for people of certain institutions or with "
    "certain e-mail addresses. Please ask the person who gave it to you.",
    "invite_link.claims": "This link is only for people of whom an identity provider states "
    "what is named on its page. Please sign in with a provider that does.",
    "scope.not_admitted": "This organisation or project is only for people of certain institutions "
    "or with certain e-mail addresses.",
    "organisation.unavailable": "This organisation is blocked or archived, so nothing can be "
    "changed. Please ask the staff of this service.",
    "password.elsewhere": "This account has no password here: it is deactivated, or it signs in "
    "with another service.",
    "passkey.ceremony": "This took too long, or the page was open twice. Please try again.",
    "passkey.invalid": "This passkey was not accepted. Please try again or sign in another way.",
    "passkey.last_way_in": "Without this passkey you could no longer sign in. Please set a "
    "password or add another passkey first.",
    "passkey.no_domain": "This service has no domain name, so browsers cannot use passkeys here.",
    "passkey.too_many": "You have reached the maximum number of passkeys. Please remove one first.",
    "permission.missing": "You do not have permission to do this. Please ask an owner or manager, "
    "or the staff of this service.",
    "request.exists": "You have already asked to join. You will get an e-mail when your request "
    "is decided.",
    "request.not_own": "Only the person who sent a request can withdraw it.",
    "request.own": "You cannot decide on your own request. Another owner or manager has to decide.",
    "request.too_many": "You have too many pending requests. Withdraw one first.",
    "request.unknown": "This request no longer exists.",
    "request.wrong_state": "This request was already decided or withdrawn.",
    "role.above_ceiling": "You cannot assign this role, because it has more permissions than your "
    "own role.",
    "role.other_kind": "This role cannot be assigned here.",
    "role.not_available": "This role does not exist in this organisation.",
    "role.concealed": "This organisation does not use this role.",
    "role.inactive": "This role is disabled and cannot be assigned.",
    "role.is_system": "This role is built-in and cannot be deleted.",
    "provider.name": "Use up to 50 small letters, digits, hyphens and underscores. Some names, "
    "such as “default”, are reserved.",
    "provider.name_taken": "A provider with this name already exists. Please choose another name.",
    "provider.name_is_fixed": "The name of a provider cannot be changed.",
    "provider.label": "Please enter a name for the button.",
    "provider.client_id": "Please enter the client ID as the provider shows it.",
    "provider.client_secret": "Please enter the client secret as the provider shows it.",
    "provider.discovery_url": "Please enter an address with https.",
    "discovery.unreachable": "The provider does not respond. Please check the address. An address "
    "in your own network must be in COLLEGIUM_OUTGOING_INTERNAL_HOSTS.",
    "discovery.unreadable": "There is no OpenID provider at this address.",
    "discovery.insecure": "The provider names an address that is not https, or an internal one "
    "that COLLEGIUM_OUTGOING_INTERNAL_HOSTS does not name.",
    "discovery.wrong_issuer": "The provider names itself differently. Please enter its issuer.",
    "discovery.unsupported": "The provider does not offer the authorization code flow with safe "
    "signatures.",
    "provider.metadata": "Somebody changed the address of this provider at the same time. "
    "Please try again.",
    "provider.url": "Please enter an address with https.",
    "provider.scope": "Please enter words with one space between them.",
    "provider.user_field": "Only the user name and the civil number identify an account.",
    "provider.user_claim": "This claim does not identify a person: people can choose it, or it can "
    "pass to somebody else.",
    "provider.user_pair": "Please choose both the field and the claim, or neither.",
    "provider.mapping": "Please write a field of the account and a claim on each line.",
    "provider.protected_fields": "These fields cannot be protected.",
    "provider.redirect": "Please enter complete addresses with https, one on each line, without "
    "“*” and “#”.",
    "provider.domain": "Please enter domains in small letters, one on each line.",
    "provider.factor_value": "Please enter one value on each line.",
    "provider.claim": "Please enter one claim on each line, without spaces.",
    "provider.registration": "Please choose who gets an account.",
    "claim_rule.organisation": "Please enter an organisation.",
    "claim_rule.no_condition": "Please set a condition. Without one, the rule matches everybody.",
    "claim_rule.empty_claim": "Please write “claim = value” on each line.",
    "claim_rule.project_role": "Please choose a role in the project.",
    "claim_rule.no_role": "Please choose a role.",
    "claim_rule.too_many": "There are too many rules. Please remove one first.",
    "role.name_taken": "A role with this name already exists. Please choose another name.",
    "role.permissions": "A role cannot have these permissions.",
    "role.system_name": "The name of a built-in role cannot be changed.",
    "role.used": "Somebody had this role or was invited to it, so the audit log needs it. You can "
    "disable it instead.",
    "scope.last_owner": "This is the last owner. Make somebody else an owner first.",
    "second_factor.exists": "Two-factor authentication is already on.",
    "review.changed": "The roles have changed while you were looking. Please look again.",
    "review.closed": "Somebody has closed this review already.",
    "second_factor.required": "This service requires two-factor authentication. Please set it up "
    "to continue.",
    "second_factor.mandatory": "This service requires two-factor authentication of you, so you "
    "cannot turn it off.",
    "second_factor.none": "Two-factor authentication is already off.",
    "second_factor.elsewhere": "The set-up was started in another browser or before you signed "
    "in. Please start it again.",
    "second_factor.own": "To turn off your own two-factor authentication, go to the page of your "
    "account and enter a code. Without a code, ask another member of staff.",
    "second_factor.wrong": "This code is wrong or was already used. Please wait for the next code "
    "and try again.",
    "second_factor.locked": "There were too many wrong codes. Please use a recovery code, or ask "
    "the staff of this service to turn off two-factor authentication.",
    "token.none": "This session or access token has already ended.",
    "token.too_many": "You have reached the maximum number of access tokens. Please revoke one "
    "first.",
    "invite_link.too_many": "The maximum number of open invite links is reached. Please close "
    "one first.",
    "organisation.too_many_projects": "This organisation has reached its maximum number of "
    "projects. Please ask the staff of this service.",
    "organisation.blocked": "The organisation is blocked.",
    "organisation.archived": "The organisation is archived.",
    "role.cloned": "The organisation has a copy of this role already.",
    "role.of_organisation": "This role is a copy itself. Please copy a role of the service.",
    "role.concealed_already": "The organisation does not use this role already.",
    "role.last_granting": "Nobody could add members any more. The organisation must use one role "
    "that can.",
    "project.not_deleted": "This project is not deleted.",
    "project.moved": "The project was moved in the meantime. Please try again.",
    "project.same_organisation": "The project belongs to this organisation already.",
    "project.date_in_the_past": "Please enter a day that is not in the past.",
    "project.too_many_to_invite": "More people were members than can be invited at once. Bring the "
    "project back without members, and invite people from a list.",
    "key.too_many": "You have reached the maximum number of SSH keys. Please remove one first.",
    "group.too_many": "You have reached the maximum number of groups that you can create. Please "
    "delete one first.",
    "device.lifetime": "This is longer than this service allows.",
}

_KINDS: Final = {
    ScopeKind.ORGANISATION.value: "organisation",
    ScopeKind.PROJECT.value: "project",
    ScopeKind.GROUP.value: "group",
}


def message_for(refusal: Refusal) -> str:
    """Return the message for a refusal."""
    if refusal.code == "tries.wait":
        return f"Too many attempts. Please wait {waiting_time(int(str(refusal.facts['seconds'])))}."
    if refusal.code == "mail_budget.spent":
        delay = waiting_time(int(str(refusal.facts["seconds"])))
        return f"This address has got too many e-mails today. You can send the next one in {delay}."
    message = _MESSAGES.get(refusal.code, "This cannot be done at the moment.")
    values = refusal.facts.get("wrong")
    if not values:
        return message
    listed = values if isinstance(values, list) else [str(values)]
    return f"{message}: {', '.join(map(isolated, listed))}."


def address_hint(email: str, unconfirmed: str) -> str:
    """Return what a new person should do about the address of the account; empty if nothing.

    Args:
        email: the address of the account; empty if it has none.
        unconfirmed: the address that an e-mail asks to confirm; empty if none.
    """
    if unconfirmed:
        return (
            "Please confirm your e-mail address: open the link in the e-mail to "
            f"{isolated(unconfirmed)}."
        )
    return (
        ""
        if email
        else "Your account has no e-mail address yet. Please add one under “My account”."
    )


_LABELS: Final = {
    "organisation_role": "Role in the organisation",
    "identity_sources": "Identity sources",
    "organisation_types": "Types of organisation",
    "revokes": "Remove roles",
    "person": "User name",
    "destination_url": "Address of the program",
    "content_type": "Format",
    "event_groups": "Events",
    "discovery_url": "Address of the provider",
    "client_id": "Client ID",
    "registration": "Who gets an account here",
    "management_url": "Account page",
    "trusted_domains": "Trusted e-mail domains",
    "second_factor_values": "Values that mean a second factor",
    "vouched_claims": "Claims that it vouches for",
    "user_field": "Recognise accounts by",
    "user_claim": "Claim",
    "attribute_mapping": "Claims that fill the profile",
    "protected_fields": "Fields that people cannot change here",
    "extra_scope": "Further scopes",
    "extra_fields": "Further claims to keep",
    "allowed_redirects": "Front ends",
    "account": "Person",
    "custom_text": "Description",
    "extra_text": "Personal message",
    "until": "Last day",
    "expires": "Last day",
    "template": "Name of the project",
    "project_role": "Role in the project",
    "auto_create_project": "Project for each new member",
    "email_patterns": "E-mail addresses",
    "affiliations": "Institutions",
    "again": "Repeat password",
    "agree_with_policy": "Terms",
    "agrees": "Terms",
    "content": "Text",
    "current": "Current password",
    "password": "Password",
    "confirm_password": "Your password",
    "confirm_code": "Code from your authenticator app",
    "lifetime": "Access expires after",
    "email": "E-mail address",
    "username": "User name",
}


def label(name: str) -> str:
    """Return the label of a form field."""
    return _LABELS.get(name, name.replace("_", " ").capitalize())


def waiting_time(seconds: int) -> str:
    """Return a time to wait in words, in seconds or in minutes rounded up."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds} second{'s' if seconds != 1 else ''}"
    minutes = -(-seconds // 60)
    return f"{minutes} minute{'s' if minutes != 1 else ''}"


def duration(seconds: int) -> str:
    """Return a duration in words: ``90 days``, ``12 hours``."""
    for unit, length in (("day", 86400), ("hour", 3600)):
        if seconds >= length and seconds % length == 0:
            number = seconds // length
            return f"{number} {unit}{'s' if number != 1 else ''}"
    return waiting_time(seconds)


class _WithScope(Protocol):
    scope_kind: str
    scope_name: str
    organisation_name: str


class _WithRole(Protocol):
    role_name: str
    role_description: str


def place(row: _WithScope) -> str:
    """Return kind and name of a row's scope: ``project Atlas of Initech``."""
    text = f"{_KINDS[row.scope_kind]} {isolated(row.scope_name)}"
    if row.scope_kind == ScopeKind.PROJECT:
        text = f"{text} of {isolated(row.organisation_name)}"
    return text


def role(row: _WithRole) -> str:
    """Return the label of a row's role: its description, else its name."""
    return isolated(row.role_description or row.role_name)


def person(row: Any, prefix: str = "") -> str:
    """Return the full name of a row's account, or the user name if there is no full name.

    Args:
        prefix: Prefix of the columns ``first_name``, ``last_name`` and ``username``.
    """
    names = (getattr(row, f"{prefix}{part}_name") or "" for part in ("first", "last"))
    return (
        isolated(" ".join(filter(None, names)).strip()) or getattr(row, f"{prefix}username") or ""
    )


SUPPORT_READS: Final = "Support accounts can see everything, but cannot change anything."


def cannot_add(kind: str, *, is_project_manager: bool) -> str:
    """Return why somebody who sees a scope cannot add members there, and whom to ask.

    Args:
        kind: Kind of the scope.
        is_project_manager: Whether they can add members to the projects of the organisation.
    """
    if kind == ScopeKind.ORGANISATION and is_project_manager:
        return (
            "You can invite people to the projects of this organisation: open a project, then "
            "choose “Invite people”. Only the staff of this service can add members to the "
            "organisation itself."
        )
    helpers = "the staff of this service" if kind == ScopeKind.ORGANISATION else deciders(kind)
    return f"Your role does not allow you to add members. To add somebody, ask {helpers}."


def deciders(kind: str) -> str:
    """Return which people decide on join requests.

    Args:
        kind: Kind of the scope.
    """
    return {
        ScopeKind.ORGANISATION.value: "the owners of the organisation",
        ScopeKind.PROJECT.value: "the managers of the project and the owners of its organisation",
        ScopeKind.GROUP.value: "the owners and managers of the group",
    }[kind]
