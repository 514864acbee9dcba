"""The bench: makes its data, measures part by part, writes the results."""

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

from bench import beside, data, growing, reading, report, writing, young
from bench.machine import LOAD_CORE, there
from bench.shelf import KINDS, Shelf
from collegium import logs
from collegium.settings import load

_FOUND: Final = data.FOLDER / "found.json"
_NOUNS: Final = ("reads", "writes", "growth", "young", "logins", "owing", "scaling")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _parts(
    shelf: Shelf, big: int, seconds: float, rounds: int
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Give everything that can be measured, by name: ``reads-sqlite`` and so on."""
    small = data.SMALL

    def part(noun: str, kind: str) -> Callable[[], dict[str, Any]]:
        common: dict[str, Any] = {"seconds": seconds, "say": _say}
        match noun:
            case "reads":
                url = partial(shelf.url, kind, small)
                return lambda: reading.run(url(), small, rounds=rounds, **common)
            case "writes":
                run: Callable[..., dict[str, Any]] = writing.run
            case "growth":
                sizes = (small, big)
                return lambda: growing.run(shelf, kind, sizes, rounds=rounds, **common)
            case "young":
                few = young.SIZES if big > small else young.SIZES[:2]
                return lambda: young.run(shelf, kind, few, rounds=rounds, **common)
            case "logins":
                run = beside.logins
            case "owing":
                return lambda: beside.owing(shelf, kind, big, **common)
            case _:
                run = beside.scaling
        return lambda: run(shelf, kind, small, rounds=rounds, **common)

    return {f"{noun}-{kind}": part(noun, kind) for noun, kind in product(_NOUNS, KINDS)}


def _kept() -> dict[str, Any]:
    """Give what was measured before, part by part."""
    found: dict[str, Any] = json.loads(_FOUND.read_text()) if _FOUND.exists() else {}
    return found


def _git(*words: str) -> str:
    return subprocess.run(  # noqa: S603 - constants
        ["git", *words],  # noqa: S607 - wherever it is
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Ten thousand accounts, short rounds, no results kept.")
@click.option("--only", multiple=True, help="A part (reads-sqlite), all of a noun, or of a kind.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of each program.")
@click.option("--accounts", default=data.BIG, show_default=True, help="Of the big database.")
@click.option("--render", is_flag=True, help="Measure nothing, write the results once more.")
def main(
    *, quick: bool, only: tuple[str, ...], seconds: float, rounds: int, accounts: int, render: bool
) -> None:
    """Measure the service against its floor, and write bench/RESULTS.md.

    Parts are reads, writes, growth, young, logins, owing and scaling, each with -sqlite or
    -postgresql. What was measured before stays in the results.
    """
    # Killed, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.sched_setaffinity(0, there(LOAD_CORE))
    logging.disable(logging.INFO)
    logs.configure(load({"COLLEGIUM_SECRET_KEY": data.SECRET_KEY, "COLLEGIUM_LOG_LEVEL": "error"}))
    if quick:
        seconds, rounds, accounts = min(seconds, 1.0), min(rounds, 2), data.SMALL
    kept = _kept()
    shelf = Shelf(_say)
    parts = {} if render else _parts(shelf, accounts, seconds, rounds)
    unknown = set(only) - {word for name in parts for word in (name, *name.split("-"))}
    if unknown and not render:
        raise click.BadParameter(f"there is no part {', '.join(unknown)}: {', '.join(parts)}")
    try:
        for name, run in parts.items():
            if only and not {name, *name.split("-")} & set(only):
                continue
            _say(f"\n{name}")
            began = time.perf_counter()
            found = run()
            # Read again: another run may have measured another part meanwhile.
            kept = _kept()
            kept[name] = {
                "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
                "commit": _git("rev-parse", "--short", "HEAD")
                + ("+" if _git("status", "--porcelain", "src") else ""),
                "took": round(time.perf_counter() - began),
                "seconds": seconds,
                "rounds": rounds,
                "accounts": accounts,
                "found": found,
            }
            if not quick:
                data.FOLDER.mkdir(parents=True, exist_ok=True)
                _FOUND.write_text(json.dumps(kept))
        if not quick:
            report.write(kept, shelf.server.version)
            _say("\nwritten: bench/RESULTS.md and bench/raw.json")
    finally:
        shelf.close()


if __name__ == "__main__":
    main()
