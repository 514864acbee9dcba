"""The service depends on what it imports, and on nothing else."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
USED_BY_OTHERS = {"defusedxml"}
"""openpyxl reads XML with it where it is installed."""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared() -> set[str]:
    """Return the names of the packages that are installed with the service, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    found = [re.match(r"[\w.-]+", line) for line in lines]
    return {_normal(one[0]) for one in found if one}


def _imported() -> set[str]:
    """Return the top-level modules that the service imports, anywhere in its files."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"collegium"}


def test_declared_packages_are_those_that_are_imported() -> None:
    packages = packages_distributions()
    imported = _imported()
    used = {_normal(name) for module in imported for name in packages[module]}
    assert _declared() - used == USED_BY_OTHERS
    # Two packages may share a module, as those of OpenTelemetry do.
    undeclared = [
        module
        for module in sorted(imported)
        if not {_normal(name) for name in packages[module]} & _declared()
    ]
    assert undeclared == []
