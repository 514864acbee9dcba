"""Headers that are kept are written as the standard library writes them."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest

from collegium.worker.mail_policy import BOUNDARY, POLICY, POLICY_UTF8


def built(policy: Any, name: str, domain: str, boundary: str) -> EmailMessage:
    message = EmailMessage(policy=policy)
    message["From"] = f"{name} <members@example.org>"
    message["To"] = Address(username="bób" if domain else "bob", domain=domain or "example.org")
    message["Subject"] = f"{name} invites you, with a subject that is too long for one line of it"
    message["Date"] = "Mon, 30 Nov 2026 07:00:00 +0000"
    message["Message-ID"] = f"<outbox.1@{'members.' * (len(name) // 2)}example.org>"
    message["Auto-Submitted"] = "auto-generated"
    message["List-Unsubscribe"] = f"<https://example.org/{'x' * 90}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content("Grüße\n", cte="quoted-printable")
    message.add_alternative("<p>Hello</p>", subtype="html", cte="7bit")
    message["Content-Language"] = "de"
    message.set_boundary(boundary)
    return message


@pytest.mark.parametrize("boundary", ["===", BOUNDARY])
@pytest.mark.parametrize("domain", ["", "exämple.org"])
@pytest.mark.parametrize("name", ["Collegium", "Universität Überlingen", '"Members, of us"'])
def test_messages_are_those_of_the_standard_library(name: str, domain: str, boundary: str) -> None:
    utf8 = bool(domain)
    expected = built(default, name, domain, boundary).as_bytes(policy=default.clone(utf8=utf8))
    for _ in range(2):
        message = built(POLICY, name, domain, boundary)
        assert message.as_bytes(policy=POLICY_UTF8 if utf8 else POLICY) == expected
        assert message["From"].addresses[0].addr_spec == "members@example.org"
