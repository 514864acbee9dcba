"""Benchmarks: create the data, measure each part, write the results."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import product
from typing import Any, Final

import click

from bench import background_load, data, growth, reading, report, unanalysed, writing
from bench.databases import KINDS, Databases
from bench.machine import LOAD_CORE, available
from collegium import logs
from collegium.settings import load

_RESULTS: Final = data.FOLDER / "results.json"
_NOUNS: Final = ("reads", "writes", "growth", "unanalysed", "logins", "worker", "scaling")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _parts(
    databases: Databases, big: int, seconds: float, rounds: int
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return the benchmarks by name, such as ``reads-sqlite``."""
    small = data.SMALL

    def part(noun: str, kind: str) -> Callable[[], dict[str, Any]]:
        common: dict[str, Any] = {"seconds": seconds, "say": _say}
        match noun:
            case "reads":
                url = partial(databases.url, kind, small)
                return lambda: reading.run(url(), small, rounds=rounds, **common)
            case "writes":
                run: Callable[..., dict[str, Any]] = writing.run
            case "growth":
                sizes = (small, big)
                return lambda: growth.run(databases, kind, sizes, rounds=rounds, **common)
            case "unanalysed":
                few = unanalysed.SIZES if big > small else unanalysed.SIZES[:2]
                return lambda: unanalysed.run(databases, kind, few, rounds=rounds, **common)
            case "logins":
                run = background_load.logins
            case "worker":
                return lambda: background_load.worker(databases, kind, big, **common)
            case _:
                run = background_load.scaling
        return lambda: run(databases, kind, small, rounds=rounds, **common)

    return {f"{noun}-{kind}": part(noun, kind) for noun, kind in product(_NOUNS, KINDS)}


def _stored() -> dict[str, Any]:
    """Return the stored results of each part."""
    results: dict[str, Any] = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}
    return results


def _git(*words: str) -> str:
    return subprocess.run(  # noqa: S603 - constants
        ["git", *words],  # noqa: S607 - found in PATH
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--quick", is_flag=True, help="Ten thousand accounts, short rounds, results are not stored."
)
@click.option("--only", multiple=True, help="Parts to run: reads-sqlite, reads or sqlite.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds for each program.")
@click.option("--accounts", default=data.BIG, show_default=True, help="Size of the large database.")
@click.option("--render", is_flag=True, help="Write the results again without measuring.")
def main(
    *, quick: bool, only: tuple[str, ...], seconds: float, rounds: int, accounts: int, render: bool
) -> None:
    """Compare the service with the baseline program and write bench/RESULTS.md.

    Parts are reads, writes, growth, unanalysed, logins, worker and scaling, each with -sqlite
    or -postgresql. Results of parts that do not run are kept.
    """
    # Stop child processes on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.sched_setaffinity(0, available(LOAD_CORE))
    logging.disable(logging.INFO)
    logs.configure(load({"COLLEGIUM_SECRET_KEY": data.SECRET_KEY, "COLLEGIUM_LOG_LEVEL": "error"}))
    if quick:
        seconds, rounds, accounts = min(seconds, 1.0), min(rounds, 2), data.SMALL
    stored = _stored()
    databases = Databases(_say)
    parts = {} if render else _parts(databases, accounts, seconds, rounds)
    unknown = set(only) - {word for name in parts for word in (name, *name.split("-"))}
    if unknown and not render:
        raise click.BadParameter(f"unknown part {', '.join(unknown)}: {', '.join(parts)}")
    try:
        for name, run in parts.items():
            if only and not {name, *name.split("-")} & set(only):
                continue
            _say(f"\n{name}")
            started = time.perf_counter()
            results = run()
            # Another run may have stored another part in the meantime.
            stored = _stored()
            stored[name] = {
                "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
                "commit": _git("rev-parse", "--short", "HEAD")
                + ("+" if _git("status", "--porcelain", "src") else ""),
                "took": round(time.perf_counter() - started),
                "seconds": seconds,
                "rounds": rounds,
                "accounts": accounts,
                "results": results,
            }
            if not quick:
                data.FOLDER.mkdir(parents=True, exist_ok=True)
                _RESULTS.write_text(json.dumps(stored))
        if not quick:
            report.write(stored, databases.server.version)
            _say("\nwritten: bench/RESULTS.md and bench/raw.json")
    finally:
        databases.close()


if __name__ == "__main__":
    main()
