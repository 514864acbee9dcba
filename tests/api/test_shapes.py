"""Responses of the Waldur API: UUIDs, URLs, times, and the keys that the official clients need."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from collegium.accounts import queries as account_queries
from collegium.api.waldur.schemas import LANGUAGES
from tests.support.site import BASE, Site
from tests.support.world import Place, World

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def keys(**types: str) -> dict[str, str]:
    """Return the type of each key, from types with their keys."""
    return {key: name for name, names in types.items() for key in names.split()}


# The models of waldur-api-client 7.9.0 and 8.1.3 read these keys with ``d.pop(key)``: a missing
# key is a KeyError.
DETAILS = keys(
    uuid="scope_uuid customer_uuid",
    text=(
        "scope_name scope_description customer_name role_name role_description "
        "created_by_full_name created_by_username email error_message"
    ),
    scope_type="scope_type",
    text_or_null="created_by_image",
    state="state",
    execution="execution_state",
)
INVITATION = DETAILS | keys(url="url", uuid="uuid role", time="created expires")
# Optional keys; but where one is there, null or another type is an error in the models.
USER = keys(
    url="url",
    uuid="uuid",
    text=(
        "username slug full_name native_name job_title email phone_number organization "
        "registration_method preferred_language first_name last_name identity_provider_name "
        "identity_provider_label identity_provider_management_url identity_source "
        "personal_title organization_country organization_type"
    ),
    time="date_joined",
    time_or_null="agreement_date token_expires_at",
    boolean="notifications_enabled should_protect_user_details",
    list="permissions affiliations identity_provider_fields",
    text_or_null="image",
)
PRIVATE = keys(
    text=(
        "place_of_birth address country_of_residence nationality organization_registry_code "
        "organization_vat_code organization_address"
    ),
    text_or_null="civil_number requested_email gender",
    date_or_null="birth_date",
    number_or_null="uid_number primary_gid",
    boolean="has_usable_password has_passkey is_identity_manager can_use_personal_access_tokens",
    number="passkey_count",
    list="nationalities eduperson_assurance managed_isds active_isds",
    object="attribute_sources details",
)
PRIVILEGED = keys(
    text="description deactivation_reason",
    boolean="is_staff is_active is_support has_active_session is_admin_deactivated",
)
OWN = keys(text="token", number_or_null="token_lifetime")
PERMISSION = keys(
    uuid="user_uuid role_uuid scope_uuid customer_uuid",
    text=(
        "user_name user_slug created_by_full_name created_by_username role_name "
        "role_description scope_name customer_name"
    ),
    time="created",
    time_or_null="expiration_time",
    scope_type="scope_type",
)
USER_PERMISSION = PERMISSION | keys(
    uuid="uuid",
    text="user_username user_email revoke_reason source",
    text_or_null="revoked_by_full_name revoked_by_username project_uuid resource_uuid",
    boolean="is_active scope_is_removed",
)
TEAM_MEMBER = keys(
    uuid="uuid role_uuid user_uuid created_by_uuid",
    time="created",
    time_or_null="expiration_time",
    text="role_name user_email user_full_name user_username created_by_full_name source",
    text_or_null="user_image",
)
ROLE = keys(
    uuid="uuid",
    text="name description",
    list="permissions",
    boolean="is_system_role is_active",
    scope_type="content_type",
) | {f"description_{code}": "text_or_null" for code in LANGUAGES}
CUSTOMER = keys(
    url="url",
    uuid="uuid",
    time="created accounting_start_date",
    text=(
        "display_name country country_name name slug native_name abbreviation description "
        "contact_details agreement_number email phone_number access_subnets registration_code "
        "homepage domain vat_code postal address bank_name bank_account backend_id "
        "notification_emails"
    ),
    list="projects organization_groups payment_profiles",
    decimal="default_tax_percent",
    number="projects_count users_count",
    number_or_null=("latitude longitude sponsor_number max_service_accounts grace_period_days"),
    text_or_null="image",
    boolean="blocked archived display_billing_info_in_projects is_service_provider",
)
PROJECT = keys(
    url="url customer",
    uuid="uuid customer_uuid",
    time="created",
    date_or_null="start_date end_date",
    url_or_null="end_date_requested_by",
    project_kind="kind",
    text_or_null="oecd_fos_2007_code type_uuid",
    number="resources_count",
    number_or_null="max_service_accounts grace_period_days",
    text=(
        "name slug customer_name customer_slug customer_native_name customer_abbreviation "
        "description backend_id oecd_fos_2007_label"
    ),
    boolean="customer_display_billing_info_in_projects is_industry is_removed",
)


def one_of(text: str) -> Callable[[Any], bool]:
    return lambda value: value in text.split()


def matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


TYPES: dict[str, Callable[[Any], bool]] = {
    "uuid": matches(r"[0-9a-f]{32}"),
    "time": matches(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z"),
    "date": matches(r"\d{4}-\d\d-\d\d"),
    "url": matches(rf"{BASE}/api/[a-z-]+/[0-9a-f]{{32}}/"),
    "decimal": matches(r"\d+(\.\d+)?"),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "text": lambda value: isinstance(value, str),
    "scope_type": one_of("customer project"),
    "state": one_of("project requested rejected pending accepted canceled expired"),
    "execution": one_of("Scheduled Processing OK Erred"),
    "project_kind": one_of("default course public"),
}


def fits(value: Any, name: str) -> bool:
    """Return whether a value has a type."""
    plain = name.removesuffix("_or_null")
    return plain != name if value is None else TYPES[plain](value)


def check(shown: dict[str, Any], *tables: dict[str, str]) -> None:
    for table in tables:
        for key, name in table.items():
            assert key in shown, key
            assert fits(shown[key], name), (key, shown[key], name)


def walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from walk(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, key)
    else:
        yield key, value


def build(world: World) -> tuple[Place, Place, str]:
    """Create an organisation with an owner, a project with an end date, and an invitation."""
    ada = world.person("ada", first_name="Ada", birth_date=date(1815, 12, 10))
    org = world.organisation("Acme", owner=ada, description="Makers")
    project = world.project(org, end_date=date(2999, 1, 1))
    world.give_role(ada, "PROJECT.MANAGER", project, datetime(2999, 1, 1, tzinfo=UTC))
    uuid = world.invite(ada, "bob@example.org", "PROJECT.MEMBER", project)
    return org, project, uuid


def paths(world: World, org: Place, project: Place, invitation: str) -> list[str]:
    grant = world.grants_in(org)[0]
    lists = ("users", "customers", "projects", "roles", "user-permissions", "user-invitations")
    return [
        *(f"/api/{name}/" for name in (*lists, "users/me")),
        f"/api/users/{grant.account_uuid}/",
        f"/api/roles/{grant.role_uuid}/",
        f"/api/user-permissions/{grant.uuid}/",
        f"/api/user-invitations/{invitation}/",
        f"/api/user-invitations/{invitation}/details/",
        *(path for place in (org, project) for path in (place.path, f"{place.path}list_users/")),
    ]


def test_invitations_have_every_key_of_the_clients(site: Site, world: World) -> None:
    org, _project, uuid = build(world)
    path = f"/api/user-invitations/{uuid}/"
    shown = site.get(path, world.staff).json()
    assert site.get("/api/user-invitations/", world.staff).json()[0] == shown
    check(shown, INVITATION)
    details = site.get(f"{path}details/", world.staff).json()
    check(details, DETAILS)
    assert set(details) == set(DETAILS)
    role = world.role("CUSTOMER.OWNER").uuid
    body = {"email": "carl@example.org", "scope": org.path, "role": role}
    check(site.post("/api/user-invitations/", world.staff, json=body).json(), INVITATION)
    assert site.post(f"{path}check/").json() == {"email": "bob@example.org"}


def test_invitation_without_creator_or_name_keeps_its_keys(site: Site, world: World) -> None:
    nameless = world.person("nameless", first_name="", last_name="")
    project = world.project(world.organisation(owner=nameless))
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


def test_check_names_a_required_civil_number(site: Site, world: World) -> None:
    org = world.organisation()
    uuid = world.invite(world.staff, "b@example.org", "CUSTOMER.OWNER", org, civil_number="7")
    response = site.post(f"/api/user-invitations/{uuid}/check/")
    assert response.json() == {"email": "b@example.org", "civil_number_required": True}


def test_accounts_show_what_each_viewer_may_see(site: Site, world: World) -> None:
    org, _project, _uuid = build(world)
    bob, support = world.person("bob"), world.person("helper", is_support=True)
    world.give_role(bob, "CUSTOMER.OWNER", org)
    ada = f"/api/users/{world.grants_in(org)[0].account_uuid}/"
    for viewer in (world.staff, support, bob):
        shown = site.get(ada, viewer).json()
        check(shown, USER)
        assert not set(OWN) & set(shown)
        assert shown in site.get("/api/users/?page_size=50", viewer).json()
        if viewer is bob:
            assert not {*PRIVILEGED, *PRIVATE} & set(shown)
            assert shown["token_expires_at"] is None
        else:
            check(shown, PRIVATE, PRIVILEGED)
            assert shown["token_expires_at"] is not None
            assert shown["birth_date"] == "1815-12-10"
    own = site.get("/api/users/me/", bob).json()
    check(own, USER, PRIVATE, OWN)
    assert not set(own) & set(PRIVILEGED)
    assert own["token"] == bob.token
    assert site.get(f"/api/users/{bob.uuid}/", bob).json()["token"] == bob.token


def test_list_of_accounts_shows_no_token(site: Site, world: World) -> None:
    ada = world.person("ada")
    (shown,) = site.get("/api/users/", ada).json()
    assert shown["username"] == "ada"
    assert "token" not in shown
    world.give_role(world.person(), "CUSTOMER.OWNER", world.organisation(owner=ada))
    accounts = site.get("/api/users/", ada).json()
    assert len(accounts) == 2
    assert not any("token" in account for account in accounts)


def test_created_account_is_shown_without_a_token(site: Site, world: World) -> None:
    body = {"username": "new", "email": "n@example.org"}
    response = site.post("/api/users/", world.staff, json=body)
    assert response.status_code == 201
    check(response.json(), USER, PRIVATE, PRIVILEGED)
    assert not set(response.json()) & set(OWN)


def test_grants_have_every_key(site: Site, world: World) -> None:
    org, project, _uuid = build(world)
    grants = site.get("/api/user-permissions/", world.staff).json()
    assert len(grants) == 2
    for row in grants:
        check(row, USER_PERMISSION)
        assert set(row) == set(USER_PERMISSION)
        # Client 7.9.0 fails on null here.
        assert row["customer_uuid"] == org.uuid
    embedded = site.get("/api/users/", world.staff).json()[0]["permissions"]
    # Within users they have the keys of 7.9.0.
    assert embedded == [{name: row[name] for name in PERMISSION} for row in grants]
    for place in (org, project):
        (member,) = site.get(f"{place.path}list_users/", world.staff).json()
        check(member, TEAM_MEMBER)


def test_grant_without_a_granter_leaves_the_keys_out(site: Site, world: World) -> None:
    org, _project, _uuid = build(world)
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE grants SET granted_by = NULL")
    for row in site.get("/api/user-permissions/", world.staff).json():
        assert not {"created_by_full_name", "created_by_username"} & set(row)
    (member,) = site.get(f"{org.path}list_users/", world.staff).json()
    # The models of the clients fail on a UUID that is null.
    assert "created_by_uuid" not in member


def test_organisations_and_projects_have_every_key(site: Site, world: World) -> None:
    org, project, _uuid = build(world)
    shown = site.get(org.path, world.staff).json()
    check(shown, CUSTOMER)
    (project_shown,) = shown["projects"]
    assert project_shown["uuid"] == project.uuid
    assert project_shown["end_date"] == "2999-01-01"
    assert fits(project_shown["url"], "url")
    assert shown["projects_count"] == 1
    assert shown["users_count"] == 1
    check(site.get(project.path, world.staff).json(), PROJECT)
    assert site.get("/api/customers/", world.staff).json() == [shown]


def test_roles_have_every_key(site: Site, world: World) -> None:
    for row in site.get("/api/roles/", world.staff).json():
        check(row, ROLE)
        assert isinstance(row["users_count"], int)
    for row in site.get("/api/roles/", world.person()).json():
        check(row, ROLE)
        assert "users_count" not in row


def test_member_changes_answer_as_the_clients_expect(site: Site, world: World) -> None:
    ada = world.person("ada")
    org = world.organisation()
    world.give_role(world.person(), "CUSTOMER.OWNER", org)
    grant = {"user": ada.uuid, "role": "CUSTOMER.OWNER"}
    response = site.post(f"{org.path}add_user/", world.staff, json=grant)
    assert (response.status_code, response.json()) == (201, {"expiration_time": None})
    body = grant | {"expiration_time": "2999-01-01"}
    response = site.post(f"{org.path}update_user/", world.staff, json=body)
    expected = (200, {"expiration_time": "2999-01-01T00:00:00Z"})
    assert (response.status_code, response.json()) == expected
    for _ in range(2):
        response = site.post(f"{org.path}delete_user/", world.staff, json=grant)
        assert (response.status_code, response.content) == (200, b"")


@sqlite_only
def test_root_links_every_list(site: Site, world: World) -> None:
    links = site.get("/api/", world.staff).json()
    for name in ("users", "customers", "projects", "roles", "user-permissions", "user-invitations"):
        assert links[name] == f"{BASE}/api/{name}/"
    del links["daily-quotas"]  # it needs a scope
    assert all(site.get(url, world.staff).status_code == 200 for url in links.values())


def test_uuids_are_shown_as_hex(site: Site, world: World) -> None:
    objects = build(world)
    for path in paths(world, *objects):
        for key, value in walk(site.get(path, world.staff).json()):
            if value is not None and (key == "uuid" or key.endswith("_uuid")):
                assert fits(value, "uuid"), (path, key, value)
            if isinstance(value, str) and value.startswith("http"):
                assert fits(value, "url"), (path, key, value)


def spellings(uuid: str) -> list[str]:
    dashed = str(UUID(uuid))
    return [uuid, dashed, uuid.upper(), dashed.upper(), f"{{{dashed}}}", f"urn:uuid:{dashed}"]


def test_uuids_are_accepted_in_every_form(site: Site, world: World) -> None:
    org, project, invitation = build(world)
    grant = world.grants_in(org)[0]
    for path, uuid in (
        ("/api/users/{}/", grant.account_uuid),
        ("/api/customers/{}/", org.uuid),
        ("/api/projects/{}/", project.uuid),
        ("/api/roles/{}/", grant.role_uuid),
        ("/api/user-permissions/{}/", grant.uuid),
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
    for user, role_spelling in zip(spellings(person.uuid), spellings(role), strict=True):
        body = {"user": user, "role": role_spelling}
        assert site.post(f"{org.path}add_user/", world.staff, json=body).status_code == 201
        assert site.post(f"{org.path}delete_user/", world.staff, json=body).status_code == 200
    for scope, role_spelling in zip(spellings(org.uuid), spellings(role), strict=True):
        for host in ("", "https://elsewhere:99"):
            url = f"{host}/api/customers/{scope}/"
            body = {"email": "x@example.org", "scope": url, "role": role_spelling}
            response = site.post("/api/user-invitations/", world.staff, json=body)
            assert response.status_code == 201, response.text
            assert response.json()["scope_uuid"] == org.uuid
            assert response.json()["role"] == role


def test_times_are_utc_with_microseconds(site: Site, world: World) -> None:
    objects = build(world)
    keys_seen = set()
    for path in paths(world, *objects):
        for key, value in walk(site.get(path, world.staff).json()):
            if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
                assert fits(value, "time"), (path, key, value)
                keys_seen.add(key)
            if key in {"start_date", "end_date", "birth_date"} and value is not None:
                assert fits(value, "date"), (path, key, value)
    assert {"created", "expires", "date_joined", "expiration_time"} <= keys_seen
    account = world.person("moment")
    for microseconds, fraction in (
        (377444, ".377444"),
        (500000, ".500000"),
        (1, ".000001"),
        (0, ""),
    ):
        time = datetime(2025, 11, 24, 21, 57, 1, microseconds, UTC)
        with world.database.write() as tx:
            account_queries.change(tx, account.id, {"joined_at": time})
        shown = site.get("/api/users/me/", account).json()["date_joined"]
        assert shown == f"2025-11-24T21:57:01{fraction}Z"


def test_times_are_accepted_in_every_form(site: Site, world: World) -> None:
    path = f"{world.organisation().path}add_user/"

    def add(time: Any) -> Any:
        body = {"user": world.person().uuid, "role": "CUSTOMER.OWNER", "expiration_time": time}
        return site.post(path, world.staff, json=body)

    for time, shown in (
        ("2999-11-24T21:57:01Z", "2999-11-24T21:57:01Z"),
        ("2999-11-24T21:57:01.5Z", "2999-11-24T21:57:01.500000Z"),
        ("2999-11-24T21:57:01+02:00", "2999-11-24T19:57:01Z"),
        ("2999-11-24T21:57:01-0200", "2999-11-24T23:57:01Z"),
        # Without an offset it is UTC. A space may have been a plus.
        ("2999-11-24T21:57:01", "2999-11-24T21:57:01Z"),
        ("2999-11-24 21:57", "2999-11-24T21:57:00Z"),
        ("2999-11-24T21:57:01 02:00", "2999-11-24T19:57:01Z"),
        ("2999-11-24", "2999-11-24T00:00:00Z"),
        (" 2999-11-24 ", "2999-11-24T00:00:00Z"),
    ):
        assert add(time).json() == {"expiration_time": shown}, time
    form = (
        f"role=CUSTOMER.OWNER&expiration_time=2999-11-24T21:57:01+02:00&user={world.person().uuid}"
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = site.post(path, world.staff, content=form.encode(), headers=headers)
    assert response.json() == {"expiration_time": "2999-11-24T19:57:01Z"}
    for invalid in ("yesterday", "2999-13-01T00:00:00Z", "", 5, "9999-12-31T23:59:59-14:00"):
        response = add(invalid)
        assert response.status_code == 400, invalid
        assert response.json()["expiration_time"][0].startswith("Datetime has wrong format.")


@sqlite_only
def test_client_address_is_shown_in_the_own_account_only(site: Site, world: World) -> None:
    assert site.get(f"/api/users/{world.staff.uuid}/", world.staff).json()["ip_address"] is None
    assert site.get("/api/users/", world.staff).json()[0]["ip_address"] is None


@sqlite_only
def test_every_response_is_json(site: Site, world: World) -> None:
    for path in paths(world, *build(world)):
        response = site.get(path, world.staff)
        assert response.headers["content-type"] == "application/json"
