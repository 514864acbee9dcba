"""The main job, by the official clients, over a socket, with mail through a real SMTP server."""

from __future__ import annotations

import json
import re
import subprocess
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from tests.mailbox import Mailbox
from tests.serving import Service, free_port

ROOT = Path(__file__).parents[2]
KEY = "a key for tests, long enough to pass for one"


def tell(version: str, service: Service, *words: str) -> dict[str, Any]:
    """Run a story with the interpreter of a client's version; give what it ends with."""
    interpreter = ROOT / f".venv-waldur-{version}" / "bin" / "python"
    assert interpreter.exists(), f"{interpreter} is missing; script/test makes it"
    story = Path(__file__).parent / "stories" / "main_job.py"
    done = subprocess.run(
        [interpreter, story, service.base, *words],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:] + service.log.read_text()[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_mail(mail: EmailMessage, service: Service) -> str:
    """Hold a mail against the operator's contract; give its link."""
    assert mail["X-Collegium-Mail"] == "invitation_created"
    assert mail["From"] == "Collegium <no-reply@localhost>"
    kinds = [part.get_content_type() for part in mail.walk()]
    assert kinds == ["multipart/alternative", "text/plain", "text/html"]
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    links = re.findall(rf"{service.base}/invitation/[^/\s]+/", text.get_content())
    assert len(set(links)) == 1
    assert links[0] in html.get_content()
    return str(links[0])


@pytest.fixture
def settings(url: str) -> dict[str, str]:
    return {"database_url": url, "secret_key": KEY}


@pytest.mark.parametrize("version", ["7.9.0", "8.1.3"])
def test_an_operator_with_the_official_client_brings_a_colleague_into_a_project(
    version: str, settings: dict[str, str], tmp_path: Path
) -> None:
    with Mailbox(free_port()).listening() as mailbox:
        service = Service(tmp_path, settings | {"mail_url": mailbox.url})
        token = service.staff()
        service.start()
        if settings["database_url"].startswith("postgresql"):
            service.start_post()
        try:
            told = tell(version, service, token, "one", "--wait-for-mail")
            # The first, the second, the second once more after it was called back, the third.
            mails = mailbox.to(told["address"])
            links = [check_mail(mail, service) for mail in mails]
            assert len(links) == len(set(links)) == 4
            pages = [service.call("GET", link.removeprefix(service.base)) for link in links]
            # Accepted; dead since it was sent anew; accepted; open.
            assert [page.status_code for page in pages] == [410, 404, 410, 200]
            assert "Survey one" in pages[3].text
        finally:
            service.stop()


def test_nothing_is_lost_or_doubled_when_it_is_killed_before_the_mail_is_out(
    settings: dict[str, str], tmp_path: Path
) -> None:
    with Mailbox(free_port()).listening() as mailbox:
        service = Service(tmp_path, settings | {"mail_url": mailbox.url})
        token = service.staff()
        # Nobody pays the outbox, so when it is killed every mail of the story is still owed.
        service.start("--no-post")
        try:
            told = tell("7.9.0", service, token, "two")
            accept = f"/api/user-invitations/{told['open']}/accept/"
            assert service.call("POST", accept, told["invitee"]).status_code == 200
            team_path = f"/api/projects/{told['project']}/list_users/"
            role = service.call("GET", team_path, token).json()[0]["role_uuid"]
            project = f"{service.base}/api/projects/{told['project']}/"
            body = {"scope": project, "role": role, "email": "later@example.org"}
            invited = service.call("POST", "/api/user-invitations/", told["owner"], json=body)
            assert invited.status_code == 201
            service.kill()
            assert mailbox.messages == []

            service.start()
            if settings["database_url"].startswith("postgresql"):
                service.start_post()
            mailbox.wait(lambda messages: any(m["To"] == "later@example.org" for m in messages))
            team = service.call("GET", team_path, token).json()
            assert sorted(one["role_name"] for one in team) == [
                "PROJECT.ADMIN",
                "PROJECT.MANAGER",
                "PROJECT.MEMBER",
            ]
            assert service.call("POST", accept, told["invitee"]).status_code == 404
            assert service.run("post", "--once").returncode == 0
            sent = [(mail["X-Collegium-Mail"], mail["To"]) for mail in mailbox.messages]
            # The invitations of the story were used before their mails could leave.
            assert [to for kind, to in sent if kind == "invitation_created"] == [
                "later@example.org"
            ]
            # Whoever made them is told of each one that was taken, once.
            assert [kind for kind, _ in sent].count("invitation_accepted") == len(team)
            assert len({mail["Message-ID"] for mail in mailbox.messages}) == len(sent)
            assert service.run("doctor").returncode == 0
        finally:
            service.stop()
