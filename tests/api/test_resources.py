"""Mistakes in the declaration of a resource are found when the module is imported."""

import pytest

from collegium.api.resources import Resource, ResourceList, field
from collegium.lists import account_search
from collegium.ssh_keys import queries as ssh_key_queries


def test_field_whose_column_the_rows_lack_is_refused() -> None:
    class Key(Resource, frozen=True, gc=False):
        name: str = field()
        label: str = field("nickname")

    with pytest.raises(TypeError, match="the rows of Key lack nickname"):
        ResourceList(Key, ssh_key_queries.listing)


def test_partial_filter_on_a_column_that_is_not_searched_is_refused() -> None:
    account_search.part_of("job_title")
    with pytest.raises(ValueError, match="not in the search text of accounts: phone_number"):
        account_search.part_of("phone_number")
