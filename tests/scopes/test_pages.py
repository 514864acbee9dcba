"""The pages of an organisation and a project: members, rights, audit log, as in the API."""

from __future__ import annotations

import html
import re
from datetime import UTC, date, datetime, timedelta
from inspect import signature

import httpx
import pytest

from collegium.db.tables import organisations, projects, scopes
from collegium.events import queries as event_queries
from collegium.events.types import BY_KIND
from collegium.memberships import queries as membership_queries
from collegium.web.audit_log import EVENT_GROUPS, FIELDS
from tests.accounts.test_pages import grant_of
from tests.support.browser import Browser, text
from tests.support.site import Site, record_statements
from tests.support.team import Scene, everybody
from tests.support.world import World

MANAGING = {"manager", "owner", "staff"}


def test_members_page_shows_the_members_of_the_api(
    browser: Browser, site: Site, scene: Scene
) -> None:
    for name, person in everybody(browser, scene):
        for scope, path in scene.places:
            page = browser.open(path)
            response = site.get(f"{scope.path}list_users/", person)
            assert page.status_code == response.status_code, (name, path)
            page_text = text(page)
            rows = response.json() if response.status_code == 200 else []
            listed = {row["user_email"] for row in rows}
            shown = {other.email for other in scene.people.values() if other.email in page_text}
            assert listed <= shown <= listed | {person.email}, name


def test_members_are_shown_searched_sorted_and_paged(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, path = scene.world, scene.paths["project"]
    until = datetime.now(UTC) + timedelta(days=40)
    world.give_role(world.person("zoe"), "PROJECT.ADMIN", scene.project, until)
    browser.sign_in(world, scene.people["manager"])
    page = text(browser.open(path))
    for part in ("Zoe Lee", "zoe@example.org", "Project administrator", "Staff Lee", "no end"):
        assert part in page
    assert f"{until.day} {until:%B %Y}" in page
    results = text(browser.open(f"{path}?q=Zoe&sort=-created"))
    assert "zoe@example.org" in results
    assert "member@example.org" not in results
    assert "zoe@example.org" in text(browser.open(f"{path}?q=zoe@exa"))
    assert "No members match" in text(browser.open(f"{path}?q=nobody%00"))
    newest = text(browser.open(f"{path}?sort=-created"))
    assert newest.index("zoe@") < newest.index("manager@")
    by_name = text(browser.open(f"{path}?sort=full_name"))
    assert by_name.index("manager@") < by_name.index("zoe@")
    with record_statements(monkeypatch) as few:
        browser.open(path)
    for _ in range(26):
        world.give_role(world.person(), "PROJECT.MEMBER", scene.project)
    with record_statements(monkeypatch) as many:
        browser.open(path)
    assert len(few) == len(many) <= 8
    assert "Page 1 of 2" in text(browser.open(f"{path}?sort=-created"))
    assert "manager@example.org" in text(browser.open(f"{path}?sort=-created&page=2"))


def headings(page: httpx.Response) -> dict[str, tuple[str, str]]:
    """Return the link and the direction of each heading that sorts."""
    pattern = r'<th [^>]*class="sorts"(?: aria-sort="(\w+)")?>(.*?)</th>'
    cells = re.findall(pattern, page.text, re.DOTALL)
    return {
        label: (html.unescape(link), direction if "class=" in rest else "")
        for direction, cell in cells
        for link, rest, label in re.findall(r'<a href="([^"]+)"([^>]*)>([^<]+)</a>', cell)
    }


def test_headings_sort_the_members_and_keep_the_search(browser: Browser, scene: Scene) -> None:
    world, path = scene.world, scene.paths["project"]
    until = datetime.now(UTC) + timedelta(days=40)
    world.give_role(world.person("abe"), "PROJECT.MEMBER", scene.project, until)
    world.give_role(world.person("zoe"), "PROJECT.ADMIN", scene.project, until + timedelta(days=9))
    browser.sign_in(world, scene.people["manager"])

    def people(query: str) -> tuple[list[str], dict[str, tuple[str, str]]]:
        page = browser.open(f"{path}{query}")
        table = page.text.partition("<tbody")[2].partition("</tbody")[0]
        return re.findall(r"(\w+)@example.org</bdi>", table), headings(page)

    query = "?q=Lee&nothing=1&page=2"
    default, links = people(query)
    assert links["Name"] == ("?q=Lee&nothing=1&sort=-full_name", "ascending")
    assert [label for label, (_, direction) in links.items() if direction] == ["Name"]
    expected = {
        "Name": ["abe", "manager", "member", "zoe"],
        "E-mail address": ["abe", "manager", "member", "zoe"],
        "Role": ["zoe", "manager", "member", "abe"],
        "Added": ["member", "manager", "abe", "zoe"],
        # Roles without an end are the last ones in every database.
        "Until": ["abe", "zoe", "member", "manager"],
    }
    assert list(links) == list(expected)
    for label, ordered in expected.items():
        first, links = people(links[label][0])
        other, links = people(links[label][0])
        assert first == other[::-1], label
        up = first if links[label][1] == "descending" else other
        assert sorted(up) == sorted(ordered), label
        if label in {"Name", "E-mail address", "Added"}:
            assert up == ordered, label
        elif label == "Until":
            assert up[:2] == ordered[:2]
        assert [name for name, (_, direction) in links.items() if direction] == [label]
        assert all(link.startswith("?q=Lee&nothing=1&sort=") for link, _ in links.values())
    for unknown in ("native_name", "--created", "-", "created,role", "%00", "%ff", "9" * 5000):
        assert people(f"?q=Lee&sort={unknown}")[0] == default, unknown[:20]
    by_role = browser.open(f"{path}?sort=-role").text
    for part in ('name="sort" value="-role"', 'data-label="Sort by"'):
        assert part in by_role


def member_path(scene: Scene, name: str, kind: str = "project") -> str:
    grant = grant_of(scene.world, scene.people[name], getattr(scene, kind))
    return f"{scene.paths[kind]}people/{grant}/"


def test_end_date_and_removal_require_the_right(browser: Browser, scene: Scene) -> None:
    here = member_path(scene, "member")
    until = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
    for name, _ in everybody(browser, scene):
        allowed = name in MANAGING
        refused = 404 if name in {"outsider", "former"} else 403
        assert browser.call("GET", here).status_code == (200 if allowed else refused), name
        response = browser.send(here, action="end", until=until)
        assert response.status_code == (303 if allowed else refused), name
        if not allowed:
            browser.open("/account/tokens/")
            assert browser.send(here, action="remove").status_code == refused, name
            assert here not in browser.open(scene.paths["project"]).text
        else:
            assert here in browser.open(scene.paths["project"]).text
            browser.open(here)
            assert browser.send(here, action="end", until="").status_code == 303
    for name in ("owner", "staff"):
        scene.world.give_role(scene.people["former"], "PROJECT.MEMBER", scene.project)
        browser.sign_in(scene.world, scene.people[name])
        path = member_path(scene, "former")
        browser.open(path)
        assert "no longer" in text(browser.follow(browser.send(path, action="remove")))
        assert browser.open(path).status_code == 404
    assert {row.username for row in scene.world.grants_in(scene.project)} == {"member", "manager"}


def test_removal_is_undone_by_the_person_who_removed_the_role_and_nobody_else(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, path = scene.world, scene.paths["project"]
    member, manager = scene.people["member"], scene.people["manager"]
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=40)
    world.remove_role(member, "PROJECT.MEMBER", scene.project)
    world.give_role(member, "PROJECT.MEMBER", scene.project, until)
    here = member_path(scene, "member")
    browser.sign_in(world, manager)
    browser.open(here)
    removed = browser.send(here, action="remove")
    listed = removed.headers["location"]
    page = text(browser.follow(removed))
    assert "Member Lee is no longer Project member here." in page
    assert "Removed by mistake? Member Lee can be Project member again" in page

    def try_it() -> int:
        browser.open("/account/tokens/")
        return browser.send(here, action="undo").status_code

    def is_member() -> bool:
        return "member" in {row.username for row in world.grants_in(scene.project)}

    # Others may add members too, but did not remove this one.
    expected = {"outsider": 404, "former": 404, "member": 404, "support": 403}
    for name, _ in everybody(browser, scene):
        if name != "manager":
            assert "Removed by mistake" not in browser.open(listed).text, name
            assert try_it() == expected.get(name, 404), name
    browser.sign_in(world, manager)
    with monkeypatch.context() as patch:
        patch.setattr(membership_queries, "UNDO", timedelta(seconds=-1))
        assert "Removed by mistake" not in browser.open(listed).text
        assert try_it() == 404
    for elsewhere in (f"{scene.paths['organisation']}people/", f"{path}people/0"):
        assert browser.call("GET", f"{elsewhere}{here[-33:]}").status_code in {403, 404}
    world.remove_role(manager, "PROJECT.MANAGER", scene.project)
    world.give_role(manager, "PROJECT.MEMBER", scene.project)
    assert "Removed by mistake" not in browser.open(listed).text
    assert try_it() == 403, "the right to give roles was lost"
    world.remove_role(manager, "PROJECT.MEMBER", scene.project)
    assert try_it() == 404
    assert not is_member()
    world.give_role(manager, "PROJECT.MANAGER", scene.project)
    browser.open(listed)
    for _ in range(2):  # pressed twice, it does nothing twice
        assert browser.send(here, action="undo").headers["location"] == path
    assert "Member Lee is Project member again." in text(browser.open(path))
    (row,) = (row for row in world.grants_in(scene.project) if row.username == "member")
    assert (row.role_name, row.valid_until) == ("PROJECT.MEMBER", until)
    assert "Removed by mistake" not in browser.open(listed).text
    log = text(browser.open(f"{path}history/"))
    assert log.count(" again (until") == 1
    browser.sign_in(world, member)
    assert try_it() == 403


def test_role_can_be_changed_to_one_that_the_account_may_grant(
    browser: Browser, site: Site, scene: Scene
) -> None:
    world = scene.world
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=40)
    world.remove_role(scene.people["member"], "PROJECT.MEMBER", scene.project)
    world.give_role(scene.people["member"], "PROJECT.MEMBER", scene.project, until)
    here = member_path(scene, "member")
    admin, member, owner = (
        world.role(name).uuid for name in ("PROJECT.ADMIN", "PROJECT.MEMBER", "CUSTOMER.OWNER")
    )
    for name, _ in everybody(browser, scene):
        if name not in MANAGING:
            response = browser.send(here, action="role", role=admin)
            assert response.status_code in {403, 404}, name
    browser.sign_in(world, scene.people["manager"])
    page = browser.open(here)
    assert admin in page.text
    assert member not in page.text
    for role in ("", owner, member):
        assert browser.send(here, action="role", role=role).status_code == 422, role
    response = browser.follow(browser.send(here, action="role", role=admin))
    assert "Member Lee is now Project administrator." in text(response)
    (row,) = (row for row in world.grants_in(scene.project) if row.username == "member")
    assert (row.role_name, row.valid_until) == ("PROJECT.ADMIN", until)
    # The manager may not change an owner, and nobody the last one.
    here = member_path(scene, "owner", "organisation")
    assert browser.call("GET", here).status_code == 403
    browser.sign_in(world, world.staff)
    support = world.role("CUSTOMER.SUPPORT").uuid
    response = site.post(f"/api/roles/{support}/enable/", world.staff)
    assert response.status_code == 200, response.text
    browser.open(here)
    response = browser.send(here, action="role", role=support)
    assert response.status_code == 422
    assert "Make somebody else an owner first" in text(response)


def test_end_date_must_be_in_the_future_and_own_role_is_fixed(
    browser: Browser, scene: Scene
) -> None:
    browser.sign_in(scene.world, scene.people["manager"])
    here = member_path(scene, "member")
    browser.open(here)
    for until in ("2001-01-01", "soon", "9999-99-99"):
        assert browser.send(here, action="end", until=until).status_code == 422, until
    assert browser.send(here, action="sell").status_code == 422
    own = member_path(scene, "manager")
    assert own not in browser.open(scene.paths["project"]).text
    page = browser.open(own)
    assert page.status_code == 409
    assert "You cannot change your own role" in text(page)
    other = grant_of(scene.world, scene.people["owner"], scene.organisation)
    for uuid in (other, "0" * 32, "x"):
        assert browser.open(f"{scene.paths['project']}people/{uuid}/").status_code == 404


def test_last_owner_cannot_be_removed_on_the_page(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, member_path(scene, "owner", "organisation")
    browser.sign_in(world, world.staff)
    page = browser.open(here)
    assert "You cannot remove this role or set an end date" in text(page)
    assert 'name="action"' not in page.text
    browser.open("/account/tokens/")
    assert browser.send(here, action="remove").status_code == 422
    assert "Make somebody else an owner first" in text(browser.send(here, action="remove"))
    world.give_role(scene.people["member"], "CUSTOMER.OWNER", scene.organisation)
    assert 'value="remove"' in browser.open(here).text
    assert browser.send(here, action="remove").status_code == 303


_REASONS = {
    ("owner", "organisation"): "Only the staff of this service can add members to the organisation",
    ("member", "project"): "ask the managers of the project and the owners of its organisation.",
    ("support", "organisation"): "Support accounts can see everything",
    ("support", "project"): "Support accounts can see everything",
}


def test_members_who_cannot_add_members_see_the_reason(browser: Browser, scene: Scene) -> None:
    for name, _ in everybody(browser, scene):
        for kind, path in scene.paths.items():
            page = browser.open(path)
            may_add = f"{path}invite/" in page.text
            page_text = text(page)
            if page.status_code == 200:
                has_reason = "add members" in page_text or "change anything" in page_text
                assert has_reason is not may_add, name
            assert _REASONS.get((name, kind), "") in page_text
            for part, button in (("invitations/", "invite/"), ("links/", "link/")):
                page = browser.open(f"{path}{part}")
                if page.status_code == 200 and f"{path}{button}" not in page.text:
                    assert _REASONS[name, kind] in text(page), part


def test_pages_of_a_blocked_organisation_offer_only_removal(
    browser: Browser, site: Site, scene: Scene
) -> None:
    world, path = scene.world, scene.paths["project"]
    block = {"blocked": True}
    response = site.request("PATCH", scene.organisation.path, world.staff, json=block)
    assert response.status_code == 200, response.text
    browser.sign_in(world, scene.people["manager"])
    page = browser.open(path)
    assert "nobody can be added and nothing can be changed" in text(page)
    assert f"{path}invite/" not in page.text
    (here,) = set(re.findall(rf"{path}people/\w+/", page.text))
    buttons = re.findall(r'name="action" value="(\w+)"', browser.open(here).text)
    assert buttons == ["remove"]
    for action in ("end", "role"):
        refused = browser.send(here, action=action, role=world.role("PROJECT.ADMIN").uuid)
        assert refused.status_code == 422
        assert "blocked or archived" in text(refused)
    assert browser.send(here, action="remove").status_code == 303
    form = {"addresses": "a@example.org", "role": world.role("PROJECT.MEMBER").uuid}
    browser.open(f"{path}invite/")
    assert browser.send(f"{path}invite/", action="send", **form).status_code == 409


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_roles_of_the_audit_log_and_faults_of_a_list_are_in_the_language_of_the_reader(
    browser: Browser, scene: Scene
) -> None:
    browser.sign_in(scene.world, scene.people["manager"])
    german = {"headers": {"accept-language": "de"}}
    path = scene.paths["project"]
    log = text(browser.open(f"{path}history/", **german))
    assert "Projektmitglied" in log
    assert "Project member" not in log
    browser.open(f"{path}invite/")
    role = scene.world.role("PROJECT.MEMBER").uuid
    for line, fault in (
        ("nobody", "Diese Zeile enthält keine E-Mail-Adresse."),
        ("a..b@example.org", "Dies ist keine E-Mail-Adresse."),
    ):
        form = {"addresses": f"{line}\nnora@example.org", "role": role, "options": german}
        assert fault in text(browser.send(f"{path}invite/", action="check", **form))


def test_role_can_be_granted_to_visible_accounts_only(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['project']}add/"
    member, manager = (world.role(f"PROJECT.{name}").uuid for name in ("MEMBER", "MANAGER"))
    owner, outsider = scene.people["owner"], scene.people["outsider"]
    browser.sign_in(world, scene.people["manager"])
    assert outsider.uuid not in browser.open(f"{here}?q=outsider").text
    assert owner.uuid in browser.open(f"{here}?q=owner").text
    for form in (
        {"account": "", "role": member},
        {"account": owner.uuid, "role": ""},
        {"account": owner.uuid, "role": world.role("CUSTOMER.OWNER").uuid},
        {"account": owner.uuid, "role": member, "until": "2001-01-01"},
    ):
        assert browser.send(here, q="owner", **form).status_code == 422, form
    assert browser.send(here, account=outsider.uuid, role=member).status_code == 404
    browser.open(here)
    for form in ({"role": member}, {"role": manager, "until": "2099-12-31"}):
        assert browser.send(here, account=owner.uuid, **form).status_code == 303
    rows = [row for row in world.grants_in(scene.project) if row.username == "owner"]
    ends = {row.role_name: row.valid_until for row in rows}
    assert ends["PROJECT.MEMBER"] is None
    assert ends["PROJECT.MANAGER"].date() == date(2099, 12, 31)
    assert browser.send(here, account=owner.uuid, role=member).status_code == 422
    for name, _ in everybody(browser, scene):
        if name not in MANAGING:
            response = browser.send(here, account=scene.people["support"].uuid, role=member)
            assert response.status_code in {403, 404}, name
    assert "support" not in {row.username for row in world.grants_in(scene.project)}


def test_audit_log_shows_the_events_of_the_api(
    browser: Browser, site: Site, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = scene.world
    world.invite(scene.people["manager"], "secret@example.org", "PROJECT.MEMBER", scene.project)
    link = world.create_link(scene.people["owner"], "PROJECT.MEMBER", scene.project)
    world.ask(world.person("asker"), link)
    for name, person in everybody(browser, scene):
        for scope, path in scene.places:
            page = browser.open(f"{path}history/")
            events = site.get(f"/api/events/?scope={scope.path}&page_size=100", person).json()
            if page.status_code == 404:
                assert events == [] or name == "former", name
                continue
            assert page.text.count("<li>") == len(events), (name, path)
            is_listed = any("secret@example.org" in event["message"] for event in events)
            assert ("secret@example.org" in page.text) == is_listed, (name, path)
            is_listed = any("asker" in str(event["context"]) for event in events)
            assert ("Asker" in page.text or "asker" in page.text) == is_listed, (name, path)
    here = f"{scene.paths['project']}history/"
    browser.sign_in(world, scene.people["manager"])
    log = text(browser.open(here))
    assert "Manager Lee invited secret@example.org." in log
    assert "Staff Lee gave member the role Project member." in log
    assert "Staff Lee created the project." in log
    browser.sign_in(world, scene.people["member"])
    log = text(browser.open(here))
    assert "secret" not in log
    assert "the changes that concern you" in log
    browser.sign_in(world, world.staff)
    with record_statements(monkeypatch) as few:
        browser.open(here)
    for number in range(5):
        world.invite(world.staff, f"{number}@example.org", "PROJECT.MEMBER", scene.project)
    with record_statements(monkeypatch) as many:
        browser.open(here)
    assert len(few) == len(many) <= 8


def test_audit_log_is_filtered(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['project']}history/"
    world.invite(scene.people["manager"], "new@example.org", "PROJECT.MEMBER", scene.project)
    browser.sign_in(world, scene.people["manager"])
    for about, listed, hidden in (
        ("people", "gave member the role", "invited new@example.org"),
        ("invitations", "invited new@example.org", "gave member the role"),
        ("place", "created the project", "gave member the role"),
    ):
        log = text(browser.open(f"{here}?about={about}"))
        assert listed in log, about
        assert hidden not in log, about
    later = datetime.now(UTC).date() + timedelta(days=2)
    assert "created the project" in text(browser.open(f"{here}?until={later}"))
    for query in ("about=links", f"since={later}", "until=2001-01-01"):
        assert "No events match your filter" in text(browser.open(f"{here}?{query}"))
    page = browser.open(f"{here}?since=soon&about=nonsense&until=9999-12-31")
    assert page.status_code == 200
    assert "Please enter a date" in text(page)


def test_every_kind_of_event_of_a_scope_has_a_sentence() -> None:
    in_scopes = {event.kind for event in BY_KIND.values() if "scope" in signature(event).parameters}
    assert in_scopes == {event.kind for event in BY_KIND.values() if event.sentence}
    prefixes = [prefix for _, of_field in EVENT_GROUPS.values() for prefix in of_field]
    assert all(kind.startswith(tuple(prefixes)) for kind in in_scopes)
    # What was changed has a name in the language of the reader.
    columns = {column.name for table in (scopes, organisations, projects) for column in table.c}
    unnamed = {name for name in columns - set(FIELDS) if not name.endswith("_sort")}
    assert unnamed == {
        *("id", "uuid", "scope_id", "parent_id", "created_at", "deleted_at"),
        "end_date_changed_at",
    }
    assert {"email", "role", "end"} < set(FIELDS), "of an invitation"


def test_account_page_links_to_the_scopes(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.people["member"])
    assert f'href="{scene.paths["project"]}"' in browser.open("/account/").text


def test_long_audit_log_is_counted_up_to_the_last_page(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, here = scene.world, f"{scene.paths['project']}history/"
    browser.sign_in(world, scene.people["owner"])
    monkeypatch.setattr("collegium.web.page._PAGE_MAX", 2)
    monkeypatch.setattr("collegium.web.audit_log.ROWS_MAX", 50)
    for people, end in ((40, "Page 1 of 2 "), (20, "Page 1 of 2. Search or filter to see more")):
        for _ in range(people):
            world.give_role(world.person(), "PROJECT.MEMBER", scene.project)
        assert end in text(browser.open(here))
    assert "Page 2 of 2. Search or filter to see more" in text(browser.open(f"{here}?page=3"))
    with world.database.read() as tx:
        filters = {"scope_id": (scene.project.kind, scene.project.id)}
        assert event_queries.of_scope.count(tx, world.staff.actor, filters, 51) == 51
        assert event_queries.of_scope.count(tx, world.staff.actor, filters) > 60


def test_menu_leads_to_visible_scopes_beside_and_no_others(browser: Browser, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    organisation = world.organisation("Initech", owner=ada)
    atlas, borealis = (world.project(organisation, name) for name in ("Atlas", "Borealis"))
    world.project(world.organisation("Hooli", owner=bob), "Nucleus")
    world.give_role(bob, "PROJECT.MEMBER", atlas)

    def menu() -> list[str]:
        page = browser.open(f"/project/{atlas.uuid}/").text
        found = re.findall(r'(?s)<details class="switch">(.*?)</details>', page)
        return re.findall(r'<a class="person" href="([^"]+)"', found[0])

    paths = [f"/project/{project.uuid}/" for project in (atlas, borealis)]
    browser.sign_in(world, ada)
    assert menu() == paths
    # A member of one project sees neither the other one nor that of another organisation.
    browser.sign_in(world, bob)
    assert menu() == paths[:1]
