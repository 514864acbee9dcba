"""Lifecycles: which action leads from which state to which, who may take it, and what is recorded.

Invitations, invite links and join requests declare their actions as an enumeration in the
``rules.py`` of their noun.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, ClassVar, TypeVar

from collegium.refusals import Conflict

State = TypeVar("State", bound=StrEnum)


class By(StrEnum):
    """Who may take an action.

    The action loads its object by this: ``_lock_and_authorise`` of the noun, for staff the
    function of the decision. Nobody can request what only the service does.
    """

    GRANTER = "granter"
    """An actor who may grant this very role in the scope, now."""
    MANAGER = "manager"
    """An actor who may add members to the scope, in whatever role."""
    PERSON = "person"
    """The invited person, or the requester."""
    STAFF = "staff"
    SERVICE = "service"
    """The schedule, or another action that has this consequence."""


class Lifecycle(Enum):
    """The actions of a noun. The value of a member has the arguments of ``__init__``."""

    refusal: ClassVar[str]

    def __init_subclass__(cls, refusal: str) -> None:
        """Set the code of the refusal of an action that the state does not allow."""
        super().__init_subclass__()
        cls.refusal = refusal

    def __init__(self, states: Mapping[Any, Any], by: By, event: Any = None) -> None:
        """Declare an action.

        Args:
            states: the new state by each state in which the action is allowed.
            by: who may take it.
            event: class of the event that is recorded; None if none is.
        """
        self.states = states
        self.by = by
        self.event = event

    def __str__(self) -> str:
        """Return the name as people and paths write it: ``notify_expired``."""
        return self.name.lower()

    def after(self, state: State) -> State:
        """Return the state after the action.

        Raises:
            Conflict: ``refusal`` if the action is not allowed in this state.
        """
        if state not in self.states:
            raise Conflict(self.refusal, act=self.name, state=state)
        new_state: State = self.states[state]
        return new_state

    def is_repeated(self, state: StrEnum) -> bool:
        """Return whether the action has already led to this state, so repeating changes nothing."""
        return state in self.states.values()
