"""Mutate the tables of the rules, one entry at a time, and count the surviving mutants.

mutmut mutates only functions. Half of the rules are tables: states and transitions, roles and their
permissions, limits and lifetimes. This module removes, changes or replaces each entry, and prints
the counts of both. docs/mutation.md must explain every surviving mutant.

script/mutate runs it in a copy of the checkout, because it overwrites files.
"""

from __future__ import annotations

import ast
import gc
import os
import resource
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

SOURCE: Final = Path("src/collegium")
MUTMUT: Final = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]
RULES: Final = tuple(
    path for pattern in MUTMUT["only_mutate"] for path in sorted(Path().glob(pattern))
)
"""The pure modules, the same as mutmut's; most have tests in ``tests/rules/test_<noun>.py``."""
ENOUGH: Final = 0.98
SECONDS: Final = 60
"""CPU seconds; a test run that takes longer counts as failed."""

# What is loaded before the first fork is not loaded again by every child; nothing of ours is.
WARM: Final = ("PIL.Image", "cryptography", "email_validator", "re2", "zxcvbn.matching")
# The same as mutmut's.
QUIET: Final = ("-x", "-q", "--tb=no", *MUTMUT["pytest_add_cli_args"])

_TYPES: Final = frozenset({"annotation", "returns", "bases"})
"""Fields of the syntax tree that are no entries of a table."""

_OTHERWISE: Final[dict[type[ast.AST], ast.AST]] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.FloorDiv(),
    ast.Pow: ast.Mult(),
    ast.LShift: ast.RShift(),
    ast.Eq: ast.NotEq(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.And: ast.Or(),
    ast.Or: ast.And(),
}


class Mutant(NamedTuple):
    """A changed file: where, what stood there, what stands there now."""

    path: Path
    table: str
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        noun = noun_of(self.path.with_suffix("").parts)
        return f"{noun}.{self.table}: `{self.before}` → `{self.after}`"


def noun_of(parts: Sequence[str]) -> str:
    """Return the noun of a module: of ``scopes.groups.rules`` it is ``groups``."""
    return parts[-2] if parts[-1] in {"rules", "encoding"} else parts[-1]


def members(tree: ast.Module) -> dict[str, list[str]]:
    """Return the constants of each class of a file."""
    return {
        node.name: [
            target.id
            for line in node.body
            if isinstance(line, ast.Assign)
            for target in line.targets
            if isinstance(target, ast.Name) and target.id.isupper()
        ]
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def places(node: ast.AST) -> Iterator[tuple[Any, Any, ast.AST]]:
    """Yield the nodes outside of functions that can be mutated, with their holder and slot.

    Left out are types, docstrings and imports, and that the key of a row has as many parts as
    those of the others. What mutmut leaves out, functions under a decorator, is among it.
    """
    for field, value in ast.iter_fields(node):
        if field in _TYPES:
            continue
        slots = enumerate(value) if isinstance(value, list) else [(field, value)]
        for at, child in slots:
            if not isinstance(child, ast.AST) or _is_out(child):
                continue
            if not (isinstance(child, ast.Tuple) and field in {"keys", "key"}):
                yield value if isinstance(value, list) else node, at, child
            yield from places(child)


def _is_out(node: ast.AST) -> bool:
    match node:
        case ast.Expr(ast.Constant()) | ast.Import() | ast.ImportFrom():
            return True
        case ast.If(ast.Name("TYPE_CHECKING")) | ast.Call(ast.Name("TypeVar")):
            return True
        case ast.Assign(value=ast.Subscript(ast.Name("tuple"))):
            return True
        case ast.FunctionDef():
            return not node.decorator_list
    return False


def others(node: ast.AST, known: dict[str, list[str]]) -> Iterator[tuple[ast.AST, str, str]]:
    """Yield the replacements of a node, with its text before and after."""
    match node:
        case ast.Tuple(elts, ast.Load()) | ast.Set(elts):
            for at, gone in enumerate(elts):
                left = [*elts[:at], *elts[at + 1 :]]
                yield _with(node, elts=left), _text(gone), ""
        case ast.Dict(keys, values):
            for at, (key, gone) in enumerate(zip(keys, values, strict=True)):
                left, kept = ([*some[:at], *some[at + 1 :]] for some in (keys, values))
                yield _with(node, keys=left, values=kept), f"{_text(key)}: {_text(gone)}", ""
        case ast.Attribute(ast.Name(name), attr) if attr in known.get(name, ()):
            names = known[name]
            other = _with(node, attr=names[(names.index(attr) + 1) % len(names)])
            yield other, _text(node), _text(other)
        case _:
            if changed := _otherwise(node):
                yield changed, _text(node), _text(changed)


def _otherwise(node: ast.AST) -> ast.AST | None:
    match node:
        case ast.Constant(bool(value)):
            return ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            return ast.Constant(value + 1)
        case ast.Constant(str(value)):
            return ast.Constant(f"XX{value}XX")
    return _OTHERWISE.get(type(node))


def _with(node: ast.AST, **others: Any) -> ast.AST:
    return type(node)(**dict(ast.iter_fields(node)) | others)


def mutants(path: Path, known: dict[str, list[str]]) -> Iterator[Mutant]:
    """Yield the mutants of a file."""
    tree = ast.parse(path.read_text())
    known = known | members(tree)
    for statement in tree.body:
        for holder, at, node in list(places(ast.Module([statement], []))):
            for other, before, after in others(node, known):
                _put(holder, at, other)
                of = f"{holder.arg}=" if isinstance(holder, ast.keyword) else ""
                name = _name(statement)
                yield Mutant(path, name, of + before, of + after, ast.unparse(tree))
            _put(holder, at, node)


def _name(statement: ast.stmt) -> str:
    match statement:
        case ast.ClassDef(name) | ast.AnnAssign(ast.Name(name)):
            return name
        case ast.Assign([target]):
            return _text(target)
    return ""


def _put(holder: Any, at: Any, node: ast.AST) -> None:
    if isinstance(holder, list):
        holder[at] = node
    else:
        setattr(holder, at, node)


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.operator | ast.cmpop | ast.boolop):
        return type(node).__name__.lower()
    return ast.unparse(node) if node else ""


def warm_up() -> None:
    """Load what every child needs and nothing that is changed."""
    sys.dont_write_bytecode = True
    for name in WARM:
        import_module(name)
    pytest.main([*QUIET, "tests/__init__.py"])  # nothing to run, but its plugins are loaded
    if any(name.startswith("collegium") for name in sys.modules):
        raise RuntimeError("The rules were loaded too early.")
    gc.freeze()


def passes(*selection: str) -> bool:
    """Return whether the tests pass in a child process that has not loaded the package yet."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(pytest.main([*QUIET, *selection]))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == pytest.ExitCode.USAGE_ERROR:
        raise RuntimeError(f"There are no such tests: {' '.join(selection)}")
    # A file whose tests all try many values has none to run first.
    return status in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


def is_killed(mutant: Mutant) -> bool:
    """Return whether a test fails with the mutant; restore the file.

    The likeliest tests run first: the file's own, and of them those that try few values.
    """
    before = mutant.path.read_text()
    own = Path(f"tests/rules/test_{noun_of(mutant.path.with_suffix('').parts)}.py")
    mutant.path.write_text(mutant.source)
    try:
        if own.exists() and not passes(str(own), "-m", "not hypothesis"):
            return True
        return not passes("tests/rules")
    finally:
        mutant.path.write_text(before)


def of_tables() -> tuple[Counter[str], list[str]]:
    """Mutate every table; return the counts and the surviving mutants."""
    counts, left = Counter[str](), []
    known = members(ast.parse((SOURCE / "access" / "rules.py").read_text()))
    for path in RULES:
        for mutant in mutants(path, known):
            if is_killed(mutant):
                counts["killed"] += 1
            else:
                counts["survived"] += 1
                left.append(str(mutant))
    return counts, left


def of_functions() -> tuple[Counter[str], list[str]]:
    """Return the counts and the surviving mutants of the last run of mutmut."""
    counts, left = Counter[str](), []
    for line in _mutmut("results", "--all", "true"):
        name, _, status = line.strip().rpartition(": ")
        counts[status] += 1
        if status not in {"killed", "timeout"}:
            changed = [
                one for one in _mutmut("show", name) if one[:1] in "+-" and one[1:2] != one[0]
            ]
            old, new = (" ".join(one[1:].strip() for one in changed if one[0] == s) for s in "-+")
            left.append(f"{noun_of(name.split('.')[:-1])}: `{old}` → `{new}`")
    return counts, left


def _mutmut(*words: str) -> list[str]:
    call = [sys.executable, "-m", "mutmut", *words]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line]


def main() -> int:
    """Print the counts and the survivors; return 1 if too many survive or one is unexplained."""
    warm_up()
    if not passes("tests/rules"):
        print("The tests of the rules fail as they are.")
        return 1
    explained = Path("docs/mutation.md").read_text()
    total, killed, bare = 0, 0, 0
    for what, (counts, left) in (("functions", of_functions()), ("tables", of_tables())):
        told = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
        print(f"{what}: {counts.total()} mutants, {told}")
        total += counts.total()
        killed += counts["killed"] + counts["timeout"]
        for one in left:
            is_known = one in explained
            bare += not is_known
            print(f"  {'explained' if is_known else 'SURVIVED '}  {one}")
    print(f"score: {killed} of {total}, {killed / total:.1%}; unexplained: {bare}")
    return 0 if killed >= ENOUGH * total and not bare else 1


if __name__ == "__main__":
    sys.exit(main())
