"""Where the operator says so, an invitation is handed to a service of theirs, and to nobody else.

It has the life of a mail: it goes out once if all goes well, or is given up with a reason.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Row, Statement
from collegium.db.tables import invitations as invitation_rows
from collegium.invitations import queries as invitation_queries
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import EmailChanged, InvitationApproved
from collegium.outbox.outcomes import UndeliverableError, UnreachableError
from collegium.settings import Settings
from collegium.worker.webhook import TIMEOUTS, Notice, Webhook
from collegium.worker.worker import LEASE_SECONDS, OUTAGE_DELAYS, RETRY_DELAYS, Worker
from tests.support import remote as tempers
from tests.support.remote import HASTE, SECRET, Answering, Asked, Temper, says
from tests.support.serving import free_port
from tests.support.site import Site
from tests.support.world import World
from tests.worker.scene import (
    START,
    Clock,
    Recorder,
    add_account,
    owe,
    owed,
    rows,
    words,
    worker,
    written,
)

FRONT = "https://members.example.org"
CLIENT = f"collegium:client {SECRET}"
NOTICE = Notice("outbox.7@example.org", "invitation_created", b"{}")
KEYS = {
    "email",
    "role_name",
    "role_description",
    "scope_type",
    "scope_name",
    "scope_uuid",
    "scope_slug",
    "extra_invitation_text",
    "created_by_full_name",
    "created_by_username",
    "expires",
    "redirect_scope_url",
    "redirect_url",
    "invitation_uuid",
}


class Receiver(Answering):
    """The operator's service: ``hook`` and ``token`` are tempers, ``taken`` the good tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.hook: Temper = says({"status": "queued"}, 202)
        self.token: Temper = says({"access_token": "good-token", "expires_in": 3600})
        self.taken = {"good-token"}
        self.told: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.forms: list[dict[str, list[str]]] = []

    def settings(self, *, token: bool = True, **others: Any) -> dict[str, Any]:
        """The settings that lead here."""
        named = {"url": f"{self.base}/hook/?a=1"} | (
            {
                "token_url": f"{self.base}/token",
                "token_client_id": "collegium",
                "token_secret": f"client {SECRET}",
            }
            if token
            else {}
        )
        leading = {f"invitation_webhook_{name}": value for name, value in named.items()}
        return {"invitation_use_webhooks": True, **leading, **others}

    def answer(self, asked: Asked) -> None:
        assert asked.command == "POST"
        path = asked.path.removeprefix(f"/{SECRET}")
        scheme, _, credentials = asked.headers.get("Authorization", "").partition(" ")
        if path == "/token":
            self.forms.append(asked.form)
            right = (scheme, credentials) == ("Basic", b64encode(CLIENT.encode()).decode())
            self.token(asked) if right else asked.send(401, SECRET.encode())
            return
        assert path == "/hook/?a=1"
        self.headers.append(dict(asked.headers.items()))
        if scheme and (scheme != "Bearer" or credentials not in self.taken):
            asked.send(401, SECRET.encode())
            return
        self.told.append(json.loads(asked.body))
        self.hook(asked)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    yield from Receiver().running()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _invitation(database: Database, mail: int) -> Row:
    with database.read(START) as tx:
        return invitation_queries.by_id(tx, owed(database, mail).payload["invitation"])


def _owe_another_mail(database: Database, now: datetime = START) -> int:
    with database.write(now) as tx:
        account = add_account(tx)
        return outbox_queries.enqueue(
            tx, EmailChanged("old@example.org", account, "new@example.org")
        )


def _refusal(settings: dict[str, Any]) -> UndeliverableError:
    """Be refused in time and in discretion."""
    began = time.monotonic()
    with pytest.raises(UndeliverableError) as caught:
        Webhook(Settings(**settings), HASTE).send(NOTICE)
    assert time.monotonic() - began < 5 * HASTE.total
    assert caught.value.__cause__ is None
    for secret in (SECRET, "127.0.0.1", "http"):
        assert secret not in f"{caught.value.reason} {caught.value!r}"
    return caught.value


def test_the_service_is_told_what_a_mail_would_say_and_no_mail_goes_out(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    mail = owe(database, extra_text="Welcome!\nAda", email="Bob@example.org")
    out = Recorder()
    assert worker(database, clock, out, base_url=FRONT, **receiver.settings()).once() == 1
    (told,) = receiver.told
    invitation = _invitation(database, mail)
    (link,) = re.findall(
        rf"^{FRONT}/invitation/\S+/$",
        words(written(database, mail, base_url=FRONT), "plain"),
        re.MULTILINE,
    )
    assert told == {
        "email": "Bob@example.org",
        "role_name": invitation.role_name,
        "role_description": "Reviewer of papers",
        "scope_type": "project",
        "scope_name": "Analytical Engines",
        "scope_uuid": invitation.scope_uuid,
        "scope_slug": invitation.scope_slug,
        "extra_invitation_text": "Welcome!\nAda",
        "created_by_full_name": "Ada Lovelace",
        "created_by_username": invitation.creator_username,
        "expires": "2026-11-29T12:00:00Z",
        "redirect_scope_url": f"{FRONT}/projects/{invitation.scope_uuid}/",
        "redirect_url": link,
        "invitation_uuid": invitation.uuid,
    }
    assert told.keys() == KEYS
    assert out.tries == 0
    assert owed(database, mail).state == "sent"


def test_an_organisation_is_a_customer_and_a_front_end_of_its_own_gets_its_own_links(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    mail = owe(database, project=None, created_by=None, role_description="")
    settings = receiver.settings(homeport_url=f"{FRONT}/app")
    assert worker(database, clock, Recorder(), **settings).once() == 1
    (told,) = receiver.told
    invitation = _invitation(database, mail)
    assert told.keys() == KEYS
    assert (told["scope_type"], told["scope_name"]) == ("customer", "Royal Society")
    assert told["redirect_scope_url"] == f"{FRONT}/app/organizations/{invitation.scope_uuid}/"
    assert told["redirect_url"] == f"{FRONT}/app/invitation/{invitation.uuid}/"
    assert (told["created_by_full_name"], told["created_by_username"]) == ("", "")
    assert (told["role_description"], told["role_name"]) == ("", invitation.role_name)


def test_a_repeat_can_be_told_from_another_invitation(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    mail, other = owe(database), owe(database, START + timedelta(hours=1))
    receiver.hook = says({}, 503)
    paying = worker(database, clock, Recorder(), base_url=FRONT, **receiver.settings())
    paying.once()
    receiver.hook = says({})
    clock.now = owed(database, mail).next_attempt_at
    assert paying.once() == 1
    clock.forward(hours=1)
    assert paying.once() == 1
    keys = [headers["Idempotency-Key"] for headers in receiver.headers]
    first, second = (f"outbox.{number}@members.example.org" for number in (mail, other))
    assert keys == [first, first, second]
    for headers in receiver.headers:
        assert headers["X-Collegium-Mail"] == "invitation_created"
        assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("used", [True, False])
def test_only_invitations_go_there_and_only_where_it_is_said(
    database: Database, clock: Clock, receiver: Receiver, *, used: bool
) -> None:
    owe(database)
    other = _owe_another_mail(database)
    settings = receiver.settings(invitation_use_webhooks=used)
    out = Recorder()
    assert worker(database, clock, out, **settings).once() == 2
    kinds = {message["X-Collegium-Mail"] for message in out.sent}
    assert kinds == {"email_changed"} | (set() if used else {"invitation_created"})
    assert len(receiver.told) == int(used)
    assert owed(database, other).state == "sent"


def test_a_token_is_got_by_our_credentials_and_used_again(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    for _ in range(3):
        owe(database)
    paying = worker(database, clock, Recorder(), **receiver.settings())
    assert paying.once() == 3
    owe(database)
    assert paying.once() == 1
    assert receiver.forms == [{"grant_type": ["client_credentials"]}]
    assert {headers["Authorization"] for headers in receiver.headers} == {"Bearer good-token"}


@pytest.mark.parametrize(
    ("lasts", "held"),
    [(3600, 3570), ("3600", 3570), (100, 90), (1e300, 86370), (None, 270), (0, 0), (-5, 0)],
    ids=repr,
)
def test_a_token_is_held_until_shortly_before_it_runs_out(
    receiver: Receiver, lasts: Any, held: int
) -> None:
    receiver.token = says({"access_token": "good-token", "expires_in": lasts, "scope": "x"})
    hook = Webhook(Settings(**receiver.settings()))
    began = time.monotonic()
    hook.send(NOTICE)
    left = hook._until - began
    assert held <= left <= held + time.monotonic() - began if held else left <= 0.1
    hook.send(NOTICE)
    assert len(receiver.forms) == (1 if held else 2)
    hook._until = time.monotonic()
    hook.send(NOTICE)
    assert len(receiver.forms) == (2 if held else 3)


def test_a_token_that_is_no_longer_taken_is_replaced_once(receiver: Receiver) -> None:
    hook = Webhook(Settings(**receiver.settings()))
    hook.send(NOTICE)
    receiver.taken, receiver.token = {"better-token"}, says({"access_token": "better-token"})
    hook.send(NOTICE)
    assert len(receiver.forms) == 2
    receiver.taken = set()
    with pytest.raises(UnreachableError, match=r"rejected our token \(401\)"):
        hook.send(NOTICE)
    assert len(receiver.forms) == 3  # a new one, and no more
    assert len(receiver.headers) == 5
    assert len(receiver.told) == 2


def test_where_no_tokens_are_given_none_is_shown(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    owe(database)
    assert worker(database, clock, Recorder(), **receiver.settings(token=False)).once() == 1
    assert "Authorization" not in receiver.headers[0]
    assert receiver.forms == []
    receiver.hook = says(SECRET.encode(), 401)
    assert isinstance(_refusal(receiver.settings(token=False)), UnreachableError)
    assert len(receiver.told) == 2


BAD_TOKENS: dict[str, Temper] = {
    "hangs": tempers.hangs,
    "drips": tempers.drips,
    "drips-headers": tempers.drips_headers,
    "floods": tempers.floods,
    "breaks-off": tempers.breaks_off,
    "talks-nonsense": tempers.talks_nonsense,
    "fails": says(SECRET.encode(), 500),
    "forbids": says({"error": "invalid_client", "error_description": SECRET}, 400),
    "redirects": says(b"", 302, Location="/token"),
    "words": says(SECRET.encode()),
    "empty": says(b""),
    "deep": says(b'{"x":' * 9_000),
    "latin-1": says(b'{"access_token": "\xe4"}'),
    "half-a-character": says(b'{"access_token": "\\ud800"}'),
    "no-token": says({"error": SECRET}),
    "null": says({"access_token": None}),
    "blank": says({"access_token": ""}),
    "two-words": says({"access_token": f"two {SECRET}"}),
    "two-lines": says({"access_token": f"two\r\nX-Evil: {SECRET}"}),
    "letters": says({"access_token": "kõõr"}),
    "long": says({"access_token": "x" * 20_000}),
    "strange-end": says({"access_token": "good-token", "expires_in": SECRET}),
}


@pytest.mark.parametrize("temper", BAD_TOKENS)
def test_without_a_token_nothing_is_told_and_nothing_given_up(
    receiver: Receiver, temper: str
) -> None:
    receiver.token = BAD_TOKENS[temper]
    refusal = _refusal(receiver.settings())
    assert isinstance(refusal, UnreachableError)
    assert refusal.reason == "The token for the webhook could not be obtained."
    assert receiver.headers == []


def test_wrong_credentials_are_nothing_that_an_invitation_is_given_up_for(
    receiver: Receiver,
) -> None:
    refusal = _refusal(receiver.settings(invitation_webhook_token_secret="wrong"))
    assert isinstance(refusal, UnreachableError)


@pytest.mark.parametrize("temper", ["hangs", "drips_headers", "talks_nonsense"])
def test_a_service_that_does_not_answer_is_left_in_time(receiver: Receiver, temper: str) -> None:
    receiver.hook = getattr(tempers, temper)
    refusal = _refusal(receiver.settings())
    assert isinstance(refusal, UnreachableError)
    assert refusal.reason == "The webhook did not answer."


def test_a_closed_port_and_no_address_at_all_are_no_answer(receiver: Receiver) -> None:
    for url in (f"http://127.0.0.1:{free_port()}/{SECRET}", "", f"http://[{SECRET}"):
        for name in ("invitation_webhook_url", "invitation_webhook_token_url"):
            settings = receiver.settings(token=False)
            assert not url or isinstance(_refusal(settings | {name: url}), UnreachableError)
    assert isinstance(_refusal({"invitation_use_webhooks": True}), UnreachableError)


@pytest.mark.parametrize(
    "temper",
    ["drips", "drips_chunks", "floods", "floods_without_end", "breaks_off"],
)
def test_once_the_service_has_said_yes_nobody_listens_any_longer(
    receiver: Receiver, temper: str
) -> None:
    receiver.hook = getattr(tempers, temper)
    began = time.monotonic()
    Webhook(Settings(**receiver.settings())).send(NOTICE)
    assert time.monotonic() - began < TIMEOUTS.read / 2


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206])
def test_every_status_that_says_yes_is_one(
    database: Database, clock: Clock, receiver: Receiver, status: int
) -> None:
    mail = owe(database)
    receiver.hook = says(b"", status)
    assert worker(database, clock, Recorder(), **receiver.settings()).once() == 1
    assert owed(database, mail).state == "sent"


@pytest.mark.parametrize("status", [400, 402, 403, 404, 405, 409, 410, 413, 422, 451])
def test_what_is_refused_for_good_is_given_up_at_once(
    database: Database, clock: Clock, receiver: Receiver, status: int
) -> None:
    mail = owe(database)
    receiver.hook = says(SECRET.encode(), status)
    assert worker(database, clock, Recorder(), **receiver.settings()).once() == 0
    row = owed(database, mail)
    assert (row.state, row.attempts) == ("failed", 1)
    assert row.error == f"The webhook refused the invitation ({status})."


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308, 408, 429, 500, 501, 502, 503, 504])
def test_what_is_refused_for_now_is_tried_again_later(
    database: Database, clock: Clock, receiver: Receiver, status: int
) -> None:
    mail, other = owe(database), owe(database)
    receiver.hook = says(SECRET.encode(), status, Location="/elsewhere", Retry_After="1")
    paying = worker(database, clock, Recorder(), **receiver.settings())
    assert paying.once() == 0
    for row in (owed(database, mail), owed(database, other)):
        assert (row.state, row.attempts) == ("queued", 1)
        assert row.error == f"The webhook refused the invitation ({status})."
        assert row.next_attempt_at > clock.now + RETRY_DELAYS[0] / 2
    receiver.hook = says(b"", 204)
    clock.forward(minutes=1)
    assert paying.once() == 2


def test_an_invitation_that_is_void_is_not_told(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    mail = owe(database)
    with database.write(START) as tx:
        tx.execute(Statement(update(invitation_rows).values(state="canceled")))
    assert worker(database, clock, Recorder(), **receiver.settings()).once() == 0
    assert owed(database, mail).state == "obsolete"
    assert receiver.headers == []


def test_a_service_that_is_down_holds_back_invitations_and_no_mail(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    first, *others = [owe(database) for _ in range(3)]
    mail = _owe_another_mail(database)
    settings = receiver.settings(
        token=False, invitation_webhook_url=f"http://127.0.0.1:{free_port()}/"
    )
    out = Recorder()
    assert worker(database, clock, out, **settings).once() == 1
    assert owed(database, mail).state == "sent"
    assert owed(database, first).attempts == 1
    for other in others:
        row = owed(database, other)
        assert (row.attempts, row.next_attempt_at) == (0, clock.now + OUTAGE_DELAYS[0])
        assert row.error == "The webhook did not answer."
    clock.forward(hours=1)
    assert worker(database, clock, out, **receiver.settings()).once() == 3


def test_a_mail_server_that_is_down_holds_back_mails_and_no_invitation(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    first, second = (_owe_another_mail(database) for _ in range(2))
    with database.write(START) as tx:
        # One that went the other way before the setting was changed; its loader is not reached.
        third = outbox_queries.enqueue(tx, InvitationApproved("bob@example.org", 0, 0))
    invitation = owe(database)
    out = Recorder(UnreachableError("Connection refused."))
    paying = worker(database, clock, out, **receiver.settings())
    assert paying.once() == 1
    assert owed(database, invitation).state == "sent"
    assert out.tries == 1
    assert owed(database, first).attempts == 1
    for waiting in (second, third):
        row = owed(database, waiting)
        assert (row.attempts, row.next_attempt_at) == (0, clock.now + OUTAGE_DELAYS[0])


def test_each_way_counts_its_own_outages(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    out = Recorder(UnreachableError("Connection refused."))
    receiver.taken = set()
    paying = worker(database, clock, out, **receiver.settings())
    for delay in OUTAGE_DELAYS:
        owe(database, clock.now)
        waiting = owe(database, clock.now)
        paying.once()
        assert owed(database, waiting).next_attempt_at == clock.now + delay
        clock.forward(hours=1)
        with database.write(clock.now) as tx:
            tx.execute(Statement(update(invitation_rows).values(state="canceled")))
        paying.once()
        assert {row.state for row in rows(database).values()} == {"obsolete"}
    _owe_another_mail(database, clock.now)
    waiting = _owe_another_mail(database, clock.now)
    paying.once()
    assert owed(database, waiting).next_attempt_at == clock.now + OUTAGE_DELAYS[0]


@pytest.mark.parametrize("temper", ["says-yes", "says-no", "no-token"])
def test_neither_link_nor_address_nor_secret_gets_into_the_log(
    database: Database, clock: Clock, receiver: Receiver, temper: str
) -> None:
    mail = owe(database)
    if temper == "says-no":
        receiver.hook = says(SECRET.encode(), 400)
    if temper == "no-token":
        receiver.token = says({"error": SECRET})
    with capture_logs() as logs:
        worker(database, clock, Recorder(), **receiver.settings()).once()
    assert len(logs) == 1
    told = f"{logs} {owed(database, mail).error}"
    for secret in (SECRET, "good-token", "127.0.0.1", "/invitation/", "bob@example.org"):
        assert secret not in told


def test_a_delivery_ends_long_before_its_lease() -> None:
    assert TIMEOUTS.total < LEASE_SECONDS / 2


def test_the_fate_of_an_invitation_is_told_to_who_sent_it(
    world: World, make_site: Callable[[Settings], Site], receiver: Receiver
) -> None:
    settings = replace(world.settings, **receiver.settings())
    site = make_site(settings)
    owner = world.person("owner")
    project = world.project(world.organisation(owner=owner))
    uuid = world.invite(owner, "bob@example.org", "PROJECT.MEMBER", project)
    path = f"/api/user-invitations/{uuid}/"

    def fate() -> tuple[str, str]:
        said = site.get(path, owner).json()
        return said["execution_state"], said["error_message"]

    seen: list[tuple[str, str]] = []

    def look(asked: Asked) -> None:
        seen.append(fate())
        asked.send(422, SECRET.encode())

    receiver.hook = look
    assert fate() == ("Scheduled", "")
    Worker(world.database, settings, world.vault, out := Recorder()).once()
    assert seen == [("Processing", "")]
    assert fate() == ("Erred", "The webhook refused the invitation (422).")
    receiver.hook = says({})
    assert site.post(f"{path}send/", owner).status_code == 200
    Worker(world.database, settings, world.vault, out).once()
    assert fate() == ("OK", "")
    assert len({headers["Idempotency-Key"] for headers in receiver.headers}) == 2
    assert out.tries == 0


def test_no_account_is_made_for_an_invitation_that_the_service_tells(
    world: World, receiver: Receiver
) -> None:
    owner = world.person("owner")
    project = world.project(world.organisation(owner=owner))
    world.invite(owner, "bob@example.org", "PROJECT.MEMBER", project)
    settings = replace(world.settings, invitation_create_missing_user=True, **receiver.settings())
    assert Worker(world.database, settings, world.vault, Recorder()).once() == 1
    assert [told["email"] for told in receiver.told] == ["bob@example.org"]
    with world.database.read() as tx:
        assert account_queries.known(tx, email="bob@example.org") is None
