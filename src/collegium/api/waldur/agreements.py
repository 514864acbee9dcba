"""Endpoints for user agreements: ``/api/user-agreements/``."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from collegium.access.rules import require_staff
from collegium.agreements import actions as agreement_actions
from collegium.agreements import queries as agreement_queries
from collegium.agreements.rules import CONTENT_MAX, LANGUAGE_MAX, Kind
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Lookup, Resource, ResourceList, field, link
from collegium.api.waldur import filters, lists
from collegium.api.waldur.fields import read
from collegium.db.tables import agreements
from collegium.lists.filters import is_equal
from collegium.text.languages import CODE
from collegium.values import Choice, Text

_TYPES: Final = {"TOS": Kind.TERMS.value, "PP": Kind.PRIVACY.value}
_WORDS: Final = {kind: word for word, kind in _TYPES.items()}


class UserAgreement(Resource, frozen=True, gc=False):
    """The current version of a text that people agree to."""

    url: str = link("/api/user-agreements/{}/", "uuid")
    uuid: str = field()
    content: str = field(write=Text(required=True, blank=False, max=CONTENT_MAX))
    agreement_type: str = field(
        "kind",
        get=_WORDS.__getitem__,
        write=Choice(of=_TYPES, required=True, source="kind"),
        filter=Lookup(filters.ChoiceFilter(_TYPES), is_equal, agreements.c.kind),
    )
    language: str = field(
        write=Text(
            max=LANGUAGE_MAX,
            pattern=CODE,
            message="Enter a language code in small letters, such as en or pt-br.",
        ),
        filter=Lookup(filters.Exact(), lambda name, _column: agreement_queries.in_language(name)),
    )
    created: datetime = field("created_at")
    modified: datetime = field("modified_at")


LIST: Final = ResourceList(UserAgreement, agreement_queries.listing)
_BODY: Final = UserAgreement.body()


def _create(context: RequestContext) -> Response:
    require_staff(context.actor)
    form = read(context, _BODY)
    form.check()
    with context.write() as tx:
        uuid = agreement_actions.publish(tx, context.actor, form.values)
        row = agreement_queries.get_visible(tx, context.actor, uuid)
        return lists.detail(context, tx, UserAgreement, row, 201)


def _update(context: RequestContext) -> Response:
    require_staff(context.actor)
    uuid = context.uuid("agreement")
    with context.read() as tx:
        agreement_queries.get_visible(tx, context.actor, uuid)
    form = read(context, _BODY, partial=context.method == "PATCH")
    form.check()
    with context.write() as tx:
        agreement_actions.change(tx, context.actor, uuid, form.values)
        row = agreement_queries.get_visible(tx, context.actor, uuid)
        return lists.detail(context, tx, UserAgreement, row)


ROUTES: Routes = {
    "/api/user-agreements/": {
        "GET": lists.endpoint(
            LIST,
            "List the texts that people agree to: terms of service and privacy policy. Where there "
            "is no text in the requested language, the default text is listed.",
            public=True,
        ),
        "POST": Endpoint(
            _create,
            "Publish a text, for staff. People are asked to agree at their next sign-in.",
            body=_BODY,
            response_type=UserAgreement,
            status=201,
        ),
    },
    "/api/user-agreements/{uuid}/": {
        "GET": lists.retrieve(
            UserAgreement,
            agreement_queries.get_visible,
            "agreement",
            "Show a text that people agree to.",
            public=True,
        ),
        **lists.updates(
            _update,
            "Publish a new version of a text, for staff. People are asked again.",
            "Change some fields of a text, for staff. This is a new version too.",
            body=_BODY,
            response_type=UserAgreement,
        ),
        "DELETE": lists.delete(agreement_actions.remove, "agreement", "Remove a text, for staff."),
    },
}
