"""Who may do what, as ``matrix.txt`` has it: every route of every dialect is walked by everybody.

A route without a row fails, and so does a row without a route. What is refused changes nothing,
and so does what is opened; a foreign object is refused as one is that is not there; and no answer
holds what is hidden from who asks.
"""

from __future__ import annotations

import re

import pytest

from collegium.api.brainstem import routes as brainstem
from tests.matrix import asks
from tests.matrix.stage import Stage
from tests.matrix.walk import REFUSED, ROUTES, ROWS, Walk


def spelling(dialect: str, path: str) -> str:
    """The path under which a route stands in the file, which may be spelled twice."""
    if dialect != "brainstem" or path in brainstem.DESCRIBED or "laboratory" in path:
        return path
    return path.replace("group_membership_", "groupmembership").replace("/auth/g", "/users/g")


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    routes = {
        (dialect, method, spelling(dialect, path))
        for dialect, table in ROUTES.items()
        for path, operations in table.items()
        for method in operations
    }
    assert {(row.dialect, row.method, row.path) for row in ROWS} == routes
    assert len({(row.dialect, str(row)) for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert "{" not in asks.places(row.path).keys() ^ set(re.findall(r"{(\w+)}", row.path)), (
            f"{row.path} is new: say in asks.py which object it is asked for"
        )
        assert set("".join(row.cells.values())) <= REFUSED | {"+"}, row
    assert {row.path for row in ROWS} >= asks.OBJECTS.keys() & asks.TELLING.keys()


def test_both_paths_of_a_route_have_the_same_handler() -> None:
    for path, operations in brainstem.ROUTES.items():
        other = brainstem.ROUTES[spelling("brainstem", path)]
        for method, one in operations.items():
            same = other[method]
            assert (one.handler, one.public, one.mutates) == (
                same.handler,
                same.public,
                same.mutates,
            ), path


@pytest.mark.parametrize("chapter", sorted({row.chapter for row in ROWS}))
def test_rights_are_as_in_the_matrix(stage: Stage, chapter: str) -> None:
    faults = [
        fault for row in ROWS if row.chapter == chapter for fault in Walk(stage, row).faults()
    ]
    assert not faults, "\n".join([f"{len(faults)} faults", *faults])


@pytest.mark.parametrize("stage", ["sqlite"], indirect=True)
@pytest.mark.parametrize("dialect", ROUTES)
def test_absent_methods_are_refused(
    stage: Stage, dialect: str
) -> None:
    tried = 0
    for path, operations in ROUTES[dialect].items():
        is_open = dialect == "web" or any(one.public for one in operations.values())
        where = asks.fill(stage, spelling(dialect, path), stage.tenants[0], None)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            for who in (None, stage.tenants[0].tree["owner"], stage.outside["staff"]):
                if method in operations:
                    continue
                answer = stage.site.request(method, where, who)
                wanted = 405 if who is not None or is_open else 401
                if path.startswith("/api/public/"):
                    wanted = 404  # the public portal is off
                assert answer.status_code == wanted, (method, path)
                tried += 1
    assert tried > 100
    assert not stage.has_changed()
