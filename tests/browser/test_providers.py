"""Sign in with the account of an institution, at two providers that others have written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from collegium.sign_in.providers import actions as provider_actions
from tests.browser.conftest import LiveService
from tests.browser.test_tasks import expect
from tests.support.openid.real import PEOPLE, RealProvider


@pytest.mark.parametrize(("kind", "name"), [("oidc_provider", "ada"), ("canaille", "ben")])
def test_invitee_joins_and_comes_back_with_the_account_of_an_institution(
    live: LiveService,
    open_window: Callable[..., Page],
    request: pytest.FixtureRequest,
    kind: str,
    name: str,
) -> None:
    provider: RealProvider = request.getfixturevalue(kind)
    label = f"Campus of {name.capitalize()}"
    set_up(live, provider, name, label)
    owner = live.person(f"owner-{name}", "Olga", "Owner")
    organisation = live.world.organisation(f"Institute of {name}", owner=owner)
    email = str(PEOPLE[name]["email"])
    live.world.invite(
        owner, email, "PROJECT.MEMBER", live.world.project(organisation, "Tide Table")
    )
    page = open_window(live.base)
    page.goto(live.link(email, "invitation"))
    page.get_by_role("button", name=f"Accept with {label}").click()
    provider.sign_in_window(page, name)
    expect(page, "have your new role", "Tide Table", "Project member")

    page.get_by_role("button", name="Sign out").click()
    provider.sign_out_window(page)
    page.wait_for_url(f"{live.base}/")
    page.goto("/account/")
    page.get_by_role("link", name=f"Sign in with {label}").click()
    # The provider asks again: the session there has ended too.
    provider.sign_in_window(page, name)
    expect(page, "Tide Table", "Project member")
    page.get_by_role("link", name="Sign-in methods").click()
    expect(page, label, "your only way to sign in")


def set_up(live: LiveService, provider: RealProvider, name: str, label: str) -> None:
    client_id, client_secret = provider.register(
        f"{live.base}/api-auth/{name}/complete/", post_logout_redirect_uris=[f"{live.base}/"]
    )
    values = {
        "name": name,
        "label": label,
        "client_id": client_id,
        "client_secret": client_secret,
        "discovery_url": provider.discovery_url,
        "enable_post_logout_redirect": True,
    }
    with live.world.database.write() as tx:
        provider_actions.create(tx, None, live.world.vault, values, {"issuer": provider.issuer})
