"""Which processes deliver the outbox of a SQLite database: a file lock that ends with its process.

A worker leases an e-mail before it sends it, so that no other process sends the same one. When a
process is killed, its leases stay until they run out. A lock of the operating system is released at
once. A process that finds that no other process holds the lock therefore knows that every lease is
abandoned.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from collegium.db.database import Database, UnavailableError
from collegium.outbox import queries as outbox_queries

SUFFIX = ".outbox"
"""Suffix of the lock file's name, after the name of the database file."""


def take_over(database: Database, path: Path | None) -> int:
    """Register this process as one that delivers, and release the leases of processes that died.

    Call it once in a process, before it delivers. The lock is held until the process ends, for any
    reason.

    Args:
        path: File of the SQLite database. None for PostgreSQL, where nothing is done, because its
            workers may run on other machines.

    Returns:
        The number of released e-mails; 0 while another process delivers.
    """
    if path is None or sys.platform == "win32":
        return 0
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        # Never closed, because closing the file releases the lock.
        lock = os.open(path.with_name(path.name + SUFFIX), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return 0  # the e-mails are sent when their leases have run out
    released = 0
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with database.write() as tx:
            released = outbox_queries.release(tx)
    except (OSError, UnavailableError):
        pass
    # This process leases nothing before it holds the shared lock. While it is held, no other
    # process releases leases.
    fcntl.flock(lock, fcntl.LOCK_SH)
    return released
