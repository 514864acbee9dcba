"""When a group is gone, so is everything that led into it."""

from __future__ import annotations

import pytest

from tests.groups.scene import Groups
from tests.support.site import Site


@pytest.mark.parametrize("before", ["", "accept", "reject", "cancel"])
def test_what_led_into_a_deleted_group_is_unknown_to_everybody(groups: Groups, before: str) -> None:
    world = groups.world
    olga, alice, bob = (world.person(name) for name in ("olga", "alice", "bob"))
    group = groups.found(olga)
    request, invitation = groups.ask(group, alice), groups.invite(group, olga, bob)
    there = {"request": (request, alice), "invitation": (invitation, bob)}
    for model, (uuid, person) in there.items():
        decider = {"request": olga, "invitation": bob}[model]
        if before:
            who = decider if before != "cancel" else {olga: bob, bob: olga}.get(decider, olga)
            who = person if (model, before) == ("request", "cancel") else who
            who = olga if (model, before) == ("invitation", "cancel") else who
            assert groups.get(who, model, uuid, before).status_code == 200
    assert groups.call("DELETE", olga, "group", group).status_code == 204
    unknown = {model: groups.get(alice, model, "0" * 32) for model in there}
    for model, (uuid, person) in there.items():
        for who in (person, olga, world.staff):
            for method, action in (
                ("GET", ""),
                ("GET", "accept"),
                ("GET", "reject"),
                ("GET", "cancel"),
                ("PATCH", "accept"),
                ("POST", "reject"),
            ):
                answer = groups.call(method, who, model, uuid, *([action] if action else []))
                assert answer.status_code == 404, (model, method, action, answer.text)
                assert answer.json() == unknown[model].json()
    for action in ("join", "leave"):
        assert groups.get(alice, "group", group, action).status_code == 404


def test_nobody_learns_by_an_action_that_a_group_has_been_deleted(groups: Groups) -> None:
    world = groups.world
    olga, alice, outsider = (world.person(name) for name in ("olga", "alice", "outsider"))
    group, other = groups.found(olga, "Gone"), groups.found(olga, "Kept")
    gone, kept = groups.invite(group, olga, alice), groups.invite(other, olga, alice)
    assert groups.get(alice, "invitation", gone).status_code == 200
    groups.call("DELETE", olga, "group", group)
    assert groups.get(alice, "invitation", gone).status_code == 404
    # The twin: with the group still there it is the person that is refused, or let in.
    assert groups.get(outsider, "invitation", kept, "accept").status_code == 404
    assert groups.get(olga, "invitation", kept, "accept").status_code == 403
    assert groups.get(alice, "invitation", kept, "accept").status_code == 200


def test_an_invitation_to_what_was_deleted_is_unknown_on_the_other_wire(
    groups: Groups, site: Site
) -> None:
    world = groups.world
    owner, invitee = world.person("owner"), world.person("invitee")
    organisation = world.organisation(owner=owner)
    project = world.project(organisation)
    uuid = world.invite(owner, invitee.email, "PROJECT.MEMBER", project)
    assert site.request("DELETE", project.path, owner).status_code == 204
    for action in ("accept", "check", "details", "send", "cancel"):
        method = "GET" if action == "details" else "POST"
        for who in (invitee, owner):
            answer = site.request(method, f"/api/user-invitations/{uuid}/{action}/", who)
            assert answer.status_code in {403, 404}, (action, answer.text)
            assert answer.status_code == 404 or action in {"send", "cancel"}, action
