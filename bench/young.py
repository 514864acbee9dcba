"""A database that nobody has analysed against the same one analysed, by turns, at three sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from statistics import median
from typing import Any, Final

from bench import data, drive
from bench.machine import Program
from bench.reading import SERVICE, cases
from bench.shelf import Shelf
from collegium.db.database import Database

BAR: Final = 0.9
"""The least share of the analysed speed."""

SIZES: Final = (300, data.SMALL, 100_000)


def run(
    shelf: Shelf,
    kind: str,
    sizes: Iterable[int],
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure every case of reading; give the rates of both, by size and case."""
    told: dict[str, Any] = {}
    for size in sizes:
        urls = shelf.young(kind, size)
        for url in urls:
            with closing(Database(url, size=1)) as database:
                wanted = cases(database, size)
                data.refresh(database, {case.who for case in wanted} | {1})
        programs = [Program(*SERVICE, url=url) for url in urls]
        try:
            told[str(size)] = {
                case.name: _compared(programs, case.path, case.token, seconds / 2, rounds)
                for case in wanted
            }
        finally:
            for program in programs:
                program.stop()
            shelf.drop(*urls)
        for name, one in told[str(size)].items():
            young, known = (median(one[side]) for side in ("young", "analysed"))
            say(f"{size:8,} {name:32} {young:8.0f}/s {known:8.0f}/s  ratio {one['ratio']:.2f}")
    return {"bar": BAR, "sizes": told}


def _compared(
    programs: list[Program], path: str, token: str, seconds: float, rounds: int
) -> dict[str, Any]:
    def rate(program: Program) -> float:
        return round(drive.read(program.port, path, token, seconds).rate, 1)

    for program in programs:
        drive.read(program.port, path, token, 0.5)  # to warm up
    seen = [(rate(programs[0]), rate(programs[1])) for _ in range(rounds)]
    return {
        "ratio": round(median(young / known for young, known in seen), 3),
        "young": [young for young, _ in seen],
        "analysed": [known for _, known in seen],
    }
