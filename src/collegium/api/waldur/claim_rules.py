"""Endpoints for claim rules: ``/api/autoprovisioning-rules/``."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from msgspec import Struct

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind, require_reader, require_staff
from collegium.accounts import queries as account_queries
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Resource, ResourceList, constant, field, link
from collegium.api.waldur import lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.projects import scope_of
from collegium.api.waldur.schemas import or_empty
from collegium.claim_rules import actions as claim_rule_actions
from collegium.claim_rules import granting
from collegium.claim_rules import queries as claim_rule_queries
from collegium.claim_rules import rules as claim_rule_rules
from collegium.claim_rules.granting import Preview
from collegium.claim_rules.queries import RuleRow
from collegium.db.database import ReadTransaction
from collegium.refusals import NotFound
from collegium.roles import queries as role_queries
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.providers import queries as provider_queries
from collegium.values import (
    Boolean,
    Kind,
    Name,
    StringList,
    Text,
    Uuid,
    check_list,
    hex_uuid,
    invalid,
)

_NIL: Final = "0" * 32
"""The UUID of what there is none of; clients parse it."""

_ROLES: Final = {
    "customer_role": ("organisation_role_id", ScopeKind.ORGANISATION),
    "project_role": ("project_role_id", ScopeKind.PROJECT),
}


@dataclass(frozen=True, kw_only=True)
class AcceptedClaims(Kind):
    """An object: claim to the accepted values; in a form it is its JSON text."""

    json_schema = MappingProxyType(
        {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        }
    )

    def from_form(self, raw: str | bytes) -> Any:
        """Return the parsed JSON of a text."""
        if isinstance(raw, str) and len(raw) <= _JSON_MAX:
            with suppress(ValueError, RecursionError):
                return json.loads(raw) if raw.strip() else {}
        raise invalid("json")

    def parse(self, raw: Any) -> dict[str, list[str]]:
        """Return the claims with the values that are accepted of each."""
        if not isinstance(raw, dict):
            raise invalid("object", type=type(raw).__name__)
        check_list([*raw], claim_rule_rules.ITEMS_MAX)
        name = Text(blank=False, max=claim_rule_rules.CLAIM_MAX)
        values = StringList(max=claim_rule_rules.VALUE_MAX, max_items=claim_rule_rules.ITEMS_MAX)
        return {name.parse(claim): values.parse(raw[claim]) for claim in raw}


_JSON_MAX: Final = 200_000
"""Maximum length of claims in a form, in characters."""


def _texts(column: str) -> Any:
    length = claim_rule_rules.LENGTHS[column]
    return field(column, write=StringList(max=length, max_items=claim_rule_rules.ITEMS_MAX))


class Rule(Resource, frozen=True, gc=False):
    """A claim rule. There is no marketplace, so its fields are present but empty."""

    name: str = field(write=Name(required=True, blank=False, max=claim_rule_rules.NAME_MAX))
    uuid: str = field()
    url: str = link("/api/autoprovisioning-rules/{}/", "uuid")
    customer_name: str = field("organisation_name")
    customer_uuid: str = field("organisation_uuid")
    project_role_display_name: str = field("project_role_name", get=or_empty)
    project_role_description: str = field("project_role_description", get=or_empty)
    customer_role_display_name: str = field("organisation_role_name", get=or_empty)
    customer_role_description: str = field("organisation_role_description", get=or_empty)
    plan_name: str = constant("")
    offering_name: str = constant("")
    offering_uuid: str = constant(_NIL)
    category_title: str = constant("")
    category_url: str = constant("")
    user_affiliations: list[str] = _texts("affiliations")
    user_email_patterns: list[str] = _texts("email_patterns")
    user_identity_sources: list[str] = _texts("identity_sources")
    user_nationalities: list[str] = _texts("nationalities")
    user_organization_types: list[str] = _texts("organisation_types")
    user_assurance_levels: list[str] = _texts("assurance_levels")
    user_claims: dict[str, list[str]] = field("claims", write=AcceptedClaims())
    customer: str = link("/api/customers/{}/", "organisation_uuid")
    use_user_organization_as_customer_name: bool = constant(value=False)
    create_project: bool = field("creates_project", write=Boolean())
    project_name_template: str | None = field(
        "template",
        get=lambda template: template or None,
        write=Name(null=True, max=claim_rule_rules.TEMPLATE_MAX),
    )
    revoke_when_unmatched: bool = field("revokes", write=Boolean())
    project_role: str | None = link("/api/roles/{}/", "project_role_uuid")
    customer_role: str | None = link("/api/roles/{}/", "organisation_role_uuid")
    plan: str | None = constant(None)
    plan_attributes: dict[str, str] = constant({})
    plan_limits: dict[str, int] = constant({})


class FilterCheck(Struct, frozen=True):
    """A condition of a rule, compared with a person."""

    name: str
    configured: bool
    matched: bool
    reason: str
    user_value: dict[str, list[str]] | None
    rule_value: dict[str, list[str]] | None


class CustomerCandidate(Struct, frozen=True):
    """A customer that was found by its name. There is none: a rule names its customer."""

    uuid: str
    name: str
    url: str | None
    abbreviation: str


class TestMatch(Struct, frozen=True):
    """What a rule would do for a person who signs in now."""

    would_provision: bool
    block_reason: str
    user_username: str
    user_email: str
    user_organization: str
    user_registration_method: str
    user_identity_source: str
    user_affiliations: list[str]
    user_claims: dict[str, list[str]]
    unconfigured_claims: list[str]
    user_is_protected: bool
    filter_results: list[FilterCheck]
    customer_lookup_performed: bool
    customer_candidates: list[CustomerCandidate]
    customer_lookup_ambiguous: bool
    resolved_project_name: str | None
    project_action: str | None


LIST: Final = ResourceList(Rule, claim_rule_queries.listing)
_BODY: Final[dict[str, Kind]] = {
    **Rule.body(),
    "customer": Text(null=True, max=2000),
    "use_user_organization_as_customer_name": Boolean(),
    **{name: Text(null=True, max=2000) for name in _ROLES},
    **{f"{name}_name": Text(null=True, max=150) for name in _ROLES},
    "plan": Text(null=True, max=2000),
}
_TEST: Final = {"user_uuid": Uuid(required=True)}

_NAMES: Final = {
    "email_patterns": "user_email_patterns",
    "affiliations": "user_affiliations",
    "identity_sources": "user_identity_sources",
    "nationalities": "user_nationalities",
    "organisation_types": "user_organization_types",
    "assurance_levels": "user_assurance_levels",
    "claims": "user_claims",
}
"""Our conditions to their names in this API."""

_REASONS: Final = {
    "": "",
    granting.UNMATCHED: "The user does not match the rule.",
    granting.PROTECTED: "Staff and support users are not provisioned.",
    "account.inactive": "The user is not active.",
    "organisation.unknown": "The organization was deleted.",
    "organisation.unavailable": "The organization is blocked or archived.",
    "project.unknown": "The project was deleted.",
    "role.inactive": "The role is not active.",
    "scope.not_admitted": "The organization or project does not admit the user.",
}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    require_reader(context.actor)
    return lists.respond(context, tx, LIST)


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    require_reader(context.actor)
    row = claim_rule_queries.get_visible(tx, context.actor, context.uuid("claim_rule"))
    return lists.detail(context, tx, Rule, row)


def _read_form(context: RequestContext, tx: ReadTransaction, before: RuleRow | None) -> Form:
    """Validate a body, with the rules of a claim rule.

    Args:
        before: the rule that is changed; None: a new one.

    Raises:
        BadRequestError: with the errors of all fields.
    """
    form = read(context, _BODY, partial=context.method == "PATCH")
    values = form.values
    if values.pop("use_user_organization_as_customer_name", False):
        text = "People can change their organization themselves. Name the customer of the rule."
        form.reject("use_user_organization_as_customer_name", text)
    if values.pop("plan", None):
        form.reject("plan", "Invalid hyperlink - No URL match.")
    if "template" in values:
        values["template"] = values["template"] or ""
    _read_customer(context, tx, form)
    for name in _ROLES:
        _read_role(tx, form, name)
    # Without its own word, a role in a project means that there is to be a project.
    if before is None and values.get("project_role_id"):
        values.setdefault("creates_project", True)
    known = {} if before is None else claim_rule_actions.values_of(before)
    for problem in claim_rule_rules.problems({**known, **values}):
        form.refuse(problem)
    form.check()
    return form


def _read_customer(context: RequestContext, tx: ReadTransaction, form: Form) -> None:
    if "customer" not in form.values:
        return
    url = form.values.pop("customer") or ""
    form.values["organisation_id"] = None
    kind_and_uuid = scope_of(url)
    if kind_and_uuid is None or kind_and_uuid[0] is not ScopeKind.ORGANISATION:
        if url:
            form.reject("customer", "Invalid hyperlink - No URL match.")
        return
    try:
        access = access_queries.get_visible(tx, context.actor, *kind_and_uuid)
    except NotFound:
        form.reject("customer", "Invalid hyperlink - Object does not exist.")
    else:
        form.values["organisation_id"] = access.scope.id


def _read_role(tx: ReadTransaction, form: Form, name: str) -> None:
    """Read a role, by its URL, its UUID or its name."""
    column, kind = _ROLES[name]
    sent = {key: form.values.pop(key) for key in (name, f"{name}_name") if key in form.values}
    if not sent:
        return
    form.values[column] = None
    text = str(next(filter(None, sent.values()), ""))
    if not text:
        return
    uuid = hex_uuid(text.rstrip("/").rpartition("/")[2])
    role = role_queries.by_name_or_uuid(tx, text, uuid)
    if role is None or role.kind != kind or not role.is_active:
        field_name = next(key for key, value in sent.items() if value)
        form.reject(field_name, "Invalid hyperlink - Object does not exist.")
    else:
        form.values[column] = role.id


def _create(context: RequestContext) -> Response:
    require_staff(context.actor)
    with context.write() as tx:
        form = _read_form(context, tx, None)
        uuid = claim_rule_actions.create(tx, context.actor, form.values)
        row = claim_rule_queries.get_visible(tx, context.actor, uuid)
        return lists.detail(context, tx, Rule, row, 201)


def _update(context: RequestContext) -> Response:
    require_staff(context.actor)
    uuid = context.uuid("claim_rule")
    with context.write() as tx:
        before = claim_rule_queries.get_locked(tx, context.actor, uuid)
        form = _read_form(context, tx, before)
        claim_rule_actions.update(tx, context.actor, uuid, form.values)
        row = claim_rule_queries.get_visible(tx, context.actor, uuid)
        return lists.detail(context, tx, Rule, row)


def _delete(context: RequestContext) -> Response:
    require_staff(context.actor)
    with context.write() as tx:
        claim_rule_actions.remove(tx, context.actor, context.uuid("claim_rule"))
    return Response(204)


def _test_match(context: RequestContext) -> Response:
    require_reader(context.actor)
    with context.read() as tx:
        rule = claim_rule_queries.get_visible(tx, context.actor, context.uuid("claim_rule"))
        form = read(context, _TEST)
        form.check()
        account = account_queries.get_visible(tx, context.actor, form.values["user_uuid"])
        preview = granting.preview(tx, rule, account)
        kept = identity_rules.comparable_claims(provider_queries.active(tx))
    claims = next(check.found for check in preview.checks if check.name == "claims")
    response = TestMatch(
        would_provision=not preview.obstacle,
        block_reason=_REASONS[preview.obstacle],
        user_username=account.username,
        user_email=account.email,
        user_organization=account.organization,
        user_registration_method=account.registration_method,
        user_identity_source=account.identity_source,
        user_affiliations=account.affiliations,
        user_claims=claims,
        unconfigured_claims=claim_rule_rules.missing_claims(rule, kept),
        user_is_protected=account.is_staff or account.is_support,
        filter_results=[
            FilterCheck(
                _NAMES[check.name],
                check.is_set,
                check.is_met,
                _reason(check),
                _as_object(check.name, check.found),
                _as_object(check.name, check.accepted),
            )
            for check in preview.checks
        ],
        customer_lookup_performed=False,
        customer_candidates=[],
        customer_lookup_ambiguous=False,
        resolved_project_name=preview.project or None,
        project_action=_project_action(preview),
    )
    return Response(200, schemas.encode(response))


def _reason(check: claim_rule_rules.Check) -> str:
    if not check.is_set:
        return "Not configured."
    return "Matched." if check.is_met else "Not matched."


def _as_object(name: str, values: Any) -> dict[str, list[str]]:
    return cast("dict[str, list[str]]", values if isinstance(values, dict) else {name: values})


def _project_action(preview: Preview) -> str | None:
    if preview.obstacle not in {"", "project.unknown"} or not preview.project:
        return None
    if preview.project_is_gone:
        return "not_recreated"
    return "existing" if preview.project_exists else "create"


_ONE: Final = "/api/autoprovisioning-rules/{uuid}/"

ROUTES: Routes = {
    "/api/autoprovisioning-rules/": {
        "GET": lists.endpoint(LIST, "List the claim rules, for staff.", _list),
        "POST": Endpoint(
            _create, "Create a claim rule, for staff.", body=_BODY, response_type=Rule, status=201
        ),
    },
    _ONE: {
        "GET": Endpoint(_retrieve, "Show a claim rule, for staff.", response_type=Rule),
        **lists.updates(
            _update,
            "Change a claim rule, for staff.",
            "Change some fields of a claim rule, for staff.",
            body=_BODY,
            response_type=Rule,
        ),
        "DELETE": Endpoint(_delete, "Remove a claim rule, for staff.", status=204),
    },
    f"{_ONE}test-match/": {
        "POST": Endpoint(
            _test_match,
            "Show what a claim rule would do for a user, for staff.",
            body=_TEST,
            response_type=TestMatch,
        ),
    },
}
