"""Where the databases are: the ones that are kept, and copies that may be changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from bench import data
from bench.machine import PostgreSQL
from collegium.db.database import Database

KINDS: Final = ("sqlite", "postgresql")


class Shelf:
    """Gives databases by kind and size, makes what is not there yet, starts what they need."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._server: PostgreSQL | None = None

    @property
    def server(self) -> PostgreSQL:
        """The PostgreSQL, started when first asked for."""
        if self._server is None:
            self._server = PostgreSQL()
        return self._server

    def url(self, kind: str, size: int) -> str:
        """Give the URL of a database that is kept."""
        if kind == "sqlite":
            return f"sqlite:///{data.sqlite(size, self._say)}"
        return self.server.url(data.postgresql(self.server, size, self._say))

    def young(self, kind: str, size: int) -> tuple[str, str]:
        """Give a database that nobody has analysed, and a copy of it that is; drop them."""
        self._say(f"making a young database of {size:,} accounts")
        path = data.young_sqlite(size)
        url = f"sqlite:///{path}"
        if kind != "sqlite":
            url = self.server.url(data.young_postgresql(self.server, path))
            self.drop(f"sqlite:///{path}")
        known = self.copy(url, "analysed")
        with closing(Database(known, size=1)) as database, database.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
        return url, known

    def copy(self, url: str, name: str) -> str:
        """Copy a database that nobody uses now, under a name, and give the URL."""
        if url.startswith("sqlite"):
            path = Path(url.removeprefix("sqlite:///"))
            data.settle(path)
            return f"sqlite:///{data.copy(path, name)}"
        source = url.split("/")[3].split("?", maxsplit=1)[0]
        return self.server.url(self.server.copy(source, f"bench_{name}"))

    def drop(self, *urls: str) -> None:
        """Remove copies."""
        for url in urls:
            if url.startswith("sqlite"):
                path = Path(url.removeprefix("sqlite:///"))
                for end in ("", "-wal", "-shm"):
                    path.with_name(path.name + end).unlink(missing_ok=True)
            else:
                self.server.drop(url.split("/")[3].split("?", maxsplit=1)[0])

    def close(self) -> None:
        """Stop what was started."""
        if self._server is not None:
            self._server.stop()
