"""Right-to-left names do not change the direction of the text around them, on any page."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product

import httpx
import pytest
from sqlalchemy import String, cast, literal, update

from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts, invitations, roles, scopes, ssh_keys, tokens
from collegium.invitations import approvals, links
from tests.matrix.page_forms import Spy, Visitor, visitors
from tests.matrix.scene import Scene as Tenants
from tests.support import team
from tests.support.browser import Browser
from tests.support.world import Person, World
from tests.web.test_staff import pages as staff_pages
from tests.web.test_statements import REDIRECTS, build, page_paths

HEBREW = "\u05e0\u05d5\u05e2\u05d4"
ISOLATED = re.compile(
    r"(?s)<bdi>.*?</bdi>|\u2068[^\u2069]*\u2069"
    # A paragraph of its own.
    r"|<blockquote>.*?</blockquote>"
    # What a form sends has no isolates: the browser shows a field for itself.
    r'|<textarea.*?</textarea>|<input[^>]* value="[^"]*"'
)


NAMES = {
    accounts: ("first_name", "last_name", "organization", "native_name"),
    invitations: ("full_name",),
    roles: ("description",),
    **dict.fromkeys((scopes, tokens, ssh_keys), ("name",)),
}


def rename_all(database: Database) -> None:
    """Set right-to-left names everywhere, and an address with one."""
    with database.write() as tx:
        for table, columns in NAMES.items():
            name = literal(f"{HEBREW} ").concat(cast(table.c.id, String))
            tx.execute(Statement(update(table).values(dict.fromkeys(columns, name))))
        for table in (accounts, invitations):
            address = literal(HEBREW).concat(cast(table.c.id, String)).concat("@example.org")
            tx.execute(Statement(update(table).values(email=address)))


def not_isolated(page: httpx.Response) -> list[str]:
    """Return the lines of a page that have a right-to-left name outside of an isolate."""
    return [line for line in ISOLATED.sub("", page.text).splitlines() if HEBREW in line]


def all_pages(world: World) -> tuple[Person, list[str]]:
    """Return somebody who sees every page, and the paths of all pages. All names are Hebrew."""
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
    requested = update(invitations).where(invitations.c.uuid == uuids[1]).values(state="requested")
    with world.database.write() as tx:
        tx.execute(Statement(requested))
    rename_all(world.database)
    return viewer, paths


@pytest.mark.slow
def test_right_to_left_names_are_isolated_on_every_page(browser: Browser, world: World) -> None:
    viewer, paths = all_pages(world)
    browser.sign_in(world, viewer)
    shown = set()
    # Downloads are files without markup.
    paths = [path for path in paths if "/export/" not in path]
    for path in paths:
        page = browser.open(path)
        shown |= {path} if HEBREW in page.text else set()
        assert not not_isolated(page), path
        # A search that finds something, and one that finds nothing.
        for search in (HEBREW, f"{HEBREW}zz"):
            found = browser.open(f"{path}{'&' if '?' in path else '?'}q={search}")
            assert not not_isolated(found), (path, search)
    hidden = {path for path in set(paths) - shown if not path.endswith("/result/")}  # CSV files
    assert hidden == REDIRECTS


@pytest.fixture
def tenants(new_sqlite: str) -> Iterator[Tenants]:
    tenants = Tenants(new_sqlite)
    rename_all(tenants.database)
    tenants.keep()
    yield tenants
    tenants.close()


def forms_of(visitor: Visitor, spy: Spy) -> Iterator[dict[str, str]]:
    """Yield a valid form of a page, and forms with errors, each with right-to-left values."""
    yield visitor.form
    fields = visitor.fields(spy) - {"csrf", "submission", "action"}
    # An unknown placeholder, and an invalid regular expression.
    invalid = f"{{{HEBREW}}}("
    for value, action in product((HEBREW, invalid, f"{HEBREW}@example.org", ""), spy.actions):
        yield {**dict.fromkeys(fields, value), "action": action}
        for name in fields if value == invalid or "email" in fields else ():
            yield {**visitor.form, name: value, "action": action}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_right_to_left_names_are_isolated_in_the_response_to_every_form(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    shown: dict[str, set[str]] = {"flash": set(), "error": set()}
    for visitor in visitors(tenants, "POST"):
        for form in forms_of(visitor, spy):
            browser = Browser(tenants.site)
            browser.cookies |= visitor.cookies
            # Sent again, it may be refused, because something exists already; unless it was refused
            # the first time.
            for _ in range(2):
                response = browser.call("POST", visitor.path, data={"csrf": visitor.csrf, **form})
                if response.status_code == 303:
                    response = browser.follow(response)
                assert not not_isolated(response), (str(visitor.row), form)
                for kind, sentences in shown.items():
                    found = re.findall(f'class="{kind}[^<]*{HEBREW}[^<]*', response.text)
                    sentences |= {re.sub("\u2068[^\u2069]*\u2069", "…", text) for text in found}
                if response.is_error:
                    break
            if tenants.backup.touched():
                tenants.restore()
    assert len(shown["flash"]) > 20, shown
    assert len(shown["error"]) > 1, shown
