"""Endpoints for invitations: ``/api/user-invitations/``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from msgspec import UNSET

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import WALDUR_KINDS, ScopeKind
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.accounts import PROFILE
from collegium.api.waldur.fields import Form, decode, read
from collegium.api.waldur.projects import scope_of
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Row
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals
from collegium.invitations import queries as invitation_queries
from collegium.invitations.queries import offer_of
from collegium.invitations.rules import State, effective_state
from collegium.memberships.offers import with_sponsor
from collegium.refusals import Conflict, NotFound
from collegium.roles import queries as role_queries
from collegium.security.rate_limits.rules import CODE, INVITE, RESEND
from collegium.values import Email, Kind, Name, Text, Uuid

FIELDS: Final[dict[str, Kind]] = {
    "scope": Text(required=True, blank=False, max=2000),
    "role": Uuid(required=True),
    "email": Email(required=True, max=254),
    "full_name": Name(max=100),
    "native_name": Name(max=100),
    "phone_number": PROFILE["phone_number"],
    "organization": Text(max=255),
    "job_title": Text(max=120),
    "civil_number": Text(max=50),
    "extra_invitation_text": Text(max=250, source="extra_text"),
}


_DECISION: Final[dict[str, Kind]] = {"token": Text(required=True, blank=False, max=1000)}


@contextmanager
def remap_conflicts(**codes: str) -> Iterator[None]:
    """Replace the codes of conflicts by those of this endpoint.

    Args:
        codes: our code without its noun (``wrong_state``) to the new code.

    Raises:
        NotFound: if the new code is ``invitation.unknown``.
        Conflict: with the new code, or unchanged if ``codes`` does not have its code.
    """
    try:
        yield
    except Conflict as refusal:
        code = codes.get(refusal.code.split(".")[1])
        if code is None:
            raise
        if code == "invitation.unknown":
            raise NotFound(code) from refusal
        raise Conflict(code) from refusal


def _render_invitations(
    context: RequestContext, tx: ReadTransaction, rows: Sequence[Row]
) -> list[schemas.Invitation]:
    """Return invitations for callers who may read them.

    A pending invitation that cannot be accepted any more is shown with the reason.
    """
    pending = [
        row for row in rows if effective_state(row.state, row.expires_at, tx.now) is State.PENDING
    ]
    sponsored_ids = with_sponsor(tx, pending, offer_of)
    unsponsored_ids = {row.id for row in pending} - sponsored_ids
    return [
        schemas.invitation(context, row, tx.now, lacks_sponsor=row.id in unsponsored_ids)
        for row in rows
    ]


FILTERS: Final = {
    **dict.fromkeys(("civil_number", "email", "email_exact", "role_name"), filters.Exact()),
    **dict.fromkeys(("customer_uuid", "role_uuid"), filters.Uuid()),
    **dict.fromkeys(("scope_description", "scope_name"), filters.Contains()),
    "scope": filters.SCOPE,
    "scope_type": filters.SCOPE_TYPE,
    "state": filters.ChoicesFilter({word: state.value for state, word in schemas.STATES.items()}),
}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    return lists.respond_page(
        context,
        tx,
        invitation_queries.listing,
        lambda rows: _render_invitations(context, tx, rows),
        filters=filters.read(context, FILTERS, invitation_queries.listing.orders),
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = invitation_queries.get_visible(
        tx, context.actor, context.uuid("invitation"), WALDUR_KINDS
    )
    return Response(200, schemas.encode(_render_invitations(context, tx, [row])[0]))


def named_scope(tx: WriteTransaction, context: RequestContext, form: Form) -> ScopeAccess | None:
    """Return the scope that a body names by its URL.

    An invalid URL or a scope that the caller may not see becomes an error of the form. The result
    is then None.
    """
    if "scope" not in form.values:
        return None
    url = form.values.pop("scope")
    excerpt = url[:200]
    if "/" not in url:
        form.reject("scope", f"URL is invalid: {excerpt}.")
        return None
    kind_and_uuid = scope_of(url)
    if kind_and_uuid is not None:
        try:
            return access_queries.get_visible(tx, context.actor, kind_and_uuid[0], kind_and_uuid[1])
        except NotFound:
            pass
    form.reject("scope", f"Can't restore object from url: {excerpt}")
    return None


def named_role(
    tx: WriteTransaction, form: Form, field: str = "role", kind: ScopeKind | None = None
) -> Row | None:
    """Return the role that a body names by its UUID.

    An unknown or unsuitable role becomes an error of the form. The result is then None.

    Args:
        field: name of the field.
        kind: kind of scope that the role must be for; None: organisation or project.
    """
    uuid = form.values.pop(field, None)
    if uuid is None:
        return None
    role = role_queries.by_name_or_uuid(tx, "", uuid)
    if (
        role is None
        or not role.is_active
        or role.kind == ScopeKind.GROUP
        or kind not in {None, ScopeKind(role.kind)}
    ):
        form.reject(field, f"Object with uuid={uuid} does not exist.")
        return None
    return role


def _create(context: RequestContext) -> Response:
    form = read(context, FIELDS)
    with context.write() as tx:
        access = named_scope(tx, context, form)
        role = named_role(tx, form)
        access, role = form.checked(access), form.checked(role)
        uuid = invitation_actions.create(
            tx, context.actor, context.settings, access, role, form.values
        )
        context.count_attempts(tx, INVITE)
        row: Any = invitation_queries.by_uuid(tx, uuid)
        return Response(201, schemas.encode(schemas.invitation(context, row, tx.now)))


def _details(context: RequestContext, tx: ReadTransaction) -> Response:
    row = invitation_actions.get_for_invitee(
        tx, context.actor, context.settings, context.uuid("invitation"), WALDUR_KINDS
    )
    return Response(200, schemas.encode(schemas.invitation_details(context, row, tx.now)))


def _check(context: RequestContext) -> Response:
    try:
        with context.read() as tx:
            row = invitation_actions.get_open(
                tx, context.actor, context.settings, context.uuid("invitation"), WALDUR_KINDS
            )
    except NotFound as refusal:
        if refusal.code == "invitation.closed":
            return Response(404, media="text/plain")
        raise
    has_civil_number = True if row.civil_number else UNSET
    return Response(200, schemas.encode(schemas.InvitationCheck(row.email, has_civil_number)))


def _accept(context: RequestContext) -> Response:
    with (
        remap_conflicts(wrong_state="invitation.unknown", exists="grant.held"),
        context.write() as tx,
    ):
        invitation_actions.accept(
            tx, context.actor, context.settings, context.uuid("invitation"), WALDUR_KINDS
        )
    return detail_response("Invitation has been successfully accepted.")


def _cancel(context: RequestContext) -> Response:
    with remap_conflicts(wrong_state="invitation.not_cancelable"), context.write() as tx:
        invitation_actions.cancel(tx, context.actor, context.uuid("invitation"), WALDUR_KINDS)
    return detail_response("Invitation has been successfully canceled.")


def _send(context: RequestContext) -> Response:
    uuid = context.uuid("invitation")
    context.check_limits(RESEND, target=uuid)
    with remap_conflicts(wrong_state="invitation.not_sendable"), context.write() as tx:
        invitation_actions.send(tx, context.actor, context.settings, uuid, WALDUR_KINDS)
        # Each e-mail goes to the same address, no matter which account sends it.
        context.count_attempts(tx, RESEND, INVITE, target=uuid)
    return detail_response("Invitation sending has been successfully scheduled.")


def _decide(
    context: RequestContext,
    purpose: str,
    decide: Callable[[WriteTransaction, approvals.Decision], None],
) -> None:
    token = decode(context)[0].get("token")
    if not token or not isinstance(token, str):
        raise BadRequestError(["token is required parameter"])
    with context.write() as tx:
        link = approvals.read_link(context.app.vault, context.settings, purpose, token, tx.now)
        decide(tx, link)


def _approve(context: RequestContext) -> Response:
    _decide(
        context,
        approvals.APPROVE,
        lambda tx, link: approvals.approve(
            tx, context.settings, link, context.ip_address, context.request_id
        ),
    )
    return detail_response("Invitation has been approved.")


def _reject(context: RequestContext) -> Response:
    _decide(
        context,
        approvals.REJECT,
        lambda tx, link: approvals.reject(tx, link, context.ip_address, context.request_id),
    )
    return detail_response("Invitation has been rejected.")


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        invitation_actions.delete(tx, context.actor, context.uuid("invitation"), WALDUR_KINDS)
    return detail_response("Invitation has been successfully deleted.")


def detail_response(text: str) -> Response:
    """Return a response with one sentence, for actions that return no object."""
    return Response(200, schemas.encode(schemas.Detail(text)))


_ONE: Final = "/api/user-invitations/{uuid}/"

ROUTES: Routes = {
    "/api/user-invitations/": {
        "GET": Endpoint(
            _list,
            "List the invitations that you can see.",
            response_type=schemas.Invitation,
            is_list=True,
            filters=FILTERS,
            orders=invitation_queries.listing.orders,
        ),
        "POST": Endpoint(
            _create,
            "Create an invitation.",
            body=FIELDS,
            response_type=schemas.Invitation,
            status=201,
            limits=(INVITE,),
        ),
    },
    "/api/user-invitations/approve/": {
        "POST": Endpoint(
            _approve,
            "Approve an invitation.",
            public=True,
            body=_DECISION,
            response_type=schemas.Detail,
            guesses=CODE,
        ),
    },
    "/api/user-invitations/reject/": {
        "POST": Endpoint(
            _reject,
            "Reject an invitation.",
            public=True,
            body=_DECISION,
            response_type=schemas.Detail,
            guesses=CODE,
        ),
    },
    _ONE: {
        "GET": Endpoint(_retrieve, "Show an invitation.", response_type=schemas.Invitation),
    },
    f"{_ONE}details/": {
        "GET": Endpoint(
            _details, "Show an invitation to its invitee.", response_type=schemas.InvitationDetails
        ),
    },
    f"{_ONE}check/": {
        "POST": Endpoint(
            _check,
            "Show whether an invitation is pending, and its address.",
            public=True,
            response_type=schemas.InvitationCheck,
            guesses=CODE,
        ),
    },
    f"{_ONE}accept/": {
        "POST": Endpoint(_accept, "Accept an invitation.", response_type=schemas.Detail),
    },
    f"{_ONE}cancel/": {
        "POST": Endpoint(_cancel, "Cancel an invitation.", response_type=schemas.Detail),
    },
    f"{_ONE}send/": {
        "POST": Endpoint(
            _send, "Send an invitation again.", response_type=schemas.Detail, limits=(INVITE,)
        ),
    },
    f"{_ONE}delete/": {
        "POST": Endpoint(_delete, "Delete an invitation.", response_type=schemas.Detail),
    },
}
