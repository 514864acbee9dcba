from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.site import Site
    from tests.world import World


def test_me_shows_oneself_with_the_token(site: Site, world: World) -> None:
    ada = world.person("ada")
    answer = site.get("/api/users/me/", ada)
    assert answer.status_code == 200
    assert answer.json()["token"] == ada.token
