"""Schemathesis over the published description: generated calls, and stories made of them.

In CI a bounded part under a fixed seed; ``HOSTILE=long`` tries everything it knows,
``HOSTILE_SEED`` and ``HOSTILE_EXAMPLES`` say under which seed and how many for each operation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from collegium.sign_in.tokens import queries as token_queries
from tests.hostile.conftest import Running
from tests.hostile.values import IS_LONG
from tests.support.world import Person

HERE = Path(__file__).parent
SEED = os.environ.get("HOSTILE_SEED", "8")
QUICK = {
    "staff": ("--phases", "fuzzing,stateful", "--max-examples", "1", "--no-shrink"),
    "ordinary": ("--phases", "stateful", "--max-examples", "10", "--no-shrink"),
}
EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "60"))
# Paths that name whoever calls are left out, which of some operations leaves little.
_ON = ("--continue-on-failure", "--suppress-health-check", "filter_too_much")
LONG = (
    ("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), *_ON),
    # Of calls that are wrong nothing follows that could be told on.
    ("--phases", "stateful", "--mode", "positive", "--max-examples", str(20 * EXAMPLES), *_ON),
)
UUID = "/{uuid}/"


def with_links(document: dict[str, Any]) -> dict[str, Any]:
    """Say where the names in paths come from: whatever was made or listed one step above."""
    paths = document["paths"]
    for path, table in paths.items():
        for method, found in (("post", "$response.body#/uuid"), ("get", "$response.body#/0/uuid")):
            if method not in table or f"{path}{UUID[1:]}" not in paths:
                continue
            links = {
                said["operationId"]: {
                    "operationId": said["operationId"],
                    "parameters": {"uuid": found},
                }
                for below, operations in paths.items()
                if below.startswith(f"{path}{UUID[1:]}")
                for said in operations.values()
            }
            for code, answer in table[method]["responses"].items():
                if code.startswith("2"):
                    answer["links"] = links
    return document


@pytest.mark.timeout(7200 if IS_LONG else 300)
def test_the_description_holds_for_every_call_and_story(running: Running, tmp_path: Path) -> None:
    world = running.world
    person = world.person()
    project = world.project(world.organisation(owner=person))
    world.invite(person, "somebody@example.org", "PROJECT.MEMBER", project)
    world.open(person, "PROJECT.MEMBER", project)
    document = running.service.call("GET", "/schema/openapi.json").json()
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(with_links(document)))
    # In this order: staff change everything, the roles of others among it.
    for name, who in (("ordinary", person), ("staff", world.staff)):
        for words in LONG if IS_LONG else (QUICK[name],):
            run(running, described, who, words)


def run(running: Running, described: Path, person: Person, words: tuple[str, ...]) -> None:
    """Have a person's calls made, and judged."""
    token = running.token_of(person)
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "schemathesis.cli"),
            *("--config-file", str(HERE / "schemathesis.toml")),
            *("run", str(described), "--url", running.service.base),
            *("-H", f"Authorization: Token {token}", "--seed", SEED),
            *("--exclude-path", "/api-auth/logout/", "--generation-database", "none"),
            *("--no-color", "--warnings", "off"),
            *words,
        ],
        cwd=described.parent,
        env={
            **os.environ,
            "PYTHONPATH": str(HERE.parent.parent),
            "SCHEMATHESIS_HOOKS": "tests.hostile.hooks",
            "HOSTILE_OWN": f"{person.uuid} {person.id}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-1000:])  # noqa: T201 - how many cases there were
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    with running.world.database.read() as tx:
        owner = token_queries.owner(tx, running.world.vault.digest(token))
    assert owner is not None, "the calls have ended their own token, and tried little"
