"""The verification report keeps its text and gets the figures of the run."""

from __future__ import annotations

import json

from tests.proof.report import BEGIN, END, PAGE, render_page

RUN = {"what": "crashes, sqlite", "seconds": 90, "seed": 7, "kills": {"commit": 3, "random": 2}}


def test_figures_replace_figures_and_nothing_else() -> None:
    page = f"Before.\n{BEGIN}\nold \\1\n{END}\nAfter.\n"
    new = render_page(page, [json.dumps(RUN)], "7", "0", "2026-11-22")
    assert new.startswith("Before.\n")
    assert new.endswith("\nAfter.\n")
    assert "old" not in new
    assert "| crashes, sqlite | 90 s | kills commit: 3, random: 2 |" in new
    assert "5 kills" in new
    assert "no violation" in new


def test_states_of_the_outbox_have_the_terms_of_the_glossary() -> None:
    run = json.dumps({"what": "restarts, sqlite", "obsolete": 1, "failed": 2})
    page = render_page(f"{BEGIN}{END}", [run], "7", "0", "2026-11-22")
    assert "obsolete 1; failed 2" in page


def test_a_run_that_failed_says_so() -> None:
    assert "it failed" in render_page(f"{BEGIN}{END}", [], "7", "1", "2026-11-22")


def test_the_page_has_its_place_for_them() -> None:
    assert render_page(PAGE.read_text("utf-8"), [json.dumps(RUN)], "7", "0", "2026-11-22").count(
        "crashes, sqlite"
    )
