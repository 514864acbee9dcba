"""The examples and field tables of the documents that describe the system we were asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SEEDS = Path(__file__).parents[3] / "shared" / "seeds"
HOST = "https://api.example.com"
UUID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
TOKEN = "YOUR_API_TOKEN"


@dataclass(frozen=True)
class Example:
    """One described operation.

    Args:
        httpie: the words of the command line, as printed.
        python: the program, as printed.
        fields: the top-level fields that the answer's table names.
    """

    title: str
    httpie: str
    python: str
    fields: frozenset[str]

    @property
    def call(self) -> tuple[str, str]:
        """Method and path with ``{uuid}`` for the object."""
        method, url = self.httpie.split()[1:3]
        return method, url.removeprefix(HOST).replace(UUID, "{uuid}")


def examples(name: str) -> list[Example]:
    """Give the operations of one document, or none where the documents are not at hand."""
    found = sorted(SEEDS.glob(name))
    if not found:
        return []
    parts = re.split(r"^### ", found[0].read_text(), flags=re.MULTILINE)[1:]
    return [_example(part) for part in parts]


def _example(text: str) -> Example:
    httpie = re.search(r"```bash\n(.*?)```", text, re.DOTALL)
    python = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert httpie
    assert python
    answers = text.partition('=== "Responses"')[2]
    named = re.findall(r"^\s*\| `([a-z_]+)` \|", answers, re.MULTILINE)
    return Example(
        title=text.splitlines()[0].strip(),
        httpie=httpie[1].replace("\\\n", " "),
        python=re.sub(r"^    ", "", python[1], flags=re.MULTILINE),
        fields=frozenset(named),
    )
