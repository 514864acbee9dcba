"""Compare a database without statistics with the same one after ANALYZE, at several sizes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from statistics import median
from typing import Any, Final

from bench import data, load_generator
from bench.databases import Databases
from bench.machine import Program
from bench.reading import SERVICE, cases
from collegium.db.database import Database

TARGET: Final = 0.9
"""Minimum share of the request rate after ANALYZE."""

SIZES: Final = (300, data.SMALL, 100_000)


def run(
    databases: Databases,
    kind: str,
    sizes: Iterable[int],
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure all read requests; return the rates of both by size and case."""
    results: dict[str, Any] = {}
    for size in sizes:
        urls = databases.unanalysed(kind, size)
        for url in urls:
            with closing(Database(url, size=1)) as database:
                wanted = cases(database, size)
                data.refresh(database, {case.who for case in wanted} | {1})
        programs = [Program(*SERVICE, url=url) for url in urls]
        try:
            results[str(size)] = {
                case.name: _compared(programs, case.path, case.token, seconds / 2, rounds)
                for case in wanted
            }
        finally:
            for program in programs:
                program.stop()
            databases.drop(*urls)
        for name, one in results[str(size)].items():
            unanalysed, analysed = (median(one[side]) for side in ("unanalysed", "analysed"))
            rates = f"{unanalysed:8.0f}/s {analysed:8.0f}/s"
            say(f"{size:8,} {name:32} {rates}  ratio {one['ratio']:.2f}")
    busy = round(os.getloadavg()[2], 1)
    return {"target": TARGET, "sizes": results, "wrk": bool(load_generator.wrk()), "busy": busy}


def _compared(
    programs: list[Program], path: str, token: str, seconds: float, rounds: int
) -> dict[str, Any]:
    def rate(program: Program) -> float:
        return round(load_generator.read(program.port, path, token, seconds).rate, 1)

    for program in programs:
        load_generator.read(program.port, path, token, 0.5)  # warm up
    seen = []
    for number in range(rounds):
        first = rate(programs[number % 2])  # take turns, because other load varies
        second = rate(programs[1 - number % 2])
        seen.append((second, first) if number % 2 else (first, second))
    return {
        "ratio": round(median(unanalysed / analysed for unanalysed, analysed in seen), 3),
        "unanalysed": [rate for rate, _ in seen],
        "analysed": [rate for _, rate in seen],
    }
