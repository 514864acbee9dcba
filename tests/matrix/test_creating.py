"""A form that creates an object carries a one-time number: sent twice, it creates one object."""

import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from collegium.web.page import Page
from tests.matrix import requests
from tests.matrix.rows import ROUTES, ROWS, Row
from tests.matrix.scene import Scene
from tests.support.world import Person

NOT_CREATING: Final = {
    "/sign_in/": "starts a session, which the account can end",
    "/sign_in/code/": "the same",
    "/sign_in/passkey/": "the same",
    "/sign_in/provider/": "begins a sign-in, which works once",
    "/open_invitation/{uuid}/provider/": "the same",
    "/sign_out/": "ends a session",
    "/forgotten_password/": "mails a link, rate limited",
    "/sign_in/link/": "mails a link, rate limited",
    "/identity_link/{token}/": "uses its link up",
    "/invitation/{token}/decline/": "ends an invitation",
    "/invitation/{token}/provider/": "begins a sign-in, which works once",
    "/api-auth/{provider}/backchannel-logout/": "ends sessions",
    "/account/profile/": "changes an object",
    "/account/picture/": "changes an object",
    "/account/address/": "replaces a pending change, rate limited",
    "/account/password/": "changes an object",
    "/account/confirm/": "leads to a provider, rate limited",
    "/account/passkeys/": "uses its ceremony up",
    "/account/keys/{uuid}/remove/": "ends a key",
    "/account/hooks/{uuid}/": "changes an object",
    "/account/tokens/end/": "ends a token",
    "/account/sign_in_methods/": "begins a sign-in, which works once, or ends an identity",
    **{
        f"{base}{page}": reason
        for base in ("/organisation/{uuid}/", "/project/{uuid}/", "/group/{number}/team/")
        for page, reason in (
            ("people/{one}/", "changes an object"),
            ("invitations/{one}/", "mails an invitation again, rate limited"),
            ("links/{one}/", "changes an object"),
            ("reviews/{one}/", "ends a review"),
            ("settings/", "changes an object"),
            ("deleted/{one}/", "works once"),
            ("move/", "changes an object"),
            ("imports/", "the same file is the same import"),
            ("imports/{one}/", "each action has a state"),
            ("bulk/{one}/", "each action has a state"),
        )
    },
    "/staff/accounts/{uuid}/": "changes an object",
    "/staff/organisations/{uuid}/": "changes an object",
    "/staff/organisations/{uuid}/roles/": "an organisation has one copy of a role",
    "/staff/roles/{uuid}/": "changes an object",
    "/staff/providers/{provider}/": "changes an object",
    "/staff/rules/{uuid}/": "changes an object",
    "/unsubscribe/{token}/": "doing it again changes nothing",
    "/account/mails/": "changes an object",
    "/account/agreements/": "agreeing again changes nothing",
    "/staff/agreements/{uuid}/": "changes an object",
    "/staff/mails/": "sends e-mails again, or one to the sender",
    "/setup/{token}/": "uses its link up",
}
"""Pages whose forms create nothing, and the reason."""

# The form to add a member is shown after a search.
SEARCHES: Final = {
    f"{base}add/": "?q=o"
    for base in ("/organisation/{uuid}/", "/project/{uuid}/", "/group/{number}/team/")
}

ELSEWHERE: Final = {"/account/requests/{uuid}/withdraw/": "/account/"}
"""Paths without a page, and the page that has their form."""

OWNERS: Final = {"/user_email_change/{code}/": ("colleague",)}
"""Paths that only one account can use, which is none of the callers."""

CREATING: Final = [
    row
    for row in ROWS
    if row.protocol == "web"
    and row.method == "POST"
    and isinstance(row.operation, Page)
    and row.operation.creates
]
BY_PATH: Final = {row.path: row for row in CREATING}
"""Of a path with two rows the last one, which is that of one's own objects."""

FORM: Final = re.compile(r'(?s)<form method="post"(?: action="([^"]*)")?(.*?)</form>')
NUMBER: Final = re.compile(
    r'<input type="hidden" name="submission" value="([\w-]{20,})" autocomplete="off">'
)
CALLERS: Final = ("staff", "owner", "manager", "stranger", "sibling", "invitee", "nobody")


def test_every_form_creates_once_or_is_listed() -> None:
    posting = {path for path, table in ROUTES["web"].items() if "POST" in table}
    creating = {row.path for row in CREATING}
    assert posting - creating - NOT_CREATING.keys() == set(), "list them, or let them create once"
    assert creating.isdisjoint(NOT_CREATING)
    assert creating == {
        *("/teams/", "/account/keys/", "/account/tokens/", "/account/second_factor/"),
        "/account/hooks/",
        *("/account/authorize/", "/requests/", "/group/{number}/", "/open_invitation/{uuid}/"),
        "/invitation/{token}/",
        # They create nothing, but a second answer would say that the link is not valid, that the
        # password is still the old one, or that there is no such page.
        *("/password_reset/{token}/", "/user_email_change/{code}/"),
        *("/user_email_change_cancel/{code}/", "/account/leave/{uuid}/"),
        *("/invitation_approve/{token}/", "/invitation_reject/{token}/"),
        "/account/requests/{uuid}/withdraw/",
        *(
            f"/staff/{noun}/new/"
            for noun in ("organisations", "accounts", "roles", "providers", "rules", "agreements")
        ),
        *(
            f"/{kind}/{{uuid}}/{page}/"
            for kind in ("organisation", "project")
            for page in ("add", "invite", "invitations", "link")
        ),
        *("/organisation/{uuid}/", "/project/{uuid}/", "/group/{number}/team/"),
        *(f"/group/{{number}}/team/{page}/" for page in ("add", "invite", "invitations")),
    }


class Visitor:
    """The browser of a caller, with the form of a page."""

    def __init__(self, scene: Scene, row: Row, name: str) -> None:
        self.scene, self.row = scene, row
        self.tenant = scene.tenants[0]
        self.account: Person | None = scene.caller(name, in_group=requests.is_of_group(row.path))
        mine = requests.own(scene, row.path, self.account) if row.own else None
        self.path = requests.fill(scene, row.path, self.tenant, mine)
        self.cookies, self.csrf = scene.cookies(self.account)
        form = requests.FORMS.get(row.path)
        self.form: dict[str, Any] = form(scene, self.tenant) if form else {}
        if row.path == "/group/{number}/team/invite/":
            # Groups invite existing accounts only.
            self.form["addresses"] = self.tenant.group["sibling"].email

    def call(self, method: str, path: str, **given: Any) -> httpx.Response:
        header = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        return self.scene.site.request(method, path, headers=header, **given)

    def send(self, number: str) -> httpx.Response:
        data = {**self.form, "csrf": self.csrf, "submission": number}
        return self.call("POST", self.path, data=data)


def visitors(scene: Scene, row: Row) -> Iterator[Visitor]:
    for name in OWNERS.get(row.path, CALLERS):
        yield Visitor(scene, row, name)


def comparable(response: httpx.Response) -> tuple[Any, ...]:
    """Return a response without what is new each time: cookies, and the number of the form.

    Times are compared as what they are, not by how long ago they are.
    """
    body = re.sub(r'name="submission" value="[\w-]+"', "", response.text)
    body = re.sub(r"(?s)(<time [^>]*>).*?</time>", r"\1", body)
    return response.status_code, response.headers.get("location"), body


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", BY_PATH)
def test_repeated_form_changes_nothing_and_gets_the_same_response(scene: Scene, path: str) -> None:
    row = BY_PATH[path]
    tried = 0
    for visitor in visitors(scene, row):
        first = visitor.send("the number of this page")
        if not scene.has_changed() or first.status_code >= 400:
            scene.restore()
            continue
        tried += 1
        scene.has_changed()
        before = scene.contents()
        for _ in range(2):
            again = visitor.send("the number of this page")
            assert comparable(again) == comparable(first)
            after = scene.contents()
            # A repeated sign-up signs in again.
            for contents in (before, after) if path == "/invitation/{token}/" else ():
                for name in ("tokens", "events", "accounts"):
                    contents[name] = [] if visitor.account is None else contents[name]
            assert after == before
        # A form with another number is executed or refused.
        other = visitor.send("the number of another page")
        is_executed = len(scene.contents()["idempotency_keys"]) > len(before["idempotency_keys"])
        assert is_executed or comparable(other) != comparable(first)
        scene.restore()
    assert tried, "no caller could use this form"


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", BY_PATH)
def test_every_creating_form_has_a_new_number_each_time(scene: Scene, path: str) -> None:
    row = BY_PATH[path]
    numbers = []
    for visitor in [*visitors(scene, row), *visitors(scene, row)]:
        page = visitor.call("GET", ELSEWHERE.get(path, visitor.path) + SEARCHES.get(path, ""))
        forms = FORM.findall(page.text) if page.status_code == 200 else []
        for _, form in (form for form in forms if form[0] in {"", visitor.path}):
            (number,) = NUMBER.findall(form)
            numbers.append(number)
    assert len(set(numbers)) > 1, "a page that is opened again has another number"
    scene.has_changed()


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
def test_other_forms_have_no_number(scene: Scene) -> None:
    row = next(row for row in ROWS if row.path == "/account/profile/")
    page = Visitor(scene, row, "owner").call("GET", "/account/profile/")
    assert "submission" not in page.text
