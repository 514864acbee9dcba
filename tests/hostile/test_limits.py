"""Whoever tries too often waits: by account, by address, and in every worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import httpx
import pytest

from collegium.api import limits
from collegium.api.request import RequestContext
from collegium.db.database import Database
from collegium.invitations import links
from collegium.security.crypto import hash_password
from collegium.security.rate_limits.rules import RateLimit
from collegium.settings import Settings
from tests.groups.scene import Groups
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import Person, World

FEW = RateLimit(3, timedelta(minutes=1), timedelta(hours=1), timedelta(hours=1))
ENOUGH = 60
"""After so many tries whatever is not stopped has no limit."""


@dataclass(frozen=True)
class Attack:
    """Two workers, somebody who tries again and again, and somebody else.

    Args:
        made: what belongs to a person and is made once: kind and number to it.
        number: a number that was not there before.
    """

    site: Site
    other: Site
    world: World
    ada: Person
    bob: Person
    made: dict[tuple[str, int], Any]
    number: Iterator[int]

    def once(self, kind: str, who: Person, make: Callable[[], Any]) -> Any:
        if (kind, who.id) not in self.made:
            self.made[kind, who.id] = make()
        return self.made[kind, who.id]

    def post(self, site: Site, path: str, who: Any, address: str, **options: Any) -> httpx.Response:
        return site.post(path, who, headers={"X-Forwarded-For": address}, **options)

    def page(self, site: Site, path: str, who: Any, address: str, **fields: Any) -> httpx.Response:
        """Send a form as a browser does that has just opened a page."""
        browser = Browser(site)
        if who is not None:
            browser.sign_in(self.world, who)
            secret = browser.cookies["collegium_session"]
        else:
            browser.open("/sign_in/")
            secret = browser.cookies["collegium_visit"]
        fields["csrf"] = self.world.vault.derive_code("form", secret)
        headers = {"X-Forwarded-For": address}
        return browser.call("POST", path, data=fields, headers=headers)


@pytest.fixture
def attack(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    url: str,
    quick_hashes: None,
) -> Iterator[Attack]:
    """Two workers over one database, behind a proxy that says where a call comes from."""
    settings = make_settings(trusted_proxies="127.0.0.1")
    database = Database(url)
    other = Site(settings, database, world.vault)
    ada, bob = (world.person(name, password=hash_password(f"{name} 41 sails")) for name in "ab")
    yield Attack(make_site(settings), other, world, ada, bob, {}, count())
    other.close()
    database.close()


def log_in(path: str, name: str) -> Any:
    def action(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
        body: dict[str, Any] = {name: who.actor.username, "password": "wrong"}
        return attack.post(site, path, None, address, json=body)

    return action


def sign_in(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    fields = {"username": who.actor.username, "password": "wrong"}
    return attack.page(site, "/sign_in/", None, address, **fields)


def old_password(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    new = {"password": "purple-tram-lifts-9", "again": "purple-tram-lifts-9"}
    return attack.page(site, "/account/password/", who, address, current="wrong", **new)


def code(path: str, field: str, text: str = "0" * 32) -> Any:
    def action(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
        return attack.post(site, path, None, address, json={field: text})

    return action


def check(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    path = f"/api/user-invitations/{next(attack.number):032x}/check/"
    return attack.post(site, path, None, address)


def page_of(path: str, **fields: str) -> Any:
    def action(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
        return attack.page(site, path, None, address, **fields)

    return action


def device(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    return attack.post(site, "/api/auth/device/", None, address, json={})


def user_code(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    fields = {"action": "find", "code": f"BCDF-{next(attack.number):04}"}
    return attack.page(site, "/account/authorize/", who, address, **fields)


def project(attack: Attack, who: Person) -> Any:
    world = attack.world
    return attack.once("project", who, lambda: world.project(world.organisation(owner=who)))


def invite(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    body = {
        "scope": project(attack, who).path,
        "role": attack.world.role("PROJECT.MEMBER").uuid,
        "email": f"new{next(attack.number)}@example.org",
    }
    return attack.post(site, "/api/user-invitations/", who, address, json=body)


def invite_on_page(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    fields = {
        "action": "send",
        "role": attack.world.role("PROJECT.MEMBER").uuid,
        "addresses": f"new{next(attack.number)}@example.org",
    }
    at = f"/project/{project(attack, who).uuid}/invite/"
    return attack.page(site, at, who, address, **fields)


def invite_to_group(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    groups = Groups(attack.world, site)
    group = attack.once("group", who, lambda: groups.found(who, f"Lab {who.id}"))
    invited = attack.world.person()
    path = f"/api/private/users/group/{group}/"
    headers = {"X-Forwarded-For": address}
    body: dict[str, Any] = {"users": {invited.email: {}}}
    return site.request("PATCH", path, who, headers=headers, json=body)


def send(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    """Each time another invitation, so that it is the account that is counted."""
    at = project(attack, who)
    uuid = attack.world.invite(who, f"n{next(attack.number)}@example.org", "PROJECT.MEMBER", at)
    return attack.post(site, f"/api/user-invitations/{uuid}/send/", who, address)


def send_one(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    at, world = project(attack, who), attack.world
    uuid = attack.once(
        "invited", who, lambda: world.invite(who, "n@example.org", "PROJECT.MEMBER", at)
    )
    return attack.post(site, f"/api/user-invitations/{uuid}/send/", who, address)


def ask(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    boss = attack.world.staff
    uuid = attack.world.open(boss, "PROJECT.MEMBER", project(attack, boss))
    return attack.page(site, f"/open_invitation/{uuid}/", who, address)


def join(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    group = Groups(attack.world, site).found(attack.world.staff, f"Lab {next(attack.number)}")
    return attack.page(site, f"/group/{group}/", who, address)


def sign_up(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    """Ask by the form of one invitation which names are taken."""
    at, world = project(attack, who), attack.world

    def mailed() -> str:
        uuid = world.invite(who, f"u{who.id}@example.org", "PROJECT.MEMBER", at)
        row: Any = world.invitation(uuid)
        return world.vault.sign(links.MAILED, row.uuid, row.link_version)

    link = attack.once("link", who, mailed)
    fields = {
        "username": "b",
        "first_name": "A",
        "last_name": "B",
        "agrees": "yes",
        "password": "purple-tram-lifts-9",
        "again": "purple-tram-lifts-9",
    }
    return attack.page(site, f"/invitation/{link}/", None, address, **fields)


def reset(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    return attack.page(site, "/forgotten_password/", None, address, email=who.email)


def address_change(attack: Attack, site: Site, who: Person, address: str) -> httpx.Response:
    body = {"email": f"n{next(attack.number)}@example.org"}
    return attack.post(site, f"/api/users/{who.uuid}/change_email/", who, address, json=body)


# What is tried, and whether it is counted by account, by address, or by both.
ACTIONS: dict[str, tuple[Any, str]] = {
    "log in": (log_in("/api-auth/password/", "username"), "both"),
    "log in, group wire": (log_in("/api/token/", "username"), "both"),
    "log in briefly": (log_in("/api/auth/token/", "email"), "both"),
    "sign in": (sign_in, "both"),
    "old password": (old_password, "both"),
    "refresh": (code("/api/auth/token/refresh/", "refresh"), "address"),
    "device code": (code("/api/auth/device/token/", "device_code"), "address"),
    "device": (device, "address"),
    "user code": (user_code, "address"),
    "address code": (code("/api/users/confirm_email/", "code"), "address"),
    "address code on page": (page_of(f"/user_email_change/{'0' * 32}/"), "address"),
    "address cancel code": (page_of(f"/user_email_change_cancel/{'0' * 32}/"), "address"),
    "approve": (code("/api/user-invitations/approve/", "token", "x"), "address"),
    "approve on page": (page_of("/invitation_approve/x/"), "address"),
    "password link": (page_of("/password_reset/x/"), "address"),
    "invitation link": (page_of("/invitation/x/"), "address"),
    "decline": (page_of("/invitation/x/decline/"), "address"),
    "check": (check, "address"),
    "sign up": (sign_up, "account"),
    "forgotten password": (reset, "both"),
    "invite": (invite, "both"),
    "invite on page": (invite_on_page, "both"),
    "invite to group": (invite_to_group, "both"),
    "send": (send, "both"),
    "send one": (send_one, "account"),
    "ask": (ask, "both"),
    "join": (join, "both"),
    "change address": (address_change, "account"),
}
FROM = "192.0.2.1"


@pytest.mark.parametrize(
    ("url", "name"),
    # Counting is one module's; each action is tried on one database, and some on both.
    [("sqlite", name) for name in ACTIONS] + [("postgresql", "log in"), ("postgresql", "invite")],
    indirect=["url"],
)
def test_who_tries_too_often_waits(
    attack: Attack, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    action, by = ACTIONS[name]
    few = dict.fromkeys(limits._LIMITS, (FEW, FEW))
    monkeypatch.setattr(limits, "_LIMITS", few)
    counted = RequestContext.count_attempt

    def soon(
        context: RequestContext, tx: Any, subject: str, limit: RateLimit, many: int = 1
    ) -> Any:
        # What the limits of each are is a table; that each is asked is what is tried here.
        return counted(context, tx, subject, FEW if limit.allowed > FEW.allowed else limit, many)

    monkeypatch.setattr(RequestContext, "count_attempt", soon)
    tried = 0
    while (answer := action(attack, attack.site, attack.ada, FROM)).status_code != 429:
        tried += 1
        assert answer.status_code < 500
        if tried == ENOUGH:
            break
    assert answer.status_code == 429 or "locked out" in answer.text or "too many" in answer.text
    assert tried >= FEW.allowed
    if answer.status_code == 429:
        assert 0 < int(answer.headers["retry-after"]) <= 3600
    # The other worker knows of it, and nobody else has to wait.
    again = action(attack, attack.other, attack.ada, FROM)
    assert again.status_code == answer.status_code, again.text
    elsewhere = "198.51.100.7"
    assert action(attack, attack.other, attack.bob, elsewhere).status_code != 429
    if by == "account":
        assert action(attack, attack.site, attack.ada, elsewhere).status_code == 429
    if by == "address":
        assert action(attack, attack.site, attack.bob, FROM).status_code == 429


def test_one_who_has_many_addresses_of_ipv6_is_one_caller(attack: Attack) -> None:
    statuses = [
        check(attack, attack.site, attack.ada, f"2001:db8:0:7::{number:x}").status_code
        for number in range(12)
    ]
    assert statuses == [404] * 11 + [429]
    assert check(attack, attack.site, attack.ada, "2001:db8:0:8::1").status_code == 404
    mapped = [check(attack, attack.site, attack.ada, f"::ffff:192.0.2.{n}") for n in range(12)]
    assert {answer.status_code for answer in mapped} == {404}


def test_staff_invite_without_being_counted(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_LIMITS", {limits.INVITE: (FEW, FEW)})
    for _ in range(6):
        assert invite(attack, attack.site, attack.world.staff, FROM).status_code == 201


def test_everything_that_is_posted_by_nobody_is_limited_or_needs_no_limit() -> None:
    """A route that is open and changes something has a row above, or a reason here."""
    from collegium.api.brainstem.routes import ROUTES as GROUPS  # noqa: PLC0415
    from collegium.api.waldur.routes import ROUTES as WALDUR  # noqa: PLC0415
    from collegium.web.routes import ROUTES as PAGES  # noqa: PLC0415

    found = {
        path
        for table in (GROUPS, WALDUR, PAGES)
        for path, operations in table.items()
        for method, operation in operations.items()
        if operation.public and method not in {"GET", "HEAD"} and "laboratory" not in path
    }
    assert found == {
        "/api-auth/password/",
        "/api/token/",
        "/api/auth/token/",
        "/api/auth/token/refresh/",
        "/api/auth/device/",
        "/api/auth/device/token/",
        "/api/users/confirm_email/",
        "/api/user-invitations/approve/",
        "/api/user-invitations/reject/",
        "/api/user-invitations/{uuid}/check/",
        "/sign_in/",
        "/sign_in/code/",
        "/forgotten_password/",
        "/password_reset/{token}/",
        "/user_email_change/{code}/",
        "/user_email_change_cancel/{code}/",
        "/invitation/{token}/",
        "/invitation/{token}/decline/",
        "/invitation_approve/{token}/",
        "/invitation_reject/{token}/",
    }
