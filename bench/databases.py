"""Databases of the benchmarks: stored ones in ``var/bench/``, and copies that may be changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import data
from bench.machine import PostgreSQL, run
from collegium.db import migrations, schema
from collegium.db.database import Database
from collegium.db.tables import metadata
from tests.support import bulk_data

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
        """Return the URL of a stored database, created if needed; do not change it."""
        stamp = data.FOLDER / f"{size}.{kind}"
        url = self._url(kind, str(size))
        if kind == "sqlite":
            exists = _path(url).exists()
        else:
            exists = self.server.run(f"SELECT 1 FROM pg_database WHERE datname = '{_name(url)}'")
        if not exists or not stamp.exists() or stamp.read_text("ascii") != _fingerprint():
            self._say(f"creating the {kind} database of {size:,} accounts")
            self._create(url, size)
            stamp.write_text(_fingerprint(), "ascii")
        return url

    def unanalysed(self, kind: str, size: int) -> tuple[str, str]:
        """Return the URLs of a database without statistics and of an analysed copy."""
        self._say(f"creating an unanalysed database of {size:,} accounts")
        url = self._url(kind, "unanalysed")
        self._create(url, size, analyse=False)
        analysed = self.copy(url, "analysed")
        run(analysed, "ANALYZE")
        return url, analysed

    def copy(self, url: str, name: str) -> str:
        """Copy a database that has no connections; return the URL of the copy."""
        if url.startswith("sqlite"):
            data.checkpoint(_path(url))
            return f"sqlite:///{data.copy(_path(url), name)}"
        copy = self._url("postgresql", name)
        self.drop(copy)
        self.server.run(f"CREATE DATABASE {_name(copy)} TEMPLATE {_name(url)} STRATEGY file_copy")
        return copy

    def drop(self, *urls: str) -> None:
        """Drop databases."""
        for url in urls:
            if url.startswith("sqlite"):
                for end in ("", "-wal", "-shm"):
                    Path(f"{_path(url)}{end}").unlink(missing_ok=True)
            else:
                self.server.run(f"DROP DATABASE IF EXISTS {_name(url)} WITH (FORCE)")

    def close(self) -> None:
        """Stop PostgreSQL if it was started."""
        if self._server is not None:
            self._server.stop()

    def _url(self, kind: str, name: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{data.FOLDER / name}.db"
        return self.server.url(f"bench_{name}")

    def _create(self, url: str, size: int, *, analyse: bool = True) -> None:
        data.FOLDER.mkdir(parents=True, exist_ok=True)
        self.drop(url)
        is_sqlite = url.startswith("sqlite")
        if not is_sqlite:
            self.server.run(f"CREATE DATABASE {_name(url)}")
        with closing(Database(url, size=1)) as database:
            schema.migrate(database)
            if not is_sqlite and not analyse:
                off = "ALTER TABLE {} SET (autovacuum_enabled = false)"
                run(url, *(off.format(table) for table in metadata.tables))
            data.fill(database, size, analyse=analyse)
            if analyse:
                database.optimize()  # as the worker does at its start
        if is_sqlite:
            data.checkpoint(_path(url))
        elif analyse:
            run(url, "VACUUM ANALYZE", "CHECKPOINT")


@dataclass(frozen=True)
class Part:
    """How a part of the benchmark is measured, on one kind of database.

    Args:
        sizes: numbers of accounts of the small and the large database.
        seconds: length of a round.
        rounds: rounds for each program.
        say: shows progress.
    """

    databases: Databases
    kind: str
    sizes: tuple[int, int]
    seconds: float
    rounds: int
    say: Callable[[str], None]

    @property
    def size(self) -> int:
        """The number of accounts of the small database."""
        return self.sizes[0]

    def url(self, size: int) -> str:
        """Return the URL of a stored database; do not change it."""
        return self.databases.url(self.kind, size)

    def copy(self, size: int, name: str) -> str:
        """Return the URL of a copy of a stored database."""
        return self.databases.copy(self.url(size), name)


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _name(url: str) -> str:
    return url.split("/")[3].split("?", maxsplit=1)[0]


def _fingerprint() -> str:
    """Return a hash of what a database is created from."""
    versions = Path(os.fspath(migrations.__path__[0])) / "versions"
    files = [Path(data.__file__), Path(bulk_data.__file__), *sorted(versions.glob("*.py"))]
    return hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()
