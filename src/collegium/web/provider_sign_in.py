"""Sign-in at an identity provider: from its button to the provider, and back from there.

The provider is called outside of every transaction. One transaction uses up the sign-in before
the call, another one completes it afterwards.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Final
from urllib.parse import urlsplit

from collegium import hosts
from collegium.access.rules import Actor
from collegium.agreements import queries as agreement_queries
from collegium.api.request import Endpoint, Response, Routes, json_response
from collegium.db.database import WriteTransaction
from collegium.integrations import provider_setup
from collegium.integrations.openid import client, discovery
from collegium.integrations.waiting import BusyError, waiting
from collegium.invitations import links
from collegium.refusals import (
    Conflict,
    Forbidden,
    Invalid,
    Limited,
    NotFound,
    Refusal,
)
from collegium.security.rate_limits.rules import PROVIDER, STRAY_RETURN
from collegium.sign_in.identities import actions as identity_actions
from collegium.sign_in.identities import sessions as identity_sessions
from collegium.sign_in.identities import sign_ins
from collegium.sign_in.identities.sign_ins import ClaimedSignIn, Returned
from collegium.sign_in.identities.values import METHOD, Arrival, CodeKind, Origin, SignedIn
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.rules import SIGN_IN_SECONDS, URL_MAX, Purpose
from collegium.sign_in.providers.values import Claims, Problem, ProviderError
from collegium.text.languages import gettext as _
from collegium.text.names import isolated
from collegium.values import Text, hex_uuid
from collegium.web import front_ends, provider_linking
from collegium.web.browser_request import BrowserRequest, is_local, leading_to
from collegium.web.messages import address_hint, message_for
from collegium.web.page import Page, page
from collegium.web.provider_failures import is_invitation, refuse

COOKIE: Final = "provider"
"""Name of the cookie that binds a sign-in at a provider to the browser."""

HALF: Final = "half"
"""Cookie and purpose of the signed value that says: only a code is missing."""

_SHOWN: Final = "shown"
"""Cookie and purpose of the signed value that says which texts were shown before the sign-in."""

_HOME: Final = "/"

_STATE_MAX: Final = 100

_CODE_MAX: Final = 4096

_SECRET_LENGTH: Final = 43

_SCOPES: Final = ("openid", "profile", "email")

_LOCALES: Final = re.compile(r"[A-Za-z0-9-]{1,35}(?: [A-Za-z0-9-]{1,35}){0,9}")


def _init(browser: BrowserRequest) -> Response:
    """Send the browser to a provider."""
    name = browser.segments["provider"]
    return _enter(browser, name)


def _init_default(browser: BrowserRequest) -> Response:
    """Send the browser to the default provider."""
    with browser.read() as tx:
        provider = provider_queries.default(tx)
    return _enter(browser, "" if provider is None else provider.name)


def _enter(browser: BrowserRequest, name: str) -> Response:
    if browser.method == "HEAD":
        return Response(204)
    if not _is_navigation(browser):
        return _not_followed()
    try:
        browser.check_limits(PROVIDER)
        provider = active_provider(browser, name)
        return_to = _return_to(browser, provider)
        url = begin(browser, provider, Purpose.SIGN_IN, return_to)
    except Refusal as refusal:
        return refuse(browser, refusal, name)
    except (ProviderError, BusyError) as problem:
        return refuse(browser, problem, name, counts=None)
    return Response(302, headers={"Location": url}, media="text/html")


def _is_navigation(browser: BrowserRequest) -> bool:
    """Tell whether a person has followed a link, as far as the browser says.

    Images and scripts of other sites must not use up the sign-ins of a network, and a browser must
    not begin one in advance.
    """
    return (
        browser.header("sec-fetch-mode", "navigate") == "navigate"
        and browser.header("sec-fetch-dest", "document") == "document"
        and not browser.is_prefetch
    )


def _not_followed() -> Response:
    return json_response(403, {"detail": "Open this address in a browser window."})


def _return_to(browser: BrowserRequest, provider: ProviderRow) -> str:
    """Return where a sign-in continues: an allowed address of a front end, or a path here.

    Raises:
        Invalid: ``provider.redirect``: the named front end is not allowed.
    """
    wanted = browser.query_value("return_url")
    if wanted and wanted not in provider.allowed_redirects:
        raise Invalid("provider.redirect")
    referer = browser.header("referer")
    if not wanted and referer in provider.allowed_redirects:
        wanted = referer
    return wanted or browser.next


def begin(
    browser: BrowserRequest,
    provider: ProviderRow,
    purpose: Purpose,
    return_to: str,
    shown: Collection[int] = (),
) -> str:
    """Begin a sign-in in this browser. Return the URL at the provider.

    The attempt is counted before the provider is asked, which may take long.

    Args:
        shown: ids of the texts to which a new person agrees.

    Raises:
        ProviderError: the provider cannot be used.
        BusyError: too many sign-ins wait for the provider, or for all.
    """
    browser.release_read_slot()
    vault = browser.app.vault
    # One value for all sign-ins that are under way in this browser, so that tabs do not disturb
    # each other.
    secret = browser.cookie(COOKIE)
    if len(secret) != _SECRET_LENGTH:
        secret = secrets.token_urlsafe(32)
    with browser.write() as tx:
        browser.count_attempts(tx, PROVIDER)
        begun = sign_ins.begin(
            tx,
            vault,
            provider,
            secret,
            purpose,
            return_to,
            browser.actor if purpose in {Purpose.LINK, Purpose.CONFIRM} else None,
        )
    party = provider_setup.client_of(browser.settings, vault, provider)
    metadata = discovery.metadata_of(party)
    browser.set_cookie(COOKIE, secret, SIGN_IN_SECONDS)
    if shown:
        value = browser.sign_value(_SHOWN, begun.state, *shown)
        browser.set_cookie(_SHOWN, value, SIGN_IN_SECONDS)
    return client.authorization_url(
        party,
        metadata,
        redirect_uri=_redirect_uri(browser, provider),
        state=begun.state,
        nonce=begun.nonce,
        code_verifier=begun.verifier,
        scope=" ".join(dict.fromkeys([*_SCOPES, *provider.extra_scope.split()])),
        ui_locales=_ui_locales(browser),
        # The provider's own session must not confirm for a person who only has an open browser.
        **(client.SIGN_IN_AGAIN if purpose is Purpose.CONFIRM else {}),
    )


def _redirect_uri(browser: BrowserRequest, provider: ProviderRow) -> str:
    return f"{browser.settings.base_url.rstrip('/')}/api-auth/{provider.name}/complete/"


def _ui_locales(browser: BrowserRequest) -> str:
    text = browser.query_value("ui_locales")
    return text if _LOCALES.fullmatch(text) else ""


def active_provider(browser: BrowserRequest, name: str) -> ProviderRow:
    """Return an active provider by its name.

    Raises:
        NotFound: ``provider.unknown``.
    """
    with browser.read() as tx:
        return provider_queries.get_active(tx, name)


def enter_from_page(
    browser: BrowserRequest,
    name: str,
    purpose: Purpose,
    return_to: str,
    shown: Collection[int] = (),
) -> Response:
    """Begin a sign-in for a form of ours. Return the page that goes on to the provider.

    Args:
        name: name of the provider.
        return_to: the path at which it continues.
        shown: ids of the texts to which a new person agrees.
    """
    if _is_elsewhere(browser):
        return _continue_here(browser, return_to)
    try:
        browser.check_limits(PROVIDER)
        provider = active_provider(browser, name)
        url = begin(browser, provider, purpose, return_to, shown)
    except Refusal as refusal:
        return refuse(browser, refusal, name, return_to=return_to)
    except (ProviderError, BusyError) as problem:
        return refuse(browser, problem, name, return_to=return_to, counts=None)
    label = isolated(provider.label)
    return continue_page(
        browser,
        url,
        _("Continue with {label}").format(label=label),
        _("You are sent to {label}.").format(label=label),
        _("Continue"),
    )


def _is_elsewhere(browser: BrowserRequest) -> bool:
    """Tell whether the browser uses another host name than ``BASE_URL``.

    The provider sends it back to that one, where it does not have the cookie of the sign-in.
    """
    used, own = (
        urlsplit(hosts.origin(url) or "").hostname
        for url in (browser.header("origin"), browser.settings.base_url)
    )
    return used not in {None, own}


def _continue_here(browser: BrowserRequest, return_to: str) -> Response:
    """Return a page that leads to the same form at ``BASE_URL``."""
    own = browser.settings.base_url.rstrip("/")
    has_form = browser.is_signed_in or is_invitation(return_to)
    path = return_to if has_form else leading_to("/sign_in/?choose=1", return_to)
    return continue_page(
        browser,
        f"{own}{path}",
        _("Continue at {address}").format(address=isolated(own)),
        _("Providers send people back to this address only."),
        _("Continue"),
    )


def continue_page(
    browser: BrowserRequest, url: str, title: str, said: str, button: str
) -> Response:
    """Return a page that goes on to a provider by itself.

    A redirect after a form would be a form of another site for the Content-Security-Policy.
    """
    return page(browser, "provider_continue", url=url, title=title, said=said, button=button)


def _complete(browser: BrowserRequest) -> Response:
    """Sign in the person who comes back from a provider, link the identity, or show the error."""
    if browser.method == "HEAD":
        return Response(204)
    if not _is_navigation(browser):
        return _not_followed()
    name = browser.segments["provider"]
    is_stray = len(browser.cookie(COOKIE)) != _SECRET_LENGTH
    limit = STRAY_RETURN if is_stray else PROVIDER
    try:
        browser.check_limits(limit)
    except Limited as refusal:
        return refuse(browser, refusal, name)
    claims = provider = None
    return_to = ""
    try:
        # Before the sign-in is used up, so that somebody who is refused can come back with it.
        with _place(browser):
            returned, provider = _claim(browser, name)
            claimed = returned.sign_in
            if claimed is None or provider is None:
                # Anybody can have any browser send any state: that is worth no event.
                is_worth = returned.is_known or not is_stray
                over = Conflict("identity.state")
                return refuse(browser, over, name, counts=limit, records=is_worth)
            return_to = claimed.row.return_to
            claims = _ask(browser, provider, claimed)
        handle = _HANDLERS.get(claimed.row.purpose, _sign_in)
        return handle(browser, provider, claimed, claims)
    except (Refusal, ProviderError, BusyError) as problem:
        # Nothing was written, so no session was started.
        browser.set_cookies.clear()
        return refuse(browser, problem, name, provider, return_to, claims)


def _place(browser: BrowserRequest) -> AbstractContextManager[None]:
    """Hold a place at the provider at which this browser has begun a sign-in, if it has.

    Raises:
        BusyError: too many sign-ins wait for it, or for all.
    """
    state = browser.query_value("state")
    if not 0 < len(state) <= _STATE_MAX:
        return nullcontext()
    with browser.read() as tx:
        number = sign_ins.provider_of(tx, browser.app.vault, state, browser.cookie(COOKIE))
        provider = None if number is None else provider_queries.by_id(tx, number)
    return nullcontext() if provider is None else waiting.at(provider.discovery_url)


def _claim(browser: BrowserRequest, name: str) -> tuple[Returned, ProviderRow | None]:
    """Use up the sign-in that came back, whatever comes of it."""
    state = browser.query_value("state")
    if not 0 < len(state) <= _STATE_MAX:
        return Returned(None, is_known=False), None
    with browser.write() as tx:
        returned = sign_ins.claim(tx, browser.app.vault, state, browser.cookie(COOKIE))
        claimed = returned.sign_in
        provider = None if claimed is None else provider_queries.by_id(tx, claimed.row.provider_id)
    # Each provider has an address of its own to come back to (RFC 9700, section 4.4.2.2).
    return returned, provider if provider is not None and provider.name == name else None


def _ask(browser: BrowserRequest, provider: ProviderRow, claimed: ClaimedSignIn) -> Claims:
    """Return what the provider says about the person, after every check.

    Raises:
        NotFound: ``provider.unknown``: it was deactivated.
        Forbidden: ``identity.denied``: it has refused the sign-in, or the person has.
        ProviderError: its answer cannot be used.
        BusyError: too many sign-ins wait for it, or for all. It was not asked.
    """
    if not provider.is_active:
        raise NotFound("provider.unknown")
    vault = browser.app.vault
    party = provider_setup.client_of(browser.settings, vault, provider)
    metadata = discovery.metadata_of(party)
    iss = browser.query_value("iss") if "iss" in browser.query else None
    is_error = "error" in browser.query
    client.check_response_issuer(metadata, iss, is_error=is_error)
    if is_error:
        raise Forbidden("identity.denied")
    code = browser.query_value("code")
    if not 0 < len(code) <= _CODE_MAX:
        raise ProviderError(Problem.UNREADABLE)
    return client.complete(
        party,
        metadata,
        code=code,
        redirect_uri=_redirect_uri(browser, provider),
        code_verifier=claimed.verifier,
        is_nonce=lambda nonce: sign_ins.is_nonce(vault, claimed.row, nonce),
        iss=iss,
        now=browser.now,
        max_age=SIGN_IN_SECONDS if claimed.row.purpose == Purpose.CONFIRM else None,
    )


def _sign_in(
    browser: BrowserRequest, provider: ProviderRow, claimed: ClaimedSignIn, claims: Claims
) -> Response:
    arrival = _arrival(browser, claimed)
    if arrival.accepts and arrival.names_offer:
        arrival = _with_agreements(browser, arrival)

    def complete() -> Response:
        with browser.write() as tx:
            signed_in = identity_actions.complete(
                tx,
                browser.app.vault,
                browser.settings,
                provider,
                claims,
                arrival,
                ip_address=browser.ip_address,
                request_id=browser.request_id,
            )
            return _start(browser, tx, provider, claimed, claims, signed_in)

    return provider_linking.repeat_if_concurrent(complete)


def _with_agreements(browser: BrowserRequest, arrival: Arrival) -> Arrival:
    """Add the current texts that the page with the button has shown.

    Nobody agrees to a text that was published or changed since: the person is asked for it.
    """
    shown: list[int] = []
    match browser.read_signed_value(_SHOWN, browser.cookie(_SHOWN), SIGN_IN_SECONDS):
        case [str(state), *ids] if state == browser.query_value("state"):
            shown = ids
    with browser.read() as tx:
        current = agreement_queries.current(tx)
    agreed = [text for text in current if text.id in shown]
    return arrival._replace(
        agreements=tuple(text.id for text in agreed),
        agrees={text.kind for text in current} == {text.kind for text in agreed},
    )


_HANDLERS: Final = {
    Purpose.LINK.value: provider_linking.link,
    Purpose.CONFIRM.value: provider_linking.confirm,
}
"""What follows a return from a provider that is no sign-in."""


def _start(
    browser: BrowserRequest,
    tx: WriteTransaction,
    provider: ProviderRow,
    claimed: ClaimedSignIn,
    claims: Claims,
    signed_in: SignedIn,
) -> Response:
    """Start the session, or ask for a code first."""
    vault = browser.app.vault
    browser.reset_limits(tx, PROVIDER, target="")
    origin = identity_sessions.origin_of(vault, signed_in, claims)
    return_to = claimed.row.return_to
    if identity_actions.needs_code(tx, signed_in):
        actor = signed_in.actor
        code = identity_sessions.issue_code(
            tx, vault, actor, origin, CodeKind.SECOND_FACTOR, signed_in.stated
        )
        is_ours = is_local(return_to)
        half = browser.sign_value(
            HALF, actor.uuid, actor.credentials or 0, code, "" if is_ours else return_to
        )
        browser.set_cookie(HALF, half, SIGN_IN_SECONDS)
        return browser.redirect(leading_to("/sign_in/code/", return_to))
    if return_to and not is_local(return_to):
        return _hand_over(browser, tx, provider, signed_in.actor, origin, return_to)
    _start_session(
        browser,
        tx,
        signed_in.actor,
        METHOD,
        origin,
        has_second_factor=signed_in.has_second_factor,
    )
    if signed_in.refused:
        return browser.redirect(return_to, message_for(NotFound(signed_in.refused)), kind="not")
    said = []
    if signed_in.accepted:
        said.append(_("Welcome! You are signed in and have your new role."))
        return_to = _HOME
    if signed_in.asked:
        said.append(_("Your request was sent. You will get an e-mail when it is decided."))
    if signed_in.is_new:
        said.append(address_hint(signed_in.actor.email, signed_in.unconfirmed))
    return browser.redirect(return_to or _HOME, " ".join(filter(None, said)))


def _start_session(
    browser: BrowserRequest,
    tx: WriteTransaction,
    actor: Actor,
    method: str,
    origin: Origin,
    *,
    has_second_factor: bool,
) -> None:
    """Start a session that came of an identity, in place of the browser's session, if any."""
    if browser.is_signed_in:
        browser.sign_out(tx)
    token = browser.sign_in(tx, actor, method, has_second_factor=has_second_factor)
    identity_sessions.record_origin(tx, browser.app.vault, token, origin)


def finish(
    browser: BrowserRequest,
    tx: WriteTransaction,
    actor: Actor,
    code: str,
    return_to: str,
    method: str,
    locked: Collection[int],
) -> Response:
    """Sign in a person who has shown the second factor after the provider.

    Args:
        code: the one-time code of the sign-in.
        return_to: the address of a front end; empty to continue here.
        method: the second factor.
        locked: ids of scopes, from ``identity_actions.lock_for_finish``.

    Raises:
        NotFound: ``identity.code``: the sign-in is over. ``provider.unknown``.
    """
    vault, settings = browser.app.vault, browser.settings
    origin, provider = identity_actions.finish(tx, vault, settings, actor, code, locked)
    if return_to:
        origin = origin._replace(has_second_factor=True)
        return _hand_over(browser, tx, provider, actor, origin, return_to)
    _start_session(browser, tx, actor, method, origin, has_second_factor=True)
    return browser.redirect(browser.next or _HOME)


def _hand_over(
    browser: BrowserRequest,
    tx: WriteTransaction,
    provider: ProviderRow,
    actor: Actor,
    origin: Origin,
    return_to: str,
) -> Response:
    """Send a person who has signed in back to a front end, with a code for a token.

    Raises:
        NotFound: ``provider.unknown``: the front end is not allowed any more.
    """
    if return_to not in provider.allowed_redirects:
        raise NotFound("provider.unknown")
    vault = browser.app.vault
    if provider.token_in_url:
        token = identity_sessions.issue_api_token(tx, vault, browser.settings, actor, origin)
        facts = {"token": token}
    else:
        facts = {"code": identity_sessions.issue_code(tx, vault, actor, origin, CodeKind.EXCHANGE)}
    location = front_ends.completed(browser.settings, provider.name, return_to, facts)
    return Response(302, headers={"Location": location}, media="text/html")


def _arrival(browser: BrowserRequest, claimed: ClaimedSignIn) -> Arrival:
    """Return the invitation or invite link to which a sign-in returns."""
    accepts = claimed.row.purpose == Purpose.ACCEPT
    match claimed.row.return_to.partition("?")[0].strip("/").split("/"):
        case ["open_invitation", text] if (uuid := hex_uuid(text)) is not None:
            return Arrival(invite_link=uuid, accepts=accepts)
        case ["invitation", token]:
            for purpose in (links.MAILED, links.SHARED_BY_INVITER):
                match browser.app.vault.unsign(purpose, token):
                    case [str(uuid), int(version)]:
                        return Arrival(
                            invitation=uuid,
                            link_version=version,
                            is_mailed=purpose == links.MAILED,
                            accepts=accepts,
                        )
    return Arrival(accepts=accepts)


_ERRORS: Final = {
    403: "A browser sent it by itself, or the person may not sign in.",
    409: "The account cannot be used, or the sign-in is over.",
    429: "There were too many sign-ins.",
    502: "The answer of the identity provider cannot be used.",
    503: "The identity provider cannot be reached, or too many sign-ins wait for it.",
}
_ENTRY: Final = {
    "next": Text(max=500),
    "return_url": Text(max=URL_MAX),
    "ui_locales": Text(max=500),
}
_RETURN: Final = {
    "state": Text(max=_STATE_MAX),
    "code": Text(max=_CODE_MAX),
    "iss": Text(max=URL_MAX),
    "error": Text(),
    "error_description": Text(),
}
DESCRIBED: Final[Routes] = {
    "/api-auth/default/init/": {
        "GET": Endpoint(
            _init_default,
            "Send a browser to the default identity provider.",
            public=True,
            status=302,
            other_statuses={404: "There is no default identity provider.", **_ERRORS},
            filters=_ENTRY,
        ),
    },
    "/api-auth/{provider}/init/": {
        "GET": Endpoint(
            _init,
            "Send a browser to an identity provider. It returns to `return_url` with `code`.",
            public=True,
            status=302,
            other_statuses=_ERRORS,
            filters=_ENTRY,
        ),
    },
    "/api-auth/{provider}/complete/": {
        "GET": Endpoint(
            _complete,
            "Come back from an identity provider, in the browser that was sent there.",
            public=True,
            status=302,
            other_statuses={303: "The browser is signed in, or enters a code first.", **_ERRORS},
            filters=_RETURN,
        ),
    },
}
"""The same as operations of the API, for the OpenAPI document."""

ROUTES: Routes = {
    "/api-auth/default/init/": {
        "GET": Page(
            _init_default,
            "Sign in with the default identity provider.",
            public=True,
            mutates=True,
            during_setup=True,
        ),
    },
    "/api-auth/{provider}/init/": {
        "GET": Page(
            _init,
            "Sign in with an identity provider.",
            public=True,
            mutates=True,
            during_setup=True,
        ),
    },
    "/api-auth/{provider}/complete/": {
        "GET": Page(
            _complete,
            "Come back from an identity provider.",
            public=True,
            mutates=True,
            during_setup=True,
        ),
    },
}
