"""A broken connection raises UnavailableError."""

import pytest
from sqlalchemy import func, select

from collegium.db.database import Database, UnavailableError
from collegium.db.statements import Statement

_END = Statement[bool](select(func.pg_terminate_backend(func.pg_backend_pid()).label("ended")))
_COUNT = Statement[int](select(func.count().label("count")))


def test_connection_that_breaks_in_a_transaction_is_an_outage(new_postgresql: str) -> None:
    database = Database(new_postgresql)
    try:
        for _ in range(2):
            # A second close of the connection would warn, and warnings are errors.
            with pytest.raises(UnavailableError), database.write() as tx:
                tx.fetch_only(_END)
            with database.write() as tx:
                assert tx.fetch_only(_COUNT) == 1
    finally:
        database.close()
