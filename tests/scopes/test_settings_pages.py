"""Pages: who may have a role, deleted projects that come back, projects that move."""

from __future__ import annotations

from typing import Any

import pytest

from collegium.refusals import Conflict
from collegium.scopes.organisations import queries as organisation_queries
from tests.support.browser import Browser, text
from tests.support.world import Person, Place, World

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
MEMBER = "PROJECT.MEMBER"


class Scene:
    """An organisation with an owner, and a project with a manager and a member."""

    def __init__(self, world: World, browser: Browser) -> None:
        self.world, self.browser = world, browser
        self.owner, self.manager, self.ada = map(world.person, ("owner", "manager", "ada"))
        self.sea = world.organisation("Sea", owner=self.owner)
        self.survey = world.project(self.sea, "Survey")
        world.give_role(self.manager, "PROJECT.MANAGER", self.survey)
        world.give_role(self.ada, MEMBER, self.survey)
        self.organisation, self.project = (
            f"/{place.kind}/{place.uuid}/" for place in (self.sea, self.survey)
        )

    def sign_in(self, who: Person) -> Browser:
        return self.browser.sign_in(self.world, who)

    def send(self, path: str, **fields: Any) -> str:
        """Open a page, send its form, and return the text of the page that follows."""
        assert self.browser.open(path).status_code == 200
        answer = self.browser.send(path, **fields)
        return text(answer if answer.status_code == 422 else self.browser.follow(answer))

    def open(self, path: str) -> str:
        page = self.browser.open(path)
        assert page.status_code == 200
        return text(page)

    def delete(self) -> str:
        """Delete the project; return the path of its page among the deleted ones."""
        self.world.delete(self.survey)
        return f"{self.organisation}deleted/{self.survey.uuid}/"

    def members(self, place: Place) -> list[str]:
        return [row.username for row in self.world.grants_in(place)]


@pytest.fixture
def scene(world: World, browser: Browser) -> Scene:
    return Scene(world, browser)


def test_settings_say_who_may_have_a_role(scene: Scene) -> None:
    scene.sign_in(scene.world.staff)
    here = f"{scene.organisation}settings/"
    assert "Everybody can get a role in this organisation now" in scene.open(here)
    values = {
        "email_patterns": ".*@sea\\.example\r\n\r\n.*@air\\.example",
        "affiliations": "member@sea.example",
        "identity_sources": "<b>campus",
    }
    assert "The settings are saved." in scene.send(here, **values)
    shown = scene.open(here)
    assert "Only people who match one of these lines get a role" in shown
    assert "<b>campus" in shown
    with scene.world.database.read() as tx:
        row: Any = organisation_queries.existing(tx, scene.sea.id)
    assert row.email_patterns == [".*@sea\\.example", ".*@air\\.example"]
    with pytest.raises(Conflict, match="not_admitted"):
        scene.world.give_role(scene.world.person("eve"), MEMBER, scene.survey)
    assert "Address" not in scene.open(f"{scene.project}settings/")
    # The project shows what applies to it too, and has its own rules.
    there = f"{scene.project}settings/"
    scene.sign_in(scene.manager)
    assert "People must also match the rules of the organisation: E-mail addresses" in scene.open(
        there
    )
    assert "The settings are saved." in scene.send(there, affiliations="x")
    inside = {"first_name": "In", "email": "in@sea.example"}
    with pytest.raises(Conflict, match="not_admitted"):
        scene.world.give_role(scene.world.person("inside", **inside), MEMBER, scene.survey)
    assert scene.members(scene.survey) == ["manager", "ada"]


def test_settings_have_the_address_of_the_organisation(scene: Scene) -> None:
    scene.sign_in(scene.world.staff)
    here = f"{scene.organisation}settings/"
    parts = ("household", "street", "house_nr", "apartment_nr", "postal", "city", "parish", "state")
    values = {name: f"<i>{name}" for name in parts} | {"address": "Quay 1\r\nHarbour"}
    assert "The settings are saved." in scene.send(here, **values)
    with scene.world.database.read() as tx:
        row: Any = organisation_queries.existing(tx, scene.sea.id)
    assert {name: getattr(row, name) for name in parts} == {name: values[name] for name in parts}
    assert row.address == "Quay 1\nHarbour"
    assert row.language == ""
    # The owner chooses the language of e-mails to people who have chosen none.
    assert "Please choose an option." in scene.send(here, **values, language="tlh")
    assert "The settings are saved." in scene.send(here, **values, language="de")
    with scene.world.database.read() as tx:
        assert organisation_queries.existing(tx, scene.sea.id).language == "de"
    page = scene.send(here, city="x" * 256, postal="y" * 21)
    assert "at most 255 characters" in page
    assert "at most 20 characters" in page
    scene.sign_in(scene.world.person("support", is_support=True))
    shown = scene.open(here)
    assert "Flat or room <i>apartment_nr" in shown
    assert "Language Deutsch" in shown


def test_wrong_settings_are_named_and_stay_in_the_form(scene: Scene) -> None:
    scene.sign_in(scene.world.staff)
    here = f"{scene.organisation}settings/"
    page = scene.send(here, email_patterns="(\nx", affiliations="a" * 256)
    assert "at most 255 characters" in page
    page = scene.send(here, email_patterns="(\nx")
    assert "These regular expressions are not valid: (" in page
    assert 'aria-invalid="true"' in scene.browser.page.text  # type: ignore[union-attr]
    assert "Everybody can get a role" in scene.open(here)
    scene.world.organisation("Shut")
    scene.browser.open(scene.organisation)
    for action, word in (("block", "blocked"), ("archive", "archived")):
        scene.send(f"/staff/organisations/{scene.sea.uuid}/", action=action)
        assert f"The organisation is {word}." in scene.send(here, affiliations="x")
        scene.send(f"/staff/organisations/{scene.sea.uuid}/", action=f"un{action}")


def test_settings_are_for_those_who_may_change_the_place(scene: Scene) -> None:
    support = scene.world.person("support", is_support=True)
    for who, statuses in (
        (scene.ada, (403, 403, 403, 403)),
        (scene.manager, (403, 200, 403, 403)),
        (support, (200, 200, 200, 403)),
        (scene.world.person("stranger"), (404, 404, 404, 404)),
    ):
        scene.sign_in(who)
        assert statuses == tuple(
            scene.browser.open(path).status_code
            for path in (
                f"{scene.organisation}settings/",
                f"{scene.project}settings/",
                f"{scene.organisation}deleted/",
                f"{scene.project}move/",
            )
        )
    scene.sign_in(support)
    scene.browser.open("/account/profile/")
    for path in (f"{scene.organisation}settings/", f"{scene.project}settings/"):
        assert scene.browser.send(path, affiliations="x").status_code == 403


def test_owner_brings_a_project_back_and_invites_its_members(scene: Scene) -> None:
    scene.sign_in(scene.owner)
    assert "No project of this organisation is deleted" in scene.open(
        f"{scene.organisation}deleted/"
    )
    here = scene.delete()
    assert "Survey" in scene.open(f"{scene.organisation}deleted/")
    assert "roles back" not in scene.open(here)  # for staff
    assert "not in the past" in scene.send(here, members="", end_date="2001-01-01")
    page = scene.send(here, members="invite")
    assert "The project Survey is back. 2 people are invited." in page
    assert scene.members(scene.survey) == []
    assert scene.browser.open(here).headers["location"] == scene.project
    # Sent again from a page that was opened earlier.
    scene.browser.open(f"{scene.organisation}")
    scene.browser.open("/account/profile/")
    answer = scene.browser.send(here, members="")
    assert answer.headers["location"] == scene.project


def test_staff_bring_a_project_back_with_its_members(scene: Scene) -> None:
    here = scene.delete()
    scene.sign_in(scene.world.staff)
    page = scene.send(here, members="restore")
    assert "The project Survey is back. 2 people have a role again." in page
    assert scene.members(scene.survey) == ["manager", "ada"]
    scene.delete()
    other = scene.world.organisation("Air")
    path = f"/organisation/{other.uuid}/deleted/{scene.survey.uuid}/"
    assert scene.browser.open(path).status_code == 404
    assert scene.browser.open(f"{scene.organisation}deleted/x/").status_code == 404


def test_only_those_who_may_create_projects_bring_one_back(scene: Scene) -> None:
    here = scene.delete()
    for who, status in (
        (scene.ada, 404),
        (scene.manager, 404),
        (scene.world.person("support", is_support=True), 403),
    ):
        scene.sign_in(who)
        scene.browser.open("/account/profile/")
        assert scene.browser.send(here, members="").status_code == status
    scene.sign_in(scene.owner)
    scene.browser.open("/account/profile/")
    assert scene.browser.send(here, members="restore").status_code == 403


@pytest.mark.parametrize("members", ["keep", "end"])
def test_staff_move_a_project(scene: Scene, members: str) -> None:
    scene.world.organisation("Twice")
    scene.world.organisation("Twice")
    air = scene.world.organisation("Air")
    scene.sign_in(scene.world.staff)
    here = f"{scene.project}move/"
    for name, message in (
        ("", "organisation"),
        ("Nowhere", "There is no such organisation."),
        ("Twice", "Several organisations have this name."),
        (scene.sea.uuid, "The project belongs to this organisation already."),
    ):
        assert message in scene.send(here, organisation=name, members=members)
    page = scene.send(here, organisation="Air", members=members)
    assert "The project belongs to Air now." in page
    assert "Air / Survey" in page  # the way to it
    assert scene.members(scene.survey) == (["manager", "ada"] if members == "keep" else [])
    assert air.name in text(scene.browser.open(scene.project))
    scene.sign_in(scene.manager)
    scene.browser.open("/account/profile/")
    assert scene.browser.send(here, organisation="Sea", members="keep").status_code in {403, 404}
