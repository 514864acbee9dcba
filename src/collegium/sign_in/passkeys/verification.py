"""Verify what devices answer (WebAuthn, sections 7.1 and 7.2).

The library is imported when the first answer arrives, because most processes never need it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from collegium.refusals import Invalid
from collegium.sign_in.passkeys.rules import RelyingParty

_TRANSPORTS: Final = frozenset({"usb", "nfc", "ble", "internal", "hybrid", "smart-card", "cable"})
_ATTACHMENTS: Final = frozenset({"platform", "cross-platform"})
_CREDENTIAL_MAX: Final = 16 * 1024
"""Maximum length of an answer in characters. Attestations have a few kilobytes."""

_ID_MAX: Final = 1023
"""Maximum length of the id of a passkey in bytes (WebAuthn, section 7.1, step 25)."""

_Verified = TypeVar("_Verified")


class Registered(NamedTuple):
    """A verified registration."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    aaguid: str
    transports: list[str]
    attachment: str
    is_backup_eligible: bool
    is_backed_up: bool
    is_discoverable: bool
    is_user_verified: bool


class Asserted(NamedTuple):
    """A verified assertion."""

    sign_count: int
    is_backed_up: bool


def parse(text: str) -> dict[str, Any]:
    """Return a device's answer that was sent as JSON text.

    Raises:
        Invalid: ``passkey.invalid``.
    """
    try:
        if len(text) <= _CREDENTIAL_MAX:
            return msgspec.json.decode(text.encode(), type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    raise Invalid("passkey.invalid")


def credential_id(credential: dict[str, Any]) -> bytes:
    """Return the id of the passkey that answered.

    Raises:
        Invalid: ``passkey.invalid``.
    """
    return _decoded(credential.get("rawId"))


def user_handle(credential: dict[str, Any]) -> bytes | None:
    """Return the bytes that name the account to the device; None if it did not send them.

    Raises:
        Invalid: ``passkey.invalid``.
    """
    response = credential.get("response")
    handle = response.get("userHandle") if isinstance(response, dict) else None
    return _decoded(handle) if handle else None


def verify_registration(
    party: RelyingParty, challenge: bytes, credential: dict[str, Any]
) -> Registered:
    """Verify the answer of a device that has made a passkey.

    Raises:
        Invalid: ``passkey.invalid``.
    """
    from webauthn import verify_registration_response  # noqa: PLC0415 - see above

    verified = _verify(verify_registration_response, party, challenge, credential)
    if len(verified.credential_id) > _ID_MAX:
        raise Invalid("passkey.invalid")
    transports = credential.get("response", {}).get("transports")
    attachment = credential.get("authenticatorAttachment")
    return Registered(
        credential_id=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        aaguid=verified.aaguid,
        transports=[one for one in _TRANSPORTS if one in transports]
        if isinstance(transports, list)
        else [],
        attachment=attachment if attachment in _ATTACHMENTS else "",
        is_backup_eligible=verified.credential_device_type == "multi_device",
        is_backed_up=verified.credential_backed_up,
        is_discoverable=_is_discoverable(credential),
        is_user_verified=verified.user_verified,
    )


def verify_assertion(
    party: RelyingParty,
    challenge: bytes,
    credential: dict[str, Any],
    *,
    public_key: bytes,
    sign_count: int,
    needs_verification: bool,
) -> Asserted:
    """Verify the answer of a device that has used a passkey.

    Args:
        sign_count: how often the device said at the last use that it was used. If it does not count
            up, there is a copy of the passkey.
        needs_verification: whether the device must have verified the person.

    Raises:
        Invalid: ``passkey.invalid``.
    """
    from webauthn import verify_authentication_response  # noqa: PLC0415 - see above

    verified = _verify(
        verify_authentication_response,
        party,
        challenge,
        credential,
        credential_public_key=public_key,
        credential_current_sign_count=sign_count,
        require_user_verification=needs_verification,
    )
    return Asserted(verified.new_sign_count, verified.credential_backed_up)


def _verify(
    verify: Callable[..., _Verified],
    party: RelyingParty,
    challenge: bytes,
    credential: dict[str, Any],
    **expected: Any,
) -> _Verified:
    """Return what a function of the library makes of an answer."""
    try:
        return verify(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origins,
            **expected,
        )
    except Exception as error:
        # The parsers of the library raise exceptions of many kinds on hostile input.
        raise Invalid("passkey.invalid") from error


def _is_discoverable(credential: dict[str, Any]) -> bool:
    results = credential.get("clientExtensionResults")
    properties = results.get("credProps") if isinstance(results, dict) else None
    return isinstance(properties, dict) and properties.get("rk") is True


def _decoded(text: Any) -> bytes:
    from webauthn import base64url_to_bytes  # noqa: PLC0415 - see above

    try:
        return bytes(base64url_to_bytes(text))
    except (TypeError, ValueError, AttributeError) as error:
        raise Invalid("passkey.invalid") from error
