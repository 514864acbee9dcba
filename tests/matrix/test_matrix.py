"""Rights as in ``matrix.txt``: every caller tries every route of every protocol.

Every route has a row and every row a route. Refused requests and reads change nothing, a foreign
object is refused like an unknown one, and no response reveals hidden texts.
"""

import re
from dataclasses import replace

import pytest

from collegium.api.brainstem import routes as brainstem
from collegium.api.waldur import homeport
from tests.matrix import requests
from tests.matrix.rows import REFUSED, ROUTES, ROWS, RowCheck
from tests.matrix.scene import CALLERS, COLUMNS, Scene
from tests.support.site import Site


def matrix_path(protocol: str, path: str) -> str:
    """Return the path of a route in the file; some routes have two paths."""
    if protocol != "brainstem" or path in brainstem.DESCRIBED or "laboratory" in path:
        return path
    return path.replace("group_membership_", "groupmembership").replace("/auth/g", "/users/g")


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    routes = {
        (protocol, method, matrix_path(protocol, path))
        for protocol, table in ROUTES.items()
        for path, operations in table.items()
        for method in operations
    }
    assert {(row.protocol, row.method, row.path) for row in ROWS} == routes
    assert len({(row.protocol, str(row)) for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert "{" not in requests.object_names(row.path).keys() ^ set(
            re.findall(r"{(\w+)}", row.path)
        ), f"{row.path} is new: add its object to requests.py"
        assert set("".join(row.cells.values())) <= REFUSED | {"+"}, row
    assert {row.path for row in ROWS} >= requests.OBJECTS.keys() & requests.REVEALING.keys()


def test_both_paths_of_a_route_have_the_same_handler() -> None:
    for path, operations in brainstem.ROUTES.items():
        other = brainstem.ROUTES[matrix_path("brainstem", path)]
        for method, one in operations.items():
            same = other[method]
            assert (one.handler, one.public) == (same.handler, same.public), path
            assert one.mutates == same.mutates, path


@pytest.mark.parametrize("chapter", sorted({row.chapter for row in ROWS}))
def test_rights_are_as_in_the_matrix(scene: Scene, chapter: str) -> None:
    rows = [row for row in ROWS if row.chapter == chapter]
    errors = [error for row in rows for error in RowCheck(scene, row).errors()]
    assert not errors, "\n".join([f"{len(errors)} errors", *errors])


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
def test_every_signed_in_caller_gets_the_empty_answers_of_the_front_end(scene: Scene) -> None:
    """They have no object and one row for all, so the table itself is swept."""
    site = Site(replace(scene.settings, compat_homeport=True), scene.database, scene.vault)
    callers = [scene.caller(name, in_group=False) for column in COLUMNS for name in CALLERS[column]]
    assert len([caller for caller in callers if caller is None]) == 1
    assert not homeport.ROUTES.keys() & ROUTES["waldur"].keys()
    for path, operations in homeport.ROUTES.items():
        assert operations.keys() == {"GET"}
        for caller in callers:
            for method in ("GET", "HEAD", "POST"):
                is_read = method in {"GET", "HEAD"}
                expected = 401 if caller is None else 200 if is_read else 405
                response = site.request(method, path, caller)
                assert response.status_code == expected, (method, path, caller)
                assert caller is None or method != "GET" or response.json() == homeport.EMPTY[path]
    assert not scene.has_changed()


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
@pytest.mark.parametrize("protocol", ROUTES)
def test_absent_methods_are_refused(scene: Scene, protocol: str) -> None:
    tried = 0
    for path, operations in ROUTES[protocol].items():
        is_open = protocol == "web" or any(one.public for one in operations.values())
        url = requests.fill(scene, matrix_path(protocol, path), scene.tenants[0], None)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            for caller in (None, scene.tenants[0].tree["owner"], scene.outside["staff"]):
                if method in operations:
                    continue
                response = scene.site.request(method, url, caller)
                expected = 405 if caller is not None or is_open else 401
                if path.startswith("/api/public/"):
                    expected = 404  # the public portal is off
                assert response.status_code == expected, (method, path)
                tried += 1
    assert tried > 100
    assert not scene.has_changed()
