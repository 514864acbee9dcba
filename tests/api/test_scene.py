"""The scene has an object for every route, and bodies that every write accepts.

The tests of `tests/hostile` rely on it: a refusal there does not come from a malformed body.
"""

import re

from collegium.api.waldur.routes import ROUTES
from tests.api.scene import Scene, body_for, scene
from tests.support.site import Site
from tests.support.world import World

__all__ = ["scene"]

# Each needs something else to succeed, or ends the session of the caller.
NOT_TRIED = {
    ("/api/remote-eduteams/", "POST"),
    ("/api/users/{uuid}/pull_remote_user/", "POST"),
    ("/api/user-invitations/approve/", "POST"),
    ("/api/user-invitations/reject/", "POST"),
    ("/api-auth/logout/", "POST"),
    ("/api-auth/token-exchange/", "POST"),
    ("/api/keys/", "POST"),
    *((f"/api/passkeys/registration/{step}/", "POST") for step in ("begin", "finish")),
    *((f"/api/passkeys/signin/{step}/", "POST") for step in ("begin", "finish")),
    *((f"/api/passkeys/mfa/{step}/", "POST") for step in ("begin", "finish")),
    ("/api/identity-providers/", "POST"),
    ("/api/identity-providers/discover_metadata/", "POST"),
    ("/api/identity-providers/generate-mapping/", "POST"),
    ("/api/user-group-invitations/{uuid}/submit_request/", "POST"),
    ("/api/user-permissions/{uuid}/restore/", "POST"),
    *((f"/api/projects/{{uuid}}/{action}/", "POST") for action in ("recover", "move_project")),
}


def test_every_route_has_an_object(scene: Scene) -> None:
    others = {"/api/auth-tokens/{user_id}/", "/api/identity-providers/{provider}/"}
    for path in ROUTES.keys() - others:
        assert path.count("{") == path.count("{uuid}") <= 1, path
        if "{uuid}" in path:
            assert re.fullmatch(r"[0-9a-f]{32}", scene.object_of(path))


def test_bodies_are_valid(site: Site, scene: Scene, world: World) -> None:
    writes = [
        (path, method, operation)
        for path, table in ROUTES.items()
        for method, operation in table.items()
        if method != "GET" and "auth-tokens" not in path and (path, method) not in NOT_TRIED
    ]
    # Removing comes last, so that there is something to change before. A project that gets a start
    # in the future makes its invitations wait.
    writes.sort(
        key=lambda write: (
            *(write[1] == "DELETE", "delete" in write[0], "cancel" in write[0]),
            write[0].startswith("/api/projects/"),
        )
    )
    succeeded = 0
    for path, method, operation in writes:
        uuid = scene.object_of(path) if "{uuid}" in path else ""
        if "user-permission-requests" in path:  # each can be decided once
            uuid = world.ask(
                world.person(), world.create_link(world.staff, "PROJECT.ADMIN", scene.project)
            )
        body = body_for(path, operation, scene)
        url = path.replace("{uuid}", uuid).replace("{provider}", "campus")
        response = site.request(method, url, world.staff, json=body)
        assert response.status_code in {200, 201, 204, 401, 404, 409}, (path, response.text)
        succeeded += response.is_success
    assert succeeded > len(writes) / 2
