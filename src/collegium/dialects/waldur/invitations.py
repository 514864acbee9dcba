"""``/api/user-invitations/``: invitations."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from collegium.actions import invitations as actions
from collegium.dialects.http import Answer, Operation, Routes
from collegium.dialects.waldur import lists, wire
from collegium.dialects.waldur.accounts import PROFILE
from collegium.dialects.waldur.fields import Email, Field, Form, Text, Uuid, read
from collegium.dialects.waldur.projects import scope_of
from collegium.rules.access import Kind
from collegium.rules.refusals import Conflict, NotFound
from collegium.rules.tries import CODE_ADDRESS
from collegium.store import access, invitations, roles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collegium.dialects.http import Call
    from collegium.store.access import Reached
    from collegium.store.db import Read, Row, Write

FIELDS: Final[dict[str, Field]] = {
    "scope": Text(required=True, blank=False, max=2000),
    "role": Uuid(required=True),
    "email": Email(required=True, max=254),
    "full_name": Text(max=100),
    "native_name": Text(max=100),
    "phone_number": PROFILE["phone_number"],
    "organization": Text(max=255),
    "job_title": Text(max=120),
    "civil_number": Text(max=50),
    "extra_invitation_text": Text(max=250, to="extra_text"),
}


@contextmanager
def _saying(**words: str) -> Iterator[None]:
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


def _list(call: Call, tx: Read) -> Answer:
    return lists.answer(
        call,
        tx,
        invitations.listing,
        lambda rows: [wire.invitation(call, row, tx.now) for row in rows],
    )


def _retrieve(call: Call, tx: Read) -> Answer:
    row = invitations.reach(tx, call.actor, call.uuid("invitation"))
    return Answer(200, wire.encode(wire.invitation(call, row, tx.now)))


def _scope(tx: Write, call: Call, form: Form) -> Reached | None:
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
            return access.reach(tx, call.actor, named[0], named[1])
        except NotFound:
            pass
    form.reject("scope", f"Can't restore object from url: {shown}")
    return None


def _role(tx: Write, form: Form) -> Row | None:
    if "role" not in form.values:
        return None
    uuid = form.values.pop("role")
    role = roles.named(tx, "", uuid)
    if role is None or not role.is_active or role.kind == Kind.GROUP:
        form.reject("role", f"Object with uuid={uuid} does not exist.")
        return None
    return role


def _create(call: Call) -> Answer:
    form = read(call, FIELDS)
    with call.write() as tx:
        reached = _scope(tx, call, form)
        role = _role(tx, form)
        reached, role = form.checked(reached), form.checked(role)
        uuid = actions.create(tx, call.actor, call.settings, reached, role, form.values)
        row: Any = invitations.by_uuid(tx, uuid)
        return Answer(201, wire.encode(wire.invitation(call, row, tx.now)))


def _details(call: Call, tx: Read) -> Answer:
    row = actions.find_for_invitee(tx, call.actor, call.settings, call.uuid("invitation"))
    return Answer(200, wire.encode(wire.invitation_details(call, row, tx.now)))


def _check(call: Call) -> Answer:
    with call.guarded(f"check address {call.address}", CODE_ADDRESS):
        try:
            with call.read() as tx:
                row = actions.find_open(tx, call.uuid("invitation"))
        except NotFound as refusal:
            if refusal.code == "invitation.closed":
                return Answer(404)
            raise
    locked = True if row.civil_number else UNSET
    return Answer(200, wire.encode(wire.InvitationCheck(row.email, locked)))


def _accept(call: Call) -> Answer:
    with _saying(wrong_state="invitation.unknown", exists="grant.held"), call.write() as tx:
        actions.accept(tx, call.actor, call.settings, call.uuid("invitation"))
    return _done("Invitation has been successfully accepted.")


def _cancel(call: Call) -> Answer:
    with _saying(wrong_state="invitation.not_cancelable"), call.write() as tx:
        actions.cancel(tx, call.actor, call.uuid("invitation"))
    return _done("Invitation has been successfully canceled.")


def _send(call: Call) -> Answer:
    with _saying(wrong_state="invitation.not_sendable"), call.write() as tx:
        actions.send(tx, call.actor, call.settings, call.uuid("invitation"))
    return _done("Invitation sending has been successfully scheduled.")


def _delete(call: Call) -> Answer:
    with call.write() as tx:
        actions.delete(tx, call.actor, call.uuid("invitation"))
    return _done("Invitation has been successfully deleted.")


def _done(text: str) -> Answer:
    return Answer(200, wire.encode(wire.Detail(text)))


_ONE: Final = "/api/user-invitations/{uuid}/"

ROUTES: Routes = {
    "/api/user-invitations/": {
        "GET": Operation(
            _list, "List the invitations that you can see.", answers=wire.Invitation, many=True
        ),
        "POST": Operation(
            _create,
            "Invite an address to a role.",
            form=FIELDS,
            answers=wire.Invitation,
            status=201,
        ),
    },
    _ONE: {
        "GET": Operation(_retrieve, "Show an invitation.", answers=wire.Invitation),
    },
    f"{_ONE}details/": {
        "GET": Operation(
            _details, "Show an invitation to its invitee.", answers=wire.InvitationDetails
        ),
    },
    f"{_ONE}check/": {
        "POST": Operation(
            _check,
            "Tell whether an invitation is pending, and to whom.",
            open=True,
            answers=wire.InvitationCheck,
        ),
    },
    f"{_ONE}accept/": {
        "POST": Operation(_accept, "Take the invited role.", answers=wire.Detail),
    },
    f"{_ONE}cancel/": {
        "POST": Operation(_cancel, "Call an invitation back.", answers=wire.Detail),
    },
    f"{_ONE}send/": {
        "POST": Operation(_send, "Mail an invitation again.", answers=wire.Detail),
    },
    f"{_ONE}delete/": {
        "POST": Operation(_delete, "Remove an invitation.", answers=wire.Detail),
    },
}
