"""Which tests run together, and which belong to a part."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from tests.conftest import FolderScheduling, pytest_ignore_collect

TESTS = Path(__file__).parents[1]


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


def test_finished_units_are_forgotten_and_others_kept() -> None:
    scheduling: Any = object.__new__(FolderScheduling)
    node = Mock(shutting_down=True)
    scheduling.assigned_work = {
        node: {"done": {"a": True, "b": True}, "half": {"c": True, "d": False}}
    }
    scheduling._reschedule(node)
    assert scheduling.assigned_work == {node: {"half": {"c": True, "d": False}}}


def test_parts_have_no_file_in_common_and_pages_are_one_of_them() -> None:
    parts: dict[str, set[str]] = {}
    for part in ("fast", "pages"):
        config: Any = SimpleNamespace(getoption=lambda _name, part=part: part)
        assert not any(pytest_ignore_collect(TESTS / name, config) for name in ("", "sign_in"))
        parts[part] = {
            str(path.relative_to(TESTS))
            for path in TESTS.rglob("test_*.py")
            if not any(pytest_ignore_collect(one, config) for one in (path.parent, path))
        }
    assert {"rules/test_names.py", "sign_in/test_tokens.py"} <= parts["fast"]
    assert {"web/test_forms.py", "sign_in/test_pages.py", "hooks/test_pages.py"} <= parts["pages"]
    assert not parts["fast"] & parts["pages"]
    for slow in ("browser/test_every_page.py", "db/test_pages_speed.py", "matrix/test_pages.py"):
        assert slow not in parts["fast"] | parts["pages"]
