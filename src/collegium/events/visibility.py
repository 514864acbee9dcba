"""Decide what one reader sees of one event. Every protocol renders only this."""

from __future__ import annotations

from typing import Any

from collegium.access.rules import Actor
from collegium.db.statements import Row
from collegium.events.event import Fact, Readers
from collegium.events.types import of_kind


class View:
    """What one reader sees of one event.

    The row itself holds more: show its scope, accounts, actor and address only as told here.

    Attributes:
        event: class of the event.
        facts: name → value.
        has_scope: whether the scope is shown.
        has_account: whether the affected account is shown; its user name is.
        has_full_name: whether the full name of the affected account is shown too.
        has_actor: whether the actor is shown.
        has_origin: whether the IP address and the request id are shown.
        impersonator: name of the member of staff who acted as the actor; empty if there was none,
            or it is not shown.
    """

    def __init__(self, viewer: Actor, row: Row) -> None:
        """Look at an event.

        Args:
            viewer: the reader.
            row: of a list of ``events.queries``, read for this viewer.
        """
        self._row = row
        self._sees_all = viewer.sees_all
        self._is_affected: bool = row.account_id == viewer.id
        is_actor = row.actor_id == viewer.id
        self.event = of_kind(row.kind)
        self.has_scope = row.scope_id is not None and (self._sees_all or bool(row.sees_scope))
        sees_people = self._may_see(self.event.people)
        self.has_account = self._is_affected or sees_people
        self.has_full_name = self._sees_all or self._is_affected
        self.has_actor = is_actor or sees_people
        # The event of an impersonated account has the staff member's IP address, so that account
        # does not see the address.
        is_impersonated = "impersonated_by" in row.payload
        self.has_origin = self._sees_all or (is_actor and not is_impersonated)
        self.impersonator = (
            str(row.payload["impersonated_by"])
            if is_impersonated and (self._sees_all or is_actor)
            else ""
        )
        self.facts = {
            name: self._visible_part(fact, row.payload[name])
            for name, fact in self.event.facts.items()
            if fact.key and row.payload.get(name) not in (None, "") and self._may_see(fact.readers)
        }

    def _may_see(self, readers: Readers) -> bool:
        if self._sees_all or readers is Readers.ALL:
            return True
        if self._row.scope_id is not None and not self.has_scope:
            return False
        return {
            Readers.SCOPE: True,
            Readers.PERSON: self._is_affected,
            Readers.INVITATIONS: bool(self._row.reads_invitations),
            Readers.REQUESTS: self._is_affected or bool(self._row.reads_requests),
        }.get(readers, False)

    def _visible_part(self, fact: Fact, value: Any) -> Any:
        if self._sees_all or not fact.staff_only:
            return value
        if isinstance(value, dict):
            return {name: one for name, one in value.items() if name not in fact.staff_only}
        return [name for name in value if name not in fact.staff_only]
