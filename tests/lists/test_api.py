"""Lists: pages, counts, links, order, sparse fields, and HEAD of all of them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.support.site import BASE, Site, record_statements
from tests.support.world import Place, World

# For what does not depend on the database.
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

USERS = "/api/users/"


def add_people(world: World, count: int, **values: Any) -> None:
    for number in range(count):
        world.person(f"p{number:03}", **values)


def usernames(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [row["username"] for row in response.json()]


def links(response: httpx.Response) -> dict[str, str]:
    """Read the header as the official client does, which splits at every separator."""
    parts = [part.split(";") for part in response.headers["link"].split(",")]
    return {
        relation.strip().removeprefix('rel="').removesuffix('"'): url.strip(" <>")
        for url, relation in parts
    }


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


def test_list_is_an_array_of_ten_with_the_count_in_a_header(site: Site, world: World) -> None:
    add_people(world, 11)
    response = site.get(USERS, world.staff)
    assert isinstance(response.json(), list)
    assert len(response.json()) == 10
    assert response.headers["x-result-count"] == "12"


def test_pages_are_numbered_from_one_and_last_is_an_alias(site: Site, world: World) -> None:
    add_people(world, 4)
    everybody = ["p000", "p001", "p002", "p003", "staff"]
    for page, expected in (
        ("1", everybody[:2]),
        ("2", everybody[2:4]),
        ("3", everybody[4:]),
        ("last", everybody[4:]),
        ("", everybody[:2]),
    ):
        response = site.get(f"{USERS}?page_size=2&page={page}", world.staff)
        assert usernames(response) == expected
        assert response.headers["x-result-count"] == "5"


def test_count_does_not_depend_on_the_page_size(site: Site, world: World) -> None:
    add_people(world, 4)
    for query, count in (
        ("", 5),
        ("&query=p00", 4),
        ("&query=p00&is_active=true", 4),
        ("&o=-username", 5),
        ("&query=zzz", 0),
    ):
        for size in range(1, 8):
            for method in ("GET", "HEAD"):
                response = site.request(method, f"{USERS}?page_size={size}{query}", world.staff)
                assert response.headers["x-result-count"] == str(count), (size, query)
    assert site.get(f"{USERS}?query=zzz", world.staff).json() == []


@sqlite_only
def test_unknown_page_is_not_found(site: Site, world: World) -> None:
    for page in ("2", "0", "-1", "x", "1.5", "%D9%A1", "%C2%B2", "9" * 30, "%00", "first", "1%201"):
        for method in ("GET", "HEAD"):
            response = site.request(method, f"{USERS}?page={page}", world.staff)
            assert response.status_code == 404, page
            if method == "GET":
                assert response.json() == {"detail": "Invalid page."}


def test_first_page_of_an_empty_list_exists(site: Site, world: World) -> None:
    ada = world.person("ada")
    for page in ("1", "last"):
        response = site.get(f"/api/customers/?page={page}", ada)
        assert response.status_code == 200
        assert response.json() == []
        assert response.headers["x-result-count"] == "0"
    assert site.get("/api/customers/?page=2", ada).status_code == 404


@sqlite_only
def test_page_size_is_clamped_and_invalid_sizes_are_ignored(site: Site, world: World) -> None:
    add_people(world, 12)
    for sizes, shown in (
        (("3",), 3),
        (("300", "301", "9" * 40), 13),
        (("0", "-5", "x", "", "2.5", "%C2%B2"), 10),
    ):
        for size in sizes:
            response = site.get(f"{USERS}?page_size={size}", world.staff)
            assert len(response.json()) == shown, size
    assert "next" not in links(site.get(f"{USERS}?page_size=100000&page=1", world.staff))


@sqlite_only
def test_page_has_at_most_300_rows(site: Site, world: World) -> None:
    org = world.organisation()
    for number in range(301):
        world.invite(world.staff, f"p{number}@example.org", "CUSTOMER.OWNER", org)
    response = site.get("/api/user-invitations/?page_size=1000", world.staff)
    assert len(response.json()) == 300
    assert response.headers["x-result-count"] == "301"
    assert links(response)["next"].endswith("page=2")


@sqlite_only
def test_link_header_leads_to_the_other_pages(site: Site, world: World) -> None:
    add_people(world, 4)
    for page, relations in (
        (1, {"first": 1, "next": 2, "last": 3}),
        (2, {"first": 1, "prev": 1, "next": 3, "last": 3}),
        (3, {"first": 1, "prev": 2, "last": 3}),
    ):
        header = links(site.get(f"{USERS}?page_size=2&page={page}", world.staff))
        assert set(header) == set(relations)
        for relation, url in header.items():
            assert url.startswith(f"{BASE}{USERS}?")
            number = relations[relation]
            # The first page has no number in its URL.
            query = dict(parse_qsl(urlsplit(url).query))
            assert query.get("page") == (None if number == 1 else str(number))
            linked = site.get(url.removeprefix(BASE), world.staff)
            numbered = site.get(f"{USERS}?page_size=2&page={number}", world.staff)
            assert usernames(linked) == usernames(numbered)


@sqlite_only
def test_link_header_keeps_and_escapes_other_parameters(site: Site, world: World) -> None:
    add_people(world, 3)
    query = "field=username&field=uuid&o=email,-username&x=a;b&y=%C3%A4%2C%3B&z=&page=2&page_size=2"
    response = site.get(f"{USERS}?{query}", world.staff)
    for url in links(response).values():
        assert not set(url) & set(",;<> \"'")
        pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
        assert [pair for pair in pairs if pair[0] != "page"] == [
            ("field", "username"),
            ("field", "uuid"),
            ("o", "email,-username"),
            ("x", "a;b"),
            ("y", "ä,;"),
            ("z", ""),
            ("page_size", "2"),
        ]
    assert re.fullmatch(r'(<[^<>,;]+>; rel="\w+"(, )?)+', response.headers["link"])


@sqlite_only
def test_single_page_has_no_previous_and_next_link(site: Site, world: World) -> None:
    header = links(site.get(USERS, world.staff))
    assert header == {"first": f"{BASE}{USERS}", "last": f"{BASE}{USERS}"}


def test_head_of_every_list_has_the_count_without_a_body(site: Site, world: World) -> None:
    org = world.organisation(owner=world.person("ada"))
    world.project(org)
    world.invite(world.staff, "bob@example.org", "CUSTOMER.OWNER", org)
    for path in every_list(org):
        response = site.get(path, world.staff)
        head = site.request("HEAD", path, world.staff)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["x-result-count"] == response.headers["x-result-count"] != "0", path
        assert head.headers["link"] == response.headers["link"]


@sqlite_only
def test_head_reads_no_rows(site: Site, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for method in ("HEAD", "GET"):
        with record_statements(monkeypatch) as statements:
            site.request(method, USERS, world.staff)
        counts.append(len(statements))
    assert counts[0] < counts[1]


@sqlite_only
def test_head_of_every_object_has_no_body(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    project = world.project(org)
    invitation = world.invite(world.staff, "bob@example.org", "CUSTOMER.OWNER", org)
    for path in (
        "/api/",
        "/api/users/me/",
        f"/api/users/{ada.uuid}/",
        org.path,
        project.path,
        f"/api/roles/{world.role('CUSTOMER.OWNER').uuid}/",
        f"/api/user-permissions/{world.grants_in(org)[0].uuid}/",
        f"/api/user-invitations/{invitation}/",
        f"/api/user-invitations/{invitation}/details/",
    ):
        head = site.request("HEAD", path, world.staff)
        assert (head.status_code, head.content) == (200, b""), path
        # Built-in roles are public.
        assert site.request("HEAD", path).status_code == (200 if "/roles/" in path else 401)
    head = site.request("HEAD", f"/api/users/{'0' * 32}/", world.staff)
    assert (head.status_code, head.content) == (404, b"")


@sqlite_only
def test_own_account_has_a_count_of_one(site: Site, world: World) -> None:
    for method in ("GET", "HEAD"):
        response = site.request(method, "/api/users/me/", world.staff)
        assert response.headers["x-result-count"] == "1"


def test_list_takes_a_constant_number_of_statements(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = world.organisation(owner=world.person("ada"))
    for number in range(6):
        world.project(org)
        world.organisation()
        world.give_role(world.person(), "CUSTOMER.OWNER", org)
        world.invite(world.staff, f"p{number}@example.org", "CUSTOMER.OWNER", org)
    for path in every_list(org):
        counts = []
        for size in (1, 6):
            with record_statements(monkeypatch) as statements:
                response = site.get(f"{path}?page_size={size}", world.staff)
            assert len(response.json()) == size
            counts.append(len(statements))
        assert counts[0] == counts[1], path


def test_every_list_has_a_default_order(site: Site, world: World) -> None:
    org = world.organisation("Middle", owner=world.person("zoe"))
    for name in ("Alpha", "Zulu"):
        world.organisation(name)
    for name in ("P2", "P1"):
        world.project(org, name)
    for number in (2, 1, 3):
        world.invite(world.staff, f"p{number}@example.org", "CUSTOMER.OWNER", org)
    world.give_role(world.person("ada"), "CUSTOMER.OWNER", org)

    def values(path: str, key: str) -> list[str]:
        return [row[key] for row in site.get(f"{path}?page_size=50", world.staff).json()]

    for path, key, expected in (
        (USERS, "username", ["ada", "staff", "zoe"]),
        ("/api/customers/", "name", ["Alpha", "Middle", "Zulu"]),
        ("/api/projects/", "name", ["P1", "P2"]),
        ("/api/user-invitations/", "email", [f"p{number}@example.org" for number in (3, 1, 2)]),
        ("/api/user-permissions/", "user_name", ["Zoe Lee", "Ada Lee"]),
        ("/api/roles/", "name", sorted(values("/api/roles/", "name"))),
    ):
        assert values(path, key) == expected


def test_order_accepts_commas_and_repeated_parameters(site: Site, world: World) -> None:
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
        # The first use of a column counts.
        ("o=organization&o=job_title&o=-organization&o=username", "sabcd"),
        ("o=-username&o=username", "sdcba"),
    ):
        response = site.get(f"{USERS}?{query}", world.staff)
        assert [name[0] for name in usernames(response)] == list(expected), query


def test_every_order_of_accounts_works_in_both_directions(site: Site, world: World) -> None:
    profile = "full_name native_name email phone_number description organization job_title"
    flags = "is_active registration_method is_staff is_support"
    for order in f"{profile} username {flags}".split():
        for sign in ("", "-"):
            assert site.get(f"{USERS}?o={sign}{order}", world.staff).status_code == 200, order


@sqlite_only
def test_unknown_order_is_refused_by_name(site: Site, world: World) -> None:
    for order in ("foo", "-foo", "--username", "password", "id", "-"):
        response = site.get(f"{USERS}?o={order}", world.staff)
        assert response.status_code == 400
        message = f"Select a valid choice. {order} is not one of the available choices."
        assert response.json() == {"o": [message]}
    assert site.get(f"{USERS}?o=username&o=foo", world.staff).status_code == 400
    assert site.request("HEAD", f"{USERS}?o=foo", world.staff).status_code == 400


@pytest.mark.parametrize("order", ["organization", "-organization"])
def test_pages_do_not_overlap_where_values_are_equal(site: Site, world: World, order: str) -> None:
    add_people(world, 9, organization="the same")
    listed = []
    for page in range(1, 6):
        listed += usernames(site.get(f"{USERS}?o={order}&page_size=2&page={page}", world.staff))
    assert len(listed) == len(set(listed)) == 10
    # Equal values are ordered by age, in the requested direction.
    by_age = [f"p{number:03}" for number in range(9)]
    expected = by_age[::-1] if order.startswith("-") else by_age
    assert [name for name in listed if name != "staff"] == expected


def test_field_parameter_selects_fields(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation(owner=ada)
    project = world.project(org)
    for path, key in (
        (USERS, "email"),
        ("/api/users/me/", "email"),
        (f"/api/users/{ada.uuid}/", "email"),
        ("/api/customers/", "name"),
        (org.path, "name"),
        ("/api/projects/", "name"),
        (project.path, "name"),
        ("/api/roles/", "name"),
        (f"/api/roles/{world.role('CUSTOMER.OWNER').uuid}/", "name"),
        (f"{org.path}list_users/", "user_uuid"),
    ):
        body = site.get(path, world.staff).json()
        sparse = site.get(f"{path}?field=uuid&field={key}&field=nonsense", world.staff).json()
        rows = body if isinstance(body, list) else [body]
        expected = [{"uuid": row["uuid"], key: row[key]} for row in rows]
        assert sparse == (expected if isinstance(body, list) else expected[0]), path
        # Without a known name, everything is shown.
        assert site.get(f"{path}?field=nonsense&field=", world.staff).json() == body


@sqlite_only
def test_lists_without_field_parameter_show_everything(site: Site, world: World) -> None:
    org = world.organisation(owner=world.person("ada"))
    world.invite(world.staff, "bob@example.org", "CUSTOMER.OWNER", org)
    for path in ("/api/user-permissions/", "/api/user-invitations/"):
        body = site.get(path, world.staff).json()
        assert site.get(f"{path}?field=role_name", world.staff).json() == body


@sqlite_only
def test_field_parameter_does_not_show_hidden_or_write_only_fields(
    site: Site, world: World
) -> None:
    ada = world.person("ada")
    for person, path, fields, expected in (
        (ada, "/api/users/me/", "is_staff username", {"username": "ada"}),
        (ada, "/api/users/me/", "is_staff", {}),
        (ada, f"/api/users/{ada.uuid}/", "is_staff username", {"username": "ada"}),
        (ada, f"/api/users/{ada.uuid}/", "is_staff", {}),
        (world.staff, f"/api/users/{ada.uuid}/", "token token_lifetime", {}),
        (ada, USERS, "token", [{}]),
        (world.staff, "/api/users/me/", "agree_with_policy", {}),
        (world.staff, "/api/users/me/", "agree_with_policy username", {"username": "staff"}),
    ):
        query = "&".join(f"field={name}" for name in fields.split())
        assert site.get(f"{path}?{query}", person).json() == expected, (path, fields)


@sqlite_only
def test_field_parameter_does_not_affect_writes(site: Site, world: World) -> None:
    org = world.organisation("Before")
    body = {"username": "new", "email": "new@example.org", "first_name": "New"}
    response = site.post(f"{USERS}?field=uuid", world.staff, json=body)
    assert response.status_code == 201
    assert response.json()["first_name"] == "New"
    for method in ("PUT", "PATCH"):
        body = {"name": method}
        response = site.request(method, f"{org.path}?field=uuid", world.staff, json=body)
        assert response.status_code == 200
        assert response.json()["name"] == method


@sqlite_only
def test_link_header_uses_the_requested_host(site: Site, world: World) -> None:
    response = site.get(USERS, world.staff, headers={"Host": "roll.example:8443"})
    assert links(response)["first"] == f"http://roll.example:8443{USERS}"
