"""Forms, cookies, sessions and redirects, for every page."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from string import Formatter

import pytest

from collegium.accounts import queries as account_queries
from collegium.settings import Settings
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens import sessions as session_actions
from collegium.text import languages
from collegium.web import messages
from collegium.web.browser_request import is_local
from collegium.web.forms import Form
from collegium.web.page import Page, templates
from collegium.web.routes import ROUTES
from tests.support.browser import ORIGIN, Browser, text
from tests.support.site import Site
from tests.support.world import World


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


UNKNOWN = "0" * 32
SEGMENTS = {"token": "x", "number": "1", "provider": "unknown"} | dict.fromkeys(
    ("code", "uuid", "one", "id"), UNKNOWN
)
PAGES = [
    (path.format_map(SEGMENTS), method, operation)
    for path, table in ROUTES.items()
    for method, operation in table.items()
    if isinstance(operation, Page)
]
# Programs of mail providers send the form of one click, which names nothing but the signed link.
POSTS = [path for path, method, page in PAGES if method == "POST" and not page.one_click]
ACCOUNT_PAGES = [path for path, method, page in PAGES if method == "GET" and not page.public]
FORGOTTEN = "/forgotten_password/"


def test_error_of_a_field_is_in_the_language_of_the_page() -> None:
    form = Form({"name": [""], "email": ["nobody"], "slug": ["abc"]})
    with languages.using("de"):
        form.name("name", 9, required=True)
        form.email("email")
        form.text("slug", 2)
    assert form.errors == {
        "name": "Bitte füllen Sie dieses Feld aus.",
        "email": "Bitte geben Sie eine E-Mail-Adresse ein, zum Beispiel name@example.org.",
        "slug": "Bitte verwenden Sie höchstens 2 Zeichen.",
    }


def test_form_without_its_token_is_refused(browser: Browser, other: Browser, world: World) -> None:
    other.sign_in(world, world.person())
    for visitor in (browser, other):
        for path in POSTS:
            response = visitor.call("POST", path, data={"action": "approve", "username": "x"})
            assert response.status_code == 403, path
            assert "Nothing was saved" in text(response)


def test_form_of_another_session_is_refused(browser: Browser, other: Browser, world: World) -> None:
    path = "/account/profile/"
    browser.sign_in(world, world.person("ada")).open(path)
    other.sign_in(world, world.person("bob")).open(path)
    foreign = {"csrf": browser.csrf, "first_name": "Eve"}
    assert other.call("POST", path, data=foreign).status_code == 403
    assert other.send(path, first_name="Eve", agree_with_policy="yes").status_code == 303


def test_form_of_another_visitor_is_refused(browser: Browser, other: Browser) -> None:
    browser.open(FORGOTTEN)
    other.open(FORGOTTEN)
    foreign = {"csrf": browser.csrf, "email": "a@example.org"}
    assert other.call("POST", FORGOTTEN, data=foreign).status_code == 403
    assert browser.send(FORGOTTEN, email="a@example.org").status_code == 200


def test_old_form_of_a_visitor_is_refused(browser: Browser, world: World) -> None:
    browser.open(FORGOTTEN)
    three_hours_ago = int((datetime.now(UTC) - timedelta(hours=3)).timestamp())
    cookie = world.vault.sign("form", UNKNOWN, three_hours_ago)
    browser.cookies["collegium_form"] = cookie
    old = {"csrf": world.vault.derive_code("form", cookie), "email": "a@example.org"}
    response = browser.call("POST", FORGOTTEN, data=old)
    assert response.status_code == 403
    assert "reload the page" in text(response)


def test_form_from_before_the_sign_in_is_refused(browser: Browser, world: World) -> None:
    browser.open(FORGOTTEN)
    before = browser.csrf
    browser.sign_in(world, world.person())
    assert browser.call("POST", "/account/profile/", data={"csrf": before}).status_code == 403


def test_form_of_an_ended_session_can_be_sent_again(browser: Browser, world: World) -> None:
    own = {"headers": {"Sec-Fetch-Site": "same-origin"}}
    person = world.person("ada", first_name="Ada", agreed_at=datetime.now(UTC))
    browser.sign_in(world, person).open("/account/profile/")
    old = browser.csrf
    typed = {"first_name": "Augusta", "phone_number": '+372 <"1">'}
    browser.cookies.clear()
    ended = browser.send("/account/profile/", **typed, current="not shown", options=own)
    assert ended.status_code == 403
    assert "You are no longer signed in." in text(ended)
    assert "not shown" not in ended.text
    # The person signs in in another tab, and sends this page again.
    browser.sign_in(world, person)
    kept = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', ended.text))
    kept = {name: unescape(value) for name, value in kept.items()}
    csrf = kept.pop("csrf")
    assert kept == typed
    again = browser.send("/account/profile/", **kept, csrf=csrf, options=own)
    assert again.status_code == 403
    assert "You are now signed in as ada ." in text(again)
    assert browser.send("/account/profile/", **kept, options=own).status_code == 303
    assert 'value="Augusta"' in browser.open("/account/profile/").text
    # Only for a form of our own pages, as the browser says; "null" says nothing.
    for headers in ({}, {"Origin": "null"}, {"Sec-Fetch-Site": "none"}):
        stale = {"csrf": old, "options": {"headers": headers}}
        refused = browser.send("/account/profile/", **typed, **stale)
        assert refused.status_code == 403
        assert "+372" not in refused.text
    # A form without contents has nothing to lose.
    browser.cookies.clear()
    left = browser.send("/sign_out/", options=own)
    assert left.headers["location"] == "/sign_in/"


def test_old_form_of_a_visitor_can_be_sent_again(browser: Browser) -> None:
    browser.open("/forgotten_password/")
    browser.cookies.clear()
    own = {"headers": {"Origin": ORIGIN}}
    old = browser.send("/forgotten_password/", email="ada@example.org", options=own)
    assert old.status_code == 403
    assert "more than two hours" in text(old)
    assert 'name="email" value="ada@example.org"' in old.text
    sent = browser.send("/forgotten_password/", email="ada@example.org", options=own)
    assert "Check your e-mail" in text(sent)


def test_sign_in_form_of_another_tab_leads_on(browser: Browser, world: World) -> None:
    browser.open("/sign_in/?next=/teams/")
    browser.sign_in(world, world.person("ada"))
    stale, own = browser.csrf, {"headers": {"Origin": ORIGIN}}
    for path, fields, said in (
        ("/sign_in/", {"username": "ada"}, ""),
        ("/sign_in/", {"username": "bob"}, "signed in as ada already"),
        ("/sign_in/provider/", {"provider": "campus"}, "signed in as ada already"),
        ("/sign_in/code/", {"code": "123456"}, "signed in as ada already"),
    ):
        data = {**fields, "password": "four winds over quiet water", "next": "/teams/"}
        answer = browser.call("POST", path, data={"csrf": stale, **data}, **own)
        assert (answer.status_code, answer.headers["location"]) == (303, "/teams/")
        page = text(browser.follow(answer))
        assert said in page
        assert ("already" in page) == bool(said), "of two people at one browser one may be wrong"


def test_form_from_another_origin_is_refused(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person()).open("/account/")
    data = {"csrf": browser.csrf, "kind": "others"}
    for headers, status in (
        ({"Origin": ORIGIN}, 303),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "https://evil.example"}, 403),
        # An origin "null" says nothing; Sec-Fetch-Site still counts.
        ({"Origin": "null"}, 303),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ):
        response = browser.call("POST", "/account/tokens/end/", data=data, headers=headers)
        assert response.status_code == status, headers


def test_sign_in_leads_back_to_the_requested_page(browser: Browser) -> None:
    response = browser.call("GET", "/account/authorize/?session=abc&x=1")
    location = "/sign_in/?next=/account/authorize/%3Fsession%3Dabc%26x%3D1"
    assert (response.status_code, response.headers["location"]) == (303, location)


def test_cookies_are_http_only_and_for_this_site(browser: Browser) -> None:
    (line,) = browser.open("/sign_in/").headers.get_list("set-cookie")
    parts = line.split("; ")
    assert parts[0].startswith("collegium_form=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(parts)
    assert "Secure" not in parts


def test_cookies_are_secure_behind_tls(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> None:
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "collegium.test"}
    for settings, headers, is_secure in (
        ({"base_url": "https://collegium.test"}, {}, True),
        ({"trusted_proxies": "127.0.0.0/8"}, proxied, True),
        ({"trusted_proxies": ""}, proxied, False),
    ):
        browser = Browser(make_site(make_settings(**settings)))
        (line,) = browser.open("/sign_in/", headers=headers).headers.get_list("set-cookie")
        name = "__Host-collegium_form" if is_secure else "collegium_form"
        assert line.split("=")[0] == name
        assert ("Secure" in line.split("; ")) is is_secure
        assert "Domain" not in line


def test_session_ends_after_twelve_hours_without_use(browser: Browser, world: World) -> None:
    ada = world.person()
    now = datetime.now(UTC)
    for hours, status in ((0, 200), (11, 200), (13, 303)):
        with world.database.write(now - timedelta(hours=hours)) as tx:
            token = session_actions.begin(tx, world.vault, ada.actor, "password", "a test")
        browser.cookies = {"collegium_session": token}
        assert browser.open("/account/").status_code == status
    assert "collegium_session" not in browser.cookies


def test_session_in_use_ends_after_thirty_days(browser: Browser, world: World) -> None:
    ada = world.person()
    for days, status in ((29, 200), (31, 303)):
        with world.database.write(datetime.now(UTC) - timedelta(days=days)) as tx:
            token = session_actions.begin(tx, world.vault, ada.actor, "password", "a test")
        with world.database.write() as tx:
            row = token_queries.owner(tx, world.vault.keyed_hash(token))
            assert row is not None
            token_queries.touch_now(tx, row.token_id)
        browser.cookies = {"collegium_session": token}
        assert browser.open("/account/").status_code == status, days


def test_session_is_invalid_after_signing_out(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person()).open("/account/")
    cookies = dict(browser.cookies)
    assert browser.send("/sign_out/").status_code == 303
    browser.cookies = cookies
    assert browser.open("/account/").status_code == 303


def test_every_page_of_an_account_offers_to_sign_out(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.staff)
    pages = [browser.call("GET", path) for path in ACCOUNT_PAGES]
    shown = [page for page in pages if page.status_code == 200]
    assert len(shown) > 10
    assert all('action="/sign_out/"' in page.text for page in shown)


def test_sessions_and_api_tokens_are_not_interchangeable(browser: Browser, world: World) -> None:
    ada = world.person()
    browser.cookies = {"collegium_session": ada.token}
    assert browser.open("/account/").status_code == 303
    browser.sign_in(world, ada)
    assert browser.call("GET", "/account/").status_code == 200
    session = browser.cookies["collegium_session"]
    assert browser._site.get("/api/users/me/", session).status_code == 401


def test_deactivated_account_is_signed_out_at_once(browser: Browser, world: World) -> None:
    ada = world.person()
    assert browser.sign_in(world, ada).open("/account/").status_code == 200
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"is_active": False})
    assert browser.open("/account/").status_code == 303


OTHER_SITES = (
    *("", "account/", "//evil.example/", "/\\evil.example/", "/a\\b", "https://evil.example/"),
    *("javascript:alert(1)", "/\t/evil.example", "/\n/evil.example", "/é", "/" + "a" * 2000),
)
LOCAL = ("/requests/", "/invitation/abc.def-_/", "/account/authorize/?session=1&a=b")


def test_sign_in_never_redirects_to_another_site(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person())
    for path in OTHER_SITES:
        assert not is_local(path)
    for path in (*OTHER_SITES, *LOCAL):
        response = browser.call("GET", "/sign_in/", params={"next": path})
        assert response.headers["location"] == (path if path in LOCAL else "/"), path


def test_flash_message_is_shown_once(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person()).open("/account/profile/")
    saved = browser.send("/account/profile/", first_name="Ada", agree_with_policy="yes")
    assert "Your profile is saved." in text(browser.follow(saved))
    assert "Your profile is saved." not in text(browser.open("/account/profile/"))


def test_unsigned_flash_message_is_not_shown(browser: Browser) -> None:
    browser.cookies["collegium_flash"] = "WyJkb25lIiwiU2VuZCBtb25leSJd.forged"
    assert "Send money" not in text(browser.open("/"))


def test_unknown_page_shows_page_not_found(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person())
    response = browser.open("/account/leave/" + "0" * 32 + "/")
    assert response.status_code == 404
    assert "Page not found" in text(response)
    unknown = browser.call("GET", "/nowhere/", headers={"accept-language": "ar"})
    assert unknown.status_code == 404
    assert '<html lang="ar" dir="rtl">' in unknown.text
    assert browser.call("DELETE", "/account/").status_code == 405


def test_body_that_is_no_form_is_refused(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person())
    for media_type, body in (
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"csrf=%ff%fe"),
        ("application/x-www-form-urlencoded", "csrf=é".encode()),
        ("multipart/form-data; boundary=x", b"--y\r\n"),
        ("application/x-www-form-urlencoded", b"a=1&" * 5000),
        ("", b""),
    ):
        headers = {"Content-Type": media_type}
        response = browser.call("POST", "/account/profile/", headers=headers, content=body)
        assert response.status_code == 403, (media_type, body[:20])
        # An empty form is as good as a stale one.
        word = "was not a complete form" if body else "open for too long"
        assert word in text(response), (media_type, body[:20])


def test_style_sheet_is_cached_under_its_digest(browser: Browser) -> None:
    link = re.search(r'href="(/static/style\.css\?\w+)"', browser.open("/").text)
    assert link
    assert "immutable" in browser.open(link[1]).headers["cache-control"]
    assert "immutable" not in browser.open("/static/style.css").headers["cache-control"]


def test_every_element_of_a_table_has_a_role() -> None:
    environment = templates()
    assert environment.loader is not None
    tags = []
    for name in environment.list_templates():
        source = environment.loader.get_source(environment, name)[0]
        html = environment.preprocess(source, name)
        tags += re.findall(r"<(?:table|thead|tbody|tr|th|td)\b[^>]*", html)
    assert len(tags) > 50
    assert [tag for tag in tags if " role=" not in tag] == []


def test_messages_need_no_facts_that_a_refusal_may_lack() -> None:
    needed = {
        code: names
        for code, message in messages._MESSAGES.items()
        if (names := [name for _, name, _, _ in Formatter().parse(message) if name is not None])
    }
    # `bulk_changes.actions.find_rows` and `invitations.rules` give them.
    assert needed == {
        "bulk_change.too_many": ["most"],
        "invitation.ends_before_start": ["start"],
    }
