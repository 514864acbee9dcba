"""OpenID providers on the pages for staff: added with five fields, the rest is discovered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from collegium.settings import Settings
from collegium.sign_in.identities import sign_ins
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from tests.support.browser import Browser, text
from tests.support.openid.hostile import HostileProvider
from tests.support.world import World

HERE = "/staff/providers/"
ONE = f"{HERE}campus/"
pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(make_settings: Callable[..., Settings], hostile: HostileProvider) -> Settings:
    return make_settings(outgoing_internal_hosts=hostile.host)


@pytest.fixture
def staff(browser: Browser, world: World) -> Browser:
    return browser.sign_in(world, world.staff)


def add(staff: Browser, hostile: HostileProvider, **changes: str) -> Any:
    fields = {
        "label": "Campus",
        "name": "campus",
        "discovery_url": hostile.issuer,
        "client_id": "collegium",
        "client_secret": "very secret",
        "registration": "invited",
    }
    staff.open(f"{HERE}new/")
    return staff.send(f"{HERE}new/", **(fields | changes))


def provider(world: World) -> ProviderRow:
    with world.database.read() as tx:
        row = provider_queries.by_name(tx, "campus")
    assert row is not None
    return row


def settings_form(row: ProviderRow, **changes: str) -> dict[str, str]:
    """Return the fields of the form, as the page shows them."""
    fields = {
        name: getattr(row, name)
        for name in ("label", "discovery_url", "client_id", "registration", "user_field")
    }
    lines = (f"{field}: {claim}" for field, claim in row.attribute_mapping.items())
    fields |= {"attribute_mapping": "\n".join(lines), "verify_ssl": "yes", "action": "save"}
    return {**fields, **changes}


def test_provider_is_added_with_what_it_publishes(
    staff: Browser, world: World, hostile: HostileProvider
) -> None:
    assert "There is no provider yet" in text(staff.open(HERE))
    page = staff.follow(add(staff, hostile))
    assert "The provider is added" in text(page)
    assert "/api-auth/campus/complete/" in page.text
    assert "very secret" not in page.text
    row = provider(world)
    assert (row.issuer, row.discovery_url) == (hostile.issuer, hostile.discovery_url)
    assert row.attribute_mapping == {
        "first_name": "given_name",
        "last_name": "family_name",
        "email": "email",
    }
    assert provider_actions.client_secret(world.vault, row) == "very secret"
    assert "Campus" in text(staff.open(HERE))
    # The button is there at once.
    staff.cookies.clear()
    assert "Campus" in text(staff.open("/sign_in/"))


def test_settings_are_saved_and_an_empty_secret_keeps_the_present_one(
    staff: Browser, world: World, hostile: HostileProvider
) -> None:
    add(staff, hostile)
    staff.open(ONE)
    fields = settings_form(
        provider(world),
        label="Uni",
        client_secret="",
        trusted_domains="example.org\ncs.example.org",
        second_factor_values="mfa",
        vouched_claims="groups\ndepartment",
        attribute_mapping="full_name: name\njob_title : title  position",
        is_default="yes",
        user_field="username",
        user_claim="voperson_id",
    )
    assert "The provider is saved" in text(staff.follow(staff.send(ONE, **fields)))
    row = provider(world)
    assert (row.label, row.is_default, row.token_in_url) == ("Uni", True, False)
    assert row.trusted_domains == ["example.org", "cs.example.org"]
    assert row.vouched_claims == ["groups", "department"]
    assert row.attribute_mapping == {"full_name": "name", "job_title": "title position"}
    assert (row.user_field, row.user_claim) == ("username", "voperson_id")
    assert provider_actions.client_secret(world.vault, row) == "very secret"
    page = staff.open(ONE).text
    assert "very secret" not in page
    assert "full_name: name" in page
    assert staff.send(ONE, **{**fields, "client_secret": "other"}).status_code == 303
    assert provider_actions.client_secret(world.vault, provider(world)) == "other"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "default"}, "Some names, such as “default”, are reserved"),
        ({"name": "Campus!"}, "small letters, digits"),
        ({"discovery_url": "http://login.example.org"}, "Please enter an address with https"),
        ({"discovery_url": "https://127.0.0.1:9"}, "address"),
        ({"client_id": ""}, "Client ID"),
    ],
)
def test_wrong_provider_is_refused_at_its_field(
    staff: Browser,
    world: World,
    hostile: HostileProvider,
    changes: dict[str, str],
    sentence: str,
) -> None:
    response = add(staff, hostile, **changes)
    assert response.status_code == 422
    assert sentence in text(response)
    with world.database.read() as tx:
        assert provider_queries.all_providers(tx) == []


def test_dangerous_settings_are_refused_at_their_fields(
    staff: Browser, world: World, hostile: HostileProvider
) -> None:
    add(staff, hostile)
    before = provider(world)
    staff.open(ONE)
    for changes in (
        {"user_field": "username", "user_claim": "email"},
        {"user_field": "username"},
        {"attribute_mapping": "is_staff: admin"},
        {"allowed_redirects": "https://*.example.org/"},
        {"trusted_domains": "*"},
        {"discovery_url": "https://evil.example\\@campus.example"},
    ):
        assert staff.send(ONE, **settings_form(before, **changes)).status_code == 422, changes
    assert provider(world) == before


def test_staff_and_operators_learn_why_sign_ins_failed(
    staff: Browser, world: World, hostile: HostileProvider
) -> None:
    add(staff, hostile)
    assert "Failed sign-ins" not in text(staff.open(ONE))
    refused = "provider.client_refused"
    with capture_logs() as lines, world.database.write() as tx:
        for name, reason in (
            *(("campus", refused), ("campus", "identity.denied"), ("campus", refused)),
            ("elsewhere", "provider.unreachable"),
        ):
            sign_ins.record_refused(tx, name, reason, "192.0.2.1")
    page = text(staff.open(ONE))
    assert (
        "The provider does not accept the client ID and the client secret. Enter them again; a "
        f"secret may expire. {refused} 2 just now" in page
    )
    assert re.search(r"Last time \W*The provider", page), "the newest first"
    assert "identity.denied 1 just now" in page
    assert "unreachable" not in page
    assert {"event": "sign-in failed", "provider": "campus", "reason": refused} in [
        {name: line[name] for name in ("event", "provider", "reason")} for line in lines
    ]
    german = staff.open(ONE, headers={"accept-language": "de"})
    assert "Der Anbieter nimmt Client-ID und Client-Secret nicht an." in text(german)


def test_check_says_what_is_wrong(staff: Browser, world: World, hostile: HostileProvider) -> None:
    add(staff, hostile)
    staff.open(ONE)
    assert "usable keys: 1" in text(staff.send(ONE, action="check"))
    german = {"headers": {"accept-language": "de"}}
    page = text(staff.send(ONE, action="check", options=german))
    assert f"Der Anbieter antwortet als {hostile.issuer}; brauchbare Schlüssel: 1" in page
    hostile.metadata = {"issuer": "https://evil.example"}
    page = text(staff.send(ONE, action="check"))
    assert "Wrong: the provider names itself differently" in page
    assert "evil.example" not in page


def test_inactive_provider_has_no_button_and_a_removed_one_is_gone(
    staff: Browser, world: World, hostile: HostileProvider
) -> None:
    add(staff, hostile)
    staff.open(ONE)
    for action, is_active in (("deactivate", False), ("activate", True)):
        assert staff.send(ONE, action=action).status_code == 303
        assert provider(world).is_active is is_active
    assert staff.send(ONE, action="remove").status_code == 303
    assert staff.open(ONE).status_code == 404
    assert staff.send(ONE, action="activate").status_code == 404
