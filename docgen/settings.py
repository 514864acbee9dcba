"""The page of the settings, from ``collegium.settings``."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from collegium.setting_types import Duration, MaybeDuration, ProfileChanges
from collegium.settings import DEFAULTS, Settings
from docgen import markdown
from docgen.markdown import NOTHING, code, linked_from_reference, table

_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60))
_INTRODUCTION: Final = f"""Settings are environment variables with the prefix `COLLEGIUM_`, or the \
same keys in a TOML file. [Operating Collegium](../operating.md#settings)
says how durations, lists and other types are written. `{NOTHING}` means that there is no default \
value. No log and no error message has the value
of a setting that is marked with †."""


def page() -> str:
    """Return the page."""
    return markdown.page("Settings", "src/collegium/settings.py", _INTRODUCTION, *_sections())


def default_text(name: str) -> str:
    """Return the default of a setting as it is written; empty if there is none."""
    value = getattr(DEFAULTS, name)
    kind = get_type_hints(Settings, include_extras=True)[name]
    if value is None:
        return "none" if "none" in kind.__metadata__[0].expected else ""
    if kind in {Duration, MaybeDuration}:
        return _duration(value)
    return _text(value)


def _duration(seconds: int) -> str:
    for unit, length in _UNITS:
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
        case ProfileChanges():
            return json.dumps({key.upper(): one for key, one in asdict(value).items()})
        case Path() | str() | int():
            return str(value)
    raise TypeError(value)


def _sections() -> Iterator[str]:
    """Yield a heading and a table for each section of the declaration."""
    source = inspect.getsource(Settings)
    meanings = markdown.attribute_docs(Settings)
    kinds = get_type_hints(Settings, include_extras=True)
    secret = {field.name for field in fields(Settings) if not field.repr}
    for title, part in markdown.sections(source, "    "):
        names = [name for name in re.findall(r"(?m)^    (\w+): ", part) if name in kinds]
        yield f"## {title}"
        yield table(
            ("setting", "type", "default", "meaning"),
            [
                (
                    code(name.upper()) + ("†" if name in secret else ""),
                    _type(kinds[name].__metadata__[0].expected),
                    code(default_text(name)),
                    linked_from_reference(meanings[name]),
                )
                for name in names
            ],
        )


def _type(expected: str) -> str:
    """Return what a value must be, without the examples of how it is written."""
    return re.sub(r"(?: such as|: ).*?(?=, or no|$)", "", expected)
