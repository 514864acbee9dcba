"""My second factor: turned on with an authenticator, turned off with a code of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.api import sign_in
from collegium.refusals import Conflict, Invalid
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor.rules import TRIES
from collegium.web import profile, qr
from collegium.web.forms import Form
from collegium.web.page import Page, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read, Write
    from collegium.web.browser_request import Visit

_HERE: Final = "/account/second_factor/"


def _show(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    is_on = two_factor_queries.is_on(tx, visit.actor.id)
    secret = two_factor_actions.unconfirmed(
        tx, visit.actor, visit.house.vault, visit.settings.site_name
    )
    return page(
        visit,
        "second_factor",
        status,
        is_on=is_on,
        left=two_factor_queries.codes_left(tx, visit.actor.id) if is_on else 0,
        secret=secret,
        picture=qr.draw(secret.link, "QR code for your authenticator") if secret else "",
        form=form,
    )


def _change(visit: Visit) -> Answer:
    """Do what the pressed button says."""
    form = visit.form
    deed = form.choice("deed", "begin", "confirm", "codes", "remove")
    if deed == "begin":
        return _begin(visit)
    code = form.text("code", 100, required=True)
    codes: list[str] = []
    if form.ok:
        try:
            codes = _do(visit, deed, code)
        except (Invalid, Conflict) as refusal:
            form.refused(refusal)
    if not form.ok:
        with visit.read() as tx:
            return _shown(visit, tx, form, 422)
    if codes:
        # Not sent on to another page: nowhere could they be kept on the way.
        return page(visit, "recovery_codes", codes=codes, is_new=deed == "confirm")
    return visit.go(_HERE, "The second factor is off. A password is enough to sign in.")


def _do(visit: Visit, deed: str, code: str) -> list[str]:
    """Turn it on or off, or renew the recovery codes; give those that are to be shown."""
    vault, actor = visit.house.vault, visit.actor
    if deed == "confirm":
        subject = f"second factor {actor.id}"
        with visit.guarded(subject, TRIES), visit.create() as tx:
            rate_limit_queries.forget(tx, [subject])
            codes = two_factor_actions.confirm(tx, actor, vault, code)
            visit.created(tx, deed, *codes)
            return codes
    if deed == "codes":

        def renew(tx: Write) -> list[str]:
            codes = two_factor_actions.renew_codes(tx, actor, vault)
            visit.created(tx, deed, *codes)
            return codes

        return sign_in.with_code(visit, actor, code, renew, begin=visit.create)
    sign_in.with_code(visit, actor, code, lambda tx: two_factor_actions.remove(tx, actor))
    return []


def _begin(visit: Visit) -> Answer:
    if profile.knows(visit, "password", visit.form.raw("password")[:128]):
        try:
            with visit.create() as tx:
                two_factor_actions.begin(tx, visit.actor, visit.house.vault)
                visit.created(tx, "begin")
        except Conflict as refusal:
            visit.form.refused(refusal)
        else:
            return visit.go(_HERE)
    with visit.read() as tx:
        return _shown(visit, tx, visit.form, 422)


def _shown_again(visit: Visit, deed: str, *codes: str) -> Answer:
    """Show the same codes: a second press threw away the page with them, or the next step."""
    if deed == "begin":
        return visit.go(_HERE)
    with visit.read() as tx:
        if two_factor_actions.are_codes(tx, visit.actor, visit.house.vault, codes):
            return page(visit, "recovery_codes", codes=codes, is_new=deed == "confirm")
    return visit.go(_HERE, "The recovery codes that this form made are dead.", kind="not")


ROUTES: Routes = {
    _HERE: {
        "GET": Page(_show, "My second factor."),
        "POST": Page(
            _change, "Turn the second factor on or off.", creates=True, replay=_shown_again
        ),
    },
}
