"""The page of the events, from ``collegium.events.types``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

from collegium.events import types
from collegium.events.event import Event, Fact, Readers
from docgen import markdown
from docgen.markdown import code, table

_INTRODUCTION: Final = """The audit log records these events. The Waldur API has them at \
`/api/events/`, without those that have no type there.
Staff and support see every event. Others see an event about their account, and one in an \
organisation, project or group that they
see. A fact is a part of the event that only some of its readers see; its name is the key in the \
`context` of the Waldur API. The text is
filled with the facts that the reader sees: a part in square brackets is left out if one of its \
facts is not seen or not known."""


def page() -> str:
    """Return the page."""
    return markdown.page(
        "Events",
        "src/collegium/events/types.py",
        _INTRODUCTION,
        "## Who sees a fact",
        _readers(),
        *_sections(),
    )


def _readers() -> str:
    meanings = markdown.attribute_docs(Readers)
    rows = [(code(one), meanings[one.name]) for one in Readers]
    return table(("readers", "of those who see the event"), rows)


def _sections() -> Iterator[str]:
    by_name = {event.__name__: event for event in types.BY_KIND.values()}
    for title, part in markdown.sections(inspect.getsource(types)):
        names = re.findall(r"(?m)^class (\w+)", part)
        events = [by_name[name] for name in names if name in by_name]
        yield f"## {title}"
        yield table(
            ("event", "type in the Waldur API", "text", "facts, with their readers"),
            [_row(event) for event in events],
        )


def _row(event: type[Event]) -> tuple[str, str, str, str]:
    text = event.message or event.sentence
    facts = [_fact(fact) for fact in event.facts.values() if fact.key]
    waldur_type = code(event.waldur_type) if event.message else ""
    return f"`{event.kind}` {event.__name__}", waldur_type, code(text), ", ".join(facts)


def _fact(fact: Fact) -> str:
    hidden = f", without {', '.join(sorted(fact.staff_only))}" if fact.staff_only else ""
    return f"`{fact.key}` ({fact.readers}{hidden})"
