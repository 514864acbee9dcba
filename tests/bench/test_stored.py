"""The results of the benchmark accumulate over runs of some of its parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench import report


def test_newest_results_of_each_part_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, own = tmp_path / "raw.json", tmp_path / "results.json"
    monkeypatch.setattr(report, "RAW", published)
    monkeypatch.setattr(bench, "_RESULTS", own)
    assert bench._stored() == {}
    old, new = {"at": "2026-11-22 13:39"}, {"at": "2026-11-29 05:34"}
    published.write_text(json.dumps({"reads-sqlite": old, "people-sqlite": new, "owing": old}))
    # A new checkout has no results of its own.
    assert bench._stored() == {"reads-sqlite": old, "people-sqlite": new}
    own.write_text(json.dumps({"reads-sqlite": new, "people-sqlite": old, "mails-sqlite": old}))
    assert bench._stored() == {"reads-sqlite": new, "people-sqlite": new, "mails-sqlite": old}


def test_published_page_has_all_stored_parts() -> None:
    stored: dict[str, Any] = json.loads(report.RAW.read_text("utf-8"))
    page = (report.HERE / "RESULTS.md").read_text("utf-8")
    assert set(bench._PARTS) >= set(stored)
    heads = [line for line in "\n".join(report._page(stored, "18")).splitlines() if "##" in line]
    assert [line for line in page.splitlines() if "##" in line] == heads
