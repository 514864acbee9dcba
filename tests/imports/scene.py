"""A spreadsheet as people make them: umlauts, quotation marks, duplicates and mistakes."""

from __future__ import annotations

import csv
import io
from collections import Counter
from functools import cache
from typing import Any

from collegium.access import queries as access_queries
from collegium.imports import actions as import_actions
from collegium.imports import queries as import_queries
from tests.support.world import Person, Place, World

HEADER = ("Vorname", "Nachname", "E-Mail-Adresse", "Rolle", "gültig bis", "Nachricht", "Sprache")
_FIRST = ("Jürgen", "Zoë, MSc", 'Anna "Anni"', "O'Neil", "Łukasz", "Ægir", "محمد", "李")
_MALFORMED = {
    10: ("Ohne", "Adresse", "", "", "", "", ""),
    20: ("Kein", "Klammeraffe", "uni.example", "", "", "", ""),
    30: ("Falsche", "Rolle", "falsch@uni.example", "Professor", "", "", ""),
    40: ("Falsches", "Datum", "datum@uni.example", "", "31.02.2999", "", ""),
    50: ("Falsche", "Sprache", "sprache@uni.example", "", "", "", "Deutsch, bitte"),
}
MALFORMED = len(_MALFORMED)
REPEATED = 3


def table(size: int) -> list[tuple[str, ...]]:
    """Return a spreadsheet of so many rows, the header not counted; five are malformed."""
    rows: list[tuple[str, ...]] = [HEADER]
    for number in range(1, size + 1):
        first = _FIRST[number % len(_FIRST)]
        # Some people are in the list twice, in another spelling.
        email = f"Person{number - 1}@Uni.example" if number in {5, 7, 9} else ""
        end, message = ("31.12.2999", "Willkommen!\nBis bald; =1+1") if number % 3 else ("", "")
        name = f"Müller {number}"
        email = email or f"person{number}@uni.example"
        row = (first, name, email, "Project manager", end, message, "de" if number % 2 else "")
        rows.append(_MALFORMED.get(number, row))
    return rows


@cache
def csv_file(size: int, delimiter: str = ";", encoding: str = "utf-8") -> bytes:
    """Return the spreadsheet as CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows(table(size))
    return buffer.getvalue().encode(encoding)


def upload(world: World, person: Person, place: Place, content: bytes) -> str:
    """Judge and store a file as the person; return the UUID of the import."""
    with world.database.read() as tx:
        access = access_queries.get_visible(tx, person.actor, place.kind, place.uuid)
    judged = import_actions.judge_file(
        world.database.read, person.actor, world.settings, access, content, "x.csv"
    )
    with world.database.write() as tx:
        uuid, _ = import_actions.store(tx, person.actor, judged)
    return uuid


def work(world: World, batches: int = 1000) -> int:
    """Do what a worker does; return the number of batches."""
    for done in range(batches):
        with world.database.write() as tx:
            if not import_actions.run_next(tx, world.settings):
                return done
    return batches


def states(world: World, uuid: str) -> Counter[str]:
    """Return how many rows of an import are in each state."""
    with world.database.read() as tx:
        row: Any = import_queries.get_visible(tx, world.staff.actor, uuid)
        return Counter(import_queries.counts(tx, [row.id])[row.id])


def state(world: World, uuid: str) -> str:
    """Return the state of an import."""
    with world.database.read() as tx:
        return import_queries.get_visible(tx, world.staff.actor, uuid).state


def add_import(world: World, person: Person, place: Place, in_state: str, name: str) -> str:
    """Create an import of one row in a state that an action needs; return its UUID."""
    role = "Project manager" if place.kind == "project" else "Organisation owner"
    content = f"email,role\n{name}@uni.example,{role}\n".encode()
    uuid = upload(world, person, place, content)
    if in_state != "judged":
        with world.database.write() as tx:
            import_actions.start(tx, person.actor, uuid, None)
    if in_state == "done":
        with world.database.write() as tx:
            row = import_queries.get_visible(tx, person.actor, uuid)
            # Not the worker, which might begin with another import.
            import_actions._create_batch(tx, person.actor, world.settings, row)
    return uuid
