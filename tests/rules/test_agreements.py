"""The text of an agreement that is shown, and what of its HTML."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from collegium.agreements.rules import CONTENT_MAX, LANGUAGE_MAX, Kind, choose
from collegium.text.languages import accepted
from collegium.web.agreement_html import render


class Text(NamedTuple):
    kind: str
    language: str


DEFAULT, GERMAN, FRENCH = Text("terms", ""), Text("terms", "de"), Text("terms", "fr")
PRIVACY = Text("privacy", "pt-br")


@pytest.mark.parametrize(
    ("texts", "languages", "expected"),
    [
        ([DEFAULT, GERMAN, PRIVACY], ["de-AT", "fr"], [GERMAN, PRIVACY]),
        ([DEFAULT, GERMAN, FRENCH], ["fr", "de"], [FRENCH]),
        ([GERMAN, DEFAULT], ["fi"], [DEFAULT]),
        ([DEFAULT, GERMAN], ["de-AT-1996"], [GERMAN]),
        ([Text("privacy", ""), PRIVACY], ["PT-BR"], [PRIVACY]),
        ([PRIVACY, GERMAN, FRENCH], [], [GERMAN, PRIVACY]),
        ([], ["de"], []),
    ],
)
def test_best_language_of_each_kind_is_chosen(
    texts: list[Text], languages: list[str], expected: list[Text]
) -> None:
    assert choose(texts, languages) == expected


def test_stored_names_and_lengths() -> None:
    assert {kind.value for kind in Kind} == {"terms", "privacy"}
    assert (CONTENT_MAX, LANGUAGE_MAX) == (100_000, 10)


def test_languages_are_read_by_their_weight_and_nonsense_is_ignored() -> None:
    header = "fr;q=0.2, de-AT, en;q=0.8, *;q=0.1, x;q=, fi;q=0, \u20ac"
    assert accepted(header) == ["de-at", "en", "fr"]


@pytest.mark.parametrize(
    ("content", "html"),
    [
        ("One & <two>\nthree\n\nfour", "<p>One &amp; &lt;two&gt;<br>three</p><p>four</p>"),
        ("<h1>A</h1><p onclick='x'>b<br/>c</p>", "<h3>A</h3><p>b<br>c</p>"),
        ("<script>alert(1)</script><p>x</p>", "<p>x</p>"),
        ("<style>p{</style><template><p>a</p></template><p>x</p>", "<p>x</p>"),
        ("<a href=' JavaScript:alert(1)'>x</a>", "x"),
        (
            "<a href='https://x.org/?a=1&b=\"'>x</a>",
            '<a href="https://x.org/?a=1&amp;b=&#34;" rel="noreferrer">x</a>',
        ),
        ("<ul><li>a<li><b>b</ul>c</p>", "<ul><li>a<li><strong>b</strong></li></li></ul>c"),
        ("<img src=x onerror=alert(1)><p>x</p>", "<p>x</p>"),
        ("<p>a<!-- b --></p>&lt;script&gt;", "<p>a</p>&lt;script&gt;"),
    ],
)
def test_html_of_a_text_loses_scripts_and_unknown_elements(content: str, html: str) -> None:
    assert render(content) == html


def test_deeply_nested_html_stays_small() -> None:
    assert len(render("<b>" * 30_000 + "x</b>")) < 2000
