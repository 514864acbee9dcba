"""No page asks more of the database because there is more to show."""

from __future__ import annotations

import pytest

from collegium.join_requests import actions as join_request_actions
from collegium.memberships import queries as membership_queries
from collegium.scopes.groups import actions as group_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import sessions as session_actions
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from collegium.web.page import Page
from collegium.web.routes import ROUTES
from tests.accounts.test_pages import grant_of
from tests.support.browser import Browser
from tests.support.remote import new_key
from tests.support.site import counted_statements
from tests.support.world import Person, Place, World

MOST = 14
MANY = 6
SENT_ON = {"/sign_in/", "/sign_in/code/", "/private/users/tokens/"}
"""Where nothing is shown to whoever is signed in."""
# A link that leads to one thing, which does not grow.
OF_ONE = {
    "/invitation/{token}/",
    "/invitation_approve/{token}/",
    "/invitation_reject/{token}/",
    "/password_reset/{token}/",
    "/user_email_change/{code}/",
    "/user_email_change_cancel/{code}/",
}


def grow(world: World, viewer: Person, places: tuple[Place, Place], group: int) -> None:
    """Make more of everything that a page of the viewer's could show."""
    organisation, project = places
    link = world.open(viewer, "PROJECT.MEMBER", project)
    for _ in range(MANY):
        member, asker, invited = world.person(), world.person(), world.person()
        world.seat(member, "PROJECT.MEMBER", project)
        world.seat(member, "CUSTOMER.OWNER", organisation)
        world.seat(viewer, "PROJECT.ADMIN", world.project(organisation))
        for role, place in (("PROJECT.MEMBER", project), ("CUSTOMER.OWNER", organisation)):
            world.invite(viewer, invited.email, role, place)
            world.invite(world.staff, viewer.email, role, place)
            world.open(viewer, role, place)
        world.ask(asker, link)
        decided = world.ask(world.person(), link)
        with world.database.write() as tx:
            join_request_actions.approve(tx, viewer.actor, world.settings, decided, "Welcome.")
            group_actions.join(tx, asker.actor, group)
            group_actions.create(tx, viewer.actor, f"Group of {asker.uuid}")
            reached = group_actions.lock_and_recheck(tx, viewer.actor, group)
            wish = group_actions.MemberChange(invited.email)
            group_actions.change(tx, viewer.actor, world.settings, reached, None, [wish])
            ssh_key_actions.create(tx, viewer.actor, parse(new_key(f"key of {asker.uuid}")))
            token_actions.issue_personal(tx, world.vault, viewer.actor, "a script")
            session_actions.begin(tx, world.vault, viewer.actor, "password", "a browser")


def test_every_page_takes_the_same_statements_however_much_it_shows(
    browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = world.person("viewer", is_staff=True)
    organisation = world.organisation("Initech", owner=viewer)
    project = world.project(organisation, "Atlas")
    with world.database.write() as tx:
        group = group_actions.create(tx, viewer.actor, "Night Watch")
    member = world.person()
    world.seat(member, "PROJECT.MEMBER", project)
    world.seat(member, "CUSTOMER.OWNER", organisation)
    # Something of everything, so that nothing is left unasked because there is nothing.
    grow(world, viewer, (organisation, project), group)
    link = world.open(viewer, "PROJECT.MEMBER", project)
    named: dict[str, dict[str, object]] = {
        "/organisation/": {"uuid": organisation.uuid, "one": grant_of(world, member, organisation)},
        "/project/": {"uuid": project.uuid, "one": grant_of(world, member, project)},
        "/group/": {"number": group},
        "/open_invitation/": {"uuid": link},
        "/account/leave/": {"uuid": grant_of(world, viewer, organisation)},
    }
    links = {"/organisation/": world.open(viewer, "CUSTOMER.OWNER", organisation)}
    links["/project/"] = link
    with world.database.read() as tx:
        (seat, *_) = membership_queries.team.page(
            tx, viewer.actor, {"scope": group}, ("-created",), 1, 0
        )
    named["/group/"]["one"] = seat.uuid
    paths = []
    for path, table in ROUTES.items():
        if not isinstance(table.get("GET"), Page) or path in OF_ONE:
            continue
        if path.startswith("/staff/"):
            continue  # counted in test_staff, where somebody may see them
        begins = next((begin for begin in named if path.startswith(begin)), "")
        given = dict(named.get(begins, {}))
        if "/links/{one}/" in path:
            given["one"] = links[begins]
        assert "{" not in path or begins, f"say which object {path} is to show"
        query = "?q=e" if path.endswith("/add/") else ""
        paths.append(path.format_map(given) + query)
    browser.sign_in(world, viewer)
    found = []
    for _ in range(2):
        counts = {}
        for path in paths:
            with counted_statements(monkeypatch) as seen:
                answer = browser.open(path)
            assert answer.status_code == (303 if path in SENT_ON else 200), path
            counts[path] = len(seen)
        found.append(counts)
        grow(world, viewer, (organisation, project), group)
    few, many = found
    assert many == few
    assert max(few.values()) <= MOST, few
