"""One ceremony of a passkey, completed twice at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.races.conftest import Together, rounds_of, statuses
from tests.sign_in.test_passkey_api import API, register
from tests.support.authenticator import Authenticator
from tests.support.site import BASE, Site
from tests.support.world import World


def test_ceremony_signs_in_once(
    site_with: Callable[..., Site], world: World, together: Together
) -> None:
    site = site_with(base_url=BASE, rate_limits="false")
    # Passkeys that several devices share do not count, so only the ceremony stops the second use.
    ada, device = world.person("ada"), Authenticator(BASE, counts=0)
    assert register(site, ada, device).status_code == 201
    for _ in range(rounds_of(world)):
        begun = site.post(f"{API}signin/begin/").json()
        body = {"ceremony": begun["ceremony"], "credential": device.get(begun["options"])}
        finish = partial(site.post, f"{API}signin/finish/", json=body)
        assert statuses(together(finish, finish)) == [200, 400]
