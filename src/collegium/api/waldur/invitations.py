"""``/api/user-invitations/``: invitations."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from collegium.access import queries as access_queries
from collegium.access.rules import NOBODY, Kind
from collegium.api import limits
from collegium.api.request import Answer, Operation, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.accounts import PROFILE
from collegium.api.waldur.errors import Malformed
from collegium.api.waldur.fields import Email, Field, Form, Name, Text, Uuid, decode, read
from collegium.api.waldur.projects import scope_of
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import State
from collegium.refusals import Conflict, NotFound
from collegium.roles import queries as role_queries
from collegium.security.rate_limits.rules import CODE_ADDRESS, MAIL_INVITEE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from collegium.access.queries import Reached
    from collegium.access.rules import Actor
    from collegium.api.request import Call
    from collegium.db.database import Read, Write
    from collegium.db.statements import Row

FIELDS: Final[dict[str, Field]] = {
    "scope": Text(required=True, blank=False, max=2000),
    "role": Uuid(required=True),
    "email": Email(required=True, max=254),
    "full_name": Name(max=100),
    "native_name": Name(max=100),
    "phone_number": PROFILE["phone_number"],
    "organization": Text(max=255),
    "job_title": Text(max=120),
    "civil_number": Text(max=50),
    "extra_invitation_text": Text(max=250, to="extra_text"),
}


_DECISION: Final[dict[str, Field]] = {"token": Text(required=True, blank=False, max=1000)}


@contextmanager
def saying(**words: str) -> Iterator[None]:
    """Word a conflict as this operation does: our code, without its noun, to another one."""
    try:
        yield
    except Conflict as refusal:
        code = words.get(refusal.code.split(".")[1])
        if code is None:
            raise
        if code == "invitation.unknown":
            raise NotFound(code) from refusal
        raise Conflict(code) from refusal


def _shown(call: Call, tx: Read, rows: Sequence[Row]) -> list[schemas.Invitation]:
    """Show invitations, and to those who may read them why one cannot be accepted any more."""
    pending = [row for row in rows if schemas.seen(row, tx.now) is State.PENDING]
    vouched = invitation_queries.vouched(tx, pending) if pending else set()
    dead = {row.id for row in pending} - vouched
    return [schemas.invitation(call, row, tx.now, is_dead=row.id in dead) for row in rows]


FILTERS: Final = {
    **dict.fromkeys(("civil_number", "email", "email_exact", "role_name"), filters.Exact()),
    **dict.fromkeys(("customer_uuid", "role_uuid"), filters.Uuid()),
    **dict.fromkeys(("scope_description", "scope_name"), filters.Contains()),
    "scope": filters.SCOPE,
    "scope_type": filters.SCOPE_TYPE,
    "state": filters.Words({word: state.value for state, word in schemas.STATES.items()}),
}


def _list(call: Call, tx: Read) -> Answer:
    return lists.answer(
        call,
        tx,
        invitation_queries.listing,
        lambda rows: _shown(call, tx, rows),
        filters=filters.read(call, FILTERS, invitation_queries.listing.orders),
    )


def _retrieve(call: Call, tx: Read) -> Answer:
    row = invitation_queries.reach(tx, call.actor, call.uuid("invitation"))
    return Answer(200, schemas.encode(_shown(call, tx, [row])[0]))


def named_scope(tx: Write, call: Call, form: Form) -> Reached | None:
    """Find the scope that a body names by its URL; what is not to be seen is an error there."""
    if "scope" not in form.values:
        return None
    url = form.values.pop("scope")
    shown = url[:200]
    if "/" not in url:
        form.reject("scope", f"URL is invalid: {shown}.")
        return None
    named = scope_of(url)
    if named is not None:
        try:
            return access_queries.reach(tx, call.actor, named[0], named[1])
        except NotFound:
            pass
    form.reject("scope", f"Can't restore object from url: {shown}")
    return None


def named_role(tx: Write, form: Form, field: str = "role", kind: Kind | None = None) -> Row | None:
    """Find the role that a body names, of a kind where one is needed; else it is an error there."""
    uuid = form.values.pop(field, None)
    if uuid is None:
        return None
    role = role_queries.named(tx, "", uuid)
    if (
        role is None
        or not role.is_active
        or role.kind == Kind.GROUP
        or kind not in {None, Kind(role.kind)}
    ):
        form.reject(field, f"Object with uuid={uuid} does not exist.")
        return None
    return role


def _create(call: Call) -> Answer:
    form = read(call, FIELDS)
    limits.check(call, limits.INVITE)
    with call.write() as tx:
        reached = named_scope(tx, call, form)
        role = named_role(tx, form)
        reached, role = form.checked(reached), form.checked(role)
        uuid = invitation_actions.create(tx, call.actor, call.settings, reached, role, form.values)
        limits.count(call, tx, limits.INVITE)
        row: Any = invitation_queries.by_uuid(tx, uuid)
        return Answer(201, schemas.encode(schemas.invitation(call, row, tx.now)))


def _details(call: Call, tx: Read) -> Answer:
    row = invitation_actions.find_for_invitee(
        tx, call.actor, call.settings, call.uuid("invitation"), in_tree=True
    )
    return Answer(200, schemas.encode(schemas.invitation_details(call, row, tx.now)))


def _check(call: Call) -> Answer:
    actor: Actor = vars(call).get("actor", NOBODY)  # also without credentials
    with call.guarded(f"check address {call.network}", CODE_ADDRESS):
        try:
            with call.read() as tx:
                row = invitation_actions.find_open(
                    tx, actor, call.settings, call.uuid("invitation"), in_tree=True
                )
        except NotFound as refusal:
            if refusal.code == "invitation.closed":
                return Answer(404, media="text/plain")
            raise
    locked = True if row.civil_number else UNSET
    return Answer(200, schemas.encode(schemas.InvitationCheck(row.email, locked)))


def _accept(call: Call) -> Answer:
    with saying(wrong_state="invitation.unknown", exists="grant.held"), call.write() as tx:
        invitation_actions.accept(
            tx, call.actor, call.settings, call.uuid("invitation"), in_tree=True
        )
    return done("Invitation has been successfully accepted.")


def _cancel(call: Call) -> Answer:
    with saying(wrong_state="invitation.not_cancelable"), call.write() as tx:
        invitation_actions.cancel(tx, call.actor, call.uuid("invitation"))
    return done("Invitation has been successfully canceled.")


def _send(call: Call) -> Answer:
    uuid = call.uuid("invitation")
    limits.check(call, limits.INVITE)
    call.check_tries(mailed := f"send invitation {uuid}")
    with saying(wrong_state="invitation.not_sendable"), call.write() as tx:
        invitation_actions.send(tx, call.actor, call.settings, uuid)
        # Each mail goes to the same address, whoever sends it.
        call.count(tx, mailed, MAIL_INVITEE)
        limits.count(call, tx, limits.INVITE)
    return done("Invitation sending has been successfully scheduled.")


def _decide(call: Call, purpose: str, do: Callable[[Write, approvals.Decision], None]) -> None:
    token = decode(call)[0].get("token")
    if not token or not isinstance(token, str):
        raise Malformed(400, ["token is required parameter"])
    with call.guarded(f"decision address {call.network}", CODE_ADDRESS), call.write() as tx:
        link = approvals.read_link(call.house.vault, call.settings, purpose, token, tx.now)
        do(tx, link)


def _approve(call: Call) -> Answer:
    _decide(
        call,
        approvals.APPROVE,
        lambda tx, link: approvals.approve(tx, call.settings, link, call.address, call.request_id),
    )
    return done("Invitation has been approved.")


def _reject(call: Call) -> Answer:
    _decide(
        call,
        approvals.REJECT,
        lambda tx, link: approvals.reject(tx, link, call.address, call.request_id),
    )
    return done("Invitation has been rejected.")


def _delete(call: Call) -> Answer:
    with call.write() as tx:
        invitation_actions.delete(tx, call.actor, call.uuid("invitation"))
    return done("Invitation has been successfully deleted.")


def done(text: str) -> Answer:
    """Answer a deed that has nothing to show with a sentence."""
    return Answer(200, schemas.encode(schemas.Detail(text)))


_ONE: Final = "/api/user-invitations/{uuid}/"

ROUTES: Routes = {
    "/api/user-invitations/": {
        "GET": Operation(
            _list,
            "List the invitations that you can see.",
            answers=schemas.Invitation,
            many=True,
            filters=FILTERS,
            orders=invitation_queries.listing.orders,
        ),
        "POST": Operation(
            _create,
            "Invite an address to a role.",
            form=FIELDS,
            answers=schemas.Invitation,
            status=201,
        ),
    },
    "/api/user-invitations/approve/": {
        "POST": Operation(
            _approve,
            "Let an invitation go out that waits for staff.",
            open=True,
            form=_DECISION,
            answers=schemas.Detail,
        ),
    },
    "/api/user-invitations/reject/": {
        "POST": Operation(
            _reject,
            "Let an invitation go no further that waits for staff.",
            open=True,
            form=_DECISION,
            answers=schemas.Detail,
        ),
    },
    _ONE: {
        "GET": Operation(_retrieve, "Show an invitation.", answers=schemas.Invitation),
    },
    f"{_ONE}details/": {
        "GET": Operation(
            _details, "Show an invitation to its invitee.", answers=schemas.InvitationDetails
        ),
    },
    f"{_ONE}check/": {
        "POST": Operation(
            _check,
            "Tell whether an invitation is pending, and to whom.",
            open=True,
            answers=schemas.InvitationCheck,
        ),
    },
    f"{_ONE}accept/": {
        "POST": Operation(_accept, "Take the invited role.", answers=schemas.Detail),
    },
    f"{_ONE}cancel/": {
        "POST": Operation(_cancel, "Call an invitation back.", answers=schemas.Detail),
    },
    f"{_ONE}send/": {
        "POST": Operation(_send, "Mail an invitation again.", answers=schemas.Detail),
    },
    f"{_ONE}delete/": {
        "POST": Operation(_delete, "Remove an invitation.", answers=schemas.Detail),
    },
}
