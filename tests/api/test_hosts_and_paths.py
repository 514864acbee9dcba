"""Hosts, paths and proxy headers: where the service answers, and which URLs it shows."""

import re
from collections.abc import Callable

import pytest

from collegium import app
from collegium.api.middleware import without_secrets
from collegium.settings import Settings, SettingsError
from tests.support.browser import Browser, text
from tests.support.site import BASE, Site
from tests.support.world import World


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


OURS = "https://Members.Example.org:443"


ME = "/api/users/me/"
OWN_HOST = "members.example.org"
SiteWith = Callable[..., Site]


@pytest.fixture
def site_with(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> SiteWith:
    return lambda **settings: make_site(make_settings(**settings))


def test_probes_answer_under_any_host(site_with: SiteWith) -> None:
    site = site_with(base_url=OURS)
    for host in ("10.1.2.3", "10.1.2.3:8000", "", "evil.example", "a b", OWN_HOST):
        for path in ("/healthz", "/readyz", "/metrics"):
            assert site.get(path, headers={"Host": host}).status_code == 200, (host, path)
        # Other paths do not.
        expected = 200 if host == OWN_HOST else 400
        for path in ("/", "/sign_in/", "/schema/openapi.json", "/robots.txt"):
            assert site.get(path, headers={"Host": host}).status_code == expected, (host, path)
        assert site.get("/healthz/x", headers={"Host": host}).status_code in {expected, 404}


def test_other_hosts_are_refused_once_base_url_or_allowed_hosts_is_set(
    site_with: SiteWith, world: World
) -> None:
    site = site_with(base_url=OURS, allowed_hosts="roll.example,MÜNCHEN.example,::1")
    for host, status in (
        *((OWN_HOST, 200), ("MEMBERS.example.org.", 200), ("roll.example:1", 200)),
        *((f"{OWN_HOST}:443", 200), (f"{OWN_HOST}:8000", 200), ("xn--mnchen-3ya.example", 200)),
        ("münchen.example".encode().decode("latin-1"), 200),
        ("[::1]:8000", 200),
        ("127.0.0.1", 200),  # ::1 allows every name of localhost
        *(("other.example", 400), (f"{OWN_HOST}.evil.example", 400), ("10.0.0.1", 400)),
        *((f"{OWN_HOST}@evil.example", 400), (f"{OWN_HOST},evil.example", 400)),
    ):
        response = site.get(ME, world.staff, headers={"Host": host.encode("latin-1")})
        assert response.status_code == status, host
        assert response.headers["content-type"] == "application/json"
    for settings, host, status in (
        ({}, "other.example", 200),
        ({"base_url": "http://localhost:8000"}, "other.example", 400),
        ({"base_url": "http://127.0.0.1:8001"}, "localhost", 200),
        ({"base_url": "http://127.0.0.1:8001"}, "127.0.0.1:8000", 200),
        ({"base_url": "http://127.0.0.1:8001"}, "[::1]:8000", 200),
        ({"allowed_hosts": "roll.example"}, "collegium.test", 400),
        ({"allowed_hosts": "roll.example"}, "ROLL.example:8000", 200),
    ):
        response = site_with(**settings).get("/", headers={"Host": host})
        assert response.status_code == status, (settings, host)


def test_api_urls_begin_with_base_url_or_the_requested_host(
    site_with: SiteWith, world: World
) -> None:
    configured, unconfigured = site_with(base_url=OURS, allowed_hosts="roll.example"), site_with()
    for site, host, base in (
        (configured, OWN_HOST, f"https://{OWN_HOST}"),
        (configured, "Members.example.org:443", f"https://{OWN_HOST}"),
        (configured, "roll.example:8443", "http://roll.example:8443"),
        *(
            (unconfigured, host, f"http://{host}")
            for host in ("roll.example", "roll.example:8443", "[::1]:8000")
        ),
    ):
        account = site.get(ME, world.staff, headers={"Host": host}).json()
        assert account["url"] == f"{base}/api/users/{world.staff.uuid}/"


def test_forwarded_host_is_checked_like_any_host(site_with: SiteWith, world: World) -> None:
    site = site_with(base_url=OURS, trusted_proxies="127.0.0.1")
    for headers, status in (
        ({"X-Forwarded-Host": OWN_HOST}, 200),
        ({"X-Forwarded-Host": "Members.example.org:443, 10.0.0.1"}, 200),
        ({"X-Forwarded-Host": "evil.example"}, 400),
        ({"X-Forwarded-Host": f"evil.example, {OWN_HOST}"}, 400),
        ({"X-Forwarded-Host": "a b"}, 400),
        ({"Host": OWN_HOST, "X-Forwarded-Proto": "javascript"}, 400),
        ({"Host": OWN_HOST, "X-Forwarded-Proto": "HTTPS"}, 200),
    ):
        response = site.get(ME, world.staff, headers={"Host": "10.0.0.1"} | headers)
        assert response.status_code == status, headers
    # From other clients it is ignored.
    headers = {"Host": "10.0.0.1", "X-Forwarded-Host": OWN_HOST}
    assert site_with(base_url=OURS).get(ME, world.staff, headers=headers).status_code == 400


def test_proxy_headers_count_from_trusted_proxies_only(site_with: SiteWith, world: World) -> None:
    # These requests come from 127.0.0.1.
    headers = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "roll.example",
        "X-Forwarded-For": "203.0.113.9",
    }
    path = f"/api/users/{world.staff.uuid}/"
    for settings, base, address in (
        ({}, BASE, "127.0.0.1"),
        ({"trusted_proxies": "10.0.0.0/8"}, BASE, "127.0.0.1"),
        ({"trusted_proxies": "127.0.0.0/8"}, "https://roll.example", "203.0.113.9"),
    ):
        site = site_with(**settings)
        account = site.get(ME, world.staff, headers=headers).json()
        assert (account["url"], account["ip_address"]) == (f"{base}{path}", address)
        response = site.get("/api/users/", world.staff, headers=headers)
        assert response.headers["link"].startswith(f"<{base}/api/users/>")
        assert response.json()[0]["url"] == f"{base}{path}"


def test_client_address_is_the_last_one_that_is_no_trusted_proxy(
    site_with: SiteWith, world: World
) -> None:
    site = site_with(trusted_proxies="127.0.0.0/8,::ffff:10.0.0.0/104")
    for chain, address in (
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("2001:db8::1, 10.1.2.3", "2001:db8::1"),
        ("10.1.2.3", "10.1.2.3"),
        ("203.0.113.9, nonsense", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[2001:db8::1]:443, ::ffff:10.1.2.3", "2001:db8::1"),
        ('"[2001:db8::1]"', "2001:db8::1"),
        ("203.0.113.9, [::ffff:10.1.2.3]:80", "203.0.113.9"),
        ("203.0.113.9, unknown", "127.0.0.1"),
    ):
        account = site.get(ME, world.staff, headers={"X-Forwarded-For": chain}).json()
        assert account["ip_address"] == address, chain


@pytest.mark.parametrize("base", [OURS, "https://members.example.org", "https://münchen.example"])
def test_form_is_accepted_from_the_own_origin_only(
    site_with: SiteWith, world: World, base: str
) -> None:
    host = "xn--mnchen-3ya.example" if "nchen" in base else "members.example.org"
    browser = Browser(site_with(base_url=base))
    headers = {"Host": host}
    assert browser.open("/sign_in/", headers=headers).status_code == 200
    data = {"csrf": browser.csrf, "username": "nobody", "password": "x"}
    for origin, status in (
        (f"https://{host}", 401),
        (f"https://{host}:443", 401),
        ("null", 401),
        (f"https://{host}:8443", 403),
        (f"https://{host}.evil.example", 403),
        ("https://evil.example", 403),
    ):
        response = browser.call(
            "POST", "/sign_in/", data=data, headers=headers | {"Origin": origin}
        )
        assert response.status_code == status, origin


def test_form_over_http_links_to_the_https_page(site_with: SiteWith) -> None:
    browser = Browser(site_with(base_url=OURS))
    host = {"Host": OWN_HOST}
    browser.open("/sign_in/", headers=host)
    data = {"csrf": browser.csrf}
    browser.cookies = {}  # a browser ignores a Secure cookie that came without TLS
    for headers in (
        {"Origin": f"http://{OWN_HOST}"},
        {"Origin": "null", "Referer": f"http://{OWN_HOST}/sign_in/"},
        {"Referer": f"http://{OWN_HOST}/sign_in/"},
    ):
        response = browser.call("POST", "/sign_in/", data=data, headers=host | headers)
        assert response.status_code == 403
        assert "was opened over http, where your browser" in text(response), headers
        assert f'href="https://{OWN_HOST}/sign_in/"' in response.text
        assert "too long" not in text(response)


def test_form_without_cookies_names_the_missing_cookie(site_with: SiteWith) -> None:
    browser = Browser(site_with(base_url=OURS))
    headers = {"Host": OWN_HOST, "Origin": f"https://{OWN_HOST}"}
    browser.open("/sign_in/", headers=headers)
    data = {"csrf": browser.csrf}
    browser.cookies = {}
    response = browser.call("POST", "/sign_in/", data=data, headers=headers)
    assert response.status_code == 403
    assert "does not keep the cookies of this service" in text(response)
    # If the browser does not say which page sent the form, it is not shown again.
    browser.cookies = {}
    response = browser.call("POST", "/sign_in/", data=data, headers={"Host": OWN_HOST})
    assert "sent no cookie" in text(response)
    # With a cookie and a token of another page, the page is too old.
    browser.open("/sign_in/", headers=headers)
    stale = {"data": {"csrf": "0" * 64}}
    response = browser.call("POST", "/sign_in/", **stale, headers=headers)
    assert "open for more than two hours" in text(response)
    response = browser.call("POST", "/sign_in/", **stale, headers={"Host": OWN_HOST})
    assert "open for too long" in text(response)


def test_form_behind_unconfigured_tls_names_the_setting(site_with: SiteWith) -> None:
    browser = Browser(site_with())
    browser.open("/sign_in/")
    headers = {"Origin": "https://collegium.test"}
    response = browser.call("POST", "/sign_in/", data={"csrf": browser.csrf}, headers=headers)
    assert response.status_code == 403
    assert "set BASE_URL to https" in text(response)


def test_service_below_a_path_uses_it_in_every_url(site_with: SiteWith, world: World) -> None:
    site = site_with(base_url="https://collegium.test/members")
    for prefix in ("", "/members"):  # a proxy removes it or leaves it
        browser = Browser(site)
        page = browser.open(f"{prefix}/sign_in/")
        assert page.status_code == 200
        for link in re.findall(r'(?:href|action|src)="(/[^"]*)"', page.text):
            assert link.startswith("/members/"), link
        (line,) = page.headers.get_list("set-cookie")
        assert line.startswith("__Secure-collegium_form=")
        assert {"Path=/members", "Secure"} <= set(line.split("; "))
        redirect = browser.call("GET", f"{prefix}/account/profile/?x=/teams/")
        assert redirect.headers["location"].startswith("/members/sign_in/?next=/account/profile/")
        style = re.search(r'href="/members(/static/[^"]+)"', page.text)
        assert style
        assert site.get(prefix + style[1]).headers["content-type"].startswith("text/css")
        missing = site.get(f"{prefix}/no-such-page/")
        assert missing.status_code == 404
        assert 'href="/members/"' in missing.text
        me = site.get(f"{prefix}/api/users/me/", world.staff).json()
        assert me["url"] == f"https://collegium.test/members/api/users/{world.staff.uuid}/"
        links = site.get(f"{prefix}/api/users/?page_size=1", world.staff).headers["link"]
        assert "<https://collegium.test/members/api/users/?" in links
        document = site.get(f"{prefix}/schema/openapi.json").json()
        assert document["servers"] == [{"url": "/members"}]
        assert site.get(f"{prefix}/healthz").status_code == 200
    assert site.get("/members").status_code == 200
    for path in ("/membersx/", "/members/members/", "/Members/sign_in/"):
        assert site.get(path).status_code == 404, path
    assert "servers" not in site_with().get("/schema/openapi.json").json()


def test_url_below_a_path_is_accepted_in_bodies_and_filters(
    site_with: SiteWith, world: World
) -> None:
    site = site_with(base_url="https://collegium.test/members")
    customer = site.post("/api/customers/", world.staff, json={"name": "Initech"}).json()["url"]
    assert customer.startswith("https://collegium.test/members/api/customers/")
    body = {"name": "Atlas", "customer": customer}
    project = site.post("/api/projects/", world.staff, json=body)
    assert project.status_code == 201, project.text
    url = project.json()["url"]
    role = world.role("PROJECT.MANAGER").uuid
    body = {"email": "ada@example.org", "role": role, "scope": url}
    assert site.post("/api/user-invitations/", world.staff, json=body).status_code == 201
    assert len(site.get(f"/api/user-invitations/?scope={url}", world.staff).json()) == 1


def test_text_that_looks_like_a_link_is_not_changed(site_with: SiteWith, world: World) -> None:
    site = site_with(base_url="https://collegium.test/members")
    name = 'x href="/evil/" action="/evil/'
    site.post("/api/customers/", world.staff, json={"name": name})
    browser = Browser(site).sign_in(world, world.staff)
    browser.cookies = {f"__Secure-{key}": value for key, value in browser.cookies.items()}
    page = browser.open("/staff/organisations/")
    assert page.status_code == 200
    assert "/members/evil/" not in page.text
    assert 'href="/evil/"' in text(page)


@pytest.mark.parametrize("name", ["api", "account", "invitation", "static", "schema", "healthz"])
def test_base_url_with_a_path_of_the_service_is_refused(
    make_settings: Callable[..., Settings], name: str
) -> None:
    with pytest.raises(SettingsError, match="choose another"):
        app.check_path(make_settings(base_url=f"https://example.org/{name}/x"))


def test_path_with_extra_slashes_or_segments_is_not_found(site: Site, world: World) -> None:
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
        response = site.get(path, world.staff)
        assert response.status_code == 404, (path, response.status_code)
        media_type = "application/json" if "/api/" in path else "text/html; charset=utf-8"
        assert response.headers["content-type"] == media_type, path
    for path in ("/api/users/me/", "/api/users/me", "/sign_in/", "/sign_in"):
        assert site.get(path, world.staff).status_code == 200, path


def test_secrets_in_paths_are_removed_from_the_log() -> None:
    secret = "s3cr3t-T0ken.x"
    for word in (
        *("invitation", "invitation_approve", "user_email_change", "unsubscribe"),
        "password_reset",
    ):
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


def test_head_has_the_content_length_of_get(site: Site, world: World) -> None:
    for path in ("/api/users/", "/api/customers/", "/api/roles/"):
        head = site.request("HEAD", path, world.staff)
        full = site.get(path, world.staff)
        assert head.status_code == full.status_code == 200
        assert head.headers.get("content-length") in {None, full.headers["content-length"]}, path
        assert head.headers["x-result-count"] == full.headers["x-result-count"]
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
    headers = {"Content-Encoding": encoding}
    for path in ("/api/customers/", "/api-auth/password/", "/api/private/users/group/"):
        response = site.post(path, world.staff, headers=headers, content=b"\x1f\x8b")
        assert response.status_code == 415, path
        assert response.json()["detail"].startswith("Compressed request bodies are not supported")
        assert response.headers["accept-encoding"] == "identity"
    page = site.post("/sign_in/", headers=headers, content=b"\x1f\x8b")
    assert page.status_code == 415
    assert page.headers["content-type"].startswith("text/html")


def test_uncompressed_body_is_accepted(site: Site, world: World) -> None:
    headers = {"Content-Encoding": "identity"}
    response = site.post("/api/customers/", world.staff, json={"name": "A"}, headers=headers)
    assert response.status_code == 201
    # Without a body the header does not matter.
    assert site.get(ME, world.staff, headers={"Content-Encoding": "gzip"}).is_success


def test_search_engines_are_told_to_index_nothing(site: Site, world: World) -> None:
    robots = site.get("/robots.txt")
    assert robots.status_code == 200
    assert robots.text == "User-agent: *\nDisallow: /\n"
    assert robots.headers["content-type"] == "text/plain; charset=utf-8"
    for path in ("/", "/sign_in/", "/api/users/", "/no/such/", "/static/style.css", "/robots.txt"):
        assert site.get(path).headers["x-robots-tag"] == "noindex", path
    refused = site.get("/", headers={"Host": "a b"})
    assert refused.headers["x-robots-tag"] == "noindex"
