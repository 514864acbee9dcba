"""The messages for refusals: what happened, what to do next. Also labels of fields and objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from collegium.access.rules import ScopeKind
from collegium.text.names import isolated

if TYPE_CHECKING:
    from collegium.refusals import Refusal

_SENTENCES: Final = {
    "account.username_taken": "Somebody has this user name already. Please choose another one.",
    "account.slug_taken": "Somebody has this short name already. Please choose another one.",
    "account.policy": "Please agree to the rules of this service first.",
    "account.address_protected": "The address of this account is kept by the service it came "
    "from. Please change it there.",
    "account.deactivated": "The account with this address is deactivated, and nobody gets a "
    "second one.",
    "account.inactive": "That account is switched off, so it cannot get a role.",
    "account.lifetime": "That is longer than this service allows.",
    "address.unknown_code": "This link does not work any more.",
    "address.code_expired": "This link has expired. Please ask for a new one.",
    "decision.no_invitation": "There is nothing to decide any more: somebody else was first, or "
    "the invitation was called back.",
    "decision.no_staff": "This link was made for a member of staff who does not decide any more.",
    "decision.payload": "This link is not complete. Please open it from the mail again.",
    "decision.signature": "This link is not complete, or it is too old.",
    "device.unknown": "Nobody waits with this code. It may have expired; have the program show a "
    "new one.",
    "form.encrypted": "Your browser came through TLS (https), and this service believes that it is "
    "reached without (http), so nothing was done. Please tell whoever runs it: BASE_URL has to say "
    "https, or TRUSTED_PROXIES has to name the proxy.",
    "form.insecure": "This page was opened without TLS (http), where your browser keeps no cookies "
    "of this service, so nothing was done. Please open it here instead:",
    "form.no_cookie": "Your browser sent no cookie of this service, so nothing was done. Please "
    "allow cookies for it, load the page again, and try once more. After two hours without a "
    "sign-in they are gone as well.",
    "form.foreign": "This form came from another site, so nothing was done.",
    "form.stale": "This page had been open for too long, so nothing was done. Please go back, load "
    "it again, and try once more.",
    "grant.elsewhere": "Somebody may have one role only here, and there is one already.",
    "grant.exists": "The role is there already. Nothing needs to be done.",
    "grant.held": "You have this role already. There is nothing to ask for.",
    "grant.unknown": "This role has ended already.",
    "grant.ends_in_the_past": "Please choose a day to come.",
    "group.name_taken": "There is a group of this name already. Please choose another one.",
    "group.no_account": "Nobody has an account with this address; a group invites those who have "
    "one.",
    "group.unknown": "There is no such group any more.",
    "invitation.exists": "Is invited already.",
    "invitation.no_address": "The invited account was deleted, and its address with it. Please "
    "invite the person anew.",
    "invitation.other_address": "This invitation can be accepted or declined only by an account "
    "with the address that it was sent to.",
    "invitation.unknown": "This invitation cannot be accepted or declined with this account, or "
    "not any more. Please ask whoever invited you.",
    "invitation.wrong_state": "Somebody was faster: the invitation is not open any more.",
    "key.invalid": "This is no SSH public key. Please paste the one line of a file that ends in "
    ".pub.",
    "key.lines": "A public key is one line. Please paste nothing else with it.",
    "key.name_taken": "You have a key of this name already. Please choose another one.",
    "key.unknown": "This key is gone already.",
    "key.shared": "This key belongs to everybody; only staff can remove it.",
    "login.failed": "User name and password do not fit together. Please try again.",
    "login.locked": "There were too many tries with this user name. Please wait ten minutes, and "
    "try again.",
    "login.disabled": "Signing in with a password is switched off here. Please ask whoever runs "
    "this service.",
    "membership.own_role": "Nobody changes their own role. Please ask somebody else in charge.",
    "open_invitation.end": "Please choose a day to come, and none after the last one that can be.",
    "open_invitation.not_in_organisation": "Only an organisation has projects made in it.",
    "open_invitation.patterns": "These are no patterns",
    "open_invitation.project_role": "Please choose a role of projects.",
    "open_invitation.public": "Everybody is shown this link, so only staff change it. You may "
    "close it.",
    "open_invitation.public_auto": "A link for everybody gives everybody a project of their own; "
    "please tick that too.",
    "open_invitation.public_role": "A link for everybody gives a role in a project of one's own.",
    "open_invitation.public_staff": "Only staff show a link to everybody.",
    "open_invitation.template": "Nobody fills these in",
    "open_invitation.closed": "This link was closed already.",
    "open_invitation.inactive": "This link was closed, or its time is over. Please ask whoever "
    "gave it to you.",
    "open_invitation.not_for_you": "This link is meant for people of certain institutions, and "
    "your account is not one of theirs. Please ask whoever gave it to you.",
    "organisation.unavailable": "The organisation takes no changes at the moment.",
    "password.elsewhere": "This account has no password here: it is switched off, or another "
    "service signs it in.",
    "permission.missing": "You may see this, but not change it.",
    "request.exists": "You have asked already. You need not do anything; you will get a mail.",
    "request.not_own": "Only whoever asked can take a request back.",
    "request.own": "Nobody decides about themselves. Somebody else in charge has to.",
    "request.too_many": "You wait at too many doors already. Take a request back first.",
    "request.unknown": "This request is not there any more.",
    "request.wrong_state": "Somebody was faster: this request is decided, or was taken back.",
    "role.above_ceiling": "This role may do more than you may yourself, so you cannot give it.",
    "role.other_kind": "This role is not given here.",
    "role.inactive": "This role is not given to anybody at the moment.",
    "role.is_system": "Every installation has this role, so it stays.",
    "role.name_taken": "Another role has this name already. Please choose another one.",
    "role.permissions": "A role cannot carry this.",
    "role.system_name": "Everybody knows this role by its name, so it stays.",
    "role.used": "Somebody held this role or was invited to it, so history needs it. Let it be "
    "given no more instead.",
    "scope.last_owner": "Somebody has to stay in charge, and there is nobody else. Make somebody "
    "else an owner first.",
    "second_factor.exists": "It is on already.",
    "second_factor.none": "It is off already.",
    "second_factor.elsewhere": "It was begun in another browser, or before you signed in here. "
    "Please set it up anew.",
    "second_factor.own": "Your own second factor is turned off with a code of it, on the page of "
    "your account. Without one, ask another member of staff.",
    "second_factor.wrong": "This code is wrong, or was used before. Please wait for the next one, "
    "and type that.",
    "second_factor.locked": "There were too many wrong codes, so no code of the authenticator is "
    "accepted any more. Please use a recovery code, or ask the staff of this service to turn the "
    "second factor off.",
    "token.none": "This is gone already.",
    "token.too_many": "You have as many tokens for programs as one account may have. Please end "
    "one that you do not need any more.",
    "open_invitation.too_many": "There are as many open links here as there may be. Please close "
    "one first.",
    "organisation.too_many_projects": "The organisation has as many projects as it may have. "
    "Please ask staff.",
    "key.too_many": "You have as many keys as one account may have. Please remove one first.",
    "group.too_many": "You have founded as many groups as one account may. Please delete one "
    "first.",
    "device.lifetime": "That is longer than this service allows.",
}

_KINDS: Final = {
    ScopeKind.ORGANISATION.value: "organisation",
    ScopeKind.PROJECT.value: "project",
    ScopeKind.GROUP.value: "group",
}


def message_for(refusal: Refusal) -> str:
    """Return the message for a refusal."""
    if refusal.code == "tries.wait":
        return f"There were too many tries. Please wait {span(int(str(refusal.facts['seconds'])))}."
    if refusal.code == "mail_budget.spent":
        left = span(int(str(refusal.facts["seconds"])))
        return f"This address was mailed too often in a day. It can be mailed again in {left}."
    said = _SENTENCES.get(refusal.code, "That cannot be done as things stand now.")
    wrong = refusal.facts.get("wrong")
    if not wrong:
        return said
    return f"{said}: {', '.join(wrong) if isinstance(wrong, list) else wrong}."


_LABELS: Final = {
    "account": "Who",
    "custom_text": "What it says",
    "extra_text": "A word of yours in the mail",
    "until": "Last day",
    "expires": "Open until",
    "template": "Name of the project",
    "project_role": "Role in the project",
    "auto_create_project": "A project for everybody",
    "email_patterns": "Addresses",
    "affiliations": "Institutions",
    "again": "Once more",
    "agree_with_policy": "Rules",
    "agrees": "Rules",
    "current": "Current password",
    "password": "Your password",
    "factor": "A code of your authenticator",
    "lifetime": "How long may it stay?",
    "email": "E-mail address",
    "username": "User name",
}


def label(name: str) -> str:
    """Return the label of a form field."""
    return _LABELS.get(name, name.replace("_", " ").capitalize())


def span(seconds: int) -> str:
    """Return a time to wait in words, in seconds or in minutes rounded up."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds} second{'s' if seconds != 1 else ''}"
    minutes = -(-seconds // 60)
    return f"{minutes} minute{'s' if minutes != 1 else ''}"


def lasting(seconds: int) -> str:
    """Return a duration in words: ``90 days``, ``12 hours``."""
    for unit, length in (("day", 86400), ("hour", 3600)):
        if seconds >= length and seconds % length == 0:
            number = seconds // length
            return f"{number} {unit}{'s' if number != 1 else ''}"
    return span(seconds)


def place(row: Any) -> str:
    """Return kind and name of a row's scope: ``project Atlas of Initech``."""
    text = f"{_KINDS[row.scope_kind]} {isolated(row.scope_name)}"
    if row.scope_kind == ScopeKind.PROJECT:
        text = f"{text} of {isolated(row.organisation_name)}"
    return text


def role(row: Any) -> str:
    """Return the label of a row's role: its description, else its name."""
    return isolated(str(row.role_description or row.role_name))


def person(row: Any, prefix: str = "") -> str:
    """Return the full name of a row's account, or the user name if there is no full name.

    Args:
        prefix: Prefix of the columns ``first_name``, ``last_name`` and ``username``.
    """
    names = (getattr(row, f"{prefix}{part}_name") or "" for part in ("first", "last"))
    return (
        isolated(" ".join(filter(None, names)).strip()) or getattr(row, f"{prefix}username") or ""
    )


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
