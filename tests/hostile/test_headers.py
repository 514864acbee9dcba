"""Every answer is guarded, whichever route and whatever status."""

from __future__ import annotations

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

GUARDS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
KEPT = {"/static/style.css"}
"""What a browser may keep."""


def check(answer: httpx.Response, path: str) -> None:
    for name, value in GUARDS.items():
        assert answer.headers.get(name) == value, (path, name)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert "base-uri 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    assert "access-control-allow-origin" not in answer.headers
    kind = answer.headers.get("content-type", "")
    assert not kind.startswith("text/") or kind.endswith("; charset=utf-8"), (path, kind)
    if path not in KEPT:
        assert answer.headers["cache-control"] in {
            "no-store",
            "private, max-age=31536000, immutable",
        }, path
    for line in answer.headers.get_list("set-cookie"):
        assert "HttpOnly" in line, path
        assert "SameSite=Lax" in line, path


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_every_route_is_guarded(site: Site, world: World) -> None:
    browser = Browser(site).sign_in(world, world.staff)
    seen: set[int] = set()
    for path, table in (WALDUR | GROUPS | PAGES).items():
        at = re.sub(r"{\w+}", "1", path)
        for method in {*table, "OPTIONS", "TRACE"}:
            for answer in (
                site.request(method, at),
                site.request(method, at, world.staff) if method in {"GET", "OPTIONS"} else None,
                browser.call(method, at) if path in PAGES and path != "/sign_out/" else None,
            ):
                if answer is not None:
                    check(answer, path)
                    seen.add(answer.status_code)
    nowhere = (site.get("/nowhere"), site.get("/api/nowhere"))
    for answer in (*nowhere, site.get("/", headers={"Host": "a:x"})):
        check(answer, "")
        seen.add(answer.status_code)
    assert {200, 303, 400, 401, 403, 404, 405} <= seen


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_where_there_is_tls_browsers_are_told_to_keep_to_it(
    site: Site,
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
) -> None:
    assert "strict-transport-security" not in site.get("/").headers
    safe = make_site(make_settings(base_url="https://collegium.example"))
    for path in ("/", "/api/", "/nowhere"):
        assert safe.get(path).headers["strict-transport-security"] == "max-age=31536000"
