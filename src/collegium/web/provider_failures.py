"""The pages that say why a sign-in at an identity provider did not work, one for each reason."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from collegium.api.request import Response, json_response
from collegium.integrations.waiting import RETRY_SECONDS, BusyError
from collegium.refusals import Conflict, Limited, Refusal, Unauthenticated
from collegium.security.rate_limits.rules import PROVIDER, Limit
from collegium.sign_in.identities import sign_ins
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import Claims, Problem, ProviderError
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.text.names import isolated
from collegium.web import front_ends, provider_linking
from collegium.web.browser_request import BrowserRequest, is_local, leading_to
from collegium.web.messages import message_for
from collegium.web.page import page


class _Failure(NamedTuple):
    """A page that says why nobody was signed in.

    Args:
        message: with ``{label}`` for the provider.
    """

    status: int
    title: str
    message: str


_UNUSABLE: Final = _Failure(
    502,
    mark("Signing in did not work"),
    mark(
        "{label} sent an answer that cannot be trusted. Nobody was signed in and nothing was "
        "changed. Please try again. If it happens again, tell the operator of this service."
    ),
)

_UNREACHABLE: Final = _Failure(
    503,
    mark("{label} cannot be reached"),
    mark(
        "{label} does not answer at the moment. Please try again in a few minutes, or sign in in "
        "another way."
    ),
)

_FAILURES: Final = {
    "provider.unknown": _Failure(
        404,
        mark("This way to sign in is not available"),
        mark("It does not exist, or it was turned off. Please choose another way to sign in."),
    ),
    "provider.redirect": _Failure(
        400,
        mark("The link is not valid"),
        mark(
            "It would lead to an address that is not allowed. Please tell the operator of the site "
            "from which you came."
        ),
    ),
    "provider.unreachable": _UNREACHABLE,
    "provider.busy": _Failure(
        503,
        mark("Many people are signing in"),
        mark(
            "Too many sign-ins wait for an answer of {label} at the moment. Nobody was signed "
            "in and nothing was changed. Please try again in a few seconds, or sign in in "
            "another way."
        ),
    ),
    "provider.answer": _UNUSABLE,
    "provider.not_recent": _Failure(
        409,
        mark("This is not enough to confirm"),
        mark(
            "{label} did not say that you have just signed in there. Nothing was confirmed. Please "
            "confirm in another way, or sign out here and sign in again."
        ),
    ),
    "identity.state": _Failure(
        400,
        mark("This sign-in is over"),
        mark(
            "It was already used, has taken longer than ten minutes, or began in another browser "
            "or at another address of this service. Please start again here, in a browser that "
            "accepts cookies."
        ),
    ),
    "identity.denied": _Failure(
        403,
        mark("You have not signed in"),
        mark(
            "The sign-in was cancelled at {label}, or {label} did not allow it. Nothing was "
            "changed."
        ),
    ),
    "identity.unknown": _Failure(
        403,
        mark("You have no linked account yet"),
        mark(
            "No account here is linked to {label} for you. If you have an account here, sign in "
            "with it and add {label} under “Sign-in methods”. If you were invited, open the "
            "link in the invitation e-mail and press the button of {label} there."
        ),
    ),
    "invitation.unknown": _Failure(
        404,
        mark("The invitation is over"),
        mark(
            "It was cancelled, has expired, or was accepted with another account. You did not get "
            "an account. Please ask the person who has invited you for a new invitation."
        ),
    ),
    "invitation.other_address": _Failure(
        409,
        mark("The invitation is for another address"),
        mark(
            "On this service, only an account with the invited address can accept an "
            "invitation, and {label} did not state that address. You did not get an account. "
            "Please ask the inviter to send an invitation to the address that you have at "
            "{label}, or choose another way to sign in on the page of the invitation."
        ),
    ),
    "invitation.civil_number": _Failure(
        409,
        mark("The invitation is for a certain person"),
        mark(
            "Only the person with a certain civil number can accept it, and {label} did not "
            "state that number. You did not get an account. Please choose a provider that knows"
            " your civil number, or ask the inviter for another invitation."
        ),
    ),
    "identity.number_taken": _Failure(
        409,
        mark("You already have an account"),
        mark(
            "Another account on this service has your civil number. Sign in with it as usual to"
            " accept the invitation, then add {label} under “Sign-in methods”. If you have no "
            "other account, ask the staff of this service."
        ),
    ),
    "account.deactivated": _Failure(
        403,
        mark("The invited account is deactivated"),
        mark(
            "The account with the invited address is deactivated, so nobody gets a new account "
            "with this invitation. Please ask the staff of this service."
        ),
    ),
    "invite_link.unknown": _Failure(
        404,
        mark("The link is over"),
        mark(
            "It was cancelled, has expired, or never existed. You did not get an account. "
            "Please ask the person who sent you the link for a new one."
        ),
    ),
    "invite_link.claims": _Failure(
        409,
        mark("The link asks for more"),
        mark(
            "This link is only for people of whom their identity provider states what is named "
            "on its page, and {label} did not state it about you. You did not get an account. "
            "Please use another provider, or ask the person who sent you the link."
        ),
    ),
    "identity.deactivated": _Failure(
        403,
        mark("Your account is deactivated"),
        mark(
            "You have signed in at {label}, but your account on this service is deactivated. "
            "Please ask the staff of this service."
        ),
    ),
    "identity.email_taken": _Failure(
        409,
        mark("You already have an account"),
        mark(
            "An account with your e-mail address exists, but it is not linked to {label}. Sign in "
            "with it as usual, then add {label} under “Sign-in methods”. If you have forgotten "
            "your password, you can set a new one by e-mail."
        ),
    ),
    "identity.mismatch": _Failure(
        409,
        mark("This account belongs to another person"),
        mark(
            "The account that fits to you is linked to another person at {label}. Nothing was "
            "changed. Please ask the staff of this service."
        ),
    ),
    "identity.taken": _Failure(
        409,
        mark("Already linked to another account"),
        mark(
            "Your account at {label} is a sign-in method of another account on this service. "
            "Remove it there first. Nothing was changed."
        ),
    ),
    "identity.too_many": _Failure(
        409,
        mark("You have many sign-in methods"),
        mark(
            "You have reached the maximum number of sign-in methods. Please remove one first. "
            "Nothing was changed."
        ),
    ),
    "identity.session": _Failure(
        409,
        mark("You are signed out"),
        mark(
            "Nothing was linked, because you have signed out or changed the account in the "
            "meantime. Please sign in and start again."
        ),
    ),
    "identity.other": _Failure(
        409,
        mark("This is another account"),
        mark(
            "You signed in at {label} with an account that is not among the sign-in methods of the "
            "account that you use here. Nothing was confirmed."
        ),
    ),
    "identity.no_factor": _Failure(
        409,
        mark("This is not enough to confirm"),
        mark(
            "You use two-factor authentication here, but {label} did not ask you for a second "
            "factor. Please confirm with a code or a passkey."
        ),
    ),
}


_UNRECOGNISED: Final = frozenset({"identity.unknown", "identity.email_taken"})
"""Codes of people who may have an account here, which an e-mail can link."""


def refuse(
    browser: BrowserRequest,
    problem: Refusal | ProviderError | BusyError,
    name: str,
    provider: ProviderRow | None = None,
    return_to: str = "",
    claims: Claims | None = None,
    *,
    counts: Limit | None = PROVIDER,
    records: bool = True,
) -> Response:
    """Record why nobody was signed in, and say it without a word of the provider.

    A front end gets the code of the problem at the address to which it wanted to return. If an
    e-mail can link an account, our page comes first: no front end can offer that. It leads back.

    Args:
        claims: what the provider said, if it said something.
        counts: the limit against which the attempt still has to be counted.
        records: whether it is worth an event.
    """
    if isinstance(problem, Unauthenticated):
        # The account was signed out everywhere at the same moment.
        problem = Conflict("identity.state")
    code = problem.code if isinstance(problem, Refusal) else _code_of(problem)
    reason = f"provider.{problem.problem}" if isinstance(problem, ProviderError) else code
    account = problem.facts.get("account") if isinstance(problem, Refusal) else None
    if provider is None:
        with browser.read() as tx:
            provider = provider_queries.by_name(tx, name)
    # Anybody can put any name into the path: that is worth no event. Refusals at once, because of
    # too many attempts, must stay cheap.
    if provider is not None and not isinstance(problem, (Limited, BusyError)):
        browser.release_read_slot()
        with browser.app.database.write() as tx:
            tx.request = browser.request_id
            if counts is not None:
                browser.count_attempts(tx, counts)
            if records:
                sign_ins.record_refused(
                    tx,
                    provider.name,
                    reason,
                    browser.ip_address,
                    account if isinstance(account, int) else None,
                )
    offer = None
    if provider is not None and claims is not None and code in _UNRECOGNISED:
        offer = provider_linking.offer(browser, provider, claims, return_to)
    back = ""
    if provider is not None and return_to and return_to in provider.allowed_redirects:
        _failure, message = _explain(code, problem, provider)
        back = front_ends.failed(browser.settings, return_to, code, message)
    if back and offer is None:
        return Response(302, headers={"Location": back}, media="text/html")
    return _failure_page(browser, code, problem, provider, return_to, offer, back)


def _code_of(error: ProviderError | BusyError) -> str:
    if isinstance(error, BusyError):
        return "provider.busy"
    has_page = error.problem in {Problem.UNREACHABLE, Problem.NOT_RECENT}
    return f"provider.{error.problem}" if has_page else "provider.answer"


def _explain(
    code: str, problem: Refusal | ProviderError | BusyError, provider: ProviderRow | None
) -> tuple[_Failure, str]:
    """Return what is said about a problem, and its message in full."""
    said = message_for(problem) if isinstance(problem, Refusal) else ""
    status = 429 if isinstance(problem, Limited) else 409
    failure = _FAILURES.get(code, _Failure(status, mark("Signing in did not work"), "{said}"))
    return failure, _(failure.message).format(label=_label(provider), said=said)


def _label(provider: ProviderRow | None) -> str:
    return isolated(provider.label) if provider is not None else _("The identity provider")


def _failure_page(
    browser: BrowserRequest,
    code: str,
    problem: Refusal | ProviderError | BusyError,
    provider: ProviderRow | None,
    return_to: str,
    offer: provider_linking.Offer | None,
    back: str,
) -> Response:
    """Return the page of a failure, or the same as JSON for a client that is no browser.

    Args:
        back: the address at which a front end gets the code of the problem; empty without one.
    """
    failure, message = _explain(code, problem, provider)
    headers = {}
    if isinstance(problem, Limited):
        headers["Retry-After"] = str(problem.facts["seconds"])
    elif isinstance(problem, BusyError):
        headers["Retry-After"] = str(RETRY_SECONDS)
    if "text/html" not in browser.header("accept"):
        return json_response(failure.status, {"detail": message, "code": code}, headers)
    response = page(
        browser,
        "provider_failed",
        failure.status,
        title=_(failure.title).format(label=_label(provider)),
        said=message,
        label=_label(provider),
        offer=offer,
        invitation_path=return_to if is_invitation(return_to) else "",
        sign_in_path=leading_to("/sign_in/?choose=1", return_to or browser.next),
        back=back,
        front_end=urlsplit(back).hostname or "",
    )
    response.headers |= headers
    return response


def is_invitation(path: str) -> bool:
    """Return whether a path is that of an invitation or an invite link."""
    return is_local(path) and path.startswith(("/invitation/", "/open_invitation/"))
