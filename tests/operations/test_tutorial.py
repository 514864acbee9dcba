"""The tutorial works word by word, and no page of the documentation has a dead link."""

from __future__ import annotations

import re
import subprocess
from html import unescape
from pathlib import Path

import httpx
import pytest

from collegium import __version__
from tests.support.serving import PATIENCE, Service, bare_environment

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]
BASE = "http://127.0.0.1:8000"


def section(number: int) -> str:
    """Return a step of the tutorial."""
    return TUTORIAL.split(f"\n## {number}. ")[1].partition("\n## ")[0]


def commands(*numbers: int) -> str:
    """Return the commands of some steps."""
    found = [re.findall(r"(?s)```sh\n(.*?)```", section(number)) for number in numbers]
    return "".join(block for blocks in found for block in blocks)


def fill_in(browser: httpx.Client, path: str, step: str) -> str:
    """Fill in the form of a page as the table of a step says; return the page that follows."""
    page = browser.get(path)
    assert page.status_code == 200, page.text
    button = re.search(r"press \*(.+?)\*", " ".join(step.split()))
    assert button
    (form,) = (
        one
        for one in re.findall(r'(?s)<form method="post".*?</form>', page.text)
        if f">{button[1]}</button>" in one
    )
    fields = dict(re.findall(r'name="(csrf|submission)" value="(\w+)"', form))
    labels = {unescape(text): name for name, text in re.findall(r'<label for="(\w+)">(.*?)<', form)}
    rows = dict(re.findall(r"(?m)^\| (.+?) \| (.*?) \|$", step.replace("| leave empty |", "|  |")))
    del rows["field"]
    assert set(rows) == set(labels)
    action = re.search(r'^<form method="post" action="([^"]+)"', form)
    answer = browser.post(
        action[1] if action else path,
        data=fields | {labels[label]: value for label, value in rows.items()},
    )
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Return the service, and let commands wait for its e-mails at the default place."""
    return Service(tmp_path, {})


def run(service: Service, script: str) -> str:
    done = subprocess.run(
        ["/bin/bash", "-euc", script.replace(BASE, service.base)],
        cwd=service.folder,
        env=bare_environment({}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_step_of_the_tutorial_works(service: Service) -> None:
    service.start()
    try:
        link = re.search(r"page=(\S+/setup/\S+/)", service.log.read_text())
        assert link
        with httpx.Client(base_url=service.base, follow_redirects=True, timeout=20) as staff:
            assert "You are signed in" in fill_in(staff, link[1], section(2))
        state, invitation = run(service, commands(3, 4)).splitlines()
        assert state == "pending"
        with httpx.Client(base_url=service.base, follow_redirects=True, timeout=20) as colleague:
            assert "Tidal survey" in fill_in(colleague, invitation, section(5))
        sign_in = commands(3).partition("CUSTOMER=")[0]
        projects = 'PROJECT=$(send "$BASE/api/projects/" | value \'[0]["url"]\')\n'
        assert run(service, sign_in + projects + commands(5)) == "ada PROJECT.MEMBER\n"
    finally:
        service.stop()


def test_first_command_names_the_wheel_of_this_release() -> None:
    assert commands(1).split()[2] == f"dist/collegium-{__version__}-py3-none-any.whl"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"(?s)```.*?```|`[^`]*`", "", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in headings(linked), target


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub and others make them."""
    text = re.sub(r"(?s)```.*?```", "", page.read_text())
    titles = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
