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
from typing import Any, Final

import click

from bench import background_load, data, growth, mails, people, reading, report, unanalysed, writing
from bench.databases import KINDS, Databases, Part
from bench.machine import LOAD_CORE, available
from collegium import logs
from collegium.settings import load

_RESULTS: Final = data.FOLDER / "results.json"
_NOUNS: Final[dict[str, Callable[[Part], dict[str, Any]]]] = {
    "reads": reading.run,
    "writes": writing.run,
    "growth": growth.run,
    "unanalysed": unanalysed.run,
    "logins": background_load.logins,
    "worker": background_load.worker,
    "people": people.run,
    "mails": mails.run,
    "scaling": background_load.scaling,
}
_say = partial(click.echo, err=True)
_PARTS: Final = {f"{noun}-{kind}": (noun, kind) for noun in _NOUNS for kind in KINDS}


def _stored() -> dict[str, Any]:
    """Return the newest stored results of each part: published ones, and those of this checkout.

    A new checkout has only the published ones, and a run of some parts must not lose the others.
    """
    stored: dict[str, Any] = {}
    for path in (report.RAW, _RESULTS):
        found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        for name, part in found.items():
            if name in _PARTS and (name not in stored or part["at"] >= stored[name]["at"]):
                stored[name] = part
    return stored


def _git(*words: str) -> str:
    return subprocess.check_output(["git", *words], text=True).strip()  # noqa: S603, S607 - constants


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

    Parts are reads, writes, growth, unanalysed, logins, worker, people, mails and scaling, each
    with -sqlite or -postgresql. Results of parts that do not run are kept.
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
    unknown = set(only) - {word for name, words in _PARTS.items() for word in (name, *words)}
    if unknown:
        raise click.BadParameter(f"unknown part {', '.join(unknown)}: {', '.join(_PARTS)}")
    try:
        for name, (noun, kind) in _PARTS.items():
            if render or (only and not {name, noun, kind} & set(only)):
                continue
            _say(f"\n{name}")
            started = time.perf_counter()
            part = Part(databases, kind, (data.SMALL, accounts), seconds, rounds, _say)
            results = _NOUNS[noun](part)
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
                _RESULTS.write_text(json.dumps(stored))
        if not quick:
            report.write(stored, databases.server.version)
            _say("\nwritten: bench/RESULTS.md and bench/raw.json")
    finally:
        databases.close()


if __name__ == "__main__":
    main()
