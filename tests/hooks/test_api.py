"""Hooks in the Waldur API: who sees them, what they may name, where they may lead."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from tests.hooks.scene import EMAIL, HOOKS, WEB, Scene
from tests.support.remote import SECRET

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def test_hooks_are_added_listed_changed_and_removed(scene: Scene) -> None:
    site, owner = scene.site, scene.owner
    web = scene.add_web(owner, "users", event_types=["role_granted"], content_type="form")
    assert web["url"].endswith(f"{WEB}{web['uuid']}/")
    assert (web["hook_type"], web["content_type"], web["is_active"]) == ("webhook", "form", True)
    assert (web["event_types"], web["event_groups"]) == (["role_granted"], ["users"])
    assert web["destination_url"] == scene.endpoint.url
    assert (web["author_uuid"], web["author_fullname"]) == (owner.uuid, "Owner Lee")
    email = scene.add_email(owner, "projects", "customers", "projects", is_active=False)
    assert (email["hook_type"], email["email"]) == ("email", owner.email)
    assert (email["event_groups"], email["is_active"]) == (["customers", "projects"], False)
    scene.add_web(scene.member, "ssh")
    for path, expected in (
        (WEB, [web]),
        (EMAIL, [email]),
        (f"{WEB}?content_type=form&{urlencode({'destination_url': scene.endpoint.url})}", [web]),
        (f"{WEB}?content_type=json", []),
        (f"{EMAIL}?email={owner.email}&is_active=false", [email]),
        (f"{EMAIL}?is_active=true", []),
        (f"{WEB}?author_uuid={owner.uuid}&author_fullname=Owner Lee", [web]),
        (f"{WEB}?author_username={scene.member.actor.username}", []),
        (f"{WEB}?query=OWNER&author_email={owner.email}", [web]),
        (f"{WEB}?last_published=2020-01-01", []),
    ):
        response = site.get(path, owner)
        assert response.json() == expected, path
        assert response.headers["X-Result-Count"] == str(len(expected))
    both = site.get(HOOKS, owner).json()
    assert [(one["uuid"], one["url"]) for one in both] == [
        (web["uuid"], web["url"]),
        (email["uuid"], email["url"]),
    ]
    assert ("email" in both[0], "destination_url" in both[1]) == (False, False)
    changed = site.request("PATCH", web["url"], owner, json={"event_groups": ["auth"]}).json()
    assert changed == {**web, "event_groups": ["auth"], "modified": changed["modified"]}
    assert changed["modified"] > web["modified"]
    body = {"email": owner.email, "event_types": ["role_granted"], "is_active": True}
    put = site.request("PUT", email["url"], owner, json=body).json()
    assert (put["event_types"], put["is_active"]) == (["role_granted"], True)
    assert site.get(email["url"], owner).json() == put
    for hook in (web, email):
        assert site.request("DELETE", hook["url"], owner).status_code == 204
        assert site.get(hook["url"], owner).status_code == 404
    # What happened is in the audit log, without the URL and its secret.
    events = site.get("/api/events/?feature=users&page_size=100", owner).json()
    seen = [one for one in events if one["event_type"].startswith("hook_")]
    types = ["hook_deleted"] * 2 + ["hook_updated"] * 2 + ["hook_created"] * 2
    assert [one["event_type"] for one in seen] == types
    assert seen[3]["context"]["hook_uuid"] == web["uuid"]
    assert seen[3]["context"]["fields"] == ["event_groups"]
    assert SECRET not in str(events)


def test_hook_of_somebody_else_is_hidden_and_its_url_is_shown_to_staff_alone(scene: Scene) -> None:
    site, world = scene.site, scene.world
    support = world.person("support", is_support=True)
    web = scene.add_web(scene.member, "users")
    for person in (scene.owner, scene.stranger):
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            refused = site.request(method, web["url"], person, json={"is_active": False})
            assert refused.status_code == 404, method
        assert site.get(HOOKS, person).json() == []
    assert site.get(web["url"].replace("hooks-web", "hooks-email"), scene.member).status_code == 404
    (seen,) = site.get(WEB, support).json()
    assert seen["destination_url"] == f"{scene.endpoint.base.split(SECRET)[0]}…"
    for text in (site.get(HOOKS, support).text, site.get(web["url"], support).text):
        assert SECRET not in text
    own = scene.add_web(support, "users")
    by_url = {"destination_url": web["destination_url"]}
    for person, found in ((world.staff, [web, own]), (scene.member, [web]), (support, [own])):
        rows = site.get(WEB, person, params=by_url).json()
        assert {row["uuid"] for row in rows} == {one["uuid"] for one in found}
    assert site.get(WEB, support, params=by_url | {"author_uuid": web["author_uuid"]}).json() == []
    for method in ("PUT", "PATCH", "DELETE"):
        assert site.request(method, web["url"], support, json={}).status_code == 403
    assert site.get(web["url"], world.staff).json() == web
    paused = site.request("PATCH", web["url"], world.staff, json={"is_active": False})
    assert paused.json()["is_active"] is False
    assert site.request("DELETE", web["url"], world.staff).status_code == 204


@sqlite_only
def test_all_faults_of_a_hook_are_reported_together(scene: Scene) -> None:
    site, owner = scene.site, scene.owner
    no_events = {"non_field_errors": ["Please specify list of event_types or event_groups."]}
    url = {"destination_url": scene.endpoint.url}
    cases: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        (WEB, url, no_events),
        (WEB, {**url, "event_types": [], "event_groups": []}, no_events),
        (
            WEB,
            {"event_types": ["nothing"], "event_groups": ["users", "x"], "content_type": "xml"},
            {
                "destination_url": ["This field is required."],
                "event_types": ['"nothing" is not a valid choice.'],
                "event_groups": ['"x" is not a valid choice.'],
                "content_type": ['"xml" is not a valid choice.'],
            },
        ),
        (
            EMAIL,
            {"email": "nobody"},
            {"email": ["Enter a valid email address."], **no_events},
        ),
        # Nobody is sent e-mails that somebody else asked for.
        (
            EMAIL,
            {"email": scene.stranger.email, "event_groups": ["users"]},
            {"email": ["Only staff can enter the address of somebody else."]},
        ),
    ]
    wrong = "Enter an https URL without a user name."
    internal = "This is an internal address."
    for destination, message in (
        ("ftp://93.184.215.14/", wrong),
        ("http://93.184.215.14/", wrong),
        ("https://a:b@93.184.215.14/", wrong),
        ("https://93.184.215.14/#x", wrong),
        ("https://", wrong),
        ("https://127.0.0.1/", internal),
        ("https://[::1]/", internal),
        ("https://169.254.169.254/latest", internal),
        ("https://10.0.0.1:8443/", internal),
        ("https://localhost/", internal),
        ("https://nowhere.invalid/", "The host of this URL has no address."),
    ):
        body = {"destination_url": destination, "event_groups": ["users"]}
        cases.append((WEB, body, {"destination_url": [message]}))
    for path, body, expected in cases:
        response = site.post(path, owner, json=body)
        assert (response.status_code, response.json()) == (400, expected), body
    web = scene.add_web(owner, "users")
    changes: tuple[dict[str, Any], ...] = (
        {"event_groups": []},
        {"destination_url": "https://127.0.0.1/"},
    )
    for body in changes:
        assert site.request("PATCH", web["url"], owner, json=body).status_code == 400
    assert site.get(web["url"], owner).json() == web
    # Staff may send e-mails to a mailing list.
    scene.add_email(scene.world.staff, "mails", email="team@example.org")


@sqlite_only
def test_account_has_a_limited_number_of_hooks(scene: Scene) -> None:
    for _ in range(5):
        scene.add_web(scene.owner, "users")
    body = {"email": scene.owner.email, "event_groups": ["users"]}
    response = scene.site.post(EMAIL, scene.owner, json=body)
    assert response.status_code == 400
    assert response.json() == ["You have 5 hooks; no more can be added."]
