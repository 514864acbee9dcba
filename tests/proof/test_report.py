"""The verification report gets the figures of a run and keeps its text."""

import json

from tests.proof.report import BEGIN, END, PAGE, render_page

RUN = {"what": "crashes, sqlite", "seconds": 90, "seed": 7, "kills": {"commit": 3, "random": 2}}


def test_new_figures_replace_only_the_old_figures() -> None:
    page = f"Before.\n{BEGIN}\nold \\1\n{END}\nAfter.\n"
    new = render_page(page, [json.dumps(RUN)], "7", "0", "2026-11-22")
    assert new.startswith("Before.\n")
    assert new.endswith("\nAfter.\n")
    assert "old" not in new
    assert "| crashes, sqlite | 90 s | kills commit: 3, random: 2 |" in new
    assert "5 kills" in new
    assert "no violation" in new


def test_report_has_the_states_of_the_outbox() -> None:
    run = json.dumps({"what": "restarts, sqlite", "obsolete": 1, "failed": 2})
    page = render_page(f"{BEGIN}{END}", [run], "7", "0", "2026-11-22")
    assert "obsolete 1; failed 2" in page


def test_report_says_that_the_run_failed() -> None:
    assert "it failed" in render_page(f"{BEGIN}{END}", [], "7", "1", "2026-11-22")


def test_verification_page_has_a_place_for_the_figures() -> None:
    page = render_page(PAGE.read_text("utf-8"), [json.dumps(RUN)], "7", "0", "2026-11-22")
    assert "crashes, sqlite" in page
