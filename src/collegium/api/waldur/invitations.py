"""Endpoints for invitations: ``/api/user-invitations/``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final

from msgspec import UNSET
from sqlalchemy import and_

from collegium.access import queries as access_queries
from collegium.access.lifecycles import By
from collegium.access.queries import ScopeAccess
from collegium.access.rules import WALDUR_KINDS, ScopeKind
from collegium.accounts.queries import join_names
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Lookup, Related, Resource, ResourceList, Source, field, link
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.accounts import PHONE
from collegium.api.waldur.errors import VALUES
from collegium.api.waldur.fields import Form, decode, read
from collegium.api.waldur.lookups import fixed, role_lookups, scope_lookups
from collegium.api.waldur.projects import scope_of
from collegium.api.waldur.schemas import or_empty
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.tables import invitations
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals, duplicates
from collegium.invitations import queries as invitation_queries
from collegium.invitations.duplicates import PlannedInvitation
from collegium.invitations.queries import InvitationRow, offer_of
from collegium.invitations.rules import (
    DeliveryStatus,
    State,
    delivery_status,
    effective_state,
    mail_state,
)
from collegium.lists import filters as list_filters
from collegium.lists.filters import is_equal
from collegium.lists.listing import simple
from collegium.memberships.offers import ids_with_able_sponsor
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.roles import queries as role_queries
from collegium.roles.queries import RoleRow
from collegium.security.rate_limits.rules import CODE, INVITE, RESEND
from collegium.text.email_addresses import comparable_address
from collegium.values import (
    Email,
    InvalidValueError,
    Kind,
    Name,
    Problem,
    Text,
    Uuid,
    check_list,
    invalid,
    list_from_form,
    parse_all,
    parse_fields,
)


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


def _find_unsponsored(
    _context: RequestContext, tx: ReadTransaction, rows: Sequence[InvitationRow]
) -> dict[int, bool]:
    """Return, by id, the pending invitations whose sponsor may no longer grant the role."""
    pending = [
        row for row in rows if effective_state(row.state, row.expires_at, tx.now) is State.PENDING
    ]
    sponsored_ids = ids_with_able_sponsor(tx, pending, offer_of)
    return {row.id: True for row in pending if row.id not in sponsored_ids}


_UNSPONSORED: Final = Related(
    _find_unsponsored,
    default=False,
    columns=(
        *("scope_id", "organisation_id", "scope_kind", "role_id", "role_is_active"),
        *("sponsor_id", "sponsor_is_active", "sponsor_is_staff"),
    ),
)
_MAIL: Final = ("mail_state", "mailed_at", "created_at", "mail_locked_until", "mail_error")


def _delivery(
    state: str | None,
    mailed_at: datetime | None,
    created_at: datetime,
    locked_until: datetime | None,
    error: str | None,
    now: datetime,
) -> DeliveryStatus:
    return delivery_status(mail_state(state, mailed_at, created_at), locked_until, error, now)


def _mail_error(*mail: Any) -> str:
    error: str | None = mail[4]
    return error if error and _delivery(*mail) is DeliveryStatus.ERRED else ""


def _problem(
    lacks_sponsor: bool,
    deactivated_at: datetime | None,
    state: str,
    expires_at: datetime,
    now: datetime,
    *mail: Any,
) -> str:
    if lacks_sponsor:
        return _NO_SPONSOR
    if deactivated_at is not None and effective_state(state, expires_at, now) in _OPEN:
        return _INVITEE_DEACTIVATED
    return _mail_error(*mail)


_OPEN: Final = frozenset({State.PENDING, State.EXPIRED})
_INVITEE_DEACTIVATED: Final = (
    "The invited person cannot accept, because their account is deactivated. Staff can activate it."
)
_NO_SPONSOR: Final = (
    "Cannot be accepted, because the inviter can no longer assign this role. "
    "Somebody who can assign it can send the invitation again."
)
_STATE: Final = (
    "state",
    "expires_at",
    Source.NOW,
)


def _shown_state(state: str, expires_at: datetime, now: datetime) -> str:
    return schemas.STATES[effective_state(state, expires_at, now)]


TEXT_MAX: Final = 2000
"""Maximum length of the personal message, in characters."""

_ITEM_MAX: Final = 400
"""Maximum length of the JSON of a person, in characters."""

INVITEES_MAX: Final = 500
"""Maximum number of people who are checked for duplicates at once."""


class InvitationDetails(Resource, frozen=True, gc=False):
    """An invitation, for the invitee."""

    email: str = field()
    state: str = field(*_STATE, get=_shown_state)
    execution_state: str = field(*_MAIL, Source.NOW, get=_delivery)
    error_message: str = field(*_MAIL, Source.NOW, get=_mail_error)
    scope_uuid: str = field()
    scope_name: str = field()
    scope_description: str = field()
    scope_type: str = field("scope_kind", get=schemas.KINDS.__getitem__)
    customer_uuid: str = field("organisation_uuid")
    customer_name: str = field("organisation_name")
    role_name: str = field()
    role_description: str = field()
    created_by_full_name: str = field("creator_first_name", "creator_last_name", get=join_names)
    created_by_username: str = field("creator_username", get=or_empty)
    created_by_image: str | None = link("/api/media/{}/", "creator_picture")


class Invitation(Resource, frozen=True, gc=False):
    """An invitation, for people who may manage or read it."""

    url: str = link("/api/user-invitations/{}/", "uuid")
    uuid: str = field()
    role: str = field("role_uuid")
    created: datetime = field("created_at", order=True)
    expires: datetime = field("expires_at")
    full_name: str = field(write=Name(max=100))
    native_name: str = field(write=Name(max=100))
    phone_number: str = field(write=PHONE)
    organization: str = field(write=Name(max=255))
    job_title: str = field(write=Name(max=120))
    civil_number: str = field(
        write=Text(max=50),
        filter=Lookup(
            filters.Exact(),
            # Repeats the condition of the partial index, so that the index can be used.
            lambda name, column: and_(is_equal(name, column), column != ""),
        ),
    )
    extra_invitation_text: str = field("extra_text", write=Text(max=TEXT_MAX))
    email: str = field(
        write=Email(required=True, max=254),
        filter={
            "email": fixed(filters.Exact(), list_filters.EMAIL),
            "email_exact": fixed(
                filters.Exact(),
                simple(
                    "email_exact",
                    and_(
                        is_equal("email_exact", invitations.c.email_comparable),
                        invitations.c.email_comparable != "",
                    ),
                    comparable_address,
                ),
            ),
        },
        order=True,
    )
    state: str = field(
        *_STATE,
        get=_shown_state,
        filter=fixed(
            filters.ChoicesFilter({word: state.value for state, word in schemas.STATES.items()}),
            invitation_queries.of_scope.filters["state"],
        ),
        order=invitation_queries.STATE_ORDER,
    )
    execution_state: str = field(*_MAIL, Source.NOW, get=_delivery)
    error_message: str = field(
        _UNSPONSORED, "invitee_deactivated_at", *_STATE, *_MAIL, Source.NOW, get=_problem
    )
    scope_uuid: str = field()
    scope_name: str = field()
    scope_description: str = field()
    scope_type: str = field("scope_kind", get=schemas.KINDS.__getitem__)
    customer_uuid: str = field("organisation_uuid")
    customer_name: str = field("organisation_name")
    role_name: str = field()
    role_description: str = field()
    created_by_full_name: str = field("creator_first_name", "creator_last_name", get=join_names)
    created_by_username: str = field("creator_username", get=or_empty)
    created_by_image: str | None = link("/api/media/{}/", "creator_picture")


class InvitationUpdate(Resource, frozen=True, gc=False):
    """What can be changed of an invitation."""

    email: str = field(write=Email(required=True, max=254))
    role: str = field("role_uuid", write=Uuid(source="role"))


@dataclass(frozen=True, kw_only=True)
class Invitees(Kind):
    """A list of people to invite: each an address and the UUID of a role."""

    item: ClassVar[Mapping[str, Kind]] = {
        "email": Email(required=True, max=254),
        "role": Uuid(required=True),
    }

    def from_form(self, raw: str | bytes) -> Any:
        """Return the parsed JSON of a text."""
        return list_from_form(super().from_form(raw), _ITEM_MAX, INVITEES_MAX)

    def parse(self, raw: Any) -> list[dict[str, Any]]:
        """Return a dictionary for each person: ``email role``."""
        check_list(raw, INVITEES_MAX)
        return parse_all(self._parse_item, enumerate(raw, start=1))

    def _parse_item(self, numbered: tuple[int, Any]) -> dict[str, Any]:
        number, raw = numbered
        if not isinstance(raw, dict):
            raise invalid("object", type=type(raw).__name__)
        values, errors = parse_fields(raw, self.item)
        if errors:
            raise InvalidValueError(
                *(
                    Problem("item", {"number": number, "field": name, "message": message})
                    for name, error in errors.items()
                    for message in error.messages(VALUES)
                )
            )
        return values

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array of objects."""
        item = {
            "type": "object",
            "properties": {name: kind.schema() for name, kind in self.item.items()},
            "required": list(self.item),
        }
        return {"type": "array", "items": item, "maxItems": INVITEES_MAX}


LIST: Final = ResourceList(
    Invitation,
    invitation_queries.listing,
    filters={
        **scope_lookups(
            invitations.c.scope_id,
            *("customer_uuid", "scope", "scope_description", "scope_name", "scope_type"),
        ),
        **role_lookups(invitations.c.role_id),
    },
    orders={"created_by": (invitations.c.created_by,)},
)
_BODY: Final[dict[str, Kind]] = {
    "scope": Text(required=True, blank=False, max=2000),
    "role": Uuid(required=True),
    **Invitation.body(),
}
_CHANGE: Final[dict[str, Kind]] = InvitationUpdate.body()
_PLANNED: Final[dict[str, Kind]] = {
    "scope": Text(required=True, blank=False, max=2000),
    "invitations": Invitees(required=True),
}
_DECISION: Final[dict[str, Kind]] = {"token": Text(required=True, blank=False, max=1000)}


def named_scope(tx: ReadTransaction, context: RequestContext, form: Form) -> ScopeAccess | None:
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
    tx: ReadTransaction, form: Form, field: str = "role", kind: ScopeKind | None = None
) -> RoleRow | None:
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
    form = read(context, _BODY)
    with context.write() as tx:
        access = named_scope(tx, context, form)
        role = named_role(tx, form)
        access, role = form.checked(access), form.checked(role)
        uuid = invitation_actions.create(
            tx, context.actor, context.settings, access, role, form.values
        )
        context.count_attempts(tx, INVITE)
        row = invitation_queries.existing(tx, uuid)
        return lists.detail(context, tx, Invitation, row, 201, related=False)


def _details(context: RequestContext, tx: ReadTransaction) -> Response:
    row = invitation_actions.get_for_invitee(
        tx, context.actor, context.settings, context.uuid("invitation"), WALDUR_KINDS
    )
    return lists.detail(context, tx, InvitationDetails, row)


def _check(context: RequestContext) -> Response:
    try:
        with context.read() as tx:
            row = invitation_actions.get_pending(
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


def _destroy(context: RequestContext) -> Response:
    with context.write() as tx:
        uuid = context.uuid("invitation")
        invitation_actions.delete(tx, context.actor, uuid, WALDUR_KINDS, by=By.GRANTER)
    return Response(204)


def _update(context: RequestContext) -> Response:
    form = read(context, _CHANGE, partial=context.method == "PATCH")
    uuid = context.uuid("invitation")
    with remap_conflicts(wrong_state="invitation.not_editable"), context.write() as tx:
        row = invitation_actions.lock_to_change(tx, context.actor, uuid, WALDUR_KINDS)
        role = named_role(tx, form)
        if role is not None and role.kind != row.scope_kind:
            form.refuse(Invalid("role.other_kind"))
        form.check()
        email = form.values.get("email", row.email)
        if invitation_actions.change(tx, context.actor, context.settings, row, email, role):
            # It is mailed like a new invitation.
            context.count_attempts(tx, INVITE)
        row = invitation_queries.existing(tx, uuid)
        return lists.detail(context, tx, InvitationUpdate, row)


def _check_duplicates(context: RequestContext) -> Response:
    form = read(context, _PLANNED)
    with context.read() as tx:
        access = named_scope(tx, context, form)
        people = form.values.get("invitations", [])
        roles = role_queries.by_uuids(tx, {person["role"] for person in people})
        active = {uuid: role for uuid, role in roles.items() if role.is_active}
        for uuid in dict.fromkeys(person["role"] for person in people):
            if uuid not in active:
                form.reject("invitations", f"Object with uuid={uuid} does not exist.")
        access = form.checked(access)
        planned = [PlannedInvitation(each["email"], active[each["role"]]) for each in people]
        found, held = duplicates.find(tx, context.actor, access, planned)
    result = schemas.DuplicateInvitations(
        duplicates=[
            schemas.DuplicateInvitation(
                email=each.planned.email,
                role=each.planned.role.uuid,
                existing_invitation_uuid=each.existing.uuid if each.existing else None,
            )
            for each in found
        ],
        existing_roles=[
            schemas.ExistingRole(
                email=each.planned.email,
                role=each.planned.role.uuid,
                existing_role=each.held.role_uuid,
                existing_role_name=each.held.role_name,
                existing_role_description=each.held.role_description,
                is_same_role=each.held.role_id == each.planned.role.id,
            )
            for each in held
        ],
    )
    return Response(200, schemas.encode(result))


def detail_response(text: str) -> Response:
    """Return a response with one sentence, for actions that return no object."""
    return Response(200, schemas.encode(schemas.Detail(text)))


_ONE: Final = "/api/user-invitations/{uuid}/"

ROUTES: Routes = {
    "/api/user-invitations/": {
        "GET": lists.endpoint(LIST, "List the invitations that you can see."),
        "POST": Endpoint(
            _create,
            "Create an invitation.",
            body=_BODY,
            response_type=Invitation,
            status=201,
            limits=(INVITE,),
        ),
    },
    "/api/user-invitations/check-duplicates/": {
        "POST": Endpoint(
            _check_duplicates,
            "Find people who are invited already, or have a role.",
            body=_PLANNED,
            response_type=schemas.DuplicateInvitations,
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
        "GET": lists.retrieve(
            Invitation,
            partial(invitation_queries.get_visible, kinds=WALDUR_KINDS),
            "invitation",
            "Show an invitation.",
        ),
        **lists.updates(
            _update,
            "Change the address and the role of a pending invitation.",
            "Change the address or the role of a pending invitation.",
            body=_CHANGE,
            response_type=InvitationUpdate,
            limits=(INVITE,),
        ),
        "DELETE": Endpoint(_destroy, "Delete an invitation that you could send.", status=204),
    },
    f"{_ONE}details/": {
        "GET": Endpoint(
            _details, "Show an invitation to its invitee.", response_type=InvitationDetails
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
