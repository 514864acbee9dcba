"""Every printed example of invitations and of requests: with HTTPie, and with client 7.9.0."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.clients.official import Official
from tests.clients.seeds import Example, examples, httpie, programs
from tests.clients.stage import Stage

INVITATIONS = examples("001_*.txt")
REQUESTS = examples("000_*.txt")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    yield stage
    stage.service.stop()


def test_the_examples_are_those_of_the_described_operations() -> None:
    assert len({example.call for example in INVITATIONS}) in {0, 11}
    assert len({example.call for example in REQUESTS}) in {0, 5}


@pytest.mark.parametrize("printed", [INVITATIONS, REQUESTS], ids=["invitations", "requests"])
def test_httpie_runs_as_printed_and_every_named_field_is_answered(
    stage: Stage, subtests: pytest.Subtests, printed: list[Example]
) -> None:
    for example in printed:
        with subtests.test(example.title):
            check(stage, example)


def check(stage: Stage, example: Example) -> None:
    answer = httpie(stage, example)
    if not example.fields:
        # A sentence, or nothing: clients read neither.
        assert answer is None or set(answer) == {"detail"}
        return
    rows = answer if isinstance(answer, list) else [answer]
    assert rows
    for row in rows:
        # Every described field, and nothing that is not described.
        assert set(row) == example.fields


@pytest.mark.parametrize("printed", [INVITATIONS, REQUESTS], ids=["invitations", "requests"])
def test_the_python_examples_run_as_printed(
    stage: Stage, official: Callable[[str], Official], printed: list[Example]
) -> None:
    told = programs(official("7.9.0"), stage, printed)
    assert told == {example.title: "" for example in printed}
