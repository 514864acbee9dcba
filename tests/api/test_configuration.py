"""The public configuration of an installation."""

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


def test_every_caller_gets_the_same_settings(
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
    responses = [site.get(CONFIGURATION, caller) for caller in (None, world.person(), world.staff)]
    assert len({response.content for response in responses}) == 1
    assert responses[0].status_code == 200
    body = responses[0].json()
    assert {"WALDUR_CORE", "WALDUR_AUTH_SOCIAL", "FEATURES"} <= set(body)
    core = body["WALDUR_CORE"]
    assert core["SITE_NAME"] == "The Institute"
    assert core["ONLY_STAFF_CAN_INVITE_USERS"] is True
    assert core["COUNTRIES"] == ["EE", "FI"]
    assert core["USER_MANDATORY_FIELDS"] == ["first_name", "last_name", "email"]
    assert core["HOMEPORT_URL"] == "https://front.example.org"
    assert body["WALDUR_AUTH_SOCIAL"] == {"REMOTE_EDUTEAMS_ENABLED": True}
    assert site.request("HEAD", CONFIGURATION).content == b""
    assert site.post(CONFIGURATION).status_code == 405
    assert site.get(CONFIGURATION, "not-a-token").status_code == 401


def test_configuration_has_no_secret_and_no_address(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings]
) -> None:
    hidden = "hidden-thing-4711"
    profile = f'{{"operator_notification_emails": ["{hidden}@example.org"]}}'
    texts = (
        *("remote_eduteams_client_id", "remote_eduteams_secret", "remote_eduteams_refresh_token"),
        *("remote_eduteams_ssh_api_username", "remote_eduteams_ssh_api_password"),
        *("invitation_webhook_token_client_id", "invitation_webhook_token_secret"),
    )
    urls = (
        *("remote_eduteams_token_url", "remote_eduteams_userinfo_url"),
        *("remote_eduteams_ssh_api_url", "invitation_webhook_url", "invitation_webhook_token_url"),
    )
    settings = make_settings(
        **dict.fromkeys(texts, hidden),
        **dict.fromkeys(urls, f"https://{hidden}.example.org/"),
        mail_from=f"{hidden}@example.org",
        mail_url=f"smtp://{hidden}:{hidden}@{hidden}.example.org:25",
        secret_key=hidden * 3,
        notifications_profile_changes=profile,
    )
    text = make_site(settings).get(CONFIGURATION).text
    for secret in (hidden, settings.database_url, str(settings.database_path)):
        assert secret not in text


def test_only_settings_that_logs_may_show_are_published(site: Site) -> None:
    shown_in_logs = {field.name for field in fields(Settings) if field.repr}
    for names in _PUBLIC.values():
        for name in names:
            assert name in shown_in_logs
            assert "email" not in name or name.startswith("validate"), name


def test_version_is_shown_to_signed_in_accounts_only(site: Site, world: World) -> None:
    response = site.get("/api/version/", world.person())
    assert response.json() == {"version": __version__}
    assert site.get("/api/version/").status_code == 401
    assert site.post("/api/version/", world.staff).status_code == 405
