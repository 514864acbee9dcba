"""Actions on passkeys: begin and complete ceremonies, rename, revoke."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from typing import Any, Final, NamedTuple

from collegium.access.rules import Actor, require_staff
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountWithPassword
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import mails
from collegium.refusals import Conflict, Invalid, NotFound, check_quota
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in import credentials, notices
from collegium.sign_in.identities import linking
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.passkeys.queries import CeremonyRow, PasskeyRow
from collegium.sign_in.passkeys.rules import CEREMONY_SECONDS, PASSKEYS_MAX, Purpose, RelyingParty
from collegium.sign_in.passkeys.verification import Asserted, Registered
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor import rules as two_factor_rules

_CHALLENGE_BYTES: Final = 32
# EdDSA, ES256 and RS256, in this order (IANA, COSE algorithms).
_ALGORITHMS: Final = (-8, -7, -257)


class Options(NamedTuple):
    """A ceremony that was begun.

    Args:
        ceremony: its UUID, to be sent back with the answer of the device.
        options: what the device needs, as ``PublicKeyCredentialCreationOptionsJSON`` or
            ``PublicKeyCredentialRequestOptionsJSON`` of WebAuthn.
    """

    ceremony: str
    options: dict[str, Any]


def begin_registration(
    tx: WriteTransaction, actor: Actor, party: RelyingParty, *, browser_hash: bytes | None = None
) -> Options:
    """Begin to add a passkey to the actor's account.

    Args:
        browser_hash: digest of the cookie of the browser; None on the API.

    Raises:
        Conflict: ``passkey.too_many``.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    credentials.confirm(tx, actor)
    rows = passkey_queries.active(tx, actor.id)
    check_quota(len(rows), PASSKEYS_MAX, "passkey.too_many")
    challenge = secrets.token_bytes(_CHALLENGE_BYTES)
    uuid = passkey_queries.add_ceremony(
        tx, challenge, Purpose.REGISTRATION, actor.id, browser_hash=browser_hash
    )
    options = {
        "rp": {"id": party.id, "name": party.name},
        "user": {
            "id": _encoded(bytes.fromhex(actor.uuid)),
            "name": actor.username,
            "displayName": actor.name or actor.username,
        },
        "challenge": _encoded(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": each} for each in _ALGORITHMS],
        "timeout": CEREMONY_SECONDS * 1000,
        "excludeCredentials": _descriptors(rows),
        "authenticatorSelection": {
            "residentKey": "preferred",
            "requireResidentKey": False,
            "userVerification": "preferred",
        },
        "attestation": "none",
        "extensions": {"credProps": True},
    }
    return Options(uuid, options)


def begin_sign_in(
    tx: WriteTransaction, party: RelyingParty, *, browser_hash: bytes | None = None
) -> Options:
    """Begin a sign-in with nothing but a passkey. The device names the account.

    Args:
        browser_hash: digest of the cookie of the browser; None on the API.
    """
    challenge = secrets.token_bytes(_CHALLENGE_BYTES)
    uuid = passkey_queries.add_ceremony(
        tx, challenge, Purpose.SIGN_IN, None, browser_hash=browser_hash
    )
    return Options(uuid, _request(party, challenge, [], "required"))


def begin_assertion(
    tx: WriteTransaction,
    purpose: Purpose,
    account: int,
    party: RelyingParty,
    *,
    credentials_version: int | None = None,
    browser_hash: bytes | None = None,
) -> Options:
    """Begin to ask for a passkey of an account that is known already.

    Args:
        account: its id.
        credentials_version: that of the account when its password was verified.
        browser_hash: digest of the cookie of the browser; None on the API.
    """
    challenge = secrets.token_bytes(_CHALLENGE_BYTES)
    uuid = passkey_queries.add_ceremony(
        tx,
        challenge,
        purpose,
        account,
        browser_hash=browser_hash,
        credentials_version=credentials_version,
    )
    return Options(
        uuid, _request(party, challenge, passkey_queries.active(tx, account), "preferred")
    )


def begun_options(tx: ReadTransaction, party: RelyingParty, ceremony: CeremonyRow) -> Options:
    """Return the options of a ceremony for a known account that was begun before."""
    rows = passkey_queries.active(tx, ceremony.account_id or 0)
    return Options(ceremony.uuid, _request(party, ceremony.challenge, rows, "preferred"))


def get_ceremony(
    tx: ReadTransaction,
    uuid: str,
    purpose: Purpose,
    *,
    account: int | None = None,
    browser_hash: bytes | None = None,
) -> CeremonyRow:
    """Return a ceremony that can still be completed.

    Args:
        account: id of the account of the request; None if it is not known.
        browser_hash: digest of the cookie of the browser; None on the API.

    Raises:
        Invalid: ``passkey.ceremony``: it is unknown, used up or expired, or it was begun for
            something else, for another account or by another browser.
    """
    row = passkey_queries.ceremony(tx, uuid)
    if (
        row is None
        or row.expires_at <= tx.now
        or row.purpose != purpose
        or row.browser_hash != browser_hash
        or (account is not None and row.account_id != account)
    ):
        raise Invalid("passkey.ceremony")
    return row


def register(
    tx: WriteTransaction,
    vault: Vault,
    actor: Actor,
    ceremony: CeremonyRow,
    party: RelyingParty,
    registered: Registered,
    name: str,
) -> tuple[str, list[str]]:
    """Add a passkey. Return its UUID, and the recovery codes if it is the first second factor.

    With the first second factor a password alone is no longer enough. So all credentials that were
    obtained with it are revoked, except the session of this request.

    Args:
        ceremony: the ceremony, as it was read before this transaction.
        registered: the verified answer of the device.
        name: name by which the owner recognises the passkey.

    Raises:
        Invalid: ``passkey.ceremony``: the ceremony was used. ``passkey.invalid``: a passkey with
            this id exists.
        Conflict: ``passkey.too_many``.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    account = credentials.confirm(tx, actor)
    if not passkey_queries.take_ceremony(tx, ceremony.uuid):
        raise Invalid("passkey.ceremony")
    check_quota(passkey_queries.count(tx, actor.id), PASSKEYS_MAX, "passkey.too_many")
    is_first_factor = not two_factor_queries.is_on(tx, actor.id)
    uuid = passkey_queries.add(tx, actor.id, name, party.id, **registered._asdict())
    event_queries.record(
        tx, actor, events.PasskeyRegistered(account=actor.id, passkey=uuid, name=name)
    )
    notices.send_notice(tx, mails.PasskeyChanged, account, actor, name=name)
    if not is_first_factor:
        return uuid, []
    credentials.cancel_pending(tx, actor.id)
    token_queries.revoke_all_but(tx, actor.id, actor.token)
    token_queries.confirm(tx, actor.id, actor.token, has_second_factor=True)
    return uuid, two_factor_actions.replace_codes(tx, vault, actor.id)


def use(
    tx: WriteTransaction,
    actor: Actor,
    ceremony: CeremonyRow,
    passkey: PasskeyRow,
    asserted: Asserted,
) -> AccountWithPassword:
    """Use a ceremony and a passkey up, after the answer of the device was verified.

    Return the account, which is then locked. What the passkey is for follows in the same
    transaction.

    Args:
        actor: the account of the passkey.
        ceremony: the ceremony, as it was read before this transaction.
        passkey: the passkey, as it was read before this transaction.

    Raises:
        Invalid: ``passkey.ceremony``: the ceremony was used. ``passkey.invalid``: the passkey was
            revoked or used in the meantime.
        Unauthenticated: ``login.failed``: the credentials of the request are no longer valid.
    """
    account = credentials.confirm(tx, actor, "login.failed")
    if not passkey_queries.take_ceremony(tx, ceremony.uuid):
        raise Invalid("passkey.ceremony")
    if not passkey_queries.use(
        tx, passkey, asserted.sign_count, is_backed_up=asserted.is_backed_up
    ):
        raise Invalid("passkey.invalid")
    return account


def record_failure(tx: WriteTransaction, passkey: PasskeyRow, ip_address: str) -> None:
    """Record that the answer of a passkey was refused. It may be a copy.

    Args:
        ip_address: of the request.
    """
    event_queries.record(
        tx,
        None,
        events.PasskeyFailed(
            account=passkey.account_id, passkey=passkey.uuid, name=passkey.name, address=ip_address
        ),
    )


def rename(tx: WriteTransaction, actor: Actor, uuid: str, name: str) -> None:
    """Change the name of one of the actor's passkeys.

    Raises:
        NotFound: ``passkey.unknown``.
    """
    credentials.confirm(tx, actor)
    row = passkey_queries.get_own(tx, actor.id, uuid)
    if row.revoked_at is not None:
        raise NotFound("passkey.unknown")
    passkey_queries.rename(tx, row.id, name)
    event_queries.record(
        tx, actor, events.PasskeyRenamed(account=actor.id, passkey=row.uuid, name=name)
    )


def renew_codes(tx: WriteTransaction, vault: Vault, actor: Actor) -> list[str]:
    """Replace the recovery codes of an account with passkeys. Return the new ones.

    The person must have confirmed with a second factor a moment ago.

    Raises:
        Conflict: ``second_factor.none``: the account has no passkey.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    credentials.confirm(tx, actor)
    if not passkey_queries.has_active(tx, actor.id):
        raise Conflict("second_factor.none")
    return two_factor_actions.renew_codes(tx, actor, vault)


def revoke(
    tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str, reason: str = ""
) -> None:
    """Revoke one of the actor's passkeys.

    Raises:
        NotFound: ``passkey.unknown``: there is no such active passkey.
        Conflict: ``passkey.last_way_in``: the account has no other way to sign in.
            ``second_factor.mandatory``: it is the only second factor, and the operator requires
            one.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    account = credentials.confirm(tx, actor)
    row = passkey_queries.get_own(tx, actor.id, uuid)
    if not passkey_queries.revoke(tx, row.id, actor.id, reason):
        raise NotFound("passkey.unknown")
    if not linking.ways_to_sign_in(tx, actor.id, settings):
        raise Conflict("passkey.last_way_in")
    if not two_factor_queries.is_on(tx, actor.id):
        two_factor_rules.check_optional(settings.two_factor_required, sees_all=actor.sees_all)
    _forget_if_last(tx, actor.id)
    credentials.cancel_pending(tx, actor.id)
    event_queries.record(
        tx, actor, events.PasskeyRevoked(account=actor.id, passkey=row.uuid, name=row.name)
    )
    notices.send_notice(tx, mails.PasskeyChanged, account, actor, name=row.name, removed=True)


def revoke_by_staff(
    tx: WriteTransaction, actor: Actor, account_id: int, uuid: str, reason: str
) -> None:
    """Revoke a passkey of any account. Sign another account out everywhere.

    The device may be in the hands of somebody who is signed in with it. Staff who revoke their own
    stay signed in, as with ``revoke``.

    Raises:
        Forbidden: ``permission.missing``: the actor is not staff.
        NotFound: ``passkey.unknown``: there is no such active passkey.
    """
    require_staff(actor)
    account = account_queries.existing(tx, account_id)
    account = account_queries.lock_account_and_recheck(tx, actor, account)
    row = passkey_queries.get_own(tx, account.id, uuid)
    if not passkey_queries.revoke(tx, row.id, actor.id, reason):
        raise NotFound("passkey.unknown")
    _forget_if_last(tx, account.id)
    if account.id == actor.id:
        credentials.cancel_pending(tx, account.id)
    else:
        credentials.revoke_everything(tx, account.id)
    event_queries.record(
        tx, actor, events.PasskeyRevokedByStaff(account=account.id, passkey=row.uuid, name=row.name)
    )
    notices.send_notice(tx, mails.PasskeyChanged, account, actor, name=row.name, removed=True)


def _forget_if_last(tx: WriteTransaction, account: int) -> None:
    """Remove the recovery codes, and the word of a second factor, if none is left."""
    if not two_factor_queries.is_on(tx, account):
        two_factor_queries.remove(tx, account)
        token_queries.forget_second_factor(tx, account)


def _request(
    party: RelyingParty, challenge: bytes, rows: list[PasskeyRow], verification: str
) -> dict[str, Any]:
    return {
        "challenge": _encoded(challenge),
        "timeout": CEREMONY_SECONDS * 1000,
        "rpId": party.id,
        "allowCredentials": _descriptors(rows),
        "userVerification": verification,
    }


def _descriptors(rows: list[PasskeyRow]) -> list[dict[str, Any]]:
    return [
        {
            "type": "public-key",
            "id": _encoded(row.credential_id),
            "transports": row.transports,
        }
        for row in rows
    ]


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
