"""The e-mails that a worker sends in a test."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any

from collegium.worker.worker import Worker
from tests.support.world import World
from tests.worker.scene import Recorder


def sent_mails(world: World, kind: str = "") -> list[EmailMessage]:
    """Deliver the outbox; return what was sent, or what was sent of one kind."""
    recorder = Recorder()
    Worker(world.database, world.settings, world.vault, recorder).once()
    return [mail for mail in recorder.sent if kind in {"", mail["X-Collegium-Mail"]}]


def mail_text(mail: EmailMessage, subtype: str = "plain") -> str:
    """Return one part of an e-mail as text."""
    body: Any = mail.get_body((subtype,))
    return str(body.get_content())
