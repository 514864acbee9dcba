"""Join requests and invitations of a deleted group or project."""

from __future__ import annotations

from itertools import product

import pytest

from tests.groups.scene import Groups


@pytest.mark.parametrize("decision", ["", "accept", "reject", "cancel"])
def test_requests_and_invitations_of_a_deleted_group_are_unknown(
    groups: Groups, decision: str
) -> None:
    staff = groups.world.staff
    olga, alice, bob = groups.people("olga", "alice", "bob")
    group = groups.create(olga)
    # The one who asked or was invited, and the one who cancels.
    objects = {
        "request": (groups.ask(group, alice), alice, olga, alice),
        "invitation": (groups.invite(group, olga, bob), bob, bob, olga),
    }
    for model, (uuid, _, decider, canceler) in objects.items():
        if decision:
            actor = canceler if decision == "cancel" else decider
            assert groups.get(actor, model, uuid, decision).status_code == 200
    assert groups.call("DELETE", olga, "group", group).status_code == 204
    calls = (
        ("GET", ()),
        ("GET", ("accept",)),
        ("GET", ("reject",)),
        ("GET", ("cancel",)),
        ("PATCH", ("accept",)),
        ("POST", ("reject",)),
    )
    for model, (uuid, person, _, _) in objects.items():
        unknown = groups.get(alice, model, "0" * 32).json()
        for actor, (method, parts) in product((person, olga, staff), calls):
            response = groups.call(method, actor, model, uuid, *parts)
            assert response.status_code == 404, (model, method, parts, response.text)
            assert response.json() == unknown
    for action in ("join", "leave"):
        assert groups.get(alice, "group", group, action).status_code == 404


def test_deleting_a_group_keeps_invitations_of_other_groups(groups: Groups) -> None:
    olga, alice, outsider = groups.people("olga", "alice", "outsider")
    group, other = groups.create(olga, "Gone"), groups.create(olga, "Kept")
    deleted, kept = groups.invite(group, olga, alice), groups.invite(other, olga, alice)
    assert groups.get(alice, "invitation", deleted).status_code == 200
    groups.call("DELETE", olga, "group", group)
    assert groups.get(alice, "invitation", deleted).status_code == 404
    for person, status in ((outsider, 404), (olga, 403), (alice, 200)):
        assert groups.get(person, "invitation", kept, "accept").status_code == status
