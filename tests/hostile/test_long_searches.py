"""Long texts in the searches that PostgreSQL executes take little of its processor time."""

from collections.abc import Callable
from functools import partial
from urllib.parse import quote

import psutil
import pytest

from tests.api.scene import Scene
from tests.conftest import PostgreSQL
from tests.hostile.test_long_input import CHARACTERS, Stopwatch
from tests.hostile.test_values import ROUTES, open_site, waldur_url
from tests.hostile.values import some
from tests.support.site import Site
from tests.support.world import World

__all__ = ["open_site"]

pytestmark = [
    pytest.mark.parametrize("url", ["postgresql"], indirect=True),
    pytest.mark.timeout(600),
]


def backend_seconds(server: PostgreSQL, url: str) -> Callable[[], float]:
    """Return a clock of the processor time of a database's open connections."""
    name = url.split("/")[3].partition("?")[0]
    backends = [
        process
        for process in psutil.Process(server._server.get_pid()).children()
        if f" {name} " in (title := " ".join(process.cmdline())) and "autovacuum" not in title
    ]
    assert backends
    return lambda: sum(sum(process.cpu_times()[:2]) for process in backends)


def test_no_search_of_postgresql_takes_long(
    open_site: Site, scene: Scene, world: World, postgresql: PostgreSQL, url: str
) -> None:
    for number in range(30):
        names = dict.fromkeys(("first_name", "last_name", "organization"), "a" * 100)
        world.person(f"{'a' * 100}{number}", **names, email=f"{'a.' * 30}{number}@{'a.' * 60}org")
        world.organisation("a" * 150, description="a" * 2000, native_name="a" * 150)
    open_site.get("/api/users/", world.staff)
    stopwatch = Stopwatch(open_site, backend_seconds(postgresql, url))
    headers = {"Authorization": f"Token {world.staff.token}"}
    for path, table in (*ROUTES["waldur"].items(), *ROUTES["brainstem"].items()):
        for name in (table["GET"].filters or ()) if "GET" in table else ():
            base = waldur_url(scene, path).replace("{id}", "1")
            field = f"{name[:-1]}.icontains}}" if name.endswith("}") else name
            for piece in some([*CHARACTERS, "%", "_"], 2, path, name):
                for size in (150, 2000):
                    target = f"{base}?{quote(field)}={quote(piece * size)}b"
                    send = partial(open_site.get, target, headers=headers)
                    response = stopwatch.time(send, path, field, piece, size)
                    assert response.status_code < 500, (path, field, piece, size)
    stopwatch.finish(500)
