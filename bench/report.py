"""Write the results as Markdown tables."""

# ruff: noqa: E501 - prose as wide as the other pages

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import load_generator, mails, people
from bench.databases import KINDS

HERE: Final = Path(__file__).parent
RAW: Final = HERE / "raw.json"
"""The results from which the page was written."""

MEMORY_TARGET: Final = 150.0
START_TARGET: Final = 2.0
_UNCHANGED_RATIO: Final = 1.1
"""Memory of a worker counts as unchanged up to this ratio."""
_NAMES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_SIDES: Final = ("service", "baseline")
Results = dict[str, Any]
Target = tuple[str, str, str, bool]
"""A measurement, its target, what was measured, and whether it reaches the target."""

_INTRO: Final = """\
# Benchmark results

Written by `script/bench`, which creates the data and measures each part. [raw.json](raw.json) has the single rounds.
Absolute figures depend on the machine; the ratios matter, measured alternately in one run.
Capacity planning from these figures: [docs/capacity.md](../docs/capacity.md).

* **The baseline** (`bench/baseline.py`) is a minimal ASGI program on the same server (the service uses WSGI), with the same
  driver, database and hand-written SQL. It looks up the token by its keyed digest, checks its expiry and returns the same
  bytes (`tests/bench/test_baseline.py`), without a framework, log or metrics. For writes it runs the fewest statements that
  leave the same rows and the same response (`bench/baseline_sql.py`), in one transaction with the same locks. It queries
  SQLite on the event loop and PostgreSQL in threads.
* **Load** is a closed loop over {connections} connections, by our own client (`bench/load_generator.py`). Rounds of the service and
  the baseline alternate. Ratios are medians of the pairs, other figures medians of the rounds. A response other than 2xx
  ends the run.
* **Parts** are measured one by one. A part keeps its results until it is measured again; its first line says when that was.
* **Cores**: service and baseline on the first; the load generator and PostgreSQL on the second.
* **Data**: ten thousand and a million accounts, 2 grants each, 100 accounts and 5 scopes per organisation; a twentieth as many
  invitations and join requests as accounts. An account with two grants requests `me`, staff request lists; "as a manager"
  is the owner of an organisation, who sees about a hundred accounts.
* **CPU** is the CPU time of all processes of the program, without PostgreSQL. **SQL** counts statements without `BEGIN` and
  `COMMIT`. **Durability** is that of the service: `synchronous=FULL` and `synchronous_commit=on`.
"""


def write(stored: dict[str, Any], postgresql: str) -> None:
    """Write ``RESULTS.md`` and ``raw.json``."""
    RAW.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
    (HERE / "RESULTS.md").write_text("\n".join(_page(stored, postgresql)), "utf-8")


def _page(stored: dict[str, Any], postgresql: str) -> Iterator[str]:
    yield _INTRO.format(connections=load_generator.CONNECTIONS)
    yield from _machine(postgresql)
    yield "## Targets\n"
    targets = [
        (f"{name}, {_NAMES[kind]}", target, measured, "reached" if reached else "**missed**")
        for kind in KINDS
        for noun, (_, _, targets_of) in _PARTS.items()
        if f"{noun}-{kind}" in stored
        for name, target, measured, reached in targets_of(stored[f"{noun}-{kind}"]["results"])
    ]
    yield from _table(("measurement", "target", "measured", ""), targets)
    for noun, (title, tables_of, _) in _PARTS.items():
        for kind in KINDS:
            part = stored.get(f"{noun}-{kind}")
            if part is not None:
                yield f"## {title}: {_NAMES[kind]}\n"
                yield (
                    f"{part['at']} UTC, commit {part['commit']}; rounds of {part['seconds']:g} s, "
                    f"{part['rounds']} each; the part took {part['took']} s.\n"
                )
                yield from tables_of(part["results"], part["accounts"])


def _machine(postgresql: str) -> Iterator[str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [one.split(":")[1].strip() for one in lines if "model name" in one]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("granian", "falcon", "msgspec", "psycopg", "sqlalchemy")
    versions = {
        "Python": platform.python_version(),
        **{name: version(name) for name in packages},
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": postgresql,
    }
    kernel = f"{platform.system()} {platform.release().split('-')[0]}"
    yield "## Machine\n"
    yield f"{[*models, 'unknown'][0]}, {os.cpu_count()} cores, {memory:.0f} GiB; {kernel}."
    yield ", ".join(f"{name} {number}" for name, number in versions.items()) + ".\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield "| " + " | ".join(names) + " |"
    yield "|---|" + "--:|" * (len(names) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _case_targets(results: Results) -> Iterator[Target]:
    for name, case in results["cases"].items():
        ratio, target = case["ratio"], case["target"]
        if target:
            yield name, f"≥ {target} of the baseline", f"{ratio:.2f}", ratio >= target


def _read_targets(results: Results) -> Iterator[Target]:
    yield from _case_targets(results)
    memory = results["resident"]
    target = f"< {MEMORY_TARGET:.0f} MB"
    yield "memory of a worker after reading", target, f"{memory:.0f} MB", memory < MEMORY_TARGET


def _cases(results: Results, _accounts: int) -> Iterator[str]:
    heads = ["", "requests/s", "baseline", "ratio"]
    heads += [text for name in ("p50", "p99", "CPU") for text in (f"{name} ms", "baseline")]
    rows = []
    for name, case in results["cases"].items():
        rates, *times = (
            [format(median(one[what] for one in case[side]), form) for side in _SIDES]
            for what, form in (("rate", ".0f"), ("p50", ".2f"), ("p99", ".2f"), ("cpu", ".2f"))
        )
        statements = "{} / {}".format(*case["statements"])
        rows.append((name, *rates, f"{case['ratio']:.2f}", *chain(*times), statements))
    yield from _table((*heads, "SQL"), rows)
    yield f"Memory of the worker after the part: {results['resident']:.0f} MB.\n"


def _growth_targets(results: Results) -> Iterator[Target]:
    for name, one in results["cases"].items():
        times, target = one["times"], one["target"]
        if target:
            yield name, f"≤ {target:g} times", f"{times:.2f} times", times <= target
    late = results["late page"]
    name, target = f"users, page {late['page']} of 100", f"≤ {late['target']:g} first pages"
    yield name, target, f"{late['times']:.2f} times", late["times"] <= late["target"]
    small, big = results["resident"]
    name, target = "memory of a worker, large database", f"< {MEMORY_TARGET:.0f} MB, unchanged"
    reached = big < MEMORY_TARGET and big < _UNCHANGED_RATIO * small
    yield name, target, f"{small:.0f} MB, {big:.0f} MB", reached
    first = median(results["first"])
    name = "start to first response, large database"
    yield name, f"< {START_TARGET:g} s", f"{first:.2f} s", first < START_TARGET


def _growth(results: Results, accounts: int) -> Iterator[str]:
    sizes = ("10,000", f"{accounts:,}")
    heads = ("p50 ms over one connection", *sizes, "times", *(f"CPU ms, {one}" for one in sizes))
    rows = []
    for name, one in results["cases"].items():
        p50, cpu = ([f"{time:.2f}" for time in one[what]] for what in ("p50", "cpu"))
        rows.append((name, *p50, f"{one['times']:.2f}", *cpu))
    yield from _table(heads, rows)
    late = results["late page"]
    first = ", ".join(f"{one:.2f}" for one in results["first"])
    small, big = results["resident"]
    yield (
        f"With the larger number: users, first page of 100 {late['p50'][0]:.2f} ms, page {late['page']} "
        f"{late['p50'][1]:.2f} ms. Memory of the worker {small:.0f} and {big:.0f} MB. "
        f"Start to first response, each time: {first} s.\n"
    )


def _unanalysed_targets(results: Results) -> Iterator[Target]:
    for size, seen in results["sizes"].items():
        slowest, one = min(seen.items(), key=lambda pair: float(pair[1]["ratio"]))
        name = f"without statistics, {int(size):,} accounts, slowest: {slowest}"
        ratio, target = one["ratio"], results["target"]
        yield name, f"≥ {target} of analysed", f"{ratio:.2f}", ratio >= target


def _unanalysed(results: Results, _accounts: int) -> Iterator[str]:
    sizes = results["sizes"]
    heads = (f"{int(size):,}: without, analysed, ratio" for size in sizes)
    rows = []
    for name in next(iter(sizes.values())):
        cells = []
        for seen in sizes.values():
            without, analysed = (median(seen[name][side]) for side in ("unanalysed", "analysed"))
            cells.append(f"{without:.0f}, {analysed:.0f}, {seen[name]['ratio']:.2f}")
        rows.append((name, *cells))
    yield from _table(("requests/s", *heads), rows)
    busy = f"load average of {results['busy']:g} on {os.cpu_count()} cores"
    yield f"The machine had a {busy} in the last 15 minutes.\n"


def _login_targets(results: Results) -> Iterator[Target]:
    times, target = results["times"], results["target"]
    text = f"≤ {target:g} times idle"
    yield "p99 of me during 100 sign-ins", text, f"{times:.1f} times", times <= target


def _logins(results: Results, _accounts: int) -> Iterator[str]:
    rows = [
        (name, f"{results[f'rate {key}']:.0f}", f"{results[key]:.1f}")
        for name, key in (("idle", "quiet"), ("during the sign-ins", "during"))
    ]
    yield from _table(("me, over 8 connections", "requests/s", "p99 ms"), rows)
    yield f"The hundred sign-ins took {results['seconds']:.1f} s.\n"


def _worker_targets(results: Results) -> Iterator[Target]:
    grants, mails = results["due"]
    left = sum(results["left"])
    measured = f"{results['reads']:,} answered, none failed; left: {left:,}"
    name = f"{grants:,} grants end, {mails:,} e-mails are sent"
    yield name, "no failed request", measured, not left


def _worker(results: Results, _accounts: int) -> Iterator[str]:
    rows = []
    figures = zip(results["due"], results["left"], results["seconds"], strict=True)
    for what, (due, left, took) in zip(("grants ended", "e-mails sent"), figures, strict=True):
        done = due - left
        rate = done / took if took else 0.0
        rows.append((what, f"{done:,} of {due:,}", f"{took:.0f}", f"{rate:.0f}"))
    yield from _table(("", "done", "after s", "per second"), rows)
    yield f"The local SMTP server received {results['delivered']:,} e-mails.\n"
    reads = [("idle", results["quiet"]), ("meanwhile", results["during"])]
    yield from _table(
        ("`me` and 10 users, alternately", "requests/s", "p50 ms", "p99 ms"),
        ((name, f"{r['rate']:.0f}", f"{r['p50']:.1f}", f"{r['p99']:.1f}") for name, r in reads),
    )


def _people_targets(results: Results) -> Iterator[Target]:
    rows = f"{results['rows']:,} rows of a file"
    for what, target in (("judged", people.JUDGED_TARGET), ("created", people.CREATED_TARGET)):
        took = results[what]
        yield f"{rows} {what}", f"≤ {target:g} s", f"{took:.1f} s", took <= target
    times = results["beside"] / results["quiet"]
    target = people.BESIDE_TARGET
    yield "p99 of me beside it", f"≤ {target:g} times quiet", f"{times:.1f} times", times <= target
    for name, memory in results["memory"].items():
        yield _peak_target(f"memory of the {name} that imports {results['rows']:,} rows", memory)


def _peak_target(name: str, memory: dict[str, float]) -> Target:
    peak = memory["peak"]
    return name, f"< {MEMORY_TARGET:.0f} MB", f"{peak:.0f} MB", peak < MEMORY_TARGET


def _people(results: Results, _accounts: int) -> Iterator[str]:
    rows = (
        ("uploaded, judged and stored", f"{results['judged']:.1f} s"),
        ("invitations, events and e-mails created", f"{results['created']:.1f} s"),
        ("p99 of `me` before it", f"{results['quiet']:.1f} ms"),
        ("p99 of `me` beside it", f"{results['beside']:.1f} ms, of {results['reads']:,} requests"),
        *(
            (
                f"memory of the {name}",
                f"at most {memory['peak']:.0f} MB, PSS {memory['pss']:.0f} MB",
            )
            for name, memory in results["memory"].items()
        ),
    )
    yield from _table((f"{results['rows']:,} people", ""), rows)
    busy = f"load average of {results['busy']:g} on {os.cpu_count()} cores"
    yield f"The machine had a {busy} in the last minute.\n"


def _mails_targets(results: Results) -> Iterator[Target]:
    rate, target = results["rate"], mails.RATE_TARGET
    name = f"{results['mails']:,} e-mails to a local SMTP server"
    yield name, f"≥ {target:g} a second", f"{rate:.0f} a second", rate >= target
    yield _peak_target("memory of the worker that sends them", results["memory"])


def _mails(results: Results, _accounts: int) -> Iterator[str]:
    yield (
        f"{results['mails']:,} invitations over {results['connections']} connections: "
        f"{results['rate']:.0f} a second, {results['cpu']:.1f} ms of CPU time each, at most "
        f"{results['memory']['peak']:.0f} MB of memory. The machine had "
        f"a load average of {results['busy']:g} on {os.cpu_count()} cores in the last minute.\n"
    )


def _scaling(results: Results, _accounts: int) -> Iterator[str]:
    forms = list(next(iter(results.values())))
    yield (
        "All programs, the load generator and the database share both cores."
        " Sixteen callers unless stated.\n"
    )
    rows = []
    for what, rates in results.items():
        ratios = " / ".join(f"{rates[form] / rates[forms[0]]:.2f}" for form in forms[1:])
        rows.append((what, *(f"{rates[form]:.0f}" for form in forms), ratios))
    yield from _table(("requests/s", *forms, "ratio"), rows)


_PARTS: Final[
    dict[
        str,
        tuple[str, Callable[[Results, int], Iterator[str]], Callable[[Results], Iterable[Target]]],
    ]
] = {
    "reads": ("Reading", _cases, _read_targets),
    "writes": ("Writing", _cases, _case_targets),
    "growth": ("A million accounts compared with ten thousand", _growth, _growth_targets),
    "unanalysed": ("A database without statistics", _unanalysed, _unanalysed_targets),
    "logins": ("A hundred simultaneous sign-ins", _logins, _login_targets),
    "worker": ("Reads while grants end and e-mails are sent", _worker, _worker_targets),
    "people": ("Import of ten thousand people", _people, _people_targets),
    "mails": ("E-mails to a local SMTP server", _mails, _mails_targets),
    "scaling": ("Several workers and nodes", _scaling, lambda _: ()),
}
"""Title, tables and targets of each part."""
