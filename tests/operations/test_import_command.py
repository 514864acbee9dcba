"""The command ``collegium import``; ``tests/proof/test_imported_course.py`` kills it half-way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collegium import import_command
from collegium.imports import actions as import_actions
from collegium.imports.rules import RowState
from tests.support.serving import Service
from tests.support.world import World


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


class Command:
    """What the command does, in this process: two people of a file, and a malformed row."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.owner = world.person("olga")
        self.project = world.project(world.organisation("Initech", owner=self.owner), "Atlas")
        path = folder / "course.csv"
        path.write_text("email\nann@uni.example\n\x1b[2Jwrong\nbob@uni.example\n")
        self.actor, self.judged = import_command.judge(
            *(world.database, world.settings, path, "olga"),
            scope=self.project.uuid,
            role="PROJECT.MEMBER",
            columns={},
        )

    def store(self) -> str:
        with self.world.database.write() as tx:
            return import_actions.store(tx, self.actor, self.judged)[0]

    def run(self, progress: Callable[[Any], None] = lambda _: None) -> Any:
        database, settings = self.world.database, self.world.settings
        return import_command.run(database, settings, self.actor, self.judged, progress)


@pytest.fixture
def command(world: World, tmp_path: Path) -> Command:
    return Command(world, tmp_path)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
class TestWhileOthersActOnTheImport:
    def test_stopped_import_is_not_called_done(self, command: Command) -> None:
        uuid = command.store()

        def cancel(found: Any) -> None:
            if found.get("waiting"):
                with command.world.database.write() as tx:
                    import_actions.cancel(tx, command.actor, uuid)

        found = command.run(cancel)
        assert found == {RowState.READY: 2, RowState.MALFORMED: 1}
        assert import_command.is_stopped(found)
        done = command.run()
        assert done == {RowState.CREATED: 2, RowState.MALFORMED: 1}
        assert not import_command.is_stopped(done)

    def test_deleted_scope_ends_the_command_with_a_message(self, command: Command) -> None:
        def delete(_found: Any) -> None:
            command.world.delete(command.project)

        with pytest.raises(import_command.UnfitImportError, match="The import was deleted"):
            command.run(delete)

    def test_rows_that_others_did_not_choose_are_done_too(self, command: Command) -> None:
        uuid = command.store()
        with command.world.database.write() as tx:
            import_actions.start(tx, command.actor, uuid, [2])
        assert command.run()[RowState.CREATED] == 2

    def test_report_obeys_no_control_characters(self, command: Command) -> None:
        (line,) = import_command.details(command.judged.rows)
        assert line.startswith("row 3: [2Jwrong (email): ")
