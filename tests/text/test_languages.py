"""The choice of a language, its catalogues, and the check of translations."""

from datetime import UTC, datetime, timedelta

import pytest
from babel.messages.catalog import Message

from collegium.text import languages
from translating import catalogues


@pytest.mark.parametrize(
    ("codes", "chosen"),
    [
        (["de"], "de"),
        (["de-AT"], "de"),
        (["de_AT", "fr"], "de"),
        (["tlh", "fr", "de"], "fr"),
        (["", "AR"], "ar"),
        (["tlh", "x" * 10_000, "../de"], "en"),
        ([], "en"),
    ],
)
def test_first_available_language_is_chosen(codes: list[str], chosen: str) -> None:
    assert languages.first_available(*codes) == chosen


def test_every_language_has_a_name_and_a_direction() -> None:
    for language in languages.available():
        assert languages.NAMES[language]
        with languages.using(language):
            assert languages.direction() == ("rtl" if language == "ar" else "ltr")
    assert languages.current() == "en"


@pytest.mark.parametrize(
    ("language", "day", "moment"),
    [
        ("en", "5 March 2026", "5 March 2026, 07:08 UTC"),
        ("de", "5. März 2026", "5. März 2026, 07:08 UTC"),
        ("et", "5. märts 2026", "5. märts 2026, 07:08 UTC"),
    ],
)
def test_dates_are_in_words_of_the_language(language: str, day: str, moment: str) -> None:
    at = datetime(2026, 3, 5, 7, 8, tzinfo=UTC)
    with languages.using(language):
        assert languages.day(at) == day
        assert languages.moment(at) == moment


@pytest.mark.parametrize(
    ("language", "away", "words"),
    [
        ("en", timedelta(seconds=-59), "just now"),
        ("en", timedelta(seconds=1), "just now"),
        ("en", timedelta(seconds=6), "in 1 minute"),
        ("en", timedelta(minutes=-59.6), "1 hour ago"),
        ("en", timedelta(hours=-2), "2 hours ago"),
        ("en", timedelta(hours=23.6), "in 1 day"),
        ("en", timedelta(days=9, minutes=-1), "in 9 days"),
        ("en", timedelta(days=-30), "30 days ago"),
        ("en", timedelta(days=31), ""),
        ("en", timedelta(days=-400), ""),
        ("de", timedelta(seconds=0), "gerade eben"),
        ("de", timedelta(days=-1), "vor 1 Tag"),
        ("de", timedelta(days=27), "in 27 Tagen"),
        ("lt", timedelta(days=2), "po 2 dienų"),
        ("lt", timedelta(days=-21), "prieš 21 dieną"),
        ("ar", timedelta(days=-2), "قبل يومين"),
        ("ar", timedelta(days=9), "خلال 9 أيام"),
    ],
)
def test_near_times_are_counted_in_words_of_the_language(
    language: str, away: timedelta, words: str
) -> None:
    now = datetime(2026, 3, 5, 7, 8, tzinfo=UTC)
    with languages.using(language):
        assert languages.distance(now + away, now) == words


def test_text_without_a_translation_stays_english() -> None:
    with languages.using("de"):
        assert languages.gettext("This is no text of the program.") == (
            "This is no text of the program."
        )
        assert languages.ngettext("one", "{n} of them", 1) == "one"
        assert languages.ngettext("one", "{n} of them", 2) == "{n} of them"


@pytest.mark.parametrize(
    ("english", "translation"),
    [
        ("Hello %(name)s.", "Hallo %(nom)s."),
        ("Hello %(name)s.", "Hallo."),
        ("Hello {name}.", "Hallo {name} {other}."),
        ("A <strong>word</strong>", "Ein <em>Wort</em>"),
        ('<a href="/account/">Mine</a>', '<a href="/konto/">Meins</a>'),
        ("A word", 'Ein "Wort"'),
        (" or ", "oder"),
        ("A word", ""),
        ("Changed[ by {who}].", "Geändert von {who}."),
        (("%(num)s role", "%(num)s roles"), ("eine Rolle", "Rollen")),
        (("%(num)s role", "%(num)s roles"), ("eine Rolle", "")),
    ],
)
def test_broken_translation_is_found(
    english: str | tuple[str, str], translation: str | tuple[str, str]
) -> None:
    assert [*catalogues.faults(Message(english), Message(english, translation))]


@pytest.mark.parametrize(
    ("english", "translation"),
    [
        ("%(one)s and %(two)s", "%(two)s und %(one)s"),
        (("%(num)s role", "%(num)s roles"), ("eine Rolle", "%(num)s Rollen")),
        ("100 %%", "100 %%"),
        ("Sent[ to {whom}][ by {who}].", "Gesendet[ von {who}][ an {whom}]."),
    ],
)
def test_right_translation_passes(
    english: str | tuple[str, str], translation: str | tuple[str, str]
) -> None:
    assert [*catalogues.faults(Message(english), Message(english, translation))] == []


def test_missing_translation_is_found() -> None:
    assert [*catalogues.faults(Message("A word"), None)]
