"""Queries of the one row about the service itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import accounts, site
from collegium.settings import DEFAULTS, Settings

_ID: Final = 1


class SiteState:
    """Whether there are accounts, the name of the service, and the key of the set-up link.

    ``name`` is None or empty while nobody has chosen one. ``setup_key`` is None while there is no
    link, or no more.
    """

    has_accounts: bool
    name: str | None
    setup_key: str | None


_STATE = Statement[SiteState](
    select(
        exists(select(accounts.c.id)).label("has_accounts"),
        select(site.c.name).scalar_subquery().label("name"),
        select(site.c.setup_key).scalar_subquery().label("setup_key"),
    )
)


def _add(insert: Callable[..., Any]) -> Statement[Any]:
    row = insert(site).values(id=_ID, setup_key=bindparam("key"))
    return Statement(row.on_conflict_do_nothing(index_elements=[site.c.id]))


_ADD: Final = {"sqlite": _add(_insert_sqlite), "postgresql": _add(_insert_postgresql)}
_CLOSE = Statement(
    update(site)
    .where(site.c.setup_key == bindparam("key"))
    .values(
        setup_key=None,
        name=bindparam("chosen_name"),
        set_up_at=bindparam("now", type_=UtcDateTime),
    )
)
_CLOSE_ANY = Statement(
    update(site)
    .where(site.c.setup_key.is_not(None))
    .values(setup_key=None, set_up_at=bindparam("now", type_=UtcDateTime))
)


def state(tx: ReadTransaction) -> SiteState:
    """Return the state of the service, with one statement."""
    return tx.fetch_only(_STATE)


def add_key(tx: WriteTransaction, key: str) -> None:
    """Store the key of the set-up link, unless there was a link before."""
    tx.execute(_ADD[tx.backend], key=key)


def use_key(tx: WriteTransaction, key: str, name: str) -> bool:
    """Use up the set-up link and name the service. Return False if the link is used up already.

    Of two transactions that use it, the second waits for the first.
    """
    return bool(tx.execute(_CLOSE, key=key, chosen_name=name, now=tx.now))


def void_key(tx: WriteTransaction) -> None:
    """End the set-up link, if there is one."""
    tx.execute(_CLOSE_ANY, now=tx.now)


def settings_in_effect(tx: ReadTransaction, settings: Settings) -> Settings | None:
    """Return the settings with the name that was chosen on the set-up page.

    The name does not change after the first account exists, so nobody has to ask again. Return None
    until then.

    Args:
        settings: those of the environment; a name that they set is kept.
    """
    found = state(tx)
    if not found.has_accounts:
        return None
    if found.name and settings.site_name == DEFAULTS.site_name:
        return replace(settings, site_name=found.name)
    return settings
