"""The examples and field tables of the documents that describe the system we were asked for."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.clients.official import Official
from tests.support.serving import Service

SEEDS = Path(__file__).parents[3] / "shared" / "seeds"
HTTPIE = Path(sys.executable).with_name("http")
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


class Stage(Protocol):
    """A running service on which examples can be tried."""

    @property
    def service(self) -> Service: ...

    def put_in(self, text: str, example: Example) -> str:
        """Put host, token and ids into an example."""


def httpie(stage: Stage, example: Example) -> Any:
    """Run the command line as printed; give the body of the answer."""
    words = shlex.split(stage.put_in(example.httpie, example))[1:]
    done = subprocess.run(
        [HTTPIE, "--check-status", "--ignore-stdin", "--body", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def programs(client: Official, stage: Stage, examples: Sequence[Example]) -> dict[str, str]:
    """Run the programs as printed; give what each of them ended with, by its title."""
    # Where an operation has no body in its answer, this client has only the detailed call.
    texts = {
        example.title: re.sub(
            r"(\w+)\.sync\(",
            r'getattr(\1, "sync", \1.sync_detailed)(',
            stage.put_in(example.python, example),
        )
        for example in examples
    }
    file = stage.service.folder / "programs.json"
    file.write_text(json.dumps(texts))
    told: dict[str, str] = client.tell("printed.py", stage.service, file)
    return told
