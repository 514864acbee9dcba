"""The scene of the matrix, one per database; a test that changes it restores it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PostgreSQL
from tests.matrix.scene import Scene


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[Scene]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("matrix") / "collegium.db"
        path.write_bytes(sqlite_template.read_bytes())
        scene = Scene(f"sqlite:///{path}")
        yield scene
        scene.close()
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url = server.new()
    scene = Scene(url)
    yield scene
    scene.close()
    server.drop(url)
