"""Waldur's official front end (HomePort): what it needs that no other client asks for."""

from collections.abc import Callable

import pytest

from collegium.api.waldur import homeport
from collegium.api.waldur.routes import ROUTES
from collegium.settings import Settings
from tests.support.site import Site
from tests.support.world import World

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

FRONT = "https://front.example.org"
CONFIGURATION = "/api/configuration/"


@pytest.fixture
def front_end(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> Site:
    return make_site(make_settings(site_name="The Institute", homeport_url=FRONT))


def test_configuration_lets_the_front_end_start(
    front_end: Site, make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> None:
    shown = front_end.get(CONFIGURATION).json()
    # Without a list of pairs it shows "Unable to bootstrap application." and asks nothing else.
    assert ["en", "English"] in shown["LANGUAGES"]
    codes = [code for code, label in shown["LANGUAGES"] if label]
    assert len(set(codes)) == len(shown["LANGUAGES"]) == 14
    assert shown["LANGUAGE_CODE"] in codes
    core = shown["WALDUR_CORE"]
    assert core["LANGUAGE_CHOICES"] == codes
    assert (core["FULL_PAGE_TITLE"], core["SHORT_PAGE_TITLE"]) == ("The Institute",) * 2
    assert core["HOMEPORT_URL"] == FRONT
    assert shown["WALDUR_SUPPORT"] == {"ENABLED": False}
    for plugin in ("WALDUR_MARKETPLACE", "WALDUR_OPENSTACK", "WALDUR_RANCHER", "WALDUR_SLURM"):
        assert shown[plugin] == {}
    features = shown["FEATURES"]
    values = {value for section in features.values() for value in section.values()}
    assert values == {True, False}
    # Pages of teams fail where this one is absent.
    assert features["invitations"]["show_service_accounts"] is False
    assert features["user"]["ssh_keys"] is True
    # Pages of what is absent stay hidden.
    assert features["user"]["notifications"] is ("/api/hooks/" in ROUTES)
    for noun in ("customer", "project"):
        exists = f"/api/{noun}-permissions-reviews/" in ROUTES
        assert features[noun]["show_permission_reviews"] is exists
    # Everything that other clients read stays where it was.
    plain = make_site(make_settings(site_name="The Institute")).get(CONFIGURATION).json()
    assert set(plain) == {"WALDUR_CORE", "WALDUR_AUTH_SOCIAL", "FEATURES"}
    assert plain["FEATURES"] == {}
    kept = plain["WALDUR_CORE"].keys() - {"HOMEPORT_URL"}
    assert {name: core[name] for name in kept} == {
        name: plain["WALDUR_CORE"][name] for name in kept
    }


def test_new_accounts_have_agreed_to_the_terms_if_the_operator_says_so(
    front_end: Site,
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
) -> None:
    agreeing = make_site(make_settings(auto_approve_user_tos="true"))
    for site, agreed in ((front_end, False), (agreeing, True)):
        body = {"username": f"new{agreed}".lower(), "email": "new@example.org"}
        created = site.post("/api/users/", world.staff, json=body)
        assert created.status_code == 201
        assert (created.json()["agreement_date"] is not None) is agreed


def test_absent_things_are_empty_for_everybody_who_is_signed_in(
    front_end: Site, world: World
) -> None:
    person = world.person()
    built = homeport.EMPTY.keys() & ROUTES.keys()
    assert not built, f"{built} exist now: take them out of the table in homeport.py"
    for path, value in homeport.EMPTY.items():
        assert front_end.get(path).status_code == 401, path
        assert front_end.get(path, "no-token").status_code == 401, path
        for caller in (person, world.staff):
            # The first page of the parameters that the front end sends.
            response = front_end.get(f"{path}?page=1&page_size=10&field=uuid&o=x", caller)
            assert (response.status_code, response.json()) == (200, value), path
            counted = front_end.request("HEAD", path, caller)
            assert (counted.status_code, counted.content) == (200, b""), path
            if value == []:
                assert response.headers["x-result-count"] == "0"
                assert counted.headers["x-result-count"] == "0"
                assert front_end.get(f"{path}?page=2", caller).status_code == 404
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            refused = front_end.request(method, path, world.staff)
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
            assert front_end.request(method, path).status_code == 401
        assert front_end.get(f"{path}{'0' * 32}/", world.staff).status_code == 404


def test_absent_things_do_not_exist_without_the_front_end(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    front_end: Site,
    world: World,
) -> None:
    plain, compatible = (
        make_site(make_settings(compat_homeport=text)) for text in ("false", "true")
    )
    for path in homeport.EMPTY:
        for method in ("GET", "HEAD", "POST"):
            for caller in (None, world.staff):
                unknown = plain.request(method, "/api/nowhere/", caller)
                response = plain.request(method, path, caller)
                assert (response.status_code, response.content) == (404, unknown.content), path
        assert compatible.get(path, world.staff).status_code == 200
    # Neither lists them: no other client needs them.
    for site in (plain, front_end):
        assert not {f"/api/{name}/" for name in site.get("/api/", world.staff).json()} & set(
            homeport.EMPTY
        )
        assert not homeport.EMPTY.keys() & site.get("/schema/openapi.json").json()["paths"].keys()
