"""The examples and field tables of the documents that describe the required API."""

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
        httpie: the command line, as printed.
        python: the program, as printed.
        fields: the top-level fields of the response.
    """

    title: str
    httpie: str
    python: str
    fields: frozenset[str]

    @property
    def call(self) -> tuple[str, str]:
        """Return method and path, with ``{uuid}`` for the object."""
        method, url = self.httpie.split()[1:3]
        return method, url.removeprefix(HOST).replace(UUID, "{uuid}")


def examples(name: str) -> list[Example]:
    """Return the operations of a document, or none if the documents are missing."""
    files = sorted(SEEDS.glob(name))
    if not files:
        return []
    parts = re.split(r"^### ", files[0].read_text(), flags=re.MULTILINE)[1:]
    return [_example(part) for part in parts]


def _example(text: str) -> Example:
    httpie = re.search(r"```bash\n(.*?)```", text, re.DOTALL)
    python = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert httpie
    assert python
    responses = text.partition('=== "Responses"')[2]
    return Example(
        title=text.splitlines()[0].strip(),
        httpie=httpie[1].replace("\\\n", " "),
        python=re.sub(r"^    ", "", python[1], flags=re.MULTILINE),
        fields=frozenset(re.findall(r"^\s*\| `([a-z_]+)` \|", responses, re.MULTILINE)),
    )


class ExampleService(Protocol):
    """A running service for examples."""

    @property
    def service(self) -> Service: ...

    def fill_in(self, text: str, example: Example) -> str:
        """Insert host, token and ids into an example."""


def httpie(server: ExampleService, example: Example) -> Any:
    """Run the command line as printed; return the body of the response."""
    arguments = shlex.split(server.fill_in(example.httpie, example))[1:]
    done = subprocess.run(
        [HTTPIE, "--check-status", "--ignore-stdin", "--body", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def programs(
    client: Official, server: ExampleService, examples: Sequence[Example]
) -> dict[str, str]:
    """Run the programs as printed; return the error of each, or an empty text, by its title."""
    # For an operation without a response body this client has only the detailed call.
    texts = {
        example.title: re.sub(
            r"(\w+)\.sync\(",
            r'getattr(\1, "sync", \1.sync_detailed)(',
            server.fill_in(example.python, example),
        )
        for example in examples
    }
    file = server.service.folder / "programs.json"
    file.write_text(json.dumps(texts))
    results: dict[str, str] = client.run("examples.py", server.service, file)
    return results
