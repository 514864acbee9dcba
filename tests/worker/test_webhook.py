"""The invitation webhook: what it is sent, its token, and retries."""

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
from collegium.db.statements import Statement
from collegium.db.tables import invitations as invitation_rows
from collegium.invitations import queries as invitation_queries
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import EmailChanged, InvitationApproved
from collegium.outbox.outcomes import UndeliverableError, UnreachableError
from collegium.settings import Settings
from collegium.worker.retries import RETRY_DELAYS
from collegium.worker.webhook import TIMEOUTS, Notice, Webhook
from collegium.worker.worker import LEASE_SECONDS, OUTAGE_DELAYS, Worker
from tests.support import remote
from tests.support.remote import HASTE, SECRET, Answering, Asked, Temper, says
from tests.support.serving import free_port
from tests.support.site import Site
from tests.support.world import World
from tests.worker.scene import (
    START,
    Clock,
    Recorder,
    add_account,
    enqueue,
    outbox_row,
    rendered,
    rows,
    words,
    worker,
)


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


FRONT = "https://members.example.org"
NOTICE = Notice("outbox.7@example.org", "invitation_created", b"{}")


class Receiver(Answering):
    """The operator's service: ``hook`` and ``token`` respond, ``valid_tokens`` are accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.hook: Temper = says({"status": "queued"}, 202)
        self.token: Temper = says({"access_token": "good-token", "expires_in": 3600})
        self.valid_tokens = {"good-token"}
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.forms: list[dict[str, list[str]]] = []

    def settings(self, *, token: bool = True, **others: Any) -> dict[str, Any]:
        """Return the settings that name this service."""
        settings = {
            "invitation_use_webhooks": True,
            "invitation_webhook_url": f"{self.base}/hook/?a=1",
        }
        if token:
            settings |= {
                "invitation_webhook_token_url": f"{self.base}/token",
                "invitation_webhook_token_client_id": "collegium",
                "invitation_webhook_token_secret": f"client {SECRET}",
            }
        return settings | others

    def answer(self, request: Asked) -> None:
        assert request.command == "POST"
        path = request.path.removeprefix(f"/{SECRET}")
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if path == "/token":
            self.forms.append(request.form)
            expected = b64encode(f"collegium:client {SECRET}".encode()).decode()
            valid = (scheme, credentials) == ("Basic", expected)
            self.token(request) if valid else request.send(401, SECRET.encode())
            return
        assert path == "/hook/?a=1"
        self.headers.append(dict(request.headers.items()))
        if scheme and (scheme != "Bearer" or credentials not in self.valid_tokens):
            request.send(401, SECRET.encode())
            return
        self.bodies.append(json.loads(request.body))
        self.hook(request)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    yield from Receiver().running()


def _invitation(database: Database, mail: int) -> Any:
    with database.read(START) as tx:
        return invitation_queries.by_id(tx, outbox_row(database, mail).payload["invitation"])


def _enqueue_email_changed(database: Database, now: datetime = START) -> int:
    with database.write(now) as tx:
        mail = EmailChanged("old@example.org", add_account(tx), "new@example.org")
        return outbox_queries.enqueue(tx, mail)


def _cancel_invitations(database: Database, now: datetime = START) -> None:
    with database.write(now) as tx:
        tx.execute(Statement(update(invitation_rows).values(state="canceled")))


def _refusal(settings: dict[str, Any]) -> UndeliverableError:
    """Return the refusal; it comes in time and tells no secret."""
    began = time.monotonic()
    with pytest.raises(UndeliverableError) as caught:
        Webhook(Settings(**settings), HASTE).send(NOTICE)
    assert time.monotonic() - began < 5 * HASTE.total
    assert caught.value.__cause__ is None
    for secret in (SECRET, "127.0.0.1", "http"):
        assert secret not in f"{caught.value.reason} {caught.value!r}"
    return caught.value


def test_webhook_gets_the_values_of_the_mail_and_no_mail_is_sent(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    mail = enqueue(database, extra_text="Welcome!\nAda", email="Bob@example.org")
    out = Recorder()
    assert worker(database, clock, out, base_url=FRONT, **receiver.settings()).once() == 1
    (body,) = receiver.bodies
    invitation = _invitation(database, mail)
    text = words(rendered(database, mail, base_url=FRONT), "plain")
    (link,) = re.findall(rf"^{FRONT}/invitation/\S+/$", text, re.MULTILINE)
    assert body == {
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
    assert out.attempts == 0
    assert outbox_row(database, mail).state == "sent"

    mail = enqueue(database, project=None, created_by=None, role_description="")
    settings = receiver.settings(homeport_url=f"{FRONT}/app")
    assert worker(database, clock, out, **settings).once() == 1
    other = receiver.bodies[-1]
    invitation = _invitation(database, mail)
    assert other.keys() == body.keys()
    assert (other["scope_type"], other["scope_name"]) == ("customer", "Royal Society")
    assert other["redirect_scope_url"] == f"{FRONT}/app/organizations/{invitation.scope_uuid}/"
    assert other["redirect_url"] == f"{FRONT}/app/invitation/{invitation.uuid}/"
    assert (other["created_by_full_name"], other["created_by_username"]) == ("", "")
    assert (other["role_description"], other["role_name"]) == ("", invitation.role_name)


def test_repeated_webhook_call_has_the_same_idempotency_key(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    mail, other = enqueue(database), enqueue(database, START + timedelta(hours=1))
    receiver.hook = says({}, 503)
    sending = worker(database, clock, Recorder(), base_url=FRONT, **receiver.settings())
    sending.once()
    receiver.hook = says({})
    clock.now = outbox_row(database, mail).next_attempt_at
    assert sending.once() == 1
    clock.forward(hours=1)
    assert sending.once() == 1
    keys = [headers["Idempotency-Key"] for headers in receiver.headers]
    first, second = (f"outbox.{number}@members.example.org" for number in (mail, other))
    assert keys == [first, first, second]
    for headers in receiver.headers:
        assert headers["X-Collegium-Mail"] == "invitation_created"
        assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("used", [True, False])
def test_webhook_gets_only_invitations_and_only_if_switched_on(
    database: Database, clock: Clock, receiver: Receiver, *, used: bool
) -> None:
    enqueue(database)
    other = _enqueue_email_changed(database)
    settings = receiver.settings(invitation_use_webhooks=used)
    out = Recorder()
    assert worker(database, clock, out, **settings).once() == 2
    kinds = {message["X-Collegium-Mail"] for message in out.sent}
    assert kinds == ({"email_changed"} if used else {"email_changed", "invitation_created"})
    assert len(receiver.bodies) == int(used)
    assert outbox_row(database, other).state == "sent"


def test_token_is_fetched_with_client_credentials_and_reused(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    for _ in range(3):
        enqueue(database)
    sending = worker(database, clock, Recorder(), **receiver.settings())
    assert sending.once() == 3
    enqueue(database)
    assert sending.once() == 1
    assert receiver.forms == [{"grant_type": ["client_credentials"]}]
    assert {headers["Authorization"] for headers in receiver.headers} == {"Bearer good-token"}


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [(3600, 3570), ("3600", 3570), (100, 90), (1e300, 86370), (None, 270), (0, 0), (-5, 0)],
    ids=repr,
)
def test_token_is_kept_until_shortly_before_it_expires(
    receiver: Receiver, expires_in: Any, seconds: int
) -> None:
    receiver.token = says({"access_token": "good-token", "expires_in": expires_in, "scope": "x"})
    hook = Webhook(Settings(**receiver.settings()))
    began = time.monotonic()
    hook.send(NOTICE)
    left = hook._token_expires_at - began
    assert seconds <= left <= seconds + time.monotonic() - began if seconds else left <= 0.1
    hook.send(NOTICE)
    assert len(receiver.forms) == (1 if seconds else 2)
    hook._token_expires_at = time.monotonic()
    hook.send(NOTICE)
    assert len(receiver.forms) == (2 if seconds else 3)


def test_rejected_token_is_replaced_once(receiver: Receiver) -> None:
    hook = Webhook(Settings(**receiver.settings()))
    hook.send(NOTICE)
    receiver.valid_tokens = {"better-token"}
    receiver.token = says({"access_token": "better-token"})
    hook.send(NOTICE)
    assert len(receiver.forms) == 2
    receiver.valid_tokens = set()
    with pytest.raises(UnreachableError, match=r"rejected our token \(401\)"):
        hook.send(NOTICE)
    assert len(receiver.forms) == 3  # one new token and no more
    assert len(receiver.headers) == 5
    assert len(receiver.bodies) == 2


def test_webhook_without_token_url_is_called_without_token(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    enqueue(database)
    assert worker(database, clock, Recorder(), **receiver.settings(token=False)).once() == 1
    assert "Authorization" not in receiver.headers[0]
    assert receiver.forms == []
    receiver.hook = says(SECRET.encode(), 401)
    assert isinstance(_refusal(receiver.settings(token=False)), UnreachableError)
    assert len(receiver.bodies) == 2


BAD_TOKEN_RESPONSES: dict[str, Temper] = {
    "hangs": remote.hangs,
    "drips": remote.drips,
    "drips-headers": remote.drips_headers,
    "floods": remote.floods,
    "breaks-off": remote.breaks_off,
    "talks-nonsense": remote.talks_nonsense,
    "wrong-credentials": says(SECRET.encode(), 401),
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


@pytest.mark.parametrize("response", BAD_TOKEN_RESPONSES)
def test_invitation_is_retried_if_no_token_can_be_obtained(
    receiver: Receiver, response: str
) -> None:
    receiver.token = BAD_TOKEN_RESPONSES[response]
    refusal = _refusal(receiver.settings())
    assert isinstance(refusal, UnreachableError)
    assert refusal.reason == "The token for the webhook could not be obtained."
    assert receiver.headers == []


@pytest.mark.parametrize("response", ["hangs", "drips_headers", "talks_nonsense"])
def test_webhook_call_without_a_response_ends_in_time(receiver: Receiver, response: str) -> None:
    receiver.hook = getattr(remote, response)
    refusal = _refusal(receiver.settings())
    assert isinstance(refusal, UnreachableError)
    assert refusal.reason == "The webhook did not answer."


def test_closed_port_or_missing_url_is_unreachable(receiver: Receiver) -> None:
    for url in (f"http://127.0.0.1:{free_port()}/{SECRET}", "", f"http://[{SECRET}"):
        for name in ("invitation_webhook_url", "invitation_webhook_token_url"):
            settings = receiver.settings(token=False)
            assert not url or isinstance(_refusal(settings | {name: url}), UnreachableError)
    assert isinstance(_refusal({"invitation_use_webhooks": True}), UnreachableError)


@pytest.mark.parametrize(
    "response", ["drips", "drips_chunks", "floods", "floods_without_end", "breaks_off"]
)
def test_body_of_a_successful_webhook_response_is_not_read(
    receiver: Receiver, response: str
) -> None:
    receiver.hook = getattr(remote, response)
    began = time.monotonic()
    Webhook(Settings(**receiver.settings())).send(NOTICE)
    assert time.monotonic() - began < TIMEOUTS.read / 2


@pytest.mark.parametrize(
    "status", [200, 201, 202, 204, 206, 400, 402, 403, 404, 405, 409, 410, 413, 422, 451]
)
def test_webhook_status_decides_between_sent_and_failed(
    database: Database, clock: Clock, receiver: Receiver, status: int
) -> None:
    mail = enqueue(database)
    is_success = status < 300
    receiver.hook = says(b"" if is_success else SECRET.encode(), status)
    assert worker(database, clock, Recorder(), **receiver.settings()).once() == int(is_success)
    row = outbox_row(database, mail)
    assert (row.state, row.attempts) == ("sent" if is_success else "failed", 1)
    error = f"The webhook refused the invitation ({status})."
    assert row.error == ("" if is_success else error)


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308, 408, 429, 500, 501, 502, 503, 504])
def test_temporary_refusal_of_the_webhook_is_retried(
    database: Database, clock: Clock, receiver: Receiver, status: int
) -> None:
    mail, other = enqueue(database), enqueue(database)
    receiver.hook = says(SECRET.encode(), status, Location="/elsewhere", Retry_After="1")
    sending = worker(database, clock, Recorder(), **receiver.settings())
    assert sending.once() == 0
    for row in (outbox_row(database, mail), outbox_row(database, other)):
        assert (row.state, row.attempts) == ("queued", 1)
        assert row.error == f"The webhook refused the invitation ({status})."
        assert row.next_attempt_at > clock.now + RETRY_DELAYS[0] / 2
    receiver.hook = says(b"", 204)
    clock.forward(minutes=1)
    assert sending.once() == 2


def test_webhook_gets_no_cancelled_invitation(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    mail = enqueue(database)
    _cancel_invitations(database)
    assert worker(database, clock, Recorder(), **receiver.settings()).once() == 0
    assert outbox_row(database, mail).state == "obsolete"
    assert receiver.headers == []


def test_webhook_outage_delays_only_invitations(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    first, *others = [enqueue(database) for _ in range(3)]
    mail = _enqueue_email_changed(database)
    settings = receiver.settings(
        token=False, invitation_webhook_url=f"http://127.0.0.1:{free_port()}/"
    )
    out = Recorder()
    assert worker(database, clock, out, **settings).once() == 1
    assert outbox_row(database, mail).state == "sent"
    assert outbox_row(database, first).attempts == 1
    for other in others:
        row = outbox_row(database, other)
        assert (row.attempts, row.next_attempt_at) == (0, clock.now + OUTAGE_DELAYS[0])
        assert row.error == "The webhook did not answer."
    clock.forward(hours=1)
    assert worker(database, clock, out, **receiver.settings()).once() == 3


def test_mail_server_outage_delays_only_mails(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    first, second = (_enqueue_email_changed(database) for _ in range(2))
    with database.write(START) as tx:
        # Queued before the setting was changed; its loader is not called.
        third = outbox_queries.enqueue(tx, InvitationApproved("bob@example.org", 0, 0))
    invitation = enqueue(database)
    out = Recorder(UnreachableError("Connection refused."))
    sending = worker(database, clock, out, **receiver.settings())
    assert sending.once() == 1
    assert outbox_row(database, invitation).state == "sent"
    assert out.attempts == 1
    assert outbox_row(database, first).attempts == 1
    for waiting in (second, third):
        row = outbox_row(database, waiting)
        assert (row.attempts, row.next_attempt_at) == (0, clock.now + OUTAGE_DELAYS[0])


def test_mail_server_and_webhook_count_outages_separately(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    out = Recorder(UnreachableError("Connection refused."))
    receiver.valid_tokens = set()
    sending = worker(database, clock, out, **receiver.settings())
    for delay in OUTAGE_DELAYS:
        enqueue(database, clock.now)
        waiting = enqueue(database, clock.now)
        sending.once()
        assert outbox_row(database, waiting).next_attempt_at == clock.now + delay
        clock.forward(hours=1)
        _cancel_invitations(database, clock.now)
        sending.once()
        assert {row.state for row in rows(database).values()} == {"obsolete"}
    _enqueue_email_changed(database, clock.now)
    waiting = _enqueue_email_changed(database, clock.now)
    sending.once()
    assert outbox_row(database, waiting).next_attempt_at == clock.now + OUTAGE_DELAYS[0]


@pytest.mark.parametrize("response", ["accepts", "refuses", "no-token"])
def test_log_of_webhook_calls_has_no_link_address_or_secret(
    database: Database, clock: Clock, receiver: Receiver, response: str
) -> None:
    mail = enqueue(database)
    if response == "refuses":
        receiver.hook = says(SECRET.encode(), 400)
    if response == "no-token":
        receiver.token = says({"error": SECRET})
    with capture_logs() as logs:
        worker(database, clock, Recorder(), **receiver.settings()).once()
    assert len(logs) == 1
    text = f"{logs} {outbox_row(database, mail).error}"
    for secret in (SECRET, "good-token", "127.0.0.1", "/invitation/", "bob@example.org"):
        assert secret not in text


def test_webhook_call_ends_long_before_the_lease() -> None:
    assert TIMEOUTS.total < LEASE_SECONDS / 2


def test_inviter_sees_the_delivery_status_of_the_webhook(
    world: World, make_site: Callable[[Settings], Site], receiver: Receiver
) -> None:
    settings = replace(world.settings, **receiver.settings())
    site = make_site(settings)
    owner = world.person("owner")
    project = world.project(world.organisation(owner=owner))
    uuid = world.invite(owner, "bob@example.org", "PROJECT.MEMBER", project)
    path = f"/api/user-invitations/{uuid}/"

    def delivery_status() -> tuple[str, str]:
        body = site.get(path, owner).json()
        return body["execution_state"], body["error_message"]

    seen: list[tuple[str, str]] = []

    def refuse(request: Asked) -> None:
        seen.append(delivery_status())
        request.send(422, SECRET.encode())

    receiver.hook = refuse
    assert delivery_status() == ("Scheduled", "")
    Worker(world.database, settings, world.vault, out := Recorder()).once()
    assert seen == [("Processing", "")]
    assert delivery_status() == ("Erred", "The webhook refused the invitation (422).")
    receiver.hook = says({})
    assert site.post(f"{path}send/", owner).status_code == 200
    Worker(world.database, settings, world.vault, out).once()
    assert delivery_status() == ("OK", "")
    assert len({headers["Idempotency-Key"] for headers in receiver.headers}) == 2
    assert out.attempts == 0


def test_invitation_sent_by_webhook_creates_no_account(world: World, receiver: Receiver) -> None:
    owner = world.person("owner")
    project = world.project(world.organisation(owner=owner))
    world.invite(owner, "bob@example.org", "PROJECT.MEMBER", project)
    settings = replace(world.settings, invitation_create_missing_user=True, **receiver.settings())
    assert Worker(world.database, settings, world.vault, Recorder()).once() == 1
    assert [body["email"] for body in receiver.bodies] == ["bob@example.org"]
    with world.database.read() as tx:
        assert account_queries.with_password(tx, email="bob@example.org") is None
