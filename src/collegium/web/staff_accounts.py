"""Accounts, for staff: found, looked at, made, switched off and on; a lost way in given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.memberships import queries as membership_queries
from collegium.refusals import Conflict, Invalid
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import COUNTED, Kind
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor.rules import LOCKED_AT
from collegium.text.names import typed_username
from collegium.web.forms import Form
from collegium.web.messages import person
from collegium.web.page import Page, Paging
from collegium.web.scope import searched
from collegium.web.staff import desk, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.db.statements import Row
    from collegium.web.browser_request import Visit

HERE: Final = "/staff/accounts/"

SHOWS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "all": ("All", {}),
    "active": ("Switched on", {"is_active": True}),
    "inactive": ("Switched off", {"is_active": False}),
    "staff": ("Staff", {"is_staff": True}),
    "support": ("Support", {"is_support": True}),
}
SORTS: Final = {
    "username": ("User name", "username"),
    "name": ("Name", "full_name"),
    "email": ("E-mail address", "email"),
    "organization": ("Institution", "organization"),
}
KINDS: Final = {
    "": ("Nothing more", {}),
    "support": ("Reads everything here (support)", {"is_support": True}),
    "staff": ("Reads and changes everything here (staff)", {"is_staff": True}),
}


def _list(visit: Visit, tx: Read) -> Answer:
    search = searched(visit)
    show = visit.asked("show") if visit.asked("show") in SHOWS else "all"
    sort = visit.asked("sort") if visit.asked("sort") in SORTS else "username"
    wanted = dict(SHOWS[show][1])
    if search:
        wanted["query"] = search
    paging = Paging(visit, account_queries.listing.count(tx, visit.actor, wanted))
    order = (SORTS[sort][1],)
    return page(
        visit,
        "staff_accounts",
        rows=account_queries.listing.page(
            tx, visit.actor, wanted, order, paging.size, paging.offset
        ),
        paging=paging,
        form=Form.showing(q=search, show=show, sort=sort),
        shows=[(word, said) for word, (said, _) in SHOWS.items()],
        sorts=[(word, said) for word, (said, _) in SORTS.items()],
        narrowed=bool(search or show != "all"),
    )


def _one(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    row = account_queries.reach(tx, visit.actor, visit.uuid("account"))
    # How somebody comes in is staff's to know: support could do nothing with it.
    numbers, factor = {}, None
    if visit.actor.is_staff:
        numbers = token_queries.numbers(tx, row.id, visit.settings.token_max_age)
        factor = two_factor_queries.of_account(tx, row.id)
    has_factor = factor is not None and factor.confirmed is not None
    return page(
        visit,
        "staff_account",
        status,
        row=row,
        grants=membership_queries.own(tx, row.id),
        sessions=numbers.get(Kind.SESSION, 0),
        programs=sum(numbers.get(kind, 0) for kind in (*COUNTED, Kind.REFRESH)),
        has_factor=has_factor,
        is_locked=factor is not None and factor.wrong_codes >= LOCKED_AT,
        has_password=password_actions.is_open(row),
        form=form,
    )


def _change(visit: Visit) -> Answer:
    """Do what the pressed button says."""
    form = visit.form
    deed = form.choice("deed", "deactivate", "activate", "second_factor", "password")
    if form.ok:
        try:
            return visit.go(visit.path, _do(visit, deed))
        except (Conflict, Invalid) as refusal:
            form.refused(refusal)
    with visit.read() as tx:
        return _shown(visit, tx, form, 422)


def _do(visit: Visit, deed: str) -> str:
    uuid, actor = visit.uuid("account"), visit.actor
    with visit.write() as tx:
        who = person(account_queries.reach(tx, actor, uuid))
        match deed:
            case "second_factor":
                two_factor_actions.reset(tx, actor, uuid)
                return f"The second factor of {who} is off. A mail tells them."
            case "password":
                row = password_actions.send(tx, actor, uuid)
                return f"A mail with a link to set a password is on its way to {row.email}."
        changes = {"is_active": deed == "activate"}
        account_actions.update(tx, actor, visit.settings, uuid, changes, agrees=False)
    if deed == "activate":
        return f"The account of {who} is switched on. They can sign in again."
    return f"The account of {who} is switched off, and signed out everywhere."


def _ask(visit: Visit, tx: Read) -> Answer:
    del tx
    return _new(visit, Form.showing(send="yes"))


def _new(visit: Visit, form: Form, status: int = 200) -> Answer:
    kinds = [(word, said) for word, (said, _) in KINDS.items()]
    return page(visit, "staff_account_new", status, form=form, kinds=kinds)


def _create(visit: Visit) -> Answer:
    form = visit.form
    values: dict[str, Any] = {
        "username": typed_username(form.text("username", 128, required=True)),
        "email": form.email("email"),
        "first_name": form.name("first_name", 100, required=True),
        "last_name": form.name("last_name", 100, required=True),
        "organization": form.text("organization", 255),
        **KINDS[form.choice("kind", *KINDS)][1],
    }
    if values["username"] and not account_actions.USERNAME.fullmatch(values["username"][:128]):
        form.wrong("username", "A user name is made of small letters a to z, digits, and _ . @ + -")
    if form.ok:
        try:
            return visit.go(*_made(visit, values))
        except (Conflict, Invalid) as refusal:
            form.refused(refusal)
    return _new(visit, form, 422)


def _made(visit: Visit, values: dict[str, Any]) -> tuple[str, str]:
    with visit.create() as tx:
        vault = visit.house.vault
        number = account_actions.create(tx, visit.actor, visit.settings, vault, values)
        row: Row = account_queries.by_number(tx, number)
        said = f"The account of {person(row)} is made."
        if visit.form.flag("send"):
            password_actions.send(tx, visit.actor, row.uuid)
            said += f" A mail with a link to set a password is on its way to {row.email}."
        visit.created(tx, f"{HERE}{row.uuid}/", said)
    return f"{HERE}{row.uuid}/", said


ROUTES: Routes = desk(
    {
        HERE: {"GET": Page(_list, "Find accounts.")},
        f"{HERE}new/": {
            "GET": Page(_ask, "What account to make."),
            "POST": Page(_create, "Make an account.", creates=True),
        },
        f"{HERE}{{uuid}}/": {
            "GET": Page(_one, "An account."),
            "POST": Page(_change, "Switch an account off or on, or give a lost way in back."),
        },
    },
    only_staff=(f"{HERE}new/",),
)
