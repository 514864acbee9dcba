"""A form that creates an object carries a one-time number: sent twice, it creates one object."""

import re
from collections.abc import Callable, Iterator
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
    "/invitation/{token}/provider/": "begins a sign-in, which works once",
    "/api-auth/{provider}/backchannel-logout/": "ends sessions",
    "/account/profile/": "changes an object",
    "/account/picture/": "changes an object",
    "/account/address/": "replaces a pending change, rate limited",
    "/account/password/": "changes an object",
    "/account/confirm/": "leads to a provider, rate limited",
    **{
        f"{base}{page}": reason
        for base in ("/organisation/{uuid}/", "/project/{uuid}/", "/group/{number}/team/")
        for page, reason in (
            ("settings/", "changes an object"),
            ("imports/", "the same file is the same import"),
            ("bulk/{one}/", "doing it again changes nothing"),
        )
    },
    "/staff/organisations/{uuid}/": "changes an object",
    "/unsubscribe/{token}/": "doing it again changes nothing",
    "/account/mails/": "changes an object",
    "/account/agreements/": "agreeing again changes nothing",
}
"""Pages whose forms can be sent again without harm, and the reason."""

# The form to add a member is shown after a search.
SEARCHES: Final = {
    f"{base}add/": "?q=o"
    for base in ("/organisation/{uuid}/", "/project/{uuid}/", "/group/{number}/team/")
}

ELSEWHERE: Final = {
    "/account/requests/{uuid}/withdraw/": 3,
    "/account/keys/{uuid}/remove/": 2,
    "/account/tokens/end/": 1,
    "/invitation/{token}/decline/": 1,
    **{
        f"{base}invitations/{{one}}/": 1
        for base in ("/organisation/{uuid}/", "/project/{uuid}/", "/group/{number}/team/")
    },
}
"""Paths without a page, and how many parts the path of the page is shorter that has their form."""

TESTED_ELSEWHERE: Final = {
    "/setup/{token}/",
    "/identity_link/{token}/",
    "/account/sign_in_methods/",
}
"""Forms that need more than the scene has."""

BUTTONS: Final[dict[str, Callable[[Scene], dict[str, Any]]]] = {
    **{
        f"{base}people/{{one}}/": lambda _scene: {"action": "remove"}
        for base in ("/organisation/{uuid}/", "/project/{uuid}/", "/group/{number}/team/")
    },
    "/account/hooks/{uuid}/": lambda _scene: {"action": "remove"},
    "/project/{uuid}/move/": lambda scene: {"organisation": scene.tenants[1].organisation.uuid},
    "/staff/roles/{uuid}/": lambda _scene: {"action": "delete"},
    "/staff/providers/{provider}/": lambda _scene: {"action": "remove"},
    "/staff/mails/": lambda scene: {"action": "drop", "mail": scene.objects["mail"]},
}
"""The buttons that can be pressed once, where other tests press another."""

REPEATABLE: Final = {"/group/{number}/team/invitations/{one}/", "/staff/accounts/{uuid}/"}
"""Forms whose button, as tested here, may be pressed again without a number, too."""

OWNERS: Final = {
    "/user_email_change/{code}/": ("colleague",),
    "/account/tokens/end/": ("colleague",),
    "/account/passkeys/": ("coowner",),
}
"""Paths that only one account can use, which is none of the callers."""

PAGES: Final = [
    (row, row.operation)
    for row in ROWS
    if row.protocol == "web" and row.method == "POST" and isinstance(row.operation, Page)
]
CREATING: Final = [row for row, operation in PAGES if operation.creates]
ONCE: Final = {row.path: row for row, operation in PAGES if operation.once}
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
    assert posting - creating - ONCE.keys() - NOT_CREATING.keys() == set(), "list them"
    assert creating.isdisjoint(NOT_CREATING)
    assert ONCE.keys().isdisjoint(creating | NOT_CREATING.keys())
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


def flash(scene: Scene, response: httpx.Response) -> Any:
    """Return the message that the next page shows."""
    cookies = (
        line.partition(";")[0].split("=", 1) for line in response.headers.get_list("set-cookie")
    )
    return next(
        (scene.vault.unsign("flash", text) for name, text in cookies if "flash" in name), None
    )


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
@pytest.mark.parametrize("path", sorted(ONCE.keys() - TESTED_ELSEWHERE))
def test_button_that_was_pressed_before_gets_the_same_response(scene: Scene, path: str) -> None:
    for visitor in visitors(scene, ONCE[path]):
        visitor.form |= BUTTONS[path](scene) if path in BUTTONS else {}
        first = visitor.send("the number of this page")
        if first.status_code < 400 and scene.has_changed():
            break
        scene.restore()
    else:
        pytest.fail("no caller could use this form")
    before = scene.contents()
    again = visitor.send("the number of this page")
    other = visitor.send("")
    after = scene.contents()
    scene.restore()
    assert (comparable(again), flash(scene, again)) == (comparable(first), flash(scene, first))
    assert flash(scene, first)
    assert after == before
    if path not in REPEATABLE:
        assert other.status_code >= 400 or flash(scene, other) != flash(scene, first)


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", [*BY_PATH, *sorted(ONCE.keys() - TESTED_ELSEWHERE)])
def test_every_creating_form_has_a_new_number_each_time(scene: Scene, path: str) -> None:
    row = (BY_PATH | ONCE)[path]
    numbers = []
    for visitor in [*visitors(scene, row), *visitors(scene, row)]:
        above = "/".join(visitor.path.split("/")[: -1 - ELSEWHERE.get(path, 0)])
        page = visitor.call("GET", f"{above}/{SEARCHES.get(path, '')}")
        forms = FORM.findall(page.text) if page.status_code == 200 else []
        for _, form in (form for form in forms if form[0] in {"", visitor.path}):
            (number,) = NUMBER.findall(form)
            numbers.append(number)
        if path in ONCE and len(set(numbers)) > 1:
            break
    assert len(set(numbers)) > 1, "a page that is opened again has another number"
    scene.has_changed()


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
def test_other_forms_have_no_number(scene: Scene) -> None:
    row = next(row for row in ROWS if row.path == "/account/profile/")
    page = Visitor(scene, row, "owner").call("GET", "/account/profile/")
    assert "submission" not in page.text
