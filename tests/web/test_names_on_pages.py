"""Right-to-left names do not change the direction of the text around them, on any page."""

import re
from datetime import UTC, datetime

from sqlalchemy import String, cast, literal, update

from collegium.db.statements import Statement
from collegium.db.tables import accounts, invitations, roles, scopes, ssh_keys, tokens
from collegium.invitations import approvals, links
from tests.support import team
from tests.support.browser import Browser
from tests.support.world import World
from tests.web.test_staff import pages as staff_pages
from tests.web.test_statements import REDIRECTS, build, page_paths

HEBREW = "\u05e0\u05d5\u05e2\u05d4"
ISOLATED = re.compile(
    r"(?s)<bdi>.*?</bdi>|\u2068[^\u2069]*\u2069"
    # What a form sends has no isolates: the browser shows a field for itself.
    r'|<textarea.*?</textarea>|<input[^>]* value="[^"]*"'
)


def test_right_to_left_names_are_isolated_on_every_page(browser: Browser, world: World) -> None:
    with world.database.write() as tx:
        tx.execute(Statement(update(roles).values(description=HEBREW)))
    viewer, places, group = build(world, HEBREW)
    scene = team.make(world)
    uuids = [
        world.invite(world.staff, f"new{n}@example.org", "PROJECT.MEMBER", places[1])
        for n in range(2)
    ]
    now = int(datetime.now(UTC).timestamp())
    paths = [
        *page_paths(world, viewer, places, group),
        *staff_pages(scene),
        f"/invitation/{world.vault.sign(links.MAILED, uuids[0], 1)}/",
        *(
            f"/{purpose}/{world.vault.sign(purpose, world.staff.uuid, uuids[1], 1, now)}/"
            for purpose in (approvals.APPROVE, approvals.REJECT)
        ),
    ]
    names = {
        accounts: ("first_name", "last_name", "organization", "native_name"),
        invitations: ("full_name",),
        **dict.fromkeys((scopes, tokens, ssh_keys), ("name",)),
    }
    requested = update(invitations).where(invitations.c.uuid == uuids[1]).values(state="requested")
    with world.database.write() as tx:
        tx.execute(Statement(requested))
        for table, columns in names.items():
            name = literal(f"{HEBREW} ").concat(cast(table.c.id, String))
            tx.execute(Statement(update(table).values(dict.fromkeys(columns, name))))
    browser.sign_in(world, viewer)
    shown = set()
    for path in paths:
        page = browser.open(path).text
        shown |= {path} if HEBREW in page else set()
        outside = ISOLATED.sub("", page).splitlines()
        assert not [line for line in outside if HEBREW in line], path
    assert set(paths) - shown == REDIRECTS
