"""A forgotten password: a link by mail, and the page that it leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.refusals import NotFound
from collegium.security.crypto import hash_password
from collegium.security.passwords import normalized
from collegium.security.rate_limits.rules import CODE_ADDRESS, MAIL_ACCOUNT
from collegium.sign_in.passwords import actions as password_actions
from collegium.text.email_addresses import comparable_address
from collegium.web.forms import Form
from collegium.web.page import Page, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.web.browser_request import Visit


def _ask(visit: Visit, _tx: Read) -> Answer:
    return page(visit, "forgotten_password", form=Form(), sent=False)


def _send(visit: Visit) -> Answer:
    """Say the same whether anybody has that address, and do nearly as much."""
    form = visit.form
    email = form.email("email")
    if not form.ok:
        return page(visit, "forgotten_password", 422, form=form, sent=False)
    digest = visit.house.vault.digest(comparable_address(email)).hex()
    mailbox = f"password mail {digest[:32]}"
    address = f"password address {visit.network}"[:128]
    visit.check_tries(mailbox, address)
    with visit.write() as tx:
        password_actions.ask(tx, email, visit.address)
        visit.count(tx, mailbox, MAIL_ACCOUNT)
        visit.count(tx, address, MAIL_ACCOUNT)
    return page(visit, "forgotten_password", form=form, sent=True)


def _open(visit: Visit, tx: Read) -> Answer:
    try:
        account = password_actions.follow(tx, visit.house.vault, visit.segments["token"])
    except NotFound:
        return page(visit, "password_reset", 410, account=None, form=Form())
    return page(visit, "password_reset", account=account, form=Form())


def _set(visit: Visit) -> Answer:
    link = visit.segments["token"]
    subject = f"code address {visit.network}"
    try:
        with visit.guarded(subject, CODE_ADDRESS), visit.read() as tx:
            account = password_actions.follow(tx, visit.house.vault, link)
        form = visit.form
        hashed = chosen(form, password_actions.about(account))
        if hashed is None:
            return page(visit, "password_reset", 422, account=account, form=form)
        with visit.write() as tx:
            password_actions.reset(tx, visit.house.vault, link, hashed, visit.address)
    except NotFound:
        return page(visit, "password_reset", 410, account=None, form=Form())
    return visit.go("/sign_in/", "Your new password is set. Sign in with it.")


def chosen(form: Form, about: tuple[str, ...]) -> str | None:
    """Read a new password that was typed twice; give its hash, or None with errors in the form."""
    password = form.text("password", 128, required=True, strip=False)
    again = form.text("again", 128, strip=False)
    if "password" not in form.errors:
        wrong = password_actions.judge(password, about)
        if wrong:
            form.wrong("password", " ".join(wrong))
        elif normalized(password) != normalized(again):
            form.wrong("again", "This is not the same. Please type the new password once more.")
    return hash_password(password) if form.ok else None


ROUTES: Routes = {
    "/forgotten_password/": {
        "GET": Page(_ask, "Ask for a link?", open=True),
        "POST": Page(_send, "Ask for a link.", open=True),
    },
    "/password_reset/{token}/": {
        "GET": Page(_open, "Choose a new password?", open=True),
        "POST": Page(_set, "Choose a new password.", open=True),
    },
}
