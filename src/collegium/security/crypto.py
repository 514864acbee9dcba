"""Encryption, signing and hashing of secrets.

All keys are derived from ``SECRET_KEY``: one to look up tokens, one to encrypt tokens that an API
must show again, one to derive codes, and one to encrypt the links in e-mails. Passwords need no
key; they are hashed with argon2id.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from collegium.security.passwords import normalized, spellings
from collegium.threads import lower_priority

_NONCE_BYTES: Final = 12
_REFRESH: Final = "refresh token"
_HASHER: Final = PasswordHasher()


def _make_fake_hash() -> str:
    """Return a fake hash that costs as much to verify as a real one.

    Computing a real hash would cost that time at every start.
    """
    salt, digest = (
        b64encode(secrets.token_bytes(length)).decode().rstrip("=")
        for length in (_HASHER.salt_len, _HASHER.hash_len)
    )
    cost = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"


# Verified if the account is unknown, so that the response takes as long as for a known one.
_FAKE_HASH: Final = _make_fake_hash()


class Vault:
    """All operations that use ``SECRET_KEY``."""

    def __init__(self, secret_key: str) -> None:
        self._token_hmac = hmac.new(_derive(secret_key, b"token look-up"), digestmod=hashlib.sha256)
        self._token_cipher = AESGCM(_derive(secret_key, b"token seal"))
        self._code_key = _derive(secret_key, b"links")
        self._link_cipher = AESSIV(_derive(secret_key, b"encrypted links", 64))

    def new_token(self) -> str:
        """Return a new token of 40 hex digits, the format of the Waldur API."""
        return secrets.token_hex(20)

    def new_personal_token(self) -> str:
        """Return a new personal token. Its prefix makes leaked tokens recognisable."""
        return "clg_" + secrets.token_urlsafe(30)

    def new_refresh_token(self, account: int, family: str) -> str:
        """Return a new refresh token that contains its account and token family, signed.

        So a spent token is recognised although no row of it is kept.
        """
        return "clg_" + self.sign(_REFRESH, account, family, secrets.token_urlsafe(15))

    def family_of(self, token: str) -> tuple[int, str] | None:
        """Return the account and the token family of a refresh token, even if it is spent.

        Return None if the token was not issued by this service.
        """
        match self.unsign(_REFRESH, token.removeprefix("clg_")):
            case [int(account), str(family), str()]:
                return account, family
        return None

    def new_user_code(self) -> str:
        """Return a code that a person can type, without letters that are easily confused."""
        letters = "".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(4))
        return f"{letters}-{secrets.randbelow(10_000):04}"

    def keyed_hash(self, token: str) -> bytes:
        """Return the 32 bytes by which a token is looked up (HMAC-SHA-256)."""
        keyed = self._token_hmac.copy()
        keyed.update(token.encode())
        return keyed.digest()

    def encrypt(self, token: str, binding: bytes | None = None) -> bytes:
        """Encrypt a token, bound to its row, so that swapped rows are detected.

        Args:
            binding: the ``keyed_hash`` of what identifies the row; by default that of the token,
                for rows that contain it.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        bound_to = self.keyed_hash(token) if binding is None else binding
        return nonce + self._token_cipher.encrypt(nonce, token.encode(), bound_to)

    def decrypt(self, encrypted: bytes, binding: bytes) -> str:
        """Decrypt a token that must be shown or sent again; see ``encrypt``."""
        return self._token_cipher.decrypt(
            encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], binding
        ).decode()

    def derive_code(self, *values: str | int) -> str:
        """Derive an unguessable code of 32 hex digits from facts. It need not be stored."""
        text = "\x1f".join(map(str, values)).encode()
        return UUID(
            bytes=hmac.digest(self._code_key, b"code\x1f" + text, "sha256")[:16], version=4
        ).hex

    def sign(self, purpose: str, *values: str | int) -> str:
        """Encrypt facts for a URL. The result is valid for one purpose only.

        The same facts give the same text (AES-SIV, RFC 5297), so that an e-mail that is sent twice
        has the same link. The text reveals nothing about the facts, so that even an expired link
        contains no readable id of an account or an invitation.
        """
        plain = msgspec.msgpack.encode([_pack_uuid(value) for value in values])
        encrypted = self._link_cipher.encrypt(plain, [purpose.encode()])
        return urlsafe_b64encode(encrypted).rstrip(b"=").decode()

    def unsign(self, purpose: str, link: str) -> list[str | int] | None:
        """Return the facts of a link; None if it is invalid or was made for another purpose."""
        if len(link) > LINK_MAX or not link.isascii():
            return None
        try:
            encrypted = urlsafe_b64decode(link + "=" * (-len(link) % 4))
            # The decoder ignores some characters. Accept only the one canonical spelling of a link.
            if urlsafe_b64encode(encrypted).rstrip(b"=") != link.encode():
                return None
            plain = self._link_cipher.decrypt(encrypted, [purpose.encode()])
        except (ValueError, InvalidTag):
            return None
        values: list[Any] = msgspec.msgpack.decode(plain)
        return [value.hex() if isinstance(value, bytes) else value for value in values]


LINK_MAX: Final = 4096
"""Maximum length in characters of a text that is tried as a link.

The longest links contain a sentence.
"""

_UUID_HEX: Final = 32


def _pack_uuid(value: str | int) -> str | int | bytes:
    """Return a UUID as its 16 bytes, which halves the length of a link.

    Return other values unchanged.
    """
    if isinstance(value, str) and len(value) == _UUID_HEX:
        with suppress(ValueError):
            packed = bytes.fromhex(value)
            if packed.hex() == value:
                return packed
    return value


def _derive(secret_key: str, purpose: bytes, length: int = 32) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=b"collegium " + purpose).derive(
        secret_key.encode()
    )


# Each hash takes 64 MiB and all available cores. Without this limit a hundred concurrent sign-ins
# would block all other requests. argon2 starts threads of its own, which have the same priority.
_HASHER_POOL: Final = ThreadPoolExecutor(2, "argon2", lower_priority)


def hash_password(password: str) -> str:
    """Hash a password with argon2id.

    This is slow on purpose; never call it inside a transaction.
    """
    return _HASHER_POOL.submit(_HASHER.hash, normalized(password)).result()


def check_password(stored: str | None, password: str) -> bool:
    """Return whether a password is correct. Without a stored hash this takes the same time.

    A hash that an earlier release made of another Unicode form of the password also counts.
    """
    return any(_matches(stored, spelling) for spelling in spellings(password))


def is_current(stored: str, password: str) -> bool:
    """Return whether the hash of a correct password is of the current form and can be kept."""
    return len(spellings(password)) == 1 or _matches(stored, normalized(password))


def _matches(stored: str | None, password: str) -> bool:
    try:
        _HASHER_POOL.submit(_HASHER.verify, stored or _FAKE_HASH, password).result()
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None
