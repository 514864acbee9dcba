"""What goes out: identifiers, addresses, dates, and every key that the official clients need."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from collegium.accounts import queries as account_queries
from collegium.api.waldur.schemas import LANGUAGES
from collegium.settings import Settings
from tests.support.site import BASE, Site
from tests.support.world import Place, World

# What is decided before the database is asked, or in words alone, need not be tried on both.
once = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def all_of(what: str, keys: str) -> dict[str, str]:
    return dict.fromkeys(keys.split(), what)


# What the models of waldur-api-client 7.9.0 and 8.1.3 take with ``d.pop(key)``: a missing key is
# a KeyError there, whatever the status. The words tell what the models make of the value.
_SCOPE = {
    "scope_uuid": "uuid",
    "scope_name": "text",
    "scope_description": "text",
    "scope_type": "scope type",
    "customer_uuid": "uuid",
    "customer_name": "text",
    "role_name": "text",
    "role_description": "text",
    "created_by_full_name": "text",
    "created_by_username": "text",
    "created_by_image": "text or null",
    "email": "text",
    "state": "state",
    "error_message": "text",
    "execution_state": "execution",
}
DETAILS = _SCOPE
INVITATION = _SCOPE | {
    "url": "address",
    "uuid": "uuid",
    "role": "uuid",
    "created": "moment",
    "expires": "moment",
}
# Keys the models can do without; but where one is there, null and other types break them.
USER = {
    "url": "address",
    "uuid": "uuid",
    "username": "text",
    "slug": "text",
    "full_name": "text",
    "native_name": "text",
    "job_title": "text",
    "email": "text",
    "phone_number": "text",
    "organization": "text",
    "registration_method": "text",
    "date_joined": "moment",
    "agreement_date": "moment or null",
    "token_expires_at": "moment or null",
    "notifications_enabled": "flag",
    "preferred_language": "text",
    "permissions": "list",
    "affiliations": "list",
    "first_name": "text",
    "last_name": "text",
    "identity_provider_name": "text",
    "identity_provider_label": "text",
    "identity_provider_management_url": "text",
    "identity_provider_fields": "list",
    "identity_source": "text",
    "image": "text or null",
}
PRIVATE = {
    "civil_number": "text or null",
    "birth_date": "day or null",
    "requested_email": "text or null",
}
PRIVILEGED = {
    "description": "text",
    "is_staff": "flag",
    "is_active": "flag",
    "is_support": "flag",
    "has_active_session": "flag",
}
OWN = {"token": "text", "token_lifetime": "number or null"}
PERMISSION = {
    "user_uuid": "uuid",
    "user_name": "text",
    "user_slug": "text",
    "created": "moment",
    "expiration_time": "moment or null",
    "created_by_full_name": "text",
    "created_by_username": "text",
    "role_name": "text",
    "role_description": "text",
    "role_uuid": "uuid",
    "scope_type": "scope type",
    "scope_uuid": "uuid",
    "scope_name": "text",
    "customer_uuid": "uuid",
    "customer_name": "text",
}
TEAM_MEMBER = {
    "uuid": "uuid",
    "created": "moment",
    "expiration_time": "moment or null",
    "role_name": "text",
    "role_uuid": "uuid",
    "user_email": "text",
    "user_full_name": "text",
    "user_username": "text",
    "user_uuid": "uuid",
    "user_image": "text or null",
    "created_by_full_name": "text",
    "created_by_uuid": "uuid",
}
ROLE = {
    "uuid": "uuid",
    "name": "text",
    "description": "text",
    **{f"description_{code}": "text or null" for code in LANGUAGES},
    "permissions": "list",
    "is_system_role": "flag",
    "is_active": "flag",
    "content_type": "scope type",
}
CUSTOMER = {
    "url": "address",
    "uuid": "uuid",
    "created": "moment",
    "display_name": "text",
    "projects": "list",
    "organization_groups": "list",
    "payment_profiles": "list",
    "accounting_start_date": "moment",
    "default_tax_percent": "decimal",
    "projects_count": "number",
    "users_count": "number",
    "latitude": "number or null",
    "longitude": "number or null",
    "sponsor_number": "number or null",
    "max_service_accounts": "number or null",
    "grace_period_days": "number or null",
    "country": "text",
    "country_name": "text",
    "image": "text or null",
    **all_of(
        "text",
        "name slug native_name abbreviation description contact_details agreement_number email "
        "phone_number access_subnets registration_code homepage domain vat_code postal address "
        "bank_name bank_account backend_id notification_emails",
    ),
    **all_of("flag", "blocked archived display_billing_info_in_projects is_service_provider"),
}
PROJECT = {
    "url": "address",
    "uuid": "uuid",
    "customer": "address",
    "customer_uuid": "uuid",
    "created": "moment",
    "start_date": "day or null",
    "end_date": "day or null",
    "end_date_requested_by": "address or null",
    "kind": "project kind",
    "oecd_fos_2007_code": "text or null",
    "resources_count": "number",
    "max_service_accounts": "number or null",
    "grace_period_days": "number or null",
    "type_uuid": "text or null",
    **all_of(
        "text",
        "name slug customer_name customer_slug customer_native_name customer_abbreviation "
        "description backend_id oecd_fos_2007_label",
    ),
    **all_of("flag", "customer_display_billing_info_in_projects is_industry is_removed"),
}


def one_of(text: str) -> Callable[[Any], bool]:
    return lambda value: value in text.split()


def form(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


KINDS: dict[str, Callable[[Any], bool]] = {
    "uuid": form(r"[0-9a-f]{32}"),
    "moment": form(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z"),
    "day": form(r"\d{4}-\d\d-\d\d"),
    "address": form(rf"{BASE}/api/[a-z-]+/[0-9a-f]{{32}}/"),
    "decimal": form(r"\d+(\.\d+)?"),
    "flag": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "text": lambda value: isinstance(value, str),
    "scope type": one_of("customer project"),
    "state": one_of("project requested rejected pending accepted canceled expired"),
    "execution": one_of("Scheduled Processing OK Erred"),
    "project kind": one_of("default course public"),
}


def fits(value: Any, what: str) -> bool:
    """Tell whether a value is what a model can take."""
    plain = what.removesuffix(" or null")
    return plain != what if value is None else KINDS[plain](value)


def check(shown: dict[str, Any], *shapes: dict[str, str]) -> None:
    for shape in shapes:
        for key, what in shape.items():
            assert key in shown, key
            assert fits(shown[key], what), (key, shown[key], what)


def walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from walk(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, key)
    else:
        yield key, value


def furnish(world: World) -> tuple[Place, Place, str]:
    """Make an organisation with an owner, a project with an end, and an invitation to it."""
    ada = world.person("ada", first_name="Ada", birth_date=date(1815, 12, 10))
    org = world.organisation("Acme", owner=ada, description="Makers")
    project = world.project(org, end_date=date(2999, 1, 1))
    world.seat(ada, "PROJECT.MANAGER", project, datetime(2999, 1, 1, tzinfo=UTC))
    uuid = world.invite(ada, "bob@example.org", "PROJECT.MEMBER", project)
    return org, project, uuid


def everything(world: World, org: Place, project: Place, invitation: str) -> list[str]:
    grant = world.grants_in(org)[0]
    return [
        "/api/users/",
        "/api/users/me/",
        f"/api/users/{grant.account_uuid}/",
        "/api/customers/",
        org.path,
        "/api/projects/",
        project.path,
        "/api/roles/",
        f"/api/roles/{grant.role_uuid}/",
        "/api/user-permissions/",
        f"/api/user-permissions/{grant.uuid}/",
        "/api/user-invitations/",
        f"/api/user-invitations/{invitation}/",
        f"/api/user-invitations/{invitation}/details/",
        f"{org.path}list_users/",
        f"{project.path}list_users/",
    ]


def test_invitations_have_every_key_that_the_clients_need(site: Site, world: World) -> None:
    org, _project, uuid = furnish(world)
    path = f"/api/user-invitations/{uuid}/"
    listed = site.get("/api/user-invitations/", world.staff).json()[0]
    shown = site.get(path, world.staff).json()
    assert listed == shown
    check(shown, INVITATION)
    check(site.get(f"{path}details/", world.staff).json(), DETAILS)
    assert set(site.get(f"{path}details/", world.staff).json()) == set(DETAILS)
    body = {
        "email": "carl@example.org",
        "scope": org.path,
        "role": world.role("CUSTOMER.OWNER").uuid,
    }
    check(site.post("/api/user-invitations/", world.staff, json=body).json(), INVITATION)
    assert site.post(f"{path}check/").json() == {"email": "bob@example.org"}


def test_an_invitation_whose_creator_is_gone_or_nameless_keeps_its_keys(
    site: Site, world: World
) -> None:
    nameless = world.person("nameless", first_name="", last_name="")
    org = world.organisation(owner=nameless)
    project = world.project(org)
    uuid = world.invite(nameless, "bob@example.org", "PROJECT.MEMBER", project)
    path = f"/api/user-invitations/{uuid}/"
    shown = site.get(path, world.staff).json()
    check(shown, INVITATION)
    assert shown["created_by_full_name"] == ""
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE invitations SET created_by = NULL")
    shown = site.get(path, world.staff).json()
    check(shown, INVITATION)
    check(site.get(f"{path}details/", world.staff).json(), DETAILS)
    assert shown["created_by_username"] == ""


def test_a_civil_number_is_asked_for_only_where_one_is_set(site: Site, world: World) -> None:
    org = world.organisation()
    uuid = world.invite(world.staff, "b@example.org", "CUSTOMER.OWNER", org, civil_number="7")
    answer = site.post(f"/api/user-invitations/{uuid}/check/")
    assert answer.json() == {"email": "b@example.org", "civil_number_required": True}


def test_accounts_have_what_each_viewer_may_see(site: Site, world: World) -> None:
    org, _project, _uuid = furnish(world)
    bob = world.person("bob")
    helper = world.person("helper", is_support=True)
    world.seat(bob, "CUSTOMER.OWNER", org)
    ada = world.grants_in(org)[0].account_uuid
    path = f"/api/users/{ada}/"
    hidden = set(PRIVILEGED) | set(OWN)
    for who, shapes in (
        (world.staff, (USER, PRIVATE, PRIVILEGED)),
        (helper, (USER, PRIVATE, PRIVILEGED)),
        (bob, (USER,)),
    ):
        shown = site.get(path, who).json()
        check(shown, *shapes)
        assert not set(OWN) & set(shown)
        listed = site.get("/api/users/?page_size=50", who).json()
        assert shown in listed
        if who is bob:
            assert not set(shown) & (hidden | set(PRIVATE))
            assert shown["token_expires_at"] is None
        else:
            assert shown["token_expires_at"] is not None
            assert shown["birth_date"] == "1815-12-10"
    own = site.get("/api/users/me/", bob).json()
    check(own, USER, PRIVATE, OWN)
    assert not set(own) & set(PRIVILEGED)
    assert own["token"] == bob.token
    assert site.get(f"/api/users/{bob.uuid}/", bob).json()["token"] == bob.token
    mine = [one for one in site.get("/api/users/", bob).json() if one["uuid"] == bob.uuid]
    assert "token" not in mine[0]


@once
def test_a_list_of_oneself_alone_shows_no_token(site: Site, world: World) -> None:
    ada = world.person("ada")
    (shown,) = site.get("/api/users/", ada).json()
    assert shown["username"] == "ada"
    assert "token" not in shown


def test_a_created_account_is_shown_without_a_token(site: Site, world: World) -> None:
    body = {"username": "new", "email": "n@example.org"}
    answer = site.post("/api/users/", world.staff, json=body)
    assert answer.status_code == 201
    check(answer.json(), USER, PRIVATE, PRIVILEGED)
    assert not set(answer.json()) & set(OWN)


def test_grants_have_every_key(site: Site, world: World) -> None:
    org, project, _uuid = furnish(world)
    grants = site.get("/api/user-permissions/", world.staff).json()
    assert len(grants) == 2
    for one in grants:
        check(one, PERMISSION)
        # A grant in an organisation names that organisation, never null: 7.9.0 fails on null.
        assert one["customer_uuid"] == org.uuid
    embedded = site.get("/api/users/", world.staff).json()[0]["permissions"]
    assert embedded == grants
    for place in (org, project):
        (member,) = site.get(f"{place.path}list_users/", world.staff).json()
        check(member, TEAM_MEMBER)


def test_a_grant_that_nobody_gave_leaves_the_giver_out(site: Site, world: World) -> None:
    org, _project, _uuid = furnish(world)
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE grants SET granted_by = NULL")
    for one in site.get("/api/user-permissions/", world.staff).json():
        assert not {"created_by_full_name", "created_by_username"} & set(one)
    (member,) = site.get(f"{org.path}list_users/", world.staff).json()
    # A UUID that is null is an error in the clients' models.
    assert "created_by_uuid" not in member


def test_organisations_and_projects_have_every_key(site: Site, world: World) -> None:
    org, project, _uuid = furnish(world)
    shown = site.get(org.path, world.staff).json()
    check(shown, CUSTOMER)
    (below,) = shown["projects"]
    assert below["uuid"] == project.uuid
    assert below["end_date"] == "2999-01-01"
    assert fits(below["url"], "address")
    assert shown["projects_count"] == 1
    assert shown["users_count"] == 1
    check(site.get(project.path, world.staff).json(), PROJECT)
    assert site.get("/api/customers/", world.staff).json() == [shown]


def test_roles_have_every_key(site: Site, world: World) -> None:
    for one in site.get("/api/roles/", world.staff).json():
        check(one, ROLE)
        assert isinstance(one["users_count"], int)
    for one in site.get("/api/roles/", world.person()).json():
        check(one, ROLE)
        assert "users_count" not in one


def test_small_answers_are_what_the_clients_parse(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation()
    seat = {"user": ada.uuid, "role": "CUSTOMER.OWNER"}
    added = site.post(f"{org.path}add_user/", world.staff, json=seat)
    assert added.status_code == 201
    assert added.json() == {"expiration_time": None}
    ends = seat | {"expiration_time": "2999-01-01"}
    world.seat(world.person(), "CUSTOMER.OWNER", org)
    answer = site.post(f"{org.path}update_user/", world.staff, json=ends)
    assert answer.status_code == 200
    assert answer.json() == {"expiration_time": "2999-01-01T00:00:00Z"}
    answer = site.post(f"{org.path}delete_user/", world.staff, json=seat)
    assert answer.status_code == 200
    assert answer.content == b""
    again = site.post(f"{org.path}delete_user/", world.staff, json=seat)
    assert again.status_code == 200


@once
def test_the_root_names_every_list(site: Site, world: World) -> None:
    shown = site.get("/api/", world.staff).json()
    for prefix in (
        "users",
        "customers",
        "projects",
        "roles",
        "user-permissions",
        "user-invitations",
    ):
        assert shown[prefix] == f"{BASE}/api/{prefix}/"
    assert all(site.get(address, world.staff).status_code == 200 for address in shown.values())


def test_uuids_go_out_as_hex_everywhere(site: Site, world: World) -> None:
    places = furnish(world)
    for path in everything(world, *places):
        for key, value in walk(site.get(path, world.staff).json()):
            if value is not None and (key == "uuid" or key.endswith("_uuid")):
                assert fits(value, "uuid"), (path, key, value)
            if isinstance(value, str) and value.startswith("http"):
                assert fits(value, "address"), (path, key, value)


def spellings(uuid: str) -> list[str]:
    dashed = str(UUID(uuid))
    return [
        uuid,
        dashed,
        uuid.upper(),
        dashed.upper(),
        f"{{{dashed}}}",
        f"urn:uuid:{dashed}",
    ]


def test_uuids_come_in_in_every_form(site: Site, world: World) -> None:
    org, project, invitation = furnish(world)
    ada = world.grants_in(org)[0]
    for path, uuid in (
        ("/api/users/{}/", ada.account_uuid),
        ("/api/customers/{}/", org.uuid),
        ("/api/projects/{}/", project.uuid),
        ("/api/roles/{}/", ada.role_uuid),
        ("/api/user-permissions/{}/", ada.uuid),
        ("/api/user-invitations/{}/", invitation),
        ("/api/user-invitations/{}/details/", invitation),
        ("/api/customers/{}/list_users/", org.uuid),
    ):
        expected = site.get(path.format(uuid), world.staff)
        assert expected.status_code == 200
        for spelling in spellings(uuid):
            assert site.get(path.format(spelling), world.staff).json() == expected.json()
    role = world.role("CUSTOMER.OWNER").uuid
    person = world.person()
    for user, given in zip(spellings(person.uuid), spellings(role), strict=True):
        body = {"user": user, "role": given}
        assert site.post(f"{org.path}add_user/", world.staff, json=body).status_code == 201
        assert site.post(f"{org.path}delete_user/", world.staff, json=body).status_code == 200
        assert site.post(f"{org.path}delete_user/", world.staff, json=body).status_code == 200
    for scope, given in zip(spellings(org.uuid), spellings(role), strict=True):
        for prefix in ("", "https://elsewhere:99"):
            invited = {
                "email": "x@example.org",
                "scope": f"{prefix}/api/customers/{scope}/",
                "role": given,
            }
            answer = site.post("/api/user-invitations/", world.staff, json=invited)
            assert answer.status_code == 201, answer.text
            assert answer.json()["scope_uuid"] == org.uuid
            assert answer.json()["role"] == role


def test_moments_are_utc_with_their_microseconds(site: Site, world: World) -> None:
    places = furnish(world)
    seen = set()
    for path in everything(world, *places):
        for key, value in walk(site.get(path, world.staff).json()):
            if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
                assert fits(value, "moment"), (path, key, value)
                seen.add(key)
            if key in {"start_date", "end_date", "birth_date"} and value is not None:
                assert fits(value, "day"), (path, key, value)
    assert {"created", "expires", "date_joined", "expiration_time"} <= seen
    ada = world.person("moment")
    for moment, shown in (
        (datetime(2025, 11, 24, 21, 57, 1, 377444, UTC), "2025-11-24T21:57:01.377444Z"),
        (datetime(2025, 11, 24, 21, 57, 1, 500000, UTC), "2025-11-24T21:57:01.500000Z"),
        (datetime(2025, 11, 24, 21, 57, 1, 1, UTC), "2025-11-24T21:57:01.000001Z"),
        (datetime(2025, 11, 24, 21, 57, 1, 0, UTC), "2025-11-24T21:57:01Z"),
    ):
        with world.database.write() as tx:
            account_queries.change(tx, ada.id, {"joined_at": moment})
        assert site.get("/api/users/me/", ada).json()["date_joined"] == shown


def test_moments_come_in_in_every_form(site: Site, world: World) -> None:
    org = world.organisation()
    for given, shown in (
        ("2999-11-24T21:57:01Z", "2999-11-24T21:57:01Z"),
        ("2999-11-24T21:57:01.5Z", "2999-11-24T21:57:01.500000Z"),
        ("2999-11-24T21:57:01+02:00", "2999-11-24T19:57:01Z"),
        ("2999-11-24T21:57:01-0200", "2999-11-24T23:57:01Z"),
        # Without an offset it is UTC; a plus that became a space is still a plus.
        ("2999-11-24T21:57:01", "2999-11-24T21:57:01Z"),
        ("2999-11-24 21:57", "2999-11-24T21:57:00Z"),
        ("2999-11-24T21:57:01 02:00", "2999-11-24T19:57:01Z"),
        ("2999-11-24", "2999-11-24T00:00:00Z"),
        (" 2999-11-24 ", "2999-11-24T00:00:00Z"),
    ):
        person = world.person()
        body = {"user": person.uuid, "role": "CUSTOMER.OWNER", "expiration_time": given}
        answer = site.post(f"{org.path}add_user/", world.staff, json=body)
        assert answer.json() == {"expiration_time": shown}, given
    raw = b"role=CUSTOMER.OWNER&expiration_time=2999-11-24T21:57:01+02:00&user="
    answer = site.post(
        f"{org.path}add_user/",
        world.staff,
        content=raw + world.person().uuid.encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.json() == {"expiration_time": "2999-11-24T19:57:01Z"}
    wrong: list[Any] = ["yesterday", "2999-13-01T00:00:00Z", "", 5, "9999-12-31T23:59:59-14:00"]
    for bad in wrong:
        sent = {"user": world.person().uuid, "role": "CUSTOMER.OWNER", "expiration_time": bad}
        answer = site.post(f"{org.path}add_user/", world.staff, json=sent)
        assert answer.status_code == 400, bad
        assert answer.json()["expiration_time"][0].startswith("Datetime has wrong format.")


@once
def test_addresses_are_built_from_the_host_that_was_asked(site: Site, world: World) -> None:
    for host in ("roll.example", "roll.example:8443", "[::1]:8000"):
        shown = site.get("/api/users/me/", world.staff, headers={"Host": host}).json()
        assert shown["url"] == f"http://{host}/api/users/{world.staff.uuid}/"


@once
def test_headers_of_a_proxy_are_believed_only_where_it_is_trusted(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    # The calls of these tests come from 127.0.0.1.
    said = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "roll.example",
        "X-Forwarded-For": "203.0.113.9",
    }
    path = f"/api/users/{world.staff.uuid}/"
    for proxies, base, address in (
        ("", BASE, "127.0.0.1"),
        ("10.0.0.0/8", BASE, "127.0.0.1"),
        ("127.0.0.0/8", "https://roll.example", "203.0.113.9"),
    ):
        site = make_site(make_settings(trusted_proxies=proxies) if proxies else make_settings())
        answer = site.get("/api/users/me/", world.staff, headers=said)
        assert answer.json()["url"] == f"{base}{path}"
        assert answer.json()["ip_address"] == address
        listed = site.get("/api/users/", world.staff, headers=said)
        assert listed.headers["link"].startswith(f"<{base}/api/users/>")
        assert listed.json()[0]["url"] == f"{base}{path}"


@once
def test_the_caller_is_the_last_hop_that_no_trusted_proxy_is(
    make_site: Callable[[Settings], Site], make_settings: Callable[..., Settings], world: World
) -> None:
    site = make_site(make_settings(trusted_proxies="127.0.0.0/8,10.0.0.0/8"))
    for chain, address in (
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("2001:db8::1, 10.1.2.3", "2001:db8::1"),
        ("10.1.2.3", "10.1.2.3"),
        ("203.0.113.9, nonsense", "127.0.0.1"),
        ("", "127.0.0.1"),
    ):
        answer = site.get("/api/users/me/", world.staff, headers={"X-Forwarded-For": chain})
        assert answer.json()["ip_address"] == address, chain


@once
def test_only_oneself_is_told_an_address(site: Site, world: World) -> None:
    assert site.get(f"/api/users/{world.staff.uuid}/", world.staff).json()["ip_address"] is None
    assert site.get("/api/users/", world.staff).json()[0]["ip_address"] is None


@once
def test_every_answer_is_json_and_says_so(site: Site, world: World) -> None:
    for path in everything(world, *furnish(world)):
        answer = site.get(path, world.staff)
        assert answer.headers["content-type"] == "application/json"
