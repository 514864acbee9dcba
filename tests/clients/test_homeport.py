"""Every request that Waldur's official front end (HomePort) made on a walk through its pages.

``homeport.json`` has the recorded requests, and what the service answered then: a third was absent.
They are sent again, as a browser sends them from the same origin below a proxy, and from another
one: to the application in this process, and through nginx with the snippet of ``docs/waldur.md``.
What the front end reads of each answer is asserted by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import httpx
import pytest

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.agreements import actions as agreement_actions
from collegium.api.waldur.homeport import EMPTY
from collegium.db.database import Database
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals
from collegium.reviews import actions as review_actions
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from tests.accounts.test_pictures import image
from tests.conftest import KEY
from tests.support.hooks import DESTINATION, add_hook
from tests.support.proxies import start_nginx
from tests.support.remote import new_key
from tests.support.serving import Service, free_port
from tests.support.site import Site
from tests.support.world import Person, World

REQUESTS: Final = json.loads(Path(__file__).with_name("homeport.json").read_text())["requests"]
FRONT: Final = "https://portal.example.org"
PAGE: Final = Path(__file__).parents[2] / "docs" / "waldur.md"
PASSWORD: Final = "purple-tram-lifts-9"
NEEDS_PROVIDER: Final = {"POST /api/identity-providers/"}
"""A provider must answer; ``sign_in/test_identity_providers.py`` has one."""

_PERSON: Final = "url uuid username full_name email image"
_SCOPED: Final = "uuid created role_name role_description scope_uuid scope_name scope_type"
# What the pages read of each answer: of an object, or of the first one of a list.
NEEDS: Final = {
    "/api/users/me/": f"{_PERSON} first_name last_name native_name phone_number organization "
    "job_title is_staff is_support is_active agreement_date token_lifetime notifications_enabled "
    "preferred_language registration_method identity_provider_name date_joined slug "
    "permissions",
    "/api/users/": f"{_PERSON} is_active is_staff is_support date_joined organization",
    "/api/users/{uuid}/": f"{_PERSON} first_name last_name phone_number job_title permissions",
    "/api/users/{uuid}/token/": "token created user_token_lifetime",
    "/api/customers/": "url uuid name abbreviation slug email created users_count projects_count "
    "image blocked archived",
    "/api/customers/{uuid}/": "url uuid name abbreviation slug email phone_number contact_details "
    "country country_name address homepage description projects projects_count users_count image "
    "access_subnets organization_groups customer_credit is_service_provider "
    "call_managing_organization_uuid payment_profiles max_service_accounts display_name",
    "/api/customers/{uuid}/users/": f"{_PERSON} role_name projects expiration_time",
    "/api/customers/{uuid}/stats/": "components",
    "/api/customers/countries/": "label value",
    "/api/projects/": "url uuid name customer customer_uuid customer_name created end_date "
    "resources_count image is_industry",
    "/api/projects/{uuid}/": "url uuid name slug description customer customer_uuid customer_name "
    "created start_date end_date end_date_requested_by type is_industry oecd_fos_2007_code "
    "is_removed image marketplace_resource_count kind",
    "/api/projects/{uuid}/list_users/": "uuid user_uuid user_full_name user_email user_username "
    "user_image role_name role_uuid created expiration_time",
    "/api/projects/{uuid}/stats/": "components",
    "/api/roles/": "uuid name description content_type permissions is_system_role is_active "
    "users_count",
    "/api/user-permissions/": "user_uuid role_name role_uuid scope_uuid scope_name scope_type "
    "expiration_time created customer_uuid customer_name",
    "/api/user-invitations/": f"{_SCOPED} url email state expires created_by_full_name "
    "customer_uuid customer_name extra_invitation_text execution_state error_message",
    "/api/user-invitations/{uuid}/details/": "email state role_name role_description scope_type "
    "scope_name scope_uuid created_by_full_name created_by_username",
    "/api/user-group-invitations/": f"{_SCOPED} url is_active expires created_by_full_name "
    "created_by_username customer_uuid auto_create_project project_name_template is_public "
    "user_affiliations user_email_patterns",
    "/api/user-group-invitations/{uuid}/": f"{_SCOPED} is_active expires",
    "/api/user-permission-requests/": "url uuid invitation state created created_by_full_name "
    "created_by_username created_by_email reviewed_by_full_name reviewed_at review_comment "
    "scope_uuid scope_name role_name role_description",
    "/api/keys/": "url uuid name public_key fingerprint_md5 fingerprint_sha256 type is_shared",
    "/api/events/": "uuid created event_type message context",
    "/api/events/event_groups/": "invitations",
    "/api/auth-tokens/": "url created user_first_name user_last_name user_username user_is_active",
    "/api/daily-quotas/": "nc_user_count",
    "/api/identity-providers/": "provider label is_active",
    "/api/notification-messages-templates/": "path content",
    "/api/user-agreements/": "uuid content agreement_type",
    "/api/customer-permissions-reviews/": "uuid is_pending created closed reviewer_full_name "
    "customer_uuid customer_name",
    "/api/hooks/": "uuid url is_active event_types event_groups hook_type",
    "/api/configuration/": "LANGUAGES LANGUAGE_CODE FEATURES WALDUR_CORE WALDUR_SUPPORT "
    "WALDUR_AUTH_SOCIAL WALDUR_MARKETPLACE",
}


class Requests(Protocol):
    """Sends requests to a service."""

    def request(
        self,
        method: str,
        path: str,
        who: Person | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a request as a person, or as nobody."""


class Walk:
    """The objects of a walk through the pages, and the requests of a browser.

    Args:
        front: URL of the front end.
        headers: what the browser, and a proxy before the service, add to each request.
    """

    def __init__(
        self, site: Requests, world: World, headers: dict[str, str], front: str = FRONT
    ) -> None:
        self._site, self._headers, self.front = site, headers, front
        self.done: set[str] = set()
        self.world = world
        self.staff, self.owner = world.staff, world.person("owner")
        self.member, self.guest = world.person("member"), world.person("guest")
        self.organisation = world.organisation("The Institute", owner=self.owner)
        self.project = world.project(self.organisation, "Engine")
        self.empty = world.organisation("Empty")
        self.unused = world.project(self.organisation, "Unused")
        world.give_role(self.member, "PROJECT.MEMBER", self.project)
        self.role = world.role("PROJECT.MEMBER").uuid
        self.link = world.create_link(self.owner, "PROJECT.ADMIN", self.project)
        self.request = world.ask(self.guest, self.link)
        self.invitation = self.invite(self.guest.email)
        world.provider()
        with world.database.write() as tx:
            key = parse(new_key())
            self.key = ssh_key_actions.create(tx, self.owner.actor, key, "of the owner")
            text = {"kind": "privacy", "content": "We keep little."}
            agreement_actions.publish(tx, self.staff.actor, text)
            for person in (self.staff, self.owner, self.member):
                add_hook(tx, person)
        with world.database.write(datetime.now(UTC) + timedelta(days=2)) as tx:
            assert review_actions.open_review(tx, self.organisation.id, timedelta(days=1))
        shown = site.request(
            "PATCH",
            f"/api/users/{self.owner.uuid}/",
            self.staff,
            headers,
            files={"image": ("me.png", image(), "image/png")},
        ).json()
        self.picture = shown["image"].rstrip("/").rpartition("/")[2]

    def invite(self, email: str) -> str:
        """Return the UUID of a new invitation."""
        return self.world.invite(self.owner, email, "PROJECT.MEMBER", self.project)

    def send(
        self, method: str, url: str, caller: Person | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request as the front end does, after the preflight that a browser sends."""
        origin = {"Origin": self._headers["Origin"]} if "Origin" in self._headers else {}
        if origin:
            asked = {
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "authorization,content-type",
            }
            preflight = self._site.request("OPTIONS", url, headers={**self._headers, **asked})
            assert preflight.is_success
            self._check_cors(preflight, "access-control-allow-methods", method)
        response = self._site.request(method, url, caller, headers=self._headers, **options)
        if origin:
            self._check_cors(response, "access-control-expose-headers", "X-Result-Count")
        return response

    def _check_cors(self, response: httpx.Response, header: str, word: str) -> None:
        assert response.headers["access-control-allow-origin"] == self.front
        assert word in response.headers[header].split(", ")

    def send_read(self, method: str, path: str, names: list[str]) -> httpx.Response:
        """Send a recorded GET or HEAD request, with a value for each recorded parameter."""
        objects = {
            "/api/users/": self.member.uuid,
            "/api/customers/": self.organisation.uuid,
            "/api/projects/": self.project.uuid,
            "/api/user-invitations/": self.invitation,
            "/api/user-group-invitations/": self.link,
            "/api/media/": self.picture,
        }
        url = path.replace("{uuid}", objects.get(path.partition("{")[0], ""))
        pairs = [pair for name in names for pair in self._parameters(path, name)]
        # Details of an invitation are for the invited person, all else is shown to staff.
        caller = self.guest if path.endswith("details/") else self.staff
        return self.send(method, f"{url}?{urlencode(pairs)}" if pairs else url, caller)

    def _parameters(self, path: str, name: str) -> list[tuple[str, str]]:
        if name == "field":
            return [(name, field) for field in ("url", "uuid", "name")]
        by_name = {
            "page": "1",
            "page_size": "10",
            "o": "concatenated_name" if path.endswith("users/") else "-created",
            "user_uuid": self.owner.uuid,
            "user": self.owner.uuid,
            "username": "member",
            "author_uuid": self.staff.uuid,
            "created_by": self.guest.uuid,
            "customer": self.organisation.uuid,
            "customer_uuid": self.organisation.uuid,
            "project_uuid": self.project.uuid,
            "scope_uuid": self.project.uuid,
            "scope": f"http://collegium.test{self.project.path}",
            "invitation": self.link,
            "is_active": "true",
            "is_pending": "true",
            "state": "pending",
            "event_type": "role_granted",
            "feature": "permissions",
            "quota_names": "nc_user_count",
            "start": (datetime.now(UTC) - timedelta(days=30)).date().isoformat(),
            "for_current_month": "true",
            "name": "invitation_created" if "templates" in path else "",
            "email": self.guest.email,
        }
        return [(name, by_name.get(name, ""))]

    def send_write(
        self, name: str, caller: Person | None, uuid: str = "", /, **body: object
    ) -> Any:
        """Send a recorded write by its name; return the parsed response."""
        method, path = name.split()
        sent = {"json": body} if body or method == "POST" else {}
        response = self.send(method, path.replace("{uuid}", uuid), caller, **sent)
        assert response.is_success, (name, response.text)
        self.done.add(name)
        return response.json() if response.content else None

    def signed(self, purpose: str) -> str:
        """Return the token of a link that decides about a new invitation."""
        world, settings = self.world, replace(self.world.settings, only_staff_can_invite_users=True)
        actor, role = self.owner.actor, world.role("PROJECT.MEMBER")
        details = {"email": f"{purpose}@example.org"}
        with world.database.write() as tx:
            place = access_queries.get_visible(tx, actor, ScopeKind.PROJECT, self.project.uuid)
            uuid = invitation_actions.create(tx, actor, settings, place, role, details)
            return world.vault.sign(purpose, self.staff.uuid, uuid, 1, int(tx.now.timestamp()))

    def send_writes_of_scopes(self) -> None:
        """Send what changes accounts, organisations, projects and roles."""
        staff, owner, member, world = self.staff, self.owner, self.member, self.world
        ownership = {"role": world.role("CUSTOMER.OWNER").uuid, "user": member.uuid}
        membership = {"role": world.role("PROJECT.MEMBER").uuid, "user": self.guest.uuid}
        custom = {"content_type": "project", "permissions": []}
        send = self.send_write

        account = send("POST /api/users/", staff, username="signer", email="s@example.org")
        self.done.clear()  # it was not recorded
        path = f"/api/users/{account['uuid']}/change_password/"
        self.send("POST", path, staff, json={"new_password": PASSWORD})
        entered = send("POST /api-auth/password/", None, username="signer", password=PASSWORD)
        assert set(entered) == {"token"}
        send("POST /api-auth/logout/", world.person())
        other = world.person().id
        assert self.send("DELETE", f"/api/auth-tokens/{other}/", staff).is_success
        self.done.add("DELETE /api/auth-tokens/5/")

        send("POST /api/customers/", staff, name="New")
        send("PATCH /api/customers/{uuid}/", owner, self.organisation.uuid, abbreviation="INST")
        send("DELETE /api/customers/{uuid}/", staff, self.empty.uuid)
        send("POST /api/customers/{uuid}/add_user/", staff, self.organisation.uuid, **ownership)
        send("POST /api/customers/{uuid}/delete_user/", staff, self.organisation.uuid, **ownership)
        send("POST /api/projects/", owner, name="Lab", customer=self.organisation.path)
        send("PATCH /api/projects/{uuid}/", owner, self.project.uuid, name="Renamed")
        send("DELETE /api/projects/{uuid}/", owner, self.unused.uuid)
        for step, details in (
            ("add", {}),
            ("update", {"expiration_time": "2099-01-01T00:00:00Z"}),
            ("delete", {}),
        ):
            name = f"POST /api/projects/{{uuid}}/{step}_user/"
            send(name, owner, self.project.uuid, **membership, **details)
        send("POST /api/projects/{uuid}/sync_user_roles/", owner, self.project.uuid)
        role = send("POST /api/roles/", staff, name="CUSTOM.NEW", **custom)["uuid"]
        send("PUT /api/roles/{uuid}/", staff, role, name="CUSTOM.OTHER", **custom)
        send("POST /api/roles/{uuid}/enable/", staff, role)
        send("PUT /api/roles/{uuid}/update_descriptions/", staff, role, description="Other")

    def send_writes_of_people(self) -> None:
        """Send what changes invitations, requests, profiles and keys."""
        owner, member, world, send = self.owner, self.member, self.world, self.send_write
        offer = {"role": world.role("PROJECT.MEMBER").uuid, "scope": self.project.path}
        first, second = (world.ask(world.person(), self.link) for _ in range(2))
        invitations, requests = "/api/user-invitations/", "/api/user-permission-requests/"
        text = {"email": "somebody@example.org", "extra_invitation_text": "Hello"}
        send(f"POST {invitations}", owner, **offer, **text)
        send(f"POST {invitations}approve/", None, token=self.signed(approvals.APPROVE))
        send(f"POST {invitations}reject/", None, token=self.signed(approvals.REJECT))
        send(f"POST {invitations}{{uuid}}/send/", owner, self.invite("other@example.org"))
        send(f"POST {invitations}{{uuid}}/cancel/", owner, self.invite("other@example.org"))
        send(f"POST {invitations}{{uuid}}/accept/", self.guest, self.invitation)
        links = "/api/user-group-invitations/"
        send(f"POST {links}", owner, **offer)
        send(f"POST {links}{{uuid}}/submit_request/", world.person(), self.link)
        send(f"POST {requests}{{uuid}}/approve/", owner, first, comment="Welcome")
        send(f"POST {requests}{{uuid}}/reject/", owner, second, comment="Sorry")
        send(f"POST {links}{{uuid}}/cancel/", owner, self.link)

        profile = {"job_title": "Countess", "agree_with_policy": True}
        send("PATCH /api/users/{uuid}/", member, member.uuid, **profile)
        email = "new@example.org"
        send("POST /api/users/{uuid}/change_email/", member, member.uuid, email=email)
        with world.database.read() as tx:
            change: Any = email_change_queries.of_account(tx, member.id)
        code = world.vault.derive_code(member.id, email, change.created_at.isoformat())
        send("POST /api/users/confirm_email/", None, code=code)
        send("POST /api/keys/", member, name="laptop", public_key=new_key())
        send("DELETE /api/keys/{uuid}/", owner, self.key)
        hook = {"destination_url": DESTINATION, "event_groups": ["users"]}
        send("POST /api/hooks-web/", owner, **hook)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("is_same_origin", [True, False])
def test_every_request_of_the_walk_succeeds(
    make_site: Callable[[Settings], Site],
    make_settings: Callable[..., Settings],
    world: World,
    *,
    is_same_origin: bool,
) -> None:
    host = FRONT.removeprefix("https://")
    if is_same_origin:
        settings = make_settings(base_url=FRONT, homeport_url=FRONT, trusted_proxies="127.0.0.1")
        headers = {"X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
    else:
        settings = make_settings(homeport_url=FRONT)
        headers = {"Origin": FRONT}
    base = FRONT if is_same_origin else "http://collegium.test"
    check_walk(Walk(make_site(settings), world, headers), base)


def check_walk(walk: Walk, base: str, *, reads_all: bool = True) -> None:
    """Send every recorded request again, and look for what the front end reads.

    Args:
        base: public URL of the service.
        reads_all: whether to ask again without ``field``, to see all that the front end can read.
    """
    writes = set()
    for request in REQUESTS:
        method, path = request["method"], request["path"]
        if method not in {"GET", "HEAD"}:
            writes.add(f"{method} {path}")
            continue
        check_read(walk, request, base, reads_all=reads_all)
    walk.send_writes_of_scopes()
    walk.send_writes_of_people()
    assert walk.done == writes - NEEDS_PROVIDER


def check_read(walk: Walk, request: dict[str, Any], base: str, *, reads_all: bool) -> None:
    """Send a recorded GET or HEAD request again; the arguments are those of ``check_walk``."""
    method, path, query = request["method"], request["path"], request["query"]
    response = walk.send_read(method, path, query)
    assert response.status_code == 200, (method, path, response.text)
    if method == "HEAD" or EMPTY.get(path) == []:
        assert response.headers["x-result-count"].isdigit(), path
    if method == "HEAD":
        assert response.content == b""
    elif path.startswith(("/api/media/", "/api/icons/")):
        assert response.headers["content-type"].startswith("image/")
    elif path in EMPTY:
        assert response.json() == EMPTY[path]
    elif "field" not in query or reads_all:
        if "field" in query:
            names = [name for name in query if name != "field"]
            response = walk.send_read(method, path, names)
        shown = response.json()
        assert shown, f"{path} shows nothing"
        shown = shown[0] if isinstance(shown, list) else shown
        assert path in NEEDS, f"name what the front end reads of {path}"
        assert set(NEEDS[path].split()) <= set(shown), path
        assert shown.get("url", base).startswith(base)


class Proxied:
    """Sends requests to a proxy on this machine."""

    def __init__(self, base: str) -> None:
        self.client = httpx.Client(base_url=base, timeout=20)

    def request(
        self,
        method: str,
        path: str,
        who: Person | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        token = {} if who is None else {"Authorization": f"Token {who.token}"}
        return self.client.request(method, path, headers=token | (headers or {}), **options)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("is_same_origin", [True, False])
def test_every_request_of_the_walk_succeeds_through_nginx(
    new_sqlite: str,
    make_settings: Callable[..., Settings],
    tmp_path: Path,
    *,
    is_same_origin: bool,
) -> None:
    """The front end is on the origin of the service, or on another port."""
    pages = tmp_path / "homeport"
    pages.mkdir()
    (pages / "index.html").write_text("<!doctype html><title>HomePort</title>")
    port, other = free_port(), free_port()
    base = f"http://127.0.0.1:{port}"
    front = base if is_same_origin else f"http://127.0.0.1:{other}"
    values = {
        "database_url": new_sqlite,
        "secret_key": KEY,
        "base_url": base,
        "homeport_url": front,
        "trusted_proxies": "127.0.0.1",
        "mail_url": f"file:{tmp_path}/mail",
    }
    service = Service(tmp_path, values)
    part = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    for old, new in (("/srv/homeport", str(pages)), (":8000;", f":{service.port};")):
        assert old in part
        part = part.replace(old, new)
    database = Database(new_sqlite)
    with closing(database), start_nginx(tmp_path, {port: part, other: part}):
        try:
            service.start("--no-worker")
            proxied = Proxied(base)
            for path in ("/", "/organizations/x/dashboard/"):
                assert "HomePort" in httpx.get(front + path).text
            world = World(database, make_settings(**values), Vault(KEY))
            headers = {} if is_same_origin else {"Origin": front}
            check_walk(Walk(proxied, world, headers, front), base, reads_all=False)
            proxied.client.close()
        finally:
            service.stop()
