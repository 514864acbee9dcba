"""Pages are in the language of the reader, and no text is left in English."""

import html
import re

import httpx
import pytest
from jinja2 import Environment, nodes
from sqlalchemy import update

from collegium.db.statements import Statement
from collegium.db.tables import invitations, organisations
from collegium.invitations import links
from collegium.text import languages
from collegium.web import messages
from collegium.web.page import templates
from tests.support.browser import Browser
from tests.support.world import World
from tests.web.test_names_on_pages import all_pages

DATA = re.compile(
    # What people and operators typed, and what programs read.
    r"(?s)<bdi.*?</bdi>|<code.*?</code>|<blockquote.*?</blockquote>|<textarea.*?</textarea>"
    r'|<style.*?</style>|<script.*?</script>|<div class="agreement".*?</div>|<!--.*?-->'
    r'|<p class="secret">.*?</p>|<a class="brand".*?</a>| · Collegium</title>'
    r'|<option value="([^"]*)"[^>]*>\1</option>|\u2068[^\u2069]*\u2069'
)
SHOWN = re.compile(r'(?:aria-label|alt|title|placeholder|data-label)="([^"]*)"|>([^<>]*)(?=<)')
MARKED = re.compile("⟦[^⟦⟧]*⟧")
MONTHS = (
    "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
    "|Jan|Feb|Mär|Apr|Jun|Jul|Aug|Sep|Okt|Nov|Dez"
)
KEPT = re.compile(
    rf"\b({MONTHS})\b( \d{{4}})?"
    r"|\d+\. [A-ZÄ][a-zä]+( \d{4})?|(vor|in) \d+ (Minuten?|Stunden?|Tag(en)?)|UTC|JSON"
    r"|(?i:campus)|Physicists|Deutsch|English|https?://[^ <]+"
)
WORD = re.compile("[A-Za-z]{3,}")


class PseudoCatalogue:
    """Translates every text into itself, between brackets."""

    def gettext(self, text: str) -> str:
        return f"⟦{text}⟧"

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        return f"⟦{singular if number == 1 else plural}⟧"


def in_english(page: str) -> list[str]:
    """Return the texts of a page that are not translated."""
    text = DATA.sub("", page)
    while MARKED.search(text):
        text = MARKED.sub("", text)
    text = KEPT.sub("", text)
    shown = [html.unescape(one or other).strip() for one, other in SHOWN.findall(text)]
    return [one for one in shown if WORD.search(one)]


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_text_of_a_page_stays_english(
    browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, paths = all_pages(world)
    monkeypatch.setattr(languages, "available", lambda: ("en", "de"))
    pseudo = PseudoCatalogue()
    monkeypatch.setattr(languages, "catalogue", lambda _language: pseudo)
    browser.sign_in(world, viewer)
    left, tabs = {}, []
    for path in paths:
        page = browser.open(path, headers={"accept-language": "de-AT, en;q=0.5"})
        if page.text.startswith("<!doctype html>"):
            assert '<html lang="de" dir="ltr">' in page.text
            left[path] = in_english(page.text)
            tabs += re.findall(r'(?s)<(?:nav|ul) class="tabs.*?</(?:nav|ul)>', page.text)
    assert {path: texts for path, texts in left.items() if texts} == {}
    # Seen here, because this test opens every page: each says to which tab it belongs.
    assert [one for one in tabs if one.count("aria-current=") != 1] == []


def unmarked(template: str, environment: Environment) -> list[str]:
    """Return the texts of a template that are not marked for translation."""
    assert environment.loader is not None
    source = environment.loader.get_source(environment, template)[0]
    parts = []
    for output in environment.parse(source).find_all(nodes.Output):
        parts += [
            node.data if isinstance(node, nodes.TemplateData) else "_" for node in output.nodes
        ]
        parts.append("\n")
    text = re.sub(r"(?s)<(style|script).*?</\1>|<[^<>]*>", "\n", "".join(parts))
    # What is left of tags whose attributes depend on something.
    text = re.sub(r'<[^<>]*$|[a-z-]+="[^"]*"?', "\n", text)
    return [line.strip() for line in text.splitlines() if WORD.search(html.unescape(line))]


@pytest.mark.slow
def test_no_text_of_a_template_is_unmarked() -> None:
    left = {name: unmarked(name, templates()) for name in templates().list_templates()}
    assert {name: texts for name, texts in left.items() if texts} == {}


def source(template: str) -> str:
    """Return the text of a template."""
    loader = templates().loader
    assert loader is not None
    return loader.get_source(templates(), template)[0]


def test_every_field_has_a_label_in_the_catalogues() -> None:
    """The summary of the errors names fields by it. A tick box is always one of two."""
    named = re.compile(r'\b(?:field|area|choose)\([\w.]+, "(\w+)"')
    fields = {name for one in templates().list_templates() for name in named.findall(source(one))}
    texts: dict[object, str] = languages.catalogue("de")._catalog  # type: ignore[attr-defined]
    labels = {messages.label(name): name for name in {*fields, "own_address"}}
    assert {name for label, name in labels.items() if label not in texts} == set()


def joined(template: str) -> list[str]:
    """Return places of a template where two sentences have no space between them.

    The line break after a tag of Jinja is not on the page.
    """
    return re.findall(
        r"endtrans %\}(?:\{% end(?:if|for) %\})*\n(?:\{% if[^%]*%\})*"
        r"(?:\{% trans|\{\{ [a-z]|<(?:a|bdi|strong|span)\b).*",
        source(template),
    )


def test_sentences_of_a_template_have_a_space_between_them() -> None:
    left = {name: joined(name) for name in templates().list_templates()}
    assert {name: places for name, places in left.items() if places} == {}


def heading(page: httpx.Response) -> str:
    """Return language, direction and heading of a page."""
    found = re.search(r'<html lang="(.*?)" dir="(.*?)">.*?<h1>(.*?)</h1>', page.text, re.DOTALL)
    assert found
    return " ".join(found.groups())


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_page_is_in_the_language_of_the_account_else_of_the_browser(
    browser: Browser, world: World
) -> None:
    for header, shown in (
        ("", "en ltr Sign in"),
        ("tlh, de-AT;q=0.9, en;q=0.1", "de ltr Anmelden"),
        ("ar", "ar rtl تسجيل الدخول"),
        ("x" * 100_000, "en ltr Sign in"),
        ("../../de, \0, de;q=x", "en ltr Sign in"),
    ):
        assert heading(browser.open("/sign_in/", headers={"accept-language": header})) == shown
    browser.sign_in(world, world.person("ada"))
    profile = "/account/profile/"
    assert heading(browser.open(profile, headers={"accept-language": "de"})) == "de ltr Profil"
    refused = browser.call(
        "POST", profile, data={"csrf": browser.csrf, "preferred_language": "tlh"}
    )
    assert refused.status_code == 422
    saved = browser.call(
        "POST",
        profile,
        data={"csrf": browser.csrf, "preferred_language": "de", "agree_with_policy": "yes"},
    )
    assert "Ihr Profil" in browser.follow(saved).text
    assert heading(browser.open(profile, headers={"accept-language": "ar"})) == "de ltr Profil"
    # What the same thread answers afterwards to a program is in English.
    answer = browser.call("GET", "/api/users/me/", headers={"accept-language": "de"})
    assert answer.json() == {"detail": "Authentication credentials were not provided."}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_invitation_is_shown_in_the_language_that_the_inviter_knows(
    browser: Browser, world: World
) -> None:
    organisation = world.organisation()
    project = world.project(organisation)
    uuid = world.invite(world.staff, "new@example.org", "PROJECT.MEMBER", project)
    path = f"/invitation/{world.vault.sign(links.MAILED, uuid, 1)}/"
    assert heading(browser.open(path)) == "en ltr You are invited"
    known = update(invitations).where(invitations.c.uuid == uuid).values(language="de")
    french = {"accept-language": "fr"}
    assert heading(browser.open(path, headers=french)).startswith("fr ltr ")
    # The organisation has a language, and the inviter knows a better one.
    with world.database.write() as tx:
        tx.execute(Statement(update(organisations).values(language="lt")))
    assert heading(browser.open(path, headers=french)).startswith("lt ltr ")
    link = world.create_link(
        *(world.staff, "PROJECT.MEMBER", organisation), auto_create_project=True, is_public=True
    )
    link = f"/open_invitation/{link}/"
    assert heading(browser.open(link, headers=french)).startswith("lt ltr ")
    with world.database.write() as tx:
        tx.execute(Statement(known))
    assert heading(browser.open(path, headers=french)).startswith("de ltr ")
    browser.sign_in(world, world.person("ada", preferred_language="ar"))
    assert heading(browser.open(path)).startswith("ar rtl ")
