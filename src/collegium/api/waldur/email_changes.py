"""Endpoints for changing an e-mail address, under ``/api/users/``."""

from __future__ import annotations

from typing import Final

from collegium.accounts import queries as account_queries
from collegium.accounts.actions import require_self_or_staff
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import schemas
from collegium.api.waldur.fields import decode, read
from collegium.api.waldur.invitations import detail_response
from collegium.security.rate_limits.rules import CODE, MAIL
from collegium.sign_in.tokens.rules import check_not_delegated
from collegium.values import Email, Text, hex_uuid

_ASK: Final = {"email": Email(required=True, max=320)}
_CONFIRM: Final = {"code": Text(required=True, blank=False, max=100)}


def _change(context: RequestContext) -> Response:
    uuid = context.uuid("account")
    with context.read() as tx:
        # Authorisation comes before validation: callers who may not change the account get that
        # refusal, whatever body they have sent.
        require_self_or_staff(context.actor, account_queries.get_visible(tx, context.actor, uuid))
    check_not_delegated((context.impersonator or context.actor).token_kind)
    form = read(context, _ASK)
    form.check()
    with context.write() as tx:
        email = form.values["email"]
        email_change_actions.request_change(
            tx, context.actor, context.settings, context.app.vault, uuid, email
        )
        # Each e-mail goes to an address of the caller's choice, so each one counts.
        context.count_attempts(tx, MAIL)
    return detail_response("The change email request has been successfully created.")


def _cancel(context: RequestContext) -> Response:
    with context.write() as tx:
        was_cancelled = email_change_actions.cancel(tx, context.actor, context.uuid("account"))
    outcome = "successfully deleted" if was_cancelled else "not been found"
    text = f"The change email request has {'been ' if was_cancelled else ''}{outcome}."
    return detail_response(text)


def _confirm(context: RequestContext) -> Response:
    body, _ = decode(context)
    code = hex_uuid(body.get("code"))
    if code is None:
        raise BadRequestError(["The confirmation code is required."])
    with context.write() as tx:
        email_change_actions.confirm(tx, context.actor, context.settings, context.app.vault, code)
    return detail_response("Email has been successfully updated.")


ROUTES: Routes = {
    "/api/users/confirm_email/": {
        "POST": Endpoint(
            _confirm,
            "Confirm a new e-mail address with the code from the e-mail.",
            public=True,
            body=_CONFIRM,
            response_type=schemas.Detail,
            guesses=CODE,
        ),
    },
    "/api/users/{uuid}/change_email/": {
        "POST": Endpoint(
            _change,
            "Request a change of the e-mail address.",
            body=_ASK,
            response_type=schemas.Detail,
            limits=(MAIL,),
        ),
    },
    "/api/users/{uuid}/cancel_change_email/": {
        "POST": Endpoint(
            _cancel, "Cancel the change of the e-mail address.", response_type=schemas.Detail
        ),
    },
}
