"""Databases of the benchmarks: stored ones, and copies that may be changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from bench import data
from bench.machine import PostgreSQL
from collegium.db.database import Database

KINDS: Final = ("sqlite", "postgresql")


class Databases:
    """Creates, copies and drops databases by kind and size; starts PostgreSQL when needed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._server: PostgreSQL | None = None

    @property
    def server(self) -> PostgreSQL:
        """The PostgreSQL server, started on first use."""
        if self._server is None:
            self._server = PostgreSQL()
        return self._server

    def url(self, kind: str, size: int) -> str:
        """Return the URL of a stored database; do not change it."""
        if kind == "sqlite":
            return f"sqlite:///{data.sqlite(size, self._say)}"
        return self.server.url(data.postgresql(self.server, size, self._say))

    def unanalysed(self, kind: str, size: int) -> tuple[str, str]:
        """Return the URLs of a database without statistics and of an analysed copy."""
        self._say(f"creating an unanalysed database of {size:,} accounts")
        path = data.unanalysed_sqlite(size)
        url = f"sqlite:///{path}"
        if kind != "sqlite":
            url = self.server.url(data.unanalysed_postgresql(self.server, path))
            self.drop(f"sqlite:///{path}")
        analysed = self.copy(url, "analysed")
        with (
            closing(Database(analysed, size=1)) as database,
            database.engine.connect() as connection,
        ):
            connection.exec_driver_sql("ANALYZE")
        return url, analysed

    def copy(self, url: str, name: str) -> str:
        """Copy a database that has no connections; return the URL of the copy."""
        if url.startswith("sqlite"):
            path = Path(url.removeprefix("sqlite:///"))
            data.checkpoint(path)
            return f"sqlite:///{data.copy(path, name)}"
        source = url.split("/")[3].split("?", maxsplit=1)[0]
        return self.server.url(self.server.copy(source, f"bench_{name}"))

    def drop(self, *urls: str) -> None:
        """Drop copies."""
        for url in urls:
            if url.startswith("sqlite"):
                path = Path(url.removeprefix("sqlite:///"))
                for end in ("", "-wal", "-shm"):
                    path.with_name(path.name + end).unlink(missing_ok=True)
            else:
                self.server.drop(url.split("/")[3].split("?", maxsplit=1)[0])

    def close(self) -> None:
        """Stop PostgreSQL if it was started."""
        if self._server is not None:
            self._server.stop()
