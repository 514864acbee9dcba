"""Names in mails do not change the direction of the text and are no links."""

from typing import Any

import pytest

from collegium.db.database import Database
from tests.worker.scene import enqueue, rendered, words

HEBREW = "\u05d0\u05d2\u05d5\u05d3\u05d4"
ISOLATED = f"\u2068{HEBREW}\u2069"


def _texts(database: Database, name: str, **values: Any) -> list[str]:
    """Return subject and both parts of an invitation in which everything has this name."""
    inviter = {"first_name": name, "last_name": ""}
    names = {"project": name, "inviter": inviter, "role_description": name} | values
    message = rendered(database, enqueue(database, organisation=name, **names))
    return [message["Subject"], words(message, "plain"), words(message, "html")]


def test_right_to_left_name_is_isolated_in_every_part(database: Database) -> None:
    for text in _texts(database, HEBREW):
        assert ISOLATED in text
        assert HEBREW not in text.replace(ISOLATED, "")


def test_name_cannot_close_its_own_isolate(database: Database) -> None:
    for text in _texts(database, f"\u2069{HEBREW}\u2069\u202e", project=None):
        assert ISOLATED in text
        assert text.count("\u2068") == text.count("\u2069")
        assert "\u202e" not in text


def test_left_to_right_name_is_not_isolated(database: Database) -> None:
    assert "\u2068" not in "".join(_texts(database, "\u00c9cole \u738b"))


@pytest.mark.parametrize("name", ["Visit https://evil.example/x", "evil://x"])
def test_url_in_a_stored_name_is_no_link(database: Database, name: str) -> None:
    for text in _texts(database, name):
        assert "evil" in text
        assert "://evil" not in text
        assert "evil://" not in text
