"""The home page: what waits for a person, and the person's teams."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.browser import Browser, text
from tests.support.world import Person, World

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")


@pytest.fixture
def bob(world: World) -> Person:
    return world.person("bob")


def test_visitor_learns_what_this_is_and_sees_nothing_of_others(
    browser: Browser, world: World, ada: Person
) -> None:
    world.organisation("Initech", owner=ada)
    page = text(browser.open("/"))
    assert "Have you been invited?" in page
    assert "Waiting for you" not in page
    assert "Initech" not in page


def test_page_shows_what_waits_for_the_person_and_nobody_else(
    browser: Browser, world: World, ada: Person, bob: Person
) -> None:
    organisation = world.organisation("Initech", owner=ada)
    project = world.project(organisation, "Atlas")
    other = world.project(world.organisation("Hooli", owner=bob), "Nucleus")
    world.invite(bob, ada.email, "PROJECT.MEMBER", other)
    soon, later = (datetime.now(UTC) + timedelta(days=days) for days in (9, 60))
    asker, ending, staying = (
        world.person(name, first_name=name.title(), last_name="Doe")
        for name in ("asker", "ending", "staying")
    )
    world.ask(asker, world.create_link(ada, "PROJECT.MEMBER", project))
    world.give_role(ending, "PROJECT.MEMBER", project, soon)
    world.give_role(staying, "PROJECT.MEMBER", project, later)

    page = text(browser.sign_in(world, ada).open("/"))
    for part in ("invites you to join", "1 person asks to join", "Asker Doe", "Ending Doe"):
        assert part in page
    assert "Staying Doe" not in page
    assert page.count("in 9 days") == 1

    # The person whose role ends sees that, and nothing that others decide.
    page = text(browser.sign_in(world, ending).open("/"))
    assert "My roles that end soon" in page
    for part in ("Asker Doe", "asks to join", "invites you", "Roles of others"):
        assert part not in page

    page = text(browser.sign_in(world, staying).open("/"))
    assert "Nothing is waiting for you." in page
    assert "Atlas" in page


def test_person_without_a_role_learns_how_to_get_one(
    browser: Browser, world: World, bob: Person
) -> None:
    page = browser.sign_in(world, bob).open("/")
    assert "You are not a member of an organisation, project or group yet." in text(page)
    assert 'href="/teams/#name"' in page.text


def test_one_button_of_the_page_stands_out(browser: Browser, world: World, ada: Person) -> None:
    organisation = world.organisation("Initech", owner=ada)
    project = world.project(organisation, "Atlas")
    for name in ("Hooli", "Pied Piper"):
        world.invite(world.staff, ada.email, "CUSTOMER.OWNER", world.organisation(name))
    world.ask(world.person(), world.create_link(ada, "PROJECT.MEMBER", project))
    page = browser.sign_in(world, ada).open("/").text
    assert page.count('class="button quiet"') == 2
    assert page.count('class="button"') == 1
