"""Reviews and agreements at the same moment; on PostgreSQL writers do not queue."""

from datetime import UTC, datetime, timedelta
from functools import partial

from collegium.agreements import queries as agreement_queries
from collegium.reviews import actions as review_actions
from collegium.reviews import queries as review_queries
from tests.races.conftest import Together, rounds_of, statuses
from tests.support.site import Site
from tests.support.world import Place, World

INTERVAL = timedelta(days=365)
MANY = 15


def pending(world: World, place: Place) -> list[str]:
    with world.database.read() as tx:
        rows = review_queries.of_scope.page(tx, world.staff.actor, {"scope": place.id}, (), 50, 0)
    return [row.uuid for row in rows if row.is_pending]


def test_review_is_opened_by_one_worker_and_closed_by_one_person(
    site: Site, world: World, together: Together
) -> None:
    owner, manager = world.person("owner"), world.person("manager")
    organisation = world.organisation(owner=owner)
    later = datetime.now(UTC) + 2 * INTERVAL

    def open_review(place: Place) -> bool:
        with world.database.write(later) as tx:
            return review_actions.open_review(tx, place.id, INTERVAL)

    for number in range(min(MANY, rounds_of(world))):
        project = world.project(organisation, f"Round {number}")
        world.give_role(manager, "PROJECT.MANAGER", project)
        opened = together(*[partial(open_review, project)] * 3)
        assert sorted(opened) == [False, False, True]
        (uuid,) = pending(world, project)
        path = f"/api/project-permissions-reviews/{uuid}/close/"
        closed = together(*(partial(site.post, path, who) for who in (owner, manager)))
        assert statuses(closed) == [200, 400]
    query = "/api/events/?event_type=review_closed&page_size=100"
    assert len(site.get(query, world.staff).json()) == number + 1


def test_two_changes_of_a_text_at_once_are_two_versions(
    site: Site, world: World, together: Together
) -> None:
    body = {"agreement_type": "TOS", "content": "Be kind.", "language": ""}
    path = site.post("/api/user-agreements/", world.staff, json=body).json()["url"]
    for number in range(min(MANY, rounds_of(world))):
        changes = [
            partial(site.request, "PATCH", path, world.staff, json={"content": f"{number} {name}"})
            for name in ("a", "b")
        ]
        assert statuses(together(*changes)) == [200, 200]
        with world.database.read() as tx:
            (row,) = agreement_queries.current(tx)
        assert row.version == 2 * number + 3
    # Publishing a text of the same kind and language twice is refused once.
    body = {"agreement_type": "PP", "content": "We keep little."}
    publish = partial(site.post, "/api/user-agreements/", world.staff, json=body)
    assert statuses(together(publish, publish)) == [201, 400]
