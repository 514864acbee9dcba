"""CORS: a browser lets front ends of named origins call the APIs, and nobody read the pages."""

from collections.abc import Callable, Iterable

import httpx
import pytest

from collegium.api.brainstem.routes import DESCRIBED
from collegium.api.waldur.routes import ROUTES as WALDUR
from collegium.settings import Settings, SettingsError
from tests.support.site import Site
from tests.support.world import World

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

FRONT = "https://front.example.org"
OTHER = "http://localhost:8001"
ME = "/api/users/me/"
PAGES = ("/", "/sign_in/", "/account/", "/schema/openapi.json", "/healthz")
STEPS = ("/api-auth/campus/init/", "/api-auth/campus/complete/", "/api-auth/default/init/")


@pytest.fixture
def site(make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]) -> Site:
    return make_site(
        make_settings(homeport_url=f"{FRONT}/app", cors_allowed_origins=f"{OTHER}, https://x.io/")
    )


def preflight(site: Site, path: str, origin: str, method: str = "PATCH") -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return site.request("OPTIONS", path, headers=headers)


def words(header: str) -> set[str]:
    return {word.strip().lower() for word in header.split(",")}


def allows(response: httpx.Response) -> str | None:
    header: str | None = response.headers.get("access-control-allow-origin")
    return header


def cors_headers(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.lower().startswith("access-control-")]


def test_named_origins_and_that_of_the_front_end_may_read_responses(
    site: Site, world: World
) -> None:
    for origin in (FRONT, OTHER, "https://x.io"):
        response = site.get("/api/users/", world.staff, headers={"Origin": origin})
        assert response.status_code == 200
        assert allows(response) == origin
        assert response.headers.get_list("vary") == ["Origin"]
        shown = words(response.headers["access-control-expose-headers"])
        assert {"x-result-count", "link", "retry-after", "x-impersonator-uuid"} <= shown
        assert "access-control-allow-credentials" not in response.headers
        # Nothing that the service sends to its own clients is missing for those in a browser.
        own = {name for name in response.headers if name not in {"vary", "content-length"}}
        assert {"x-result-count", "link", "x-request-id"} <= own & shown


def test_other_origins_may_not_read_responses(site: Site, world: World) -> None:
    for origin in (
        *("https://evil.example", "http://front.example.org", f"{FRONT}:8443", f"{FRONT}/"),
        *(f"{FRONT}.evil.example", "null", "", f"{FRONT}, {OTHER}", "https://FRONT.example.org"),
        *("*", "http://collegium.test"),
    ):
        response = site.get(ME, world.staff, headers={"Origin": origin})
        # The request is answered like any other: the browser keeps the answer from the page.
        assert response.status_code == 200
        for refused in (response, preflight(site, ME, origin)):
            assert cors_headers(refused.headers) == [], origin
            assert refused.headers["vary"] == "Origin"


def test_preflight_needs_no_credentials_and_allows_every_method_of_the_api(
    site: Site, world: World
) -> None:
    methods = {method for table in (WALDUR | DESCRIBED).values() for method in table}
    for path in (ME, "/api/users", "/api-auth/password/", "/api/private/users/group/", "/api/no/"):
        response = preflight(site, path, OTHER)
        assert (response.status_code, response.content) == (204, b""), path
        assert allows(response) == OTHER
        allowed = words(response.headers["access-control-allow-methods"])
        assert allowed >= {method.lower() for method in methods} | {"head"}
        sent = words(response.headers["access-control-allow-headers"])
        assert {"authorization", "content-type", "x-impersonated-user-uuid"} <= sent
        assert int(response.headers["access-control-max-age"]) > 60
        assert "access-control-allow-credentials" not in response.headers
    # A request that only looks like one is none.
    plain = site.request("OPTIONS", ME, world.staff, headers={"Origin": OTHER})
    assert plain.headers["allow"] == "GET, HEAD, OPTIONS"


def test_errors_may_be_read_too(site: Site, world: World) -> None:
    headers = {"Origin": FRONT}
    statuses = set()
    for response in (
        site.get(ME, headers=headers),
        site.get(ME, "no-token", headers=headers),
        site.get("/api/nowhere/", world.staff, headers=headers),
        site.post(ME, world.staff, headers=headers),
        site.post("/api/users/", world.staff, headers=headers, json={}),
        site.post("/api/customers/", world.person(), headers=headers, json={"name": "x"}),
        site.send("GET", b"/api/?" + b"a" * 70_000, origin=FRONT),
        site.get(ME, world.staff, headers=headers | {"Accept": "text/html"}),
        site.get(f"{ME}?x=1", world.staff, headers=headers | {"X-Long": "a" * 140_000}),
    ):
        assert allows(response) == FRONT, response.status_code
        statuses.add(response.status_code)
    assert statuses == {400, 401, 403, 404, 405, 406, 414, 431}


def test_pages_have_no_cors_headers(site: Site) -> None:
    for path in (*PAGES, *STEPS):
        for response in (site.get(path, headers={"Origin": FRONT}), preflight(site, path, FRONT)):
            assert cors_headers(response.headers) == [], path
            assert "vary" not in response.headers


def test_api_below_a_path_has_cors_headers_and_pages_have_none(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(
        make_settings(base_url="http://collegium.test/members", cors_allowed_origins=OTHER)
    )
    for root in ("", "/members"):
        headers = {"Origin": OTHER}
        assert allows(site.get(f"{root}{ME}", world.staff, headers=headers)) == OTHER
        assert allows(site.get(f"{root}/sign_in/", headers=headers)) is None
    assert allows(site.get("/members/api", headers={"Origin": OTHER})) == OTHER
    assert allows(site.get("/members/apis/", headers={"Origin": OTHER})) is None


def test_without_the_settings_there_are_no_cors_headers(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings())
    for response in (
        site.get(ME, world.staff, headers={"Origin": FRONT}),
        preflight(site, ME, FRONT),
    ):
        assert cors_headers(response.headers) == []
        assert "vary" not in response.headers


def test_origin_that_no_browser_sends_is_an_error_with_a_remedy(
    make_settings: Callable[..., Settings],
) -> None:
    for text, remedy in (
        ("*", "write each one"),
        ("null", "write each one"),
        ("front.example.org", "write each one"),
        ("ftp://front.example.org", "write each one"),
        ("https://a:b@front.example.org", "write each one"),
        ("https://*.example.org", "write each one"),
        ("https://front.example.org/app", "write https://front.example.org"),
        ("https://FRONT.example.org:443?x", "write https://front.example.org"),
    ):
        with pytest.raises(SettingsError, match=f"CORS_ALLOWED_ORIGINS .*{remedy}"):
            make_settings(cors_allowed_origins=text)
