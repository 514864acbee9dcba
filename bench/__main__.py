"""The bench: makes the data, measures, writes the results. ``script/bench --help``."""

from __future__ import annotations

import logging
import os

import click
import structlog

from bench import data, reading, writing
from bench.machine import LOAD_CORE, PostgreSQL


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command()
@click.option("--accounts", default=data.SMALL)
@click.option("--seconds", default=3.0)
@click.option("--rounds", default=3)
@click.option("--only", multiple=True, default=("sqlite-reads",))
def main(accounts: int, seconds: float, rounds: int, only: tuple[str, ...]) -> None:
    """Measure what is asked for."""
    os.sched_setaffinity(0, {LOAD_CORE})
    logging.disable(logging.INFO)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if "sqlite-reads" in only:
        url = f"sqlite:///{data.sqlite(accounts, _say)}"
        reading.run(url, accounts, seconds, rounds, _say)
    if "sqlite-writes" in only:
        first = data.sqlite(accounts, _say)

        def copies(name: str) -> str:
            source = first if name == "template" else first.with_name("template.db")
            return f"sqlite:///{data.copy(source, name)}"

        writing.run(copies, accounts, seconds, rounds, _say)
    if "postgresql-writes" in only:
        server = PostgreSQL()
        base = data.postgresql(server, accounts, _say)
        writing.run(
            lambda name: server.url(server.copy(base if name == "template" else "template", name)),
            accounts, seconds, rounds, _say,
        )
        server.stop()
    if "postgresql-reads" in only:
        server = PostgreSQL()
        url = server.url(data.postgresql(server, accounts, _say))
        reading.run(url, accounts, seconds, rounds, _say)
        server.stop()


if __name__ == "__main__":
    main()
