"""The README does what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.serving import Service

ROOT = Path(__file__).parents[2]


def test_the_main_job_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (transcript,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (version,) = re.findall(r"waldur-api-client==([\d.]+)", text)
    (promised,) = re.findall(r"print\(.*\)  # (.*)", transcript)
    service = Service(tmp_path, {})
    token = service.staff()
    service.start()
    try:
        told = transcript.replace("http://127.0.0.1:8000", service.base)
        assert "THE-TOKEN-OF-STAFF" in told
        done = subprocess.run(
            [ROOT / f".venv-waldur-{version}" / "bin" / "python", "-"],
            input=told.replace("THE-TOKEN-OF-STAFF", token),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.strip() == promised
    finally:
        service.stop()


def test_the_architecture_page_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:src|tests|script|docs)/[\w./-]+)`", text))
    assert len(named) > 10
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert missing == []
