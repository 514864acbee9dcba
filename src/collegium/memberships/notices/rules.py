"""Decide what a person is told about their roles, and when the end of one is near."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

COLLECT: Final = timedelta(minutes=1)
"""How long a notice waits for others to the same person, which come in the same e-mail.

What is undone within this time is not told.
"""

REMIND_BEFORE: Final = (timedelta(days=14), timedelta(days=2))
"""How long before the end of a role its holder is reminded, the earliest first."""

LATE: Final = timedelta(days=7)
"""How long after the end of a role its holder is still told, if no worker ran in time."""

LISTED: Final = 20
"""Maximum number of roles that an e-mail names."""


class Kind(StrEnum):
    """What an e-mail says. The values are the kinds of the e-mails."""

    GRANTED = "role_granted"
    CHANGED = "role_changed"
    """Another end, or another role instead of this one."""
    ENDING = "role_ending"
    ENDED = "role_ended"
    REMOVED = "role_removed"


class Notice(Protocol):
    """Something that its person must still be told."""

    @property
    def kind(self) -> str: ...
    @property
    def grant_id(self) -> int: ...
    @property
    def former_id(self) -> int | None: ...


N = TypeVar("N", bound=Notice)


class State(Protocol):
    """A grant as it is now.

    ``is_active`` is false in a deleted scope too.
    """

    @property
    def scope_id(self) -> int: ...
    @property
    def role_id(self) -> int: ...
    @property
    def valid_until(self) -> datetime | None: ...
    @property
    def is_active(self) -> bool: ...


def reminders_done(until: datetime | None, now: datetime) -> int:
    """Return how many reminders a grant with this end needs no more.

    Who is told of an end that is near is not reminded of it at once.

    Args:
        until: UTC; None for no end.
    """
    if until is None:
        return 0
    return sum(until <= now + before for before in REMIND_BEFORE)


def is_late(until: datetime, now: datetime) -> bool:
    """Return whether the end of a role is too long ago to tell."""
    return until < now - LATE


class Item(NamedTuple, Generic[N]):
    """A part of an e-mail to a person about their roles.

    Args:
        grant: id of the grant that it is about.
        former: id of the grant that this one replaces; None if it replaces none.
    """

    kind: Kind
    grant: int
    former: int | None
    notice: N


def select_items(notices: Iterable[N], grants: Mapping[int, State], now: datetime) -> list[Item[N]]:
    """Return what the e-mails to one person say.

    Nobody is told what is no longer true, what was undone before they heard of it, or the same
    thing twice.

    Args:
        notices: in the order in which things happened.
        grants: id → state, of all grants that the notices name.
    """
    notices = list(notices)
    formers = {one.grant_id: one.former_id for one in notices if one.former_id is not None}
    given = {one.grant_id for one in notices if one.kind == Kind.GRANTED}
    changed = {one.grant_id for one in notices if one.kind == Kind.CHANGED}
    # What the person had, knew of, and has no more; and what they have again.
    lost = {
        _place(grants[known]): grants[known].valid_until
        for one in notices
        if one.kind in {Kind.REMOVED, Kind.ENDED}
        and (known := _known(one.grant_id, formers)) not in given
    }
    regained = {_place(grants[one]) for one in given if grants[one].is_active}
    items: dict[tuple[Kind, int], Item[N]] = {}
    for one in notices:
        kind, state, known = Kind(one.kind), grants[one.grant_id], _known(one.grant_id, formers)
        grant, former = one.grant_id, None
        if kind in {Kind.REMOVED, Kind.ENDED}:
            is_included = not state.is_active and known not in given
            is_included = is_included and _place(grants[known]) not in regained
            grant = known
        elif not state.is_active:
            continue
        elif kind is Kind.ENDING:
            is_near = state.valid_until is not None and state.valid_until <= now + REMIND_BEFORE[0]
            is_included = is_near and grant not in given | changed
        elif kind is Kind.GRANTED or known in given:
            kind, place = Kind.GRANTED, _place(state)
            is_included = place not in lost or lost[place] != state.valid_until
        else:
            former = None if known == grant else known
            is_included = former is None or _place(grants[former]) != _place(state)
        if is_included:
            items[kind, grant] = Item(kind, grant, former, one)
    return list(items.values())


def _known(grant: int, formers: Mapping[int, int]) -> int:
    """Return the grant that the person knew of before it was replaced, perhaps several times."""
    while grant in formers:
        grant = formers[grant]
    return grant


def _place(state: State) -> tuple[int, int]:
    return state.scope_id, state.role_id
