"""What ``collegium doctor`` looks at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from sqlalchemy import func, select

from collegium import opening
from collegium.post.outcomes import Unreachable
from collegium.post.transport import open_transport
from collegium.post.worker import MAX_ATTEMPTS
from collegium.settings import SettingsError, load
from collegium.store import events, outbox, schema, tokens
from collegium.store.db import Unavailable
from collegium.store.statements import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from collegium.store.db import Database, Read
    from collegium.store.vault import Vault

_DRIFT: Final = timedelta(seconds=5)
_CLOCK: Final = Prepared(select(func.now().label("moment")))


class Finding(NamedTuple):
    """One thing that was looked at."""

    well: bool
    what: str
    text: str


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything that can be wrong; stop where the rest cannot be asked."""
    return list(_examine(environ))


def _examine(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        settings = load(environ)
        database, vault = opening.assemble(settings)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield Finding(well=False, what="configuration", text=line)
        return
    yield Finding(well=True, what="configuration", text="every setting can be read")
    try:
        yield from _database(database, vault)
    except Unavailable as error:
        yield Finding(well=False, what="database", text=f"cannot be reached: {error}")
    finally:
        database.close()
    yield _mail_server(settings.mail_url)


def _database(database: Database, vault: Vault) -> Iterator[Finding]:
    standing = schema.standing(database)
    current = standing is schema.Standing.CURRENT
    remedy = "" if current else ": run collegium migrate"
    if standing is schema.Standing.AHEAD:
        remedy = ": install the newer Collegium that made it"
    yield Finding(current, "schema", f"{standing}{remedy}")
    if not current:
        return
    yield _writing(database)
    with database.read() as tx:
        yield _key(tx, vault)
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
        yield _clock(database, tx.value(_CLOCK), events.latest(tx))


def _writing(database: Database) -> Finding:
    try:
        database.check_writable()
    except Unavailable as error:
        return Finding(well=False, what="database", text=f"cannot be written: {error}")
    return Finding(well=True, what="database", text="can be read and written")


def _key(tx: Read, vault: Vault) -> Finding:
    """Open something that was sealed; whatever was signed or mailed fits the same key."""
    found = tokens.any_sealed(tx)
    if found is not None:
        try:
            vault.unseal(found.sealed, found.digest)
        except InvalidTag:
            text = "is not the one that this database was used with: every token and link is dead"
            return Finding(well=False, what="secret key", text=text)
    return Finding(well=True, what="secret key", text="fits the database")


def _mail_server(url: str) -> Finding:
    way = open_transport(url)
    try:
        way.reach()
    except Unreachable as error:
        return Finding(well=False, what="mail", text=error.reason)
    finally:
        way.close()
    return Finding(well=True, what="mail", text="the way out is open")


def _clock(database: Database, theirs: object, latest: datetime | None) -> Finding:
    ours = datetime.now(UTC)
    if latest is not None and latest - ours >= _DRIFT:
        ahead = (latest - ours).total_seconds()
        text = f"history was written {ahead:.0f} s from now: the clock went back"
        return Finding(well=False, what="clock", text=text)
    if database.is_sqlite or not isinstance(theirs, datetime):
        return Finding(well=True, what="clock", text=f"{ours:%Y-%m-%d %H:%M:%S} UTC")
    drift = abs(ours - theirs)
    return Finding(
        drift < _DRIFT, "clock", f"{drift.total_seconds():.1f} s away from the database's"
    )
