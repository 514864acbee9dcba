"""Mails say what is so now, in words that nobody else can put there."""

import re
from datetime import timedelta
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
from collegium.outbox.mails import InvitationCreated, Mail
from collegium.outbox.outcomes import ObsoleteError, UndeliverableError
from collegium.settings import Settings
from collegium.worker import mails
from tests.worker.scene import START, VAULT, owe, owed, words, written

FRONT = "https://members.example.org"


class _Tags(HTMLParser):
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
        return invitation_queries.by_id(tx, owed(database, mail).payload["invitation"])


def _change(database: Database, mail: int, **values: Any) -> None:
    statement = update(invitations).where(invitations.c.id == bindparam("invitation"))
    with database.write(START) as tx:
        named = statement.values({name: bindparam(name) for name in values})
        tx.execute(
            Statement(named), invitation=owed(database, mail).payload["invitation"], **values
        )


def test_says_who_invites_to_what_as_what_and_until_when(database: Database) -> None:
    message = written(database, owe(database, extra_text="Welcome!\nAda"), site_name="Roll")
    assert message["Subject"] == "Ada Lovelace invites you to join Analytical Engines"
    for part in ("plain", "html"):
        said = " ".join(words(message, part).split())
        for fact in (
            "Ada Lovelace",
            "join the project",
            "Analytical Engines",
            "of Royal Society",
            "Roll",
            "Reviewer of papers",
            "29 November 2026, 12:00 UTC",
            "Welcome!",
        ):
            assert fact in said


def test_carries_the_headers_that_others_rely_on(database: Database) -> None:
    mail = owe(database)
    message = written(
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


def test_an_organisation_is_not_said_to_be_of_itself(database: Database) -> None:
    message = written(database, owe(database, project=None))
    assert "join the organisation" in words(message, "plain")
    assert "of Royal Society" not in words(message, "plain")


def test_the_link_is_signed_for_this_invitation_and_generation(database: Database) -> None:
    mail = owe(database, link_version=3)
    message = written(database, mail, base_url=FRONT)
    (link,) = re.findall(rf"^{FRONT}/invitation/(\S+)/$", words(message, "plain"), re.MULTILINE)
    assert VAULT.unsign("invitation", link) == [_invitation(database, mail).uuid, 3]
    assert _Tags(words(message, "html")).links == {f"{FRONT}/invitation/{link}/", FRONT}


def test_a_front_end_of_its_own_gets_the_uuid(database: Database) -> None:
    mail = owe(database)
    message = written(database, mail, homeport_url=FRONT)
    link = f"{FRONT}/invitation/{_invitation(database, mail).uuid}/"
    assert link in words(message, "plain").splitlines()
    assert link in _Tags(words(message, "html")).links


def test_without_a_description_the_role_goes_by_its_name(database: Database) -> None:
    mail = owe(database, role_description="")
    assert _invitation(database, mail).role_name in words(written(database, mail), "plain")


def test_without_a_full_name_the_inviter_goes_by_the_username(database: Database) -> None:
    mail = owe(database, inviter={"first_name": "", "last_name": "", "username": "countess"})
    assert written(database, mail)["Subject"].startswith("countess invites you")


def test_without_an_inviter_it_still_makes_sense(database: Database) -> None:
    message = written(database, owe(database, created_by=None, extra_text="Hello"))
    assert message["Subject"] == "You are invited to join Analytical Engines"
    assert "You are invited to join the project" in words(message, "plain")
    assert "None" not in words(message, "plain") + words(message, "html")


@pytest.mark.parametrize("state", ["held", "requested", "accepted", "rejected", "canceled"])
def test_an_invitation_that_is_not_pending_makes_the_mail_void(
    database: Database, state: str
) -> None:
    mail = owe(database)
    _change(database, mail, state=state)
    with pytest.raises(ObsoleteError, match=state):
        written(database, mail)


def test_an_expired_invitation_makes_the_mail_void_at_that_very_moment(database: Database) -> None:
    mail = owe(database, expires_at=START + timedelta(seconds=1))
    written(database, mail, START)
    with pytest.raises(ObsoleteError, match="expired"):
        written(database, mail, START + timedelta(seconds=1))


def test_a_deleted_invitation_makes_the_mail_void(database: Database) -> None:
    mail = owe(database)
    with database.write(START) as tx:
        tx.execute(Statement(delete(invitations)))
    with pytest.raises(ObsoleteError, match="no longer exists"):
        written(database, mail)


def test_a_removed_scope_makes_the_mail_void(database: Database) -> None:
    mail = owe(database)
    with database.write(START) as tx:
        tx.execute(Statement(update(scopes).values(removed_at=bindparam("moment"))), moment=START)
    with pytest.raises(ObsoleteError):
        written(database, mail)


HIDDEN = set("\u2028\u202e\x1b\r")
EVIL = "x\r\nBcc: eve@example.org\r\n\r\n<script>alert(1)</script>\u2028\u202e\x1b[0m"


def test_no_name_can_add_a_header_or_a_line(database: Database) -> None:
    plain = written(database, owe(database))
    mail = owe(
        database,
        organisation=EVIL,
        project=EVIL,
        inviter={"first_name": EVIL, "last_name": EVIL},
        role_description=EVIL,
    )
    message = written(database, mail)
    assert message.keys() == plain.keys()
    assert "eve@example.org" in message["Subject"]
    assert len(words(message, "plain").splitlines()) == len(words(plain, "plain").splitlines())
    assert not HIDDEN & set(words(message, "plain") + words(message, "html"))


def test_no_text_can_add_a_tag(database: Database) -> None:
    plain = written(database, owe(database, extra_text="x"))
    hostile = """"'><a href="https://evil.example">x</a><!-- {{ link }} {% raw %} &lt;"""
    mail = owe(
        database,
        organisation=hostile,
        project=hostile,
        inviter={"first_name": hostile, "last_name": hostile},
        role_description=hostile,
        extra_text=hostile + EVIL,
    )
    tags = _Tags(words(written(database, mail), "html"))
    assert tags.opened == _Tags(words(plain, "html")).opened
    assert all(link is not None and link.startswith("http://127.0.0.1") for link in tags.links)


def test_a_personal_text_cannot_pass_for_ours(database: Database) -> None:
    message = written(database, owe(database, extra_text="Hi\r\n\r\nTo see it, open this page:"))
    lines = words(message, "plain").splitlines()
    assert "> To see it, open this page:" in lines
    assert "To see it, open this page:" not in lines
    message = written(database, owe(database, extra_text=EVIL))
    assert not HIDDEN & set(words(message, "plain") + words(message, "html"))


@pytest.mark.parametrize("name", ["Ωμέγα 研究所 😀", "Ł" * 500, "word " * 100, "x" * 500])
def test_any_name_of_any_length_arrives(database: Database, name: str) -> None:
    name = name.strip()[:500]
    message = written(database, owe(database, project=name, inviter={"last_name": name[:100]}))
    assert name in words(message, "plain")
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
    ],
)
def test_the_recipient_is_written_as_mail_servers_need_it(
    database: Database, address: str, header: str | None
) -> None:
    mail = owe(database, email=address)
    with database.read(START) as tx:
        message = mails.render(tx, Settings(), VAULT, owed(database, mail))
    assert message["To"].addresses[0].addr_spec == (header or address)
    if address.isascii():
        assert (header or address) in written(database, mail)["To"]


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
def test_what_is_no_address_is_given_up(database: Database, address: str) -> None:
    with pytest.raises(UndeliverableError) as caught:
        written(database, owe(database, email=address))
    assert caught.value.permanent


def test_the_operators_templates_and_footers_are_used(database: Database, tmp_path: Path) -> None:
    (tmp_path / "invitation_created.subject.txt").write_text("Come to {{ scope_name }}\n")
    message = written(
        database,
        owe(database),
        templates=tmp_path,
        common_footer_text="Room 1",
        common_footer_html="<b>Room 1</b>",
    )
    assert message["Subject"] == "Come to Analytical Engines"
    assert "Room 1" in words(message, "plain")
    assert "<b>Room 1</b>" in words(message, "html")


def test_a_template_that_misspells_a_variable_is_an_error(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "invitation_created.txt").write_text("{{ lnik }}")
    with pytest.raises(UndefinedError):
        written(database, owe(database), templates=tmp_path)


def test_every_kind_of_mail_has_a_loader_and_templates() -> None:
    ours = [mail for mail in Mail.__subclasses__() if mail.__module__ == Mail.__module__]
    kinds = {mail.kind for mail in ours}
    assert kinds == set(mails.LOADERS)
    for kind in kinds:
        for part in ("subject.txt", "txt", "html"):
            assert (mails.TEMPLATES / f"{kind}.{part}").is_file()


def test_facts_are_all_that_the_row_holds() -> None:
    assert InvitationCreated("bob@example.org", 7).payload() == {
        "invitation": 7,
        "reminder": False,
    }
