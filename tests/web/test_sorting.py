"""Orders that pages offer are orders of their lists, for everybody who sees the page."""

import pytest

from collegium.web import sorting

LISTS = {name: one for name, one in vars(sorting).items() if isinstance(one, sorting.SortedList)}


@pytest.mark.parametrize("name", LISTS)
def test_every_heading_sorts_by_a_declared_order_that_reveals_nothing(name: str) -> None:
    one = LISTS[name]
    assert set(one.columns) <= set(one.listing.orders)
    assert one.default.removeprefix("-") in one.columns
    # Only those who see everybody may sort by these.
    assert not set(one.columns) & set(one.listing.privileged)
