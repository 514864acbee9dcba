"""The choice of a language, its catalogues, and the check of translations."""

from datetime import UTC, datetime

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
    ],
)
def test_right_translation_passes(
    english: str | tuple[str, str], translation: str | tuple[str, str]
) -> None:
    assert [*catalogues.faults(Message(english), Message(english, translation))] == []


def test_missing_translation_is_found() -> None:
    assert [*catalogues.faults(Message("A word"), None)]
