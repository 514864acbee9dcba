"""Two recordings differ where a response differs, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from tests.support.recording import Recorder, differences


def _record(path: Path, status: int, name: str) -> Path:
    identifier = uuid4().hex
    Recorder(path).write(
        "site",
        ("GET", f"/api/users/{identifier}/", {"authorization": f"Token {uuid4().hex}"}, b""),
        (
            status,
            [("date", "now"), ("x-result-count", "1")],
            f'{{"{name}":"{identifier}"}}'.encode(),
        ),
        3,
    )
    return path


def test_recordings_of_the_same_behaviour_do_not_differ(tmp_path: Path) -> None:
    before, after = (_record(tmp_path / name, 200, "uuid") for name in ("before", "after"))
    assert differences(before, after) == []


def test_a_changed_status_or_body_is_a_difference(tmp_path: Path) -> None:
    before = _record(tmp_path / "before", 200, "uuid")
    assert len(differences(before, _record(tmp_path / "status", 404, "uuid"))) == 1
    assert len(differences(before, _record(tmp_path / "body", 200, "id"))) == 1
