"""What every page has: who may send a form, what a browser keeps, where it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from collegium.accounts import queries as account_queries
from collegium.settings import Settings
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens import sessions as session_actions
from collegium.web.browser_request import is_local
from collegium.web.page import Page, templates
from collegium.web.routes import ROUTES
from tests.support.browser import ORIGIN, Browser, text
from tests.support.site import Site
from tests.support.world import World

PLACES = {
    "token": "not-a-token",
    "code": "0" * 32,
    "uuid": "0" * 32,
    "number": "1",
    "one": "0" * 32,
}
PAGES = [
    (path.format_map(PLACES), method, operation)
    for path, table in ROUTES.items()
    for method, operation in table.items()
    if isinstance(operation, Page)
]
POSTS = [path for path, method, _ in PAGES if method == "POST"]
CLOSED = [(path, method) for path, method, operation in PAGES if not operation.public]


def test_no_form_without_its_token_does_anything(
    browser: Browser, other: Browser, world: World
) -> None:
    other.sign_in(world, world.person())
    for who in (browser, other):
        for path in POSTS:
            answer = who.call("POST", path, data={"action": "approve", "username": "x"})
            assert answer.status_code == 403, path
            assert "Nothing was saved" in text(answer)


def test_a_form_of_another_browser_is_refused(
    browser: Browser, other: Browser, world: World
) -> None:
    browser.sign_in(world, world.person("ada"))
    other.sign_in(world, world.person("bob"))
    browser.open("/account/profile/")
    foreign = browser.csrf
    other.open("/account/profile/")
    answer = other.call("POST", "/account/profile/", data={"csrf": foreign, "first_name": "Eve"})
    assert answer.status_code == 403
    # The same form with its own token is taken, so it was the token.
    sent = other.send("/account/profile/", first_name="Eve", agree_with_policy="yes")
    assert sent.status_code == 303


def test_a_form_for_visitors_is_bound_to_the_visitor(browser: Browser, other: Browser) -> None:
    browser.open("/forgotten_password/")
    foreign = browser.csrf
    other.open("/forgotten_password/")
    answer = other.call(
        "POST", "/forgotten_password/", data={"csrf": foreign, "email": "a@example.org"}
    )
    assert answer.status_code == 403
    assert browser.send("/forgotten_password/", email="a@example.org").status_code == 200


def test_a_form_for_visitors_that_is_too_old_is_refused(browser: Browser, world: World) -> None:
    browser.open("/forgotten_password/")
    long_ago = int((datetime.now(UTC) - timedelta(hours=3)).timestamp())
    old = world.vault.sign("visit", "0" * 32, long_ago)
    browser.cookies["collegium_visit"] = old
    token = world.vault.derive_code("form", old)
    answer = browser.call(
        "POST", "/forgotten_password/", data={"csrf": token, "email": "a@example.org"}
    )
    assert answer.status_code == 403
    assert "reload the page" in text(answer)


def test_a_form_of_before_signing_in_is_stale_afterwards(browser: Browser, world: World) -> None:
    browser.open("/forgotten_password/")
    before = browser.csrf
    browser.sign_in(world, world.person())
    answer = browser.call("POST", "/account/profile/", data={"csrf": before})
    assert answer.status_code == 403


def test_a_form_must_come_from_our_own_pages(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person())
    browser.open("/account/")
    for headers, status in (
        ({"Origin": ORIGIN}, 303),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "https://evil.example"}, 403),
        # "null" says nothing; what the browser says of where it comes from still does.
        ({"Origin": "null"}, 303),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ):
        options = {"headers": headers}
        sent = browser.call(
            "POST", "/account/tokens/end/", data={"csrf": browser.csrf, "kind": "others"}, **options
        )
        assert sent.status_code == status, headers


def test_every_page_is_private_and_in_no_frame(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person())
    for path, method, _ in PAGES:
        if method == "GET":
            answer = browser.call("GET", path)
            assert answer.headers["cache-control"] == "no-store", path
            assert answer.headers["x-frame-options"] == "DENY", path
            policy = answer.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy, path
            assert "default-src 'none'" in policy, path
            assert "unsafe" not in policy, path
            assert "script-src" not in policy, path
            for sign in ("style=", "<script", "onclick", "javascript:"):
                assert sign not in answer.text, (path, sign)


def test_pages_of_an_account_send_a_visitor_to_sign_in_first(
    browser: Browser, world: World
) -> None:
    browser.open("/forgotten_password/")
    for path, method in CLOSED:
        sent = browser.call(method, path, data={"csrf": browser.csrf} if method == "POST" else None)
        assert sent.status_code == 303, path
        assert sent.headers["location"].startswith("/sign_in/"), path
    sent = browser.call("GET", "/account/authorize/?session=abc&x=1")
    assert sent.headers["location"] == "/sign_in/?next=/account/authorize/%3Fsession%3Dabc%26x%3D1"


def test_cookies_are_for_us_alone(browser: Browser) -> None:
    (line,) = browser.open("/sign_in/").headers.get_list("set-cookie")
    parts = line.split("; ")
    assert parts[0].startswith("collegium_visit=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(parts)
    assert "Secure" not in parts


def test_cookies_never_leave_tls_where_there_is_tls(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> None:
    browser = Browser(make_site(make_settings(base_url="https://collegium.test")))
    (line,) = browser.open("/sign_in/").headers.get_list("set-cookie")
    assert line.startswith("__Host-collegium_visit=")
    assert "Secure" in line.split("; ")
    assert "Domain" not in line


def test_a_proxy_in_front_says_that_there_is_tls(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> None:
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "collegium.test"}
    for trusted, name in (("127.0.0.0/8", "__Host-collegium_visit"), ("", "collegium_visit")):
        browser = Browser(make_site(make_settings(trusted_proxies=trusted)))
        (line,) = browser.open("/sign_in/", headers=proxied).headers.get_list("set-cookie")
        assert line.split("=")[0] == name


def test_a_session_ends_when_it_was_not_used_and_when_it_is_old(
    browser: Browser, world: World
) -> None:
    ada = world.person()
    now = datetime.now(UTC)
    for hours, status in ((0, 200), (11, 200), (13, 303)):
        with world.database.write(now - timedelta(hours=hours)) as tx:
            token = session_actions.begin(tx, world.vault, ada.actor, "password", "a test")
        browser.cookies = {"collegium_session": token}
        assert browser.open("/account/").status_code == status
    assert "collegium_session" not in browser.cookies


def test_a_session_in_use_ends_after_thirty_days(browser: Browser, world: World) -> None:
    ada = world.person()
    for days, status in ((29, 200), (31, 303)):
        with world.database.write(datetime.now(UTC) - timedelta(days=days)) as tx:
            token = session_actions.begin(tx, world.vault, ada.actor, "password", "a test")
        with world.database.write() as tx:
            row = token_queries.owner(tx, world.vault.digest(token))
            assert row is not None
            token_queries.touch_now(tx, row.token_id)
        browser.cookies = {"collegium_session": token}
        assert browser.open("/account/").status_code == status, days


def test_a_browser_that_signed_out_does_not_come_back_with_what_it_held(
    browser: Browser, world: World
) -> None:
    browser.sign_in(world, world.person())
    held = dict(browser.cookies)
    browser.open("/account/")
    assert browser.send("/sign_out/").status_code == 303
    browser.cookies = held
    assert browser.open("/account/").status_code == 303


def test_every_page_of_an_account_offers_to_sign_out(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.staff)
    shown = 0
    for path, method in CLOSED:
        answer = browser.call(method, path) if method == "GET" else None
        if answer is not None and answer.status_code == 200:
            assert 'action="/sign_out/"' in answer.text, path
            shown += 1
    assert shown > 10


def test_a_session_is_no_token_and_a_token_is_no_session(browser: Browser, world: World) -> None:
    ada = world.person()
    browser.cookies = {"collegium_session": ada.token}
    assert browser.open("/account/").status_code == 303
    browser.sign_in(world, ada)
    session = browser.cookies["collegium_session"]
    assert browser.call("GET", "/account/").status_code == 200
    assert browser._site.get("/api/users/me/", session).status_code == 401


def test_somebody_who_is_switched_off_is_out_at_once(browser: Browser, world: World) -> None:
    ada = world.person()
    browser.sign_in(world, ada)
    assert browser.open("/account/").status_code == 200
    with world.database.write() as tx:
        account_queries.change(tx, ada.id, {"is_active": False})
    assert browser.open("/account/").status_code == 303


ELSEWHERE = [
    "",
    "account/",
    "//evil.example/",
    "/\\evil.example/",
    "/a\\b",
    "https://evil.example/",
    "javascript:alert(1)",
    "/\t/evil.example",
    "/\n/evil.example",
    "/é",
    "/" + "a" * 2000,
]


def test_nobody_is_sent_to_another_site(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person())
    for path in ELSEWHERE:
        assert not is_local(path)
        sent = browser.call("GET", "/sign_in/", params={"next": path})
        assert sent.headers["location"] == "/account/", path
    for path in ("/requests/", "/invitation/abc.def-_/", "/account/authorize/?session=1&a=b"):
        sent = browser.call("GET", "/sign_in/", params={"next": path})
        assert sent.headers["location"] == path


def test_what_happened_is_said_once(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person())
    browser.open("/account/profile/")
    sent = browser.send("/account/profile/", first_name="Ada", agree_with_policy="yes")
    assert "Your profile is saved." in text(browser.follow(sent))
    assert "Your profile is saved." not in text(browser.open("/account/profile/"))


def test_what_was_not_signed_by_us_is_not_said(browser: Browser) -> None:
    browser.cookies["collegium_flash"] = "WyJkb25lIiwiU2VuZCBtb25leSJd.forged"
    assert "Send money" not in text(browser.open("/"))


def test_what_is_not_there_is_said_in_words(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person())
    answer = browser.open("/account/leave/" + "0" * 32 + "/")
    assert answer.status_code == 404
    assert "Page not found" in text(answer)
    assert browser.call("GET", "/nowhere/").status_code == 404
    assert browser.call("DELETE", "/account/").status_code == 405


def test_a_body_that_is_no_form_is_refused(browser: Browser, world: World) -> None:
    browser.sign_in(world, world.person())
    for kind, body in (
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"csrf=%ff%fe"),
        ("application/x-www-form-urlencoded", "csrf=é".encode()),
        ("multipart/form-data; boundary=x", b"--y\r\n"),
        ("application/x-www-form-urlencoded", b"a=1&" * 5000),
        ("", b""),
    ):
        answer = browser.call(
            "POST", "/account/profile/", headers={"Content-Type": kind}, content=body
        )
        assert answer.status_code == 403, (kind, body[:20])


def test_the_style_sheet_is_kept_under_the_name_of_its_text(browser: Browser) -> None:
    found = re.search(r'href="(/static/style\.css\?\w+)"', browser.open("/").text)
    assert found
    answer = browser.open(found[1])
    assert "immutable" in answer.headers["cache-control"]
    assert "immutable" not in browser.open("/static/style.css").headers["cache-control"]


def test_every_part_of_a_table_says_what_it_is() -> None:
    made = templates()
    assert made.loader is not None
    found = 0
    for name in made.list_templates():
        text = made.preprocess(made.loader.get_source(made, name)[0], name)
        for tag in re.findall(r"<(?:table|thead|tbody|tr|th|td)\b[^>]*", text):
            assert " role=" in tag, (name, tag)
            found += 1
    assert found > 50
