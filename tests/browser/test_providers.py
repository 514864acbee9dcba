"""Sign in with the account of an institution, at two providers that others have written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import LiveService
from tests.browser.test_every_page import NARROWEST, set_width
from tests.browser.test_tasks import expect, sign_in
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
    label = f"Campus of {name.capitalize()}{'x' * 80}"
    set_up(live, open_window(live.base), provider, name, label)
    owner = live.person(f"owner-{name}", "Olga", "Owner")
    organisation = live.world.organisation(f"Institute of {name}", owner=owner)
    email = str(PEOPLE[name]["email"])
    live.world.invite(
        owner, email, "PROJECT.MEMBER", live.world.project(organisation, "Tide Table")
    )
    page = open_window(live.base)
    page.goto(live.link(email, "invitation"))
    check_width(page)
    page.get_by_role("button", name=f"Accept with {label}").click()
    provider.sign_in_window(page, name)
    expect(page, "have your new role", "Tide Table", "Project member")

    page.get_by_role("button", name="Sign out").click()
    provider.sign_out_window(page)
    page.wait_for_url(f"{live.base}/")
    page.goto("/account/")
    check_width(page)
    page.get_by_role("button", name=f"Sign in with {label}").click()
    # The provider asks again: the session there has ended too.
    provider.sign_in_window(page, name)
    expect(page, "Tide Table", "Project member")
    page.get_by_role("link", name="Security").click()
    page.get_by_role("link", name="Sign-in methods", exact=True).click()
    expect(page, label, "your only way to sign in")
    check_width(page)


def check_width(page: Page) -> None:
    """Check that nothing sticks out of a narrow window."""
    assert page.viewport_size
    usual = page.viewport_size["width"]
    set_width(page, NARROWEST)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROWEST
    set_width(page, usual)


def set_up(live: LiveService, page: Page, provider: RealProvider, name: str, label: str) -> None:
    """Set up a provider as staff do."""
    client_id, client_secret = provider.register(
        f"{live.base}/api-auth/{name}/complete/", post_logout_redirect_uris=[f"{live.base}/"]
    )
    live.person(f"staff-{name}", "Stella", "Staff", is_staff=True)
    sign_in(page, f"staff-{name}")
    page.goto("/staff/providers/new/")
    page.get_by_label("Label").fill(label)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Address of the provider").fill(provider.issuer)
    page.get_by_label("Client ID").fill(client_id)
    page.get_by_label("Client secret").fill(client_secret)
    page.get_by_role("button", name="Add provider").click()
    page.get_by_role("button", name="Check now").click()
    expect(page, f"responds as {provider.issuer}; usable keys: 1")
    page.get_by_label("Sign out at the provider too").check()
    page.get_by_role("button", name="Save").click()
