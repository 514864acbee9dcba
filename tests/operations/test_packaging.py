"""The files of ``packaging/`` fit the program: units, image, compose file, dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from collegium.api.pipeline import AROUND_FILE
from collegium.cli import main
from collegium.settings import DEFAULTS, load
from tests.support.site import Site

PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = sorted((PACKAGING / "systemd").glob("*.service"))
EXPOSURE_MAX = 2.0


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``systemd-analyze``; skip the test where it does not exist."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze here")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


def parse(words: list[str]) -> None:
    """Parse a command line of the program without running it."""
    command = main.commands[words[0]]
    assert isinstance(command, click.Command)
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_exposure_of_a_unit_is_low(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= EXPOSURE_MAX


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_have_no_mistake_and_run_known_commands(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    for command in re.findall(
        r"^ExecStart(?:Pre)?=/opt/collegium/bin/collegium (.+)$", text, re.MULTILINE
    ):
        parse(command.split())
    program = tmp_path / "collegium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit.name
    copy.write_text(text.replace("/opt/collegium/bin/collegium", str(program)))
    done = analyze("verify", copy)
    assert done.returncode == 0
    ours = [line for line in done.stderr.splitlines() if unit.stem in line]
    assert ours == []


def test_both_units_are_confined_alike() -> None:
    first, second = (
        unit.read_text().partition("\n# Who it is")[2].partition("[Install]")[0] for unit in UNITS
    )
    assert first
    assert first == second


def test_settings_of_the_example_are_valid(tmp_path: Path) -> None:
    text = (PACKAGING / "settings.toml").read_text()
    with_postgresql = re.sub(
        r"^# (database_url|secret_key)", r"\1", text, flags=re.MULTILINE
    ).replace('database_url = "sqlite', 'log_level = "info" # "')
    for number, content in enumerate((text, with_postgresql)):
        file = tmp_path / f"{number}.toml"
        file.write_text(content)
        settings = load({"COLLEGIUM_CONFIG": str(file)})
        assert settings.database_is_sqlite == (content == text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (PACKAGING / "container" / "compose.yaml").read_text()
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def _ours(compose: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, service in compose["services"].items():
        if "collegium" in service["image"]:
            yield name, service


def test_services_of_the_compose_file_run_known_commands(compose: dict[str, Any]) -> None:
    assert {name for name, _ in _ours(compose)} == {"migrate", "web", "worker"}
    for _, service in _ours(compose):
        parse(service["command"])
        key = service["environment"]["COLLEGIUM_SECRET_KEY"]
        assert key.startswith("${COLLEGIUM_SECRET_KEY:?")
        load(service["environment"] | {"COLLEGIUM_SECRET_KEY": "k" * 32})
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    database = compose["services"]["database"]["environment"]
    url = compose["services"]["web"]["environment"]["COLLEGIUM_DATABASE_URL"]
    assert f":{database['POSTGRES_PASSWORD']}@database/{database['POSTGRES_DB']}" in url


def test_image_runs_a_known_command_as_an_ordinary_user() -> None:
    text = (PACKAGING / "container" / "Containerfile").read_text().replace("\\\n", " ")
    last = text.rpartition("\nFROM ")[2]
    (command,) = re.findall(r"^CMD (\[.*\])$", last, re.MULTILINE)
    parse(json.loads(command))
    assert "\nUSER 10001:10001\n" in last
    settings = dict(re.findall(r"(COLLEGIUM_\w+)=(\S+)", last))
    assert set(settings) == {"COLLEGIUM_DATABASE_URL", "COLLEGIUM_MAIL_URL"}
    assert all("/data/" in one for one in settings.values())
    load(settings)


@pytest.mark.parametrize(
    ("name", "setting", "unit"),
    [
        ("proxies/nginx.conf", r"client_max_body_size (\d+)m;", 1024**2),
        ("proxies/Caddyfile", r"max_size (\d+)MB", 1000**2),
        ("helm/example.yaml", r"proxy-body-size: (\d+)m", 1024**2),
    ],
)
def test_proxies_pass_on_the_largest_file_that_the_service_takes(
    name: str, setting: str, unit: int
) -> None:
    found = re.search(setting, (PACKAGING / name).read_text())
    assert found
    assert int(found[1]) * unit >= DEFAULTS.import_max_size + AROUND_FILE


def test_dashboard_asks_only_for_metrics_that_exist(site: Site) -> None:
    site.get("/healthz")
    site.get("/no-such-page/")
    metrics = site.get("/metrics").text
    labels: dict[str, set[str]] = {}
    for name, given in re.findall(r"(?m)^(collegium_\w+)(?:\{(.*)\})? ", metrics):
        labels.setdefault(name, {"job"}).update(re.findall(r'(\w+)="', given))
    text = (PACKAGING / "grafana" / "collegium.json").read_text()
    queries = [
        target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]
    ]
    used = set()
    for query in queries:
        groups = set(re.findall(r"by \((\w+)\)", query))
        for name, selector in re.findall(r"(collegium_\w+)(?:\{([^}]*)\})?", query):
            assert name in labels, query
            assert {*re.findall(r"(\w+)[=!]", selector), *groups} <= labels[name], query
            used.add(name)
    # What is neither a help text nor the time of creation is shown.
    assert used == {name for name in labels if not name.endswith("_created")}
