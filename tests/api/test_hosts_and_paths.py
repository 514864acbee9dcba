"""How the service is reached: under which hosts and paths, and as whom a proxy says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from collegium import app
from collegium.api.middleware import without_secrets
from collegium.settings import Settings, SettingsError
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import World

OURS = "https://Members.Example.org:443"


@pytest.fixture
def reached(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> Callable[..., Site]:
    return lambda **given: make_site(make_settings(**given))


def test_probe_is_answered_under_any_host(reached: Callable[..., Site]) -> None:
    site = reached(base_url=OURS)
    for host in ("10.1.2.3", "10.1.2.3:8000", "", "evil.example", "a b", "members.example.org"):
        for path in ("/healthz", "/readyz", "/metrics"):
            assert site.get(path, headers={"Host": host}).status_code == 200, (host, path)
        # The twin: what is no probe is not.
        status = 200 if host.startswith("members") else 400
        for path in ("/", "/sign_in/", "/healthz/x", "/schema/openapi.json", "/robots.txt"):
            found = site.get(path, headers={"Host": host}).status_code
            assert found == status or (path == "/healthz/x" and found == 404), (host, path)


def test_other_hosts_are_refused_as_soon_as_base_url_is_set(
    reached: Callable[..., Site], world: World
) -> None:
    site = reached(base_url=OURS, allowed_hosts="roll.example,MÜNCHEN.example,::1")
    for host, status in (
        ("members.example.org", 200),
        ("MEMBERS.example.org.", 200),
        ("members.example.org:443", 200),
        ("members.example.org:8000", 200),
        ("roll.example:1", 200),
        ("xn--mnchen-3ya.example", 200),
        ("münchen.example".encode().decode("latin-1"), 200),
        ("[::1]:8000", 200),
        ("127.0.0.1", 200),  # whoever is called ::1 is called localhost
        ("other.example", 400),
        ("members.example.org.evil.example", 400),
        ("members.example.org@evil.example", 400),
        ("members.example.org,evil.example", 400),
        ("10.0.0.1", 400),
    ):
        answer = site.get("/api/users/me/", world.staff, headers={"Host": host.encode("latin-1")})
        assert answer.status_code == status, host
    # Where nobody has set it, any host is answered, on loopback.
    assert reached().get("/", headers={"Host": "other.example"}).status_code == 200
    assert (
        reached(base_url="http://localhost:8000")
        .get("/", headers={"Host": "other.example"})
        .status_code
        == 400
    )
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000"):
        site = reached(base_url="http://127.0.0.1:8001")
        assert site.get("/", headers={"Host": host}).status_code == 200


def test_links_of_the_api_begin_with_base_url_whatever_its_spelling(
    reached: Callable[..., Site], world: World
) -> None:
    site = reached(base_url=OURS, allowed_hosts="roll.example")
    for host, base in (
        ("members.example.org", "https://members.example.org"),
        ("Members.example.org:443", "https://members.example.org"),
        ("roll.example:8443", "http://roll.example:8443"),
    ):
        shown = site.get("/api/users/me/", world.staff, headers={"Host": host}).json()
        assert shown["url"] == f"{base}/api/users/{world.staff.uuid}/"


def test_host_that_a_proxy_names_is_judged_like_any(
    reached: Callable[..., Site], world: World
) -> None:
    site = reached(base_url=OURS, trusted_proxies="127.0.0.1")
    for headers, status in (
        ({"X-Forwarded-Host": "members.example.org"}, 200),
        ({"X-Forwarded-Host": "Members.example.org:443, 10.0.0.1"}, 200),
        ({"X-Forwarded-Host": "evil.example"}, 400),
        ({"X-Forwarded-Host": "evil.example, members.example.org"}, 400),
        ({"X-Forwarded-Host": "a b"}, 400),
        ({"Host": "members.example.org", "X-Forwarded-Proto": "javascript"}, 400),
        ({"Host": "members.example.org", "X-Forwarded-Proto": "HTTPS"}, 200),
    ):
        answer = site.get("/api/users/me/", world.staff, headers={"Host": "10.0.0.1"} | headers)
        assert answer.status_code == status, headers
    # The twin: of anybody else it counts for nothing.
    site = reached(base_url=OURS)
    headers = {"Host": "10.0.0.1", "X-Forwarded-Host": "members.example.org"}
    assert site.get("/api/users/me/", world.staff, headers=headers).status_code == 400


def test_address_that_a_proxy_names_is_read_in_every_spelling(
    reached: Callable[..., Site], world: World
) -> None:
    site = reached(trusted_proxies="127.0.0.0/8,::ffff:10.0.0.0/104")
    for chain, address in (
        ("203.0.113.9:4711", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[2001:db8::1]:443, ::ffff:10.1.2.3", "2001:db8::1"),
        ('"[2001:db8::1]"', "2001:db8::1"),
        ("203.0.113.9, [::ffff:10.1.2.3]:80", "203.0.113.9"),
        ("203.0.113.9, unknown", "127.0.0.1"),
    ):
        answer = site.get("/api/users/me/", world.staff, headers={"X-Forwarded-For": chain})
        assert answer.json()["ip_address"] == address, chain


@pytest.mark.parametrize("base", [OURS, "https://members.example.org", "https://münchen.example"])
def test_form_is_ours_whatever_the_spelling_of_base_url(
    reached: Callable[..., Site], world: World, base: str
) -> None:
    host = "xn--mnchen-3ya.example" if "nchen" in base else "members.example.org"
    browser = Browser(reached(base_url=base))
    there = {"Host": host}
    page = browser.open("/sign_in/", headers=there)
    assert page.status_code == 200
    data = {"csrf": browser.csrf, "username": "nobody", "password": "x"}
    for origin, status in (
        (f"https://{host}", 422),
        (f"https://{host}:443", 422),
        ("null", 422),
        (f"https://{host}:8443", 403),
        (f"https://{host}.evil.example", 403),
        ("https://evil.example", 403),
    ):
        sent = browser.call("POST", "/sign_in/", data=data, headers=there | {"Origin": origin})
        assert (sent.status_code == 403) is (status == 403), (origin, sent.status_code)


def test_form_without_tls_says_where_to_go(reached: Callable[..., Site]) -> None:
    browser = Browser(reached(base_url=OURS))
    there = {"Host": "members.example.org"}
    page = browser.open("/sign_in/", headers=there)
    browser.cookies = {}  # what a browser does with a Secure cookie that came without TLS
    data = {"csrf": re.search(r'name="csrf" value="(\w+)"', page.text)[1]}  # type: ignore[index]
    for headers in (
        {"Origin": "http://members.example.org"},
        {"Origin": "null", "Referer": "http://members.example.org/sign_in/"},
        {"Referer": "http://members.example.org/sign_in/"},
    ):
        sent = browser.call("POST", "/sign_in/", data=data, headers=there | headers)
        assert sent.status_code == 403
        assert "was opened over http, where your browser" in text(sent), headers
        assert 'href="https://members.example.org/sign_in/"' in sent.text
        assert "too long" not in text(sent)


def test_form_without_cookies_says_that_they_are_missing(reached: Callable[..., Site]) -> None:
    browser = Browser(reached(base_url=OURS))
    there = {"Host": "members.example.org", "Origin": "https://members.example.org"}
    page = browser.open("/sign_in/", headers=there)
    data = {"csrf": browser.csrf}
    browser.cookies = {}
    sent = browser.call("POST", "/sign_in/", data=data, headers=there)
    assert sent.status_code == 403
    assert "sent no cookie" in text(sent)
    # The twin: with a cookie, and a token that is not its own, the page is old.
    browser.open("/sign_in/", headers=there)
    sent = browser.call("POST", "/sign_in/", data={"csrf": "0" * 64}, headers=there)
    assert "open for too long" in text(sent)
    assert page.status_code == 200


def test_form_behind_tls_that_the_service_knows_nothing_of_says_what_to_set(
    reached: Callable[..., Site],
) -> None:
    browser = Browser(reached())
    browser.open("/sign_in/")
    there = {"Origin": "https://collegium.test"}
    sent = browser.call("POST", "/sign_in/", data={"csrf": browser.csrf}, headers=there)
    assert sent.status_code == 403
    assert "set BASE_URL to https" in text(sent)


def test_service_below_a_path_says_that_path_everywhere(
    reached: Callable[..., Site], world: World
) -> None:
    site = reached(base_url="https://collegium.test/members")
    for before in ("", "/members"):  # a proxy has taken it away, or has left it
        browser = Browser(site)
        page = browser.open(f"{before}/sign_in/")
        assert page.status_code == 200
        for link in re.findall(r'(?:href|action|src)="(/[^"]*)"', page.text):
            assert link.startswith("/members/"), link
        (line,) = page.headers.get_list("set-cookie")
        assert line.startswith("__Secure-collegium_visit=")
        assert {"Path=/members", "Secure"} <= set(line.split("; "))
        sent = browser.call("GET", f"{before}/account/profile/?x=/teams/")
        assert sent.headers["location"].startswith("/members/sign_in/?next=/account/profile/")
        style = re.search(r'href="/members(/static/[^"]+)"', page.text)
        assert style
        assert site.get(before + style[1]).headers["content-type"].startswith("text/css")
        missing = site.get(f"{before}/no-such-page/")
        assert missing.status_code == 404
        assert 'href="/members/"' in missing.text
        me = site.get(f"{before}/api/users/me/", world.staff).json()
        assert me["url"] == f"https://collegium.test/members/api/users/{world.staff.uuid}/"
        listed = site.get(f"{before}/api/users/?page_size=1", world.staff).headers["link"]
        assert "<https://collegium.test/members/api/users/?" in listed
        document = site.get(f"{before}/schema/openapi.json").json()
        assert document["servers"] == [{"url": "/members"}]
        assert site.get(f"{before}/healthz").status_code == 200
    assert site.get("/members").status_code == 200
    for path in ("/membersx/", "/members/members/", "/Members/sign_in/"):
        assert site.get(path).status_code == 404, path
    # Without a path nothing of it is known.
    assert "servers" not in reached().get("/schema/openapi.json").json()


def test_url_below_a_path_is_read_back(reached: Callable[..., Site], world: World) -> None:
    site = reached(base_url="https://collegium.test/members")
    made = site.post("/api/customers/", world.staff, json={"name": "Initech"}).json()
    assert made["url"].startswith("https://collegium.test/members/api/customers/")
    project = site.post(
        "/api/projects/", world.staff, json={"name": "Atlas", "customer": made["url"]}
    )
    assert project.status_code == 201, project.text
    url = project.json()["url"]
    role = site.get("/api/roles/?name=PROJECT.MANAGER", world.staff).json()[0]
    sent = {"email": "ada@example.org", "role": role["uuid"], "scope": url}
    assert site.post("/api/user-invitations/", world.staff, json=sent).status_code == 201
    assert len(site.get(f"/api/user-invitations/?scope={url}", world.staff).json()) == 1


def test_text_that_looks_like_a_link_stays_as_it_was_typed(
    reached: Callable[..., Site], world: World
) -> None:
    site = reached(base_url="https://collegium.test/members")
    name = 'x href="/evil/" action="/evil/'
    site.post("/api/customers/", world.staff, json={"name": name})
    browser = Browser(site)
    browser.sign_in(world, world.staff)
    browser.cookies = {f"__Secure-{key}": value for key, value in browser.cookies.items()}
    page = browser.open("/staff/organisations/")
    assert page.status_code == 200
    assert "/members/evil/" not in page.text
    assert 'href="/evil/"' in text(page)


@pytest.mark.parametrize("name", ["api", "account", "invitation", "static", "schema", "healthz"])
def test_path_that_the_service_uses_itself_is_refused(
    make_settings: Callable[..., Settings], name: str
) -> None:
    with pytest.raises(SettingsError, match="choose another"):
        app.check_path(make_settings(base_url=f"https://example.org/{name}/x"))


def test_every_path_has_one_spelling(site: Site, world: World) -> None:
    uuid = world.staff.uuid
    for path in (
        "/api//users/me/",
        "/api/users/me//",
        "/api/users//me/",
        f"/api/users/{uuid}//",
        f"/api/users/{uuid}/x",
        f"/api/users/{uuid};x/",
        "/healthz/x",
        "/healthz//",
        "/sign_in//",
    ):
        answer = site.get(path, world.staff)
        assert answer.status_code == 404, (path, answer.status_code)
        is_api = path.lstrip("/").startswith("api")
        kind = "application/json" if is_api else "text/html; charset=utf-8"
        assert answer.headers["content-type"] == kind, path
    for path in ("/api/users/me/", "/api/users/me", "/sign_in/", "/sign_in"):
        assert site.get(path, world.staff).status_code == 200, path


def test_no_spelling_of_a_path_puts_its_secret_into_the_log() -> None:
    secret = "s3cr3t-T0ken.x"
    for word in ("invitation", "invitation_approve", "user_email_change", "password_reset"):
        for path in (
            f"/{word}/{secret}/",
            f"//{word}/{secret}/",
            f"/{word}//{secret}",
            f"/{word}/./{secret}",
            f"/x/../{word}/{secret}",
            f"/{word.upper()}/{secret}",
            f"/{word}%2f{secret}",
            f"/{word}\\{secret}",
            f"/members/{word}/{secret}/accept/",
        ):
            assert secret not in without_secrets(path), path


def test_head_of_a_list_has_no_wrong_length(site: Site, world: World) -> None:
    for path in ("/api/users/", "/api/customers/", "/api/roles/"):
        head = site.request("HEAD", path, world.staff)
        whole = site.get(path, world.staff)
        assert head.status_code == whole.status_code == 200
        assert head.headers.get("content-length") in {None, whole.headers["content-length"]}, path
        assert head.headers["x-result-count"] == whole.headers["x-result-count"]
        assert head.content == b""
    for path in ("/sign_in/", "/healthz", "/api/users/me/", "/schema/openapi.json"):
        lengths = {
            site.request(method, path, world.staff).headers["content-length"]
            for method in ("HEAD", "GET")
        }
        assert len(lengths) == 1, path


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "GZIP", "x", "gzip, identity"])
def test_compressed_body_is_refused_by_every_protocol(
    site: Site, world: World, encoding: str
) -> None:
    sent = {"headers": {"Content-Encoding": encoding}, "content": b"\x1f\x8b"}
    for path in ("/api/customers/", "/api-auth/password/", "/api/private/users/group/"):
        answer = site.request("POST", path, world.staff, **sent)  # type: ignore[arg-type]
        assert answer.status_code == 415, path
        assert answer.json()["detail"].startswith("Compressed request bodies are not supported")
        assert answer.headers["accept-encoding"] == "identity"
    page = site.request("POST", "/sign_in/", **sent)  # type: ignore[arg-type]
    assert page.status_code == 415
    assert page.headers["content-type"].startswith("text/html")


def test_body_that_says_it_is_not_compressed_is_read(site: Site, world: World) -> None:
    headers = {"Content-Encoding": "identity"}
    sent = site.post("/api/customers/", world.staff, json={"name": "A"}, headers=headers)
    assert sent.status_code == 201
    # Without a body there is nothing to read.
    assert site.get("/api/users/me/", world.staff, headers={"Content-Encoding": "gzip"}).is_success


def test_nothing_is_for_search_engines(site: Site, world: World) -> None:
    robots = site.get("/robots.txt")
    assert robots.status_code == 200
    assert robots.text == "User-agent: *\nDisallow: /\n"
    assert robots.headers["content-type"] == "text/plain; charset=utf-8"
    for path in ("/", "/sign_in/", "/api/users/", "/no/such/", "/static/style.css", "/robots.txt"):
        assert site.get(path).headers["x-robots-tag"] == "noindex", path
    refused = site.get("/", headers={"Host": "a b"})
    assert refused.headers["x-robots-tag"] == "noindex"
