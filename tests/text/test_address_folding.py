"""Addresses are folded and validated only in ``text/email_addresses.py``."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

import collegium
from collegium.api.brainstem.routes import DESCRIBED
from collegium.api.waldur.routes import ROUTES as WALDUR
from tests.api.scene import Scene, scene
from tests.hostile.test_values import waldur_url
from tests.support.site import Site, record_statements
from tests.support.world import World

__all__ = ["scene"]

SOURCE = Path(collegium.__file__).parent
HOME = "text/email_addresses.py"
SUFFIXES = ("", ".iexact", ".icontains", ".istartswith", ".iendswith", ".contains", ".in", ".gt")
_SQL_FOLDING = re.compile(
    # A function around an address, or around one more function.
    r"\b(lower|upper|initcap|casefold)\(([^()]|\([^()]*\))*?email"
    r'|email\w*\W+(NOT )?(ILIKE|COLLATE (?!"C"))'
    # On SQLite LIKE folds as well. The texts of ``email_search`` are folded already.
    r"|\bemail(_comparable)?\W+(NOT )?LIKE",
    re.IGNORECASE,
)
_FOLDING = {
    *("lower", "upper", "casefold", "initcap", "collate", "contains"),
    *("ilike", "icontains", "istartswith", "iendswith"),
}


def _sources() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(SOURCE)), path.read_text())
        for path in sorted(SOURCE.rglob("*.py"))
        if "migrations" not in path.parts
    ]


@pytest.mark.slow
def test_no_statement_of_a_module_folds_an_address() -> None:
    program = [sys.executable, "-m", "tests.support.module_statements"]
    texts = json.loads(subprocess.check_output(program, cwd=SOURCE.parents[1]))
    assert sum("email" in text for text in texts) > 50
    assert not {text for text in texts if _SQL_FOLDING.search(text)}


@pytest.mark.slow
def test_no_filter_of_a_list_folds_an_address(
    site: Site, scene: Scene, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with record_statements(monkeypatch) as texts:
        for path, table in (*WALDUR.items(), *DESCRIBED.items()):
            for name in (table["GET"].filters or ()) if "GET" in table else ():
                url = waldur_url(scene, path).replace("{id}", "1")
                for suffix in SUFFIXES if name.endswith("email}") else ("",):
                    field = quote(f"{name[:-1]}{suffix}}}" if suffix else name)
                    for value in ("ada@example.org", "ada"):
                        site.get(f"{url}?{field}={quote(value)}", world.staff)
    # Searches for names may fold, so the pattern is seen to be in use.
    assert any(re.search(r"(?i)casefold\(|ilike", text) for text in texts)
    assert sum("email" in text for text in set(texts)) > 50
    assert not {text for text in texts if _SQL_FOLDING.search(text)}


@pytest.mark.slow
def test_addresses_are_folded_only_in_email_addresses() -> None:
    calls = [
        (name, ast.unparse(node))
        for name, text in _sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "attr", "") or getattr(node.func, "id", "")) in _FOLDING
    ]
    assert len(calls) > 50
    assert {name for name, call in calls if re.search("mail|address", call)} == {HOME}


def test_addresses_are_validated_by_one_function() -> None:
    assert {name for name, text in _sources() if re.search(r"\bvalidate_email\b", text)} == {HOME}
