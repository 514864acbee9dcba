"""Rendered mails: content, headers, escaping, and when a mail is obsolete."""

import re
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from sqlalchemy import bindparam, delete, update

from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import invitations, scopes
from collegium.invitations import queries as invitation_queries
from collegium.outbox.mails import InvitationCreated
from collegium.outbox.outcomes import ObsoleteError, UndeliverableError
from collegium.settings import Settings
from collegium.worker import mail_templates, mails
from collegium.worker.mail_policy import BOUNDARY
from collegium.worker.transport import as_bytes
from docgen.mails import declared
from tests.worker.scene import START, VAULT, enqueue, outbox_row, rendered, words


@pytest.fixture
def url(new_sqlite: str) -> str:
    """The URL of a database; which kind it is makes no difference here."""
    return new_sqlite


FRONT = "https://members.example.org"
HIDDEN = set("\u2028\u202e\x1b\r")
EVIL = "x\r\nBcc: eve@example.org\r\n\r\n<script>alert(1)</script>\u2028\u202e\x1b[0m"


class HtmlTags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.links: set[str | None] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.links |= {value for name, value in attrs if name == "href"}


def _invitation(database: Database, mail: int) -> Any:
    with database.read(START) as tx:
        return invitation_queries.by_id(tx, outbox_row(database, mail).payload["invitation"])


def test_invitation_names_inviter_scope_role_and_end(database: Database) -> None:
    message = rendered(database, enqueue(database, extra_text="Welcome!\nAda"), site_name="Roll")
    assert message["Subject"] == "Ada Lovelace invites you to join Analytical Engines"
    for part in ("plain", "html"):
        text = " ".join(words(message, part).split())
        for expected in (
            "Ada Lovelace",
            "join the project",
            "Analytical Engines",
            "of Royal Society",
            "Roll",
            "Reviewer of papers",
            "29 November 2026, 12:00 UTC",
            "Welcome!",
        ):
            assert expected in text


def test_mail_has_the_expected_headers(database: Database) -> None:
    mail = enqueue(database)
    message = rendered(
        database, mail, base_url="https://roll.example.org:8443", mail_from="R <r@x.org>"
    )
    assert message["X-Collegium-Mail"] == "invitation_created"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["Message-ID"] == f"<outbox.{mail}@roll.example.org>"
    assert message["From"] == "R <r@x.org>"
    assert message["To"] == "bob@example.org"
    assert message["Date"].datetime == START
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_text_that_contains_the_usual_boundary_stays_in_one_part(database: Database) -> None:
    usual, other = (
        message_from_bytes(
            as_bytes(rendered(database, enqueue(database, extra_text=text))), policy=default
        )
        for text in ("Welcome", f"Welcome\n--{BOUNDARY}--\nAda")
    )
    assert usual.get_boundary() == BOUNDARY != other.get_boundary()
    for part in ("plain", "html"):
        assert "Welcome" in words(usual, part)
        assert f"--{BOUNDARY}--" in words(other, part)
        assert "Royal" in words(other, part)


def test_invitation_to_an_organisation_names_it_once(database: Database) -> None:
    message = rendered(database, enqueue(database, project=None))
    assert "join the organisation" in words(message, "plain")
    assert "of Royal Society" not in words(message, "plain")


def test_link_is_signed_for_invitation_and_link_version(database: Database) -> None:
    mail = enqueue(database, link_version=3)
    message = rendered(database, mail, base_url=FRONT)
    (link,) = re.findall(rf"^{FRONT}/invitation/(\S+)/$", words(message, "plain"), re.MULTILINE)
    assert VAULT.unsign("invitation", link) == [_invitation(database, mail).uuid, 3]
    assert HtmlTags(words(message, "html")).links == {f"{FRONT}/invitation/{link}/", FRONT}


def test_link_to_homeport_contains_the_uuid(database: Database) -> None:
    mail = enqueue(database)
    message = rendered(database, mail, homeport_url=FRONT)
    link = f"{FRONT}/invitation/{_invitation(database, mail).uuid}/"
    assert link in words(message, "plain").splitlines()
    assert link in HtmlTags(words(message, "html")).links


def test_link_to_the_scope_leads_to_a_page_of_the_front_end(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "invitation_created.txt").write_text("{{ scope_link }}")
    for mail, path in (
        (enqueue(database), "projects/{}/"),
        (enqueue(database, project=None), "organizations/{}/dashboard/"),
    ):
        message = rendered(database, mail, homeport_url=FRONT, templates=tmp_path)
        expected = path.format(_invitation(database, mail).scope_uuid)
        assert words(message, "plain").strip() == f"{FRONT}/{expected}"


def test_role_without_description_is_called_by_its_name(database: Database) -> None:
    mail = enqueue(database, role_description="")
    assert _invitation(database, mail).role_name in words(rendered(database, mail), "plain")


def test_inviter_without_full_name_is_called_by_username(database: Database) -> None:
    mail = enqueue(database, inviter={"first_name": "", "last_name": "", "username": "countess"})
    assert rendered(database, mail)["Subject"].startswith("countess invites you")


def test_invitation_without_inviter_is_readable(database: Database) -> None:
    message = rendered(database, enqueue(database, created_by=None, extra_text="Hello"))
    assert message["Subject"] == "You are invited to join Analytical Engines"
    assert "You are invited to join the project" in words(message, "plain")
    assert "None" not in words(message, "plain") + words(message, "html")


@pytest.mark.parametrize("state", ["held", "requested", "accepted", "rejected", "canceled"])
def test_mail_is_obsolete_unless_the_invitation_is_pending(database: Database, state: str) -> None:
    mail = enqueue(database)
    with database.write(START) as tx:
        tx.execute(Statement(update(invitations).values(state=bindparam("new"))), new=state)
    with pytest.raises(ObsoleteError, match=state):
        rendered(database, mail)


def test_mail_is_obsolete_from_the_expiry_of_the_invitation(database: Database) -> None:
    mail = enqueue(database, expires_at=START + timedelta(seconds=1))
    rendered(database, mail, START)
    with pytest.raises(ObsoleteError, match="expired"):
        rendered(database, mail, START + timedelta(seconds=1))


@pytest.mark.parametrize(
    "removal",
    [delete(invitations), update(scopes).values(deleted_at=scopes.c.created_at)],
    ids=["invitation", "scope"],
)
def test_mail_is_obsolete_after_removal_of_invitation_or_scope(
    database: Database, removal: Any
) -> None:
    mail = enqueue(database)
    with database.write(START) as tx:
        tx.execute(Statement(removal))
    with pytest.raises(ObsoleteError, match="no longer exists"):
        rendered(database, mail)


def _with_names(name: str) -> dict[str, Any]:
    inviter = {"first_name": name, "last_name": name}
    names = {"organisation": name, "project": name, "role_description": name}
    return {**names, "inviter": inviter}


def test_name_cannot_add_a_header_or_a_line(database: Database) -> None:
    plain = rendered(database, enqueue(database))
    message = rendered(database, enqueue(database, **_with_names(EVIL)))
    assert message.keys() == plain.keys()
    assert "eve@example.org" in message["Subject"]
    paragraphs = [words(one, "plain").split("\n\n") for one in (message, plain)]
    assert len(paragraphs[0]) == len(paragraphs[1])
    assert not re.search(r"^Bcc", words(message, "plain"), re.MULTILINE)
    assert not HIDDEN & set(words(message, "plain") + words(message, "html"))


def test_text_cannot_add_an_html_tag(database: Database) -> None:
    plain = rendered(database, enqueue(database, extra_text="x"))
    hostile = """"'><a href="https://evil.example">x</a><!-- {{ link }} {% raw %} &lt;"""
    mail = enqueue(database, **_with_names(hostile), extra_text=hostile + EVIL)
    tags = HtmlTags(words(rendered(database, mail), "html"))
    assert tags.opened == HtmlTags(words(plain, "html")).opened
    assert all(link is not None and link.startswith("http://127.0.0.1") for link in tags.links)


def test_personal_message_is_quoted(database: Database) -> None:
    message = rendered(
        database, enqueue(database, extra_text="Hi\r\n\r\nTo see it, open this page:")
    )
    lines = words(message, "plain").splitlines()
    assert "> To see it, open this page:" in lines
    assert "To see it, open this page:" not in lines
    message = rendered(database, enqueue(database, extra_text=EVIL))
    assert not HIDDEN & set(words(message, "plain") + words(message, "html"))


@pytest.mark.parametrize("name", ["Ωμέγα 研究所 😀", "Ł" * 500, "word " * 100, "x" * 500])
def test_name_of_any_length_is_complete(database: Database, name: str) -> None:
    name = name.strip()[:500]
    message = rendered(database, enqueue(database, project=name, inviter={"last_name": name[:100]}))
    assert name in " ".join(words(message, "plain").split())
    assert name in words(message, "html")
    assert len(message["Subject"]) < 200
    assert name[:50] in message["Subject"]
    assert max(map(len, message.as_bytes().splitlines())) < 998


@pytest.mark.parametrize(
    ("address", "header"),
    [
        ("bob@münchen.example", "bob@xn--mnchen-3ya.example"),
        ("jörg@example.org", "jörg@example.org"),
        ("jörg@straße.example", "jörg@xn--strae-oqa.example"),
        ("o'brien+x@localhost", "o'brien+x@localhost"),
        ("a" * 64 + "@" + "b" * 60 + "." + "c" * 60 + ".example", None),
        ("bob@stra\u00dfe.example", "bob@xn--strae-oqa.example"),  # not `strasse`
        ("bob@printer.local", None),
        ("bob@mail.test", None),
    ],
)
def test_recipient_has_an_ascii_domain(
    database: Database, address: str, header: str | None
) -> None:
    mail = enqueue(database, email=address)
    with database.read(START) as tx:
        message = mails.render(tx, Settings(), VAULT, outbox_row(database, mail))
    expected = header or address
    assert message["To"].addresses[0].addr_spec == expected
    if expected.isascii():
        assert rendered(database, mail)["To"] == expected


@pytest.mark.parametrize(
    "address",
    [
        "",
        "bob",
        "a@b, eve@x.org",
        "a@b\r\nBcc: eve@x.org",
        "a@b> <eve@x.org",
        "a@b\u2028c",
        "a@b;c@d",
        "a\x07@example.org",
        "a\u202e@example.org",
    ],
)
def test_invalid_address_is_undeliverable(database: Database, address: str) -> None:
    with pytest.raises(UndeliverableError) as caught:
        rendered(database, enqueue(database, email=address))
    assert caught.value.permanent


def test_custom_templates_and_footers_are_used(database: Database, tmp_path: Path) -> None:
    (tmp_path / "invitation_created.subject.txt").write_text("Come to {{ scope_name }}\n")
    message = rendered(
        database,
        enqueue(database),
        templates=tmp_path,
        common_footer_text="Room 1",
        common_footer_html="<b>Room 1</b>",
    )
    assert message["Subject"] == "Come to Analytical Engines"
    assert "Room 1" in words(message, "plain")
    assert "<b>Room 1</b>" in words(message, "html")


def test_unknown_variable_in_a_template_is_an_error(database: Database, tmp_path: Path) -> None:
    (tmp_path / "invitation_created.txt").write_text("{{ lnik }}")
    with pytest.raises(UndefinedError):
        rendered(database, enqueue(database), templates=tmp_path)


def test_every_kind_of_mail_has_loader_and_templates() -> None:
    kinds = {mail.kind for mail in declared()}
    assert kinds == set(mails.LOADERS)
    for kind in kinds:
        for part in ("subject.txt", "body"):
            assert (mail_templates.TEMPLATES / f"{kind}.{part}").is_file()


def test_payload_of_an_invitation_has_only_its_id_and_version() -> None:
    payload = InvitationCreated("bob@example.org", 7, link_version=2).payload()
    assert payload == {"invitation": 7, "link_version": 2, "reminder": False}
