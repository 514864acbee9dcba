"""Every response has the security headers, for every route and status."""

import re
from collections.abc import Callable

import httpx
import pytest

from collegium.api.brainstem.routes import ROUTES as GROUPS
from collegium.api.waldur.routes import ROUTES as WALDUR
from collegium.settings import Settings
from collegium.web.routes import ROUTES as PAGES
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import World

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
CACHED = {"/static/style.css", "/static/passkeys.js"}


def check(response: httpx.Response, path: str) -> None:
    for name, value in SECURITY_HEADERS.items():
        assert response.headers.get(name) == value, (path, name)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert "base-uri 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert re.fullmatch(r"[0-9a-f]{16}", response.headers["x-request-id"])
    assert "access-control-allow-origin" not in response.headers
    media_type = response.headers.get("content-type", "")
    if "html" in media_type:
        for code in ("style=", "<script", "onclick", "javascript:"):
            assert code not in response.text, (path, code)
    if media_type.startswith("text/"):
        assert media_type.endswith("; charset=utf-8"), (path, media_type)
    if path not in CACHED:
        allowed = {"no-store", "private, max-age=31536000, immutable"}
        assert response.headers["cache-control"] in allowed, path
    for line in response.headers.get_list("set-cookie"):
        assert "HttpOnly" in line, path
        assert "SameSite=Lax" in line, path


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_every_route_has_security_headers(site: Site, world: World) -> None:
    browser = Browser(site).sign_in(world, world.staff)
    statuses: set[int] = set()
    for path, table in (WALDUR | GROUPS | PAGES).items():
        url = re.sub(r"{\w+}", "1", path)
        for method in {*table, "OPTIONS", "TRACE"}:
            for response in (
                site.request(method, url),
                site.request(method, url, world.staff) if method in {"GET", "OPTIONS"} else None,
                browser.call(method, url) if path in PAGES and path != "/sign_out/" else None,
            ):
                if response is not None:
                    check(response, path)
                    statuses.add(response.status_code)
    for path, host in (("/nowhere", "a"), ("/api/nowhere", "a"), ("/", "a:x")):
        response = site.get(path, headers={"Host": host})
        check(response, path)
        statuses.add(response.status_code)
    assert {200, 303, 400, 401, 403, 404, 405} <= statuses


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_tls_site_sends_strict_transport_security(
    site: Site, make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> None:
    assert "strict-transport-security" not in site.get("/").headers
    tls_site = make_site(make_settings(base_url="https://collegium.example"))
    for path in ("/", "/api/", "/nowhere"):
        assert tls_site.get(path).headers["strict-transport-security"] == "max-age=31536000"
