"""The operations examples of invitations and requests, with HTTPie and client 7.9.0."""

from collections.abc import Callable, Iterator

import pytest

from tests.clients.example_service import InvitationExamples
from tests.clients.official import Official
from tests.clients.seeds import Example, examples, httpie, programs

INVITATIONS = examples("001_*.txt")
REQUESTS = examples("000_*.txt")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InvitationExamples]:
    server = InvitationExamples(tmp_path_factory.mktemp("server"))
    yield server
    server.service.stop()


def test_every_described_operation_has_an_example() -> None:
    assert len({example.call for example in INVITATIONS}) in {0, 11}
    assert len({example.call for example in REQUESTS}) in {0, 5}


both = pytest.mark.parametrize(
    "operations", [INVITATIONS, REQUESTS], ids=["invitations", "requests"]
)


@both
def test_httpie_example_runs_as_printed_and_returns_every_field(
    server: InvitationExamples, subtests: pytest.Subtests, operations: list[Example]
) -> None:
    for example in operations:
        with subtests.test(example.title):
            body = httpie(server, example)
            if not example.fields:
                assert body is None or set(body) == {"detail"}
                continue
            rows = body if isinstance(body, list) else [body]
            assert rows
            # A later version of the API has more fields.
            assert all(set(row) >= example.fields for row in rows)


@both
def test_python_examples_run_as_printed(
    server: InvitationExamples, official: Callable[[str], Official], operations: list[Example]
) -> None:
    errors = programs(official("7.9.0"), server, operations)
    assert errors == {example.title: "" for example in operations}
