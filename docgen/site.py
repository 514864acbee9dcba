"""The sources of the site: the pages of ``docs/``, the generated ones, and files they link to.

A link from a page to something outside ``docs/`` leads to a page of the site, if the target has
one, or else to a copy of the file. The navigation follows ``docs/README.md``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from collegium.api.brainstem import routes as brainstem
from collegium.api.openapi import describe
from collegium.api.waldur import routes as waldur
from docgen import api

ROOT: Final = Path(__file__).parents[1]
_HOME: Final = "docs/README.md"
_DECISIONS: Final = "docs/decisions"
_OUTSIDE: Final = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "changelog.d/README.md": "project/news-fragments.md",
    "bench/RESULTS.md": "project/benchmarks.md",
}
"""Pages outside ``docs/`` that the site has, and their place there."""

_CODE: Final = re.compile(r"(?ms)^```.*?^```|`[^`\n]*`")
_LINK: Final = re.compile(r"\]\(([^)\s#]*)(#[^)\s]*)?\)")
_SCHEME: Final = re.compile(r"[a-z]+:")
_REQUEST: Final = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']?(?:https?:)?//[^>]+>"""
    r"""|<link(?![^>]+rel=["']?canonical)[^>]+href=["']?(?:https?:)?//[^>]+>"""
)

_STYLE_PLACE: Final = "style.css"
_STYLE: Final = """\
/* Wide tables: more room, and names that are not broken. */
.md-grid { max-width: 80rem; }
.md-typeset table:not([class]) td:first-child code { white-space: nowrap; }
"""

Nav = list[dict[str, Any]]


class Stage:
    """The sources of the site, in a folder that is made anew.

    Args:
        folder: gets the configuration, and the pages in ``docs``.
    """

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._pages = folder / "docs"
        sources = sorted(path for path in (ROOT / "docs").rglob("*.md"))
        self._places = {_relative(path): _place(_relative(path)) for path in sources} | _OUTSIDE

    def fill(self) -> None:
        """Write every page, the files that they link to, and the configuration."""
        for source, place in self._places.items():
            self._write(place, self._with_links((ROOT / source).read_text(), source, place))
        self._write("decisions/index.md", "\n".join(self._decisions()) + "\n")
        nav = navigation((ROOT / _HOME).read_text())
        for name, title, routes in (
            ("waldur", "Waldur API", waldur.ROUTES),
            ("brainstem", "BrainSTEM API", brainstem.DESCRIBED),
        ):
            pages = api.pages(describe(routes), title)
            for page, text in pages.items():
                # Beside errors.md, which they link to.
                self._write(f"reference/{name}/{page}", text)
            paths = [f"reference/{name}/{page}" for page in pages]
            _entries(nav, "Reference").append({f"Operations of the {title}": paths})
        decisions = [place for place in self._places.values() if place.startswith("decisions/")]
        _entries(nav, "Explanation").append({"Decisions": ["decisions/index.md", *decisions]})
        self._write(_STYLE_PLACE, _STYLE)
        (self._folder / "zensical.toml").write_text(_configuration(nav))

    def _write(self, place: str, text: str) -> None:
        path = self._pages / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _decisions(self) -> Iterator[str]:
        yield "# Decisions\n\nOne page for each, in the order in which they were made.\n"
        for path in sorted((ROOT / _DECISIONS).glob("*.md")):
            title = path.read_text().partition("\n")[0].removeprefix("# ")
            yield f"* [{title}]({path.name})"

    def _with_links(self, text: str, source: str, place: str) -> str:
        """Return a page whose links lead to the same targets from another place."""

        def moved(match: re.Match[str]) -> str:
            path, anchor = match[1], match[2] or ""
            if not path or _SCHEME.match(path):
                return match[0]
            target = os.path.normpath(PurePosixPath(source).parent / path)
            return (
                f"]({os.path.relpath(self._place_of(target), PurePosixPath(place).parent)}{anchor})"
            )

        parts = _CODE.split(text)
        codes = _CODE.findall(text)
        moved_parts = [_LINK.sub(moved, part) for part in parts]
        # Links around code, as in [`path`](path), are cut by the code between their brackets.
        return "".join(part + code for part, code in zip(moved_parts, [*codes, ""], strict=True))

    def _place_of(self, target: str) -> str:
        """Return the place of the target of a link in the site; copy it if it is no page.

        Raises:
            FileNotFoundError: There is no such file.
        """
        if target in self._places:
            return self._places[target]
        if target == _DECISIONS:
            return "decisions/index.md"
        path = ROOT / target
        if path.is_dir():
            place = f"files/{target}/index.md"
            files = sorted(one for one in path.rglob("*") if one.is_file())
            lines = [f"* [{_relative(one)}]({one.relative_to(path)})" for one in files]
            for one in files:
                self._copy(_relative(one))
            self._write(place, "\n".join([f"# {target}", "", *lines, ""]))
            return place
        return self._copy(target)

    def _copy(self, target: str) -> str:
        place = self._pages / "files" / target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / target, place)
        return f"files/{target}"


def navigation(home: str) -> Nav:
    """Return the navigation: the links under each heading of the home page.

    A link to a folder or out of ``docs/`` is left out, unless the site has a page for it.
    """
    nav: Nav = [{"Start": "index.md"}]
    for section in home.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        pages = [
            {name: _OUTSIDE.get(path.removeprefix("../"), path)}
            for name, path in re.findall(r"\[([^\]]+)\]\(([^)#]+\.md)\)", text)
        ]
        nav.append({title: pages})
    return nav


def external_requests(site: Path) -> list[str]:
    """Return the parts of built pages that would make a browser ask another server."""
    return [
        f"{path.relative_to(site)}: {match[0]}"
        for path in sorted(site.rglob("*.html"))
        for match in _REQUEST.finditer(path.read_text())
    ]


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _place(source: str) -> str:
    return "index.md" if source == _HOME else source.removeprefix("docs/")


def _entries(nav: Nav, title: str) -> list[Any]:
    (found,) = (entry[title] for entry in nav if title in entry)
    assert isinstance(found, list)  # noqa: S101 - a section, not a page
    return found


def _configuration(nav: Nav) -> str:
    """Return the configuration of Zensical."""
    return f"""[project]
site_name = "Collegium"
site_description = "Who belongs where, in which role, until when, and who let them in."
docs_dir = "docs"
site_dir = "site"
use_directory_urls = false
extra_css = ["{_STYLE_PLACE}"]
nav = {_toml(nav)}

[project.theme]
font = false  # those of the system: nothing is fetched from elsewhere
features = ["navigation.indexes", "navigation.top", "search.highlight", "content.code.copy"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"

[project.markdown_extensions.tables]

[project.markdown_extensions.toc]
permalink = true
slugify = {{ object = "pymdownx.slugs.slugify", kwds = {{ case = "lower" }} }}

[project.markdown_extensions.pymdownx.superfences]

[project.markdown_extensions.pymdownx.highlight]
"""


def _toml(value: Any) -> str:
    match value:
        case Mapping():
            return (
                f"{{ {', '.join(f'{_toml(key)} = {_toml(one)}' for key, one in value.items())} }}"
            )
        case list():
            return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
