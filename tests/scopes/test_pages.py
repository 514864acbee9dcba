"""The team of a place: what is shown and done there, to each as the API would."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest

from collegium.events import queries as event_queries
from collegium.memberships import queries as membership_queries
from collegium.web.audit_log import SENTENCES, SUBJECT_FIELDS
from tests.accounts.test_pages import grant_of
from tests.join_requests.test_pages import ask, opened
from tests.support.browser import Browser, text
from tests.support.site import Site, counted_statements
from tests.support.team import Scene, everybody


def test_the_team_shows_whom_the_api_shows(browser: Browser, site: Site, scene: Scene) -> None:
    for name, person in everybody(browser, scene):
        for place, path in zip(
            (scene.organisation, scene.project), scene.paths.values(), strict=True
        ):
            page = browser.open(path)
            answer = site.get(f"{place.path}list_users/", person)
            assert page.status_code == answer.status_code, (name, path)
            said = text(page)
            listed = answer.json() if answer.status_code == 200 else []
            told = {one["user_email"] for one in listed} | {person.email}
            known = {one.email for one in scene.people.values()}
            assert {one for one in known if one in said.replace("Signed in", "")} <= told, name
            assert all(one["user_email"] in said for one in listed), name


def test_people_are_shown_found_sorted_and_paged(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, path = scene.world, scene.paths["project"]
    until = datetime.now(UTC) + timedelta(days=40)
    world.seat(world.person("zoe"), "PROJECT.ADMIN", scene.project, until)
    browser.sign_in(world, scene.people["manager"])
    said = text(browser.open(path))
    for part in ("Zoe Lee", "zoe@example.org", "Project administrator", "Staff Lee", "no end"):
        assert part in said
    assert f"{until.day} {until:%B %Y}" in said
    found = text(browser.open(f"{path}?q=Zoe&sort=newest"))
    assert "zoe@example.org" in found
    assert "member@example.org" not in found
    assert "zoe@example.org" in text(browser.open(f"{path}?q=zoe@exa"))
    assert "No members match" in text(browser.open(f"{path}?q=nobody%00"))
    newest = text(browser.open(f"{path}?sort=newest"))
    assert newest.index("zoe@") < newest.index("manager@")
    by_name = text(browser.open(f"{path}?sort=name"))
    assert by_name.index("manager@") < by_name.index("zoe@")
    with counted_statements(monkeypatch) as few:
        browser.open(path)
    for _ in range(26):
        world.seat(world.person(), "PROJECT.MEMBER", scene.project)
    with counted_statements(monkeypatch) as many:
        browser.open(path)
    assert len(few) == len(many) <= 8
    assert "Page 1 of 2" in text(browser.open(f"{path}?sort=newest"))
    assert "manager@example.org" in text(browser.open(f"{path}?sort=newest&page=2"))


def seat_path(scene: Scene, name: str) -> str:
    grant = grant_of(scene.world, scene.people[name], scene.project)
    return f"{scene.paths['project']}people/{grant}/"


def test_only_those_who_may_change_a_role_can(browser: Browser, scene: Scene) -> None:
    here = seat_path(scene, "member")
    until = (date.today() + timedelta(days=9)).isoformat()  # noqa: DTZ011 - a day to come
    allowed = {"manager", "owner", "staff"}
    for name, _ in everybody(browser, scene):
        hidden = name in {"outsider", "former"}
        refused = 404 if hidden else 403
        assert browser.call("GET", here).status_code == (200 if name in allowed else refused), name
        sent = browser.send(here, action="end", until=until)
        assert sent.status_code == (303 if name in allowed else refused), name
        if name not in allowed:
            browser.open("/account/tokens/")
            assert browser.send(here, action="remove").status_code == refused, name
            assert here not in browser.open(scene.paths["project"]).text
        else:
            assert here in browser.open(scene.paths["project"]).text
            browser.open(here)
            assert browser.send(here, action="end", until="").status_code == 303
    for name in ("owner", "staff"):
        scene.world.seat(scene.people["former"], "PROJECT.MEMBER", scene.project)
        browser.sign_in(scene.world, scene.people[name])
        gone = seat_path(scene, "former")
        browser.open(gone)
        assert "no longer" in text(browser.follow(browser.send(gone, action="remove")))
        assert browser.open(gone).status_code == 404
    assert {row.username for row in scene.world.grants_in(scene.project)} == {"member", "manager"}


def test_a_role_is_exchanged_for_one_that_could_be_given(browser: Browser, scene: Scene) -> None:
    world = scene.world
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=40)
    world.unseat(scene.people["member"], "PROJECT.MEMBER", scene.project)
    world.seat(scene.people["member"], "PROJECT.MEMBER", scene.project, until)
    here = seat_path(scene, "member")
    given = {
        name: world.role(name).uuid
        for name in ("PROJECT.ADMIN", "PROJECT.MEMBER", "CUSTOMER.OWNER")
    }
    for name, _ in everybody(browser, scene):
        if name not in {"manager", "owner", "staff"}:
            sent = browser.send(here, action="role", role=given["PROJECT.ADMIN"])
            assert sent.status_code in {403, 404}, name
    browser.sign_in(world, scene.people["manager"])
    page = browser.open(here)
    assert given["PROJECT.ADMIN"] in page.text
    assert given["PROJECT.MEMBER"] not in page.text
    for wrong in ("", given["CUSTOMER.OWNER"], given["PROJECT.MEMBER"]):
        assert browser.send(here, action="role", role=wrong).status_code == 422, wrong
    said = text(browser.follow(browser.send(here, action="role", role=given["PROJECT.ADMIN"])))
    assert "Member Lee is now Project administrator." in said
    (now,) = (row for row in world.grants_in(scene.project) if row.username == "member")
    assert (now.role_name, now.valid_until) == ("PROJECT.ADMIN", until)
    # What one cannot give away, one cannot give either; nor is there a way round the last owner.
    grant = grant_of(world, scene.people["owner"], scene.organisation)
    owner = f"{scene.paths['organisation']}people/{grant}/"
    assert browser.call("GET", owner).status_code == 403
    browser.sign_in(world, world.staff)
    support = world.role("CUSTOMER.SUPPORT")
    answer = browser._site.request("POST", f"/api/roles/{support.uuid}/enable/", world.staff)
    assert answer.status_code == 200, answer.text
    browser.open(owner)
    sent = browser.send(owner, action="role", role=support.uuid)
    assert sent.status_code == 422
    assert "Make somebody else an owner first" in text(sent)


def test_an_end_must_be_a_day_to_come_and_nobody_changes_their_own_role(
    browser: Browser, scene: Scene
) -> None:
    browser.sign_in(scene.world, scene.people["manager"])
    here = seat_path(scene, "member")
    browser.open(here)
    for until in ("2001-01-01", "soon", "9999-99-99"):
        assert browser.send(here, action="end", until=until).status_code == 422, until
    assert browser.send(here, action="sell").status_code == 422
    own = seat_path(scene, "manager")
    assert own not in browser.open(scene.paths["project"]).text
    answer = browser.open(own)
    assert answer.status_code == 409
    assert "You cannot change your own role" in text(answer)
    # A grant of another scope is none of this one, nor is what is no grant.
    other = grant_of(scene.world, scene.people["owner"], scene.organisation)
    for uuid in (other, "0" * 32, "x"):
        assert browser.open(f"{scene.paths['project']}people/{uuid}/").status_code == 404


def test_the_last_owner_is_told_before(browser: Browser, scene: Scene) -> None:
    world = scene.world
    grant = grant_of(world, scene.people["owner"], scene.organisation)
    here = f"{scene.paths['organisation']}people/{grant}/"
    browser.sign_in(world, world.staff)
    page = browser.open(here)
    assert "You cannot remove this role or set an end date" in text(page)
    assert 'name="action"' not in page.text
    browser.open("/account/tokens/")
    assert browser.send(here, action="remove").status_code == 422
    assert "Make somebody else an owner first" in text(browser.send(here, action="remove"))
    world.seat(scene.people["member"], "CUSTOMER.OWNER", scene.organisation)
    assert 'value="remove"' in browser.open(here).text
    assert browser.send(here, action="remove").status_code == 303


_WHY = {
    ("owner", "organisation"): "Only the staff of this service can add members to the organisation",
    ("member", "project"): "ask the managers of the project and the owners of its organisation.",
    ("support", "organisation"): "Support accounts can see everything",
    ("support", "project"): "Support accounts can see everything",
}


def test_people_who_cannot_add_members_see_why_and_whom_to_ask(
    browser: Browser, scene: Scene
) -> None:
    for name, _ in everybody(browser, scene):
        for kind, path in scene.paths.items():
            page = browser.open(path)
            may_add = f"{path}invite/" in page.text
            said = text(page)
            if page.status_code == 200:
                assert ("add members" in said or "change anything" in said) is not may_add, name
            assert _WHY.get((name, kind), "") in said
            for part, button in (("invitations/", "invite/"), ("links/", "link/")):
                page = browser.open(f"{path}{part}")
                if page.status_code == 200 and f"{path}{button}" not in page.text:
                    assert _WHY[name, kind] in text(page), part


def test_a_closed_organisation_offers_nothing(browser: Browser, scene: Scene) -> None:
    world, path = scene.world, scene.paths["project"]
    answer = browser._site.request(
        "PATCH", scene.organisation.path, world.staff, json={"blocked": True}
    )
    assert answer.status_code == 200, answer.text
    browser.sign_in(world, scene.people["manager"])
    page = browser.open(path)
    assert "nobody can be added and nothing can be changed" in text(page)
    assert f"{path}invite/" not in page.text
    (seat,) = set(re.findall(rf"{path}people/\w+/", page.text))
    buttons = re.findall(r'name="action" value="(\w+)"', browser.open(seat).text)
    assert buttons == ["remove"]
    for action in ("end", "role"):
        refused = browser.send(seat, action=action, role=world.role("PROJECT.ADMIN").uuid)
        assert refused.status_code == 422
        assert "blocked or archived" in text(refused)
    assert browser.send(seat, action="remove").status_code == 303
    role = world.role("PROJECT.MEMBER").uuid
    browser.open(f"{path}invite/")
    sent = browser.send(f"{path}invite/", action="send", addresses="a@example.org", role=role)
    assert sent.status_code == 409


def test_a_role_is_given_to_whom_one_can_see(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['project']}add/"
    member, manager = (world.role(f"PROJECT.{name}").uuid for name in ("MEMBER", "MANAGER"))
    owner, outsider = scene.people["owner"], scene.people["outsider"]
    browser.sign_in(world, scene.people["manager"])
    assert outsider.uuid not in browser.open(f"{here}?q=outsider").text
    assert owner.uuid in browser.open(f"{here}?q=owner").text
    for given in (
        {"account": "", "role": member},
        {"account": owner.uuid, "role": ""},
        {"account": owner.uuid, "role": world.role("CUSTOMER.OWNER").uuid},
        {"account": owner.uuid, "role": member, "until": "2001-01-01"},
    ):
        assert browser.send(here, q="owner", **given).status_code == 422, given
    assert browser.send(here, account=outsider.uuid, role=member).status_code == 404
    browser.open(here)
    for given in ({"role": member}, {"role": manager, "until": "2099-12-31"}):
        assert browser.send(here, account=owner.uuid, **given).status_code == 303
    held = {
        row.role_name: row.valid_until
        for row in world.grants_in(scene.project)
        if row.username == "owner"
    }
    assert held["PROJECT.MEMBER"] is None
    assert held["PROJECT.MANAGER"].date() == date(2099, 12, 31)
    assert browser.send(here, account=owner.uuid, role=member).status_code == 422
    for name, _ in everybody(browser, scene):
        if name not in {"manager", "owner", "staff"}:
            sent = browser.send(here, account=scene.people["support"].uuid, role=member)
            assert sent.status_code in {403, 404}, name
    assert "support" not in {row.username for row in world.grants_in(scene.project)}


def test_history_tells_each_reader_what_the_api_would(
    browser: Browser, site: Site, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = scene.world
    world.invite(scene.people["manager"], "secret@example.org", "PROJECT.MEMBER", scene.project)
    ask(
        world,
        world.person("asker"),
        opened(world, scene.people["owner"], scene.project, "PROJECT.MEMBER"),
    )
    for name, person in everybody(browser, scene):
        for kind, plural in (("organisation", "customers"), ("project", "projects")):
            place = getattr(scene, kind)
            page = browser.open(f"{scene.paths[kind]}history/")
            filter_of = f"scope=/api/{plural}/{place.uuid}/&page_size=100"
            told = site.get(f"/api/events/?{filter_of}", person)
            if page.status_code == 404:
                assert told.json() == [] or name == "former", name
                continue
            assert page.text.count("<li>") == len(told.json()), (name, kind)
            knows = any("secret@example.org" in one["message"] for one in told.json())
            assert ("secret@example.org" in page.text) == knows, (name, kind)
            knows = any("asker" in str(one["context"]) for one in told.json())
            assert ("Asker" in page.text or "asker" in page.text) == knows, (name, kind)
    browser.sign_in(world, scene.people["manager"])
    said = text(browser.open(f"{scene.paths['project']}history/"))
    assert "Manager Lee invited secret@example.org." in said
    assert "Staff Lee gave member the role Project member." in said
    assert "Staff Lee created the project." in said
    browser.sign_in(world, scene.people["member"])
    said = text(browser.open(f"{scene.paths['project']}history/"))
    assert "secret" not in said
    assert "the changes that concern you" in said
    browser.sign_in(world, world.staff)
    with counted_statements(monkeypatch) as few:
        browser.open(f"{scene.paths['project']}history/")
    for at in range(5):
        world.invite(world.staff, f"{at}@example.org", "PROJECT.MEMBER", scene.project)
    with counted_statements(monkeypatch) as many:
        browser.open(f"{scene.paths['project']}history/")
    assert len(few) == len(many) <= 8


def test_history_is_cut_down_to_what_one_looks_for(browser: Browser, scene: Scene) -> None:
    world, here = scene.world, f"{scene.paths['project']}history/"
    world.invite(scene.people["manager"], "new@example.org", "PROJECT.MEMBER", scene.project)
    browser.sign_in(world, scene.people["manager"])
    for about, inside, outside in (
        ("people", "gave member the role", "invited new@example.org"),
        ("invitations", "invited new@example.org", "gave member the role"),
        ("place", "created the project", "gave member the role"),
    ):
        said = text(browser.open(f"{here}?about={about}"))
        assert inside in said, about
        assert outside not in said, about
    assert "No events match your filter" in text(browser.open(f"{here}?about=links"))
    later = datetime.now(UTC).date() + timedelta(days=2)
    assert "created the project" in text(browser.open(f"{here}?until={later}"))
    assert "No events match your filter" in text(browser.open(f"{here}?since={later}"))
    assert "No events match your filter" in text(browser.open(f"{here}?until=2001-01-01"))
    wrong = browser.open(f"{here}?since=soon&about=nonsense&until=9999-12-31")
    assert wrong.status_code == 200
    assert "Please enter a date" in text(wrong)


def test_every_kind_of_event_of_a_place_has_a_sentence(scene: Scene) -> None:
    with scene.world.database.read() as tx:
        grants = membership_queries.own(tx, scene.people["manager"].id)
    assert grants
    from collegium.api.waldur.event_types import TYPES  # noqa: PLC0415 - only to compare

    nouns = ("organisation.", "project.", "invitation.", "open_invitation.", "request.")
    of_roles = {"role.granted", "role.updated", "role.revoked", "role.expired"}
    of_groups = {"group.created", "group.updated", "group.deleted"}  # no words of that wire
    told = {kind for kind in TYPES if kind.startswith(nouns)} | of_roles | of_groups
    assert told == set(SENTENCES)
    begins = [begin for _, all_of_one in SUBJECT_FIELDS.values() for begin in all_of_one]
    assert all(any(kind.startswith(begin) for begin in begins) for kind in SENTENCES)


def test_my_account_leads_to_the_teams(browser: Browser, scene: Scene) -> None:
    browser.sign_in(scene.world, scene.people["member"])
    assert f'href="{scene.paths["project"]}"' in browser.open("/account/").text


def test_a_long_history_is_counted_no_further_than_one_can_turn(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, here = scene.world, f"{scene.paths['project']}history/"
    browser.sign_in(world, scene.people["owner"])
    monkeypatch.setattr("collegium.web.page._PAGE_MAX", 2)
    monkeypatch.setattr("collegium.web.audit_log.ROWS_MAX", 50)
    for people, end in ((40, "Page 1 of 2 "), (20, "Page 1 of 2. Search or filter to see more")):
        for _ in range(people):
            world.seat(world.person(), "PROJECT.MEMBER", scene.project)
        assert end in text(browser.open(here))
    assert "Page 2 of 2. Search or filter to see more" in text(browser.open(f"{here}?page=3"))
    with world.database.read() as tx:
        place = {"place": (scene.project.kind, scene.project.id)}
        assert event_queries.team.count(tx, world.staff.actor, place, 51) == 51
        assert event_queries.team.count(tx, world.staff.actor, place) > 60
