"""Schemathesis calls the operations of the OpenAPI document, alone and in sequences.

CI runs a part with a fixed seed. ``HOSTILE=long`` runs everything; ``HOSTILE_SEED`` and
``HOSTILE_EXAMPLES`` set the seed and the number of examples for each operation.
"""

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
# Paths that name the caller are filtered, which leaves few cases for some operations.
_ON = ("--continue-on-failure", "--suppress-health-check", "filter_too_much")
LONG = (
    ("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), *_ON),
    # Invalid calls create nothing that a later call could use.
    ("--phases", "stateful", "--mode", "positive", "--max-examples", str(20 * EXAMPLES), *_ON),
)
UUID = "/{uuid}/"


def with_links(document: dict[str, Any]) -> dict[str, Any]:
    """Link the UUIDs in paths to the operation that creates or lists the object."""
    paths = document["paths"]
    for path, table in paths.items():
        for method, source in (("post", "$response.body#/uuid"), ("get", "$response.body#/0/uuid")):
            if method not in table or f"{path}{UUID[1:]}" not in paths:
                continue
            links = {
                operation["operationId"]: {
                    "operationId": operation["operationId"],
                    "parameters": {"uuid": source},
                }
                for below, operations in paths.items()
                if below.startswith(f"{path}{UUID[1:]}")
                for operation in operations.values()
            }
            for code, response in table[method]["responses"].items():
                if code.startswith("2"):
                    response["links"] = links
    return document


@pytest.mark.timeout(7200 if IS_LONG else 300)
def test_generated_calls_match_the_openapi_document(running: Running, tmp_path: Path) -> None:
    world = running.world
    person = world.person()
    project = world.project(world.organisation(owner=person))
    world.invite(person, "somebody@example.org", "PROJECT.MEMBER", project)
    world.create_link(person, "PROJECT.MEMBER", project)
    document = running.service.call("GET", "/schema/openapi.json").json()
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(with_links(document)))
    # Staff come last: they change the roles of others.
    for name, account in (("ordinary", person), ("staff", world.staff)):
        for options in LONG if IS_LONG else (QUICK[name],):
            run(running, described, account, options)


def run(running: Running, described: Path, person: Person, options: tuple[str, ...]) -> None:
    token = running.token_of(person)
    process = subprocess.run(
        [
            sys.executable,
            *("-m", "schemathesis.cli"),
            *("--config-file", str(HERE / "schemathesis.toml")),
            *("run", str(described), "--url", running.service.base),
            *("-H", f"Authorization: Token {token}", "--seed", SEED),
            *("--exclude-path", "/api-auth/logout/", "--generation-database", "none"),
            *("--no-color", "--warnings", "off"),
            *options,
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
    print(process.stdout[-1000:])  # noqa: T201 - the number of cases
    assert process.returncode == 0, process.stdout[-20_000:] + process.stderr[-2_000:]
    with running.world.database.read() as tx:
        owner = token_queries.owner(tx, running.world.vault.keyed_hash(token))
    assert owner is not None, "the calls ended their own token"
