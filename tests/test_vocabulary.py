"""The vocabulary of the code: words that nobody outside would search for do not come back."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import collegium

SOURCE = Path(collegium.__file__).parent
ROOT = Path(__file__).parents[1]

# Each had a meaning of our own once. docs/glossary.md has the words that are used instead.
OLD_WORDS = frozenset(
    {
        *("admits", "anew", "bury", "deed", "deeds", "desk", "dialect_name", "fate"),
        *("harmless", "house", "keep_an_owner", "looks", "merely", "minded", "opening"),
        *("owes", "regrant", "saying", "sounds_of_authority", "stands_by", "tend"),
        *("trouble", "unanswered", "untold", "visit", "weigh", "whoever"),
    }
)

# Their usual meaning is allowed in the names of tests and of their helpers.
ORDINARY_WORDS = frozenset({"admits", "looks", "opening", "visit"})
# Fields of the Waldur API.
NAMES_OF_PROTOCOLS = frozenset({"house_nr"})
UNUSED_WORDS = re.compile(r"\b(deed|whoever|owed|untold|minded)\b", re.IGNORECASE)


def _words(identifier: str) -> set[str]:
    """Return an identifier in lower case and its parts: of ``_oldWord`` also old and word."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", identifier).lower().strip("_")
    return {snake, *snake.split("_")}


def _identifiers(path: Path) -> set[str]:
    text = path.read_text()
    return {
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME
    }


def test_parts_of_identifiers_are_found() -> None:
    assert _words("_DeedOfHouse") == {"deed_of_house", "deed", "of", "house"}
    assert _words("keep_an_owner") >= {"keep_an_owner"}


def _python_files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in folder.rglob("*.py") if "versions" not in path.parts)


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [(SOURCE, frozenset()), (ROOT / "tests", ORDINARY_WORDS), (ROOT / "bench", frozenset())],
    ids=["src", "tests", "bench"],
)
def test_identifiers_contain_no_old_word(folder: Path, allowed: frozenset[str]) -> None:
    found = {
        f"{path.relative_to(folder)}: {identifier}"
        for path in _python_files(folder)
        for identifier in _identifiers(path)
        if identifier not in NAMES_OF_PROTOCOLS and _words(identifier) & (OLD_WORDS - allowed)
    }
    assert sorted(found) == []


def _is_text(path: Path) -> bool:
    return path.suffix in {".py", ".md", ""} and path.is_file() and path != Path(__file__)


def test_old_words_occur_in_no_text() -> None:
    folders = [SOURCE, *(ROOT / name for name in ("docs", "tests", "bench", "script"))]
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    paths += [path for folder in folders for path in folder.rglob("*") if _is_text(path)]
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in paths
        for match in UNUSED_WORDS.finditer(path.read_text())
    ]
    assert found == []


def test_no_docstring_begins_with_give() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in _python_files(SOURCE, ROOT / "tests", ROOT / "bench")
        if path != Path(__file__) and '"""Give ' in path.read_text()
    ]
    assert found == []


def test_tree_of_the_architecture_page_is_the_tree() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = page.split("src/collegium/\n", 1)[1].split("```", 1)[0]
    shown = re.findall(r"^[├└]── (\S+)", tree, re.MULTILINE)
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in SOURCE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.name[0] != "_"
    }
    assert set(shown) == there
    assert len(shown) == len(there), "each once"
