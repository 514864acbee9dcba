"""No page says more than the API would to the same person, and none leads where it turns away.

Everything by which somebody or something of the world can be told is looked for in every page
that a person can open, and must be in something that the API answers to that person; or to whoever
has the same link, where the page is that of a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import pytest

from tests.matrix import asks
from tests.matrix.stage import WALKERS, Stage, Tenant
from tests.matrix.walk import ROWS, Row, Walk
from tests.support.world import Person

# What the API says to whoever has a link, for the pages that such links lead to.
SAME_LINK = {
    "/invitation/{token}/": (
        "/api/user-invitations/{uuid}/check/",
        "/api/user-invitations/{uuid}/details/",
    ),
    "/open_invitation/{uuid}/": ("/api/user-group-invitations/{uuid}/",),
}
# These are for whoever has read the mail, and the API has no route that shows the same.
MAILED = {
    "/invitation_approve/{token}/": "shows staff what is to be decided",
    "/invitation_reject/{token}/": "shows staff what is to be decided",
    "/password_reset/{token}/": "names the account whose password is set",
}
# Who is behind a number is told on the wire of groups to whoever asks for it.
EMBEDDED = (
    "/api/private/users/groupmembershiprequest/?include[]=user_account_request.*&limit=100",
    "/api/private/users/groupmembershipinvitation/?include[]=user_account_invitation.*&limit=100",
)
LED_BY_LINK = tuple(path.partition("{")[0] for path in (*SAME_LINK, *MAILED))
LINK = re.compile(r'href="(/[^"#]*)"')


def marks(stage: Stage) -> set[str]:
    """Everything by which people, places and what is between them can be told."""
    found = set()
    for tenant in stage.tenants:
        for person in (*tenant.tree.values(), *tenant.group.values()):
            name = person.actor.username
            found |= {person.uuid, person.email, name, name.title()}
        for place in (tenant.organisation, tenant.project, tenant.sibling_project):
            found |= {place.uuid, place.name}
        found |= {
            value
            for what, value in tenant.objects.items()
            # The wire of groups has no grants; on a page one leads to somebody's seat.
            if len(value) > 20 and what != "group's grant"
        }
        found |= {
            f"{tenant.name} message",
            f"{tenant.name.title()} Club",
            f"{tenant.name}.waiting@example.org",
            f"{tenant.name}.new@example.org",
        }
    for person in filter(None, stage.outside.values()):
        found |= {person.uuid, person.email, person.actor.name}
    return found


def reading(dialect: str) -> Iterator[Row]:
    for row in ROWS:
        if (
            row.method == "GET"
            and not row.operation.mutates
            and (row.dialect == "web") == (dialect == "web")
        ):
            yield row


def told(stage: Stage, who: Person | None) -> str:
    """All that the API answers to somebody who asks for everything, capabilities aside."""
    texts = [who.uuid, who.email, who.actor.username, who.actor.name] if who else []
    for row in reading("api"):
        if row.path in asks.TELLING | asks.WRITTEN_DOWN.keys():
            continue
        for tenant in stage.tenants:
            mine = asks.own(stage, row.path, who) if row.own else None
            path = asks.fill(stage, row.path, tenant, mine)
            texts.append(Walk(stage, row).ask("GET", path, who, tenant).text)
    token = {"Authorization": f"Bearer {who.token}"} if who else {}
    asked = (stage.site.request("GET", path, headers=token) for path in EMBEDDED)
    return " ".join([*texts, *(answer.text for answer in asked)])


def also(stage: Stage, who: Person | None, known: str) -> str:
    """What somebody is told besides, for want of a word on the wires."""
    told_of = [
        # What somebody says with a request is for themselves and for those who may know of it.
        f"{tenant.name} message"
        for tenant in stage.tenants
        if tenant.objects["request"] in known
    ]
    # The page leads whoever has the invited address where the mail leads.
    mine = [tenant for tenant in stage.tenants if who is tenant.tree["invitee"]]
    return " ".join([*told_of, *(tenant.objects["mailed link"] for tenant in mine)])


def by_link(stage: Stage, row: Row, who: Person | None, tenant: Tenant) -> str:
    """What the API answers to whoever has the link of a page."""
    known = [one for one in ROWS if one.path in SAME_LINK.get(row.path, ()) and not one.own]
    texts = []
    for one in known:
        path = asks.fill(stage, one.path, tenant, None)
        # Whoever has a link and no account yet would have one before asking for more.
        asker = who or stage.outside["stranger"]
        texts.append(Walk(stage, one).ask(one.method, path, asker, tenant).text)
    return " ".join(texts)


def look(
    stage: Stage, who: Person | None, known: str, links: set[str]
) -> Iterator[tuple[Row, set[str]]]:
    """Open every page as somebody; give what each says that the API does not.

    Args:
        known: what the API says.
        links: takes the links that stand on the pages.
    """
    for row in reading("web"):
        for tenant in stage.tenants if row.path not in MAILED else ():
            mine = asks.own(stage, row.path, who) if row.own else None
            path = asks.fill(stage, row.path, tenant, mine)
            page = Walk(stage, row).ask("GET", path, who, tenant)
            if page.status_code != 200:
                continue
            text = unescape(page.text).replace(path, "")
            links |= set(LINK.findall(text))
            more = {mark for mark in marks(stage) if mark in text and mark not in known}
            linked = by_link(stage, row, who, tenant) if more else ""
            yield row, {mark for mark in more if mark not in linked}


@pytest.mark.parametrize("stage", ["sqlite"], indirect=True)
@pytest.mark.parametrize("in_group", [False, True], ids=["tree", "group"])
@pytest.mark.parametrize("name", [one for names in WALKERS.values() for one in names])
def test_pages_reveal_no_more_than_the_api_and_links_are_allowed(
    stage: Stage, name: str, *, in_group: bool
) -> None:
    who = stage.walker(name, in_group=in_group)
    links: set[str] = set()
    known = told(stage, who)
    known += also(stage, who, known)
    opened = list(look(stage, who, known, links))
    more = "\n".join(f"{row} says {sorted(said)}" for row, said in opened if said)
    assert not more, more
    assert len(opened) >= (10 if who is None else 25)
    walk = Walk(stage, next(reading("web")))
    for link in sorted(links):
        page = walk.ask("GET", link, who, stage.tenants[0])
        assert page.status_code in {200, 303}, link
        if not link.startswith(LED_BY_LINK):
            text = unescape(page.text).replace(link, "")
            assert {mark for mark in marks(stage) if mark in text and mark not in known} == set()
    assert not stage.has_changed()
