"""A release: the wheel, its metadata, its bill of materials, the changelog, and a start from it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from collegium import __version__
from tests.support.serving import PATIENCE, Service

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "collegium"
TOOLS = Path(sys.executable).parent


def _build(checkout: Path, into: Path) -> Path:
    """Build the wheel as ``script/release`` does; return its path."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-d",
        into,
        "-t",
        "wheel",
    ]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1800000000"}
    subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True)
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def test_same_files_give_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    shutil.copytree(PACKAGE, copy / "src" / "collegium")
    for name in ("LICENSE", "NOTICE", "README.md", "pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, copy)
    for path in copy.rglob("*.html"):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    assert _build(copy, tmp_path / "dist").read_bytes() == wheel.read_bytes()


def test_wheel_has_every_file_of_the_package_and_the_licence(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT / "src"))
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        # The program reads compiled catalogues.
        and path.suffix not in {".po", ".pot"}
    }
    with ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = dict(_licences(archive))
    assert inside == expected
    assert licences == {name: (ROOT / name).read_text() for name in ("LICENSE", "NOTICE")}


def _licences(archive: ZipFile) -> Iterator[tuple[str, str]]:
    for name in archive.namelist():
        if ".dist-info/licenses/" in name:
            yield Path(name).name, archive.read(name).decode()


def test_files_by_others_are_named_in_the_notice(wheel: Path) -> None:
    notice = (ROOT / "NOTICE").read_text()
    with ZipFile(wheel) as archive:
        for name in archive.namelist():
            # A compiled catalogue has our texts alone.
            if ".dist-info/" not in name and not name.endswith(".mo"):
                text = archive.read(name).decode()  # a font or a picture is no text
                by_others = re.search(r"copyright|SPDX-License|@license", text, re.IGNORECASE)
                assert by_others is None or name in notice, name


def test_metadata_are_those_of_the_release(metadata: Message) -> None:
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_every_imported_library_is_a_dependency(metadata: Message) -> None:
    declared = {Requirement(one).name for one in metadata.get_all("Requires-Dist", [])}
    owners = packages_distributions()
    for path in PACKAGE.rglob("*.py"):
        for name in _imported(ast.parse(path.read_text())) - sys.stdlib_module_names:
            known = {canonicalize_name(owner) for owner in owners.get(name, ())}
            assert name == "collegium" or known & declared, f"{path} imports {name}"


def _imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {one.name.partition(".")[0] for one in names}
            case ast.ImportFrom(module=str(module)):
                found.add(module.partition(".")[0])
    return found


def test_bill_of_materials_has_what_the_lock_file_has(wheel: Path, metadata: Message) -> None:
    command: list[str | Path] = [sys.executable, ROOT / "packaging" / "sbom.py", wheel]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1800000000"}
    first, second = (
        subprocess.run(command, env=environment, check=True, capture_output=True).stdout
        for _ in range(2)
    )
    assert first == second
    bill: dict[str, Any] = json.loads(first)
    assert bill["metadata"]["timestamp"] == "2027-01-15T08:00:00+00:00"
    assert bill["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    listed = {(one["name"], one["version"]) for one in bill["components"]}
    lock = (ROOT / "requirements" / "run.txt").read_text()
    lines = re.findall(r"^(\S+==[^\\]+) \\$", lock, re.MULTILINE)
    pinned = [one for one in map(Requirement, lines) if not one.marker or one.marker.evaluate()]
    # The build backend and what it needs are in the lock file, but the wheel does not need them.
    unlisted = {(one.name, str(one.specifier)[2:]) for one in pinned} - listed
    build = {"editables", "hatchling", "packaging", "pathspec", "pluggy", "tomlkit"}
    assert {name for name, _ in unlisted} == build | {"trove-classifiers"}
    assert len(listed) + len(unlisted) == len(pinned)
    assert all(one["licenses"] for one in bill["components"])
    (ours,) = (one for one in bill["dependencies"] if one["ref"].startswith("collegium=="))
    needed = [Requirement(one) for one in metadata.get_all("Requires-Dist", [])]
    assert {one.partition("==")[0] for one in ours["dependsOn"]} == {
        one.name for one in needed if not one.marker
    }


def test_release_moves_the_fragments_into_the_changelog(tmp_path: Path) -> None:
    for name in ("changelog.d", "packaging", "src"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    fragments = [*(tmp_path / "changelog.d").glob("*.*.md")]
    expected = {" ".join(one.read_text().split()) for one in fragments}
    _changelog(tmp_path, "9.8.0")
    assert not any(one.exists() for one in fragments)
    (tmp_path / "changelog.d" / "doors.fixed.md").write_text("Doors close again.\n")
    _changelog(tmp_path, "9.9.0")
    text = (tmp_path / "CHANGELOG.md").read_text()
    assert expected <= {" ".join(one.split()) for one in re.split(r"\n+(?:- |#)", text)}
    head = text.partition("## 9.8.0")[0]
    assert head.endswith("## 9.9.0 (2027-01-15)\n\n### Fixed\n\n- Doors close again.\n\n")


def _changelog(checkout: Path, version: str) -> None:
    command: list[str | Path] = [
        TOOLS / "towncrier",
        "build",
        "--yes",
        "--version",
        version,
        "--date",
        "2027-01-15",
    ]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service from the wheel, on a machine that has nothing of it but ``uvx``."""
    folder = tmp_path_factory.mktemp("bare")
    service = Service(folder, {}, program=(TOOLS / "uvx", "--from", wheel, "collegium"))
    # In the locked versions, so that a new release of a library does not fail this.
    service.environment["UV_CONSTRAINT"] = str(ROOT / "requirements" / "run.txt")
    version = service.run("--version")  # this installs it
    assert version.stdout == f"collegium, version {__version__}\n", version.stderr
    service.run("migrate")  # this compiles most of it, which takes longer than a start
    try:
        service.start()
        yield service
    finally:
        service.stop()


def test_wheel_starts_where_nothing_else_is_installed(installed: Service) -> None:
    page = installed.call("GET", "/sign_in/").text
    style = re.search(r'href="(/static/style\.css[^"]*)"', page)
    assert style
    answer = installed.call("GET", style[1])
    assert answer.content == (PACKAGE / "web" / "static" / "style.css").read_bytes()


def test_first_start_leads_from_the_link_in_the_log_to_an_invitation(installed: Service) -> None:
    log = installed.log.read_text()
    link = re.search(r"no account exists yet.* page=(\S+/setup/\S+/)$", log, re.MULTILINE)
    assert link
    secret = "a quiet harbour at night"
    with httpx.Client(base_url=installed.base, follow_redirects=True, timeout=20) as browser:

        def send(path: str, **fields: str) -> httpx.Response:
            page = browser.get(path).text
            hidden = dict(re.findall(r'name="(csrf|submission)" value="(\w+)"', page))
            answer = browser.post(path, data=hidden | fields)
            assert answer.status_code == 200, answer.text
            return answer

        account = {"username": "grace", "email": "grace@example.org"}
        name = {"site_name": "Coastal Members"}
        tested = send(link[1], **account, **name, password=secret, again=secret)
        end = time.monotonic() + PATIENCE
        while "The e-mail is a file in the folder" not in tested.text:
            assert time.monotonic() < end, tested.text
            time.sleep(0.05)
            tested = browser.get(str(tested.url))
        organisation = send("/staff/organisations/new/", name="Compilers")
        uuid = str(organisation.url).rstrip("/").rpartition("/")[2]
        invite = f"/organisation/{uuid}/invite/"
        owner = re.search(r'<option value="(\w+)"', browser.get(invite).text)
        assert owner
        send(invite, addresses="ada@example.org", role=owner[1], extra_text="", action="send")
    mails = installed.folder / "var" / "mail"
    while not any("To: ada@example.org" in mail.read_text() for mail in mails.glob("*.eml")):
        assert time.monotonic() < end
        time.sleep(0.05)
    # Only the line that says it; the lines of requests do not.
    assert installed.log.read_text().count(link[1]) == 1
