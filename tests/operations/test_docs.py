"""The generated pages of the documentation are up to date, and say what the code says."""

from __future__ import annotations

from dataclasses import fields

import pytest

from collegium.settings import DEFAULTS, PREFIX, Settings, load
from docgen import markdown, settings
from docgen.reference import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_reference_page_is_up_to_date(name: str) -> None:
    current = (FOLDER / name).read_text()
    assert current == PAGES[name](), "run script/docs reference"


def test_reference_has_no_other_page() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_every_setting_has_a_meaning_and_a_default_as_it_is_written() -> None:
    names = {field.name for field in fields(Settings)}
    assert names == set(markdown.attribute_docs(Settings))
    for name in names:
        text = settings.default_text(name)
        read = load({PREFIX + name.upper(): text, f"{PREFIX}SECRET_KEY": "k" * 32})
        assert getattr(read, name) == getattr(DEFAULTS, name) or name == "secret_key", name
        assert f"| `{name.upper()}`" in settings.page()


def test_bars_and_breaks_do_not_end_a_cell() -> None:
    shown = markdown.table(("a", "b"), [("one|two", "three\nfour"), ("", "x")])
    assert shown.splitlines()[2:] == ["| one\\|two | three four |", "| \N{EN DASH} | x |"]
