"""The main job, by the official clients, over a socket, with mail through a real SMTP server."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.clients.official import Official
from tests.conftest import KEY
from tests.support.mailbox import Mailbox
from tests.support.serving import Service, free_port


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


def test_an_operator_with_the_official_client_brings_a_colleague_into_a_project(
    client: Official, settings: dict[str, str], tmp_path: Path
) -> None:
    with Mailbox(free_port()).listening() as mailbox:
        service = Service(tmp_path, settings | {"mail_url": mailbox.url})
        token = service.staff()
        service.start()
        if settings["database_url"].startswith("postgresql"):
            service.start_post()
        try:
            told = client.tell("main_job.py", service, token, "one", "--wait-for-mail")
            # The first, the second, the second once more after it was called back, the third.
            # Besides, the owner of the account hears that staff set its password.
            mails = [
                mail
                for mail in mailbox.to(told["address"])
                if mail["X-Collegium-Mail"] != "password_changed"
            ]
            links = [check_mail(mail, service) for mail in mails]
            assert len(links) == len(set(links)) == 4
            pages = [service.call("GET", link.removeprefix(service.base)) for link in links]
            # Accepted; dead since it was sent anew; accepted; open.
            assert [page.status_code for page in pages] == [410, 404, 410, 200]
            assert "Survey one" in pages[3].text
        finally:
            service.stop()


def test_nothing_is_lost_or_doubled_when_it_is_killed_before_the_mail_is_out(
    official: Callable[[str], Official], settings: dict[str, str], tmp_path: Path
) -> None:
    with Mailbox(free_port()).listening() as mailbox:
        service = Service(tmp_path, settings | {"mail_url": mailbox.url})
        token = service.staff()
        # Nobody pays the outbox, so when it is killed every mail of the story is still owed.
        service.start("--no-worker")
        try:
            told = official("7.9.0").tell("main_job.py", service, token, "two")
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
            assert service.run("worker", "--once").returncode == 0
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
