"""The command ``collegium import``, on both databases, and killed half-way."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from collegium.db.statements import Statement
from collegium.db.tables import invitations
from tests.imports.scene import MALFORMED, REPEATED, csv_file
from tests.support.serving import Service
from tests.support.world import World

SIZE = 600
_COUNT = Statement[int](
    select(func.count(func.distinct(invitations.c.email)).label("people")).select_from(invitations)
)
_ALL = Statement[int](select(func.count().label("number")).select_from(invitations))


def test_killed_command_is_resumed_and_nobody_is_invited_twice(
    service_on_url: Service, world: World, tmp_path: Path
) -> None:
    owner = world.person("olga")
    project = world.project(world.organisation("Initech", owner=owner), "Atlas")
    path = tmp_path / "course.csv"
    path.write_bytes(csv_file(SIZE))
    words = ("import", str(path), "--scope", project.uuid, "--as", "olga")

    def count(statement: Statement[int] = _ALL) -> int:
        with world.database.read() as tx:
            return tx.fetch_only(statement)

    tried = service_on_url.run(*words, "--dry-run")
    ready = SIZE - MALFORMED - REPEATED
    assert tried.returncode == 1, tried.stderr
    assert f"  {ready}  ready\n" in tried.stdout
    assert "row 21: uni.example (email): This is not an e-mail address." in tried.stdout
    assert count() == 0

    running = service_on_url._start(*words)
    while not count():
        time.sleep(0.01)
    running.kill()
    running.wait(timeout=10)
    assert 0 < count() < ready
    done = service_on_url.run(*words)
    assert done.returncode == 1, done.stderr
    assert f"  {ready}  invited\n" in done.stdout
    assert count() == count(_COUNT) == ready
    # Nothing is left to do.
    assert service_on_url.run(*words).stdout == done.stdout
    assert count() == ready


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_exit_codes_and_one_line_for_what_is_wrong(
    service_on_url: Service, world: World, tmp_path: Path
) -> None:
    owner = world.person("olga")
    project = world.project(world.organisation("Initech", owner=owner), "Atlas")
    world.person("otto")
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("Wer,Wohin\nAnn,ann@uni.example\n")
    bad.write_bytes(b"\0\1\2")
    usual = {"--scope": f"http://x/api/projects/{project.uuid}/", "--as": "olga"}

    def run(file: Path, **options: str) -> tuple[int, str]:
        given = usual | {f"--{name}".replace("_", ""): text for name, text in options.items()}
        done = service_on_url.run("import", str(file), *(w for pair in given.items() for w in pair))
        return done.returncode, done.stderr + done.stdout

    run_good: Callable[..., tuple[int, str]] = lambda **options: run(  # noqa: E731 - a partial with text
        good, role="PROJECT.MEMBER", column="email=Wohin", **options
    )
    for result, text in (
        (run(tmp_path / "none.csv"), "No such file"),
        (run(bad), "cannot be read"),
        (run_good(as_="otto"), "otto sees no organisation or project"),
        (run(good, role="CUSTOMER.OWNER", column="email=Wohin"), "no role CUSTOMER.OWNER"),
        (run(good, column="email"), "--column must be like"),
    ):
        assert result[0] == 2, result
        assert text in result[1]
    assert run_good() == (0, "     1  invited\n")
