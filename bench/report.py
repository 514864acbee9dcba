"""The results in words and tables, made of what was measured."""

# ruff: noqa: E501 - much of it is prose, as wide as the other pages

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

from bench import drive
from bench.shelf import KINDS

HERE: Final = Path(__file__).parent
MEMORY_BAR: Final = 150.0
FIRST_BAR: Final = 2.0
_MORE_MEMORY: Final = 1.1
"""So much may the memory of a worker differ and still be called unchanged."""
_NAMES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

_INTRO: Final = """\
# How fast it is

Made by `script/bench`, which makes the data, measures part by part and writes this page; the rounds themselves are in
[raw.json](raw.json). Absolute figures drift with the machine; what counts are the ratios, measured by turns in one run.
Capacity planning from these figures: [docs/capacity.md](../docs/capacity.md).

* **The floor** (`bench/floor.py`) is a bare ASGI program on the same server, which serves us by WSGI, with the same driver
  and database and hand-written SQL: it looks the token up by its keyed digest, judges its end, and answers the same
  bytes (`tests/bench/test_floor.py`). No framework, no log, no counters. When it writes, it runs the same statements in
  the same kind of transaction, learned from watching the service (`bench/replay.py`). It asks its database on the event
  loop or in threads, whichever is faster here; the tables say which.
* **Load** is a closed loop over {connections} connections, {load}; what changes something is sent by our own generator
  (`bench/drive.py`). Rounds of the service and the floor alternate; ratios are medians of the pairs, other figures of
  the rounds. An answer that is no 2xx ends the run.
* **Cores**: service and floor on the first, the load on the second, and PostgreSQL there too, for both alike.
* **Data**: ten thousand and a million accounts, 2 grants each, 100 accounts and 5 scopes to an organisation; a twentieth
  of the accounts' number in invitations and in requests. `me` is asked by a person with two grants, lists by staff, who
  see everything; "as a manager" by an owner of an organisation, who sees some hundred people.
* **CPU** is that of all processes of the program, not of PostgreSQL's. **SQL** counts statements, `BEGIN` and `COMMIT`
  aside. **Durability** is the service's own: `synchronous=FULL` and `synchronous_commit=on`, each commit on the disk.
"""


def write(kept: dict[str, Any], postgresql: str) -> None:
    """Write ``RESULTS.md`` and ``raw.json``."""
    (HERE / "raw.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    (HERE / "RESULTS.md").write_text("\n".join(_page(kept, postgresql)), "utf-8")


def _page(kept: dict[str, Any], postgresql: str) -> Iterator[str]:
    load = "by `wrk`" if drive.wrk() else "by our own generator, since there is no `wrk` here"
    yield _INTRO.format(connections=drive.CONNECTIONS, load=load)
    yield from _machine(postgresql)
    yield "## The bars\n"
    yield from _table(("bar", "wanted", "measured", ""), _bars(kept))
    for noun, title, tell in (
        ("reads", "Reading", _cases),
        ("writes", "Writing", _cases),
        ("growth", "A million accounts against ten thousand", _growth),
        ("young", "A database that was never analysed", _young),
        ("logins", "A hundred logins at once", _logins),
        ("owing", "Grants that end and mails that are owed, beside reading", _owing),
        ("scaling", "More workers, more nodes", _scaling),
    ):
        for kind in KINDS:
            part = kept.get(f"{noun}-{kind}")
            if part is not None:
                yield f"## {title}: {_NAMES[kind]}\n"
                yield (
                    f"{part['at']} UTC, commit {part['commit']}; rounds of {part['seconds']:g} s, "
                    f"{part['rounds']} each; the part took {part['took']} s.\n"
                )
                yield from tell(part["found"], part)


def _machine(postgresql: str) -> Iterator[str]:
    model = "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((one.split(":")[1].strip() for one in lines if "model name" in one), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield "## The machine\n"
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


def _bars(kept: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for kind in KINDS:
        on = f", {_NAMES[kind]}"
        for noun in ("reads", "writes"):
            for name, case in _found(kept, noun, kind).get("cases", {}).items():
                if case["bar"]:
                    yield (
                        f"{name}{on}",
                        f"≥ {case['bar']} of the floor",
                        f"{case['ratio']:.2f}",
                        _verdict(case["ratio"] >= case["bar"]),
                    )
        growth = _found(kept, "growth", kind)
        if growth:
            yield from _growth_bars(growth, on)
        for size, seen in _found(kept, "young", kind).get("sizes", {}).items():
            name, one = min(seen.items(), key=lambda pair: float(pair[1]["ratio"]))
            bar = kept[f"young-{kind}"]["found"]["bar"]
            yield (
                f"never analysed, {int(size):,} accounts, slowest: {name}{on}",
                f"≥ {bar} of analysed",
                f"{one['ratio']:.2f}",
                _verdict(one["ratio"] >= bar),
            )
        reads = _found(kept, "reads", kind)
        if reads:
            yield (
                f"memory of a worker after reading{on}",
                f"< {MEMORY_BAR:.0f} MB",
                f"{reads['resident']:.0f} MB",
                _verdict(reads["resident"] < MEMORY_BAR),
            )
        logins = _found(kept, "logins", kind)
        if logins:
            yield (
                f"p99 of me beside 100 logins{on}",
                f"≤ {logins['bar']:g} times quiet",
                f"{logins['times']:.1f} times",
                _verdict(logins["times"] <= logins["bar"]),
            )
        owing = _found(kept, "owing", kind)
        if owing:
            yield (
                f"{owing['due'][0]:,} grants end, {owing['due'][1]:,} mails go out{on}",
                "no failed request",
                f"{owing['reads']:,} answered, none failed; left: {sum(owing['left']):,}",
                _verdict(not any(owing["left"])),
            )


def _growth_bars(growth: dict[str, Any], on: str) -> Iterator[tuple[str, str, str, str]]:
    for name, one in growth["questions"].items():
        if one["bar"]:
            yield (
                f"{name}{on}",
                f"≤ {one['bar']:g} times",
                f"{one['times']:.2f} times",
                _verdict(one["times"] <= one["bar"]),
            )
    deep = growth["deep"]
    yield (
        f"users, page {deep['page']} of 100{on}",
        f"≤ {deep['bar']:g} first pages",
        f"{deep['times']:.2f} times",
        _verdict(deep["times"] <= deep["bar"]),
    )
    small, big = growth["resident"]
    yield (
        f"memory of a worker, big database{on}",
        f"< {MEMORY_BAR:.0f} MB, unchanged",
        f"{small:.0f} MB, {big:.0f} MB",
        _verdict(big < MEMORY_BAR and big < _MORE_MEMORY * small),
    )
    first = median(growth["first"])
    yield (
        f"start to first answer, big database{on}",
        f"< {FIRST_BAR:g} s",
        f"{first:.2f} s",
        _verdict(first < FIRST_BAR),
    )


def _found(kept: dict[str, Any], noun: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = kept.get(f"{noun}-{kind}", {}).get("found", {})
    return found


def _verdict(holds: bool) -> str:
    return "holds" if holds else "**does not hold**"


def _cases(found: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    if "floor" in found:
        yield (
            f"The floor asks on the {found['floor']}.\n"
            if found["floor"] == "loop"
            else ("The floor asks in threads.\n")
        )
    heads = ("", "requests/s", "floor", "ratio", "p50 ms", "floor", "p99 ms", "floor")
    rows = []
    for name, case in found["cases"].items():
        row = [name, *_pair(case, "rate", ".0f"), f"{case['ratio']:.2f}"]
        row += [*_pair(case, "p50", ".2f"), *_pair(case, "p99", ".2f"), *_pair(case, "cpu", ".2f")]
        ours, theirs = case["statements"]
        row.append(f"{ours} / {theirs}")
        rows.append(row)
    yield from _table((*heads, "CPU ms", "floor", "SQL"), rows)
    yield f"Memory of the worker afterwards: {found['resident']:.0f} MB.\n"


def _pair(case: dict[str, Any], what: str, form: str) -> list[str]:
    return [format(median(one[what] for one in case[side]), form) for side in ("service", "floor")]


def _growth(found: dict[str, Any], part: dict[str, Any]) -> Iterator[str]:
    sizes = ("10,000", f"{part['accounts']:,}")
    heads = ("p50 ms over one connection", *sizes, "times", *(f"CPU ms, {one}" for one in sizes))
    rows = [
        (
            name,
            *(f"{time:.2f}" for time in one["p50"]),
            f"{one['times']:.2f}",
            *(f"{time:.2f}" for time in one["cpu"]),
        )
        for name, one in found["questions"].items()
    ]
    yield from _table(heads, rows)
    deep = found["deep"]
    first = ", ".join(f"{one:.2f}" for one in found["first"])
    small, big = found["resident"]
    yield (
        f"With the most accounts: users, first page of 100 {deep['p50'][0]:.2f} ms, page {deep['page']} "
        f"{deep['p50'][1]:.2f} ms. Memory of the worker {small:.0f} and {big:.0f} MB. "
        f"Start to first answer, each time: {first} s.\n"
    )


def _young(found: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    sizes = found["sizes"]
    names = next(iter(sizes.values()))
    heads = (f"{int(size):,}: never, analysed, ratio" for size in sizes)
    rows = []
    for name in names:
        told = []
        for seen in sizes.values():
            never, known = (median(seen[name][side]) for side in ("young", "analysed"))
            told.append(f"{never:.0f}, {known:.0f}, {seen[name]['ratio']:.2f}")
        rows.append((name, *told))
    yield from _table(("requests/s", *heads), rows)


def _logins(found: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    yield from _table(
        ("me, over 8 connections", "requests/s", "p99 ms"),
        (
            ("quiet", f"{found['rate quiet']:.0f}", f"{found['quiet']:.1f}"),
            ("beside the logins", f"{found['rate during']:.0f}", f"{found['during']:.1f}"),
        ),
    )
    yield f"The hundred logins took {found['seconds']:.1f} s. Sent by our own generator.\n"


def _owing(found: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    rows = []
    for at, what in enumerate(("grants ended", "mails sent")):
        done = found["due"][at] - found["left"][at]
        rate = done / found["seconds"][at] if found["seconds"][at] else 0.0
        rows.append(
            (
                what,
                f"{done:,} of {found['due'][at]:,}",
                f"{found['seconds'][at]:.0f}",
                f"{rate:.0f}",
            )
        )
    yield from _table(("", "done", "after s", "a second"), rows)
    yield f"The local SMTP server was given {found['delivered']:,} mails.\n"
    yield from _table(
        ("`me` and 10 users by turns", "requests/s", "p50 ms", "p99 ms"),
        (
            (
                name,
                *(
                    f"{found[key][one]:.{digits}f}"
                    for one, digits in (("rate", 0), ("p50", 1), ("p99", 1))
                ),
            )
            for name, key in (("quiet", "quiet"), ("beside it", "during"))
        ),
    )


def _scaling(found: dict[str, Any], _part: dict[str, Any]) -> Iterator[str]:
    forms = list(next(iter(found.values())))
    yield (
        "All on both cores, together with the load and the database: two cores hold no more than"
        " this. Sixteen callers, where nothing else is said.\n"
    )
    yield from _table(
        ("requests/s", *forms, "more"),
        (
            (
                what,
                *(f"{rates[form]:.0f}" for form in forms),
                " / ".join(f"{rates[form] / rates[forms[0]]:.2f}" for form in forms[1:]),
            )
            for what, rates in found.items()
        ),
    )
