"""Decide what one reader sees of one event. Every protocol renders only this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collegium.access.rules import Actor
from collegium.events.event import Fact, Readers
from collegium.events.queries import EventRow
from collegium.events.types import of_kind

_STAFF: Final[Mapping[Readers, bool | None]] = dict.fromkeys(Readers, True)


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

    def __init__(self, viewer: Actor, row: EventRow) -> None:
        """Look at an event.

        Args:
            viewer: the reader.
            row: of a list of ``events.queries``, read for this viewer.
        """
        self._sees_all = viewer.sees_all
        self._row = row
        is_affected, is_actor = row.account_id == viewer.id, row.actor_id == viewer.id
        self.event = of_kind(row.kind)
        self.has_scope = row.scope_id is not None and (viewer.sees_all or bool(row.sees_scope))
        if viewer.sees_all:
            is_among = _STAFF
        elif row.scope_id is not None and not self.has_scope:
            is_among = {Readers.ALL: True}
        else:
            is_among = {
                Readers.ALL: True,
                Readers.SCOPE: True,
                Readers.PERSON: is_affected,
                Readers.INVITATIONS: row.reads_invitations,
                Readers.REQUESTS: is_affected or row.reads_requests,
            }
        sees_people = bool(is_among.get(self.event.people))
        self.has_account = is_affected or sees_people
        self.has_full_name = viewer.sees_all or is_affected
        self.has_actor = is_actor or sees_people
        # The event of an impersonated account has the staff member's IP address, so that account
        # does not see the address.
        payload = row.payload
        impersonator = payload.get("impersonated_by", "")
        self.has_origin = viewer.sees_all or (is_actor and not impersonator)
        self.impersonator = str(impersonator) if viewer.sees_all or is_actor else ""
        self.facts = {
            name: self._visible_part(fact, value) if fact.staff_only else value
            for name, fact in self.event.facts.items()
            if fact.key
            and is_among.get(fact.readers)
            and (value := payload.get(name)) not in (None, "")
        }

    @property
    def account_full_name(self) -> str:
        """The full name of the affected account, if it is shown.

        Readers who do not see it see the user name, because it is all that they know of former
        members. The name of a deleted account is a neutral one, which everybody sees.
        """
        row = self._row
        if not (self.has_full_name or row.account_deleted_at is not None):
            return ""
        return f"{row.account_first_name or ''} {row.account_last_name or ''}".strip()

    @property
    def account_username(self) -> str:
        """The user name of the affected account; of a deleted one as the event has it."""
        row = self._row
        is_deleted = row.account_username is None or row.account_deleted_at is not None
        return str((self.facts.get("username") if is_deleted else row.account_username) or "")

    def _visible_part(self, fact: Fact, value: Any) -> Any:
        if self._sees_all:
            return value
        if isinstance(value, dict):
            return {name: one for name, one in value.items() if name not in fact.staff_only}
        return [name for name in value if name not in fact.staff_only]
