"""Actions at the same moment; on PostgreSQL writers do not queue."""

from collections.abc import Iterator
from functools import partial

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
from collegium.refusals import Conflict
from collegium.roles import queries as role_queries
from collegium.security.crypto import Vault
from collegium.settings import Settings, load
from collegium.sign_in.tokens import actions as token_actions
from tests.conftest import KEY
from tests.races.conftest import Together, outcome, rounds_of, statuses
from tests.support.site import Site
from tests.support.world import Person, Place, World

MEMBER, OWNER = "PROJECT.MEMBER", "CUSTOMER.OWNER"


class Scene:
    """An organisation with two owners, another account, and a new project for each round."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner, self.other = world.person("owner"), world.person("other")
        self.ada = world.person("ada")
        self.organisation = world.organisation(owner=self.owner)
        world.give_role(self.other, OWNER, self.organisation)

    def projects(self, most: int = 50) -> Iterator[Place]:
        for number in range(min(most, rounds_of(self.world))):
            yield self.world.project(self.organisation, f"Round {number}")

    def invite(self, email: str, project: Place) -> str:
        """Invite as the owner; return the path of the invitation."""
        return f"/api/user-invitations/{self.world.invite(self.owner, email, MEMBER, project)}/"

    def ask(self, project: Place) -> str:
        """Ask to join as Ada; return the UUID of the request."""
        return self.world.ask(self.ada, self.world.create_link(self.owner, MEMBER, project))


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def test_only_one_of_two_accounts_accepts_an_invitation(
    site: Site, scene: Scene, together: Together
) -> None:
    bob = scene.world.person("bob")
    for number, project in enumerate(scene.projects()):
        path = f"{scene.invite(f'round{number}@example.org', project)}accept/"
        responses = together(*(partial(site.post, path, who) for who in (scene.ada, bob)))
        assert statuses(responses) == [200, 404]
        assert len(scene.world.grants_in(project)) == 1


def test_accepting_two_invitations_at_once_gives_one_grant(
    site: Site, scene: Scene, together: Together
) -> None:
    for number, project in enumerate(scene.projects()):
        emails = (f"first{number}@example.org", f"second{number}@example.org")
        paths = [f"{scene.invite(email, project)}accept/" for email in emails]
        responses = together(*(partial(site.post, path, scene.ada) for path in paths))
        assert statuses(responses) == [200, 400]
        assert len(scene.world.grants_in(project)) == 1


def test_invitation_accepted_and_cancelled_at_once_has_one_outcome(
    site: Site, scene: Scene, together: Together
) -> None:
    for project in scene.projects(20):  # e-mails to one address are limited
        path = scene.invite(scene.ada.email, project)
        accepted, cancelled = together(
            partial(site.post, f"{path}accept/", scene.ada),
            partial(site.post, f"{path}cancel/", scene.owner),
        )
        state = site.get(path, scene.owner).json()["state"]
        grants = len(scene.world.grants_in(project))
        assert (accepted.status_code, cancelled.status_code, state, grants) in {
            (200, 400, "accepted", 1),
            (404, 200, "canceled", 0),
        }


def test_invitation_accepted_and_sent_again_at_once_is_accepted(
    site: Site, scene: Scene, together: Together
) -> None:
    for project in scene.projects():
        path = scene.invite(scene.ada.email, project)
        accepted, sent = together(
            partial(site.post, f"{path}accept/", scene.ada),
            partial(site.post, f"{path}send/", scene.owner),
        )
        if accepted.status_code == 404:
            assert sent.status_code == 200
            assert site.post(f"{path}accept/", scene.ada).status_code == 200
        assert sent.status_code in {200, 400}
        assert site.get(path, scene.owner).json()["state"] == "accepted"
        assert len(scene.world.grants_in(project)) == 1


def test_only_one_of_two_managers_approves_a_request(
    site: Site, scene: Scene, database: Database, together: Together
) -> None:
    for project in scene.projects():
        path = f"/api/user-permission-requests/{scene.ask(project)}/approve/"
        managers = (scene.owner, scene.other)
        responses = together(*(partial(site.post, path, manager) for manager in managers))
        assert statuses(responses) == [200, 409]
        assert len(scene.world.grants_in(project)) == 1
    mails = select(outbox.c.id).where(outbox.c.kind == "structure_role_granted")
    with database.read() as tx:
        assert len(tx.fetch_all(Statement(mails))) == rounds_of(scene.world), "one mail per grant"


def test_request_approved_and_withdrawn_at_once_has_one_outcome(
    site: Site, scene: Scene, together: Together
) -> None:
    for project in scene.projects():
        uuid = scene.ask(project)
        path = f"/api/user-permission-requests/{uuid}/"
        approved, withdrawn = together(
            partial(site.post, f"{path}approve/", scene.owner),
            partial(site.post, f"{path}cancel_request/", scene.ada),
        )
        state, grants = scene.world.request(uuid).state, len(scene.world.grants_in(project))
        assert (approved.status_code, withdrawn.status_code, state, grants) in {
            (200, 400, "approved", 1),
            (409, 200, "canceled", 0),
        }


def test_asking_twice_at_once_makes_one_request(
    site: Site, scene: Scene, together: Together
) -> None:
    # Requests of one address are limited to 100, pending ones of an account to fewer.
    for number, project in enumerate(scene.projects(40)):
        requester = scene.world.person(f"requester{number}")
        link = scene.world.create_link(scene.owner, MEMBER, project)
        path = f"/api/user-group-invitations/{link}/submit_request/"
        responses = together(*(partial(site.post, path, requester),) * 2)
        assert statuses(responses) == [200, 400]
        (refused,) = [response for response in responses if response.status_code == 400]
        assert refused.json() == ["Request has been created already."]
        assert len(site.get("/api/user-permission-requests/", requester).json()) == 1


def test_two_managers_who_add_an_account_at_once_write_one_grant(
    site: Site, scene: Scene, together: Together
) -> None:
    body = {"role": MEMBER, "user": scene.ada.uuid}
    for project in scene.projects(10):
        responses = together(
            *(
                partial(site.post, f"{project.path}add_user/", manager, json=body)
                for manager in (scene.owner, scene.other)
            )
        )
        assert statuses(responses) == [201, 400]
        assert len(scene.world.grants_in(project)) == 1


def test_of_two_owners_removed_at_once_one_remains(
    world: World, database: Database, together: Together
) -> None:
    def remove(person: Person, place: Place) -> None:
        with database.write() as tx:
            access = access_queries.get_visible(
                tx, world.staff.actor, ScopeKind.ORGANISATION, place.uuid
            )
            role, account = (
                role_queries.existing(tx, OWNER),
                account_queries.existing(tx, person.id),
            )
            assignment = membership_actions.RoleAssignment(access, role, account)
            membership_actions.remove(tx, world.staff.actor, assignment)

    for number in range(20):
        owners = [world.person(f"ada{number}"), world.person(f"bob{number}")]
        organisation = world.organisation(owner=owners[0])
        world.give_role(owners[1], OWNER, organisation)
        results = together(*(partial(outcome, remove, owner, organisation) for owner in owners))
        assert len(world.grants_in(organisation)) == 1
        assert [type(result) for result in results if result is not None] == [Conflict]


def test_one_role_rule_holds_for_two_acceptances_at_once(
    world: World, database: Database, url: str, together: Together
) -> None:
    strict = load(
        {
            "COLLEGIUM_DATABASE_URL": url,
            "COLLEGIUM_SECRET_KEY": KEY,
            "COLLEGIUM_INVITATION_DISABLE_MULTIPLE_ROLES": "true",
        }
    )

    def accept(person: Person, uuid: str) -> None:
        with database.write() as tx:
            invitation_actions.accept(tx, person.actor, strict, uuid)

    owner = world.person("owner")
    organisation = world.organisation(owner=owner)
    for number in range(10):
        ada = world.person(f"ada{number}")
        projects = [world.project(organisation) for _ in range(2)]
        uuids = [world.invite(owner, ada.email, MEMBER, project) for project in projects]
        results = together(*(partial(outcome, accept, ada, uuid) for uuid in uuids))
        assert [result.code for result in results if result is not None] == ["grant.elsewhere"]
        assert sum(len(world.grants_in(project)) for project in projects) == 1


def test_user_name_requested_twice_at_once_is_given_once(
    site: Site, world: World, together: Together
) -> None:
    for number in range(10):
        body = {"username": f"twin{number}", "email": "twin@example.org"}
        responses = together(*(partial(site.post, "/api/users/", world.staff, json=body),) * 2)
        assert statuses(responses) == [201, 400]
        (refused,) = [response for response in responses if response.status_code == 400]
        assert refused.json() == {"username": ["user with this username already exists."]}


def test_logins_at_once_return_the_same_token(
    world: World, database: Database, vault: Vault, settings: Settings, together: Together
) -> None:
    def log_in(person: Person) -> str:
        with database.write() as tx:
            return token_actions.log_in(tx, vault, settings, person.actor, "password")

    for number in range(10):
        ada = world.person(f"ada{number}")
        with database.write() as tx:
            token_actions.log_out(tx, ada.actor)
        assert len(set(together(*(partial(log_in, ada),) * 4))) == 1


def test_organisations_created_at_once_with_one_name_have_different_slugs(
    world: World, together: Together
) -> None:
    uuids = together(*(lambda: world.organisation("Same name").uuid for _ in range(8)))
    assert len(set(uuids)) == 8
