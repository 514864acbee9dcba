"""A connection that breaks is told as an outage, and as nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from collegium.db.database import Database, UnavailableError
from collegium.db.statements import Statement

_END = Statement(select(func.pg_terminate_backend(func.pg_backend_pid()).label("ended")))
_ASK = Statement(select(func.count().label("count")))


def test_a_connection_that_breaks_inside_a_deed_is_an_outage(new_postgresql: str) -> None:
    database = Database(new_postgresql)
    try:
        for _ in range(2):
            # Warnings are errors here: the connection is thrown away once.
            with pytest.raises(UnavailableError), database.write() as tx:
                tx.scalar(_END)
            with database.write() as tx:
                assert tx.scalar(_ASK) == 1
    finally:
        database.close()
