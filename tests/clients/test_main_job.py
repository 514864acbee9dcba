"""The official clients invite a person into a project, with a real SMTP server."""

import re
from collections.abc import Callable
from email.message import EmailMessage

from tests.clients.official import Official
from tests.support.mailbox import Mailbox
from tests.support.serving import Service, free_port


def check_mail(mail: EmailMessage, service: Service) -> str:
    """Check the documented headers and parts of a mail; return its link."""
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


def test_official_client_invites_a_person_into_a_project(
    client: Official, serve: Callable[..., tuple[Service, str]]
) -> None:
    with Mailbox(free_port()).listening() as mailbox:
        service, token = serve(mail_url=mailbox.url)
        result = client.run("main_job.py", service, token, "one", "--wait-for-mail")
        # The first invitation, the second, the second again after its cancellation, the third.
        mails = [
            mail
            for mail in mailbox.to(result["address"])
            if mail["X-Collegium-Mail"] != "password_changed"
        ]
        links = [check_mail(mail, service) for mail in mails]
        assert len(links) == len(set(links)) == 4
        pages = [service.call("GET", link.removeprefix(service.base)) for link in links]
        # Accepted; invalid since it was sent again; accepted; pending.
        assert [page.status_code for page in pages] == [410, 404, 410, 200]
        assert "Survey one" in pages[3].text


def test_service_killed_before_sending_loses_and_repeats_no_mail(
    official: Callable[[str], Official], serve: Callable[..., tuple[Service, str]], url: str
) -> None:
    with Mailbox(free_port()).listening() as mailbox:
        # Without a worker, every mail is still queued when the service is killed.
        service, token = serve("--no-worker", mail_url=mailbox.url)
        result = official("7.9.0").run("main_job.py", service, token, "two")
        accept = f"/api/user-invitations/{result['open']}/accept/"
        assert service.call("POST", accept, result["invitee"]).status_code == 200
        team_path = f"/api/projects/{result['project']}/list_users/"
        role = service.call("GET", team_path, token).json()[0]["role_uuid"]
        project = f"{service.base}/api/projects/{result['project']}/"
        body = {"scope": project, "role": role, "email": "later@example.org"}
        response = service.call("POST", "/api/user-invitations/", result["owner"], json=body)
        assert response.status_code == 201
        service.kill()
        assert mailbox.messages == []

        service.start()
        if url.startswith("postgresql"):
            service.start_worker()
        mailbox.wait(lambda messages: any(m["To"] == "later@example.org" for m in messages))
        roles = [row["role_name"] for row in service.call("GET", team_path, token).json()]
        assert sorted(roles) == ["PROJECT.ADMIN", "PROJECT.MANAGER", "PROJECT.MEMBER"]
        assert service.call("POST", accept, result["invitee"]).status_code == 404
        assert service.run("worker", "--once").returncode == 0
        sent = [(mail["X-Collegium-Mail"], mail["To"]) for mail in mailbox.messages]
        # The other invitations were used before their mails could be sent.
        recipients = [to for kind, to in sent if kind == "invitation_created"]
        assert recipients == ["later@example.org"]
        # The inviter is notified of each acceptance once.
        assert [kind for kind, _ in sent].count("invitation_accepted") == len(roles)
        assert len({mail["Message-ID"] for mail in mailbox.messages}) == len(sent)
        assert service.run("doctor").returncode == 0
