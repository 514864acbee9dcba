"""Extract the marked texts, compile the catalogues, and check the translations.

``update`` extracts all marked texts into ``src/collegium/locale/collegium.pot``, merges them into
the catalogue of each language (``collegium.po``) and compiles these (``collegium.mo``). ``check``
reports what is missing or broken, and writes nothing.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from collegium.events.types import BY_KIND

SOURCE: Final = Path(__file__).parent.parent / "src" / "collegium"
LOCALE: Final = SOURCE / "locale"
TEMPLATE: Final = LOCALE / "collegium.pot"

_METHODS: Final = [("**.py", "python"), ("**/templates/**", "jinja2")]
_OPTIONS: Final = {
    "**/templates/**": {
        "trimmed": "true",
        "newstyle_gettext": "true",
        "trim_blocks": "true",
        "lstrip_blocks": "true",
        "silent": "false",
    }
}
_KEYWORDS: Final[dict[str, Any]] = {
    "_": None,
    "gettext": None,
    "mark": None,
    "ngettext": (1, 2),
}
_COMMENT: Final = "Translators:"
_OPTIONAL_PARTS: Final = "Translators: a part in brackets is left out if its value is not known."
_PLACEHOLDER: Final = re.compile(r"%%|%\([a-z_0-9]+\)s|(?<!\{)\{[a-z_0-9]*\}(?!\})")
_TAG: Final = re.compile(r"<[^<>]*>")
_OPTIONAL: Final = re.compile(r"\[[^\[\]]*\{[^\[\]]*\]")


def extracted() -> Catalog:
    """Return all marked texts of the code and the templates, with the files that have them."""
    catalog = Catalog(project="Collegium", charset="utf-8", creation_date=None)
    found = extract_from_dir(
        SOURCE, _METHODS, _OPTIONS, _KEYWORDS, [_COMMENT], strip_comment_tags=True
    )
    for name, _line, message, comments, context in sorted(found, key=lambda one: (one[0], one[1])):
        catalog.add(message, locations=[(name, 0)], auto_comments=comments, context=context)
    # The messages of events are put together from the texts of their classes.
    for text in sorted({event.message for event in BY_KIND.values() if event.message}):
        catalog.add(text, locations=[("events/types.py", 0)], auto_comments=[_OPTIONAL_PARTS])
    return catalog


def languages() -> list[str]:
    """Return the codes of the languages that have a catalogue."""
    return sorted(path.parent.parent.name for path in LOCALE.glob("*/LC_MESSAGES/collegium.po"))


def path_of(language: str) -> Path:
    """Return the path of the catalogue of a language."""
    return LOCALE / language / "LC_MESSAGES" / "collegium.po"


def read(language: str) -> Catalog:
    """Return the catalogue of a language."""
    with path_of(language).open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def written(catalog: Catalog, *, header: bool = True) -> bytes:
    """Return a catalogue as the bytes of its file. Line numbers would change with every edit."""
    file = io.BytesIO()
    write_po(
        file,
        catalog,
        width=100,
        omit_header=not header,
        include_lineno=False,
        ignore_obsolete=True,
        sort_output=False,
    )
    return file.getvalue()


def compiled(catalog: Catalog) -> bytes:
    """Return a catalogue in the form that programs read."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def update() -> None:
    """Bring all files up to date with the code."""
    texts = extracted()
    LOCALE.mkdir(exist_ok=True)
    TEMPLATE.write_bytes(written(texts, header=False))
    for language in languages():
        catalog = read(language)
        catalog.update(texts, no_fuzzy_matching=True, update_creation_date=False)
        path_of(language).write_bytes(written(catalog))
        path_of(language).with_suffix(".mo").write_bytes(compiled(catalog))


def problems() -> Iterator[str]:
    """Yield what is missing or broken, one line each."""
    texts = extracted()
    if not TEMPLATE.exists() or TEMPLATE.read_bytes() != written(texts, header=False):
        yield f"{TEMPLATE.name}: texts have changed. Run script/translations."
    for language in languages():
        catalog = read(language)
        for message in texts:
            if message.id:
                own = catalog.get(message.id, message.context)
                yield from (f"{language}: {fault}" for fault in faults(message, own))
        path = path_of(language).with_suffix(".mo")
        if not path.exists() or path.read_bytes() != compiled(catalog):
            yield f"{language}: {path.name} is not up to date. Run script/translations."


def faults(message: Message, own: Message | None) -> Iterator[str]:
    """Yield what is wrong with the translation of a text."""
    forms = own.string if own is not None else ""
    singular, *plural = [message.id] if isinstance(message.id, str) else message.id
    shown = f"“{singular[:70]}”"
    translations = [forms] if isinstance(forms, str) else list(forms or ())
    if own is None or not translations or not all(translations):
        yield f"{shown} is not translated"
        return
    if own.fuzzy:
        yield f"{shown} is marked as fuzzy"
    reference = plural[0] if plural else singular
    wanted = _found(_PLACEHOLDER, reference)
    for number, text in enumerate(translations, 1):
        # A form for few may say the number as a word; the last one is for many.
        is_free = bool(plural) and number < len(translations)
        has = _found(_PLACEHOLDER, text)
        if has - wanted or (wanted - has and not is_free):
            yield f"{shown} has other placeholders in “{text[:70]}”"
        if _found(_TAG, text) != _found(_TAG, reference):
            yield f"{shown} has other tags in “{text[:70]}”"
        if _optional(text) != _optional(reference):
            yield f"{shown} has other optional parts in “{text[:70]}”"
        if '"' in text and '"' not in reference:
            yield f"{shown} has a straight quotation mark in “{text[:70]}”"
        if [text[:1].isspace(), text[-1:].isspace()] != [
            reference[:1].isspace(),
            reference[-1:].isspace(),
        ]:
            yield f"{shown} begins or ends with other spaces in “{text[:70]}”"


def _optional(text: str) -> list[list[str]]:
    """Return the placeholders of each part in brackets, in any order of the parts."""
    return sorted(sorted(_PLACEHOLDER.findall(part)) for part in _OPTIONAL.findall(text))


def _found(pattern: re.Pattern[str], text: str) -> set[str]:
    return set(pattern.findall(text))
