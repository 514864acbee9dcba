"""What everybody may know of an installation, and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest

from collegium import __version__
from collegium.api.waldur.configuration import _PUBLIC
from collegium.settings import Settings
from tests.support.site import Site
from tests.support.world import World

CONFIGURATION = "/api/configuration/"
pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def test_everybody_reads_the_same_settings(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(
        make_settings(
            site_name="The Institute",
            only_staff_can_invite_users="true",
            countries="EE,FI",
            homeport_url="https://front.example.org",
            remote_eduteams_enabled="true",
        )
    )
    answers = [site.get(CONFIGURATION, who) for who in (None, world.person(), world.staff)]
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].status_code == 200
    said = answers[0].json()
    assert set(said) == {"WALDUR_CORE", "WALDUR_AUTH_SOCIAL", "FEATURES"}
    core = said["WALDUR_CORE"]
    assert core["SITE_NAME"] == "The Institute"
    assert core["ONLY_STAFF_CAN_INVITE_USERS"] is True
    assert core["COUNTRIES"] == ["EE", "FI"]
    assert core["USER_MANDATORY_FIELDS"] == ["first_name", "last_name", "email"]
    assert core["HOMEPORT_URL"] == "https://front.example.org"
    assert said["WALDUR_AUTH_SOCIAL"] == {"REMOTE_EDUTEAMS_ENABLED": True}
    assert site.request("HEAD", CONFIGURATION).content == b""
    assert site.post(CONFIGURATION).status_code == 405
    assert site.get(CONFIGURATION, "not-a-token").status_code == 401


def test_no_secret_and_nobody_s_address_is_among_them(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> None:
    hidden = "hidden-thing-4711"
    profile = f'{{"operator_notification_emails": ["{hidden}@example.org"]}}'
    settings = make_settings(
        remote_eduteams_client_id=hidden,
        remote_eduteams_secret=hidden,
        remote_eduteams_refresh_token=hidden,
        remote_eduteams_token_url=f"https://{hidden}.example.org/",
        remote_eduteams_userinfo_url=f"https://{hidden}.example.org/",
        remote_eduteams_ssh_api_url=f"https://{hidden}.example.org/",
        remote_eduteams_ssh_api_username=hidden,
        remote_eduteams_ssh_api_password=hidden,
        invitation_webhook_url=f"https://{hidden}.example.org/",
        invitation_webhook_token_url=f"https://{hidden}.example.org/",
        invitation_webhook_token_client_id=hidden,
        invitation_webhook_token_secret=hidden,
        mail_from=f"{hidden}@example.org",
        mail_url=f"smtp://{hidden}:{hidden}@{hidden}.example.org:25",
        secret_key=hidden * 3,
        notifications_profile_changes=profile,
    )
    text = make_site(settings).get(CONFIGURATION).text
    for secret in (hidden, settings.database_url, str(settings.database_path)):
        assert secret not in text


def test_only_settings_that_may_be_seen_in_a_log_are_published(site: Site) -> None:
    known = {one.name: one for one in fields(Settings)}
    for names in _PUBLIC.values():
        for name in names:
            assert known[name].repr, name
            assert "email" not in name or name.startswith("validate"), name


def test_the_version_is_told_to_those_who_are_logged_in(site: Site, world: World) -> None:
    answer = site.get("/api/version/", world.person())
    assert answer.json() == {"version": __version__}
    assert site.get("/api/version/").status_code == 401
    assert site.post("/api/version/", world.staff).status_code == 405
