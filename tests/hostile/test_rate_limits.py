"""Rate limits count by account or by client address, across all workers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import httpx
import pytest

from collegium.api.brainstem.routes import ROUTES as BRAINSTEM
from collegium.api.waldur.routes import ROUTES as WALDUR
from collegium.db.database import Database
from collegium.invitations import links
from collegium.security.crypto import hash_password
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.security.rate_limits.rules import RateLimit
from collegium.settings import Settings
from collegium.web.routes import ROUTES as WEB
from tests.groups.scene import Groups
from tests.sign_in.identity_scene import add_provider
from tests.support.browser import Browser
from tests.support.site import Site
from tests.support.world import Person, World

FEW = RateLimit(3, timedelta(minutes=1), timedelta(hours=1), timedelta(hours=1))
MAXIMUM = 60
"""Attempts without a refusal after which there is no rate limit."""


@dataclass(frozen=True)
class Attack:
    """Two workers, an account that tries again and again, and another account.

    Args:
        created: objects of an account that are created once, by kind and account number.
        number: a counter for unique values.
    """

    site: Site
    other: Site
    world: World
    ada: Person
    bob: Person
    created: dict[tuple[str, int], Any]
    number: Iterator[int]

    def create_once(self, kind: str, caller: Person, create: Callable[[], Any]) -> Any:
        if (kind, caller.id) not in self.created:
            self.created[kind, caller.id] = create()
        return self.created[kind, caller.id]

    def post(
        self, site: Site, path: str, caller: Any, address: str, **options: Any
    ) -> httpx.Response:
        return site.post(path, caller, headers={"X-Forwarded-For": address}, **options)

    def page(
        self, site: Site, path: str, caller: Any, address: str, **fields: Any
    ) -> httpx.Response:
        """Send a form with its token."""
        browser = Browser(site)
        if caller is None:
            browser.open("/sign_in/")
        else:
            browser.sign_in(self.world, caller)
        (secret,) = browser.cookies.values()
        fields["csrf"] = self.world.vault.derive_code("form", secret)
        headers = {"X-Forwarded-For": address}
        return browser.call("POST", path, data=fields, headers=headers)


@pytest.fixture
def attack(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    url: str,
) -> Iterator[Attack]:
    """Two workers on one database, behind a proxy that sends the client address."""
    settings = make_settings(trusted_proxies="127.0.0.1")
    database = Database(url)
    other = Site(settings, database, world.vault)
    ada, bob = (world.person(name, password=hash_password(f"{name} 41 sails")) for name in "ab")
    yield Attack(make_site(settings), other, world, ada, bob, {}, count())
    database.close()


def log_in(path: str, name: str) -> Any:
    def action(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
        body: dict[str, Any] = {name: caller.actor.username, "password": "wrong"}
        return attack.post(site, path, None, address, json=body)

    return action


def sign_in(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    fields = {"username": caller.actor.username, "password": "wrong"}
    return attack.page(site, "/sign_in/", None, address, **fields)


def old_password(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    new = {"password": "purple-tram-lifts-9", "again": "purple-tram-lifts-9"}
    return attack.page(site, "/account/password/", caller, address, current="wrong", **new)


def code(path: str, field: str, text: str = "0" * 32) -> Any:
    def action(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
        return attack.post(site, path, None, address, json={field: text})

    return action


def check(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    path = f"/api/user-invitations/{next(attack.number):032x}/check/"
    return attack.post(site, path, None, address)


def page_of(path: str, **fields: str) -> Any:
    def action(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
        return attack.page(site, path, None, address, **fields)

    return action


def device(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    return attack.post(site, "/api/auth/device/", None, address, json={})


def user_code(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    fields = {"action": "find", "code": f"BCDF-{next(attack.number):04}"}
    return attack.page(site, "/account/authorize/", caller, address, **fields)


def project(attack: Attack, caller: Person) -> Any:
    world = attack.world
    return attack.create_once(
        "project", caller, lambda: world.project(world.organisation(owner=caller))
    )


def invite(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    body = {
        "scope": project(attack, caller).path,
        "role": attack.world.role("PROJECT.MEMBER").uuid,
        "email": f"new{next(attack.number)}@example.org",
    }
    return attack.post(site, "/api/user-invitations/", caller, address, json=body)


def invite_on_page(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    fields = {
        "action": "send",
        "role": attack.world.role("PROJECT.MEMBER").uuid,
        "addresses": f"new{next(attack.number)}@example.org",
    }
    path = f"/project/{project(attack, caller).uuid}/invite/"
    return attack.page(site, path, caller, address, **fields)


def invite_to_group(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    groups = Groups(attack.world, site)
    group = attack.create_once("group", caller, lambda: groups.create(caller, f"Lab {caller.id}"))
    invited = attack.world.person()
    path = f"/api/private/users/group/{group}/"
    headers = {"X-Forwarded-For": address}
    body: dict[str, Any] = {"users": {invited.email: {}}}
    return site.request("PATCH", path, caller, headers=headers, json=body)


def add_to_group(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    groups, invited = Groups(attack.world, site), attack.world.person()
    group = attack.create_once("group", caller, lambda: groups.create(caller, f"Lab {caller.id}"))
    # An account is found by those who share a scope with it.
    attack.world.give_role(invited, "PROJECT.MEMBER", project(attack, caller))
    fields = {"account": invited.uuid, "role": attack.world.role("GROUP.MEMBER").uuid}
    return attack.page(site, f"/group/{group}/team/add/", caller, address, **fields)


def send(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    """Resend another invitation each time: the account is counted."""
    scope = project(attack, caller)
    uuid = attack.world.invite(
        caller, f"n{next(attack.number)}@example.org", "PROJECT.MEMBER", scope
    )
    return attack.post(site, f"/api/user-invitations/{uuid}/send/", caller, address)


def send_one(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    scope, world = project(attack, caller), attack.world
    uuid = attack.create_once(
        "invited", caller, lambda: world.invite(caller, "n@example.org", "PROJECT.MEMBER", scope)
    )
    return attack.post(site, f"/api/user-invitations/{uuid}/send/", caller, address)


def ask(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    staff = attack.world.staff
    uuid = attack.world.create_link(staff, "PROJECT.MEMBER", project(attack, staff))
    return attack.page(site, f"/open_invitation/{uuid}/", caller, address)


def join(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    group = Groups(attack.world, site).create(attack.world.staff, f"Lab {next(attack.number)}")
    return attack.page(site, f"/group/{group}/", caller, address)


def sign_up(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    """Try user names in the form of one invitation."""
    scope, world = project(attack, caller), attack.world

    def mailed() -> str:
        uuid = world.invite(caller, f"u{caller.id}@example.org", "PROJECT.MEMBER", scope)
        row: Any = world.invitation(uuid)
        return world.vault.sign(links.MAILED, row.uuid, row.link_version)

    link = attack.create_once("link", caller, mailed)
    fields = {
        "username": "b",
        "first_name": "A",
        "last_name": "B",
        "own_address": "yes",
        "agrees": "yes",
        "password": "purple-tram-lifts-9",
        "again": "purple-tram-lifts-9",
    }
    return attack.page(site, f"/invitation/{link}/", None, address, **fields)


def reset(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    return attack.page(site, "/forgotten_password/", None, address, email=caller.email)


def address_change(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    body = {"email": f"n{next(attack.number)}@example.org"}
    return attack.post(site, f"/api/users/{caller.uuid}/change_email/", caller, address, json=body)


def come_back(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    """Come back from an identity provider without having been sent there."""
    _add_provider_once(attack)
    headers = {"X-Forwarded-For": address}
    return site.get("/api-auth/campus/complete/?state=x", headers=headers)


def log_out_at_provider(attack: Attack, site: Site, caller: Person, address: str) -> httpx.Response:
    _add_provider_once(attack)
    return attack.post(site, "/api-auth/campus/backchannel-logout/", None, address)


def _add_provider_once(attack: Attack) -> None:
    # An internal address, so that nothing is asked.
    attack.create_once(
        "provider",
        attack.world.staff,
        lambda: add_provider(attack.world, issuer="http://127.0.0.1:9"),
    )


# Each action, and whether it is counted by account, by address, or by both.
ACTIONS: dict[str, tuple[Any, str]] = {
    "log in": (log_in("/api-auth/password/", "username"), "both"),
    "log in, brainstem": (log_in("/api/token/", "username"), "both"),
    "log in, token pair": (log_in("/api/auth/token/", "email"), "both"),
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
    "unsubscribe": (page_of("/unsubscribe/x/"), "address"),
    "approve on page": (page_of("/invitation_approve/x/"), "address"),
    "set-up link": (page_of("/setup/x/"), "address"),
    "password link": (page_of("/password_reset/x/"), "address"),
    "invitation link": (page_of("/invitation/x/"), "address"),
    "decline": (page_of("/invitation/x/decline/"), "address"),
    "token exchange": (code("/api-auth/token-exchange/", "code"), "address"),
    "come back from a provider": (come_back, "address"),
    "logout token": (log_out_at_provider, "address"),
    "accept with a provider": (page_of("/invitation/x/provider/"), "address"),
    "check": (check, "address"),
    "sign up": (sign_up, "account"),
    "forgotten password": (reset, "both"),
    "invite": (invite, "both"),
    "invite on page": (invite_on_page, "both"),
    "invite to group": (invite_to_group, "both"),
    "add to group": (add_to_group, "both"),
    "send": (send, "both"),
    "send one": (send_one, "account"),
    "ask": (ask, "both"),
    "join": (join, "both"),
    "change address": (address_change, "account"),
}
FROM = "192.0.2.1"


def lower_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    record = rate_limit_queries.record_failure

    def record_lower(tx: Any, subject: str, limit: RateLimit, failures: int = 1) -> Any:
        return record(tx, subject, FEW if limit.allowed > FEW.allowed else limit, failures)

    monkeypatch.setattr(rate_limit_queries, "record_failure", record_lower)


@pytest.mark.parametrize(
    ("url", "name"),
    # One module counts: each action runs on one database, and some on both.
    [("sqlite", name) for name in ACTIONS] + [("postgresql", "log in"), ("postgresql", "invite")],
    indirect=["url"],
)
def test_repeated_attempts_are_rate_limited(
    attack: Attack, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    action, by = ACTIONS[name]
    lower_limits(monkeypatch)
    tried = 0
    while (response := action(attack, attack.site, attack.ada, FROM)).status_code != 429:
        tried += 1
        assert response.status_code < 500
        if tried == MAXIMUM:
            break
    assert (
        response.status_code == 429 or "locked out" in response.text or "too many" in response.text
    )
    assert tried >= FEW.allowed
    if response.status_code == 429:
        assert 0 < int(response.headers["retry-after"]) <= 3600
    # The other worker refuses too. Others can go on.
    repeated = action(attack, attack.other, attack.ada, FROM)
    assert repeated.status_code == response.status_code, repeated.text
    elsewhere = "198.51.100.7"
    assert action(attack, attack.other, attack.bob, elsewhere).status_code != 429
    if by == "account":
        assert action(attack, attack.site, attack.ada, elsewhere).status_code == 429
    if by == "address":
        assert action(attack, attack.site, attack.bob, FROM).status_code == 429


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("check", "invitation link"),
        ("approve", "approve on page"),
        ("address code", "address code on page"),
        ("device code", "user code"),
        ("invite", "invite on page"),
        ("invite", "invite to group"),
        ("invite", "add to group"),
        ("log in", "sign in"),
    ],
)
def test_no_other_protocol_has_another_budget(
    attack: Attack, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    lower_limits(monkeypatch)
    action, other = ACTIONS[first][0], ACTIONS[second][0]
    statuses = [
        action(attack, attack.site, attack.ada, FROM).status_code for _ in range(FEW.allowed + 1)
    ]
    assert 429 not in statuses
    refused = other(attack, attack.other, attack.ada, FROM)
    assert refused.status_code == 429 or "too many" in refused.text.lower()
    # The network has used its budget too, for every account in it.
    assert other(attack, attack.other, attack.bob, FROM).status_code == 429


def test_addresses_of_one_ipv6_network_are_one_client(attack: Attack) -> None:
    statuses = [
        check(attack, attack.site, attack.ada, f"2001:db8:0:7::{number:x}").status_code
        for number in range(12)
    ]
    assert statuses == [404] * 11 + [429]
    assert check(attack, attack.site, attack.ada, "2001:db8:0:8::1").status_code == 404
    mapped = [check(attack, attack.site, attack.ada, f"::ffff:192.0.2.{n}") for n in range(12)]
    assert {response.status_code for response in mapped} == {404}


def test_invitations_of_staff_are_not_limited(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower_limits(monkeypatch)
    for _ in range(6):
        assert invite(attack, attack.site, attack.world.staff, FROM).status_code == 201


def test_first_attempt_delays_no_request_that_began_before_it(database: Database) -> None:
    limit = RateLimit(1, *[timedelta(minutes=1)] * 3)
    with database.write() as tx:
        for number in range(3):
            rate_limit_queries.record_failure(tx, f"subject {number}", limit, number + 1)
        at = tx.now
    with database.read(at - timedelta(milliseconds=5)) as tx:
        waiting = rate_limit_queries.blocked_until(tx, [f"subject {number}" for number in range(3)])
    assert set(waiting) == {"subject 1", "subject 2"}


def test_every_public_write_is_rate_limited() -> None:
    """Every public route that writes is in the table above."""
    public = {
        path
        for table in (BRAINSTEM, WALDUR, WEB)
        for path, operations in table.items()
        for method, operation in operations.items()
        if operation.public and method not in {"GET", "HEAD"} and "laboratory" not in path
    }
    assert public == {
        *("/api-auth/token-exchange/", "/api-auth/{provider}/backchannel-logout/"),
        *("/api-auth/password/", "/api/token/", "/api/auth/token/", "/api/auth/token/refresh/"),
        *("/api/auth/device/", "/api/auth/device/token/", "/api/users/confirm_email/"),
        *(f"/api/user-invitations/{action}/" for action in ("approve", "reject", "{uuid}/check")),
        *(f"/api/passkeys/{name}/" for name in ("signin/begin", "signin/finish")),
        *(f"/api/passkeys/{name}/" for name in ("mfa/begin", "mfa/finish")),
        *("/sign_in/passkey/", "/sign_in/link/", "/identity_link/{token}/"),
        "/setup/{token}/",
        *("/sign_in/", "/sign_in/code/", "/forgotten_password/", "/password_reset/{token}/"),
        *("/user_email_change/{code}/", "/user_email_change_cancel/{code}/"),
        *("/invitation/{token}/", "/invitation/{token}/decline/"),
        *("/invitation/{token}/provider/", "/open_invitation/{uuid}/provider/"),
        "/sign_in/provider/",
        "/unsubscribe/{token}/",
        *("/invitation_approve/{token}/", "/invitation_reject/{token}/"),
    }
