"""Map refusals to the status, shape and message of this API."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

from collegium.api.request import Answer
from collegium.refusals import (
    Conflict,
    Forbidden,
    Invalid,
    Limited,
    NotFound,
    Refusal,
    Unauthenticated,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_encode = msgspec.json.Encoder().encode

_STATUS: Final = (
    (Unauthenticated, 401),
    (Limited, 429),
    (NotFound, 404),
    (Forbidden, 403),
    (Invalid, 400),
    (Conflict, 400),
)

_WORDS: Final[Mapping[str, str]] = {
    "credentials.missing": "Authentication credentials were not provided.",
    "credentials.scheme": "The Authorization header must be Bearer and a token.",
    "token.unknown": "Invalid token.",
    "token.inactive": "The account is switched off.",
    "token.expired": "The token has expired.",
    "login.failed": "No account has this name and password.",
    "login.locked": "Too many failed logins. Try again in {seconds} s.",
    "login.disabled": "This account cannot log in with its password alone. Use a personal token "
    "or log in from a browser.",
    "password_login.off": "Logging in with a password is switched off here. Use a personal token "
    "or log in from a browser.",
    "mail_budget.spent": "{address} was mailed too often in a day. Come back in {seconds} s.",
    "tries.wait": "Too many tries. Come back in {seconds} s.",
    "group.too_many": "You have founded {most} groups; delete one before you found another.",
    "prefetch": "What changes something is not fetched in advance.",
    "laboratory.none": "This service keeps no laboratories.",
    "request.own": "Somebody else has to decide on your request.",
    "request.not_own": "Only who made the request can take it back.",
    "request.wrong_state": "The request is {state} already.",
    "request.too_many": "You have {most} requests that nobody has decided; no more is taken.",
    "grant.held": "There is a member already.",
    "grant.exists": "There is a member already.",
    "grant.elsewhere": "Nobody can have more than one role here.",
    "account.inactive": "The account of who asked is switched off.",
    "account.last_owner": "The account is the last owner of {scope}.",
    "account.has_requests": "The account has requests that nobody has decided.",
    "role.inactive": "Nobody is given this role any more.",
    "role.above_ceiling": "Only owners give roles.",
    "invitation.not_yours": "Only who was invited can answer an invitation.",
    "invitation.wrong_state": "The invitation is {state} already.",
    "invitation.not_vouched": "Whoever sent the invitation could not give this role today.",
    "invitation.other_address": "The invitation is for another address.",
    "group.not_member": "You are no member of this group.",
    "scope.last_owner": "The last owner cannot leave a group.",
}

_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "group.name_taken": ("name", "A group with this name already exists."),
    "group.last_owner": ("users", "A group must have an owner."),
    "device.lifetime": (
        "token_lifetime",
        "Ensure this value is less than or equal to {longest}.",
    ),
}

_PEOPLE: Final[Mapping[str, str]] = {
    "twice": "{email} is named twice.",
    "not_member": "{email} is no member of this group.",
    "unknown": "Nobody with the address {email} has an account here.",
}

_DEFAULTS: Final = {
    401: "Invalid credentials.",
    403: "You do not have permission to do this.",
    404: "Not found.",
    400: "This cannot be done now.",
}


class BadRequestError(Exception):
    """The request cannot be parsed or is not valid.

    Args:
        errors: name of a field or parameter to its errors; or ``detail`` to one message.
        status: HTTP status code.
    """

    def __init__(self, errors: Mapping[str, Any], status: int = 400) -> None:
        super().__init__()
        self.errors = errors
        self.status = status


def bad_request(error: BadRequestError) -> Answer:
    """Return the response with the errors of all fields."""
    return Answer(error.status, _encode(error.errors))


def detail_response(status: int, text: str, headers: dict[str, str] | None = None) -> Answer:
    """Return a response with one sentence under ``detail``."""
    return Answer(status, _encode({"detail": text}), headers or {})


def _status(refusal: Refusal) -> int:
    if refusal.code == "login.locked":
        # Waldur answers 401 for this code. BrainSTEM clients wait after a 429 and its
        # ``Retry-After``.
        return HTTPStatus.TOO_MANY_REQUESTS
    return next(status for kind, status in _STATUS if isinstance(refusal, kind))


def refusal_response(refusal: Refusal) -> Answer:
    """Return the response for a refusal."""
    status = _status(refusal)
    if refusal.code == "group.people":
        problems: Any = refusal.facts["problems"]
        texts = [_PEOPLE[why].format(email=email) for email, why in problems.items()]
        told = {"users": texts}
        if refusal.facts["is_name_taken"]:
            field, text = _FIELDS["group.name_taken"]
            told = {field: [text], **told}
        return Answer(status, _encode(told))
    if refusal.code in _FIELDS:
        field, text = _FIELDS[refusal.code]
        return Answer(status, _encode({field: [text.format(**refusal.facts)]}))
    words = _WORDS.get(refusal.code)
    text = words.format(**refusal.facts) if words else _DEFAULTS.get(status, _DEFAULTS[400])
    headers: dict[str, str] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        headers["Retry-After"] = str(refusal.facts["seconds"])
    return detail_response(status, text, headers)
