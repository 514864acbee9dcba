"""Every page that makes something new makes one, however often its button is pressed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from collegium.web.page import Page
from tests.matrix import asks
from tests.matrix.stage import Stage
from tests.matrix.walk import ROUTES, ROWS, Row
from tests.support.world import Person

OTHERS: Final = {
    "/sign_in/": "begins a session, which its owner sees and ends",
    "/sign_in/code/": "as that",
    "/sign_out/": "ends one",
    "/forgotten_password/": "mails a link, and is counted",
    "/password_reset/{token}/": "spends its link",
    "/user_email_change/{code}/": "spends its link",
    "/user_email_change_cancel/{code}/": "spends its link",
    "/invitation/{token}/decline/": "ends an invitation",
    "/invitation_approve/{token}/": "spends its link",
    "/invitation_reject/{token}/": "spends its link",
    "/account/requests/{uuid}/withdraw/": "ends a request",
    "/account/leave/{uuid}/": "ends a role",
    "/account/profile/": "changes what is there",
    "/account/picture/": "changes what is there",
    "/account/address/": "replaces what is pending, and is counted",
    "/account/password/": "changes what is there",
    "/account/keys/{uuid}/remove/": "ends a key",
    "/account/tokens/end/": "ends a token",
    **{
        f"{base}{page}": reason
        for base in ("/organisation/{uuid}/", "/project/{uuid}/", "/group/{number}/team/")
        for page, reason in (
            ("people/{one}/", "changes what is there"),
            ("invitations/{one}/", "mails what is there again, and is counted"),
            ("links/{one}/", "changes what is there"),
        )
    },
    "/staff/accounts/{uuid}/": "changes what is there",
    "/staff/organisations/{uuid}/": "changes what is there",
    "/staff/roles/{uuid}/": "changes what is there",
    "/staff/mails/": "tries mails that are there again",
}
"""Pages whose buttons make nothing new, and what they do instead."""

FORMS_AT: Final = {
    # Whom one could mean is shown once one has searched.
    **{
        f"{base}add/": "?q=o"
        for base in ("/organisation/{uuid}/", "/project/{uuid}/", "/group/{number}/team/")
    },
}
"""What is asked for besides, to be shown the form."""

CREATING: Final = [
    row
    for row in ROWS
    if row.dialect == "web"
    and row.method == "POST"
    and isinstance(row.operation, Page)
    and row.operation.creates
]
FORM: Final = re.compile(r'(?s)<form method="post"(?: action="([^"]*)")?(.*?)</form>')
NUMBER: Final = re.compile(
    r'<input type="hidden" name="submission" value="([\w-]{20,})" autocomplete="off">'
)
WALKERS: Final = ("staff", "owner", "manager", "stranger", "sibling", "invitee", "nobody")


def test_every_form_creates_once_or_is_listed() -> None:
    posting = {path for path, table in ROUTES["web"].items() if "POST" in table}
    creating = {row.path for row in CREATING}
    assert posting - creating - OTHERS.keys() == set(), "say which it is"
    assert creating.isdisjoint(OTHERS)
    wanted = {
        "/teams/",
        "/staff/organisations/new/",
        "/staff/accounts/new/",
        "/staff/roles/new/",
        "/account/keys/",
        "/account/tokens/",
        "/account/second_factor/",
        "/account/authorize/",
        "/requests/",
        "/group/{number}/",
        "/open_invitation/{uuid}/",
        "/invitation/{token}/",
        *(
            f"/{kind}/{{uuid}}/{at}/"
            for kind in ("organisation", "project")
            for at in ("add", "invite", "link")
        ),
        *(f"/group/{{number}}/team/{at}/" for at in ("add", "invite")),
    }
    assert creating == wanted


class Visitor:
    """Somebody's browser."""

    def __init__(self, stage: Stage, row: Row, name: str) -> None:
        self.stage, self.row = stage, row
        self.tenant = stage.tenants[0]
        self.who: Person | None = stage.walker(name, in_group=asks.is_of_group(row.path))
        self.path = asks.fill(stage, row.path, self.tenant, None)
        self.cookies, self.csrf = stage.cookies(self.who)
        form = asks.FORMS.get(row.path)
        self.form: dict[str, Any] = form(stage, self.tenant, self.who) if form else {}
        if row.path == "/group/{number}/team/invite/":
            # A group invites those who have an account.
            self.form["addresses"] = self.tenant.group["sibling"].email

    def call(self, method: str, path: str, **given: Any) -> httpx.Response:
        header = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        answer = self.stage.site.request(method, path, headers=header, **given)
        self.stage.site._client.cookies.clear()
        return answer

    def press(self, number: str) -> httpx.Response:
        data = {**self.form, "csrf": self.csrf, "submission": number}
        return self.call("POST", self.path, data=data)


def visitors(stage: Stage, row: Row) -> Iterator[Visitor]:
    for name in WALKERS:
        yield Visitor(stage, row, name)


def plain(answer: httpx.Response) -> tuple[Any, ...]:
    """What an answer says; cookies are new each time, and so is the next form's number."""
    where = answer.headers.get("location")
    body = re.sub(r'name="submission" value="[\w-]+"', "", answer.text)
    return answer.status_code, where, body


@pytest.mark.parametrize("stage", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", [row.path for row in CREATING])
def test_repeated_form_changes_nothing_and_gets_the_same_response(stage: Stage, path: str) -> None:
    row = next(row for row in CREATING if row.path == path)
    tried = 0
    for visitor in visitors(stage, row):
        first = visitor.press("the number of this page")
        if not stage.has_changed() or first.status_code >= 400:
            stage.restore()
            continue
        tried += 1
        stage.has_changed()
        before = stage.contents()
        for _ in range(2):
            again = visitor.press("the number of this page")
            assert plain(again) == plain(first)
            after = stage.contents()
            # Whoever signs up is signed in by the second answer too, if the first got lost.
            for found in (before, after) if path == "/invitation/{token}/" else ():
                for name in ("tokens", "events", "accounts"):
                    found[name] = [] if visitor.who is None else found[name]
            assert after == before
        # The twin: the form of another page is another one; it is done or refused, not recalled.
        other = visitor.press("the number of another page")
        is_done = len(stage.contents()["idempotency_keys"]) > len(before["idempotency_keys"])
        assert is_done or plain(other) != plain(first)
        stage.restore()
    assert tried, "nobody could use this form"


@pytest.mark.parametrize("stage", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", [row.path for row in CREATING])
def test_every_creating_form_has_a_new_number_each_time(
    stage: Stage, path: str
) -> None:
    row = next(row for row in CREATING if row.path == path)
    numbers = []
    for visitor in [*visitors(stage, row), *visitors(stage, row)]:
        page = visitor.call("GET", visitor.path + FORMS_AT.get(path, ""))
        forms = FORM.findall(page.text) if page.status_code == 200 else []
        for _, form in (one for one in forms if one[0] in {"", visitor.path}):
            found = NUMBER.findall(form)
            assert len(found) == 1, form
            numbers += found
    assert len(set(numbers)) > 1, "a page that is loaded anew has another number"
    stage.has_changed()


@pytest.mark.parametrize("stage", ["sqlite"], indirect=True)
def test_other_forms_have_no_number(stage: Stage) -> None:
    row = next(row for row in ROWS if row.path == "/account/profile/")
    page = Visitor(stage, row, "owner").call("GET", "/account/profile/")
    assert "submission" not in page.text
