"""The messages for refusals: what happened, what to do next. Also labels of fields and objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Protocol

from collegium.access.labels import role_label, scope_pattern
from collegium.access.rules import ScopeKind
from collegium.invitations.rules import State
from collegium.join_requests.queries import JoinRequestRow
from collegium.join_requests.rules import Cancellation, cancellation
from collegium.refusals import Refusal
from collegium.text import languages
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, ngettext
from collegium.text.names import isolated

VALUES: Final = {
    "blank": mark("Please fill in this field."),
    "invisible": mark("This contains only invisible characters."),
    "too_long": mark("Please use at most {max} characters."),
    "long_line": mark("Please use at most {max} characters per line."),
    "too_many": mark("Please use at most {max} lines."),
    "null_character": mark("This contains characters that are not allowed. Please type it again."),
    "controls": mark("This contains characters that are not allowed. Please type it again."),
    "link": mark("A name cannot contain a web address."),
    "email": mark("Please enter an e-mail address, such as name@example.org."),
    "scripts": mark("This address mixes letters of several scripts. Please type it again."),
    "date": mark("Please enter a date, such as 2026-12-31."),
    "choice": mark("Please choose an option."),
}
"""Messages for the problems of values in forms."""

_MESSAGES: Final = {
    "account.username_taken": mark("This user name is already taken. Please choose another one."),
    "account.slug_taken": mark("This short name is already taken. Please choose another one."),
    "account.policy": mark("Please agree to the terms of this service first."),
    "account.address_protected": mark(
        "The e-mail address of this account comes from another service. Please change it there."
    ),
    "account.deactivated": mark(
        "The account with this address is deactivated. You cannot create a second account with it."
    ),
    "account.email_taken": mark(
        "An account with this address exists. Please sign in with it to accept "
        "the invitation. If you have forgotten its password, you can set a new one by e-mail."
    ),
    "account.inactive": mark("This account is deactivated, so it cannot get a role."),
    "account.lifetime": mark("This is longer than this service allows."),
    "address.unknown_code": mark("This link is no longer valid."),
    "address.code_expired": mark("This link has expired. Please request a new one."),
    "agreement.changed": mark(
        "The texts have changed while you were reading. Please read the new ones."
    ),
    "agreement.required": mark("Please agree to the terms of this service first."),
    "agreement.taken": mark(
        "There is a text of this kind in this language. Please change that one."
    ),
    "decision.no_invitation": mark("The invitation was already approved, rejected or cancelled."),
    "decision.no_staff": mark(
        "This link belongs to an account that can no longer approve invitations."
    ),
    "decision.payload": mark("This link is incomplete. Please open it from the e-mail again."),
    "decision.signature": mark("This link is incomplete or has expired."),
    "device.unknown": mark(
        "This code is not valid. It may have expired. Start the program again to get a new code."
    ),
    "export.filter": mark(
        "A date in the filter is not valid. Please correct it and download again."
    ),
    "form.encrypted": mark(
        "Nothing was saved: your browser uses https, but this service is configured for http. "
        "Please tell the operator of this service to set BASE_URL to https or to name the proxy"
        " in TRUSTED_PROXIES."
    ),
    "form.insecure": mark(
        "Nothing was saved: this page was opened over http, where your browser does "
        "not keep the cookies of this service. Please open it here instead:"
    ),
    "form.no_cookie": mark(
        "Nothing was saved, because your browser sent no cookie. Please allow cookies for this "
        "service, reload the page and try again. Without signing in, cookies expire after two "
        "hours."
    ),
    "form.foreign": mark("Nothing was saved, because this form came from another site."),
    "form.stale": mark(
        "Nothing was saved, because this page was open for too long. Please go back, "
        "reload the page and try again."
    ),
    "form.unreadable": mark(
        "Nothing was saved, because the request was not a complete form. Please go "
        "back, reload the page and try again."
    ),
    "grant.elsewhere": mark("This person already has another role here, and can have only one."),
    "grant.exists": mark("This person already has this role."),
    "grant.held": mark("You already have this role."),
    "grant.unknown": mark("This role has already ended."),
    "grant.ends_in_the_past": mark("Please choose a date in the future."),
    "group.name_taken": mark("A group with this name already exists. Please choose another name."),
    "group.no_account": mark(
        "No account has this address. A group can invite only people with an account."
    ),
    "group.unknown": mark("This group no longer exists."),
    "hook.internal": mark("This is an internal address, which hooks cannot reach."),
    "hook.no_events": mark("Please choose at least one group of events."),
    "hook.other_address": mark(
        "Only staff can enter the address of somebody else. Please enter the "
        "address of your account."
    ),
    "hook.too_many": mark("You have reached the maximum number of hooks. Please remove one first."),
    "hook.unknown": mark("This hook was already removed."),
    "hook.unknown_host": mark("The host of this address was not found."),
    "hook.url": mark("Please enter an address that begins with https, without a user name."),
    "identity.last_way_of": mark(
        "This is the only way in which this person can sign in. Tick "
        "the box to remove it all the same."
    ),
    "identity.none": mark("This sign-in method does not exist any more."),
    "identity.own": mark("You remove your own sign-in methods on your own page."),
    "identity.last_way": mark("This is your only way to sign in. Add another one first."),
    "invitation.civil_number": mark(
        "This invitation is for a person with a certain civil number. Your "
        "account has another civil number or none."
    ),
    "identity.number_taken": mark("Another account on this service has your civil number."),
    "invitation.exists": mark("Already invited."),
    "invitation.no_address": mark(
        "The invited account was deleted together with its address. Please create a new invitation."
    ),
    "invitation.other_address": mark(
        "Only an account with the invited address can accept or decline this invitation."
    ),
    "invitation.unknown": mark(
        "This invitation is no longer valid, or it is for another account. Please ask the inviter."
    ),
    "bulk_change.no_rows": mark("None of these rows is in the list any more."),
    "bulk_change.nothing_ready": mark("No row can be changed."),
    "bulk_change.row_changed": mark("This row has changed since it was checked."),
    "bulk_change.too_many": mark("At most {most} rows can be changed at once. Please filter them."),
    "bulk_change.unknown": mark("There is no such change of rows."),
    "bulk_change.wrong_state": mark(
        "This is not possible now. Go back to the list and choose the rows again."
    ),
    "import.group": mark("People cannot be imported into a group."),
    "import.not_ready": mark("These rows are not ready"),
    "import.nothing_ready": mark("No row is ready."),
    "import.nothing_to_undo": mark("No invitation of this import is open any more."),
    "import.unknown": mark("There is no such import."),
    "import.wrong_state": mark(
        "Somebody has started, stopped or undone this import in the meantime."
    ),
    "invitation.role_ended": mark(
        "The role that this invitation offers would have ended already. "
        "Please invite the person again."
    ),
    "invitation.ends_before_start": mark(
        "The role that this invitation offers would end before the project starts, on {start}. "
        "Please invite the person again."
    ),
    "invitation.wrong_state": mark("This invitation is no longer pending."),
    "key.invalid": mark(
        "This is not a valid SSH public key. Please paste the content of a file that ends in .pub."
    ),
    "key.lines": mark("A public key is one line. Please paste only that line."),
    "key.name_taken": mark("You already have a key with this name. Please choose another name."),
    "key.unknown": mark("This key was already removed."),
    "key.shared": mark("This key is shared by everybody. Only staff can remove it."),
    "login.failed": mark("Incorrect user name or password."),
    "login.locked": mark(
        "Too many failed sign-ins with this user name. Please try again in ten minutes."
    ),
    "login.disabled": mark(
        "Signing in with a password is disabled. Please ask the operator of this service."
    ),
    "membership.own_role": mark(
        "You cannot change your own role. Please ask another owner or manager."
    ),
    "invite_link.end": mark(
        "Please choose a date in the future that is not later than the last possible day."
    ),
    "invite_link.not_in_organisation": mark("Only links of an organisation can create projects."),
    "invite_link.patterns": mark("These regular expressions are not valid"),
    "invite_link.project_role": mark("Please choose a role in a project."),
    "invite_link.public": mark(
        "This link is visible to everybody, so only staff can edit it. You can close it."
    ),
    "invite_link.public_auto": mark(
        "A link that is visible to everybody must create a project for "
        "each new member. Please select that option too."
    ),
    "invite_link.public_role": mark(
        "A link that is visible to everybody must have a role in the new project."
    ),
    "invite_link.public_staff": mark("Only staff can make a link visible to everybody."),
    "invite_link.template": mark("These placeholders are not available"),
    "invite_link.closed": mark("This link was already closed."),
    "invite_link.inactive": mark(
        "This link was closed or has expired. Please ask the person who "
        "gave it to you for a new one."
    ),
    "invite_link.not_for_you": mark(
        "This link is only for people of certain institutions or with "
        "certain e-mail addresses. Please ask the person who gave it to you."
    ),
    "invite_link.claims": mark(
        "This link is only for people of whom an identity provider states "
        "what is named on its page. Please sign in with a provider that does."
    ),
    "scope.not_admitted": mark(
        "This organisation or project is only for people of certain institutions "
        "or with certain e-mail addresses."
    ),
    "organisation.unavailable": mark(
        "This organisation is blocked or archived, so nothing can be "
        "changed. Please ask the staff of this service."
    ),
    "password.elsewhere": mark(
        "This account has no password here: it is deactivated, or it signs in with another service."
    ),
    "passkey.ceremony": mark("This took too long, or the page was open twice. Please try again."),
    "passkey.invalid": mark(
        "This passkey was not accepted. Please try again or sign in another way."
    ),
    "passkey.last_way_in": mark(
        "Without this passkey you could no longer sign in. Please set a "
        "password or add another passkey first."
    ),
    "passkey.no_domain": mark(
        "This service has no domain name, so browsers cannot use passkeys here."
    ),
    "passkey.too_many": mark(
        "You have reached the maximum number of passkeys. Please remove one first."
    ),
    "permission.missing": mark(
        "You do not have permission to do this. Please ask an owner or manager, "
        "or the staff of this service."
    ),
    "request.exists": mark(
        "You have already asked to join. You will get an e-mail when your request is decided."
    ),
    "request.not_own": mark("Only the person who sent a request can withdraw it."),
    "request.own": mark(
        "You cannot decide on your own request. Another owner or manager has to decide."
    ),
    "request.too_many": mark("You have too many pending requests. Withdraw one first."),
    "request.unknown": mark("This request no longer exists."),
    "request.wrong_state": mark("This request was already decided, withdrawn or cancelled."),
    "role.above_ceiling": mark(
        "You cannot assign this role, because it has more permissions than your own role."
    ),
    "role.other_kind": mark("This role cannot be assigned here."),
    "role.not_available": mark("This role does not exist in this organisation."),
    "role.concealed": mark("This organisation does not use this role."),
    "role.inactive": mark("This role is disabled and cannot be assigned."),
    "role.is_system": mark("This role is built-in and cannot be deleted."),
    "provider.name": mark(
        "Use up to 50 small letters, digits, hyphens and underscores. Some names, "
        "such as “default”, are reserved."
    ),
    "provider.name_taken": mark(
        "A provider with this name already exists. Please choose another name."
    ),
    "provider.name_is_fixed": mark("The name of a provider cannot be changed."),
    "provider.label": mark("Please enter a name for the button."),
    "provider.client_id": mark("Please enter the client ID as the provider shows it."),
    "provider.client_secret": mark("Please enter the client secret as the provider shows it."),
    "provider.discovery_url": mark("Please enter an address with https."),
    "discovery.unreachable": mark(
        "The provider does not respond. Please check the address. An address "
        "in your own network must be in COLLEGIUM_OUTGOING_INTERNAL_HOSTS."
    ),
    "discovery.unreadable": mark("There is no OpenID provider at this address."),
    "discovery.insecure": mark(
        "The provider names an address that is not https, or an internal one "
        "that COLLEGIUM_OUTGOING_INTERNAL_HOSTS does not name."
    ),
    "discovery.wrong_issuer": mark(
        "The provider names itself differently. Please enter its issuer."
    ),
    "discovery.unsupported": mark(
        "The provider does not offer the authorization code flow with safe signatures."
    ),
    "provider.metadata": mark(
        "Somebody changed the address of this provider at the same time. Please try again."
    ),
    "provider.url": mark("Please enter an address with https."),
    "provider.scope": mark("Please enter words with one space between them."),
    "provider.user_field": mark("Only the user name and the civil number identify an account."),
    "provider.user_claim": mark(
        "This claim does not identify a person: people can choose it, or it can "
        "pass to somebody else."
    ),
    "provider.user_pair": mark("Please choose both the field and the claim, or neither."),
    "provider.mapping": mark("Please write a field of the account and a claim on each line."),
    "provider.protected_fields": mark("These fields cannot be protected."),
    "provider.redirect": mark(
        "Please enter complete addresses with https, one on each line, without “*” and “#”."
    ),
    "provider.domain": mark("Please enter domains in small letters, one on each line."),
    "provider.factor_value": mark("Please enter one value on each line."),
    "provider.claim": mark("Please enter one claim on each line, without spaces."),
    "provider.registration": mark("Please choose who gets an account."),
    "claim_rule.organisation": mark("Please enter an organisation."),
    "claim_rule.no_condition": mark(
        "Please set a condition. Without one, the rule matches everybody."
    ),
    "claim_rule.empty_claim": mark("Please write “claim = value” on each line."),
    "claim_rule.project_role": mark("Please choose a role in the project."),
    "claim_rule.no_role": mark("Please choose a role."),
    "claim_rule.too_many": mark("There are too many rules. Please remove one first."),
    "role.name_taken": mark("A role with this name already exists. Please choose another name."),
    "role.permissions": mark("A role cannot have these permissions."),
    "role.system_name": mark("The name of a built-in role cannot be changed."),
    "role.used": mark(
        "Somebody had this role or was invited to it, so the audit log needs it. You can "
        "disable it instead."
    ),
    "scope.last_owner": mark("This is the last owner. Make somebody else an owner first."),
    "second_factor.exists": mark("Two-factor authentication is already on."),
    "review.changed": mark("The roles have changed while you were looking. Please look again."),
    "review.closed": mark("Somebody has closed this review already."),
    "second_factor.required": mark(
        "This service requires two-factor authentication. Please set it up to continue."
    ),
    "second_factor.mandatory": mark(
        "This service requires two-factor authentication of you, so you cannot turn it off."
    ),
    "second_factor.none": mark("Two-factor authentication is already off."),
    "second_factor.elsewhere": mark(
        "The set-up was started in another browser or before you signed in. Please start it again."
    ),
    "second_factor.own": mark(
        "To turn off your own two-factor authentication, go to the page of your "
        "account and enter a code. Without a code, ask another member of staff."
    ),
    "second_factor.wrong": mark(
        "This code is wrong or was already used. Please wait for the next code and try again."
    ),
    "second_factor.locked": mark(
        "There were too many wrong codes. Please use a recovery code, or ask "
        "the staff of this service to turn off two-factor authentication."
    ),
    "token.none": mark("This session or access token has already ended."),
    "token.too_many": mark(
        "You have reached the maximum number of access tokens. Please revoke one first."
    ),
    "invite_link.too_many": mark(
        "The maximum number of open invite links is reached. Please close one first."
    ),
    "organisation.too_many_projects": mark(
        "This organisation has reached its maximum number of "
        "projects. Please ask the staff of this service."
    ),
    "organisation.blocked": mark("The organisation is blocked."),
    "organisation.archived": mark("The organisation is archived."),
    "role.cloned": mark("The organisation has a copy of this role already."),
    "role.of_organisation": mark("This role is a copy itself. Please copy a role of the service."),
    "role.concealed_already": mark("The organisation does not use this role already."),
    "role.last_granting": mark(
        "Nobody could add members any more. The organisation must use one role that can."
    ),
    "project.not_deleted": mark("This project is not deleted."),
    "project.moved": mark("The project was moved in the meantime. Please try again."),
    "project.same_organisation": mark("The project belongs to this organisation already."),
    "project.date_in_the_past": mark("Please enter a day that is not in the past."),
    "project.too_many_to_invite": mark(
        "More people were members than can be invited at once. Bring the "
        "project back without members, and invite people from a list."
    ),
    "key.too_many": mark(
        "You have reached the maximum number of SSH keys. Please remove one first."
    ),
    "group.too_many": mark(
        "You have reached the maximum number of groups that you can create. Please "
        "delete one first."
    ),
    "device.lifetime": mark("This is longer than this service allows."),
}

_KINDS: Final = {
    ScopeKind.ORGANISATION.value: mark("organisation"),
    ScopeKind.PROJECT.value: mark("project"),
    ScopeKind.GROUP.value: mark("group"),
}


_REQUEST_STATES: Final = {
    "pending": mark("pending"),
    "approved": mark("approved"),
    "rejected": mark("rejected"),
}
_CANCELLATIONS: Final = {
    Cancellation.BY_STAFF: mark("The staff of this service cancelled it."),
    Cancellation.SCOPE_DELETED_OR_MOVED: mark(
        "The project was deleted, or moved to another organisation."
    ),
}
_SCOPE_DELETED: Final = {
    ScopeKind.ORGANISATION.value: mark("The organisation was deleted."),
    ScopeKind.PROJECT.value: mark("The project was deleted."),
    ScopeKind.GROUP.value: mark("The group was deleted."),
}
INVITATION_STATES: Final = {
    State.PENDING: mark("pending"),
    State.HELD: mark("will be sent when the project starts"),
    State.REQUESTED: mark("waiting for approval by staff"),
    State.ACCEPTED: mark("accepted"),
    State.REJECTED: mark("declined"),
    State.CANCELED: mark("cancelled"),
    State.EXPIRED: mark("expired"),
}
"""Label of each state of an invitation."""

_MAIL_STATES: Final = {
    "queued": mark("queued"),
    "sent": mark("sent"),
    "failed": mark("failed"),
    "discarded": mark("discarded"),
}
_NOT_NOW: Final = mark("This cannot be done at the moment.")
_DAY: Final = 86_400
_HOUR: Final = 3_600


def message_for(refusal: Refusal) -> str:
    """Return the message for a refusal."""
    if refusal.code == "tries.wait":
        delay = waiting_time(int(str(refusal.facts["seconds"])))
        return _("Too many attempts. Please wait {delay}.").format(delay=delay)
    if refusal.code == "mail_budget.spent":
        delay = waiting_time(int(str(refusal.facts["seconds"])))
        return _(
            "This address has got too many e-mails today. You can send the next one in {delay}."
        ).format(delay=delay)
    message = _(_MESSAGES.get(refusal.code, _NOT_NOW))
    message = message.format_map(refusal.facts)
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
        return _(
            "Please confirm your e-mail address: open the link in the e-mail to {email}."
        ).format(email=isolated(unconfirmed))
    if email:
        return ""
    return _("Your account has no e-mail address yet. Please add one under “My account”.")


_LABELS: Final = {
    "about": mark("Events"),
    "action": mark("Change"),
    "addresses": mark("E-mail addresses"),
    "comment": mark("Comment (optional)"),
    "copied": mark("Role to copy"),
    "customer": mark("Organisation"),
    "organization": mark("Institution"),
    "own_address": mark("The link was sent to my own address"),
    "q": mark("Search"),
    "site_name": mark("Name of the service"),
    "slug": mark("Short name"),
    "sort": mark("Order"),
    "which": mark("Rows"),
    "organisation_role": mark("Role in the organisation"),
    "identity_sources": mark("Identity sources"),
    "organisation_types": mark("Types of organisation"),
    "revokes": mark("Remove roles"),
    "person": mark("User name"),
    "destination_url": mark("Address of the program"),
    "content_type": mark("Format"),
    "event_groups": mark("Events"),
    "discovery_url": mark("Address of the provider"),
    "client_id": mark("Client ID"),
    "registration": mark("Who gets an account here"),
    "management_url": mark("Account page"),
    "trusted_domains": mark("Trusted e-mail domains"),
    "second_factor_values": mark("Values that mean a second factor"),
    "vouched_claims": mark("Claims that it vouches for"),
    "user_field": mark("Recognise accounts by"),
    "user_claim": mark("Claim"),
    "attribute_mapping": mark("Claims that fill the profile"),
    "protected_fields": mark("Fields that people cannot change here"),
    "extra_scope": mark("Further scopes"),
    "extra_fields": mark("Further claims to keep"),
    "allowed_redirects": mark("Front ends"),
    "account": mark("Person"),
    "custom_text": mark("Description"),
    "extra_text": mark("Personal message"),
    "until": mark("Last day"),
    "expires": mark("Last day"),
    "template": mark("Name of the project"),
    "project_role": mark("Role in the project"),
    "auto_create_project": mark("Project for each new member"),
    "email_patterns": mark("E-mail addresses"),
    "affiliations": mark("Institutions"),
    "again": mark("Repeat password"),
    "agree_with_policy": mark("Terms"),
    "agrees": mark("Terms"),
    "content": mark("Text"),
    "current": mark("Current password"),
    "password": mark("Password"),
    "confirm_password": mark("Your password"),
    "confirm_code": mark("Code from your authenticator app"),
    "lifetime": mark("Access expires after"),
    "email": mark("E-mail address"),
    "username": mark("User name"),
    "preferred_language": mark("Language of pages and e-mails"),
}


def label(name: str) -> str:
    """Return the label of a form field."""
    known = _LABELS.get(name)
    return _(known) if known else _(name.replace("_", " ").capitalize())


def agreement_names(agreements: Iterable[Any]) -> str:
    """Return the titles of some agreements, as a part of a sentence."""
    titles = _(" and the ").join(one.title for one in agreements)
    # Other languages do not write nouns as English does.
    return titles.lower() if languages.current() == languages.SOURCE else titles


def sentence_case(text: str) -> str:
    """Return a text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def waiting_time(seconds: int) -> str:
    """Return a time to wait in words, in seconds or in minutes rounded up."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return ngettext("{number} second", "{number} seconds", seconds).format(number=seconds)
    minutes = -(-seconds // 60)
    return ngettext("{number} minute", "{number} minutes", minutes).format(number=minutes)


def duration(seconds: int) -> str:
    """Return a duration in words: ``90 days``, ``12 hours``."""
    if seconds >= _DAY and seconds % _DAY == 0:
        number = seconds // _DAY
        return ngettext("{number} day", "{number} days", number).format(number=number)
    if seconds >= _HOUR and seconds % _HOUR == 0:
        number = seconds // _HOUR
        return ngettext("{number} hour", "{number} hours", number).format(number=number)
    return waiting_time(seconds)


class _WithScope(Protocol):
    scope_kind: str
    scope_name: str
    organisation_name: str


class _WithRole(Protocol):
    role_name: str
    role_description: str


def kind_name(kind: str) -> str:
    """Return the name of a kind of scope: ``project``."""
    return _(_KINDS[kind])


def scope_name(kind: str, name: str) -> str:
    """Return kind and name of a scope: ``project Atlas``."""
    return scope_pattern(kind).format(name=isolated(name))


def place(row: _WithScope) -> str:
    """Return kind and name of a row's scope: ``project Atlas of Initech``."""
    if row.scope_kind == ScopeKind.PROJECT:
        return scope_pattern(row.scope_kind, has_organisation=True).format(
            name=isolated(row.scope_name), organisation=isolated(row.organisation_name)
        )
    return scope_name(row.scope_kind, row.scope_name)


def role_name(description: str, name: str) -> str:
    """Return the label of a role: its description, else its name; of a built-in role translated."""
    return isolated(role_label(description, name))


def role(row: _WithRole) -> str:
    """Return the label of a row's role."""
    return role_name(row.role_description, row.role_name)


class RequestState(NamedTuple):
    """What pages say of the state of a join request.

    Args:
        label: the state, in a word.
        reason: why it is cancelled, a sentence; empty if it is not, or the requester withdrew it.
        is_withdrawn: whether the requester withdrew it.
    """

    label: str
    reason: str = ""
    is_withdrawn: bool = False


def request_state(row: JoinRequestRow) -> RequestState:
    """Return what pages say of the state of a join request."""
    if row.state in _REQUEST_STATES:
        return RequestState(_(_REQUEST_STATES[row.state]))
    how = cancellation(row.account_id, row.decided_by, row.decided_at, row.scope_deleted_at)
    if how is Cancellation.WITHDRAWN:
        return RequestState(_("withdrawn"), is_withdrawn=True)
    reason = _CANCELLATIONS.get(how) or _SCOPE_DELETED[row.scope_kind]
    return RequestState(_("request cancelled"), _(reason))


def invitation_state(state: str) -> str:
    """Return the word for the state of an invitation."""
    return _(INVITATION_STATES[State(state)])


def mail_state(state: str) -> str:
    """Return the label of the state of an e-mail in the outbox."""
    return _(_MAIL_STATES.get(state, state))


def person(row: Any, prefix: str = "") -> str:
    """Return the full name of a row's account, or the user name if there is no full name.

    Args:
        prefix: Prefix of the columns ``first_name``, ``last_name`` and ``username``.
    """
    names = (getattr(row, f"{prefix}{part}_name") or "" for part in ("first", "last"))
    return (
        isolated(" ".join(filter(None, names)).strip()) or getattr(row, f"{prefix}username") or ""
    )


SUPPORT_READS: Final = mark("Support accounts can see everything, but cannot change anything.")


def cannot_add(kind: str, *, is_project_manager: bool) -> str:
    """Return why somebody who sees a scope cannot add members there, and whom to ask.

    Args:
        kind: Kind of the scope.
        is_project_manager: Whether they can add members to the projects of the organisation.
    """
    if kind == ScopeKind.ORGANISATION and is_project_manager:
        return _(
            "You can invite people to the projects of this organisation: open a project, then "
            "choose “Invite people”. Only the staff of this service can add members to the "
            "organisation itself."
        )
    helpers = _("the staff of this service") if kind == ScopeKind.ORGANISATION else deciders(kind)
    return _("Your role does not allow you to add members. To add somebody, ask {helpers}.").format(
        helpers=helpers
    )


def deciders(kind: str) -> str:
    """Return which people decide on join requests.

    Args:
        kind: Kind of the scope.
    """
    return {
        ScopeKind.ORGANISATION.value: _("the owners of the organisation"),
        ScopeKind.PROJECT.value: _(
            "the managers of the project and the owners of its organisation"
        ),
        ScopeKind.GROUP.value: _("the owners and managers of the group"),
    }[kind]
