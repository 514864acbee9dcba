"""How dates and people look on pages."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from collegium.text import languages
from collegium.web import browser_names, display

NOW = datetime(2026, 3, 5, 7, 8, tzinfo=UTC)


def test_near_time_is_relative_and_has_the_exact_one() -> None:
    assert display.near(NOW - timedelta(hours=2), NOW) == (
        '<time datetime="2026-03-05T05:08:00+00:00" title="5 March 2026, 05:08 UTC">'
        '2 hours ago<span class="hidden"> (5 March 2026, 05:08 UTC)</span></time>'
    )
    with languages.using("de"):
        assert "vor 2 Stunden<span" in display.near(NOW - timedelta(hours=2), NOW)


@pytest.mark.parametrize(
    ("agent", "name", "german"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Linux",
            "Firefox unter Linux",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) EdgiOS/130.0 Mobile Safari/605",
            "Edge on an iPhone",
            "Edge auf einem iPhone",
        ),
        ("Mozilla/5.0 (Haiku) Safari/537.36", "Safari", "Safari"),
        ("curl/8.5 {0} {browser}", "curl/8.5 {0} {browser}", "curl/8.5 {0} {browser}"),
        ("\x00 \u202e", "Unknown browser", "Unbekannter Browser"),
        ("x" * 1000, "x" * 150, "x" * 150),
    ],
)
def test_browser_has_a_name_in_the_language_of_the_reader(
    agent: str, name: str, german: str
) -> None:
    assert browser_names.name_of(agent) == name
    assert browser_names.in_current_language(name) == name
    with languages.using("de"):
        assert browser_names.in_current_language(name) == german


def test_distant_time_is_a_date() -> None:
    assert display.near(NOW - timedelta(days=300), NOW) == (
        '<time datetime="2025-05-09T07:08:00+00:00" title="9 May 2025, 07:08 UTC">9 May 2025</time>'
    )


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/account/", "/account/"),
        ("/account/profile/", "/account/profile/"),
        ("/account/profile/picture/", "/account/profile/"),
        ("/account/leave/1/", "/account/"),
        ("/sign_in/", ""),
    ],
)
def test_page_belongs_to_the_tab_whose_path_it_continues(path: str, part: str) -> None:
    parts = ["/account/", "/account/profile/", "/account/keys/"]
    assert display.part_of(path, parts) == part


def test_end_has_a_label_when_it_is_near() -> None:
    label = '<br><span class="state warn">in 9 days</span>'
    assert display.ends(NOW + timedelta(days=9), NOW).endswith(f">14 March 2026</time>{label}")
    assert "state" not in display.ends(NOW + timedelta(days=90), NOW)


@pytest.mark.parametrize(
    ("first", "last", "username", "letters"),
    [
        ("Ada", "Lovelace", "ada", "AL"),
        ("Ada", "", "ada", "A"),
        ("", "", "zoe", "Z"),
        ("<b>", "'; drop", "x", "BD"),
        ("\u202eécole", "ßen", "x", "ÉS"),
        ("נועה", "לוי", "x", "נל"),
        ("🙂", "", "…", "?"),
        (None, None, None, "?"),
    ],
)
def test_initials_are_the_first_letters(
    first: str | None, last: str | None, username: str | None, letters: str
) -> None:
    row = SimpleNamespace(first_name=first, last_name=last, username=username)
    assert display.initials(row) == letters


def test_colour_of_initials_is_one_of_the_style_sheet() -> None:
    hues = {display.hue(f"person{number}") for number in range(200)}
    assert hues == set(range(display.HUES))
    assert display.hue("ada") == display.hue("ada")
