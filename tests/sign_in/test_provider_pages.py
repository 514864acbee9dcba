"""Sign-in at an identity provider in a browser, against a provider that gives wrong answers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import ECKey, OctKey
from sqlalchemy import select

from collegium.accounts import queries as account_queries
from collegium.agreements import actions as agreement_actions
from collegium.agreements import queries as agreement_queries
from collegium.db.statements import Statement
from collegium.db.tables import events, provider_sign_ins, rate_limits, tokens
from collegium.integrations.http_client import Timeouts
from collegium.integrations.openid import client, discovery
from collegium.scopes.actions import change_account
from collegium.security.rate_limits.rules import PROVIDER, STRAY_RETURN, Per, RateLimit
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from tests.sign_in.identity_scene import (
    account,
    add_provider,
    change_provider,
    counts,
    enable_second_factor,
    kinds,
    link,
    person,
)
from tests.sign_in.test_confirmation import hidden_fields, leave_alone
from tests.support.browser import ORIGIN, Browser, text
from tests.support.mails import mail_text, sent_mails
from tests.support.openid.hostile import CLIENT_ID, CLIENT_SECRET, HostileProvider
from tests.support.remote import SECRET, drips, floods_without_end, says
from tests.support.site import Site
from tests.support.team import Scene
from tests.support.world import Person, World

INIT = "/api-auth/hostile/init/"
HTML = {"headers": {"Accept": "text/html"}}
FRONT = "https://portal.example.org/login_completed/"


@pytest.fixture
def visitor(site_with: Callable[..., Site], hostile: HostileProvider, world: World) -> Browser:
    """Return a browser that is not signed in, where people can sign in with the provider."""
    add_provider(
        world,
        "hostile",
        issuer=hostile.issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        allowed_redirects=[FRONT],
    )
    return Browser(site_with(outgoing_internal_hosts=hostile.host))


def begin(browser: Browser, hostile: HostileProvider, path: str = INIT) -> str:
    """Press the button and sign in there; return where the browser is sent back to."""
    answer = browser.call("GET", path, **HTML)
    assert answer.status_code == 302, text(answer)
    return back(hostile.authorize(answer.headers["location"]))


def back(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def sign_in(browser: Browser, hostile: HostileProvider, path: str = INIT) -> httpx.Response:
    return browser.call("GET", begin(browser, hostile, path), **HTML)


def press(browser: Browser, hostile: HostileProvider, path: str, **fields: str) -> httpx.Response:
    """Press the button of a form of ours, sign in at the provider, and come back."""
    answer = browser.send(path, provider="hostile", options=HTML, **fields)
    assert answer.status_code == 200, text(answer)
    url = answer.text.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    return browser.call("GET", back(hostile.authorize(url)), **HTML)


def is_signed_in(browser: Browser) -> bool:
    return browser.call("GET", "/account/").status_code == 200


def linked(world: World, hostile: HostileProvider, name: str = "ada", **values: Any) -> Person:
    """Return somebody with an account here whose identity is that of the provider's person."""
    ada = world.person(name, **values)
    with world.database.read() as tx:
        provider = _provider(tx)
    link(world, ada.actor, provider, person(hostile.person["sub"], hostile.issuer))
    return ada


def _provider(tx: Any) -> Any:
    from collegium.sign_in.providers import queries  # noqa: PLC0415 - the only use

    return queries.by_name(tx, "hostile")


def failures(world: World) -> list[tuple[str, str, str]]:
    """Return provider, reason and IP address of each failed sign-in."""
    with world.database.read() as tx:
        rows = tx.fetch_all(
            Statement[Any](
                select(events).where(events.c.kind == "login.provider_failed").order_by(events.c.id)
            )
        )
    return [
        (row.payload["provider"], row.payload["reason"], row.payload["address"]) for row in rows
    ]


def refused(
    world: World, browser: Browser, answer: httpx.Response, status: int, title: str, reason: str
) -> None:
    """Check one clear page, one event, and that nothing changed."""
    assert (answer.status_code, title in text(answer)) == (status, True), text(answer)
    assert SECRET not in answer.text
    assert failures(world) == [("hostile", reason, "127.0.0.1")]
    assert not is_signed_in(browser)
    with world.database.read() as tx:
        assert tx.fetch_all(Statement[Any](select(provider_sign_ins.c.expires_at))) == []


def test_linked_person_signs_in_with_one_click(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    ada = linked(world, hostile)
    page = visitor.open("/sign_in/?next=/account/keys/")
    assert "Sign in with Hostile" in text(page)
    answer = sign_in(visitor, hostile, f"{INIT}?next=/account/keys/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/keys/")
    assert f"( {ada.actor.username} )" in text(visitor.open("/account/"))
    assert kinds(world)[-1] == "login.succeeded"


WRONG: dict[str, tuple[str, Callable[[HostileProvider], Any]]] = {
    "issuer of the token": (
        "wrong_issuer",
        lambda p: p.id_token.update(iss="https://evil.example"),
    ),
    "issuer of the response": (
        "wrong_issuer",
        lambda p: p.response.update(iss="https://evil.example"),
    ),
    "no issuer in the response": ("wrong_issuer", lambda p: p.response.update(iss=None)),
    "no nonce": ("wrong_nonce", lambda p: p.id_token.update(nonce=None)),
    "wrong nonce": ("wrong_nonce", lambda p: p.id_token.update(nonce="x" * 43)),
    "alg none": ("wrong_algorithm", lambda p: setattr(p, "algorithm", "none")),
    "HS256 with the client secret": (
        "wrong_algorithm",
        lambda p: vars(p).update(algorithm="HS256", sign_with=OctKey.import_key(CLIENT_SECRET)),
    ),
    "unknown kid": ("unknown_key", lambda p: p.header.update(kid="unknown")),
    "foreign key": (
        "wrong_signature",
        lambda p: setattr(p, "sign_with", ECKey.generate_key("P-256")),
    ),
    "expired": (
        "expired",
        lambda p: p.id_token.update(exp=int(time.time()) - 100, iat=int(time.time()) - 400),
    ),
    "other audience": ("wrong_audience", lambda p: p.id_token.update(aud="another")),
    "other party": ("wrong_audience", lambda p: p.id_token.update(azp="another")),
    "other access token": ("wrong_access_token", lambda p: p.id_token.update(at_hash="x" * 22)),
    "other sub in userinfo": ("wrong_subject", lambda p: p.userinfo.update(sub="eve")),
    "no sub": ("wrong_subject", lambda p: p.id_token.update(sub=None)),
    "HTML instead of tokens": (
        "unreadable",
        lambda p: p.tempers.update({"/token": says(b"<html>" + SECRET.encode())}),
    ),
    "error at the token endpoint": (
        "unreachable",
        lambda p: p.tempers.update({"/token": says({"error": SECRET}, 500)}),
    ),
    "slow": ("unreachable", lambda p: p.tempers.update({"/token": drips})),
    "without end": ("unreachable", lambda p: p.tempers.update({"/userinfo": floods_without_end})),
    "down after the button": (
        "unreachable",
        lambda p: p.tempers.update({"/userinfo": says(b"", 503)}),
    ),
}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_answer_signs_nobody_in(
    name: str,
    visitor: Browser,
    hostile: HostileProvider,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name == "slow":
        monkeypatch.setattr(client, "TIMEOUTS", Timeouts(total=0.3))
    linked(world, hostile)
    problem, spoil = WRONG[name]
    spoil(hostile)
    answer = sign_in(visitor, hostile)
    status, title = (
        (503, "Hostile cannot be reached")
        if problem == "unreachable"
        else (502, "Signing in did not work")
    )
    refused(world, visitor, answer, status, title, f"provider.{problem}")
    assert counts(world) == (2, 1)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "reply",
    [says(b"<html>"), says(b"", 500), says({"issuer": "https://x"}), drips, floods_without_end],
    ids=["HTML", "500", "another issuer", "slow", "without end"],
)
def test_provider_that_is_down_is_said_before_anybody_is_sent_there(
    reply: Any,
    visitor: Browser,
    hostile: HostileProvider,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if reply is drips:
        monkeypatch.setattr(discovery, "TIMEOUTS", Timeouts(total=0.3))
    hostile.tempers["/.well-known/openid-configuration"] = reply
    answer = visitor.call("GET", f"{INIT}?next=/account/keys/", **HTML)
    assert answer.status_code in {502, 503}
    # Another way to sign in leads to the same page.
    assert 'href="/sign_in/?choose=1&amp;next=/account/keys/"' in answer.text
    assert len(failures(world)) == 1
    assert "Sign in with Hostile" in text(visitor.open("/sign_in/"))


@pytest.mark.parametrize("others", [{}, {"iss": None}], ids=["issuer", "no-issuer"])
def test_denied_sign_in_says_so(
    visitor: Browser, hostile: HostileProvider, world: World, others: dict[str, Any]
) -> None:
    hostile.response = {"error": "access_denied", "error_description": SECRET, **others}
    answer = sign_in(visitor, hostile)
    refused(world, visitor, answer, 403, "You have not signed in", "identity.denied")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_subject_recognises_an_account_that_was_prepared(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    ada = world.person("ada-0001", email="other@example.org")
    change_provider(world, "hostile", user_field="username", user_claim="sub")
    assert sign_in(visitor, hostile).status_code == 303
    assert is_signed_in(visitor)
    assert account(world, ada.id).last_login_at is not None


def test_state_works_once_and_in_its_browser(
    visitor: Browser, hostile: HostileProvider, world: World, site_with: Callable[..., Site]
) -> None:
    linked(world, hostile)
    other = Browser(site_with(outgoing_internal_hosts=hostile.host))
    path = begin(visitor, hostile)
    # Another browser, also one that has begun a sign-in itself.
    begin(other, hostile)
    assert "This sign-in is over" in text(other.call("GET", path, **HTML))
    assert "This sign-in is over" in text(visitor.call("GET", path, **HTML))
    path = begin(visitor, hostile)
    assert visitor.call("GET", path, **HTML).status_code == 303
    assert visitor.call("GET", path, **HTML).status_code == 400  # the back button
    for wrong in ("", "?state=", "?code=x", f"?code=x&state={'x' * 43}", f"?state={'x' * 9000}"):
        answer = visitor.call("GET", f"/api-auth/hostile/complete/{wrong}", **HTML)
        assert answer.status_code == 400
    assert {reason for _, reason, _ in failures(world)} == {"identity.state"}
    assert not is_signed_in(other)
    german = {"headers": {"Accept": "text/html", "Accept-Language": "de"}}
    answer = visitor.call("GET", path, **german)
    assert "<title>Diese Anmeldung ist beendet ·" in answer.text


def limited(world: World) -> dict[str, int]:
    """Return what was counted, by the name of the limit."""
    with world.database.read() as tx:
        rows = tx.fetch_all(Statement[Any](select(rate_limits)))
    return {row.subject.partition(" address")[0]: row.count for row in rows}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Purpose": "prefetch"},
        {"Purpose": "prefetch"},
    ],
)
def test_request_that_nobody_has_followed_does_nothing(
    visitor: Browser, hostile: HostileProvider, world: World, headers: dict[str, str]
) -> None:
    change_provider(world, "hostile", is_default=True)
    path = begin(visitor, hostile)
    before, cookies = limited(world), dict(visitor.cookies)
    for target in (INIT, "/api-auth/default/init/", "/api-auth/hostile/complete/?state=x", path):
        answer = visitor.call("GET", target, headers=headers)
        assert answer.status_code == 403
    assert (limited(world), visitor.cookies, failures(world)) == (before, cookies, [])
    follow = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
    assert visitor.call("GET", path, headers=follow).status_code == 403
    assert [reason for _, reason, _ in failures(world)] == ["identity.unknown"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_stray_returns_prevent_nobody_from_signing_in(
    visitor: Browser,
    hostile: HostileProvider,
    world: World,
    site_with: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    linked(world, hostile)
    few = RateLimit(2, *[timedelta(minutes=1)] * 3)
    for limit in (PROVIDER, STRAY_RETURN):
        monkeypatch.setitem(limit.rates, Per.NETWORK, few)
    other = Browser(site_with(outgoing_internal_hosts=hostile.host))
    statuses = [
        other.call("GET", "/api-auth/hostile/complete/?state=x", **HTML).status_code
        for _ in range(4)
    ]
    assert statuses == [400, 400, 400, 429]
    assert (failures(world), len(limited(world))) == ([], 1)
    assert sign_in(visitor, hostile).status_code == 303
    assert is_signed_in(visitor)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_state_that_somebody_else_knows_is_used_up_and_recorded(
    visitor: Browser, hostile: HostileProvider, world: World, site_with: Callable[..., Site]
) -> None:
    linked(world, hostile)
    path = begin(visitor, hostile)
    other = Browser(site_with(outgoing_internal_hosts=hostile.host))
    for browser in (other, visitor):
        assert browser.call("GET", path, **HTML).status_code == 400
    assert len(failures(world)) == 2


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_answer_of_another_provider_is_not_accepted(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    linked(world, hostile)
    add_provider(world, "other", issuer=hostile.issuer, client_id=CLIENT_ID)
    path = begin(visitor, hostile).replace("/hostile/", "/other/")
    assert visitor.call("GET", path, **HTML).status_code == 400
    assert failures(world) == [("other", "identity.state", "127.0.0.1")]
    assert not is_signed_in(visitor)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_two_tabs_do_not_disturb_each_other(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    linked(world, hostile)
    first, second = begin(visitor, hostile), begin(visitor, hostile)
    assert visitor.call("GET", first, **HTML).status_code == 303
    assert visitor.call("GET", second, **HTML).status_code == 303
    with world.database.read() as tx:
        kinds_of_tokens = tx.fetch_all(Statement[str](select(tokens.c.kind)))
    assert kinds_of_tokens.count("session") == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_rotated_keys_and_an_outage_lose_nobody(
    visitor: Browser, hostile: HostileProvider, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if a minute had passed.
    monkeypatch.setattr(discovery, "REFRESH_INTERVAL", 0.0)
    linked(world, hostile)
    assert sign_in(visitor, hostile).status_code == 303
    hostile.rotate()
    hostile.tempers["/.well-known/openid-configuration"] = says(b"", 503)
    assert is_signed_in(visitor)
    assert sign_in(visitor, hostile).status_code == 303


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_disabled_provider_is_no_way_in(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    linked(world, hostile)
    path = begin(visitor, hostile)
    change_provider(world, "hostile", is_active=False)
    assert visitor.call("GET", path, **HTML).status_code == 400
    for name in ("hostile", "unknown"):
        answer = visitor.call("GET", f"/api-auth/{name}/init/", **HTML)
        assert (answer.status_code, "not available" in text(answer)) == (404, True)
    assert [provider for provider, _, _ in failures(world)] == ["hostile", "hostile"]
    assert "Hostile" not in text(visitor.open("/sign_in/"))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("case", "title", "reason"),
    [
        ("unverified", "You have no linked account yet", "identity.unknown"),
        ("protected", "You already have an account", "identity.email_taken"),
        ("deactivated", "Your account is deactivated", "identity.deactivated"),
    ],
)
def test_person_without_a_way_in_is_told_why(
    case: str, title: str, reason: str, visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    if case == "deactivated":
        ada = linked(world, hostile)
        with world.database.write() as tx:
            from collegium.accounts import actions  # noqa: PLC0415 - the only use

            actions.update(
                tx,
                world.staff.actor,
                world.settings,
                ada.uuid,
                {"is_active": False},
                agrees_to_policy=False,
            )
    else:
        world.person("ada", is_support=case == "protected")
        change_provider(world, "hostile", trusted_domains=["example.org"])
        hostile.person["email_verified"] = case == "protected"
    before = counts(world)
    status = 409 if case == "protected" else 403
    refused(world, visitor, sign_in(visitor, hostile), status, title, reason)
    assert counts(world) == before


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_untrusted_provider_learns_of_no_account_by_its_address(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    unknown = sign_in(visitor, hostile)
    world.person("ada")
    known = sign_in(visitor, hostile)
    assert (unknown.status_code, known.status_code) == (403, 403)
    assert text(unknown) == text(known)
    assert "have a link sent to the address" in text(known)


def test_invitee_becomes_a_member_in_the_same_step(
    visitor: Browser, hostile: HostileProvider, world: World, scene: Scene
) -> None:
    uuid = world.invite(scene.people["owner"], "ada@example.org", "PROJECT.MEMBER", scene.project)
    terms = {"kind": "terms", "content": "Be kind."}
    with world.database.write() as tx:
        agreement_actions.publish(tx, world.staff.actor, terms)
    token = world.vault.sign("invitation", uuid, world.invitation(uuid).link_version)
    opened = visitor.open(f"/invitation/{token}/")
    assert "Be kind." in text(opened)
    shown = hidden_fields(opened)["agreements"]
    page = press(visitor, hostile, f"/invitation/{token}/provider/", agreements=shown)
    page = visitor.follow(page)
    assert "Welcome!" in text(page)
    assert "Atlas" in text(page)
    assert "( ada )" in text(page)
    (grant,) = (grant for grant in world.grants_in(scene.project) if grant.username == "ada")
    # The button says that the person agrees to the text, so nothing asks for it again.
    with world.database.read() as tx:
        (accepted,) = agreement_queries.accepted_by(tx, grant.account_id)
    assert accepted.content == "Be kind."
    # The link is consumed.
    assert "already accepted" in text(visitor.open(f"/invitation/{token}/"))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_link_that_is_over_has_one_clear_page(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    path = f"/open_invitation/{'0' * 32}/"
    answer = sign_in(visitor, hostile, f"{INIT}?next={path}")
    refused(world, visitor, answer, 404, "The link is over", "invite_link.unknown")
    change_provider(world, "hostile", registration="open")
    assert sign_in(visitor, hostile, f"{INIT}?next={path}").headers["location"] == path
    assert is_signed_in(visitor)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("case", "title", "reason"),
    [
        ("validate_invitation_email", "is for another address", "invitation.other_address"),
        (
            "enable_strict_check_accepting_invitation",
            "is for another address",
            "invitation.other_address",
        ),
        ("other number", "is for a certain person", "invitation.civil_number"),
        ("taken number", "You already have an account", "identity.number_taken"),
        ("deactivated", "invited account is deactivated", "account.deactivated"),
    ],
)
def test_invitation_that_does_not_fit_has_one_clear_page(
    site_with: Callable[..., Site],
    visitor: Browser,
    hostile: HostileProvider,
    world: World,
    scene: Scene,
    case: str,
    title: str,
    reason: str,
) -> None:
    number = "EE-1" if "number" in case else ""
    change_provider(world, "hostile", attribute_mapping={"civil_number": "national_id"})
    uuid = world.invite(
        scene.people["owner"],
        "invited@example.org",
        "PROJECT.MEMBER",
        scene.project,
        civil_number=number,
    )
    hostile.userinfo["national_id"] = "EE-1" if case == "taken number" else "EE-2"
    if case == "taken number":
        world.person("other", civil_number="EE-1")
    elif case == "deactivated":
        other = world.person("other", email="invited@example.org")
        with world.database.write() as tx:
            change_account(tx, other.id, {"is_active": False})
    if "_" in case:
        visitor = Browser(site_with(outgoing_internal_hosts=hostile.host, **{case: "true"}))
    path = f"/invitation/{world.vault.sign('invitation', uuid, 1)}/"
    visitor.open(path)
    before = counts(world)
    answer = press(visitor, hostile, f"{path}provider/")
    status = 403 if case == "deactivated" else 409
    refused(world, visitor, answer, status, title, reason)
    assert counts(world) == before
    assert world.invitation(uuid).state == "pending"
    # A client that is no browser gets the same.
    visitor.open(path)
    answer = visitor.send(f"{path}provider/", provider="hostile", options=HTML)
    url = answer.text.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    said = visitor.call("GET", back(hostile.authorize(url)), headers={"Accept": "*/*"})
    assert (said.status_code, said.json()["code"]) == (status, reason)
    # With the invited address, or the number, the person is in.
    if case == "other number":
        hostile.userinfo["national_id"] = "EE-1"
    elif "_" in case:
        hostile.person["email"] = "invited@example.org"
    else:
        return
    visitor.open(path)
    assert "Welcome!" in text(visitor.follow(press(visitor, hostile, f"{path}provider/")))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("case", ["changed", "added", "of another sign-in", "not shown"])
def test_nobody_agrees_to_a_text_that_the_page_has_not_shown(
    visitor: Browser, hostile: HostileProvider, world: World, scene: Scene, case: str
) -> None:
    uuid = world.invite(scene.people["owner"], "ada@example.org", "PROJECT.MEMBER", scene.project)
    staff = world.staff.actor
    with world.database.write() as tx:
        terms = agreement_actions.publish(tx, staff, {"kind": "terms", "content": "Be kind."})
    path = f"/invitation/{world.vault.sign('invitation', uuid, 1)}/"
    shown = hidden_fields(visitor.open(path))["agreements"]
    if case == "not shown":
        shown = "x 999999999"
    answer = visitor.send(f"{path}provider/", provider="hostile", agreements=shown, options=HTML)
    if case == "of another sign-in":
        cookie = visitor.cookies["collegium_shown"]
        visitor.open(path)
        answer = visitor.send(f"{path}provider/", provider="hostile", options=HTML)
        visitor.cookies["collegium_shown"] = cookie
    with world.database.write() as tx:
        if case == "changed":
            agreement_actions.change(tx, staff, terms, {"content": "Give us your house."})
        elif case == "added":
            agreement_actions.publish(tx, staff, {"kind": "privacy", "content": "We know."})
    url = answer.text.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    visitor.call("GET", back(hostile.authorize(url)), **HTML)
    (grant,) = (grant for grant in world.grants_in(scene.project) if grant.username == "ada")
    with world.database.read() as tx:
        accepted = [text.content for text in agreement_queries.accepted_by(tx, grant.account_id)]
    assert accepted == (["Be kind."] if case == "added" else [])
    assert account(world, grant.account_id).agreed_at is None
    asked = text(visitor.follow(visitor.open("/account/")))
    for words in {"changed": ["house"], "added": ["We know."]}.get(case, ["Be kind."]):
        assert words in asked


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_new_person_without_an_address_is_asked_for_one(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    change_provider(world, "hostile", registration="open")
    hostile.person["email"] = None
    page = visitor.follow(sign_in(visitor, hostile))
    assert "has no e-mail address yet" in text(page)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_invite_link_brings_a_new_person_in(
    visitor: Browser, hostile: HostileProvider, world: World, scene: Scene
) -> None:
    def create_link(**details: Any) -> str:
        uuid = world.create_link(world.staff, "PROJECT.MEMBER", scene.organisation, **details)
        return f"/open_invitation/{uuid}/"

    public = {"is_public": True, "auto_create_project": True}
    path = create_link(auto_approve=True, **public)
    change_provider(world, "hostile", trusted_domains=["example.org"])
    denied = visitor.call("POST", f"{path}provider/", data={"provider": "hostile"}, **HTML)
    assert denied.status_code == 403
    assert "Ask to join with Hostile" in text(visitor.open(path))
    page = visitor.follow(press(visitor, hostile, f"{path}provider/"))
    assert "Welcome!" in text(page)
    assert "Project member" in text(page)
    # Somebody who has an account asks in the same step, and others decide.
    slow = create_link(**public)
    visitor.cookies.clear()
    visitor.open(slow)
    asked = visitor.follow(press(visitor, hostile, f"{slow}provider/"))
    assert "Your request was sent" in text(asked)
    # Without an account nobody sees a private link.
    private = create_link(auto_create_project=True)
    visitor.cookies.clear()
    visitor.open("/sign_in/")
    answer = visitor.send(f"{private}provider/", provider="hostile")
    assert answer.headers["location"] == f"/sign_in/?next={private}"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("way", ["invitation", "sign-in page", "invite link", "pending"])
def test_address_that_begins_a_sign_in_accepts_nothing(
    visitor: Browser, hostile: HostileProvider, world: World, scene: Scene, way: str
) -> None:
    """Somebody else can make such an address. It leads to the page with the button."""
    owner = scene.people["owner"]
    change_provider(world, "hostile", trusted_domains=["example.org"])
    uuid = world.invite(owner, "ada@example.org", "PROJECT.MEMBER", scene.project)
    token = world.vault.sign("invitation", uuid, world.invitation(uuid).link_version)
    path = f"/invitation/{token}/"
    if way == "invite link":
        link = world.create_link(owner, "PROJECT.MEMBER", scene.project, auto_approve=True)
        path = f"/open_invitation/{link}/"
    if way == "sign-in page":
        # Its button does not say where ``next`` leads.
        visitor.open(f"/sign_in/?next={path}")
        returned = press(visitor, hostile, "/sign_in/provider/", next=path)
    else:
        returned = sign_in(visitor, hostile, INIT if way == "pending" else f"{INIT}?next={path}")
    assert returned.headers["location"] == ("/" if way == "pending" else path)
    assert "ada" not in {grant.username for grant in world.grants_in(scene.project)}
    page = visitor.follow(returned)
    button = {"invite link": "Ask to join", "pending": "View invitation"}
    assert button.get(way, "Accept invitation") in text(page)
    assert world.invitation(uuid).state == "pending"
    visitor.send(path)
    assert "ada" in {grant.username for grant in world.grants_in(scene.project)}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_button_of_the_sign_in_page_brings_in_who_is_invited(
    visitor: Browser, hostile: HostileProvider, world: World, scene: Scene
) -> None:
    change_provider(world, "hostile", trusted_domains=["example.org"])
    world.invite(scene.people["owner"], "ada@example.org", "PROJECT.MEMBER", scene.project)
    visitor.open("/sign_in/")
    page = visitor.follow(press(visitor, hostile, "/sign_in/provider/"))
    assert "Welcome!" in text(page)
    assert "ada" in {grant.username for grant in world.grants_in(scene.project)}
    # It is asked for again by nobody who is signed in.
    assert visitor.send("/sign_in/provider/", next="/account/keys/").headers["location"] == (
        "/account/keys/"
    )


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_browser_goes_on_where_the_provider_sends_it_back_to(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    """A sign-in that began at another host name came back to a browser without its cookie."""
    other = {"headers": {"Accept": "text/html", "Origin": ORIGIN}}
    visitor.open("/sign_in/")
    sent = {"provider": "hostile", "next": "/account/keys/"}
    page = visitor.send("/sign_in/provider/", **sent, options=other)
    own = world.settings.base_url
    assert f"Continue at {own}" in text(page)
    assert f'href="{own}/sign_in/?choose=1&amp;next=/account/keys/"' in page.text
    visitor.sign_in(world, world.person("ada"))
    visitor.open("/account/sign_in_methods/")
    sent = {"action": "add", "provider": "hostile"}
    page = visitor.send("/account/sign_in_methods/", **sent, options=other)
    assert f'href="{own}/account/sign_in_methods/"' in page.text
    assert hostile.asked == []


def signed_up(world: World, visitor: Browser, hostile: HostileProvider) -> Person:
    """Return somebody whose account came of the first sign-in, and who has an API token."""
    sign_in(visitor, hostile)
    with world.database.write() as tx:
        identity = identity_queries.by_subject(tx, hostile.issuer, hostile.person["sub"])
        assert identity is not None
        row = account_queries.existing(tx, identity.account_id)
        actor = token_actions.actor_of(row, credentials=row.credentials_version)
        token = token_actions.log_in(tx, world.vault, world.settings, actor, "password")
    return Person(actor, token)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_second_factor_is_asked_unless_the_provider_shows_one(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    change_provider(
        world, "hostile", registration="open", attribute_mapping={"first_name": "given_name"}
    )
    ada = signed_up(world, visitor, hostile)
    codes = enable_second_factor(world, ada)
    visitor.cookies.clear()
    hostile.person["given_name"] = "Augusta"
    answer = sign_in(visitor, hostile, f"{INIT}?next=/account/keys/")
    assert answer.headers["location"] == "/sign_in/code/?next=/account/keys/"
    assert not is_signed_in(visitor)
    visitor.open(answer.headers["location"])
    assert visitor.send("/sign_in/code/", code="000000").status_code == 422
    assert account(world, ada.id).first_name == "Ada"
    answer = visitor.send("/sign_in/code/", code=codes[0], next="/account/keys/")
    assert answer.headers["location"] == "/account/keys/"
    assert is_signed_in(visitor)
    # The profile has waited for the code.
    assert account(world, ada.id).first_name == "Augusta"
    change_provider(world, "hostile", second_factor_values=["mfa"])
    hostile.id_token["amr"] = ["pwd", "mfa"]
    visitor.cookies.clear()
    assert sign_in(visitor, hostile).headers["location"] == "/"
    assert is_signed_in(visitor)


def test_front_end_gets_a_code_for_a_token(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    ada = linked(world, hostile)
    answer = sign_in(visitor, hostile, f"{INIT}?return_url={FRONT}")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(f"{FRONT}?code=")
    assert not is_signed_in(visitor)
    (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
    site = visitor._site
    exchanged = site.post("/api-auth/token-exchange/", json={"code": code})
    assert exchanged.status_code == 200
    me = site.get("/api/users/me/", exchanged.json()["token"])
    assert me.json()["username"] == ada.actor.username
    for wrong in (code, "0" * 32):
        assert site.post("/api-auth/token-exchange/", json={"code": wrong}).status_code == 400
    assert site.post("/api-auth/token-exchange/", json={"code": "x"}).status_code == 400


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_front_end_gets_nothing_before_the_second_factor(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    codes = enable_second_factor(world, linked(world, hostile))
    answer = sign_in(visitor, hostile, f"{INIT}?return_url={FRONT}")
    assert answer.headers["location"] == "/sign_in/code/"
    visitor.open("/sign_in/code/")
    assert visitor.send("/sign_in/code/", code="000000").status_code == 422
    answer = visitor.send("/sign_in/code/", code=codes[0])
    assert answer.headers["location"].startswith(f"{FRONT}?code=")
    assert not is_signed_in(visitor)
    # The code that was entered here is a second factor of this sign-in.
    (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
    token = visitor._site.post("/api-auth/token-exchange/", json={"code": code}).json()["token"]
    with world.database.read() as tx:
        owner = token_queries.owner(tx, world.vault.keyed_hash(token))
    assert owner is not None
    assert owner.has_second_factor
    # The sign-in is used up.
    assert visitor.call("GET", "/sign_in/code/").headers["location"] == "/sign_in/"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_second_factor_of_the_provider_counts_where_one_is_required(
    visitor: Browser, hostile: HostileProvider, world: World, site_with: Callable[..., Site]
) -> None:
    linked(world, hostile)
    change_provider(world, "hostile", second_factor_values=["mfa"])
    site = site_with(outgoing_internal_hosts=hostile.host, two_factor_required="everybody")
    browser = Browser(site)
    alone, both = (exchange(browser, hostile, ["pwd", *more]) for more in ([], ["mfa"]))
    assert site.get("/api/users/me/", alone.json()["token"]).status_code == 401
    token = both.json()["token"]
    assert site.get("/api/users/me/", token).status_code == 200
    # A sign-in without it does not get the token that came of one, and does not spoil it.
    assert exchange(browser, hostile, ["pwd"]).status_code == 403
    assert site.get("/api/users/me/", token).status_code == 200
    assert exchange(browser, hostile, ["mfa"]).json()["token"] == token
    sign_in(browser, hostile)
    assert is_signed_in(browser)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("first", [True, False])
def test_code_says_whether_its_own_sign_in_had_a_second_factor(
    visitor: Browser, hostile: HostileProvider, world: World, *, first: bool
) -> None:
    """Another sign-in between the code and its exchange says nothing about it."""
    ada = linked(world, hostile)
    with world.database.write() as tx:
        token_queries.revoke(tx, ada.id)
    change_provider(world, "hostile", second_factor_values=["mfa"])
    codes = []
    for has_factor in (first, not first):
        hostile.id_token["amr"] = ["pwd", *(["mfa"] if has_factor else [])]
        location = sign_in(visitor, hostile, f"{INIT}?return_url={FRONT}").headers["location"]
        codes += parse_qs(urlsplit(location).query)["code"]
    for code, has_factor in zip(codes, (first, not first), strict=True):
        token = visitor._site.post("/api-auth/token-exchange/", json={"code": code})
        with world.database.write() as tx:
            owner = token_queries.owner(tx, world.vault.keyed_hash(token.json()["token"]))
            assert owner is not None
            assert owner.has_second_factor == has_factor
            token_queries.revoke(tx, ada.id)


def exchange(browser: Browser, hostile: HostileProvider, amr: list[str]) -> httpx.Response:
    """Sign in for a front end with these methods; exchange the code for the API token."""
    hostile.id_token["amr"] = amr
    location = sign_in(browser, hostile, f"{INIT}?return_url={FRONT}").headers["location"]
    (code,) = parse_qs(urlsplit(location).query)["code"]
    return browser._site.post("/api-auth/token-exchange/", json={"code": code})


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_token_of_others_gets_no_second_factor_from_a_sign_in(
    visitor: Browser, hostile: HostileProvider, world: World, site_with: Callable[..., Site]
) -> None:
    ada = linked(world, hostile)
    change_provider(world, "hostile", second_factor_values=["mfa"])
    strict = site_with(two_factor_required="everybody")
    token = exchange(visitor, hostile, ["pwd"]).json()["token"]
    assert exchange(visitor, hostile, ["mfa"]).json()["token"] == token
    assert strict.get("/api/users/me/", token).status_code == 403
    # Where it is not required, a sign-in without it gets the token, which then has none.
    with world.database.write() as tx:
        token_queries.confirm(
            tx, ada.id, token_queries.existing(tx, ada.id).id, has_second_factor=True
        )
    assert strict.get("/api/users/me/", token).status_code == 200
    assert exchange(visitor, hostile, ["pwd"]).json()["token"] == token
    assert strict.get("/api/users/me/", token).status_code == 403


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_unknown_person_from_a_front_end_can_have_a_link_sent_and_returns_there(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    ada = world.person("ada")
    answer = sign_in(visitor, hostile, f"{INIT}?return_url={FRONT}")
    assert (answer.status_code, "You have no linked account yet" in text(answer)) == (403, True)
    assert f'href="{FRONT}?error=identity.unknown"' in answer.text
    assert "Back to portal.example.org" in text(answer)
    visitor.page = answer
    offer = answer.text.split('name="offer" value="')[1].split('"')[0]
    assert visitor.send("/sign_in/link/", offer=offer).status_code == 200
    (link,) = re.findall(r"/identity_link/[^/\s]+/", mail_text(sent_mails(world)[-1]))
    visitor.open(link)
    linked = press(visitor, hostile, link)
    assert linked.headers["location"].startswith(f"{FRONT}?code=")
    with world.database.read() as tx:
        assert len(identity_queries.of_account(tx, ada.id)) == 1
    # Without an address there is nothing to offer, so the front end says what it can.
    hostile.person |= {"sub": "bob", "email": None}
    answer = sign_in(visitor, hostile, f"{INIT}?return_url={FRONT}")
    assert answer.headers["location"] == f"{FRONT}?error=identity.unknown"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_front_end_must_be_named_exactly(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    linked(world, hostile)
    for wrong in (FRONT.rstrip("/"), f"{FRONT}x", FRONT.replace("https", "http"), "/account/", "x"):
        answer = visitor.call("GET", f"{INIT}?return_url={wrong}", **HTML)
        assert (answer.status_code, answer.headers.get("location")) == (400, None)
    # Without the parameter the page that it came from counts.
    answer = visitor.call("GET", INIT, headers={"Accept": "text/html", "Referer": FRONT})
    returned = back(hostile.authorize(answer.headers["location"]))
    assert visitor.call("GET", returned, **HTML).headers["location"].startswith(FRONT)
    # What goes wrong is said there, without a word of the provider.
    hostile.response = {"error": "access_denied", "error_description": SECRET}
    answer = sign_in(visitor, hostile, f"{INIT}?return_url={FRONT}")
    assert answer.headers["location"] == f"{FRONT}?error=identity.denied"
    # A front end that was removed in the meantime gets nothing.
    hostile.response = {}
    path = begin(visitor, hostile, f"{INIT}?return_url={FRONT}")
    change_provider(world, "hostile", allowed_redirects=[])
    assert visitor.call("GET", path, **HTML).status_code == 404


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_old_front_end_gets_the_token_if_the_operator_wants_it(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    linked(world, hostile)
    change_provider(world, "hostile", token_in_url=True)
    location = sign_in(visitor, hostile, f"{INIT}?return_url={FRONT}").headers["location"]
    (token,) = parse_qs(urlsplit(location).query)["token"]
    assert visitor._site.get("/api/users/me/", token).status_code == 200


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_official_front_end_gets_the_result_at_its_own_pages(
    visitor: Browser, hostile: HostileProvider, world: World, site_with: Callable[..., Site]
) -> None:
    linked(world, hostile)
    origin, below = "https://portal.example.org", "https://own.example.org/app"
    change_provider(world, "hostile", allowed_redirects=[origin, below, FRONT])
    internal = {"outgoing_internal_hosts": hostile.host}
    browser = Browser(site_with(**internal, homeport_url=below))

    def result(to: str, browser: Browser = browser) -> str:
        location = sign_in(browser, hostile, f"{INIT}?return_url={to}").headers["location"]
        return str(location)

    for home in (origin, below):
        assert result(home).startswith(f"{home}/oauth_login_completed/hostile/?code=")
    # An address with a page of its own is taken as it is, and so is everything without HomePort.
    assert result(FRONT).startswith(f"{FRONT}?code=")
    assert result(origin, visitor).startswith(f"{origin}?code=")
    change_provider(world, "hostile", token_in_url=True)
    assert result(origin).startswith(f"{origin}/oauth_login_completed/hostile/?token=")
    hostile.response = {"error": "access_denied", "error_description": SECRET}
    failed = urlsplit(result(origin))
    assert failed.path == "/login_failed/"
    facts = parse_qs(failed.query)
    assert facts["error"] == ["identity.denied"]
    assert facts["message"][0].startswith("The sign-in was cancelled at ")
    assert SECRET not in failed.query


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_client_that_is_no_browser_gets_json(visitor: Browser, world: World) -> None:
    answer = visitor.call("GET", "/api-auth/unknown/init/", headers={"Accept": "application/json"})
    assert answer.status_code == 404
    assert answer.json()["code"] == "provider.unknown"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_default_provider_is_entered_directly(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    assert visitor.call("GET", "/api-auth/default/init/", **HTML).status_code == 404
    change_provider(world, "hostile", is_default=True)
    linked(world, hostile)
    answer = visitor.call("GET", "/sign_in/?next=/account/keys/")
    assert answer.headers["location"] == "/api-auth/default/init/?next=/account/keys/"
    assert sign_in(visitor, hostile, answer.headers["location"]).status_code == 303
    visitor.open("/account/")
    # After signing out nobody is signed in again at once.
    visitor.cookies["collegium_flash"] = "x"
    assert visitor.call("GET", "/sign_in/?choose=1").status_code in {200, 303}


def test_person_adds_and_removes_a_sign_in_method(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    ada = world.person("ada", password="x")
    visitor.sign_in(world, ada)
    change_provider(world, "hostile", label="Hostile \u05d0")
    visitor.open("/account/sign_in_methods/")
    answer = visitor.send(
        "/account/sign_in_methods/", action="add", provider="hostile", options=HTML
    )
    url = answer.text.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    page = visitor.follow(visitor.call("GET", back(hostile.authorize(url)), **HTML))
    # Isolated: the label changes the direction of nothing around it.
    assert "You can now sign in with \u2068Hostile \u05d0\u2069." in page.text
    assert "ada@example.org" in text(page)
    (uuid,) = page.text.split('name="identity" value="')[1:2]
    form = {"action": "remove", "identity": uuid[:32], "submission": visitor.submission}
    for _ in range(2):  # the button is pressed twice
        answer = visitor.send("/account/sign_in_methods/", **form)
    page = visitor.follow(answer)
    assert "The sign-in method is removed" in text(page)
    assert "No identity provider is linked" in text(page)
    first, second = sent_mails(world)
    assert first["X-Collegium-Mail"] == second["X-Collegium-Mail"] == "identity_changed"
    assert "Hostile" in mail_text(first)
    assert "removed from" in second["Subject"]
    assert counts(world) == (2, 0)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_identity_is_linked_only_in_the_session_that_asked(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    for change in ("out", "bob"):
        visitor.sign_in(world, ada)
        visitor.open("/account/sign_in_methods/")
        answer = visitor.send(
            "/account/sign_in_methods/", action="add", provider="hostile", options=HTML
        )
        url = answer.text.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
        del visitor.cookies["collegium_session"]
        if change == "bob":
            visitor.sign_in(world, bob)
        answer = visitor.call("GET", back(hostile.authorize(url)), **HTML)
        assert (answer.status_code, "Nothing was linked" in text(answer)) == (409, True)
    assert counts(world) == (3, 0)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_sign_out_goes_on_to_the_provider(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    linked(world, hostile)
    sign_in(visitor, hostile)
    visitor.open("/account/")
    assert visitor.send("/sign_out/", options=HTML).headers["location"] == "/sign_in/"
    change_provider(world, "hostile", enable_post_logout_redirect=True)
    sign_in(visitor, hostile)
    visitor.open("/account/")
    page = visitor.send("/sign_out/", options=HTML)
    assert "You are signed out here" in text(page)
    assert f"{hostile.base}/logout?id_token_hint=" in page.text
    assert not is_signed_in(visitor)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_sign_out_of_the_api_says_where_to_go_on(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    ada = linked(world, hostile)
    site = visitor._site
    assert site.post("/api-auth/logout/", ada).status_code == 204
    for is_wanted in (False, True):
        change_provider(world, "hostile", enable_post_logout_redirect=is_wanted)
        location = sign_in(visitor, hostile, f"{INIT}?return_url={FRONT}").headers["location"]
        (code,) = parse_qs(urlsplit(location).query)["code"]
        token = site.post("/api-auth/token-exchange/", json={"code": code}).json()["token"]
        answer = site.post("/api-auth/logout/", token)
        assert answer.status_code == (200 if is_wanted else 204)
        assert site.get("/api/users/me/", token).status_code == 401
    assert answer.json()["logout_url"].startswith(f"{hostile.base}/logout?id_token_hint=")


def log_out(visitor: Browser, token: str) -> httpx.Response:
    return visitor._site.post("/api-auth/hostile/backchannel-logout/", data={"logout_token": token})


def test_provider_signs_people_out(
    visitor: Browser, hostile: HostileProvider, world: World
) -> None:
    linked(world, hostile)
    several: tuple[dict[str, Any], ...] = ({}, {"sid": None}, {"sub": None})
    for changes in several:
        sign_in(visitor, hostile)
        assert log_out(visitor, hostile.logout_token(sid="another")).status_code == 200
        assert is_signed_in(visitor)
        token = hostile.logout_token(**changes)
        assert log_out(visitor, token).status_code == 200
        assert not is_signed_in(visitor)
        sign_in(visitor, hostile)
        assert log_out(visitor, token).status_code == 400
        assert is_signed_in(visitor)
    for wrong in (
        hostile.logout_token(nonce="x"),
        hostile.logout_token(events={}),
        hostile.logout_token(aud="another"),
        hostile.logout_token(iss="https://evil.example"),
        hostile.logout_token(jti=None),
        hostile.logout_token(sub=None, sid=None),
        hostile.logout_token(key=ECKey.generate_key("P-256")),
        hostile.logout_token(exp=int(time.time()) - 100),
        "",
        "x.y.z",
    ):
        assert log_out(visitor, wrong).status_code == 400
    assert is_signed_in(visitor)
    assert account(world, 1).username == "staff"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ("nothing", 303, ""),
        ("old sign-in", 409, "did not say that you have just signed in"),
        ("no time", 409, "did not say that you have just signed in"),
        ("other person", 409, "This is another account"),
        ("two factors here", 409, "did not ask you for a second factor"),
        ("other session", 409, "You are signed out"),
    ],
)
def test_sensitive_change_is_confirmed_by_signing_in_again_at_the_provider(
    visitor: Browser, hostile: HostileProvider, world: World, change: str, status: int, said: str
) -> None:
    ada = linked(world, hostile)
    if change == "two factors here":
        enable_second_factor(world, ada)
    visitor.sign_in(world, ada)
    leave_alone(world, ada)
    visitor.open("/account/tokens/")
    page = visitor.send("/account/tokens/", name="backup")
    assert (page.status_code, "Confirm with Hostile" in text(page)) == (403, True)
    answer = visitor.send(
        "/account/confirm/", provider="hostile", next="/account/tokens/", options=HTML
    )
    url = answer.text.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    asked = parse_qs(urlsplit(url).query)
    assert {name: asked[name] for name in client.SIGN_IN_AGAIN} == {
        name: [value] for name, value in client.SIGN_IN_AGAIN.items()
    }
    if change == "old sign-in":
        hostile.id_token["auth_time"] = int(time.time()) - 3600
    elif change == "no time":
        hostile.id_token["auth_time"] = None
    elif change == "other person":
        hostile.person["sub"] = "somebody else"
    elif change == "other session":
        visitor.sign_in(world, ada)
        leave_alone(world, ada)
    answer = visitor.call("GET", back(hostile.authorize(url)), **HTML)
    assert (answer.status_code, said in text(answer)) == (status, True), text(answer)
    visitor.open("/account/tokens/")
    created = visitor.send("/account/tokens/", name="backup")
    assert created.status_code == (200 if change == "nothing" else 403)
