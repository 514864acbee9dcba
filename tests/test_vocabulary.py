"""The vocabulary of the code: words that nobody outside would search for do not come back."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import collegium

SOURCE = Path(collegium.__file__).parent
ROOT = Path(__file__).parents[1]

# Each had a meaning of our own once. docs/glossary.md has the words that are used instead.
OLD_WORDS = frozenset(
    {
        *("admits", "anew", "bury", "deed", "deeds", "desk", "dialect_name", "exchange", "fate"),
        *("harmless", "house", "keep_an_owner", "looks", "merely", "minded", "opening"),
        *("owes", "regrant", "saying", "sounds_of_authority", "stands_by", "tend"),
        *("trouble", "unanswered", "untold", "visit", "weigh", "whoever"),
    }
)


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


def test_words_of_the_old_language_are_in_no_identifier() -> None:
    found = {
        f"{path.relative_to(SOURCE)}: {identifier}"
        for path in SOURCE.rglob("*.py")
        if "versions" not in path.parts
        for identifier in _identifiers(path)
        if _words(identifier) & OLD_WORDS
    }
    assert sorted(found) == []


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
