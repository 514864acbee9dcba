"""The page that the link in an invitation e-mail opens: accept, decline or request a new link."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from collegium.access.rules import ANONYMOUS
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.rules import usernames_for
from collegium.agreements import acceptance
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.invitations import actions as invitation_actions
from collegium.invitations import links, sign_up
from collegium.invitations import queries as invitation_queries
from collegium.invitations.queries import InvitationRow
from collegium.invitations.rules import State, effective_state
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.security.rate_limits.rules import CODE, SIGN_UP
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.rules import NAME_MAX, Purpose
from collegium.text.confusables import is_reserved_username
from collegium.text.email_addresses import same_mailbox
from collegium.text.languages import gettext as _
from collegium.text.names import typed_username
from collegium.web import agreements, passwords, provider_sign_in
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import address_hint, place, role
from collegium.web.page import Page, page
from collegium.web.repeated_sign_up import sign_in_again

_METHOD: Final = "mailed link"


def _load_invitation(browser: BrowserRequest, tx: ReadTransaction) -> InvitationRow:
    """Return the invitation of the link in the path.

    Raises:
        NotFound: ``invitation.unknown``: the link is not ours, or the invitation has a newer link.
    """
    for purpose in (links.MAILED, links.SHARED_BY_INVITER):
        match browser.app.vault.unsign(purpose, browser.segments["token"]):
            case [str(uuid), int(generation)]:
                row = invitation_queries.by_uuid(tx, uuid)
                if row is not None and row.link_version == generation:
                    browser.use_language(row.language, row.organisation_language)
                    return row
    raise NotFound("invitation.unknown")


def _is_mailed(browser: BrowserRequest) -> bool:
    """Tell whether the link proves the address. A link that the inviter shared does not."""
    return browser.app.vault.unsign(links.MAILED, browser.segments["token"]) is not None


def _is_invitee_deactivated(
    browser: BrowserRequest, tx: ReadTransaction, row: InvitationRow
) -> bool:
    """Tell whether the invitee's account is deactivated. Only a mailed link may learn that."""
    return (
        not browser.is_signed_in
        and _is_mailed(browser)
        and row.account_id is None
        and account_queries.is_email_deactivated(tx, row.email)
    )


def _is_proof(browser: BrowserRequest, row: InvitationRow) -> bool:
    """Tell whether the link alone proves that its holder is the invited person."""
    # A group invites an account. By now another person may read the e-mails of its address.
    return _is_mailed(browser) and not row.civil_number and row.account_id is None


def _is_strict(browser: BrowserRequest) -> bool:
    """Tell whether only an account with the invited address can accept."""
    settings = browser.settings
    return settings.validate_invitation_email or settings.enable_strict_check_accepting_invitation


def _own_path(browser: BrowserRequest) -> str:
    return f"/invitation/{browser.segments['token']}/"


def _state(tx: ReadTransaction, row: InvitationRow) -> str:
    """Return the state of an invitation, as the holder of its link sees it."""
    state = effective_state(row.state, row.expires_at, tx.now)
    if state is not State.PENDING:
        return state.value
    if row.scope_deleted_at is not None:
        return State.CANCELED.value
    if not row.role_is_active or row.blocked or row.archived:
        return "unavailable"
    return state.value if invitation_actions.has_sponsor(tx, row) else "unvouched"


def _is_on_hold(row: InvitationRow, state: str) -> bool:
    """Tell whether only a closed organisation prevents acceptance. Declining is then possible."""
    return bool(state == "unavailable" and row.role_is_active)


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    """Show the invitation. Opening the page changes nothing."""
    try:
        row = _load_invitation(browser, tx)
    except NotFound:
        return page(browser, "invitation_gone", 404)
    first, _, last = row.full_name.partition(" ")
    form = Form.showing(username=next(usernames_for(row.email)), first_name=first, last_name=last)
    return _render_invitation(browser, tx, row, form)


def _render_invitation(
    browser: BrowserRequest, tx: ReadTransaction, row: InvitationRow, form: Form, status: int = 200
) -> Response:
    state = _state(tx, row)
    is_strict = _is_strict(browser)
    is_same = same_mailbox(row.email, browser.actor.email)
    may_answer = is_same or not is_strict
    if row.civil_number and browser.actor.civil_number != row.civil_number:
        may_answer = False
    if row.account_id is not None:
        may_answer = is_same = browser.actor.id == row.account_id
    return page(
        browser,
        "invitation",
        status if state == State.PENDING else 410,
        invitation=row,
        state=state,
        form=form,
        strict=is_strict,
        is_same=is_same,
        fits=may_answer,
        is_renewal_requested=row.renewal_requested_version == row.link_version,
        is_mailed=_is_mailed(browser),
        is_on_hold=_is_on_hold(row, state),
        is_deactivated=state == State.PENDING and _is_invitee_deactivated(browser, tx, row),
        is_for_account=row.account_id is not None,
        may_decline=may_answer if browser.is_signed_in else _is_proof(browser, row),
        here=_own_path(browser),
        providers=[] if browser.is_signed_in else provider_queries.active(tx),
        agreements=[] if browser.is_signed_in else agreements.current(browser, tx),
    )


def _load_limited(browser: BrowserRequest) -> tuple[InvitationRow, str]:
    """Return the invitation of the link and its state. Wrong links count against the rate limit.

    Raises:
        NotFound: ``invitation.unknown``, as ``_follow``.
        Limited: ``tries.wait`` after too many wrong links from one network.
    """
    with (
        browser.rate_limited(CODE),
        browser.read() as tx,
    ):
        row = _load_invitation(browser, tx)
        return row, _state(tx, row)


def _accept_or_renew(browser: BrowserRequest) -> Response:
    try:
        row, state = _load_limited(browser)
    except NotFound:
        return page(browser, "invitation_gone", 404)
    if state == State.EXPIRED and browser.form.raw("action") == "renew":
        return _renew(browser, row)
    if state != State.PENDING:
        with browser.read() as tx:
            return _render_invitation(browser, tx, row, Form())
    if browser.is_signed_in:
        return _accept(browser, row)
    if not _is_mailed(browser) or row.account_id is not None:
        return browser.to_sign_in()
    with browser.read() as tx:
        is_invitee_deactivated = _is_invitee_deactivated(browser, tx, row)
    return _refuse_deactivated(browser, row) if is_invitee_deactivated else _join(browser, row)


def _accept(browser: BrowserRequest, row: InvitationRow) -> Response:
    try:
        with browser.create() as tx:
            invitation_actions.accept(
                tx, browser.actor, browser.settings, row.uuid, link_version=row.link_version
            )
            browser.created(tx, _welcome_message(row))
    except (NotFound, Conflict) as refusal:
        return _render_refused(browser, refusal)
    return browser.redirect("/account/", _welcome_message(row))


def _join(browser: BrowserRequest, row: InvitationRow) -> Response:
    """Create an account and accept, or do neither.

    The link was mailed to the invited address, but it may have been forwarded, so the person says
    which address is theirs.

    Raises:
        NotFound: ``invitation.unknown`` for an invitation with a civil number.
        Limited: ``tries.wait`` after too many sign-ups with this link or from this network.
    """
    form = browser.form
    values: dict[str, Any] = {
        "username": typed_username(form.text("username", 128, required=True)),
        "first_name": form.name("first_name", 100, required=True),
        "last_name": form.name("last_name", 100, required=True),
    }
    if values["username"] and not account_actions.USERNAME.fullmatch(values["username"][:128]):
        form.add_error(
            "username", _("A user name can have lower-case letters a to z, digits and _ . @ + -")
        )
    elif is_reserved_username(values["username"]):
        form.add_error("username", _("This user name is reserved. Please choose another one."))
    email = _stated_address(browser, row)
    if not form.flag("agrees"):
        form.add_error("agrees", _("Please agree to the terms of this service."))
    # Every attempt tells whether a user name is taken, and costs a password hash.
    browser.check_limits(SIGN_UP, target=row.uuid)
    password_hash = passwords.hash_of_new_password(form, (row.email, email, *values.values()))
    if row.civil_number:
        # Only an account with that civil number can accept, and a form cannot give it to an
        # account.
        raise NotFound("invitation.unknown")
    if password_hash is None:
        return _render_refused(browser)
    with browser.write() as tx:
        browser.count_attempts(tx, SIGN_UP, target=row.uuid)
    try:
        with browser.create() as tx:
            joined = sign_up.join(
                tx,
                browser.app.vault,
                browser.settings,
                row,
                {**values, "password": password_hash, "agreed_at": tx.now},
                email,
                browser.ip_address,
                browser.request_id,
            )
            # Its lock is the last one, so what follows locks nothing.
            acceptance.accept(tx, joined.actor, agreements.shown_ids(form))
            browser.sign_in(tx, joined.actor, _METHOD)
            welcome = _welcome_message(row)
            if hint := address_hint(joined.account.email, joined.unconfirmed):
                welcome = f"{welcome} {hint}"
            version, created_at = joined.account.credentials_version, int(tx.now.timestamp())
            browser.created(tx, welcome, joined.account.id, version, created_at)
    except (NotFound, Conflict, Invalid) as refusal:
        browser.set_cookies.clear()
        return _render_refused(browser, refusal)
    return browser.redirect("/account/", welcome)


def _stated_address(browser: BrowserRequest, row: InvitationRow) -> str:
    """Return the address that a new person says is theirs."""
    form = browser.form
    is_own, is_typed = form.flag("own_address"), bool(form.raw("email").strip())
    email = form.email("email") if is_typed else row.email
    is_same = same_mailbox(row.email, email)
    if _is_strict(browser) and not (is_own and is_same):
        form.add_refusal(Conflict("invitation.other_address", field="own_address"))
    elif is_own and not is_same:
        form.add_error(
            "own_address", _("Please tick this, or enter another address, but not both.")
        )
    elif not is_own and not is_typed:
        form.add_error("own_address", _("Please tick this if it is your address, or enter yours."))
    return email


def _replay_welcome(
    browser: BrowserRequest,
    message: str,
    account_id: int = 0,
    version: int = 0,
    created_at: int = 0,
) -> Response:
    """Answer a repeated form as the first one. The browser dropped that response with its session.

    Args:
        message: The message of the first response.
        account_id: Id of the created account; 0 if an existing account accepted.
        version: Version of the account's credentials when it was created.
        created_at: When the account was created, in seconds since 1970 (UTC).
    """
    if account_id and not sign_in_again(browser, account_id, version, created_at, _METHOD):
        return browser.to_sign_in("/account/")
    return browser.redirect("/account/", message)


def _accept_with_provider(browser: BrowserRequest) -> Response:
    """Go to an identity provider. The invitation is accepted when the person comes back."""
    try:
        _row, state = _load_limited(browser)
    except NotFound:
        return page(browser, "invitation_gone", 404)
    if state != State.PENDING or browser.is_signed_in:
        return browser.redirect(_own_path(browser))
    name = browser.form.raw("provider")[:NAME_MAX]
    shown = agreements.shown_ids(browser.form)
    return provider_sign_in.enter_from_page(
        browser, name, Purpose.ACCEPT, _own_path(browser), shown
    )


def _decline(browser: BrowserRequest) -> Response:
    try:
        row, state = _load_limited(browser)
    except NotFound:
        return page(browser, "invitation_gone", 404)
    if state != State.PENDING and not _is_on_hold(row, state):
        with browser.read() as tx:
            return _render_invitation(browser, tx, row, Form())
    actor = browser.actor
    if not browser.is_signed_in:
        if not _is_proof(browser, row):
            return browser.to_sign_in(_own_path(browser))
        actor = msgspec.structs.replace(
            ANONYMOUS, email=row.email, ip_address=browser.ip_address, request_id=browser.request_id
        )
    try:
        with browser.write() as tx:
            invitation_actions.decline(tx, actor, browser.settings, row.uuid, row.link_version)
            message = _("You have declined the invitation to the {place} as {role}.").format(
                place=place(row), role=role(row)
            )
            if browser.next:
                message += _(" If it was a mistake, ask the inviter for a new invitation.")
            return browser.answer(tx, browser.next or _own_path(browser), message)
    except (NotFound, Conflict) as refusal:
        return _render_refused(browser, refusal)


def _refuse_deactivated(browser: BrowserRequest, row: InvitationRow) -> Response:
    """Create no account, show the reason, and notify the inviter."""
    try:
        with browser.write() as tx:
            invitation_actions.report_deactivated(tx, row.uuid, row.link_version)
    except (NotFound, Conflict) as refusal:
        return _render_refused(browser, refusal)
    if browser.form.raw("action") == "tell":
        return browser.redirect(_own_path(browser), _("The inviter gets an e-mail."))
    return _render_refused(browser)


def _renew(browser: BrowserRequest, row: InvitationRow) -> Response:
    with browser.write() as tx:
        invitation_actions.request_renewal(tx, row.uuid, row.link_version)
    return browser.redirect(
        _own_path(browser),
        _("The inviter gets an e-mail. If they agree, you will get a new link by e-mail."),
    )


def _render_refused(
    browser: BrowserRequest, refusal: NotFound | Conflict | Invalid | None = None
) -> Response:
    if refusal is not None:
        browser.form.add_refusal(refusal)
    with browser.read() as tx:
        # Show the current state: somebody else may have been faster.
        try:
            row = _load_invitation(browser, tx)
        except NotFound:
            return page(browser, "invitation_gone", 404)
        return _render_invitation(browser, tx, row, browser.form, 422)


def _welcome_message(row: InvitationRow) -> str:
    return _("Welcome! You are now {role} in the {place}.").format(role=role(row), place=place(row))


ROUTES: Routes = {
    "/invitation/{token}/": {
        "GET": Page(_show, "Show an invitation.", public=True),
        "POST": Page(
            _accept_or_renew,
            "Accept an invitation, or ask for a new link.",
            public=True,
            creates=True,
            replay=_replay_welcome,
        ),
    },
    "/invitation/{token}/provider/": {
        "POST": Page(
            _accept_with_provider, "Accept an invitation with an identity provider.", public=True
        ),
    },
    "/invitation/{token}/decline/": {
        "POST": Page(_decline, "Decline an invitation.", public=True, once=True),
    },
}
