"""Changes of an e-mail address in the API: code, expiry, e-mails."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.db.statements import Statement
from collegium.db.tables import email_changes, outbox
from tests.support.mails import mail_text, sent_mails
from tests.support.site import Site
from tests.support.world import Person, World

NEW = "new@example.org"


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")


def request_change(site: Site, person: Person, caller: Any = None, email: str = NEW) -> Any:
    path = f"/api/users/{person.uuid}/change_email/"
    return site.post(path, caller or person, json={"email": email})


def cancel(site: Site, person: Person, caller: Any = None) -> Any:
    return site.post(f"/api/users/{person.uuid}/cancel_change_email/", caller or person)


def confirm(site: Site, code: str, caller: Any = None) -> Any:
    return site.post("/api/users/confirm_email/", caller, json={"code": code})


def mailed_codes(world: World) -> tuple[str, str]:
    """Send the e-mails; return the newest code of the new address and that of the old address."""
    mails = {mail["X-Collegium-Mail"]: mail_text(mail) for mail in sent_mails(world)}
    request, notice = mails["change_email_request"], mails["change_email_notice"]
    (confirming,) = re.findall(r"/user_email_change/([0-9a-f]{32})/", request)
    (cancelling,) = re.findall(r"/user_email_change_cancel/([0-9a-f]{32})/", notice)
    assert confirming not in notice
    assert cancelling not in request
    return confirming, cancelling


def email_of(world: World, person: Person) -> str:
    with world.database.read() as tx:
        row: Any = account_queries.by_id(tx, person.id)
    return str(row.email)


def requested_email(world: World, person: Person) -> str | None:
    with world.database.read() as tx:
        row = email_change_queries.of_account(tx, person.id)
    return row.email if row else None


def test_confirmed_address_replaces_the_old_one_which_is_notified(
    site: Site, world: World, ada: Person
) -> None:
    def addressed(mails: list[EmailMessage]) -> list[tuple[str, str]]:
        return [(mail["To"], mail["X-Collegium-Mail"]) for mail in mails]

    response = request_change(site, ada)
    detail = "The change email request has been successfully created."
    assert (response.status_code, response.json()) == (200, {"detail": detail})
    assert site.get("/api/users/me/", ada).json()["requested_email"] == NEW
    mails = sent_mails(world)
    assert addressed(mails) == [(NEW, "change_email_request"), (ada.email, "change_email_notice")]
    (code,) = re.findall(r"/user_email_change/([0-9a-f]{32})/", mail_text(mails[0]))
    assert email_of(world, ada) == ada.email
    response = confirm(site, code)
    detail = "Email has been successfully updated."
    assert (response.status_code, response.json()) == (200, {"detail": detail})
    assert email_of(world, ada) == NEW
    assert site.get("/api/users/me/", ada).json()["requested_email"] is None
    assert addressed(sent_mails(world)) == [(ada.email, "email_changed")]
    assert confirm(site, code).status_code == 404


def test_token_confirms_for_its_own_account_and_for_staff(
    site: Site, world: World, ada: Person
) -> None:
    support = world.person("support", is_support=True)
    for caller in (ada, world.staff):
        request_change(site, ada, email=f"{caller.actor.username}@example.net")
        code, _cancel = mailed_codes(world)
        for other in (world.person(), support):
            assert confirm(site, code, other).status_code == 404
        assert email_of(world, ada) != f"{caller.actor.username}@example.net"
        assert confirm(site, code, caller).status_code == 200
        assert email_of(world, ada) == f"{caller.actor.username}@example.net"


def test_cancelled_change_is_neither_confirmed_nor_mailed(
    site: Site, world: World, ada: Person
) -> None:
    request_change(site, ada)
    code, _cancel = mailed_codes(world)
    for detail in (
        "The change email request has been successfully deleted.",
        "The change email request has not been found.",
    ):
        assert cancel(site, ada).json() == {"detail": detail}
    assert confirm(site, code).status_code == 404
    request_change(site, ada)
    cancel(site, ada)
    assert sent_mails(world) == []


def test_new_request_invalidates_the_earlier_code(site: Site, world: World, ada: Person) -> None:
    request_change(site, ada)
    first, _cancel = mailed_codes(world)
    request_change(site, ada, email="newer@example.org")
    second, _cancel = mailed_codes(world)
    assert confirm(site, first).status_code == 404
    assert confirm(site, second).status_code == 200
    assert email_of(world, ada) == "newer@example.org"


def test_confirmation_code_expires(
    world: World, site_with: Callable[..., Site], make_settings: Callable[..., Any], ada: Person
) -> None:
    limits = {"email_change_max_age": "1h"}
    site, settings = site_with(**limits), make_settings(**limits)
    request_change(site, ada)
    replaced, _cancel = mailed_codes(world)
    with world.database.write(datetime.now(UTC) - timedelta(hours=1, minutes=1)) as tx:
        email_change_actions.request_change(
            tx, ada.actor, settings, world.vault, ada.uuid, "old@example.org"
        )
        expired = world.vault.derive_code(ada.id, "old@example.org", tx.now.isoformat())
    assert confirm(site, replaced).status_code == 404
    refused = confirm(site, expired)
    assert (refused.status_code, refused.json()) == (400, ["Request has expired."])
    assert email_of(world, ada) == ada.email


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": "x"}, {"code": None}, {"code": 1}])
def test_malformed_confirmation_code_is_refused(site: Site, body: dict[str, Any]) -> None:
    response = site.post("/api/users/confirm_email/", json=body)
    message = ["The confirmation code is required."]
    assert (response.status_code, response.json()) == (400, message)


def test_confirmation_deletes_other_requests_for_the_address(
    site: Site, world: World, ada: Person
) -> None:
    bob = world.person("bob")
    request_change(site, bob, email="NEW@example.org")
    request_change(site, ada)
    code, _cancel = mailed_codes(world)
    assert confirm(site, code).status_code == 200
    assert site.get("/api/users/me/", bob).json()["requested_email"] is None


def test_address_protected_by_the_identity_provider_cannot_be_changed(
    site_with: Callable[..., Site], ada: Person
) -> None:
    refused = request_change(site_with(local_idp_protected_fields="email"), ada)
    assert refused.status_code == 400
    assert refused.json() == {
        "detail": "The registration method does not allow direct email modification."
    }


def test_email_change_codes_are_not_stored(site: Site, world: World, ada: Person) -> None:
    request_change(site, ada)
    codes = mailed_codes(world)
    with world.database.read() as tx:
        (change,) = tx.fetch_all(Statement[Any](select(email_changes)))
        rows = [change, *tx.fetch_all(Statement[Any](select(outbox)))]
    for code in codes:
        assert code not in repr(rows)
        assert bytes.fromhex(code) not in change.code_hash


def test_confirmation_codes_and_change_requests_are_rate_limited(site: Site, ada: Person) -> None:
    statuses = [confirm(site, "0" * 32).status_code for _ in range(12)]
    assert statuses == [404] * 11 + [429]
    statuses = [
        request_change(site, ada, email=f"victim{number}@example.org").status_code
        for number in range(12)
    ]
    assert statuses == [200] * 11 + [429]
