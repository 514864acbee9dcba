"""Render e-mails: load the variables of each kind of e-mail and build the message.

Names and texts that people typed are made safe here, once, before any template sees them. In HTML
the templates also escape every value.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from collegium.access.labels import role_label
from collegium.access.rules import ScopeKind
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.accounts.mails import load_account, name_of
from collegium.db.database import ReadTransaction
from collegium.invitations import links
from collegium.invitations import mails as invitation_mails
from collegium.invitations.rules import State, effective_state, is_current_mail
from collegium.join_requests import mails as join_request_mails
from collegium.memberships.notices import mails as notice_mails
from collegium.outbox.mails import (
    ChangeEmailRequest,
    EmailChanged,
    InvitationApproved,
    InvitationCreated,
    MailTest,
    ProfileChangesOperator,
)
from collegium.outbox.outcomes import ObsoleteError, UndeliverableError
from collegium.outbox.queries import ClaimedMail
from collegium.reviews import mails as review_mails
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in import mails as sign_in_mails
from collegium.sign_in.passwords import mails as password_mails
from collegium.text import languages
from collegium.text.email_addresses import ascii_domain
from collegium.text.languages import gettext as _
from collegium.text.plain import code_line, name_line, one_line, paragraph
from collegium.worker import hook_calls, mail_language, mail_templates
from collegium.worker.invited_accounts import first_password
from collegium.worker.mail_policy import BOUNDARY, POLICY

# Exactly one address, without a character that could make a header hold two.
_EMAIL: Final = re.compile(r"""[^\s@<>()\[\],;:\\"]+@[^\s@<>()\[\],;:\\"]+""")
_LINE_MAX: Final = 900  # octets; SMTP allows 998
# Paths at which front ends show a scope; the webhook for invitations has them since it exists.
_PATHS: Final = {"organisation": "organizations", "project": "projects", "group": "groups"}


def render(tx: ReadTransaction, settings: Settings, vault: Vault, row: ClaimedMail) -> EmailMessage:
    """Return the message of an outbox entry, with the facts as they are at ``tx.now``.

    Args:
        row: ``id kind recipient payload`` of the outbox.

    Raises:
        ObsoleteError: What the e-mail says is no longer true.
        UndeliverableError: The recipient is not a valid address; permanent.
    """
    to = _parse_recipient(row.recipient)
    language = mail_language.language_of(tx, settings, row)
    with languages.using(language):
        variables = LOADERS[row.kind](tx, settings, vault, row.payload)
        if "recipient" in variables:
            to = _parse_recipient(variables["recipient"])
        common = {
            "site_name": name_line(settings.site_name),
            "base_url": settings.homeport_url or settings.base_url,
            "common_footer_text": settings.common_footer_text,
            "common_footer_html": settings.common_footer_html,
        }
        subject, text, html = mail_templates.render(
            settings.templates, row.kind, common | variables
        )
    message = EmailMessage(policy=POLICY)
    message["From"] = settings.mail_from
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = format_datetime(tx.now)
    # The same on every attempt, so that a duplicate of one e-mail can be told from two e-mails.
    message["Message-ID"] = f"<{message_key(settings, row.id)}>"
    message["Auto-Submitted"] = "auto-generated"
    # Some servers know only this header. It suppresses out-of-office replies.
    message["X-Auto-Response-Suppress"] = "All"
    message["X-Collegium-Mail"] = row.kind
    if "unsubscribe_link" in variables:
        # One click (RFC 8058): mail programs offer a button, which posts to the link.
        message["List-Unsubscribe"] = f"<{variables['unsubscribe_link']}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(text, cte=_transfer_encoding(text))
    message.add_alternative(html, subtype="html", cte=_transfer_encoding(html))
    if BOUNDARY not in text and BOUNDARY not in html:
        message.replace_header("Content-Type", f'multipart/alternative; boundary="{BOUNDARY}"')
    # After that, because a header of this name would be moved to the first part.
    message["Content-Language"] = language
    return message


def message_key(settings: Settings, entry_id: int) -> str:
    """Return the globally unique name of an outbox entry, the same on every attempt.

    Args:
        entry_id: Id of the entry.
    """
    return f"outbox.{entry_id}@{_mail_domain(settings.base_url)}"


def _invitation_created(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    invitation = mail_language.invitation_of(tx, payload)
    if invitation is None or invitation.scope_deleted_at is not None:
        raise ObsoleteError("The invitation no longer exists.")
    state = effective_state(invitation.state, invitation.expires_at, tx.now)
    if state is not State.PENDING:
        raise ObsoleteError(f"The invitation is no longer pending: it is {state}.")
    if not is_current_mail(payload, invitation.link_version):
        raise ObsoleteError("The invitation was renewed or changed, and has another link.")
    username = name = ""
    if invitation.creator_username is not None:
        username = name_line(invitation.creator_username)
        name = name_line(f"{invitation.creator_first_name} {invitation.creator_last_name}")
    role_name, description = invitation.role_name, invitation.role_description
    base = (settings.homeport_url or settings.base_url).rstrip("/")
    scope_link = f"{base}/{_PATHS[invitation.scope_kind]}/{invitation.scope_uuid}/"
    in_organisation = invitation.scope_kind == "project"
    return {
        "invitation_uuid": invitation.uuid,
        "inviter": name or username,
        "inviter_name": name,
        "inviter_username": username,
        "role": name_line(role_label(description, role_name)),
        "role_name": name_line(role_name),
        "role_description": name_line(description),
        "scope_kind": invitation.scope_kind,
        "scope_name": name_line(invitation.scope_name),
        "scope_uuid": invitation.scope_uuid,
        "scope_slug": invitation.scope_slug,
        "scope_path_link": scope_link,
        # The official front end has no page at the path of an organisation itself.
        "scope_link": f"{scope_link}dashboard/"
        if settings.homeport_url and invitation.scope_kind == ScopeKind.ORGANISATION
        else scope_link,
        "organisation_name": name_line(invitation.organisation_name) if in_organisation else "",
        "expires": invitation.expires_at,
        "reminder": bool(payload.get("reminder")),
        "extra_invitation_text": paragraph(invitation.extra_text),
        "link": links.to_invitation(settings, vault, invitation),
    }


def _invitation_approved(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    variables = _invitation_created(tx, settings, vault, payload)
    account = load_account(tx, payload["account"])
    password = first_password(vault, account.uuid)
    return variables | {"username": code_line(account.username), "password": password}


def _change_email_request(
    tx: ReadTransaction, settings: Settings, vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    change = email_change_queries.of_account(tx, payload["account"])
    if change is None or change.created_at.isoformat() != payload["asked"]:
        raise ObsoleteError("The change was cancelled, confirmed or requested again.")
    code = vault.derive_code(change.account_id, change.email, payload["asked"])
    # Not to a front end of the operator's own, which may confirm for anybody who opens it.
    base = settings.base_url.rstrip("/")
    return {
        "name": name_of(change),
        "username": name_line(change.username),
        "new_email": name_line(change.email),
        "expires": change.created_at + timedelta(seconds=settings.email_change_max_age),
        "link": f"{base}/user_email_change/{code}/",
    }


def _email_changed(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    account = load_account(tx, payload["account"])
    return {
        "name": name_of(account),
        "username": name_line(account.username),
        "new_email": name_line(payload["email"]),
        "link": (settings.homeport_url or settings.base_url).rstrip("/") + "/",
    }


def _mail_test(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    account = load_account(tx, payload["account"])
    return {
        "name": name_of(account),
        "username": name_line(account.username),
        # There is no other front end that has this page.
        "link": f"{settings.base_url.rstrip('/')}/staff/",
    }


def _profile_changes(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    account = load_account(tx, payload["account"])
    username = name_line(account.username)
    page = f"{settings.base_url.rstrip('/')}/staff/accounts"
    if settings.homeport_url:
        page = f"{settings.homeport_url.rstrip('/')}/administration/users"
    return {
        "user": name_of(account),
        "username": username,
        "fields": [
            {
                "name": name,
                "label": _(name.replace("_", " ").capitalize()),
                "old": name_line(old),
                "new": name_line(new),
            }
            for name, (old, new) in payload["changes"].items()
        ],
        "organizations": [name_line(name) for name in payload["organizations"]],
        "link": f"{page}/{account.uuid}/",
    }


Loader = Callable[[ReadTransaction, Settings, Vault, dict[str, Any]], dict[str, Any]]

LOADERS: Final[dict[str, Loader]] = {
    ChangeEmailRequest.kind: _change_email_request,
    EmailChanged.kind: _email_changed,
    InvitationApproved.kind: _invitation_approved,
    InvitationCreated.kind: _invitation_created,
    MailTest.kind: _mail_test,
    ProfileChangesOperator.kind: _profile_changes,
    **hook_calls.LOADERS,
    **invitation_mails.LOADERS,
    **join_request_mails.LOADERS,
    **notice_mails.LOADERS,
    **password_mails.LOADERS,
    **review_mails.LOADERS,
    **sign_in_mails.LOADERS,
}
"""Kind of e-mail → function that returns the variables of its templates."""


def _parse_recipient(email: str) -> Address:
    if _EMAIL.fullmatch(email) is None or one_line(email) != email:
        raise UndeliverableError("This is not a valid e-mail address.", permanent=True)
    if not email.isascii():
        # A domain has an ASCII form (IDNA). The local part is sent as it was typed.
        local, _, domain = email.rpartition("@")
        with suppress(ValueError):
            email = f"{local}@{ascii_domain(domain)}"
    local, _, domain = email.rpartition("@")
    return Address(username=local, domain=domain)


@lru_cache(maxsize=4)
def _mail_domain(url: str) -> str:
    host = urlsplit(url).hostname or "localhost"
    if ":" in host:
        return f"[{host}]"
    try:
        return ascii_domain(host)
    except ValueError:
        return "localhost"


def _transfer_encoding(text: str) -> str:
    """Return the transfer encoding of a text: 7bit where possible, so that it stays readable."""
    plain = text.isascii() and all(len(line) < _LINE_MAX for line in text.splitlines())
    return "7bit" if plain else "quoted-printable"
