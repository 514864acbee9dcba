"""Declared rows are what their statements return."""

import gc
import importlib
import pkgutil
from datetime import datetime
from typing import Any, get_args

import pytest
from sqlalchemy import func, null, select, union_all

import collegium
from collegium.db.statements import Statement
from collegium.db.tables import accounts, grants, roles
from collegium.lists.listing import Listing
from tests.support.row_types import check_row


class Renamed:
    uuidd: str


class WrongType:
    uuid: int


class NotNull:
    valid_until: datetime


class Right:
    uuid: str
    valid_until: datetime | None


GRANTS = select(grants.c.uuid, grants.c.valid_until)
GRANTERS = select(accounts.c.uuid).select_from(grants)
ON = accounts.c.id == grants.c.granted_by
WITH_END = GRANTS.where(grants.c.account_id == 1, grants.c.valid_until > func.now())


class Uuid:
    uuid: str


@pytest.mark.parametrize(
    ("statement", "row", "problem"),
    [
        pytest.param(GRANTS, Renamed, "uuidd: no such column", id="unknown name"),
        pytest.param(GRANTS, WrongType, "uuid: is str", id="wrong type"),
        pytest.param(GRANTS, NotNull, "valid_until: may be null", id="null"),
        pytest.param(GRANTERS.outerjoin(accounts, ON), Uuid, "may be null", id="outer join"),
        pytest.param(
            union_all(select(roles.c.uuid), select(null().label("uuid"))),
            Uuid,
            "may be null",
            id="null in a union",
        ),
        pytest.param(GRANTS, str, "2 columns", id="a scalar of two columns"),
        pytest.param(select(grants.c.uuid), int, "is str", id="a scalar of another type"),
        pytest.param(GRANTS, Right, None, id="right"),
        pytest.param(WITH_END, NotNull, None, id="compared, so not null"),
        pytest.param(GRANTERS.join(accounts, ON), Uuid, None, id="inner join"),
        pytest.param(select(grants.c.granted_by).join(accounts, ON), int, None, id="joined by it"),
    ],
)
def test_a_declared_row_that_its_statement_does_not_return_is_found(
    statement: Any, row: type[Any], problem: str | None
) -> None:
    if problem is None:
        check_row(statement, row)
    else:
        with pytest.raises(TypeError, match=problem):
            check_row(statement, row)


def test_every_statement_of_the_program_returns_its_declared_row() -> None:
    for module in pkgutil.walk_packages(collegium.__path__, "collegium."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.unfreeze()  # tests/conftest.py
    objects = gc.get_objects()
    statements = [each for each in objects if isinstance(each, Statement)]
    listings = [each for each in objects if isinstance(each, Listing)]
    assert len(statements) > 200
    assert len(listings) > 15
    for statement in statements:
        check_row(statement.statement, statement.row)
    for listing in listings:
        check_row(
            listing.rows, next(iter(get_args(getattr(listing, "__orig_class__", None))), None)
        )
