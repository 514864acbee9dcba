"""The Helm chart: rendered by Helm's own library, valid for Kubernetes, and true of the program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from collegium import __version__
from collegium.settings import Settings, load
from collegium.web.routes import ROUTES
from tests.operations.test_packaging import PACKAGING, parse

CHART = PACKAGING / "helm" / "collegium"
PYTHON = Path(__file__).parents[2] / ".venv-helm" / "bin" / "python"
SCRIPT = Path(__file__).parents[1] / "clients" / "scripts" / "helm_chart.py"
KUBERNETES = ("1.25", "1.37")
"""The oldest version that the chart accepts, and the newest one when it was written."""

EXAMPLE: dict[str, Any] = yaml.safe_load((PACKAGING / "helm" / "example.yaml").read_text())
SECRETS = {
    "DATABASE_URL": "postgresql://collegium:p@db.example.org/collegium",
    "SECRET_KEY": "k" * 32,
    "MAIL_URL": "smtp://mail.example.org:587",
}
PLAIN = {
    "image": {"repository": "registry.example.org/collegium", "digest": f"sha256:{'0' * 64}"},
    "settings": {
        "BASE_URL": "https://example.org/members",
        "IMPORT_MAX_SIZE": 5_000_000,
        "RATE_LIMITS": False,
        "COUNTRIES": ["EE", "FI"],
        "NOTIFICATIONS_PROFILE_CHANGES": {"FIELDS": ["email"]},
        "SITE_NAME": 'The "Coast" {{ x }}',
    },
    "secrets": SECRETS,
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
}
FROM_AN_OPERATOR = {
    "name": "COLLEGIUM_DATABASE_URL",
    "valueFrom": {"secretKeyRef": {"name": "database-app", "key": "uri"}},
}
BELOW_A_PATH = PLAIN | {
    "extraEnv": [FROM_AN_OPERATOR],
    "settings": {"BASE_URL": "https://example.org:8443/members", "TRUSTED_PROXIES": "10.0.0.0/8"},
    "ingress": {"enabled": True},
}


def without(*path: str) -> dict[str, Any]:
    """Return the values of ``PLAIN`` without one of them."""
    values: dict[str, Any] = json.loads(json.dumps(PLAIN))
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return values


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no image": (without("image", "repository"), "/image/repository"),
    "no URL": (without("settings", "BASE_URL"), "BASE_URL"),
    "no secrets": (without("secrets"), "DATABASE_URL"),
    "no key": (without("secrets", "SECRET_KEY"), "SECRET_KEY"),
    "short key": (PLAIN | {"secrets": SECRETS | {"SECRET_KEY": "short"}}, "SECRET_KEY"),
    "SQLite": (PLAIN | {"secrets": SECRETS | {"DATABASE_URL": "sqlite:///x"}}, "DATABASE_URL"),
    "mistyped value": (PLAIN | {"replica": 3}, "replica"),
    "mistyped part": (PLAIN | {"web": {"replica": 3}}, "replica"),
    "secret in the settings": (
        PLAIN | {"settings": {"BASE_URL": "https://example.org", "SECRET_KEY": "k" * 32}},
        "invalid propertyName 'SECRET_KEY'",
    ),
    "nobody trusted": (PLAIN | {"ingress": {"enabled": True}}, "TRUSTED_PROXIES"),
}


@pytest.fixture(scope="module")
def cases() -> dict[str, Any]:
    if not PYTHON.exists():
        pytest.skip("Helm's library is not installed; script/test does it")
    asked = {
        "chart": str(CHART),
        "versions": KUBERNETES,
        "cases": {"example": EXAMPLE, "plain": PLAIN, "below a path": BELOW_A_PATH}
        | {name: values for name, (values, _) in REFUSED.items()},
    }
    done = subprocess.run(
        [PYTHON, SCRIPT], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["cases"]
    return found


def kinds(case: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    assert "objects" in case, case
    return [one for one in case["objects"] if one["kind"] == kind]


def pods(case: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the metadata and the specification of each kind of pod."""
    for deployment in kinds(case, "Deployment"):
        template = deployment["spec"]["template"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels(template).items()
        yield template["metadata"], template["spec"]
    for pod in kinds(case, "Pod"):
        yield pod["metadata"], pod["spec"]


def labels(template: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = template["metadata"]["labels"]
    return found


def containers(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _, pod in pods(case):
        yield from pod.get("initContainers", [])
        yield from pod["containers"]


@pytest.mark.parametrize("name", ["example", "plain"])
def test_chart_is_valid_for_old_and_new_kubernetes(cases: dict[str, Any], name: str) -> None:
    case = cases[name]
    assert "objects" in case, case
    assert case["invalid"] == []
    assert case["findings"] == []
    (notes,) = case["notes"]
    assert ("TRUSTED_PROXIES is empty" in notes) == (name == "plain")


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_cannot_work_are_refused(cases: dict[str, Any], name: str) -> None:
    assert REFUSED[name][1] in cases[name]["refused"]


@pytest.mark.parametrize("name", ["example", "plain"])
def test_containers_run_known_commands_and_are_confined(cases: dict[str, Any], name: str) -> None:
    commands = [one["args"] for one in containers(cases[name])]
    assert sorted(words[0] for words in commands) == [
        *("doctor", "migrate", "migrate", "serve", "worker")
    ]
    for one in containers(cases[name]):
        parse(one["args"])
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert {*one["resources"]} == {"requests", "limits"}
    for _, pod in pods(cases[name]):
        assert pod["securityContext"]["runAsNonRoot"]
        # The user of the image; see the Containerfile.
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["automountServiceAccountToken"] is False


def test_probes_ask_for_paths_that_exist(cases: dict[str, Any]) -> None:
    (web,) = (one for one in containers(cases["example"]) if one["name"] == "web")
    probes = {name: probe for name, probe in web.items() if name.endswith("Probe")}
    assert {probe["httpGet"]["path"] for probe in probes.values()} <= ROUTES.keys()
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert probes["livenessProbe"]["httpGet"]["path"] == "/healthz"
    (port,) = web["ports"]
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {port["name"]}
    assert str(port["containerPort"]) == web["args"][web["args"].index("--port") + 1]


def test_selectors_find_the_web_pods_alone(cases: dict[str, Any]) -> None:
    case = cases["example"]
    (service,) = kinds(case, "Service")
    (budget,) = kinds(case, "PodDisruptionBudget")
    web, every = (one["spec"] for one in kinds(case, "NetworkPolicy"))
    for selector in (
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        web["podSelector"]["matchLabels"],
    ):
        found = [meta for meta, _ in pods(case) if selector.items() <= meta["labels"].items()]
        assert [one["labels"]["app.kubernetes.io/component"] for one in found] == ["web"]
    selector = every["podSelector"]["matchLabels"]
    assert all(selector.items() <= meta["labels"].items() for meta, _ in pods(case))
    assert every["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in every


@pytest.mark.parametrize(
    ("name", "host", "path"),
    [
        ("example", "members.example.org", "/"),
        ("below a path", "example.org", "/members"),
        ("plain", "", ""),
    ],
)
def test_ingress_follows_the_public_url(
    cases: dict[str, Any], name: str, host: str, path: str
) -> None:
    found = kinds(cases[name], "Ingress")
    rules = [rule for one in found for rule in one["spec"]["rules"]]
    assert [rule["host"] for rule in rules] == ([host] if host else [])
    assert [one["path"] for rule in rules for one in rule["http"]["paths"]] == (
        [path] if path else []
    )


def test_settings_arrive_as_the_program_reads_them(cases: dict[str, Any]) -> None:
    (config,), (secret,) = kinds(cases["plain"], "ConfigMap"), kinds(cases["plain"], "Secret")
    settings = load(config["data"] | secret["stringData"])
    assert settings.import_max_size == 5_000_000
    assert settings.rate_limits is False
    assert settings.countries == ("EE", "FI")
    assert settings.notifications_profile_changes.fields == ("email",)
    assert settings.site_name == 'The "Coast" {{ x }}'
    assert settings.secret_key == SECRETS["SECRET_KEY"]
    (config,) = kinds(cases["example"], "ConfigMap")
    load(config["data"] | {f"COLLEGIUM_{name}": value for name, value in SECRETS.items()})


def test_existing_secret_is_used_and_none_created(cases: dict[str, Any]) -> None:
    assert kinds(cases["example"], "Secret") == []
    for name, secret in (("example", "collegium-secrets"), ("plain", "members-collegium")):
        for one in containers(cases[name]):
            assert one["envFrom"][1] == {"secretRef": {"name": secret}}
            # Without one of these a pod would not start, instead of using the SQLite of the image.
            keys = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in one["env"]}
            assert keys == {
                f"COLLEGIUM_{key}": {"name": secret, "key": f"COLLEGIUM_{key}"} for key in SECRETS
            }
    for one in containers(cases["below a path"]):
        names = [each["name"] for each in one["env"]]
        assert names == ["COLLEGIUM_SECRET_KEY", "COLLEGIUM_MAIL_URL", "COLLEGIUM_DATABASE_URL"]
        assert one["env"][-1] == FROM_AN_OPERATOR
    absent = {one["kind"] for one in cases["plain"]["objects"]}
    assert not absent & {"PodDisruptionBudget", "NetworkPolicy", "Ingress"}


def test_secret_settings_are_those_of_the_program() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    secret = {field.name.upper() for field in fields(Settings) if not field.repr}
    assert set(schema["settings"]["propertyNames"]["not"]["enum"]) == secret
    assert set(schema["secrets"]["properties"]) == secret


def test_chart_has_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
