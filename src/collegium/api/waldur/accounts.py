"""Endpoints for accounts: ``/api/users/``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from collegium.access.rules import ScopeKind, require_staff
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.pictures.rules import BYTES, InvalidImageError
from collegium.accounts.queries import AccountDetails, ListedAccount, full_name, join_names
from collegium.accounts.rules import ATTRIBUTES, PROFILE_FIELDS, missing_fields, protected_fields
from collegium.api import account_views, pictures
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import (
    Given,
    Private,
    Related,
    Resource,
    ResourceList,
    Source,
    field,
    link,
)
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.lookups import ANY_OF, EXACT, FLAG, PART, SINCE, fixed
from collegium.api.waldur.memberships import Permission, permissions_of_account
from collegium.db.database import ReadTransaction
from collegium.db.tables import accounts
from collegium.lists import account_search
from collegium.memberships import queries as membership_queries
from collegium.refusals import Invalid
from collegium.security import crypto
from collegium.security.passwords import password_errors
from collegium.settings import Settings
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import AccountProvider
from collegium.sign_in.tokens.rules import TokenKind, expiry
from collegium.values import (
    Boolean,
    Choice,
    Date,
    Email,
    File,
    Integer,
    Kind,
    Name,
    StringList,
    Text,
)

_NAME: Final = Name(max=100)
SLUG: Final = Text(
    max=50,
    pattern=re.compile(r"[-a-zA-Z0-9_]+"),
    message="Enter a valid \N{LEFT DOUBLE QUOTATION MARK}slug\N{RIGHT DOUBLE QUOTATION MARK} "
    "consisting of letters, numbers, underscores or hyphens.",
)
PHONE: Final = Text(
    max=255,
    pattern=re.compile(r"\+?[\d \-()]+", re.ASCII),
    message="Invalid phone number format.",
)
_USERNAME: Final = Text(
    required=True,
    blank=False,
    max=128,
    pattern=re.compile(r"[0-9a-z_.@+-]+"),
    message="Enter a valid username.",
)
_COUNTRY: Final = Text(
    max=2,
    pattern=re.compile(r"[A-Z]{2}"),
    message="Enter a country as its two-letter code (ISO 3166-1), for example EE.",
)
_COUNTRIES: Final = StringList(
    max=2, max_items=20, pattern=_COUNTRY.pattern, message=_COUNTRY.message
)
_FACT: Final = Text(max=255)
_DOMAINS: Final = StringList(max=255, max_items=50)
_PERSONAL: Final = (
    *("username", "full_name", "first_name", "last_name", "native_name", "email", "phone_number"),
    *("job_title", "organization", "preferred_language", "image", "description", "civil_number"),
    *("birth_date", "uid_number", "primary_gid", *sorted(ATTRIBUTES - {"nationalities"})),
)
"""Fields whose reading is recorded."""

_STAFF: Final = Private("sees_all")
_OWN: Final = Private("sees_all or row.id == actor", others=account_search.is_actor)


def _load_permissions(
    context: RequestContext, tx: ReadTransaction, rows: Sequence[ListedAccount]
) -> dict[int, list[Permission]]:
    grants = membership_queries.by_account(tx, context.actor, [row.id for row in rows])
    return {
        row.id: permissions_of_account(
            context,
            tx,
            grants[row.id],
            False,
            uuid=row.uuid,
            name=full_name(row),
            slug=row.slug,
        )
        for row in rows
        if row.id in grants
    }


class _Provider(Struct, frozen=True):
    """What an account shows of the identity provider that it came from."""

    name: str
    label: str
    management_url: str
    fields: list[str]
    are_details_protected: bool


def _provider_of(
    settings: Settings, method: str, provider: AccountProvider | None = None
) -> _Provider:
    """Return what accounts with a registration method show.

    Args:
        provider: from which an account came that is not local, if it is still known.
    """
    are_protected = method in settings.protect_user_details_for_registration_methods
    if method == provider_queries.LOCAL:
        return _local_provider(
            settings.local_idp_name,
            settings.local_idp_label,
            settings.local_idp_management_url,
            settings.local_idp_protected_fields,
            are_protected,
        )
    protected = provider.protected_fields if provider else ()
    fields = list(protected_fields(method, (), protected))
    if provider is None:
        return _Provider("", "", "", fields, are_protected)
    url = provider.management_url
    return _Provider(provider.name, provider.label, url, fields, are_protected)


@lru_cache(maxsize=8)
def _local_provider(
    name: str, label: str, management_url: str, fields: tuple[str, ...], are_protected: bool
) -> _Provider:
    """Return what local accounts show: the same for all of them, made once."""
    shown = list(protected_fields(provider_queries.LOCAL, fields, ()))
    return _Provider(name, label, management_url, shown, are_protected)


def _load_providers(
    context: RequestContext, tx: ReadTransaction, rows: Sequence[ListedAccount]
) -> dict[int, _Provider]:
    others = [row for row in rows if row.registration_method != provider_queries.LOCAL]
    if not others:
        return {}
    providers = provider_queries.of_methods(tx, {row.registration_method for row in others})
    found = {}
    for row in others:
        provider = providers.get(row.registration_method)
        if provider and not provider_queries.speaks_for(provider, row.attribute_sources):
            provider = None
        found[row.id] = _provider_of(context.settings, row.registration_method, provider)
    return found


_PROVIDER: Final = Related(
    _load_providers,
    default=lambda context: _provider_of(context.settings, provider_queries.LOCAL),
    is_default_made=True,
    columns=("registration_method", "attribute_sources"),
)


class ProfileCompleteness(Struct, frozen=True, gc=False):
    """Whether the profile has a value in each field that the operator wants."""

    is_complete: bool
    missing_fields: list[str]
    mandatory_fields: list[str]
    enforcement_enabled: bool = False


class User(Resource, frozen=True, gc=False):
    """An account. Fields that the viewer may not see are left out."""

    sparse: ClassVar = True
    write_only: ClassVar = frozenset({"agree_with_policy"})

    url: str = link("/api/users/{}/", "uuid")
    uuid: str = field()
    username: str = field(
        write=_USERNAME,
        on_create=True,
        filter={"username": EXACT, "username_list": ANY_OF},
        order=True,
    )
    slug: str = field(write=SLUG)
    full_name: str = field(
        "first_name",
        "last_name",
        get=join_names,
        filter=fixed(filters.Exact(), account_search.FULL_NAME),
        order=(accounts.c.first_name_sort, accounts.c.last_name_sort),
    )
    native_name: str = field(write=_NAME, filter=PART, order=accounts.c.native_name_sort)
    job_title: str = field(write=Name(max=120), filter=PART, order=True)
    email: str = field(
        write=Email(required=True, max=320),
        on_create=True,
        filter=fixed(filters.Exact(), account_search.EMAIL),
        order=True,
    )
    phone_number: str = field(write=PHONE, filter=EXACT, order=True)
    organization: str = field(write=Name(max=255), filter=PART, order=accounts.c.organization_sort)
    registration_method: str = field(filter=EXACT, order=True)
    identity_source: str = field()
    date_joined: datetime = field("joined_at", filter=SINCE)
    agreement_date: datetime | None = field("agreed_at", filter=SINCE)
    notifications_enabled: bool = field(write=Boolean())
    preferred_language: str = field(write=Text(max=10))
    permissions: list[Permission] = field(
        Related(_load_permissions, default=[], columns=("slug", "first_name", "last_name"))
    )
    affiliations: list[str] = field(write=StringList(max=255, max_items=50))
    first_name: str = field(write=_NAME)
    last_name: str = field(write=_NAME)
    identity_provider_name: str = field(_PROVIDER.part("name"))
    identity_provider_label: str = field(_PROVIDER.part("label"))
    identity_provider_management_url: str = field(_PROVIDER.part("management_url"))
    identity_provider_fields: list[str] = field(_PROVIDER.part("fields"))
    personal_title: str = field(write=Name(max=50))
    organization_country: str = field(write=_COUNTRY)
    organization_type: str = field(write=_FACT)
    should_protect_user_details: bool = field(_PROVIDER.part("are_details_protected"))
    token_expires_at: datetime | None = field(
        Source.CONTEXT,
        "token_created_at",
        "token_last_used_at",
        "token_lifetime",
        get=lambda context, created_at, used_at, lifetime: (
            used_at and expiry(created_at, used_at, lifetime, context.settings.token_max_age)
        ),
        private=replace(_OWN, hidden="None"),
        default=None,
    )
    image: str | None = link(
        "/api/media/{}/", "picture", write=File(null=True, max=BYTES), default=None
    )
    civil_number: str | UnsetType | None = field(filter=EXACT, private=_OWN)
    birth_date: date | UnsetType | None = field(write=Date(null=True), private=_OWN)
    requested_email: str | UnsetType | None = field(private=_OWN)
    gender: str | UnsetType | None = field(
        write=Choice(of=("male", "female", "unknown", ""), null=True), private=_OWN
    )
    place_of_birth: str | UnsetType = field(write=_FACT, private=_OWN)
    address: str | UnsetType = field(write=_FACT, private=_OWN)
    country_of_residence: str | UnsetType = field(write=_COUNTRY, private=_OWN)
    nationality: str | UnsetType = field(write=_COUNTRY, private=_OWN)
    nationalities: list[str] | UnsetType = field(write=_COUNTRIES, private=_OWN)
    organization_registry_code: str | UnsetType = field(write=_FACT, private=_OWN)
    organization_vat_code: str | UnsetType = field(write=Text(max=20), private=_OWN)
    organization_address: str | UnsetType = field(write=_FACT, private=_OWN)
    eduperson_assurance: list[str] | UnsetType = field(
        write=StringList(max=500, max_items=50), private=_OWN
    )
    uid_number: int | UnsetType | None = field(private=_OWN)
    primary_gid: int | UnsetType | None = field(private=_OWN)
    has_usable_password: bool | UnsetType = field(private=_OWN)
    has_passkey: bool | UnsetType = field("passkey_count", get=bool, private=_OWN)
    passkey_count: int | UnsetType = field(private=_OWN)
    is_identity_manager: bool | UnsetType = field(write=Boolean(), private=_OWN)
    can_use_personal_access_tokens: bool | UnsetType = field(write=Boolean(), private=_OWN)
    attribute_sources: dict[str, Any] | UnsetType = field(private=_OWN)
    managed_isds: list[str] | UnsetType = field(write=_DOMAINS, private=_OWN)
    active_isds: list[str] | UnsetType = field(write=_DOMAINS, private=_OWN)
    details: dict[str, Any] | UnsetType = field(private=_OWN)
    description: str | UnsetType = field(
        write=Text(max=2000),
        filter=fixed(filters.Exact(), account_search.DESCRIPTION),
        order=account_search.indexed_description(),
        private=_STAFF,
    )
    is_staff: bool | UnsetType = field(write=Boolean(), filter=FLAG, order=True, private=_STAFF)
    is_active: bool | UnsetType = field(write=Boolean(), order=True, private=_STAFF)
    is_support: bool | UnsetType = field(write=Boolean(), filter=FLAG, order=True, private=_STAFF)
    deactivation_reason: str | UnsetType = field(write=_FACT, private=_STAFF)
    is_admin_deactivated: bool | UnsetType = field("disabled_by_staff", private=_STAFF)
    has_active_session: bool | UnsetType = field("token_last_used_at", get=bool, private=_STAFF)
    token: str | UnsetType = field(Given("token", UNSET), default=UNSET)
    token_lifetime: int | UnsetType | None = field(
        "token_lifetime",
        Given("is_detail", default=False),
        write=Integer(null=True, min=60),
        private=Private("row.id == actor and is_detail and context.impersonator is None"),
    )
    ip_address: str | None = field(Given("ip_address", None), default=None)
    profile_completeness: ProfileCompleteness | UnsetType = field(
        Given("profile_completeness", UNSET), default=UNSET
    )


LIST: Final = ResourceList(
    User,
    account_queries.listing,
    filters={
        "customer_uuid": fixed(
            filters.Uuid(), account_search.in_scope("customer_uuid", ScopeKind.ORGANISATION)
        ),
        "is_active": fixed(filters.BooleanFilter(), account_search.IS_ACTIVE),
        # No list shows this time to others. It would reveal when somebody changed a password.
        "modified": SINCE.on(accounts.c.modified_at).only(_OWN),
        "organization_roles": fixed(
            filters.MultipleFilter(),
            account_search.in_role("organization_roles", ScopeKind.ORGANISATION),
        ),
        "project_roles": fixed(
            filters.MultipleFilter(), account_search.in_role("project_roles", ScopeKind.PROJECT)
        ),
        "project_uuid": fixed(
            filters.Uuid(), account_search.in_scope("project_uuid", ScopeKind.PROJECT)
        ),
        "query": fixed(filters.Exact(), account_search.QUERY),
        "user_keyword": fixed(filters.Exact(), account_search.KEYWORD),
    },
)
_NEW: Final = {**User.body(), "agree_with_policy": Boolean()}
_CHANGE: Final = {**User.body(creates=False), "agree_with_policy": Boolean()}
_PASSWORD: Final = {"new_password": Text(required=True, blank=False, max=128, strip=False)}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    if context.actor.is_identity_manager and not context.actor.sees_all:
        return Response(403, schemas.encode("Identity manager is not allowed to list users."))
    return lists.respond(context, tx, LIST)


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = account_queries.get_visible(tx, context.actor, context.uuid("account"))
    response = _detail(context, tx, row)
    if context.settings.user_data_access_logging_enabled:
        shown = msgspec.json.decode(response.body)
        fields = [name for name in _PERSONAL if shown.get(name) not in {None, ""}]
        account_views.record(context, row.id, fields)
    return response


def _me(context: RequestContext, tx: ReadTransaction) -> Response:
    row = context.account or account_queries.own(tx, context.actor)
    response = _detail(
        context,
        tx,
        row,
        ip_address=context.ip_address or None,
        profile_completeness=_completeness(context, row),
    )
    # This is not a list, but the official client reads the count anyway.
    response.headers["X-Result-Count"] = "1"
    return response


def _completeness(context: RequestContext, row: AccountDetails) -> ProfileCompleteness:
    mandatory = _mandatory_fields(context.settings.user_mandatory_fields)
    values = {
        name: full_name(row) if name == "full_name" else getattr(row, name) for name in mandatory
    }
    missing = missing_fields(mandatory, values)
    return ProfileCompleteness(not missing, missing, mandatory)


@lru_cache(maxsize=8)
def _mandatory_fields(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in PROFILE_FIELDS]


def _show_completeness(context: RequestContext, tx: ReadTransaction) -> Response:
    row = context.account or account_queries.own(tx, context.actor)
    # This is not a list either; see ``_me``.
    headers = {"X-Result-Count": "1"}
    return Response(200, schemas.encode(_completeness(context, row)), headers)


def _detail(
    context: RequestContext, tx: ReadTransaction, row: AccountDetails, **given: Any
) -> Response:
    is_own = row.id == context.actor.id and context.impersonator is None
    if is_own and context.actor.token_kind == TokenKind.API:
        given["token"] = context.token
    return lists.detail(context, tx, User, row, is_detail=True, **given)


def _read_profile(context: RequestContext, definitions: Mapping[str, Kind]) -> Form:
    """Validate a body that may contain a picture.

    The picture is re-encoded here, before any transaction is open.
    """
    form = read(context, definitions)
    if form.values.get("picture") is not None:
        try:
            form.values["picture"] = pictures.sanitise(form.values["picture"])
        except InvalidImageError:
            form.reject(
                "image",
                "Upload a valid image. The file you uploaded was either not an image or a "
                "corrupted image.",
            )
    return form


def _create(context: RequestContext) -> Response:
    require_staff(context.actor)
    form = _read_profile(context, _NEW)
    values: dict[str, Any] = form.values
    for name in ("agree_with_policy", "token_lifetime"):
        values.pop(name, None)
    with context.write() as tx:
        if account_queries.is_username_taken(tx, username=values.get("username")):
            form.reject("username", "user with this username already exists.")
        if form.values.get("slug") and account_queries.is_slug_taken(tx, form.values["slug"]):
            form.refuse(Invalid("account.slug_taken", field="slug"))
        form.check()
        account_id = account_actions.create(
            tx, context.actor, context.settings, context.app.vault, values
        )
        row = account_queries.by_id(tx, account_id)
        return lists.detail(context, tx, User, row, 201, related=False, is_detail=True)


def _update(context: RequestContext) -> Response:
    uuid = context.uuid("account")
    with context.read() as tx:
        # Authorisation comes before validation: callers who may not change the account get that
        # refusal, whatever body they have sent.
        account_actions.require_self_or_staff(
            context.actor, account_queries.get_visible(tx, context.actor, uuid)
        )
    form = _read_profile(context, _CHANGE)
    form.check()
    agrees = bool(form.values.pop("agree_with_policy", False))
    with context.write() as tx:
        account_actions.update(
            tx, context.actor, context.settings, uuid, form.values, agrees_to_policy=agrees
        )
        row = account_queries.get_visible(tx, context.actor, uuid)
        return _detail(context, tx, row)


def _change_password(context: RequestContext) -> Response:
    with context.read() as tx:
        target = account_queries.get_visible(tx, context.actor, context.uuid("account"))
    require_staff(context.actor)
    form = read(context, _PASSWORD)
    password = form.values.get("new_password", "")
    if password:
        personal_data = (target.username, target.email, target.first_name, target.last_name)
        for error in password_errors(password, personal_data):
            form.reject("new_password", error)
    form.check()
    password_hash = crypto.hash_password(password)
    with context.write() as tx:
        account_actions.set_password(tx, context.actor, target.id, password_hash)
    return Response(200, schemas.encode(schemas.Status("password set")))


def _remove_password(context: RequestContext) -> Response:
    uuid = context.uuid("account")
    with context.read() as tx:
        account_queries.get_visible(tx, context.actor, uuid)
    require_staff(context.actor)
    with context.write() as tx:
        account_actions.remove_password(tx, context.actor, uuid)
    return Response(200, schemas.encode(schemas.Detail("Password has been removed.")))


def _token(context: RequestContext, _tx: ReadTransaction) -> Response:
    # Reading a token is recorded in the audit log, so it needs a write transaction.
    with context.write() as tx:
        row, token = account_actions.read_token(
            tx, context.actor, context.app.vault, context.uuid("account")
        )
    return Response(200, schemas.encode(schemas.user_token(row, token)))


def _refresh_token(context: RequestContext) -> Response:
    with context.write() as tx:
        row, token = account_actions.refresh_token(
            tx, context.actor, context.app.vault, context.uuid("account")
        )
    return Response(200, schemas.encode(schemas.user_token(row, token)))


ROUTES: Routes = {
    "/api/users/": {
        "GET": lists.endpoint(LIST, "List the accounts that you can see.", _list),
        "POST": Endpoint(_create, "Create an account.", body=_NEW, response_type=User, status=201),
    },
    "/api/users/me/": {
        "GET": Endpoint(
            _me,
            "Show your own account.",
            response_type=User,
            sparse_fields=True,
            returns_self=True,
        ),
    },
    "/api/users/{uuid}/": {
        "GET": Endpoint(_retrieve, "Show an account.", response_type=User, sparse_fields=True),
        **lists.updates(
            _update,
            "Change an account.",
            "Change some fields of an account.",
            body=_CHANGE,
            response_type=User,
        ),
        "DELETE": lists.delete(
            account_actions.delete, "account", "Delete an account and its personal data."
        ),
    },
    "/api/users/{uuid}/token/": {
        "GET": Endpoint(
            _token, "Show the token of an account, for staff.", response_type=schemas.UserToken
        ),
    },
    "/api/users/{uuid}/refresh_token/": {
        "POST": Endpoint(
            _refresh_token, "Replace the token of an account.", response_type=schemas.UserToken
        ),
    },
    "/api/users/{uuid}/change_password/": {
        "POST": Endpoint(
            _change_password,
            "Set the password of an account and revoke its token.",
            body=_PASSWORD,
            response_type=schemas.Status,
        ),
    },
    "/api/users/{uuid}/remove_password/": {
        "POST": Endpoint(
            _remove_password,
            "Remove the password of an account and revoke its token.",
            response_type=schemas.Detail,
        ),
    },
    "/api/users/profile_completeness/": {
        "GET": Endpoint(
            _show_completeness,
            "Show which mandatory fields of your profile are missing.",
            response_type=ProfileCompleteness,
            returns_self=True,
        ),
    },
}
