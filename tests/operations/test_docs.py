"""The documentation: generated pages say what the code says, and the site has no dead link."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from collegium.outbox.mails import Mail
from collegium.settings import DEFAULTS, PREFIX, Settings, load
from docgen import api, mails, markdown, settings
from docgen.reference import DOCS, FOLDER, PAGES
from docgen.site import ROOT, Stage, external_requests, navigation
from tests.operations.test_tutorial import headings

SIGN_IN = ("actions", "linking", "registration", "rules", "sessions", "sign_ins")
PICTURES_FOLDER = DOCS / "pictures"
PICTURE_MAX = 60_000  # bytes
BUILDER = ROOT / ".venv-docs" / "bin" / "zensical"


@pytest.mark.parametrize("name", PAGES)
def test_reference_page_is_up_to_date(name: str) -> None:
    current = (FOLDER / name).read_text()
    assert current == PAGES[name](), "run script/docs reference"


def test_reference_has_no_other_page() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_every_setting_has_a_meaning_and_a_default_as_it_is_written() -> None:
    names = {field.name for field in fields(Settings)}
    page = settings.page()
    assert names == set(markdown.attribute_docs(Settings))
    for name in names:
        text = settings.default_text(name)
        read = load({PREFIX + name.upper(): text, f"{PREFIX}SECRET_KEY": "k" * 32})
        assert getattr(read, name) == getattr(DEFAULTS, name) or name == "secret_key", name
        assert f"| `{name.upper()}`" in page


def test_mail_without_a_recipient_in_its_docstring_is_refused() -> None:
    class Nameless(Mail):
        """Notice of something."""

    with pytest.raises(ValueError, match="to whom"):
        mails.purpose(Nameless)


def test_bars_and_breaks_do_not_end_a_cell() -> None:
    shown = markdown.table(("a", "b"), [("one|two", "three\nfour"), ("", "x")])
    assert shown.splitlines()[2:] == ["| one\\|two | three four |", "| \N{EN DASH} | x |"]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"$ref": "#/components/schemas/UserRole"}, "[UserRole](objects.md#userrole)"),
        ({"type": "array", "items": {"type": "string"}}, "list of string"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "last"}]}, None),
        ({"enum": ["a", "b"]}, "`a`, `b`"),
        ({"type": "string", "format": "email", "maxLength": 254}, None),
        ({}, "any"),
    ],
    ids=["object", "list", "union", "choice", "limits", "any"],
)
def test_types_are_said_in_words(schema: dict[str, Any], text: str | None) -> None:
    texts = {
        "anyOf": "integer (at least 1) or `last`",
        "type": "string (email, at most 254 characters)",
    }
    assert api.type_text(schema) == (text or texts[next(iter(schema))])


ONLY_ON_PAGES: dict[str, str] = {
    **dict.fromkeys(
        ("identity.taken", "identity.session", "identity.other", "identity.no_factor"),
        "adding a method, or confirming",
    ),
    **dict.fromkeys(("provider.not_recent", "identity.last_way"), "the same"),
    **dict.fromkeys(("identity.link", "identity.none", "identity.code"), "of a page of ours"),
    "identity.logout_used": "a sign-out that the provider sends",
    "provider.redirect": "there is no allowed address to which to return",
    **dict.fromkeys(
        ("account.username_taken", "account.slug_taken", "account.duplicate"), "tried again"
    ),
    "account.email_taken": "the form for an account with a password",
}
"""Codes of failed sign-ins that no front end gets, and why."""


def test_every_error_of_a_sign_in_is_explained() -> None:
    """The table for front ends names what the code raises, and nothing else."""
    source = ROOT / "src" / "collegium"
    files = [source / "invitations" / "sign_up.py", source / "web" / "provider_failures.py"]
    files += (source / "sign_in" / "identities" / f"{name}.py" for name in SIGN_IN)
    code = re.compile(
        r'"((?:identity|provider|invitation|invite_link|account|second_factor|login|tries)'
        r'\.[a-z_]+)"'
    )
    raised = {found for path in files for found in code.findall(path.read_text())}
    raised |= {"second_factor.required", "tries.wait", "login.failed"}
    text = (DOCS / "sign-in.md").read_text()
    table = text[text.index("| `error` |") :].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    told = [found for row in rows for found in re.findall(r"`([a-z_.]+)`", row)]
    assert len(told) == len(set(told))
    assert raised - ONLY_ON_PAGES.keys() == set(told)


def test_every_page_is_on_the_home_page_once() -> None:
    pages = [
        place for entry in navigation((DOCS / "README.md").read_text()) for place in _in(entry)
    ]
    decisions = {path.relative_to(DOCS).as_posix() for path in DOCS.glob("decisions/*.md")}
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - decisions
    assert len(pages) == len(set(pages))
    ours = {place for place in pages if not place.startswith("project/")}
    assert ours == there - {"README.md"} | {"index.md"}


def _in(entry: Any) -> list[str]:
    match entry:
        case str():
            return [entry]
        case dict():
            return [place for one in entry.values() for place in _in(one)]
    return [place for one in entry for place in _in(one)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "docs"
    Stage(folder).fill()
    return folder


def test_links_of_the_site_lead_to_files_and_headings(stage: Path) -> None:
    anchors: dict[Path, set[str]] = {}
    links = 0
    for page in stage.rglob("*.md"):
        text = re.sub(r"(?s)```.*?```|`[^`]*`", "", page.read_text())
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            linked = (page.parent / path).resolve() if path else page.resolve()
            assert linked.is_file(), (page, target)
            if linked not in anchors:
                anchors[linked] = headings(linked) if linked.suffix == ".md" else set()
            assert not anchor or anchor in anchors[linked], (page, target)
            links += 1
    assert links > 500


def test_site_is_built_without_a_warning_and_asks_no_other_server(stage: Path) -> None:
    if not BUILDER.exists():
        pytest.skip("script/docs was not run, so its builder is not installed")
    done = subprocess.run(
        [BUILDER, "build", "--clean", "--strict"],
        cwd=stage,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "No issues found" in done.stdout + done.stderr
    pages = list((stage / "site").rglob("*.html"))
    assert len(pages) > 100
    assert external_requests(stage / "site") == []


def test_every_picture_is_small_and_shown_with_an_alternative_text() -> None:
    shown = {}
    for page in DOCS.glob("*.md"):
        for text, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
            shown[(page.parent / path).resolve()] = text
    assert set(shown) == set(PICTURES_FOLDER.iterdir())
    assert len(shown) == 10
    for path, text in shown.items():
        assert len(text.split()) > 5, path
        assert path.stat().st_size < PICTURE_MAX, path


def test_requests_to_other_servers_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        '<link rel=canonical href="https://us.example/"><a href="https://else.example/">x</a>'
        '<script src="assets/a.js"></script><link href="a.css" rel="stylesheet">'
    )
    assert external_requests(tmp_path) == []
    for tag in (
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/a.css">',
        "<img alt=x src=http://pictures.example/a.png>",
    ):
        page.write_text(f"<p>{tag}</p>")
        assert len(external_requests(tmp_path)) == 1, tag
