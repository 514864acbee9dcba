"""What generated pages share: their head, their tables, and docstrings as text."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

NOTHING: Final = "\N{EN DASH}"
"""What a cell says that has nothing to say."""


def page(title: str, source: str, *parts: str) -> str:
    """Return a generated page.

    Args:
        source: path of the code that it is made from.
        parts: paragraphs, headings and tables.
    """
    head = f"<!-- script/docs reference makes this page from {source}. -->"
    return "\n\n".join([head, f"# {title}", *parts]) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. A vertical bar in a cell is escaped, a line break becomes a space."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") or NOTHING


def code(text: str) -> str:
    """Return text as code; a dash if there is none."""
    return f"`{text}`" if text else NOTHING


def linked_from_reference(text: str) -> str:
    """Return Markdown whose links are relative to ``docs/`` for a page in ``docs/reference/``."""
    return re.sub(r"\]\((?=[\w-]+\.md)", "](../", text)


def attribute_docs(owner: type) -> dict[str, str]:
    """Return the docstrings under the attributes of a class, by the name of the attribute."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 - it is the source of a class
    found = {}
    for above, below in zip(definition.body, definition.body[1:], strict=False):
        match above, below:
            case (
                (ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)])),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = inspect.cleandoc(text)
            case _:
                pass
    return found


def sections(source: str, indent: str = "") -> Iterator[tuple[str, str]]:
    """Yield the sections of source text: title and text.

    A comment with an empty line above and below it is the title of a section.
    """
    _, *parts = re.split(rf"(?m)^\n{indent}# (.+)\n\n", source)
    yield from zip(parts[::2], parts[1::2], strict=True)
