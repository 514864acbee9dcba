"""Lists that people sort by the headings of their tables.

Each list is named here once, with the orders of its ``Listing`` that a page offers and the headings
they belong to. A page makes a ``Sorting``, passes its ``order`` to ``listing.page``, and writes the
headings with the macros ``heading`` and ``kept_order`` of ``parts.html``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from collegium.accounts import queries as account_queries
from collegium.bulk_changes import queries as bulk_change_queries
from collegium.events import queries as event_queries
from collegium.imports import queries as import_queries
from collegium.invitations import queries as invitation_queries
from collegium.join_requests import queries as join_request_queries
from collegium.lists.listing import Listing
from collegium.memberships import queries as membership_queries
from collegium.outbox import queries as outbox_queries
from collegium.reviews import queries as review_queries
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.projects import queries as project_queries
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.web.browser_request import BrowserRequest
from collegium.web.page import query_link

PARAMETER: Final = "sort"
"""Name of the query parameter: a name of an order, with ``-`` for descending."""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading that sorts.

    Args:
        label: marked text of the heading.
        is_time: whether the first click shows the latest row first.
    """

    label: str
    is_time: bool = False


@dataclass(frozen=True, slots=True)
class SortedList:
    """A list with the orders that its page offers.

    Args:
        columns: name of an order of the listing → its heading.
        default: the order if the query names none of these; ``-`` for descending.
    """

    listing: Listing[Any]
    columns: dict[str, Column]
    default: str


class Sorting:
    """The order of a list that the query asks for. Any other value means the default order.

    Args:
        sorted_list: one of this module.
    """

    def __init__(self, browser: BrowserRequest, sorted_list: SortedList) -> None:
        self._browser = browser
        self._columns = sorted_list.columns
        self._default = sorted_list.default
        asked = browser.query_value(PARAMETER)
        is_known = asked.removeprefix("-") in self._columns
        self.value = asked if is_known else self._default

    @property
    def order(self) -> tuple[str]:
        """The order for ``Listing.page``."""
        return (self.value,)

    @property
    def kept(self) -> str:
        """The value that a form with the filters keeps; empty for the default order."""
        return "" if self.value == self._default else self.value

    def label(self, name: str) -> str:
        """Return the heading of an order in the language of the reader."""
        return _(self._columns[name].label)

    def direction(self, *names: str) -> str:
        """Return the value of ``aria-sort`` of a heading; empty if the list is not sorted by it."""
        if self.value in names:
            return "ascending"
        return "descending" if self.value.removeprefix("-") in names else ""

    def link(self, name: str) -> str:
        """Return the URL of the first page of the same list, sorted by an order.

        It reverses the present order.
        """
        is_descending = self._columns[name].is_time
        if self.direction(name):
            is_descending = self.value == name
        return query_link(self._browser, sort=f"-{name}" if is_descending else name, page=None)

    @property
    def options(self) -> list[tuple[str, str]]:
        """Value and label of both directions, for a list by time that is no table."""
        (name,) = self._columns
        return [(f"-{name}", _("Latest first")), (name, _("Earliest first"))]


MEMBERS: Final = SortedList(
    membership_queries.of_scope,
    {
        "full_name": Column(mark("Name")),
        "email": Column(mark("E-mail address")),
        "role": Column(mark("Role")),
        "created": Column(mark("Added"), is_time=True),
        "expiration_time": Column(mark("Until")),
    },
    "full_name",
)
INVITATIONS: Final = SortedList(
    invitation_queries.of_scope,
    {
        "email": Column(mark("Invited")),
        "created": Column(mark("Sent"), is_time=True),
    },
    "-created",
)
IMPORTS: Final = SortedList(
    import_queries.of_scope, {"created": Column(mark("Uploaded"), is_time=True)}, "-created"
)
IMPORT_ROWS: Final = SortedList(import_queries.rows_of, {"number": Column(mark("Row"))}, "number")
BULK_CHANGES: Final = SortedList(
    bulk_change_queries.own, {"created": Column(mark("Started"), is_time=True)}, "-created"
)
JOIN_REQUESTS: Final = SortedList(
    join_request_queries.deciding, {"created": Column(mark("Requested"), is_time=True)}, "created"
)
AUDIT_LOG: Final = SortedList(
    event_queries.of_scope, {"created": Column(mark("Created"), is_time=True)}, "-created"
)
REVIEWS: Final = SortedList(
    review_queries.of_scope, {"created": Column(mark("Opened"), is_time=True)}, "-created"
)
PENDING_REVIEWS: Final = SortedList(
    review_queries.pending, {"created": Column(mark("Pending since"), is_time=True)}, "created"
)
DELETED_PROJECTS: Final = SortedList(
    project_queries.history, {"name": Column(mark("Name"))}, "name"
)
ACCOUNTS: Final = SortedList(
    account_queries.listing,
    {
        "full_name": Column(mark("Name")),
        "email": Column(mark("E-mail address")),
        "username": Column(mark("User name")),
        "organization": Column(mark("Institution")),
    },
    "username",
)
ORGANISATIONS: Final = SortedList(
    organisation_queries.listing,
    {"name": Column(mark("Name")), "created": Column(mark("Created"), is_time=True)},
    "name",
)
QUEUED_MAILS: Final = SortedList(
    outbox_queries.listing, {"next_attempt_at": Column(mark("Next attempt"))}, "next_attempt_at"
)
FAILED_MAILS: Final = SortedList(
    outbox_queries.listing,
    {"finished_at": Column(mark("Failed"), is_time=True)},
    "-finished_at",
)
