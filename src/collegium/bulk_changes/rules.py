"""Rules of bulk changes: what can be changed, and the states."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

ROWS_MAX: Final = 20_000
"""Maximum number of rows of a bulk change."""

BATCH: Final = 25
"""Maximum number of rows of one transaction: as many as a page of a list has."""


class Change(StrEnum):
    """What is done to each row."""

    SEND = "send"
    CANCEL = "cancel"
    EXTEND = "extend"
    END = "end"
    REMOVE = "remove"


OF_INVITATIONS: Final = (Change.SEND, Change.EXTEND, Change.CANCEL)
OF_MEMBERS: Final = (Change.END, Change.REMOVE)


class State(StrEnum):
    """The states of a bulk change."""

    JUDGING = "judging"
    JUDGED = "judged"
    """Somebody has to confirm it."""
    RUNNING = "running"
    DONE = "done"
    CANCELED = "canceled"


BUSY: Final = frozenset({State.JUDGING, State.RUNNING})
"""The worker has something to do."""

STOPPABLE: Final = frozenset({State.JUDGING, State.JUDGED, State.RUNNING})


class RowState(StrEnum):
    """The states of a row."""

    CHOSEN = "chosen"
    """Not judged yet."""
    READY = "ready"
    UNCHANGED = "unchanged"
    """The change would leave the row as it is."""
    REFUSED = "refused"
    DONE = "done"


WORK: Final = {State.JUDGING: RowState.CHOSEN, State.RUNNING: RowState.READY}
"""The rows that the worker looks for, by the state of the bulk change."""

FOLLOWING: Final = {State.JUDGING: State.JUDGED, State.RUNNING: State.DONE}
"""The state after the last of these rows."""
