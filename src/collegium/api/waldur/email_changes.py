"""``/api/users/…``: changing an e-mail address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.accounts import queries as account_queries
from collegium.accounts.actions import check_self_or_staff
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.api.request import Answer, Operation, Routes, hex_uuid
from collegium.api.waldur import schemas
from collegium.api.waldur.errors import Malformed
from collegium.api.waldur.fields import Email, Text, decode, read
from collegium.security.rate_limits.rules import CODE_ADDRESS, MAIL_ACCOUNT
from collegium.sign_in.tokens.rules import check_is_own

if TYPE_CHECKING:
    from collegium.api.request import Call

_ASK: Final = {"email": Email(required=True, max=320)}
_CONFIRM: Final = {"code": Text(required=True, blank=False, max=100)}


def _change(call: Call) -> Answer:
    uuid = call.uuid("account")
    with call.read() as tx:
        # Who may not do it is told so before what is wrong with the body.
        check_self_or_staff(call.actor, account_queries.reach(tx, call.actor, uuid))
    check_is_own((call.impersonator or call.actor).token_kind)
    form = read(call, _ASK)
    form.check()
    call.check_tries(mailed := f"mail account {call.actor.id}")
    with call.write() as tx:
        email = form.values["email"]
        email_change_actions.ask(tx, call.actor, call.settings, call.house.vault, uuid, email)
        # Each mail goes to an address of the caller's choice, so each one counts.
        call.count(tx, mailed, MAIL_ACCOUNT)
    return _done("The change email request has been successfully created.")


def _cancel(call: Call) -> Answer:
    with call.write() as tx:
        found = email_change_actions.cancel(tx, call.actor, call.uuid("account"))
    done = "successfully deleted" if found else "not been found"
    text = f"The change email request has {'been ' if found else ''}{done}."
    return _done(text)


def _confirm(call: Call) -> Answer:
    body, _ = decode(call)
    code = hex_uuid(body.get("code"))
    if code is None:
        raise Malformed(400, ["The confirmation code is required."])
    with call.guarded(f"code address {call.network}", CODE_ADDRESS), call.write() as tx:
        email_change_actions.confirm(tx, call.settings, call.house.vault, code)
    return _done("Email has been successfully updated.")


def _done(text: str) -> Answer:
    return Answer(200, schemas.encode(schemas.Detail(text)))


ROUTES: Routes = {
    "/api/users/confirm_email/": {
        "POST": Operation(
            _confirm,
            "Confirm a new address by the code that was mailed to it.",
            open=True,
            form=_CONFIRM,
            answers=schemas.Detail,
        ),
    },
    "/api/users/{uuid}/change_email/": {
        "POST": Operation(_change, "Ask for another address.", form=_ASK, answers=schemas.Detail),
    },
    "/api/users/{uuid}/cancel_change_email/": {
        "POST": Operation(_cancel, "Take that wish back.", answers=schemas.Detail),
    },
}
