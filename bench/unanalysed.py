"""Compare a database without statistics with the same one after ANALYZE, at several sizes."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import repeat
from statistics import median
from typing import Any, Final

from bench import data
from bench.databases import Part
from bench.load_generator import compare, ratio
from bench.machine import Program
from bench.reading import SERVICE, cases
from collegium.db.database import Database

TARGET: Final = 0.9
"""Minimum share of the request rate after ANALYZE."""

SIZES: Final = (300, data.SMALL, 100_000)


def run(part: Part) -> dict[str, Any]:
    """Measure all read requests; return the rates of both by size and case."""
    results: dict[str, dict[str, Any]] = {}
    for size in SIZES if part.sizes[1] > data.SMALL else SIZES[:2]:
        urls = part.databases.unanalysed(part.kind, size)
        for url in urls:
            with closing(Database(url, size=1)) as database:
                wanted = cases(database, size)
                data.refresh(database, {case.who for case in wanted} | {1})
        seen = results[str(size)] = {}
        with Program(*SERVICE, url=urls[0]) as unanalysed, Program(*SERVICE, url=urls[1]) as other:
            for case in wanted:
                sides = [(program, repeat(case.sent)) for program in (unanalysed, other)]
                ours, theirs = compare(*sides, seconds=part.seconds / 2, rounds=part.rounds)
                found = seen[case.name] = {
                    "ratio": ratio(ours, theirs),
                    "unanalysed": [round(one.rate, 1) for one in ours],
                    "analysed": [round(one.rate, 1) for one in theirs],
                }
                rates = [f"{median(found[side]):8.0f}/s" for side in ("unanalysed", "analysed")]
                part.say(f"{size:8,} {case.name:32} {rates[0]} {rates[1]}  {found['ratio']:.2f}")
        part.databases.drop(*urls)
    return {"target": TARGET, "sizes": results, "busy": round(os.getloadavg()[2], 1)}
