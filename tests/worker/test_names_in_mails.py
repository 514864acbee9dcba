"""Names in mails turn no sentence around them, and are no links, whenever they were written."""

from __future__ import annotations

import pytest

from collegium.db.database import Database
from tests.worker.scene import owe, words, written

HEBREW = "\u05d0\u05d2\u05d5\u05d3\u05d4"
ISOLATED = f"\u2068{HEBREW}\u2069"


def test_a_name_that_reads_from_the_right_is_isolated_in_every_part(database: Database) -> None:
    mail = owe(
        database,
        organisation=HEBREW,
        project=HEBREW,
        inviter={"first_name": HEBREW, "last_name": ""},
        role_description=HEBREW,
    )
    message = written(database, mail)
    for shown in (message["Subject"], words(message, "plain"), words(message, "html")):
        assert ISOLATED in shown
        assert HEBREW not in shown.replace(ISOLATED, "")


def test_a_name_cannot_close_its_own_isolate(database: Database) -> None:
    mail = owe(database, organisation=f"\u2069{HEBREW}\u2069\u202e", project=None)
    message = written(database, mail)
    for shown in (message["Subject"], words(message, "plain"), words(message, "html")):
        assert ISOLATED in shown
        assert shown.count("\u2068") == shown.count("\u2069")
        assert "\u202e" not in shown


def test_a_name_that_reads_from_the_left_gets_no_sign_that_it_does_not_need(
    database: Database,
) -> None:
    message = written(database, owe(database, organisation="\u00c9cole \u738b", project=None))
    assert "\u2068" not in message["Subject"] + words(message, "plain") + words(message, "html")


@pytest.mark.parametrize("name", ["Visit https://evil.example/x", "evil://x"])
def test_a_name_of_earlier_days_is_no_link_in_a_mail(database: Database, name: str) -> None:
    mail = owe(
        database,
        organisation=name,
        project=name,
        inviter={"first_name": name, "last_name": ""},
        role_description=name,
    )
    message = written(database, mail)
    for shown in (message["Subject"], words(message, "plain"), words(message, "html")):
        assert "evil" in shown
        assert "://evil" not in shown
        assert "evil://" not in shown


@pytest.mark.parametrize(
    ("kept", "sent"),
    [
        ("bob@m\u00fcnchen.example", "bob@xn--mnchen-3ya.example"),
        # Not `strasse`, which is somebody else's.
        ("bob@stra\u00dfe.example", "bob@xn--strae-oqa.example"),
        ("bob@printer.local", "bob@printer.local"),
        ("bob@mail.test", "bob@mail.test"),
    ],
)
def test_mail_goes_to_the_domain_that_the_address_names(
    database: Database, kept: str, sent: str
) -> None:
    assert written(database, owe(database, email=kept))["To"] == sent
