"""Tests that share a slow fixture run on one worker."""

import pytest

from tests.conftest import FolderScheduling


@pytest.mark.parametrize(
    ("test", "scope"),
    [
        ("tests/db/test_young.py::test_a[sqlite]", "tests/db/"),
        ("tests/operations/test_release.py::test_a", "tests/operations/test_release.py"),
        ("tests/operations/test_cli.py::test_a", "tests/operations/test_cli.py::test_a"),
        ("tests/matrix/test_matrix.py::test_a[sqlite-b]", "tests/matrix/test_matrix.py::others"),
        (
            "tests/matrix/test_matrix.py::test_a[postgresql-b]",
            "tests/matrix/test_matrix.py::postgresql",
        ),
    ],
)
def test_tests_with_the_same_scope_run_on_one_worker(test: str, scope: str) -> None:
    scheduling = object.__new__(FolderScheduling)
    assert scheduling._split_scope(test) == scope


def test_every_path_of_the_scheduling_exists(pytestconfig: pytest.Config) -> None:
    paths = (*FolderScheduling.folders, *FolderScheduling.files, *FolderScheduling.by_database)
    for path in (*paths, *FolderScheduling.long):
        assert (pytestconfig.rootpath / path).exists(), path
