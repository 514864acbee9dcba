"""The home page: what waits for a person and the person's teams; for visitors, what this is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Final

from collegium.access.rules import Actor
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.invitations import queries as invitation_queries
from collegium.invitations.links import scope_path
from collegium.join_requests import queries as join_request_queries
from collegium.memberships import queries as membership_queries
from collegium.memberships.notices import queries as notice_queries
from collegium.memberships.notices.queries import EndingRole
from collegium.memberships.queries import GrantRow
from collegium.reviews import queries as review_queries
from collegium.web import bulk_changes, profile
from collegium.web.account import invitation_link
from collegium.web.browser_request import BrowserRequest
from collegium.web.join_requests import decider
from collegium.web.page import Page, page

_SOON: Final = timedelta(days=30)
"""How long before its end a role is announced."""

_LISTED: Final = 5
"""Maximum number of requests, reviews, bulk changes and ending roles that the page names."""

_TEAMS_MAX: Final = 12
"""Maximum number of teams on the page. The complete list has a page of its own."""


@dataclass(frozen=True)
class Team:
    """A scope in which a person has roles.

    Args:
        grants: one or more, of the same scope.
    """

    grants: list[GrantRow]
    path: str

    @property
    def first(self) -> GrantRow:
        """A grant, with the names of the scope."""
        return self.grants[0]


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    if not browser.is_signed_in:
        return page(browser, "home", base=browser.base)
    grants = membership_queries.of_account(tx, browser.actor.id)
    teams = list(_teams(grants))
    deciding = decider(browser.actor)
    waiting = join_request_queries.deciding
    requests = waiting.page(tx, deciding, {"waits": True}, (), _LISTED, 0)
    has_reviews = browser.settings.review_interval is not None
    return page(
        browser,
        "dashboard",
        invitations=[
            (row, invitation_link(browser, row))
            for row in invitation_queries.to_address(tx, browser.actor)
        ],
        requests=requests,
        request_count=waiting.count(tx, deciding, {"waits": True}),
        reviews=review_queries.pending.page(tx, browser.actor, {}, (), _LISTED, 0)
        if has_reviews
        else [],
        changes=bulk_changes.unfinished(tx, browser.actor, _LISTED),
        ending=sorted(
            (
                grant
                for grant in grants
                if grant.valid_until is not None and grant.valid_until <= tx.now + _SOON
            ),
            key=attrgetter("valid_until"),
        )[:_LISTED],
        ending_of_others=_ending_of_others(tx, browser.actor),
        teams=teams[:_TEAMS_MAX],
        team_count=len(teams),
        missing=profile.missing(browser, tx),
    )


def _ending_of_others(tx: ReadTransaction, actor: Actor) -> list[EndingRole]:
    if actor.sees_all:
        # Staff could change every role; those of the whole service are not theirs to look after.
        return []
    rows = notice_queries.ending.page(tx, actor, {"soon": tx.now + _SOON}, (), _LISTED + 1, 0)
    return [row for row in rows if row.account_id != actor.id][:_LISTED]


def _teams(grants: Iterable[GrantRow]) -> Iterator[Team]:
    by_scope: dict[int, list[GrantRow]] = {}
    for grant in grants:
        by_scope.setdefault(grant.scope_id, []).append(grant)
    for found in by_scope.values():
        first = found[0]
        yield Team(found, scope_path(first.scope_kind, first.scope_uuid, first.scope_id))


ROUTES: Routes = {
    "/": {"GET": Page(_show, "Show what waits for me, or what this service is.", public=True)},
}
