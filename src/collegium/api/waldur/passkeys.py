"""Endpoints for passkeys: ``/api/passkeys/`` and ``/api/staff-passkeys/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from collegium.access.rules import Actor, require_staff
from collegium.accounts.queries import AccountWithPassword
from collegium.api import passkeys
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Given, Resource, ResourceList, Source, field
from collegium.api.waldur import lists, schemas
from collegium.api.waldur.fields import read
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.tables import passkeys as table
from collegium.refusals import or_not_found
from collegium.security.rate_limits.rules import PASSKEY
from collegium.sign_in.passkeys import actions as passkey_actions
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.passkeys import rules as passkey_rules
from collegium.sign_in.passkeys.queries import PasskeyRow
from collegium.sign_in.passkeys.rules import NAME_MAX, REASON_MAX, Purpose
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens.rules import check_not_delegated
from collegium.values import Kind, Name, Text, Uuid, invalid


@dataclass(frozen=True, kw_only=True)
class Credential(Kind):
    """The answer of a device, as an object or as its JSON text."""

    json_schema: ClassVar[Mapping[str, Any]] = {"type": "object", "additionalProperties": True}

    def parse(self, raw: Any) -> Any:
        """Return the object."""
        if isinstance(raw, str):
            try:
                raw = msgspec.json.decode(raw.encode())
            except (msgspec.MsgspecError, ValueError, RecursionError):
                raise invalid("json") from None
        if not isinstance(raw, dict):
            raise invalid("json")
        return raw


def _named_transports(transports: list[str]) -> dict[str, bool]:
    return dict.fromkeys(transports, True)


def _is_orphaned(context: RequestContext, rp_id: str) -> bool:
    party = passkey_rules.relying_party(context.settings.base_url, None, "")
    return party is None or party.id != rp_id


class PasskeyCredential(Resource, frozen=True):
    """A passkey."""

    uuid: str = field()
    name: str = field(write=Name(required=True, blank=False, max=NAME_MAX))
    aaguid: str = field()
    transports: dict[str, bool] = field("transports", get=_named_transports)
    attachment: str = field()
    rp_id: str = field()
    is_backup_eligible: bool = field()
    is_backed_up: bool = field()
    is_discoverable: bool = field()
    is_user_verified: bool = field()
    is_orphaned: bool = field(Source.CONTEXT, "rp_id", get=_is_orphaned)
    created: datetime = field("created_at", order=table.c.created_at)
    last_used_at: datetime | None = field()
    use_count: int = field()
    is_active: bool = field("revoked_at", get=lambda revoked_at: revoked_at is None)
    revoked_at: datetime | None = field()
    revoked_by_username: str = field("revoked_by_username", get=schemas.or_empty)
    revocation_reason: str = field()


class NewPasskey(PasskeyCredential, frozen=True):
    """A new passkey, with recovery codes if it is the first second factor of the account."""

    recovery_codes: list[str] | UnsetType = field(Given("recovery_codes", UNSET), default=UNSET)


class CeremonyOptions(Struct, frozen=True, gc=False):
    """A ceremony that was begun: what the device needs, in the JSON form of WebAuthn."""

    ceremony: str
    options: dict[str, Any]


LIST: Final = ResourceList(PasskeyCredential, passkey_queries.listing)
_NAME: Final = PasskeyCredential.body()
_REGISTER: Final = {
    "ceremony": Uuid(required=True),
    "name": _NAME["name"],
    "credential": Credential(required=True),
}
_ASSERT: Final = {"ceremony": Uuid(required=True), "credential": Credential(required=True)}
_BEGIN: Final = {"ceremony": Uuid(required=True)}
_REVOKE: Final = {"reason": Text(max=REASON_MAX)}
_STAFF_REVOKE: Final = {"reason": Text(required=True, blank=False, max=REASON_MAX)}


def _check_own(context: RequestContext) -> None:
    """Check that the caller may change the passkeys of the account: with its own API token only.

    Neither the token of a program nor staff in the name of somebody may: they could keep the
    account for themselves.

    Raises:
        Forbidden: ``token.delegated``.
    """
    # In the name of somebody else there is no token of their own.
    check_not_delegated(context.actor.token_kind)


def _respond(options: passkey_actions.Options, status: int = 200) -> Response:
    return Response(status, schemas.encode(CeremonyOptions(options.ceremony, options.options)))


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    values = lists.read(context, LIST) | {"account": context.actor.id}
    return lists.respond(context, tx, LIST, values)


def _get_own(tx: ReadTransaction, actor: Actor, uuid: str) -> PasskeyRow:
    return passkey_queries.get_shown(tx, actor.id, uuid)


def _begin_registration(context: RequestContext) -> Response:
    _check_own(context)
    return _respond(passkeys.begin_registration(context))


def _finish_registration(context: RequestContext) -> Response:
    _check_own(context)
    form = read(context, _REGISTER)
    form.check()
    values = form.values
    uuid, codes = passkeys.register(
        context, values["ceremony"], values["credential"], values["name"]
    )
    with context.read() as tx:
        row = passkey_queries.get_shown(tx, context.actor.id, uuid)
        return lists.detail(context, tx, NewPasskey, row, 201, recovery_codes=codes or UNSET)


def _begin_sign_in(context: RequestContext) -> Response:
    return _respond(passkeys.begin(context, passkey_actions.begin_sign_in))


def _finish_sign_in(context: RequestContext) -> Response:
    return _finish(context, Purpose.SIGN_IN)


def _begin_second_factor(context: RequestContext) -> Response:
    form = read(context, _BEGIN)
    form.check()
    party = passkeys.relying_party(context)
    with context.rate_limited(PASSKEY), context.read() as tx:
        begun = passkey_actions.get_ceremony(tx, form.values["ceremony"], Purpose.SECOND_FACTOR)
        options = passkey_actions.begun_options(tx, party, begun)
    return _respond(options)


def _finish_second_factor(context: RequestContext) -> Response:
    return _finish(context, Purpose.SECOND_FACTOR)


def _finish(context: RequestContext, purpose: Purpose) -> Response:
    form = read(context, _ASSERT)
    form.check()

    def log_in(tx: WriteTransaction, actor: Actor) -> str:
        return token_actions.log_in(
            tx,
            context.app.vault,
            context.settings,
            actor,
            "passkey",
            has_second_factor=True,
        )

    token = passkeys.complete(
        context, purpose, form.values["ceremony"], form.values["credential"], log_in
    )
    return Response(200, schemas.encode(schemas.Token(token)))


def _rename(context: RequestContext) -> Response:
    return _update(context, partial=False)


def _update(context: RequestContext, *, partial: bool = True) -> Response:
    uuid = context.uuid("passkey")
    with context.read() as tx:
        _get_own(tx, context.actor, uuid)
    _check_own(context)
    form = read(context, _NAME, partial=partial)
    form.check()
    with context.write() as tx:
        if "name" in form.values:
            passkey_actions.rename(tx, context.actor, uuid, form.values["name"])
        row = _get_own(tx, context.actor, uuid)
        return lists.detail(context, tx, PasskeyCredential, row)


def _revoke(context: RequestContext) -> Response:
    uuid = context.uuid("passkey")
    with context.read() as tx:
        _get_own(tx, context.actor, uuid)
    _check_own(context)
    form = read(context, _REVOKE)
    form.check()
    with context.write() as tx:
        passkey_actions.revoke(
            tx, context.actor, context.settings, uuid, form.values.get("reason", "")
        )
    return Response(204)


def _list_all(context: RequestContext, tx: ReadTransaction) -> Response:
    require_staff(context.actor)
    return lists.respond(context, tx, LIST)


def _revoke_any(context: RequestContext) -> Response:
    require_staff(context.actor)
    uuid = context.uuid("passkey")
    with context.read() as tx:
        passkey = or_not_found(passkey_queries.get(tx, uuid), "passkey.unknown")
    form = read(context, _STAFF_REVOKE)
    form.check()
    with context.write() as tx:
        passkey_actions.revoke_by_staff(
            tx, context.actor, passkey.account_id, uuid, form.values["reason"]
        )
    return Response(204)


def challenge(context: RequestContext, account: AccountWithPassword) -> Response | None:
    """Return the answer to a right password that needs a passkey too; None without passkeys.

    Args:
        account: the account, whose password was verified.
    """
    with context.read() as tx:
        if not passkey_queries.has_active(tx, account.id):
            return None
    party = passkeys.find_relying_party(context)
    if party is None:
        return None
    with context.write() as tx:
        begun = passkey_actions.begin_assertion(
            tx,
            Purpose.SECOND_FACTOR,
            account.id,
            party,
            credentials_version=account.credentials_version,
        )
    return Response(
        401,
        schemas.encode(
            {
                "detail": "The password is right. Please use your passkey too.",
                "passkey_required": True,
                "pending_passkey_ceremony": begun.ceremony,
            }
        ),
    )


ROUTES: Routes = {
    "/api/passkeys/": {"GET": lists.endpoint(LIST, "List your passkeys.", _list)},
    "/api/passkeys/registration/begin/": {
        "POST": Endpoint(
            _begin_registration, "Begin to add a passkey.", response_type=CeremonyOptions
        ),
    },
    "/api/passkeys/registration/finish/": {
        "POST": Endpoint(
            _finish_registration,
            "Add a passkey.",
            body=_REGISTER,
            response_type=NewPasskey,
            status=201,
        ),
    },
    "/api/passkeys/signin/begin/": {
        "POST": Endpoint(
            _begin_sign_in,
            "Begin to sign in with a passkey.",
            public=True,
            response_type=CeremonyOptions,
        ),
    },
    "/api/passkeys/signin/finish/": {
        "POST": Endpoint(
            _finish_sign_in,
            "Sign in with a passkey. Returns the token.",
            public=True,
            body=_ASSERT,
            response_type=schemas.Token,
        ),
    },
    "/api/passkeys/mfa/begin/": {
        "POST": Endpoint(
            _begin_second_factor,
            "Begin to use a passkey after the password.",
            public=True,
            body=_BEGIN,
            response_type=CeremonyOptions,
        ),
    },
    "/api/passkeys/mfa/finish/": {
        "POST": Endpoint(
            _finish_second_factor,
            "Sign in with a passkey after the password. Returns the token.",
            public=True,
            body=_ASSERT,
            response_type=schemas.Token,
        ),
    },
    "/api/passkeys/{uuid}/": {
        "GET": lists.retrieve(PasskeyCredential, _get_own, "passkey", "Show one of your passkeys."),
        "PUT": Endpoint(_rename, "Rename a passkey.", body=_NAME, response_type=PasskeyCredential),
        "PATCH": Endpoint(
            _update,
            "Rename a passkey.",
            body=_NAME,
            response_type=PasskeyCredential,
            partial=True,
        ),
    },
    "/api/passkeys/{uuid}/revoke/": {
        "POST": Endpoint(_revoke, "Revoke one of your passkeys.", body=_REVOKE, status=204),
    },
    "/api/staff-passkeys/": {
        "GET": lists.endpoint(LIST, "List the passkeys of all accounts.", _list_all)
    },
    "/api/staff-passkeys/{uuid}/revoke/": {
        "POST": Endpoint(
            _revoke_any, "Revoke a passkey of an account.", body=_STAFF_REVOKE, status=204
        ),
    },
}
