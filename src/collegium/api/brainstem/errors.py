"""Map refusals to the status, shape and message of this API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

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

_STATUS: Final = (
    (Unauthenticated, 401),
    (Limited, 429),
    (NotFound, 404),
    (Forbidden, 403),
    (Invalid, 400),
    (Conflict, 400),
)

_MESSAGES: Final[Mapping[str, str]] = {
    "credentials.missing": "Authentication credentials were not provided.",
    "credentials.scheme": "The Authorization header must be Bearer and a token.",
    "token.unknown": "Invalid token.",
    "token.inactive": "The account is deactivated.",
    "token.expired": "The token has expired.",
    "login.failed": "Incorrect user name or password.",
    "login.locked": "Too many failed sign-ins. Try again in {seconds} s.",
    "login.disabled": "This account cannot sign in with only its password. Use a personal token "
    "or sign in with a browser.",
    "second_factor.required": "Two-factor authentication is required for this account. Sign in "
    "with a browser and set it up first.",
    "password_login.off": "Signing in with a password is disabled. Use a personal token "
    "or sign in with a browser.",
    "mail_budget.spent": "{address} has got too many e-mails today. Try again in {seconds} s.",
    "tries.wait": "Too many attempts. Try again in {seconds} s.",
    "group.too_many": "You have created {most} groups, which is the maximum. Delete one first.",
    "prefetch": "Requests that change something cannot be prefetched.",
    "laboratory.none": "This service has no laboratories.",
    "request.own": "You cannot decide on your own request.",
    "request.not_own": "Only the requester can withdraw the request.",
    "request.wrong_state": "The request is already {state}.",
    "request.too_many": "You have {most} pending requests. Withdraw one first.",
    "grant.held": "This account is already a member.",
    "grant.exists": "This account is already a member.",
    "grant.elsewhere": "An account can have only one role in a group.",
    "account.inactive": "The account of the requester is deactivated.",
    "account.last_owner": "The account is the last owner of {scope}.",
    "account.has_requests": "The account has pending requests.",
    "role.inactive": "This role is disabled.",
    "role.above_ceiling": "Only owners can assign roles.",
    "invitation.not_yours": "Only the invited account can accept or decline an invitation.",
    "invitation.wrong_state": "The invitation is already {state}.",
    "invitation.not_vouched": "The inviter can no longer assign this role.",
    "invitation.other_address": "The invitation is for another address.",
    "group.not_member": "You are not a member of this group.",
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

_MEMBER_ERRORS: Final[Mapping[str, str]] = {
    "twice": "{email} is listed twice.",
    "not_member": "{email} is not a member of this group.",
    "unknown": "No account has the address {email}.",
}

_DEFAULTS: Final = {
    401: "Invalid credentials.",
    403: "You do not have permission to do this.",
    404: "Not found.",
    400: "This cannot be done at the moment.",
}


VALUES: Final[Mapping[str, str]] = {
    **MESSAGES,
    "surrogate": "Surrogate characters are not allowed.",
    "unknown": "Unknown field.",
    "url": "Enter a valid URL.",
    "projects": "Expected a list of at most {max} items.",
    "project": "Expected ids of projects.",
    "people": "Expected an object with at most {max} addresses.",
    "addresses": "Expected e-mail addresses.",
    "flags": "Expected is_manager, is_owner or remove for {email}.",
    "unknown_flag": "Unknown key {name} of {email}; known are {known}.",
    "flag": "{name} of {email} must be true or false.",
    "removed_with_role": "{email} cannot be removed and get a role in the same request.",
    "body.type": "The body must be JSON.",
    "body.nested": "The body is not valid JSON: too many lists and objects",
    "body.recursion": "The body is not valid JSON: {error!s:.172}",
    "body.json": "The body is not valid JSON: {error!s:.172}",
    "body.object": "The body must be a JSON object.",
}
"""Messages for the problems of values in bodies."""

PARAMETERS: Final[Mapping[str, str]] = {
    **VALUES,
    "integer": "Enter a number.",
    "too_long": "Use at most {max} characters.",
    "uuid": "Enter a valid UUID.",
    "boolean": "Enter true or false.",
    "repeated": "Another parameter already has this condition.",
    "many": "Use one value. For several values, use the operator in.",
    "braces": "Use filter{{field}} or filter{{field.operator}}.",
    "lookup": "The field does not exist or does not support this operator.",
    "order": "The field {name} cannot be used for sorting.",
    "include": "{name} cannot be included.",
    "bounds": "Enter a number of {bounds}.",
}
"""The same for query parameters; some messages differ."""


def documented() -> Iterator[tuple[str, str, str]]:
    """Yield every refusal of this API that has a message of its own: code, field, message."""
    for code, message in _MESSAGES.items():
        yield code, "", message
    for code, (field, message) in _FIELDS.items():
        yield code, field, message


def _status(refusal: Refusal) -> int:
    if refusal.code == "login.locked":
        # Waldur answers 401 for this code. BrainSTEM clients wait after a 429 and its
        # ``Retry-After``.
        return HTTPStatus.TOO_MANY_REQUESTS
    return next(status for kind, status in _STATUS if isinstance(refusal, kind))


def field_errors(refusal: Invalid) -> dict[str, list[str]]:
    """Return the messages of a refusal by the field to which each belongs; empty if to none."""
    if refusal.code == "group.people":
        problems: Any = refusal.facts["problems"]
        others: Any = refusal.facts["others"]
        texts = [_MEMBER_ERRORS[problem].format(email=email) for email, problem in problems.items()]
        errors = {"users": texts}
        for field, text in (_FIELDS[code] for code in others):
            errors.setdefault(field, []).append(text)
        return errors
    if refusal.code not in _FIELDS:
        return {}
    field, text = _FIELDS[refusal.code]
    return {field: [text.format(**refusal.facts)]}


def refusal_response(refusal: Refusal) -> Response:
    """Return the response for a refusal."""
    status = _status(refusal)
    if isinstance(refusal, Invalid) and (errors := field_errors(refusal)):
        return json_response(status, errors)
    template = _MESSAGES.get(refusal.code)
    text = template.format(**refusal.facts) if template else _DEFAULTS.get(status, _DEFAULTS[400])
    headers: dict[str, str] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        headers["Retry-After"] = str(refusal.facts["seconds"])
    return error_response(status, text, headers)
