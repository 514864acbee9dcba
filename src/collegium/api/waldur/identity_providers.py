"""Endpoints for OpenID providers: ``/api/identity-providers/``."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct, UnsetType

from collegium.access.rules import require_staff
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Constant, Private, Resource, ResourceList, Source, field
from collegium.api.waldur import lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.db.database import ReadTransaction
from collegium.integrations import provider_setup
from collegium.refusals import Invalid
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers import rules as provider_rules
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import Metadata
from collegium.values import (
    Boolean,
    Choice,
    Kind,
    Name,
    Secret,
    StringList,
    Text,
    check_list,
    invalid,
)

_CLAIMS_MAX: Final = 1000
"""Maximum length of the claims of one field, in characters."""

_DESCRIPTIONS: Final = {
    "first_name": "First name",
    "last_name": "Last name",
    "full_name": "First and last name in one",
    "native_name": "Name in its own script",
    "email": "E-mail address",
    "job_title": "Job title",
    "phone_number": "Phone number",
    "organization": "Institution",
    "civil_number": "National identity number",
    "birth_date": "Date of birth",
    "preferred_language": "Language",
    "affiliations": "Affiliations with institutions",
    "gender": "Gender",
    "personal_title": "Title before the name",
    "place_of_birth": "Place of birth",
    "address": "Postal address",
    "country_of_residence": "Country of residence",
    "nationality": "Nationality",
    "nationalities": "All nationalities",
    "organization_country": "Country of the institution",
    "organization_type": "Type of the institution",
    "organization_registry_code": "Registry code of the institution",
    "organization_vat_code": "VAT code of the institution",
    "organization_address": "Address of the institution",
    "eduperson_assurance": "How surely the identity is known",
    "uid_number": "POSIX user number",
    "primary_gid": "POSIX group number",
    "identity_source": "Institution that confirmed the identity",
}
"""What each field of an account is that claims may fill."""

_SUPPORT: Final = Private("sees_all")
_STAFF: Final = Private("context.actor.is_staff and context.impersonator is None")
_STRINGS: Final = StringList(max=provider_rules.URL_MAX, max_items=provider_rules.LIST_MAX)


@dataclass(frozen=True, kw_only=True)
class ClaimMapping(Kind):
    """An object: field of an account to claim; in a form it is its JSON text."""

    json_schema = MappingProxyType({"type": "object", "additionalProperties": {"type": "string"}})

    def from_form(self, raw: str | bytes) -> Any:
        """Return the parsed JSON of a text."""
        if isinstance(raw, str) and len(raw) <= _CLAIMS_MAX * len(provider_rules.CLAIMS):
            with suppress(ValueError, RecursionError):
                return json.loads(raw) if raw.strip() else {}
        raise invalid("json")

    def parse(self, raw: Any) -> dict[str, str]:
        """Return the mapping; fields without a claim are omitted."""
        if not isinstance(raw, dict):
            raise invalid("object", type=type(raw).__name__)
        check_list([*raw], provider_rules.LIST_MAX)
        words = Text(max=_CLAIMS_MAX)
        claims = {words.parse(name): " ".join(words.parse(raw[name]).split()) for name in raw}
        return {name: claim for name, claim in claims.items() if claim}


def _endpoint(name: str) -> Any:
    """Declare a field with a URL from the metadata of the provider."""
    return field("metadata", get=lambda metadata: metadata.get(name, ""), private=_SUPPORT)


def _flag(name: str) -> Any:
    return field(name, write=Boolean(), private=_SUPPORT)


def _text(write: Kind) -> Any:
    return field(write=write, private=_SUPPORT)


class IdentityProvider(Resource, frozen=True, gc=False):
    """An OpenID provider. Only staff and support see more than its button needs."""

    provider: str = field(
        "name", write=Text(required=True, blank=False, max=provider_rules.NAME_MAX)
    )
    label: str = field(write=Name(required=True, blank=False, max=provider_rules.LABEL_MAX))
    is_active: bool = field(write=Boolean())
    is_default: bool = field(write=Boolean())
    protected_fields: list[str] | UnsetType = _text(_STRINGS)
    allowed_redirects: list[str] | UnsetType = _text(_STRINGS)
    client_id: str | UnsetType = _text(Text(required=True, blank=False, max=255))
    client_secret: str | UnsetType = field(
        Source.CONTEXT,
        "uuid",
        "client_secret_encrypted",
        get=lambda context, uuid, encrypted: provider_actions.decrypt_secret(
            context.app.vault, uuid, encrypted
        ),
        write=Secret(required=True, blank=True, source="client_secret"),
        private=_STAFF,
    )
    verify_ssl: bool | UnsetType = _flag("verify_ssl")
    enable_post_logout_redirect: bool | UnsetType = _flag("enable_post_logout_redirect")
    enable_pkce: bool | UnsetType = field(Constant(value=True), write=Boolean(), private=_SUPPORT)
    discovery_url: str | UnsetType = _text(
        Text(required=True, blank=False, max=provider_rules.URL_MAX)
    )
    userinfo_url: str | UnsetType = _endpoint("userinfo_endpoint")
    token_url: str | UnsetType = _endpoint("token_endpoint")
    auth_url: str | UnsetType = _endpoint("authorization_endpoint")
    logout_url: str | UnsetType = _endpoint("end_session_endpoint")
    management_url: str | UnsetType = _text(Text(max=provider_rules.URL_MAX))
    extra_scope: str | UnsetType | None = _text(Text(null=True, max=1000))
    user_field: str | UnsetType = _text(Text(max=50))
    user_claim: str | UnsetType = _text(Text(max=100))
    attribute_mapping: dict[str, str] | UnsetType = _text(ClaimMapping())
    extra_fields: str | UnsetType | None = _text(Text(null=True, max=1000))
    issuer: str | UnsetType = field(private=_SUPPORT)
    registration: str | UnsetType = _text(Choice(of=list(provider_rules.Registration)))
    trusted_domains: list[str] | UnsetType = _text(StringList(max=253, max_items=100))
    second_factor_values: list[str] | UnsetType = _text(StringList(max=100, max_items=100))
    vouched_claims: list[str] | UnsetType = _text(StringList(max=100, max_items=100))
    token_in_url: bool | UnsetType = _flag("token_in_url")


class OidcEndpoints(Struct, frozen=True):
    """The endpoints of a provider."""

    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    end_session_endpoint: str | None
    jwks_uri: str | None


class FieldSuggestion(Struct, frozen=True):
    """A field of an account, the claims that usually fill it, and those that the provider has."""

    field: str
    description: str
    suggested_claims: list[str]
    available_claims: list[str]


class DiscoveredMetadata(Struct, frozen=True):
    """What a provider publishes, and what follows for the fields of accounts."""

    claims_supported: list[str]
    scopes_supported: list[str]
    endpoints: OidcEndpoints
    waldur_fields: list[FieldSuggestion]
    suggested_scopes: list[str]


class SuggestedMapping(Struct, frozen=True):
    """The claims that should fill the fields of accounts."""

    attribute_mapping: dict[str, str]
    extra_scope: str


LIST: Final = ResourceList(IdentityProvider, provider_queries.listing)
_BODY: Final = IdentityProvider.body()
_DISCOVER: Final = {
    "discovery_url": Text(required=True, blank=False, max=provider_rules.URL_MAX),
    "verify_ssl": Boolean(),
}


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = provider_queries.get_visible(tx, context.actor, context.segments["provider"])
    return lists.detail(context, tx, IdentityProvider, row)


def _read_form(context: RequestContext, before: ProviderRow | None) -> Form:
    """Validate a body, with the rules of a provider.

    Args:
        before: the provider that is changed; None: a new one.

    Raises:
        BadRequestError: with the errors of all fields.
    """
    form = read(context, _BODY, partial=context.method == "PATCH")
    # The code exchange is always protected by PKCE.
    form.values.pop("enable_pkce", None)
    form.values |= {name: "" for name, value in form.values.items() if value is None}
    pair: dict[str, str] = {}
    if before is not None:
        pair = {"user_field": before.user_field, "user_claim": before.user_claim}
    for refusal in provider_rules.problems({**pair, **form.values}):
        form.refuse(refusal)
    return form


def _create(context: RequestContext) -> Response:
    require_staff(context.actor)
    form = _read_form(context, None)
    with context.read() as tx:
        if provider_queries.by_name(tx, form.values.get("name", "")) is not None:
            form.refuse(Invalid("provider.name_taken", field="name"))
    form.check()
    values = {
        "registration": provider_setup.default_registration(context.settings),
        **form.values,
    }
    metadata = provider_setup.discover(
        context.settings, values["discovery_url"], verify_tls=values.get("verify_ssl", True)
    )
    with context.write() as tx:
        provider_id = provider_actions.create(
            tx, context.actor, context.app.vault, values, provider_setup.to_columns(metadata)
        )
        row = provider_queries.by_id(tx, provider_id)
        return lists.detail(context, tx, IdentityProvider, row, 201)


def _update(context: RequestContext) -> Response:
    require_staff(context.actor)
    name = context.segments["provider"]
    with context.read() as tx:
        before = provider_queries.get_visible(tx, context.actor, name)
    form = _read_form(context, before)
    form.check()
    metadata = provider_setup.discover_changed(context.settings, before, form.values)
    with context.write() as tx:
        provider_actions.update(tx, context.actor, context.app.vault, name, form.values, metadata)
        row = provider_queries.get_visible(tx, context.actor, name)
        return lists.detail(context, tx, IdentityProvider, row)


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        provider_actions.remove(tx, context.actor, context.segments["provider"])
    return Response(204)


def _discover(context: RequestContext) -> Metadata:
    require_staff(context.actor)
    form = read(context, _DISCOVER)
    for refusal in provider_rules.problems(form.values):
        form.refuse(refusal)
    form.check()
    return provider_setup.discover(
        context.settings,
        form.values["discovery_url"],
        verify_tls=form.values.get("verify_ssl", True),
    )


def _discover_metadata(context: RequestContext) -> Response:
    metadata = _discover(context)
    claims, scopes = metadata.claims_supported, metadata.scopes_supported
    response = DiscoveredMetadata(
        claims_supported=list(claims),
        scopes_supported=list(scopes),
        endpoints=OidcEndpoints(
            metadata.authorization_endpoint,
            metadata.token_endpoint,
            metadata.userinfo_endpoint,
            metadata.end_session_endpoint or None,
            metadata.jwks_uri,
        ),
        waldur_fields=[
            FieldSuggestion(
                name,
                _DESCRIPTIONS[name],
                list(usual),
                provider_rules.suggested_claims(name, claims),
            )
            for name, usual in provider_rules.CLAIMS.items()
        ],
        suggested_scopes=provider_rules.suggested_scopes(claims, scopes),
    )
    return Response(200, schemas.encode(response))


def _generate_mapping(context: RequestContext) -> Response:
    metadata = _discover(context)
    mapping = provider_rules.suggested_mapping(metadata.claims_supported)
    scope = provider_rules.extra_scope(mapping.values(), metadata.scopes_supported)
    return Response(200, schemas.encode(SuggestedMapping(mapping, scope)))


ROUTES: Routes = {
    "/api/identity-providers/": {
        "GET": lists.endpoint(
            LIST, "List the providers to sign in with. Only staff see inactive ones.", public=True
        ),
        "POST": Endpoint(
            _create,
            "Add a provider, for staff.",
            body=_BODY,
            response_type=IdentityProvider,
            status=201,
        ),
    },
    "/api/identity-providers/discover_metadata/": {
        "POST": Endpoint(
            _discover_metadata,
            "Read what a provider publishes, for staff.",
            body=_DISCOVER,
            response_type=DiscoveredMetadata,
        ),
    },
    "/api/identity-providers/generate-mapping/": {
        "POST": Endpoint(
            _generate_mapping,
            "Suggest claims for the fields of accounts, for staff.",
            body=_DISCOVER,
            response_type=SuggestedMapping,
        ),
    },
    "/api/identity-providers/{provider}/": {
        "GET": Endpoint(
            _retrieve,
            "Show a provider to sign in with.",
            public=True,
            reads_db=True,
            response_type=IdentityProvider,
        ),
        **lists.updates(
            _update,
            "Change a provider, for staff.",
            "Change some fields of a provider, for staff.",
            body=_BODY,
            response_type=IdentityProvider,
        ),
        "DELETE": Endpoint(_delete, "Remove a provider, for staff.", status=204),
    },
}
