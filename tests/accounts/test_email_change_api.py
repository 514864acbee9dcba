"""Changing an e-mail address: the code, its clock, its mails."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.db.statements import Row, Statement
from collegium.db.tables import email_changes, outbox
from collegium.settings import Settings
from collegium.worker.worker import Worker
from tests.support.site import Site
from tests.support.world import Person, World
from tests.worker.scene import Recorder

ASKED = "The change email request has been successfully created."


def path_of(person: Person, action: str) -> str:
    return f"/api/users/{person.uuid}/{action}/"


def ask(site: Site, person: Person, who: Person, email: str = "new@example.org") -> Any:
    return site.post(path_of(person, "change_email"), who, json={"email": email})


def mailed(world: World) -> Recorder:
    recorder = Recorder()
    Worker(world.database, world.settings, world.vault, recorder).once()
    return recorder


def code_in(recorder: Recorder, kind: str = "change_email_request") -> str:
    """The code in the link of the mail of a kind that was sent last."""
    message = [mail for mail in recorder.sent if mail["X-Collegium-Mail"] == kind][-1]
    text = message.get_body(("plain",))
    assert text is not None
    found = re.search(r"/user_email_change(?:_cancel)?/([0-9a-f]{32})/", text.get_content())
    assert found
    return found[1]


def email_of(world: World, person: Person) -> str:
    with world.database.read() as tx:
        row: Row = account_queries.by_id(tx, person.id)
    return str(row.email)


def confirm(site: Site, code: str) -> Any:
    return site.post("/api/users/confirm_email/", json={"code": code})


def test_an_address_changes_when_its_code_comes_back_and_the_old_one_is_told(
    site: Site, world: World
) -> None:
    ada = world.person("ada")
    answer = ask(site, ada, ada)
    assert (answer.status_code, answer.json()) == (200, {"detail": ASKED})
    assert site.get("/api/users/me/", ada).json()["requested_email"] == "new@example.org"
    recorder = mailed(world)
    assert [(mail["To"], mail["X-Collegium-Mail"]) for mail in recorder.sent] == [
        ("new@example.org", "change_email_request"),
        (ada.email, "change_email_notice"),
    ]
    code = code_in(recorder)
    assert email_of(world, ada) == ada.email
    answer = confirm(site, code)
    assert (answer.status_code, answer.json()) == (
        200,
        {"detail": "Email has been successfully updated."},
    )
    assert email_of(world, ada) == "new@example.org"
    assert site.get("/api/users/me/", ada).json()["requested_email"] is None
    told = mailed(world).sent
    assert [(mail["To"], mail["X-Collegium-Mail"]) for mail in told] == [
        (ada.email, "email_changed")
    ]
    assert confirm(site, code).status_code == 404


def test_only_oneself_and_staff_ask_and_cancel(site: Site, world: World) -> None:
    ada, support = world.person("ada"), world.person(is_support=True)
    for action in ("change_email", "cancel_change_email"):
        body = {"email": "new@example.org"}
        assert site.post(path_of(ada, action), support, json=body).status_code == 403
        assert site.post(path_of(ada, action), world.person(), json=body).status_code == 404
        assert site.post(path_of(ada, action), world.staff, json=body).status_code == 200


def test_a_canceled_change_can_no_longer_be_confirmed_nor_is_it_mailed(
    site: Site, world: World
) -> None:
    ada = world.person("ada")
    ask(site, ada, ada)
    code = code_in(mailed(world))
    gone = site.post(path_of(ada, "cancel_change_email"), ada)
    assert gone.json() == {"detail": "The change email request has been successfully deleted."}
    again = site.post(path_of(ada, "cancel_change_email"), ada)
    assert again.json() == {"detail": "The change email request has not been found."}
    assert confirm(site, code).status_code == 404
    ask(site, ada, ada)
    site.post(path_of(ada, "cancel_change_email"), ada)
    assert mailed(world).sent == []


def test_asking_again_makes_the_earlier_code_worthless(site: Site, world: World) -> None:
    ada = world.person("ada")
    ask(site, ada, ada)
    first = code_in(mailed(world))
    ask(site, ada, ada, "newer@example.org")
    second = code_in(mailed(world))
    assert confirm(site, first).status_code == 404
    assert confirm(site, second).status_code == 200
    assert email_of(world, ada) == "newer@example.org"


def test_a_code_works_until_its_time_is_over(
    world: World, make_settings: Callable[..., Settings], make_site: Callable[[Settings], Site]
) -> None:
    settings = make_settings(email_change_max_age="1h")
    site = make_site(settings)
    ada = world.person("ada")
    ask(site, ada, ada)
    code = code_in(mailed(world))
    with world.database.write(datetime.now(UTC) - timedelta(hours=1, minutes=1)) as tx:
        email_change_actions.request_change(
            tx, ada.actor, settings, world.vault, ada.uuid, "old@example.org"
        )
        late = world.vault.derive_code(ada.id, "old@example.org", tx.now.isoformat())
    assert confirm(site, code).status_code == 404
    refused = confirm(site, late)
    assert (refused.status_code, refused.json()) == (400, ["Request has expired."])
    assert email_of(world, ada) == ada.email


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": "x"}, {"code": None}, {"code": 1}])
def test_a_code_that_is_none_is_asked_for(site: Site, world: World, body: dict[str, Any]) -> None:
    answer = site.post("/api/users/confirm_email/", json=body)
    assert (answer.status_code, answer.json()) == (400, ["The confirmation code is required."])


def test_confirming_an_address_drops_every_other_wish_for_it(site: Site, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    ask(site, bob, bob, "NEW@example.org")
    ask(site, ada, ada)
    code = code_in(mailed(world))
    assert confirm(site, code).status_code == 200
    assert site.get("/api/users/me/", bob).json()["requested_email"] is None


def test_a_provider_that_decides_the_address_is_not_overruled(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(local_idp_protected_fields="email"))
    ada = world.person("ada")
    refused = ask(site, ada, ada)
    assert refused.status_code == 400
    assert refused.json() == {
        "detail": "The registration method does not allow direct email modification."
    }


def test_neither_the_code_nor_anything_that_gives_it_rests_in_the_database(
    site: Site, world: World
) -> None:
    ada = world.person("ada")
    ask(site, ada, ada)
    code = code_in(mailed(world))
    with world.database.read() as tx:
        rows = [
            *tx.fetch_all(Statement(select(email_changes))),
            *tx.fetch_all(Statement(select(outbox))),
        ]
    assert code not in repr(rows)
    assert bytes.fromhex(code) not in b"".join(row.code_hash for row in rows[:1])


def test_guessing_codes_is_slowed_down(site: Site, world: World) -> None:
    for _ in range(11):
        answer = confirm(site, "0" * 32)
        assert answer.status_code == 404
    limited = confirm(site, "0" * 32)
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) >= 1


def test_asking_for_mails_to_strangers_is_slowed_down(site: Site, world: World) -> None:
    ada = world.person("ada")
    statuses = [ask(site, ada, ada, f"victim{turn}@example.org").status_code for turn in range(12)]
    assert statuses == [200] * 11 + [429]


def test_the_page_of_the_link_changes_nothing_until_its_button_is_pressed(
    site: Site, world: World
) -> None:
    ada = world.person("ada")
    ask(site, ada, ada)
    path = f"/user_email_change/{code_in(mailed(world))}/"
    for method in ("GET", "HEAD", "GET"):
        page = site.request(method, path)
        assert page.status_code == 200
    assert site.post(path).status_code == 403
    assert email_of(world, ada) == ada.email
    form = dict([re.findall(r'name="(csrf)" value="(\w+)"', page.text)[0]])
    assert "is confirmed" in site.post(path, data=form).text
    assert email_of(world, ada) == "new@example.org"
    assert site.post(path, data=form).status_code == 410
    assert site.post("/user_email_change/nonsense/", data=form).status_code == 404
