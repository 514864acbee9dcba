"""Programs of others that use the Waldur API: an older client, and the agent of a site."""

from collections.abc import Callable

from tests.clients.official import Official
from tests.support.mailbox import Mailbox
from tests.support.serving import Service, free_port


def create(service: Service, token: str, path: str, **body: str) -> str:
    """Create an object over the API; return its UUID."""
    response = service.call("POST", path, token, json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["uuid"])


def test_python_waldur_client_manages_organisations_projects_and_members(
    official: Callable[[str], Official], serve: Callable[..., tuple[Service, str]]
) -> None:
    with Mailbox(free_port()).listening() as mailbox:
        service, token = serve(mail_url=mailbox.url)
        person = create(service, token, "/api/users/", username="ada", email="ada@example.org")
        address = official("agents").run("python_client.py", service, token, person)
        mailbox.wait(lambda messages: any(mail["To"] == address for mail in messages))


def test_site_agent_keeps_a_project_and_its_members(
    official: Callable[[str], Official], serve: Callable[..., tuple[Service, str]]
) -> None:
    service, token = serve("--no-worker")

    organisation = create(service, token, "/api/customers/", name="ACME")
    person = create(service, token, "/api/users/", username="ada", email="ada@example.org")
    assert official("agents").run("site_agent.py", service, token, organisation, person) == {}
