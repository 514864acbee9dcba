"""Waldur's official front end (HomePort): what it needs that no other client asks for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from collegium.api.waldur import homeport
from collegium.api.waldur.routes import ROUTES
from collegium.settings import Settings, SettingsError
from collegium.worker import mails
from tests.support.site import BASE, Site
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


PNG = b"\x89PNG\r\n\x1a\n a logo"
ICONS = "/api/icons/"
TEMPLATES = "/api/notification-messages-templates/"


def test_pictures_are_the_logo_of_the_operator_or_neutral(
    front_end: Site,
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    tmp_path: Path,
) -> None:
    path = tmp_path / "Logo.PNG"
    path.write_bytes(PNG)
    own = make_site(make_settings(site_logo=str(path), compat_homeport="true"))
    for site, media, begin in ((own, "image/png", PNG), (front_end, "image/svg+xml", b"<svg")):
        for name in ("login_logo", "sidebar_logo", "sidebar_logo_mobile", "favicon"):
            # As browsers ask for pictures.
            headers = {"Accept": "image/avif,image/png,image/*;q=0.8,*/*;q=0.5"}
            response = site.get(f"{ICONS}{name}/", headers=headers)
            assert (response.status_code, response.headers["content-type"]) == (200, media)
            assert response.content.startswith(begin)
        # The picture behind a page is no logo.
        hero = site.get(f"{ICONS}hero_image/", world.staff)
        assert hero.headers["content-type"] == "image/svg+xml"
        for wrong in ("nothing", "login_logo/x"):
            assert site.get(f"{ICONS}{wrong}/").status_code == 404
    shown = own.get(CONFIGURATION).json()["WALDUR_CORE"]
    assert shown["SIDEBAR_LOGO"] == f"{BASE}{ICONS}sidebar_logo/"
    # It shows the name of the service instead.
    assert "SIDEBAR_LOGO" not in front_end.get(CONFIGURATION).json()["WALDUR_CORE"]


def test_logo_that_cannot_be_shown_is_an_error(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    for name, content in (("logo.txt", b"x"), ("big.png", bytes(2**20 + 1)), ("none.png", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SettingsError, match=r"SITE_LOGO must be a file that exists"):
            make_settings(site_logo=str(tmp_path / name))


def test_template_of_an_invitation_is_shown_with_its_placeholders(
    site: Site,
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    tmp_path: Path,
) -> None:
    person = world.person()
    query = f"{TEMPLATES}?name=invitation_created&page_size=300"
    found = {one["path"]: one for one in site.get(query, person).json()}
    path = "users/invitation_created_message.html"
    assert set(found) >= {path, "users/invitation_created_subject.txt"}
    template = found[path]
    assert "invites you to join" in template["content"]
    assert "{{ scope_name }}" in template["content"]
    assert template["content"] == template["original_content"]
    for text in ("{%", "<html", "<script"):
        assert text not in template["content"]
    assert template["is_content_overridden"] is False
    assert template["url"] == f"{BASE}{TEMPLATES}{template['uuid']}/"
    assert site.get(template["url"], person).json() == template
    assert site.get(f"{TEMPLATES}{'0' * 32}/", person).status_code == 404
    # Every e-mail has its templates, on pages.
    everything = site.get(TEMPLATES, person)
    total = int(everything.headers["x-result-count"])
    assert total == 3 * len(mails.LOADERS)
    assert len(everything.json()) == 10
    assert site.request("HEAD", TEMPLATES, person).headers["x-result-count"] == str(total)
    for narrow in (f"path_exact={path}", f"path={path}&name_exact=invitation_created_message"):
        assert site.get(f"{TEMPLATES}?{narrow}", person).json() == [template]
    backwards = site.get(f"{query}&o=-path,name", person).json()
    assert [one["path"] for one in backwards] == sorted(found, reverse=True)
    # The operator's own template is shown in place of ours.
    (tmp_path / "invitation_created.html").write_text("<p>Come, {{ full_name }}</p>")
    own = make_site(make_settings(templates=str(tmp_path)))
    (overridden,) = own.get(f"{TEMPLATES}?is_overridden=true", person).json()
    assert overridden["content"] == "<p>Come, {{ full_name }}</p>"
    assert overridden["original_content"] == template["original_content"]


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
