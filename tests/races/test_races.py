"""Promises that only a race can break; on PostgreSQL, where writers do not queue by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import outbox
from collegium.invitations import actions as invitation_actions
from collegium.memberships import actions as membership_actions
from collegium.refusals import Conflict, NotFound, Refusal
from collegium.roles import queries as role_queries
from collegium.security.crypto import Vault
from collegium.settings import Settings, load
from collegium.sign_in.tokens import actions as token_actions
from tests.conftest import KEY
from tests.support.site import Site
from tests.support.world import Person, Place, World

ROUNDS = 50


@pytest.fixture
def url(new_postgresql: str) -> str:
    return new_postgresql


@pytest.fixture
def together() -> Iterator[Callable[..., list[Any]]]:
    """Run functions at the same moment; give what each returned, or the refusal it met."""
    pool = ThreadPoolExecutor(16)

    def run(*functions: Callable[[], Any]) -> list[Any]:
        gate = threading.Barrier(len(functions))

        def one(function: Callable[[], Any]) -> Any:
            gate.wait(timeout=20)
            try:
                return function()
            except Refusal as refusal:
                return refusal

        return [done.result(timeout=60) for done in [pool.submit(one, f) for f in functions]]

    yield run
    pool.shutdown()


def test_of_two_accounts_that_accept_one_invitation_exactly_one_is_let_in(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    owner, ada, bob = world.person("owner"), world.person("ada"), world.person("bob")
    organisation = world.organisation(owner=owner)
    for turn in range(ROUNDS):
        project = world.project(organisation, f"Round {turn}")
        uuid = world.invite(owner, f"round{turn}@example.org", "PROJECT.MEMBER", project)
        path = f"/api/user-invitations/{uuid}/accept/"
        answers = together(lambda p=path: site.post(p, ada), lambda p=path: site.post(p, bob))
        assert sorted(answer.status_code for answer in answers) == [200, 404]
        assert len(world.grants_in(project)) == 1


def test_one_account_that_accepts_two_invitations_at_once_holds_one_grant(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    owner, ada = world.person("owner"), world.person("ada")
    organisation = world.organisation(owner=owner)
    for turn in range(ROUNDS):
        project = world.project(organisation, f"Round {turn}")
        uuids = [
            world.invite(owner, address, "PROJECT.MEMBER", project)
            for address in (f"one{turn}@example.org", f"two{turn}@example.org")
        ]
        paths = [f"/api/user-invitations/{uuid}/accept/" for uuid in uuids]
        answers = together(*(lambda p=path: site.post(p, ada) for path in paths))
        assert sorted(answer.status_code for answer in answers) == [200, 400]
        assert len(world.grants_in(project)) == 1


def test_an_invitation_that_is_taken_and_called_back_at_once_ends_in_one_of_both(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    owner, ada = world.person("owner"), world.person("ada")
    organisation = world.organisation(owner=owner)
    for turn in range(ROUNDS):
        project = world.project(organisation, f"Round {turn}")
        path = f"/api/user-invitations/{world.invite(owner, ada.email, 'PROJECT.MEMBER', project)}/"
        accepted, canceled = together(
            lambda p=path: site.post(f"{p}accept/", ada),
            lambda p=path: site.post(f"{p}cancel/", owner),
        )
        state = site.get(path, owner).json()["state"]
        grants = len(world.grants_in(project))
        assert (accepted.status_code, canceled.status_code, state, grants) in {
            (200, 400, "accepted", 1),
            (404, 200, "canceled", 0),
        }


def test_an_invitation_that_is_taken_and_sent_again_at_once_is_taken(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    owner, ada = world.person("owner"), world.person("ada")
    organisation = world.organisation(owner=owner)
    for turn in range(ROUNDS):
        project = world.project(organisation, f"Round {turn}")
        path = f"/api/user-invitations/{world.invite(owner, ada.email, 'PROJECT.MEMBER', project)}/"
        accepted, sent = together(
            lambda p=path: site.post(f"{p}accept/", ada),
            lambda p=path: site.post(f"{p}send/", owner),
        )
        # Whoever comes second to a row is told; nothing is half done.
        if accepted.status_code == 404:
            assert sent.status_code == 200
            assert site.post(f"{path}accept/", ada).status_code == 200
        assert sent.status_code in {200, 400}
        assert site.get(path, owner).json()["state"] == "accepted"
        assert len(world.grants_in(project)) == 1


def test_of_two_managers_who_approve_one_request_at_once_one_does(
    site: Site, world: World, database: Database, together: Callable[..., list[Any]]
) -> None:
    owner, other, ada = world.person("owner"), world.person("other"), world.person("ada")
    organisation = world.organisation(owner=owner)
    world.seat(other, "CUSTOMER.OWNER", organisation)
    for turn in range(ROUNDS):
        project = world.project(organisation, f"Round {turn}")
        uuid = world.ask(ada, world.open(owner, "PROJECT.MEMBER", project))
        path = f"/api/user-permission-requests/{uuid}/approve/"
        answers = together(*(lambda p=path, w=who: site.post(p, w) for who in (owner, other)))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert len(world.grants_in(project)) == 1
    with database.read() as tx:
        assert len(tx.fetch_all(_GRANTED)) == ROUNDS, "one mail for each grant"


_GRANTED = Statement(select(outbox.c.id).where(outbox.c.kind == "structure_role_granted"))


def test_a_request_that_is_approved_and_taken_back_at_once_ends_in_one_of_both(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    owner, ada = world.person("owner"), world.person("ada")
    organisation = world.organisation(owner=owner)
    for turn in range(ROUNDS):
        project = world.project(organisation, f"Round {turn}")
        uuid = world.ask(ada, world.open(owner, "PROJECT.MEMBER", project))
        path = f"/api/user-permission-requests/{uuid}/"
        approved, canceled = together(
            lambda p=path: site.post(f"{p}approve/", owner),
            lambda p=path: site.post(f"{p}cancel_request/", ada),
        )
        outcome = (
            approved.status_code,
            canceled.status_code,
            world.request(uuid).state,
            len(world.grants_in(project)),
        )
        assert outcome in {(200, 400, "approved", 1), (409, 200, "canceled", 0)}


def test_who_asks_twice_at_once_has_one_request(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    for turn in range(ROUNDS):
        project = world.project(organisation, f"Round {turn}")
        # Somebody else each time: so many requests of one account would have to wait.
        ada = world.person(f"ada{turn}")
        path = f"/api/user-group-invitations/{world.open(owner, 'PROJECT.MEMBER', project)}/"
        answers = together(*(lambda p=path, w=ada: site.post(f"{p}submit_request/", w),) * 2)
        assert sorted(answer.status_code for answer in answers) == [200, 400]
        refused = next(answer for answer in answers if answer.status_code == 400)
        assert refused.json() == ["Request has been created already."]
        assert len(site.get("/api/user-permission-requests/", ada).json()) == 1


def test_two_managers_who_seat_one_person_at_once_write_one_grant(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    owner, other, ada = world.person("owner"), world.person("other"), world.person("ada")
    organisation = world.organisation(owner=owner)
    world.seat(other, "CUSTOMER.OWNER", organisation)
    for turn in range(10):
        project = world.project(organisation, f"Round {turn}")
        body = {"role": "PROJECT.MEMBER", "user": ada.uuid}
        path = f"{project.path}add_user/"
        answers = together(
            lambda p=path, b=body: site.post(p, owner, json=b),
            lambda p=path, b=body: site.post(p, other, json=b),
        )
        assert sorted(answer.status_code for answer in answers) == [201, 400]
        assert len(world.grants_in(project)) == 1


def test_two_owners_who_are_removed_at_once_leave_one_behind(
    world: World, database: Database, together: Callable[..., list[Any]]
) -> None:
    for turn in range(20):
        ada, bob = world.person(f"ada{turn}"), world.person(f"bob{turn}")
        place = world.organisation(owner=ada)
        world.seat(bob, "CUSTOMER.OWNER", place)
        answers = together(
            lambda p=place, who=ada: _unseat(world, database, who, p),
            lambda p=place, who=bob: _unseat(world, database, who, p),
        )
        assert len(world.grants_in(place)) == 1
        assert [type(answer) for answer in answers if answer is not None] == [Conflict]


def _unseat(world: World, database: Database, person: Person, place: Place) -> None:
    with database.write() as tx:
        reached = access_queries.get_visible(
            tx, world.staff.actor, ScopeKind.ORGANISATION, place.uuid
        )
        seat = membership_actions.RoleAssignment(
            reached,
            role_queries.named(tx, "CUSTOMER.OWNER", None),
            account_queries.by_uuid(tx, person.uuid),
        )
        membership_actions.remove(tx, world.staff.actor, seat)


def test_the_one_role_rule_holds_for_two_acceptances_in_two_scopes(
    world: World, database: Database, url: str, together: Callable[..., list[Any]]
) -> None:
    strict = load(
        {
            "COLLEGIUM_DATABASE_URL": url,
            "COLLEGIUM_SECRET_KEY": KEY,
            "COLLEGIUM_INVITATION_DISABLE_MULTIPLE_ROLES": "true",
        }
    )
    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    for turn in range(10):
        ada = world.person(f"ada{turn}")
        places = [world.project(organisation) for _ in range(2)]
        uuids = [world.invite(owner, ada.email, "PROJECT.MEMBER", place) for place in places]
        answers = together(
            *(lambda u=uuid, who=ada: _accept(database, strict, who, u) for uuid in uuids)
        )
        assert [answer.code for answer in answers if answer is not None] == ["grant.elsewhere"]
        assert sum(len(world.grants_in(place)) for place in places) == 1


def _accept(database: Database, settings: Settings, who: Person, uuid: str) -> None:
    with database.write() as tx:
        invitation_actions.accept(tx, who.actor, settings, uuid)


def test_a_user_name_taken_by_two_at_once_is_given_to_one_and_the_other_is_told(
    site: Site, world: World, together: Callable[..., list[Any]]
) -> None:
    for turn in range(10):
        body = {"username": f"twin{turn}", "email": "twin@example.org"}
        answers = together(
            *(lambda b=body: site.post("/api/users/", world.staff, json=b) for _ in range(2))
        )
        assert sorted(answer.status_code for answer in answers) == [201, 400]
        refused = next(answer for answer in answers if answer.status_code == 400)
        assert refused.json() == {"username": ["user with this username already exists."]}


def test_two_logins_at_once_give_one_token_that_works(
    world: World,
    database: Database,
    vault: Vault,
    settings: Settings,
    together: Callable[..., list[Any]],
) -> None:
    for turn in range(10):
        ada = world.person(f"ada{turn}")
        with database.write() as tx:
            token_actions.log_out(tx, ada.actor)
        tokens = together(
            *(lambda who=ada: _log_in(database, vault, settings, who) for _ in range(4))
        )
        assert len(set(tokens)) == 1


def _log_in(database: Database, vault: Vault, settings: Settings, who: Person) -> str:
    with database.write() as tx:
        return token_actions.log_in(tx, vault, settings, who.actor, "password")


def test_slugs_of_the_same_name_made_at_once_differ(
    world: World, together: Callable[..., list[Any]]
) -> None:
    made = together(*(lambda: world.organisation("Same name").uuid for _ in range(8)))
    assert len(set(made)) == 8
    assert not any(isinstance(one, NotFound) for one in made)
