"""No page reveals more to a caller than the API, and no link leads to a refused page.

Every name, address and identifier on a page must be in a response of the API to the same caller,
or to a caller with the same link.
"""

import re
from collections.abc import Iterator
from html import unescape

import pytest

from tests.matrix import requests
from tests.matrix.rows import ROWS, Row, RowCheck
from tests.matrix.scene import CALLERS, Scene, Tenant
from tests.support.world import Person

# The routes of the API that show the same to callers with the link of a page.
SAME_LINK = {
    "/invitation/{token}/": (
        "/api/user-invitations/{uuid}/check/",
        "/api/user-invitations/{uuid}/details/",
    ),
    "/open_invitation/{uuid}/": ("/api/user-group-invitations/{uuid}/",),
}
# The links of these pages come by e-mail; the API has no route that shows the same.
MAILED = {
    "/invitation_approve/{token}/": "shows staff the invitation to decide",
    "/invitation_reject/{token}/": "shows staff the invitation to decide",
    "/password_reset/{token}/": "names the account",
    "/user_email_change/{code}/": "names the account and the address, as its e-mail does",
}
# The BrainSTEM API embeds accounts on request.
EMBEDDED = (
    "/api/private/users/groupmembershiprequest/?include[]=user_account_request.*&limit=100",
    "/api/private/users/groupmembershipinvitation/?include[]=user_account_invitation.*&limit=100",
)
CAPABILITY_PAGES = tuple(path.partition("{")[0] for path in (*SAME_LINK, *MAILED))
LINK = re.compile(r'href="(/[^"#]*)"')


def marks(scene: Scene) -> set[str]:
    """Return every name, address and identifier of the scene."""
    found = set()
    for tenant in scene.tenants:
        for person in (*tenant.tree.values(), *tenant.group.values()):
            name = person.actor.username
            found |= {person.uuid, person.email, name, name.title()}
        for place in (tenant.organisation, tenant.project, tenant.sibling_project):
            found |= {place.uuid, place.name}
        found |= {
            value
            for what, value in tenant.objects.items()
            # The BrainSTEM API has no grants; a page links them.
            if len(value) > 20 and what != "group's grant"
        }
        found |= {
            f"{tenant.name} message",
            f"{tenant.name.title()} Club",
            f"{tenant.name}.waiting@example.org",
            f"{tenant.name}.new@example.org",
        }
    for person in filter(None, scene.outside.values()):
        found |= {person.uuid, person.email, person.actor.name}
    return found


def reads(protocol: str) -> Iterator[Row]:
    for row in ROWS:
        if (
            row.method == "GET"
            and not row.operation.mutates
            # A download is recorded. It has what its page has: tests/exports.
            and "/export/" not in row.path
            and (row.protocol == "web") == (protocol == "web")
        ):
            yield row


def api_texts(scene: Scene, caller: Person | None) -> str:
    """Return all responses of the API to a caller, without capabilities."""
    texts = [caller.uuid, caller.email, caller.actor.username, caller.actor.name] if caller else []
    for row in reads("api"):
        if row.path in requests.REVEALING | requests.RECORDED.keys():
            continue
        for tenant in scene.tenants:
            mine = requests.own(scene, row.path, caller) if row.own else None
            path = requests.fill(scene, row.path, tenant, mine)
            texts.append(RowCheck(scene, row).request("GET", path, caller, tenant).text)
    token = {"Authorization": f"Bearer {caller.token}"} if caller else {}
    embedded = (scene.site.request("GET", path, headers=token) for path in EMBEDDED)
    return " ".join([*texts, *(response.text for response in embedded)])


def texts_of_pages_only(scene: Scene, caller: Person | None, known: str) -> str:
    """Return texts that a caller may see on pages, and that the API does not have."""
    messages = [
        # The message of a join request, for callers who see the request.
        f"{tenant.name} message"
        for tenant in scene.tenants
        if tenant.objects["request"] in known
    ]
    # The API has no reviews of groups.
    for tenant in scene.tenants:
        managers = [tenant.group[name] for name in ("owner", "coowner", "manager")]
        if caller is not None and (caller.actor.sees_all or caller in managers):
            messages.append(tenant.objects["group's review"])
    # The API has no bulk changes. They are shown to those who made them.
    for tenant in scene.tenants:
        for maker, what in (
            (tenant.tree["owner"], "bulk change"),
            (tenant.group["owner"], "group's bulk change"),
            (scene.outside["staff"], "organisation's bulk change"),
        ):
            messages += [str(tenant.objects[what])] if caller is maker else []
    # A page links the invitation to the account with the invited address.
    mine = [tenant for tenant in scene.tenants if caller is tenant.tree["invitee"]]
    return " ".join([*messages, *(tenant.objects["mailed link"] for tenant in mine)])


def by_link(scene: Scene, row: Row, caller: Person | None, tenant: Tenant) -> str:
    """Return the responses of the API to a caller with the link of a page."""
    texts = []
    for same in ROWS:
        if same.path in SAME_LINK.get(row.path, ()) and not same.own:
            path = requests.fill(scene, same.path, tenant, None)
            # The API needs an account.
            account = caller or scene.outside["stranger"]
            texts.append(RowCheck(scene, same).request(same.method, path, account, tenant).text)
    return " ".join(texts)


def check_pages(
    scene: Scene, caller: Person | None, unknown: set[str], links: set[str]
) -> Iterator[tuple[Row, set[str]]]:
    """Open every page; yield the texts of each that are not in the API.

    Args:
        unknown: the names, addresses and identifiers that are not in the API.
        links: receives the links of the pages.
    """
    for row in reads("web"):
        for tenant in scene.tenants if row.path not in MAILED else ():
            mine = requests.own(scene, row.path, caller) if row.own else None
            path = requests.fill(scene, row.path, tenant, mine)
            page = RowCheck(scene, row).request("GET", path, caller, tenant)
            if page.status_code != 200:
                continue
            text = unescape(page.text).replace(path, "")
            links |= set(LINK.findall(text))
            more = {mark for mark in unknown if mark in text}
            linked = by_link(scene, row, caller, tenant) if more else ""
            yield row, {mark for mark in more if mark not in linked}


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
@pytest.mark.parametrize("in_group", [False, True], ids=["tree", "group"])
@pytest.mark.parametrize("name", [name for names in CALLERS.values() for name in names])
def test_pages_reveal_no_more_than_the_api_and_links_are_allowed(
    scene: Scene, name: str, *, in_group: bool
) -> None:
    caller = scene.caller(name, in_group=in_group)
    links: set[str] = set()
    known = api_texts(scene, caller)
    known += texts_of_pages_only(scene, caller, known)
    unknown = {mark for mark in marks(scene) if mark not in known}
    opened = list(check_pages(scene, caller, unknown, links))
    more = "\n".join(f"{row} reveals {sorted(texts)}" for row, texts in opened if texts)
    assert not more, more
    assert len(opened) >= (10 if caller is None else 25)
    check = RowCheck(scene, next(reads("web")))
    # The button of a provider leads elsewhere, and begins a sign-in.
    for link in sorted(links):
        if link.startswith("/api-auth/") or "/export/" in link:
            continue
        page = check.request("GET", link, caller, scene.tenants[0])
        assert page.status_code in {200, 303}, link
        if not link.startswith(CAPABILITY_PAGES):
            text = unescape(page.text).replace(link, "")
            assert {mark for mark in unknown if mark in text} == set()
    assert not scene.has_changed()
