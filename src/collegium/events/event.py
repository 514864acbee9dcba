"""What every event has in common: how its class is declared, and who may see which fact."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum, auto
from inspect import get_annotations
from typing import Any, ClassVar, dataclass_transform

from msgspec import UNSET


class Readers(StrEnum):
    """Who sees a part of an event, of those who see the event at all.

    Staff and support see everything.
    """

    ALL = auto()
    """Everybody who sees the event."""
    SCOPE = auto()
    """Accounts that see the scope; all of them if the event has no scope."""
    PERSON = auto()
    """The account that the event is about."""
    INVITATIONS = auto()
    """Accounts that may read the invitations of the scope."""
    REQUESTS = auto()
    """Accounts that may read the join requests of the scope, and the requester."""
    STAFF = auto()
    """Staff and support alone."""


@dataclass(frozen=True, slots=True)
class Fact:
    """How a fact of an event is shown. Without this it is stored and never shown.

    Args:
        key: its key in the context of the Waldur API.
        readers: who sees it.
        staff_only: names inside the fact, of fields that have changed, that only staff and support
            see.
        kept: whether it reveals nothing about a person, so that it stays when the account is
            deleted.
    """

    key: str = ""
    readers: Readers = Readers.SCOPE
    staff_only: frozenset[str] = frozenset()
    kept: bool = False


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Event:
    """Something that happened.

    A subclass with a ``kind`` is an event; its fields are the facts that are stored. A field is
    annotated with a ``Fact`` if it is shown, and is ``UNSET`` if it is not known. The order of the
    fields is the order of the keys in the context of the Waldur API.

    ``message`` is for the Waldur API; without it the event is not shown there. Its keys are those
    of the context that the reader is shown, so it never reveals more than the context. A part in
    square brackets is left out if one of its keys is missing.

    ``sentence`` is for the audit log of a scope on the pages; without it the event is not listed
    there. Its keys are ``who whom role until email fields``.

    Args:
        scope: id of the scope in which it happened.
        account: id of the affected account.
    """

    kind: ClassVar[str] = ""
    """Stored name, dotted, in the past tense: ``invitation.accepted``."""
    facts: ClassVar[dict[str, Fact]] = {}
    people: ClassVar[Readers] = Readers.SCOPE
    """Who sees the actor and the affected account. Both see themselves."""

    group: ClassVar[str] = ""
    """Group of event types in the Waldur API."""
    waldur_type: ClassVar[str] = ""
    """Event type of the Waldur API; by default the kind, with underscores for dots."""
    subject: ClassVar[str] = ""
    message: ClassVar[str] = ""

    sentence: ClassVar[str] = ""
    sentence_of_self: ClassVar[str] = ""
    """The sentence for actors who did this to themselves, if it is another one."""
    sentence_of_link: ClassVar[str] = ""
    """The sentence for an action by a link, without an account, if it is another one."""

    scope: int | None = None
    account: int | None = None

    def __init_subclass__(cls, kind: str = "", text: str = "") -> None:
        """Read the declaration of an event.

        Args:
            kind: its stored name; empty for a base class of events.
            text: what the message says after the ``subject`` and before the name of the actor.
        """
        if get_annotations(cls):
            dataclass(frozen=True, kw_only=True, eq=False)(cls)
            cls.facts = {
                field.name: getattr(field.type, "__metadata__", (Fact(),))[0]
                for field in fields(cls)  # type: ignore[arg-type]  # the line above makes it one
                if field.name not in {"scope", "account"}
            }
        if text:
            cls.message = f"{cls.subject} {text}[ by {{user_full_name}}]."
        if kind:
            cls.kind = kind
            cls.waldur_type = cls.waldur_type or kind.replace(".", "_")

    @classmethod
    def all(cls) -> Iterator[type["Event"]]:
        """Yield the events that are declared below this class, and itself if it is one."""
        if cls.kind:
            yield cls
        for subclass in cls.__subclasses__():
            yield from subclass.all()

    def payload(self) -> dict[str, Any]:
        """Return the facts for JSON."""
        values = ((name, getattr(self, name)) for name in self.facts)
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values
            if value is not UNSET
        }
