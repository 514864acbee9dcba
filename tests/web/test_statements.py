"""A page runs a fixed number of SQL statements for any number of rows."""

import pytest

from collegium.bulk_changes.rules import Change
from collegium.join_requests import actions as join_request_actions
from collegium.memberships import queries as membership_queries
from collegium.reviews import queries as review_queries
from collegium.scopes.groups import actions as group_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import sessions as session_actions
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from collegium.web.page import Page
from collegium.web.routes import ROUTES
from tests.accounts.test_pages import grant_of
from tests.bulk_changes.scene import choose
from tests.imports.scene import add_import
from tests.support.browser import Browser
from tests.support.hooks import add_hook
from tests.support.passkeys import add_passkey
from tests.support.remote import new_key
from tests.support.site import record_statements
from tests.support.world import Person, Place, World

MAXIMUM = 14
MANY = 6
REDIRECTS = {
    *("/sign_in/", "/sign_in/code/", "/sign_in/passkey/", "/sign_in/link/"),
    "/private/users/tokens/",
}
# Each shows one object only.
ONE_OBJECT = {
    "/invitation/{token}/",
    "/invitation_approve/{token}/",
    "/invitation_reject/{token}/",
    "/password_reset/{token}/",
    "/setup/{token}/",
    "/staff/mails/{id}/",
    "/unsubscribe/{token}/",
    "/identity_link/{token}/",
    "/user_email_change/{code}/",
    "/user_email_change_cancel/{code}/",
    "/api-auth/default/init/",
    "/api-auth/{provider}/init/",
    "/api-auth/{provider}/complete/",
}


def grow(world: World, viewer: Person, places: tuple[Place, Place], group: int) -> None:
    """Create more of everything that a page can show to the viewer."""
    organisation, project = places
    link = world.create_link(viewer, "PROJECT.MEMBER", project)
    for _ in range(MANY):
        member, requester, invited = world.person(), world.person(), world.person()
        world.give_role(member, "PROJECT.MEMBER", project)
        world.give_role(member, "CUSTOMER.OWNER", organisation)
        world.give_role(viewer, "PROJECT.ADMIN", world.project(organisation))
        for role, place in (("PROJECT.MEMBER", project), ("CUSTOMER.OWNER", organisation)):
            world.invite(viewer, invited.email, role, place)
            world.invite(world.staff, viewer.email, role, place)
            world.create_link(viewer, role, place)
        world.ask(requester, link)
        decided = world.ask(world.person(), link)
        with world.database.write() as tx:
            join_request_actions.approve(tx, viewer.actor, world.settings, decided, "Welcome.")
            group_actions.join(tx, requester.actor, group)
            group_actions.create(tx, viewer.actor, f"Group of {requester.uuid}")
            access = group_actions.lock_group_and_authorise(tx, viewer.actor, group)
            change = group_actions.MemberChange(invited.email)
            group_actions.change(tx, viewer.actor, world.settings, access, None, [change])
            ssh_key_actions.create(tx, viewer.actor, parse(new_key(f"key of {requester.uuid}")))
            add_passkey(tx, viewer.id)
            token_actions.issue_personal(tx, world.vault, viewer.actor, "a script")
            session_actions.begin(tx, world.vault, viewer.actor, "password", "a browser")


def build(world: World, name: str) -> tuple[Person, tuple[Place, Place], int]:
    """Create an account that sees every page, an organisation with a project, and a group."""
    viewer = world.person("viewer", first_name=name, is_staff=True)
    organisation = world.organisation(name, owner=viewer)
    project = world.project(organisation, name)
    with world.database.write() as tx:
        group = group_actions.create(tx, viewer.actor, name)
    grow(world, viewer, (organisation, project), group)
    return viewer, (organisation, project), group


def page_paths(world: World, viewer: Person, places: tuple[Place, Place], group: int) -> list[str]:
    """Return the paths of all pages of the viewer but those for staff."""
    organisation, project = places
    member = world.person()
    world.give_role(member, "PROJECT.MEMBER", project)
    world.give_role(member, "CUSTOMER.OWNER", organisation)
    link = world.create_link(viewer, "PROJECT.MEMBER", project)
    with world.database.write() as tx:
        hook = add_hook(tx, viewer)
        (grant, *_) = membership_queries.of_scope.page(
            tx, viewer.actor, {"scope": group}, ("-created",), 1, 0
        )
    segments: dict[str, dict[str, object]] = {
        "/organisation/": {"uuid": organisation.uuid, "one": grant_of(world, member, organisation)},
        "/project/": {"uuid": project.uuid, "one": grant_of(world, member, project)},
        "/group/": {"number": group, "one": grant.uuid},
        "/open_invitation/": {"uuid": link},
        "/account/leave/": {"uuid": grant_of(world, viewer, organisation)},
        "/account/hooks/": {"uuid": hook},
    }
    files = {
        "/organisation/": add_import(world, world.staff, organisation, "judged", "somebody"),
        "/project/": add_import(world, viewer, project, "judged", "somebody"),
    }
    links = {
        "/organisation/": world.create_link(viewer, "CUSTOMER.OWNER", organisation),
        "/project/": link,
    }
    changes = {
        base: choose(world, viewer, scope, Change.REMOVE)
        for base, scope in (
            ("/organisation/", organisation),
            ("/project/", project),
            ("/group/", group),
        )
    }
    scopes = {"/organisation/": organisation.id, "/project/": project.id, "/group/": group}
    with world.database.write() as tx:
        reviews = {base: review_queries.add(tx, scope) for base, scope in scopes.items()}
    deleted = world.deleted_project(organisation)
    paths = []
    for path, table in ROUTES.items():
        if not isinstance(table.get("GET"), Page) or path in ONE_OBJECT:
            continue
        if path.startswith("/staff/"):
            continue  # test_staff counts them
        base = next((base for base in segments if path.startswith(base)), "")
        values = dict(segments.get(base, {}))
        if "/links/{one}/" in path:
            values["one"] = links[base]
        if "/reviews/{one}/" in path:
            values["one"] = reviews[base]
        if "/deleted/{one}/" in path:
            values["one"] = deleted
        if "/imports/{one}/" in path:
            values["one"] = files[base]
        if "/bulk/{one}/" in path:
            values["one"] = changes[base]
        assert "{" not in path or base, f"add an object for {path}"
        paths.append(path.format_map(values) + ("?q=e" if path.endswith("/add/") else ""))
    return paths


@pytest.mark.slow
def test_every_page_runs_as_many_statements_for_many_rows_as_for_few(
    browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, places, group = build(world, "Initech")
    paths = page_paths(world, viewer, places, group)
    browser.sign_in(world, viewer)
    counts: list[dict[str, int]] = []
    for _ in range(2):
        counts.append({})
        for path in paths:
            with record_statements(monkeypatch) as statements:
                response = browser.open(path)
            assert response.status_code == (303 if path in REDIRECTS else 200), path
            counts[-1][path] = len(statements)
        grow(world, viewer, places, group)
    few, many = counts
    assert many == few
    assert max(few.values()) <= MAXIMUM, few
