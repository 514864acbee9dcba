"""Finding people by a part of what is known of them, at a million accounts.

One folded text an account holds everything that is looked for, in three parts:
what the filter ``query`` looks at, the name in plain letters, and the rest.
Both databases index the trigrams of that text themselves (PostgreSQL by a function of ours, so
that no extension is needed; SQLite by its full-text index), and that index narrows a
search before anything is compared. A search of less than three letters has no trigram and
compares the texts.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PART: Final = "\x1e"
FIELD: Final = "\x1f"
TRIGRAM: Final = 3

QUERIED: Final = ("first_name", "last_name", "civil_number", "username", "email")
OTHERS: Final = ("native_name", "organization", "job_title")
COLUMNS: Final = frozenset(QUERIED + OTHERS)
"""The columns whose change changes the text."""


def folded(text: str) -> str:
    """Give a text for comparing: no difference of case, nothing that separates."""
    return text.replace(PART, " ").replace(FIELD, " ").replace("\0", " ").casefold()


def plain(text: str) -> str:
    """Give a name in the letters of ASCII: what has an accent loses it."""
    bare = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return folded(bare)


def text_of(values: Mapping[str, Any]) -> str:
    """Give the text of an account.

    Args:
        values: all of ``COLUMNS``, by name.
    """
    queried = FIELD.join(folded(values.get(name) or "") for name in QUERIED)
    name = plain(f"{values.get('first_name') or ''} {values.get('last_name') or ''}".strip())
    others = FIELD.join(folded(values.get(name) or "") for name in OTHERS)
    return PART.join((queried, name, others))
