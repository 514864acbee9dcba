"""Which processes deliver the outbox of a SQLite database: a lock that ends with its process.

A mail that is being sent is leased, so that no other process sends it. When a process is killed,
its leases last on. A lock of the operating system does not: a process that finds that no other one
holds it knows that nobody works under any lease.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from collegium.db.database import UnavailableError
from collegium.outbox import queries as outbox_queries

if TYPE_CHECKING:
    from pathlib import Path

    from collegium.db.database import Database

SUFFIX = ".outbox"
"""What the name of the lock's file ends with, beside the database."""


def take_over(database: Database, path: Path | None) -> int:
    """Hold a place among the processes that deliver; free what the dead have left behind.

    To be called once in a process, before it delivers. The lock is held until the process ends,
    however it ends.

    Args:
        path: the file of a SQLite database; None for another database, where nothing is done:
            its processes may run on other machines.

    Returns:
        How many mails were freed; none while another process delivers.
    """
    if path is None or sys.platform == "win32":
        return 0
    import fcntl  # noqa: PLC0415 - not everywhere

    try:
        # Never closed: that would give the lock back.
        lock = os.open(path.with_name(path.name + SUFFIX), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return 0  # they go on when their leases have run out
    freed = 0
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with database.write() as tx:
            freed = outbox_queries.release(tx)
    except (OSError, UnavailableError):
        pass
    # Nothing is leased before this is held, and as long as it is held nobody else frees anything.
    fcntl.flock(lock, fcntl.LOCK_SH)
    return freed
