"""The stage of the matrix, once a database; whoever changes something puts it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PostgreSQL
from tests.matrix.stage import Stage


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[Stage]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("matrix") / "collegium.db"
        path.write_bytes(sqlite_template.read_bytes())
        found = Stage(f"sqlite:///{path}")
        yield found
        found.close()
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url = server.new()
    found = Stage(url)
    yield found
    found.close()
    server.drop(url)
