"""The examples of the README."""

import re
import subprocess
from pathlib import Path

import httpx

from tests.support.serving import Service

ROOT = Path(__file__).parents[2]


def test_invitation_example_runs_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (transcript,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (version,) = re.findall(r"waldur-api-client==([\d.]+)", text)
    (expected,) = re.findall(r"print\(.*\)  # (.*)", transcript)
    service = Service(tmp_path, {})
    token = service.staff()
    service.start()
    try:
        output = run(f"waldur-{version}", transcript, service, "THE-TOKEN-OF-STAFF", token)
        assert output.strip() == expected
    finally:
        service.stop()


def test_group_example_runs_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (transcript,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    service = Service(tmp_path, {})
    token = service.staff()
    service.start("--no-worker")
    try:
        run("brainstem-2.0.0", transcript, service, "YOUR-TOKEN", token)
        bearer = {"Authorization": f"Bearer {token}"}
        response = httpx.get(f"{service.base}/api/private/users/group/", headers=bearer)
        assert [group["name"] for group in response.json()["groups"]] == ["Place cells"]
    finally:
        service.stop()


def run(client: str, transcript: str, service: Service, placeholder: str, token: str) -> str:
    """Run an example with the interpreter of a client; return its output."""
    program = transcript.replace("http://127.0.0.1:8000", service.base)
    assert placeholder in program
    done = subprocess.run(
        [ROOT / f".venv-{client}" / "bin" / "python", "-"],
        input=program.replace(placeholder, token),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_architecture_page_names_existing_files() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    paths = set(re.findall(r"`((?:src|tests|script|docs)/[\w./-]+)`", text))
    assert len(paths) > 10
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
