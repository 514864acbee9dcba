"""Sign-ins at an identity provider at the same moment; on PostgreSQL writers do not queue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from collegium.sign_in.identities.values import Arrival
from tests.races.conftest import Together, outcome, rounds_of
from tests.sign_in.identity_scene import add_provider, arrive, counts, person
from tests.support.browser import Browser
from tests.support.openid.hostile import CLIENT_ID, CLIENT_SECRET, HostileProvider
from tests.support.site import Site
from tests.support.world import World


def test_two_first_sign_ins_of_one_person_make_one_account(
    site_with: Callable[..., Site], world: World, together: Together, hostile: HostileProvider
) -> None:
    add_provider(
        world,
        "hostile",
        issuer=hostile.issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        registration="open",
    )
    site = site_with(outgoing_internal_hosts=hostile.host, rate_limits="false")

    def begin() -> partial[int]:
        browser = Browser(site)
        answer = browser.call("GET", "/api-auth/hostile/init/")
        path = hostile.authorize(answer.headers["location"]).partition("8000")[2]
        return partial(lambda: browser.call("GET", path).status_code)

    rounds = rounds_of(world)
    for number in range(rounds):
        email = f"person{number}@example.org"
        hostile.person |= {"sub": f"person-{number}", "email": email}
        assert together(begin(), begin()) == [303, 303]
    assert counts(world) == (1 + rounds, rounds)


def test_invitation_is_consumed_by_one_of_two_new_people(world: World, together: Together) -> None:
    provider = add_provider(world)
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    for number in range(rounds_of(world)):
        project = world.project(organisation)
        uuid = world.invite(owner, f"invited{number}@example.org", "PROJECT.MEMBER", project)
        arrival = Arrival(invitation=uuid, link_version=1, is_mailed=True, accepts=True)
        before = counts(world)
        people = (
            person(f"{name}-{number}", email=f"{name}{number}@example.org") for name in ("a", "b")
        )
        responses = together(
            *(
                partial(outcome, partial(arrive, world, provider, claims, arrival))
                for claims in people
            )
        )
        assert "invitation.unknown" in map(str, responses)
        assert len(world.grants_in(project)) == 1
        assert counts(world) == (before[0] + 1, before[1] + 1)


def test_one_of_two_people_with_an_address_is_linked(world: World, together: Together) -> None:
    provider = add_provider(world, trusted_domains=["example.org"])
    for number in range(rounds_of(world)):
        ada = world.person(f"ada{number}")
        people = (person(f"{name}-{number}", email=ada.email) for name in ("a", "b"))
        responses = together(
            *(partial(outcome, partial(arrive, world, provider, claims)) for claims in people)
        )
        assert "identity.mismatch" in map(str, responses)
        assert counts(world)[1] == number + 1
