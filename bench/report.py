"""Write the results as Markdown tables."""

# ruff: noqa: E501 - prose as wide as the other pages

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import load_generator
from bench.databases import KINDS

HERE: Final = Path(__file__).parent
MEMORY_TARGET: Final = 150.0
START_TARGET: Final = 2.0
_UNCHANGED_RATIO: Final = 1.1
"""Memory of a worker counts as unchanged up to this ratio."""
_NAMES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

_INTRO: Final = """\
# Benchmark results

Written by `script/bench`, which creates the data and measures each part. [raw.json](raw.json) has the single rounds.
Absolute figures depend on the machine; the ratios matter, measured alternately in one run.
Capacity planning from these figures: [docs/capacity.md](../docs/capacity.md).

* **The baseline** (`bench/baseline.py`) is a minimal ASGI program on the same server (the service uses WSGI), with the same
  driver, database and hand-written SQL. It looks up the token by its keyed digest, checks its expiry and returns the same
  bytes (`tests/bench/test_baseline.py`), without a framework, log or metrics. For writes it replays the recorded statements
  of the service in the same kind of transaction (`bench/replay.py`). It queries the database on the event loop or in
  threads, whichever is faster here; the tables say which.
* **Load** is a closed loop over {connections} connections, {load}; writes are sent by our own client
  (`bench/load_generator.py`). Rounds of the service and the baseline alternate. Ratios are medians of the pairs, other
  figures medians of the rounds. A response other than 2xx ends the run.
* **Cores**: service and baseline on the first; the load generator and PostgreSQL on the second.
* **Data**: ten thousand and a million accounts, 2 grants each, 100 accounts and 5 scopes per organisation; a twentieth as many
  invitations and join requests as accounts. An account with two grants requests `me`, staff request lists; "as a manager"
  is the owner of an organisation, who sees about a hundred accounts.
* **CPU** is the CPU time of all processes of the program, without PostgreSQL. **SQL** counts statements without `BEGIN` and
  `COMMIT`. **Durability** is that of the service: `synchronous=FULL` and `synchronous_commit=on`.
"""


def write(stored: dict[str, Any], postgresql: str) -> None:
    """Write ``RESULTS.md`` and ``raw.json``."""
    (HERE / "raw.json").write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
    (HERE / "RESULTS.md").write_text("\n".join(_page(stored, postgresql)), "utf-8")


def _page(stored: dict[str, Any], postgresql: str) -> Iterator[str]:
    load = (
        "by `wrk`" if load_generator.wrk() else "by our own client because `wrk` is not installed"
    )
    yield _INTRO.format(connections=load_generator.CONNECTIONS, load=load)
    yield from _machine(postgresql)
    yield "## Targets\n"
    yield from _table(("measurement", "target", "measured", ""), _targets(stored))
    for noun, title, tell in (
        ("reads", "Reading", _cases),
        ("writes", "Writing", _cases),
        ("growth", "A million accounts compared with ten thousand", _growth),
        ("unanalysed", "A database without statistics", _unanalysed),
        ("logins", "A hundred simultaneous sign-ins", _logins),
        ("worker", "Reads while grants end and e-mails are sent", _worker),
        ("scaling", "Several workers and nodes", _scaling),
    ):
        for kind in KINDS:
            part = stored.get(f"{noun}-{kind}")
            if part is not None:
                yield f"## {title}: {_NAMES[kind]}\n"
                yield (
                    f"{part['at']} UTC, commit {part['commit']}; rounds of {part['seconds']:g} s, "
                    f"{part['rounds']} each; the part took {part['took']} s.\n"
                )
                yield from tell(part["results"], part)


def _machine(postgresql: str) -> Iterator[str]:
    model = "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((one.split(":")[1].strip() for one in lines if "model name" in one), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield "## Machine\n"
    versions = {
        "Python": platform.python_version(),
        **{
            name: version(name)
            for name in ("granian", "falcon", "msgspec", "psycopg", "sqlalchemy")
        },
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": postgresql,
    }
    yield f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB; {platform.system()} {platform.release().split('-')[0]}."
    yield ", ".join(f"{name} {number}" for name, number in versions.items()) + ".\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield "| " + " | ".join(names) + " |"
    yield "|---|" + "--:|" * (len(names) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _targets(stored: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for kind in KINDS:
        on = f", {_NAMES[kind]}"
        for noun in ("reads", "writes"):
            for name, case in _results(stored, noun, kind).get("cases", {}).items():
                if case["target"]:
                    yield (
                        f"{name}{on}",
                        f"≥ {case['target']} of the baseline",
                        f"{case['ratio']:.2f}",
                        _verdict(case["ratio"] >= case["target"]),
                    )
        growth = _results(stored, "growth", kind)
        if growth:
            yield from _growth_targets(growth, on)
        for size, seen in _results(stored, "unanalysed", kind).get("sizes", {}).items():
            name, one = min(seen.items(), key=lambda pair: float(pair[1]["ratio"]))
            target = stored[f"unanalysed-{kind}"]["results"]["target"]
            yield (
                f"without statistics, {int(size):,} accounts, slowest: {name}{on}",
                f"≥ {target} of analysed",
                f"{one['ratio']:.2f}",
                _verdict(one["ratio"] >= target),
            )
        reads = _results(stored, "reads", kind)
        if reads:
            yield (
                f"memory of a worker after reading{on}",
                f"< {MEMORY_TARGET:.0f} MB",
                f"{reads['resident']:.0f} MB",
                _verdict(reads["resident"] < MEMORY_TARGET),
            )
        logins = _results(stored, "logins", kind)
        if logins:
            yield (
                f"p99 of me during 100 sign-ins{on}",
                f"≤ {logins['target']:g} times idle",
                f"{logins['times']:.1f} times",
                _verdict(logins["times"] <= logins["target"]),
            )
        work = _results(stored, "worker", kind)
        if work:
            yield (
                f"{work['due'][0]:,} grants end, {work['due'][1]:,} e-mails are sent{on}",
                "no failed request",
                f"{work['reads']:,} answered, none failed; left: {sum(work['left']):,}",
                _verdict(not any(work["left"])),
            )


def _growth_targets(growth: dict[str, Any], on: str) -> Iterator[tuple[str, str, str, str]]:
    for name, one in growth["cases"].items():
        if one["target"]:
            yield (
                f"{name}{on}",
                f"≤ {one['target']:g} times",
                f"{one['times']:.2f} times",
                _verdict(one["times"] <= one["target"]),
            )
    late = growth["late page"]
    yield (
        f"users, page {late['page']} of 100{on}",
        f"≤ {late['target']:g} first pages",
        f"{late['times']:.2f} times",
        _verdict(late["times"] <= late["target"]),
    )
    small, big = growth["resident"]
    yield (
        f"memory of a worker, large database{on}",
        f"< {MEMORY_TARGET:.0f} MB, unchanged",
        f"{small:.0f} MB, {big:.0f} MB",
        _verdict(big < MEMORY_TARGET and big < _UNCHANGED_RATIO * small),
    )
    first = median(growth["first"])
    yield (
        f"start to first response, large database{on}",
        f"< {START_TARGET:g} s",
        f"{first:.2f} s",
        _verdict(first < START_TARGET),
    )


def _results(stored: dict[str, Any], noun: str, kind: str) -> dict[str, Any]:
    results: dict[str, Any] = stored.get(f"{noun}-{kind}", {}).get("results", {})
    return results


def _verdict(reached: bool) -> str:
    return "reached" if reached else "**missed**"


def _cases(results: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    if "baseline" in results:
        yield (
            "The baseline queries on the event loop.\n"
            if results["baseline"] == "loop"
            else "The baseline queries in threads.\n"
        )
    heads = ("", "requests/s", "baseline", "ratio", "p50 ms", "baseline", "p99 ms", "baseline")
    rows = []
    for name, case in results["cases"].items():
        row = [name, *_pair(case, "rate", ".0f"), f"{case['ratio']:.2f}"]
        row += [*_pair(case, "p50", ".2f"), *_pair(case, "p99", ".2f"), *_pair(case, "cpu", ".2f")]
        ours, theirs = case["statements"]
        row.append(f"{ours} / {theirs}")
        rows.append(row)
    yield from _table((*heads, "CPU ms", "baseline", "SQL"), rows)
    yield f"Memory of the worker after the part: {results['resident']:.0f} MB.\n"


def _pair(case: dict[str, Any], what: str, form: str) -> list[str]:
    return [
        format(median(one[what] for one in case[side]), form) for side in ("service", "baseline")
    ]


def _growth(results: dict[str, Any], part: dict[str, Any]) -> Iterator[str]:
    sizes = ("10,000", f"{part['accounts']:,}")
    heads = ("p50 ms over one connection", *sizes, "times", *(f"CPU ms, {one}" for one in sizes))
    rows = [
        (
            name,
            *(f"{time:.2f}" for time in one["p50"]),
            f"{one['times']:.2f}",
            *(f"{time:.2f}" for time in one["cpu"]),
        )
        for name, one in results["cases"].items()
    ]
    yield from _table(heads, rows)
    late = results["late page"]
    first = ", ".join(f"{one:.2f}" for one in results["first"])
    small, big = results["resident"]
    yield (
        f"With the larger number: users, first page of 100 {late['p50'][0]:.2f} ms, page {late['page']} "
        f"{late['p50'][1]:.2f} ms. Memory of the worker {small:.0f} and {big:.0f} MB. "
        f"Start to first response, each time: {first} s.\n"
    )


def _unanalysed(results: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    sizes = results["sizes"]
    names = next(iter(sizes.values()))
    heads = (f"{int(size):,}: without, analysed, ratio" for size in sizes)
    rows = []
    for name in names:
        cells = []
        for seen in sizes.values():
            without, analysed = (median(seen[name][side]) for side in ("unanalysed", "analysed"))
            cells.append(f"{without:.0f}, {analysed:.0f}, {seen[name]['ratio']:.2f}")
        rows.append((name, *cells))
    yield from _table(("requests/s", *heads), rows)
    client = "`wrk`" if results["wrk"] else "our own client"
    yield (
        f"Sent by {client}. The machine had a load average of {results['busy']:g} on "
        f"{os.cpu_count()} cores in the last 15 minutes.\n"
    )


def _logins(results: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    yield from _table(
        ("me, over 8 connections", "requests/s", "p99 ms"),
        (
            ("idle", f"{results['rate quiet']:.0f}", f"{results['quiet']:.1f}"),
            ("during the sign-ins", f"{results['rate during']:.0f}", f"{results['during']:.1f}"),
        ),
    )
    yield f"The hundred sign-ins took {results['seconds']:.1f} s. Sent by our own client.\n"


def _worker(results: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    rows = []
    for at, what in enumerate(("grants ended", "e-mails sent")):
        done = results["due"][at] - results["left"][at]
        rate = done / results["seconds"][at] if results["seconds"][at] else 0.0
        rows.append(
            (
                what,
                f"{done:,} of {results['due'][at]:,}",
                f"{results['seconds'][at]:.0f}",
                f"{rate:.0f}",
            )
        )
    yield from _table(("", "done", "after s", "per second"), rows)
    yield f"The local SMTP server received {results['delivered']:,} e-mails.\n"
    yield from _table(
        ("`me` and 10 users, alternately", "requests/s", "p50 ms", "p99 ms"),
        (
            (
                name,
                *(
                    f"{results[key][one]:.{digits}f}"
                    for one, digits in (("rate", 0), ("p50", 1), ("p99", 1))
                ),
            )
            for name, key in (("idle", "quiet"), ("meanwhile", "during"))
        ),
    )


def _scaling(results: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    forms = list(next(iter(results.values())))
    yield (
        "All programs, the load generator and the database share both cores."
        " Sixteen callers unless stated.\n"
    )
    yield from _table(
        ("requests/s", *forms, "ratio"),
        (
            (
                what,
                *(f"{rates[form]:.0f}" for form in forms),
                " / ".join(f"{rates[form] / rates[forms[0]]:.2f}" for form in forms[1:]),
            )
            for what, rates in results.items()
        ),
    )
