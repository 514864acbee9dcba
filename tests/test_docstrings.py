"""Docstrings name the parameters that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECTION = re.compile(r"^ *Args:\n((?: {4,}.*\n|\n)+)", re.MULTILINE)


def _parameters(node: ast.AST) -> set[str]:
    """Return the names of a function's parameters, or of a class's fields and constructor."""
    if isinstance(node, ast.ClassDef):
        fields = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
        names = {field.id for field in fields if isinstance(field, ast.Name)}
        return names.union(
            *(_parameters(one) for one in node.body if getattr(one, "name", "") == "__init__")
        )
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return {one.arg for one in [*every, arguments.vararg, arguments.kwarg] if one}


def _documented(docstring: str) -> set[str]:
    """Return the names in the section ``Args`` of a docstring."""
    section = SECTION.search(f"{docstring}\n")
    if section is None:
        return set()
    lines = [line for line in section[1].splitlines() if line.strip()]
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    entries = [line[indent:] for line in lines if line[indent] != " "]
    return {
        name.strip(" *`")
        for entry in entries
        for name in entry.partition(":")[0].split(",")
        if ":" in entry
    }


def test_documented_parameters_exist() -> None:
    wrong = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                unknown = _documented(ast.get_docstring(node) or "") - _parameters(node)
                wrong += [
                    f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {name}"
                    for name in sorted(unknown)
                ]
    assert wrong == []
