"""E-mails are in the language of the reader, and no text is left in English."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts, invitations, organisations, scopes
from collegium.settings import Settings
from collegium.text import languages
from collegium.text.plain import fill, short
from collegium.worker import mail_templates
from collegium.worker.mail_templates import TEMPLATES, Contents, templates
from collegium.worker.mails import LOADERS
from tests.support.world import World
from tests.web.test_languages import PseudoCatalogue, in_english, unmarked
from tests.worker.scene import START, add_account, enqueue, rendered, words
from tests.worker.test_every_mail import EveryKind

COMMON = {
    **dict.fromkeys(("common_footer_text", "common_footer_html"), ""),
    "site_name": "Collegium",
    "base_url": "https://collegium.example",
}
WIDTH = 72
NAMES = re.compile(
    r"Ada|Lovelace|Welcome|Collegium|UTC|html|[\w.+-]+@[\w.-]+|https?://\S+|[a-z]+_[a-z_]+"
)
"""What stays in every language: names, addresses, links, names of events."""


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


def set_language(database: Database, table: Any, column: str, code: str) -> None:
    with database.write(START) as tx:
        tx.execute(Statement(update(table).values({column: code})))


def test_language_is_that_of_person_invitation_organisation_or_site(database: Database) -> None:
    mail = enqueue(database)
    with database.write(START) as tx:
        add_account(tx, email="BOB@example.org", email_comparable="bob@example.org")
        ids = select(scopes.c.id).where(scopes.c.kind == "organisation")
        tx.execute(Statement(insert(organisations).from_select(["scope_id"], ids)))

    def language() -> str:
        return str(rendered(database, mail, language="et")["Content-Language"])

    for table, column, code in (
        (organisations, "language", "lt"),
        (invitations, "language", "fr"),
        (accounts, "preferred_language", "de-AT"),
    ):
        # One that has no catalogue does not count.
        set_language(database, table, column, "tlh")
        before = language()
        set_language(database, table, column, code)
        assert (before, language()) == (
            {"lt": "et", "fr": "lt", "de-AT": "fr"}[code],
            code.partition("-")[0],
        )
    set_language(database, accounts, "preferred_language", "en")
    assert rendered(database, mail, language="et")["Subject"].endswith(
        "invites you to join Analytical Engines"
    )


def test_arabic_mail_is_right_to_left_and_isolates_names(database: Database) -> None:
    message = rendered(database, enqueue(database, language="ar", extra_text="Hello"))
    plain, html = words(message, "plain"), words(message, "html")
    assert '<html lang="ar" dir="rtl">' in html
    assert "text-align:right" in html
    assert "text-align:left" not in html
    assert html.count('dir="rtl"') == 2  # also below <body>, which some mail programs drop
    for text in (message["Subject"], plain, html):
        assert "\u2068Analytical Engines\u2069" in text
        assert "Analytical" not in re.sub("\u2068[^\u2069]*\u2069", "", text)
    assert "للانضمام إلى مشروع" in plain
    assert "نوفمبر" in plain


def test_german_mail_has_german_sentences_dates_and_roles(database: Database) -> None:
    mail = enqueue(database, language="de", role_description="Project member")
    message = rendered(database, mail)
    plain = " ".join(words(message, "plain").split())
    assert message["Subject"] == "Ada Lovelace lädt Sie zu Analytical Engines ein"
    assert "Projekt Analytical Engines von Royal Society" in plain
    assert "Ihre Rolle: Projektmitglied Gültig bis: 29. November 2026, 12:00 UTC" in plain
    assert '<html lang="de" dir="ltr">' in words(message, "html")
    # What is rendered next is not in German.
    assert languages.current() == "en"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_every_kind_of_mail_is_complete_in_every_language(
    world: World, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(only_staff_can_invite_users="true")
    every_kind = EveryKind(world, settings, "Ada Lovelace")
    kinds = {row.kind: row for row in every_kind.rows_to_send}

    with world.database.read() as tx:

        def contents(row: Any) -> Contents:
            variables = LOADERS[row.kind](tx, settings, world.vault, row.payload)
            return mail_templates.render(None, row.kind, COMMON | variables)

        for kind, row in kinds.items():
            for language in languages.available():
                with languages.using(language):
                    _subject, text, html = contents(row)
                assert f'<html lang="{language}"' in html, kind
                for line in text.splitlines():
                    assert len(line) <= WIDTH or "://" in line, (language, kind, line)
        pseudo = PseudoCatalogue()
        monkeypatch.setattr(languages, "catalogue", lambda _language: pseudo)
        for kind, row in kinds.items():
            with languages.using("de"):
                subject, text, html = contents(row)
            for plain in (subject, text):
                left = NAMES.sub("", plain)
                while "⟦" in left:
                    left = re.sub("⟦[^⟦⟧]*⟧", "", left)
                assert not re.search("[A-Za-z]{3,}", left), kind
            assert in_english(NAMES.sub("", html.partition("<body")[2])) == [], kind


def test_no_text_of_a_template_of_a_mail_is_unmarked() -> None:
    for path in TEMPLATES.iterdir():
        name = path.name
        names = [f"{path.stem}.html", f"{path.stem}.txt"] if path.suffix == ".body" else [name]
        assert [unmarked(one, templates(None)) for one in names] == [[]] * len(names), name


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("a\n\n\n\nb\n", "a\n\nb\n"),
        ("one two three", "one two\nthree\n"),
        ("* one two three", "* one two\n  three\n"),
        ("    one two", "    one\n    two\n"),
        ("> one two three", "> one two\n> three\n"),
        (f"x {'y' * 20} z", f"x\n{'y' * 20}\nz\n"),
        ("x https://a.example/b-c-d z", "x\nhttps://a.example/b-c-d\nz\n"),
        ("one \u2068two three\u2069", "one\n\u2068two three\u2069\n"),
        ("-- \nSite", "-- \nSite\n"),
    ],
)
def test_lines_of_a_text_are_filled(text: str, filled: str) -> None:
    assert fill(text, 10) == filled


def test_short_name_stays_isolated() -> None:
    assert short("\u2068" + "x" * 9 + "\u2069", 5) == "\u2068xxxx…\u2069"
