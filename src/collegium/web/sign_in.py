"""Signing in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from collegium.accounts import queries as account_queries
from collegium.api import sign_in
from collegium.refusals import Conflict, Invalid, Unauthenticated
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.web.forms import Form
from collegium.web.page import Page, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.web.browser_request import Visit

_HALF: Final = "half"
"""The password was right, and a code is asked for."""

_HALF_SECONDS: Final = 10 * 60
_HOME: Final = "/account/"


def _ask(visit: Visit, _tx: Read) -> Answer:
    if visit.is_signed_in:
        return visit.go(visit.next or _HOME)
    return page(visit, "sign_in", form=Form(), next=visit.next)


def _check(visit: Visit) -> Answer:
    if visit.is_signed_in:
        return visit.go(visit.next or _HOME)
    form = visit.form
    username = form.text("username", 128, required=True)
    password = form.text("password", 128, required=True, strip=False)
    if not form.ok:
        return page(visit, "sign_in", 422, form=form, next=visit.next)
    try:
        account = sign_in.check(visit, username, password, alone=False)
    except Unauthenticated as refusal:
        form.refused(refusal)
        return page(visit, "sign_in", 401, form=form, next=visit.next)
    try:
        with visit.write() as tx:
            rate_limit_queries.forget(tx, sign_in.subjects(visit, username)[:2])
            # Turning it on or off changes the version that signing in compares.
            if not two_factor_queries.is_on(tx, account.id):
                visit.sign_in(tx, sign_in.actor_of(visit, account), "password")
                return visit.go(visit.next or _HOME)
    except Unauthenticated as refusal:
        form.refused(refusal)
        return page(visit, "sign_in", 401, form=form, next=visit.next)
    # Bound to what was verified: where that is changed meanwhile, this half is worth nothing.
    half = visit.offer(_HALF, account.uuid, account.credentials_version)
    visit.set_cookie(_HALF, half, _HALF_SECONDS)
    after = f"?next={quote(visit.next, safe='/')}" if visit.next else ""
    return visit.go(f"/sign_in/code/{after}")


def _ask_code(visit: Visit, _tx: Read) -> Answer:
    if visit.taken(_HALF, visit.cookie(_HALF), _HALF_SECONDS) is None:
        return visit.go("/sign_in/")
    return page(visit, "sign_in_code", form=Form(), next=visit.next)


def _check_code(visit: Visit) -> Answer:
    match visit.taken(_HALF, visit.cookie(_HALF), _HALF_SECONDS):
        case [str(uuid), int(version)]:
            with visit.read() as tx:
                account = account_queries.known_by_uuid(tx, uuid)
        case _:
            account = None
    if account is None or not account.is_active or account.credentials_version != version:
        return _over(visit)
    form = visit.form
    code = form.text("code", 100, required=True)
    if form.ok:
        actor = sign_in.actor_of(visit, account)
        try:
            sign_in.with_code(
                visit, actor, code, lambda tx: visit.sign_in(tx, actor, "second factor")
            )
        except (Conflict, Invalid) as refusal:
            form.refused(refusal)
        except Unauthenticated:
            return _over(visit)
        else:
            visit.set_cookie(_HALF, "", 0)
            return visit.go(visit.next or _HOME)
    return page(visit, "sign_in_code", 422, form=form, next=visit.next)


def _over(visit: Visit) -> Answer:
    visit.set_cookie(_HALF, "", 0)
    return visit.go("/sign_in/", "That took too long. Please sign in again.", kind="not")


def _sign_out(visit: Visit) -> Answer:
    with visit.write() as tx:
        visit.sign_out(tx)
    answer = visit.go("/sign_in/", "You are signed out.")
    # Whoever comes next must not find pages by going back; cookies stay, one of them says this.
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


ROUTES: Routes = {
    "/sign_in/": {
        "GET": Page(_ask, "Sign in?", open=True),
        "POST": Page(_check, "Sign in.", open=True),
    },
    "/sign_in/code/": {
        "GET": Page(_ask_code, "Which code does the authenticator show?", open=True),
        "POST": Page(_check_code, "Sign in with a second factor.", open=True),
    },
    "/sign_out/": {"POST": Page(_sign_out, "Sign out.")},
}
