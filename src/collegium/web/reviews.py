"""The pages of reviews: which are pending, what is to look at, who has looked at what."""

from __future__ import annotations

from functools import partial
from typing import Final

from collegium.access.rules import ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.invitations.links import scope_path
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.reviews import actions as review_actions
from collegium.reviews import queries as review_queries
from collegium.reviews.queries import ReviewRow
from collegium.reviews.rules import fingerprint
from collegium.text.languages import gettext as _
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, Paging, load_page, page
from collegium.web.scope import ScopePage
from collegium.web.sorting import PENDING_REVIEWS, REVIEWS, Sorting

_HERE: Final = "/account/reviews/"


def _list_pending(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    sorting = Sorting(browser, PENDING_REVIEWS)
    rows, paging = load_page(browser, tx, review_queries.pending, {}, sorting.order)
    return page(
        browser,
        "reviews",
        rows=[
            (row, f"{scope_path(row.scope_kind, row.scope_uuid, row.scope_id)}reviews/{row.uuid}/")
            for row in rows
        ],
        paging=paging,
        sorting=sorting,
    )


def _load(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> ScopePage:
    scope_page = ScopePage.load(browser, tx, kind)
    if not scope_page.reads_reviews:
        raise Forbidden("permission.missing")
    return scope_page


def _list(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    scope_page = _load(kind, browser, tx)
    filters = {"scope": scope_page.scope.id}
    sorting = Sorting(browser, REVIEWS)
    rows, paging = load_page(browser, tx, review_queries.of_scope, filters, sorting.order)
    return page(
        browser, "scope_reviews", scope_page=scope_page, rows=rows, paging=paging, sorting=sorting
    )


def _load_review(browser: BrowserRequest, tx: ReadTransaction, scope_page: ScopePage) -> ReviewRow:
    review = review_queries.get_visible(tx, browser.actor, browser.uuid("review", "one"))
    if review.scope_id != scope_page.scope.id:
        raise NotFound("review.unknown")
    return review


def _show(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render(kind, browser, tx, Form())


def _render(
    kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    scope_page = _load(kind, browser, tx)
    review = _load_review(browser, tx, scope_page)
    is_pending = review.is_pending
    scope_id = scope_page.scope.id
    if is_pending:
        filters = {"scope": scope_id}
        # The same grants as those of the list.
        roles = review_queries.current_roles(tx, scope_id)
        paging = Paging(browser, len(roles))
        rows = review_queries.current_members.page(
            tx, browser.actor, filters, (), paging.size, paging.offset
        )
        named = {row.id for row in rows}
        seen = fingerprint(roles)
    else:
        filters = {"review": review.id}
        former, paging = load_page(browser, tx, review_queries.reviewed_members, filters)
        rows, seen = [*former], ""
        # Of people who have left, managers see the user name, as in the audit log.
        named = {
            row.id
            for row in former
            if browser.actor.sees_all or row.is_member or row.deleted_at is not None
        }
    return page(
        browser,
        "review",
        status,
        scope_page=scope_page,
        review=review,
        rows=rows,
        named=named,
        paging=paging,
        may_close=is_pending and scope_page.closes_reviews,
        seen=seen,
        form=form,
    )


def _close(kind: ScopeKind, browser: BrowserRequest) -> Response:
    form = browser.form
    try:
        with browser.write() as tx:
            scope_page = _load(kind, browser, tx)
            review = _load_review(browser, tx, scope_page)
            review_actions.close(tx, browser.actor, review.uuid, seen=form.raw("seen")[:16])
            return browser.answer(
                tx, f"{scope_page.path}reviews/", _("The review is closed. Thank you.")
            )
    except Conflict as refusal:
        form.add_refusal(refusal)
        with browser.read() as tx:
            return _render(kind, browser, tx, form, 422)


ROUTES: Routes = {_HERE: {"GET": Page(_list_pending, "List the reviews that I may close.")}}


def routes(kind: ScopeKind, path: str) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        path: Path of the scope.
    """
    return {
        f"{path}reviews/": {"GET": Page(partial(_list, kind), "List the reviews of the roles.")},
        f"{path}reviews/{{one}}/": {
            "GET": Page(partial(_show, kind), "Show a review with the roles to look at."),
            "POST": Page(partial(_close, kind), "Close a review.", once=True),
        },
    }
