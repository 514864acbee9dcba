"""Lists: pages, counts, links, order, sparse fields, and HEAD on all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from collegium.settings import Settings
from tests.support.site import BASE, Site, counted_statements
from tests.support.world import Place, World

# What is decided before the database is asked, or in words alone, need not be tried on both.
once = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

USERS = "/api/users/"


def people(world: World, count: int, **values: Any) -> None:
    for number in range(count):
        world.person(f"p{number:03}", **values)


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["username"] for one in answer.json()]


def links(answer: httpx.Response) -> dict[str, str]:
    """Read the header as the official client does: by blind splitting."""
    found = {}
    for part in answer.headers["link"].split(","):
        address, relation = part.split(";")
        found[relation.strip().removeprefix('rel="').removesuffix('"')] = address.strip(" <>")
    return found


def every_list(place: Place) -> list[str]:
    return [
        USERS,
        "/api/customers/",
        "/api/projects/",
        "/api/roles/",
        "/api/user-permissions/",
        "/api/user-invitations/",
        f"{place.path}list_users/",
    ]


def test_a_list_is_a_bare_array_of_ten_with_its_count(site: Site, world: World) -> None:
    people(world, 11)
    answer = site.get(USERS, world.staff)
    assert isinstance(answer.json(), list)
    assert len(answer.json()) == 10
    assert answer.headers["x-result-count"] == "12"


def test_pages_are_numbered_from_one_and_the_last_has_a_name(site: Site, world: World) -> None:
    people(world, 4)
    everybody = ["p000", "p001", "p002", "p003", "staff"]
    for page, expected in (
        ("1", everybody[:2]),
        ("2", everybody[2:4]),
        ("3", everybody[4:]),
        ("last", everybody[4:]),
        ("", everybody[:2]),
    ):
        answer = site.get(f"{USERS}?page_size=2&page={page}", world.staff)
        assert names(answer) == expected
        assert answer.headers["x-result-count"] == "5"


def test_the_count_is_the_same_whether_the_first_page_is_full_or_not(
    site: Site, world: World
) -> None:
    people(world, 4)
    for asked in ("", "&query=p00", "&query=p00&is_active=true", "&o=-username"):
        everybody = 5 if "query" not in asked else 4
        for size in range(1, 8):
            for method in ("GET", "HEAD"):
                answer = site.request(method, f"{USERS}?page_size={size}{asked}", world.staff)
                assert answer.headers["x-result-count"] == str(everybody), (size, asked)
    nobody = site.get(f"{USERS}?query=zzz", world.staff)
    assert (nobody.json(), nobody.headers["x-result-count"]) == ([], "0")


@once
def test_a_page_that_is_not_there_is_not_found(site: Site, world: World) -> None:
    for page in ("2", "0", "-1", "x", "1.5", "%D9%A1", "%C2%B2", "9" * 30, "%00", "first", "1%201"):
        for method in ("GET", "HEAD"):
            answer = site.request(method, f"{USERS}?page={page}", world.staff)
            assert answer.status_code == 404, page
            if method == "GET":
                assert answer.json() == {"detail": "Invalid page."}


def test_the_first_page_of_an_empty_list_is_there(site: Site, world: World) -> None:
    ada = world.person("ada")
    for page in ("1", "last"):
        answer = site.get(f"/api/customers/?page={page}", ada)
        assert answer.status_code == 200
        assert answer.json() == []
        assert answer.headers["x-result-count"] == "0"
    assert site.get("/api/customers/?page=2", ada).status_code == 404


@once
def test_the_size_of_a_page_is_clamped_and_nonsense_is_passed_over(
    site: Site, world: World
) -> None:
    people(world, 12)
    for size, shown in (
        ("3", 3),
        ("300", 13),
        ("301", 13),
        ("9" * 40, 13),
        ("0", 10),
        ("-5", 10),
        ("x", 10),
        ("", 10),
        ("2.5", 10),
        ("%C2%B2", 10),
    ):
        assert len(site.get(f"{USERS}?page_size={size}", world.staff).json()) == shown, size
    answer = site.get(f"{USERS}?page_size=100000&page=1", world.staff)
    assert "next" not in links(answer)


@once
def test_no_page_is_longer_than_300(site: Site, world: World) -> None:
    org = world.organisation()
    for number in range(301):
        world.invite(world.staff, f"p{number}@example.org", "CUSTOMER.OWNER", org)
    answer = site.get("/api/user-invitations/?page_size=1000", world.staff)
    assert len(answer.json()) == 300
    assert answer.headers["x-result-count"] == "301"
    assert links(answer)["next"].endswith("page=2")


@once
def test_links_lead_to_the_other_pages(site: Site, world: World) -> None:
    people(world, 4)
    for page, relations in (
        ("1", {"first", "next", "last"}),
        ("2", {"first", "prev", "next", "last"}),
        ("3", {"first", "prev", "last"}),
    ):
        answer = site.get(f"{USERS}?page_size=2&page={page}", world.staff)
        found = links(answer)
        assert set(found) == relations
        for relation, address in found.items():
            assert address.startswith(f"{BASE}{USERS}?")
            wanted = {
                "first": 1,
                "prev": int(page) - 1,
                "next": int(page) + 1,
                "last": 3,
            }[relation]
            asked = dict(parse_qsl(urlsplit(address).query))
            # The first page is the address without a number.
            assert asked.get("page") == (None if wanted == 1 else str(wanted))
            there = site.get(address.removeprefix(BASE), world.staff)
            again = site.get(f"{USERS}?page_size=2&page={wanted}", world.staff)
            assert names(there) == names(again)


@once
def test_links_keep_the_other_parameters_and_hide_what_separates(site: Site, world: World) -> None:
    people(world, 3)
    query = "field=username&field=uuid&o=email,-username&x=a;b&y=%C3%A4%2C%3B&z=&page=2&page_size=2"
    answer = site.get(f"{USERS}?{query}", world.staff)
    for address in links(answer).values():
        assert not set(address) & set(",;<> \"'")
        kept = [
            pair
            for pair in parse_qsl(urlsplit(address).query, keep_blank_values=True)
            if pair[0] != "page"
        ]
        assert kept == [
            ("field", "username"),
            ("field", "uuid"),
            ("o", "email,-username"),
            ("x", "a;b"),
            ("y", "ä,;"),
            ("z", ""),
            ("page_size", "2"),
        ]
    assert re.fullmatch(r'(<[^<>,;]+>; rel="\w+"(, )?)+', answer.headers["link"])


@once
def test_one_page_has_no_neighbours(site: Site, world: World) -> None:
    found = links(site.get(USERS, world.staff))
    assert found == {"first": f"{BASE}{USERS}", "last": f"{BASE}{USERS}"}


def test_head_on_every_list_counts_without_a_body(site: Site, world: World) -> None:
    org = world.organisation(owner=world.person("ada"))
    world.project(org)
    world.invite(world.staff, "bob@example.org", "CUSTOMER.OWNER", org)
    for path in every_list(org):
        got = site.get(path, world.staff)
        head = site.request("HEAD", path, world.staff)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["x-result-count"] == got.headers["x-result-count"] != "0", path
        assert head.headers["link"] == got.headers["link"]


@once
def test_head_reads_no_rows(site: Site, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with counted_statements(monkeypatch) as head:
        site.request("HEAD", USERS, world.staff)
    with counted_statements(monkeypatch) as got:
        site.get(USERS, world.staff)
    assert len(head) < len(got)


@once
def test_head_on_every_single_thing_answers_without_a_body(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    project = world.project(org)
    invitation = world.invite(world.staff, "bob@example.org", "CUSTOMER.OWNER", org)
    grant = world.grants_in(org)[0].uuid
    role = world.role("CUSTOMER.OWNER").uuid
    for path in (
        "/api/",
        "/api/users/me/",
        f"/api/users/{ada.uuid}/",
        org.path,
        project.path,
        f"/api/roles/{role}/",
        f"/api/user-permissions/{grant}/",
        f"/api/user-invitations/{invitation}/",
        f"/api/user-invitations/{invitation}/details/",
    ):
        answer = site.request("HEAD", path, world.staff)
        assert answer.status_code == 200, path
        assert answer.content == b""
        # Built-in roles are everybody's to see.
        assert site.request("HEAD", path).status_code == (200 if "/roles/" in path else 401)
    missing = site.request("HEAD", f"/api/users/{'0' * 32}/", world.staff)
    assert missing.status_code == 404
    assert missing.content == b""


@once
def test_oneself_is_counted_as_one(site: Site, world: World) -> None:
    for method in ("GET", "HEAD"):
        answer = site.request(method, "/api/users/me/", world.staff)
        assert answer.headers["x-result-count"] == "1"


def test_a_list_takes_the_same_number_of_statements_whatever_its_length(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = world.organisation(owner=world.person("ada"))
    for number in range(6):
        world.project(org)
        world.organisation()
        world.seat(world.person(), "CUSTOMER.OWNER", org)
        world.invite(world.staff, f"p{number}@example.org", "CUSTOMER.OWNER", org)
    for path in every_list(org):
        taken = []
        for size in (1, 6):
            with counted_statements(monkeypatch) as seen:
                answer = site.get(f"{path}?page_size={size}", world.staff)
            assert len(answer.json()) == size
            taken.append(len(seen))
        assert taken[0] == taken[1], path


def test_every_list_has_its_default_order(site: Site, world: World) -> None:
    org = world.organisation("Middle", owner=world.person("zoe"))
    world.organisation("Alpha")
    world.organisation("Zulu")
    world.project(org, "P2")
    world.project(org, "P1")
    for number in (2, 1, 3):
        world.invite(world.staff, f"p{number}@example.org", "CUSTOMER.OWNER", org)
    world.seat(world.person("ada"), "CUSTOMER.OWNER", org)

    def shown(path: str, key: str) -> list[str]:
        return [one[key] for one in site.get(f"{path}?page_size=50", world.staff).json()]

    assert shown(USERS, "username") == ["ada", "staff", "zoe"]
    assert shown("/api/customers/", "name") == ["Alpha", "Middle", "Zulu"]
    assert shown("/api/projects/", "name") == ["P1", "P2"]
    assert shown("/api/roles/", "name") == sorted(shown("/api/roles/", "name"))
    emails = shown("/api/user-invitations/", "email")
    assert emails == ["p3@example.org", "p1@example.org", "p2@example.org"]
    assert shown("/api/user-permissions/", "user_name") == ["Zoe Lee", "Ada Lee"]


def test_the_order_is_asked_repeated_or_with_commas_or_both(site: Site, world: World) -> None:
    for username, organization, title in (
        ("a", "x", "1"),
        ("b", "x", "2"),
        ("c", "y", "1"),
        ("d", "y", "2"),
    ):
        world.person(username, organization=organization, job_title=title)
    for query, expected in (
        ("o=-username", "sdcba"),
        ("o=organization,-username", "sbadc"),
        ("o=organization&o=-username", "sbadc"),
        ("o=-organization&o=job_title&o=username", "cdabs"),
        ("o=-organization,job_title&o=username", "cdabs"),
        ("o= organization , -username ,", "sbadc"),
        ("o=", "abcds"),
        ("o=,", "abcds"),
        # A column counts where it comes first.
        ("o=organization&o=job_title&o=-organization&o=username", "sabcd"),
        ("o=-username&o=username", "sdcba"),
    ):
        answer = site.get(f"{USERS}?{query}", world.staff)
        assert [name[0] for name in names(answer)] == list(expected), query


def test_every_order_of_every_list_is_taken_both_ways(site: Site, world: World) -> None:
    org = world.organisation(owner=world.person("ada"))
    grants = "created email expiration_time full_name native_name role username"
    profile = "full_name native_name email phone_number description organization job_title"
    flags = "is_active registration_method is_staff is_support"
    for path, orders in (
        (USERS, f"{profile} username {flags}"),
        ("/api/user-invitations/", "created created_by email state"),
        ("/api/user-permissions/", grants),
        (f"{org.path}list_users/", grants),
        ("/api/customers/", "name"),
        ("/api/projects/", "name"),
        ("/api/roles/", "name"),
    ):
        for order in orders.split():
            for sign in ("", "-"):
                answer = site.get(f"{path}?o={sign}{order}", world.staff)
                assert answer.status_code == 200, (path, order)


@once
def test_an_unknown_order_is_refused_by_name(site: Site, world: World) -> None:
    for order in ("foo", "-foo", "--username", "password", "id", "-"):
        answer = site.get(f"{USERS}?o={order}", world.staff)
        assert answer.status_code == 400
        text = f"Select a valid choice. {order} is not one of the available choices."
        assert answer.json() == {"o": [text]}
    assert site.get(f"{USERS}?o=username&o=foo", world.staff).status_code == 400
    assert site.request("HEAD", f"{USERS}?o=foo", world.staff).status_code == 400


@pytest.mark.parametrize("order", ["organization", "-organization"])
def test_pages_do_not_overlap_where_values_are_equal(site: Site, world: World, order: str) -> None:
    people(world, 9, organization="the same")
    seen = []
    for page in range(1, 6):
        seen += names(site.get(f"{USERS}?o={order}&page_size=2&page={page}", world.staff))
    assert len(seen) == len(set(seen)) == 10
    # Equal values go by age, in the direction that was asked; no database does so by itself.
    ties = [f"p{number:03}" for number in range(9)]
    assert [name for name in seen if name != "staff"] == (
        ties[::-1] if order.startswith("-") else ties
    )


def test_only_the_asked_fields_are_shown(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    project = world.project(org)
    role = world.role("CUSTOMER.OWNER").uuid
    for path in (
        USERS,
        "/api/users/me/",
        f"/api/users/{ada.uuid}/",
        "/api/customers/",
        org.path,
        "/api/projects/",
        project.path,
        "/api/roles/",
        f"/api/roles/{role}/",
        f"{org.path}list_users/",
    ):
        whole = site.get(path, world.staff).json()
        key = "user_uuid" if "list_users" in path else "name" if "users" not in path else "email"
        shown = site.get(f"{path}?field=uuid&field={key}&field=nonsense", world.staff).json()
        for one, full in zip(
            *([thing] if isinstance(thing, dict) else thing for thing in (shown, whole)),
            strict=True,
        ):
            assert one == {"uuid": full["uuid"], key: full[key]}, path
        # With no known name left, everything is shown.
        assert site.get(f"{path}?field=nonsense&field=", world.staff).json() == whole


@once
def test_lists_that_know_no_sparse_fields_show_all(site: Site, world: World) -> None:
    org = world.organisation(owner=world.person("ada"))
    world.invite(world.staff, "bob@example.org", "CUSTOMER.OWNER", org)
    for path in ("/api/user-permissions/", "/api/user-invitations/"):
        whole = site.get(path, world.staff).json()
        assert site.get(f"{path}?field=role_name", world.staff).json() == whole


@once
def test_hidden_fields_stay_hidden_when_they_are_asked(site: Site, world: World) -> None:
    ada = world.person("ada")
    for path in ("/api/users/me/", f"/api/users/{ada.uuid}/"):
        assert site.get(f"{path}?field=is_staff&field=username", ada).json() == {"username": "ada"}
        assert site.get(f"{path}?field=is_staff", ada).json() == {}
    shown = site.get(f"/api/users/{ada.uuid}/?field=token&field=token_lifetime", world.staff)
    assert shown.json() == {}
    assert site.get(f"{USERS}?field=token", ada).json() == [{}]


@once
def test_a_field_that_can_only_be_written_may_be_asked_and_is_not_shown(
    site: Site, world: World
) -> None:
    assert site.get("/api/users/me/?field=agree_with_policy", world.staff).json() == {}
    shown = site.get("/api/users/me/?field=agree_with_policy&field=username", world.staff)
    assert shown.json() == {"username": "staff"}


@once
def test_asking_for_fields_changes_no_write(site: Site, world: World) -> None:
    org = world.organisation("Before")
    body = {"username": "new", "email": "new@example.org", "first_name": "New"}
    made = site.post(f"{USERS}?field=uuid", world.staff, json=body)
    assert made.status_code == 201
    assert made.json()["first_name"] == "New"
    for method in ("PUT", "PATCH"):
        answer = site.request(method, f"{org.path}?field=uuid", world.staff, json={"name": method})
        assert answer.status_code == 200
        assert answer.json()["name"] == method


@once
def test_links_name_the_host_that_was_asked(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings())
    answer = site.get(USERS, world.staff, headers={"Host": "roll.example:8443"})
    assert links(answer)["first"] == f"http://roll.example:8443{USERS}"
