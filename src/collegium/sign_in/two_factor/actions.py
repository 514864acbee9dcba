"""Actions of two-factor authentication: set up, check a code, turn off."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from pyotp import random_base32
from pyotp.totp import TOTP

from collegium.access.rules import Actor, require_staff
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountRow
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import mails
from collegium.refusals import Conflict, Invalid
from collegium.security.crypto import Vault
from collegium.settings import DEFAULTS, Settings
from collegium.sign_in import credentials, notices
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor import rules as two_factor_rules
from collegium.sign_in.two_factor.queries import TwoFactorRow


class Secret(NamedTuple):
    """The secret for an authenticator, shown only during setup.

    Args:
        text: for typing.
        link: the same as an ``otpauth:`` URL, for a QR code.
    """

    text: str
    link: str


def begin(tx: WriteTransaction, actor: Actor, vault: Vault) -> None:
    """Create a secret for an authenticator. Sign-in asks for no code until one confirms the secret.

    Only the same session can see and confirm the secret. Otherwise a thief who knows the password
    could leave a secret that the owner then turns on.

    Raises:
        Conflict: ``second_factor.exists``: two-factor authentication is on.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    credentials.confirm(tx, actor)
    two_factor_rules.check_off(is_on=two_factor_queries.has_authenticator(tx, actor.id))
    text = f"{random_base32()} {actor.token}"
    two_factor_queries.replace(tx, actor.id, vault.keyed_hash(text), vault.encrypt(text))


def unconfirmed(tx: ReadTransaction, actor: Actor, vault: Vault, site: str) -> Secret | None:
    """Return the unconfirmed secret to the session that created it.

    Return None to other sessions, and after the secret was confirmed.

    Args:
        site: the name under which an authenticator lists it.
    """
    row = two_factor_queries.of_account(tx, actor.id)
    if row is None or row.confirmed_at is not None:
        return None
    secret, session = _decrypt_secret(vault, row)
    if session != str(actor.token):
        return None
    link = TOTP(secret).provisioning_uri(name=actor.username, issuer_name=site)
    return Secret(secret, link)


def confirm(tx: WriteTransaction, actor: Actor, vault: Vault, code: str) -> list[str]:
    """Turn two-factor authentication on. Return the recovery codes, which cannot be shown again.

    All credentials that were obtained without it are revoked: sessions, the API token, access and
    refresh tokens, and tokens of programs, which a session with only a password could create. The
    session of this request stays.

    Raises:
        Conflict: ``second_factor.none``: there is no secret. ``second_factor.exists``: it is on
            already. ``second_factor.elsewhere``: another session created the secret.
        Invalid: ``second_factor.wrong``: the code is wrong.
        Unauthenticated: ``token.unknown``: the credentials of the request are no longer valid.
    """
    credentials.confirm(tx, actor)
    row = two_factor_queries.of_account(tx, actor.id)
    if row is None:
        raise Conflict("second_factor.none")
    two_factor_rules.check_off(is_on=row.confirmed_at is not None)
    if _decrypt_secret(vault, row)[1] != str(actor.token):
        raise Conflict("second_factor.elsewhere")
    _accept_code(tx, vault, row, two_factor_rules.plain(code))
    two_factor_queries.confirm(tx, actor.id)
    credentials.cancel_pending(tx, actor.id)
    token_queries.revoke_all_but(tx, actor.id, actor.token)
    token_queries.confirm(tx, actor.id, actor.token, has_second_factor=True)
    event_queries.record(tx, actor, events.SecondFactorEnabled(account=actor.id))
    account = account_queries.existing(tx, actor.id)
    notices.send_notice(tx, mails.SecondFactorEnabled, account, actor)
    return replace_codes(tx, vault, actor.id)


def check(tx: WriteTransaction, vault: Vault, actor: Actor, code: str) -> Invalid | None:
    """Use up a code of the authenticator or a recovery code. Return the refusal of a wrong code.

    A wrong code is counted in this transaction, so the caller must commit it before it raises the
    refusal; see ``api.sign_in.check_second_factor``. The owner is notified of the third wrong code
    in a row. After twenty only a recovery code is accepted.

    Raises:
        Conflict: ``second_factor.none``: two-factor authentication is off.
        Unauthenticated: ``login.failed``: the credentials of the request are no longer valid.
    """
    account = credentials.confirm(tx, actor, "login.failed")
    row = two_factor_queries.of_account(tx, actor.id)
    if row is not None and row.confirmed_at is None:
        row = None
    if row is None and not passkey_queries.has_active(tx, actor.id):
        raise Conflict("second_factor.none")
    code = two_factor_rules.plain(code)
    try:
        # With passkeys alone there is no authenticator, but there are recovery codes.
        if row is None or two_factor_rules.is_recovery(code):
            _use_recovery_code(tx, vault, actor, code)
        else:
            two_factor_rules.check_unlocked(row.wrong_codes)
            _accept_code(tx, vault, row, code)
    except Invalid as refusal:
        if (
            row is not None
            and refusal.code == "second_factor.wrong"
            and row.wrong_codes < two_factor_rules.LOCKED_AT
        ):
            _count_wrong(tx, actor, account)
        return refusal
    two_factor_queries.reset_wrong(tx, actor.id)
    return None


def _use_recovery_code(tx: WriteTransaction, vault: Vault, actor: Actor, code: str) -> None:
    if not two_factor_queries.use_code(tx, actor.id, _hash_code(vault, actor.id, code)):
        raise Invalid("second_factor.wrong", field="code")
    event_queries.record(tx, actor, events.SecondFactorRecovered(account=actor.id))


def _count_wrong(tx: WriteTransaction, actor: Actor, account: AccountRow) -> None:
    """Count a wrong code after a correct password.

    Notify the owner after three and after twenty.
    """
    count = two_factor_queries.count_wrong(tx, actor.id)
    if count not in {two_factor_rules.NOTIFY_AT, two_factor_rules.LOCKED_AT}:
        return
    is_locked = count == two_factor_rules.LOCKED_AT
    event = events.SecondFactorLocked if is_locked else events.SecondFactorFailed
    # It may not be the owner. So the event names no actor, as for a failed sign-in.
    event_queries.record(
        tx,
        None,
        event(
            account=actor.id,
            username=account.username,
            address=actor.ip_address or "",
            codes=count,
        ),
    )
    notices.send_notice(
        tx,
        mails.SecondFactorFailed,
        account,
        actor,
        codes=count,
        locked=count == two_factor_rules.LOCKED_AT,
    )


def renew_codes(tx: WriteTransaction, actor: Actor, vault: Vault) -> list[str]:
    """Replace the recovery codes.

    The caller must have checked a second factor. The earlier ones are invalid.
    """
    event_queries.record(tx, actor, events.RecoveryCodesRenewed(account=actor.id))
    return replace_codes(tx, vault, actor.id)


def are_codes(tx: ReadTransaction, actor: Actor, vault: Vault, codes: Iterable[str]) -> bool:
    """Return whether any of these recovery codes, issued earlier, is valid for the actor now."""
    code_hashes = {_hash_code(vault, actor.id, two_factor_rules.plain(code)) for code in codes}
    return not code_hashes.isdisjoint(two_factor_queries.code_hashes(tx, actor.id))


def remove(tx: WriteTransaction, actor: Actor, settings: Settings = DEFAULTS) -> None:
    """Remove the authenticator. The caller must have checked a code.

    Without passkeys, two-factor authentication is then off. Without a code, staff must do it with
    ``reset``.

    Raises:
        Conflict: ``second_factor.mandatory``: the operator requires it of this account.
    """
    if passkey_queries.has_active(tx, actor.id):
        two_factor_queries.remove_authenticator(tx, actor.id)
    else:
        two_factor_rules.check_optional(settings.two_factor_required, sees_all=actor.sees_all)
        two_factor_queries.remove(tx, actor.id)
        token_queries.forget_second_factor(tx, actor.id)
    credentials.cancel_pending(tx, actor.id)
    event_queries.record(tx, actor, events.SecondFactorDisabled(account=actor.id))
    account = account_queries.existing(tx, actor.id)
    notices.send_notice(tx, mails.SecondFactorDisabled, account, actor)


def reset(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Turn off two-factor authentication of a person who lost it, and notify them.

    Their authenticator, passkeys and recovery codes become invalid, and they are signed out
    everywhere: somebody else may have what they lost.

    Staff turn their own off with a code, as everybody does. Without one they need another member of
    staff.

    Raises:
        NotFound: ``account.unknown``: the account is hidden from the actor.
        Forbidden: ``permission.missing``: the actor is not staff.
        Conflict: ``second_factor.own``: it is the actor's own account. ``second_factor.none``: it
            is off.
    """
    account = account_queries.get_visible(tx, actor, uuid)
    require_staff(actor)
    if account.id == actor.id:
        raise Conflict("second_factor.own")
    account = account_queries.lock_account_and_recheck(tx, actor, account)
    if not two_factor_queries.is_on(tx, account.id):
        raise Conflict("second_factor.none")
    two_factor_queries.remove(tx, account.id)
    passkey_queries.revoke_all(tx, account.id, actor.id)
    credentials.revoke_everything(tx, account.id)
    event_queries.record(
        tx, actor, events.SecondFactorDisabled(account=account.id, username=account.username)
    )
    notices.send_notice(tx, mails.SecondFactorReset, account, actor)


def _accept_code(tx: WriteTransaction, vault: Vault, row: TwoFactorRow, code: str) -> None:
    """Use up the time step of a code.

    Raises:
        Invalid: ``second_factor.wrong``: the code is wrong or was used before.
    """
    authenticator = TOTP(_decrypt_secret(vault, row)[0])
    entered = code.encode()
    matching_step = None
    for step in two_factor_rules.steps(int(tx.now.timestamp())):
        if hmac.compare_digest(
            authenticator.at(step * two_factor_rules.STEP_SECONDS).encode(), entered
        ):
            matching_step = step
    two_factor_queries.use_step(
        tx, row.account_id, two_factor_rules.check_step(matching_step, row.last_step)
    )


def _decrypt_secret(vault: Vault, row: TwoFactorRow) -> tuple[str, str]:
    """Return a secret, and the id of the session that created it ("" in old rows)."""
    secret, _, session = vault.decrypt(row.secret_encrypted, row.secret_hash).partition(" ")
    return secret, session


def replace_codes(tx: WriteTransaction, vault: Vault, account: int) -> list[str]:
    """Replace the recovery codes of an account. Return the new ones."""
    codes = [secrets.token_hex(8) for _ in range(two_factor_rules.RECOVERY_CODES)]
    two_factor_queries.replace_codes(
        tx, account, [_hash_code(vault, account, code) for code in codes]
    )
    return two_factor_rules.format_codes(codes)


def _hash_code(vault: Vault, account: int, code: str) -> bytes:
    return vault.keyed_hash(f"recovery {account} {code}")
