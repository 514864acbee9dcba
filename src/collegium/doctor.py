"""What ``collegium doctor`` looks at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import func, select

from collegium import opening
from collegium.post.worker import MAX_ATTEMPTS
from collegium.settings import SettingsError, load
from collegium.store import outbox, schema
from collegium.store.db import Prepared, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from collegium.store.db import Database

_DRIFT: Final = timedelta(seconds=5)
_CLOCK: Final = Prepared(select(func.now().label("moment")))


class Finding(NamedTuple):
    """One thing that was looked at."""

    well: bool
    what: str
    text: str


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Look at configuration, schema, mails and clock; stop where the rest cannot be asked."""
    return list(_examine(environ))


def _examine(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        settings = load(environ)
        database, _vault = opening.assemble(settings)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield Finding(well=False, what="configuration", text=line)
        return
    yield Finding(well=True, what="configuration", text="every setting can be read")
    try:
        yield from _database(database)
    except Unavailable as error:
        yield Finding(well=False, what="database", text=f"cannot be reached: {error}")
    finally:
        database.close()


def _database(database: Database) -> Iterator[Finding]:
    standing = schema.standing(database)
    current = standing is schema.Standing.CURRENT
    remedy = "" if current else ": run collegium migrate"
    if standing is schema.Standing.AHEAD:
        remedy = ": install the newer Collegium that made it"
    yield Finding(current, "schema", f"{standing}{remedy}")
    if not current:
        return
    with database.read() as tx:
        counts = outbox.counts(tx)
        yield Finding(
            counts.overdue == 0,
            "owed mails",
            f"{counts.owed} owed, {counts.overdue} of them overdue"
            + (": is `collegium post` running?" if counts.overdue else ""),
        )
        yield Finding(
            counts.abandoned == 0,
            "abandoned mails",
            f"{counts.abandoned} given up, refused for good or after {MAX_ATTEMPTS} attempts",
        )
        yield _clock(database, tx.value(_CLOCK))


def _clock(database: Database, theirs: object) -> Finding:
    ours = datetime.now(UTC)
    if database.is_sqlite or not isinstance(theirs, datetime):
        return Finding(well=True, what="clock", text=f"{ours:%Y-%m-%d %H:%M:%S} UTC")
    drift = abs(ours - theirs)
    return Finding(
        drift < _DRIFT, "clock", f"{drift.total_seconds():.1f} s away from the database's"
    )
