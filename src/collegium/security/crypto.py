"""What turns a secret into something that may rest in the database.

Keys are derived from ``SECRET_KEY``: one to look tokens up, one to seal the tokens that a
wire must give back, one to derive codes, one to encrypt the links in mails. Passwords need no
key: argon2id.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
import threading
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

_NONCE: Final = 12
_REFRESH: Final = "refresh token"
_HASHER: Final = PasswordHasher()


def _hash_of_nothing() -> str:
    """Give what costs as much to verify as a hash; a true one costs that at every start, too."""
    salt, found = (
        b64encode(secrets.token_bytes(length)).decode().rstrip("=")
        for length in (_HASHER.salt_len, _HASHER.hash_len)
    )
    cost = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${found}"


# Verified when the account is unknown, so that the answer takes as long as for a known one.
_NOBODY: Final = _hash_of_nothing()


class Vault:
    """Everything that is done with ``SECRET_KEY``."""

    def __init__(self, secret_key: str) -> None:
        self._lookup = _derive(secret_key, b"token look-up")
        self._seal = AESGCM(_derive(secret_key, b"token seal"))
        self._sign = _derive(secret_key, b"links")
        self._links = AESSIV(_derive(secret_key, b"encrypted links", 64))

    def new_token(self) -> str:
        """Make a token of 40 hex digits, as the Waldur wire has them."""
        return secrets.token_hex(20)

    def new_personal(self) -> str:
        """Make a token for a person's programs, which one recognises where it should not be."""
        return "clg_" + secrets.token_urlsafe(30)

    def new_refresh(self, account: int, family: str) -> str:
        """Make a refresh token that names its account and its family, signed.

        So a token that was spent is recognised without a row of it being kept.
        """
        return "clg_" + self.sign(_REFRESH, account, family, secrets.token_urlsafe(15))

    def family_of(self, token: str) -> tuple[int, str] | None:
        """Return the account and the family that a refresh token names, spent or not."""
        match self.unsign(_REFRESH, token.removeprefix("clg_")):
            case [int(account), str(family), str()]:
                return account, family
        return None

    def new_user_code(self) -> str:
        """Make a code that a person can type; without letters that are taken for others."""
        letters = "".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(4))
        return f"{letters}-{secrets.randbelow(10_000):04}"

    def digest(self, token: str) -> bytes:
        """Give the 32 bytes under which a token is found."""
        return hmac.digest(self._lookup, token.encode(), hashlib.sha256)

    def encrypt(self, token: str) -> bytes:
        """Encrypt a token; bound to its digest, so that rows cannot be exchanged."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._seal.encrypt(nonce, token.encode(), self.digest(token))

    def decrypt(self, sealed: bytes, digest: bytes) -> str:
        """Decrypt a token that the wire must give back."""
        return self._seal.decrypt(sealed[:_NONCE], sealed[_NONCE:], digest).decode()

    def derive_code(self, *facts: str | int) -> str:
        """Derive a code of 32 hex digits from facts: nobody can guess it, and it rests nowhere."""
        text = "\x1f".join(map(str, facts)).encode()
        return UUID(bytes=hmac.digest(self._sign, b"code\x1f" + text, "sha256")[:16], version=4).hex

    def sign(self, purpose: str, *facts: str | int) -> str:
        """Encrypt facts for a URL; a link for one purpose is worthless for another.

        The same facts give the same link (AES-SIV, RFC 5297), so that a mail that is sent twice
        says the same. Nothing of the facts can be read from it: no id of an account or an
        invitation leaves with a link that is dead by now.
        """
        plain = msgspec.msgpack.encode([_packed(fact) for fact in facts])
        sealed = self._links.encrypt(plain, [purpose.encode()])
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def unsign(self, purpose: str, link: str) -> list[str | int] | None:
        """Give the facts of a link, or None when it is not ours or not for this."""
        if len(link) > LINK_MAX or not link.isascii():
            return None
        try:
            sealed = urlsafe_b64decode(link + "=" * (-len(link) % 4))
            # One spelling a link: what the decoder passes over makes it another text.
            if urlsafe_b64encode(sealed).rstrip(b"=") != link.encode():
                return None
            plain = self._links.decrypt(sealed, [purpose.encode()])
        except (ValueError, InvalidTag):
            return None
        facts: list[Any] = msgspec.msgpack.decode(plain)
        return [fact.hex() if isinstance(fact, bytes) else fact for fact in facts]


LINK_MAX: Final = 4096
"""Characters of the longest text that is tried as a link; the longest of ours says a sentence."""

_UUID_HEX: Final = 32


def _packed(fact: str | int) -> str | int | bytes:
    """Write a UUID as its 16 bytes, which makes a link half as long."""
    if isinstance(fact, str) and len(fact) == _UUID_HEX:
        with suppress(ValueError):
            packed = bytes.fromhex(fact)
            if packed.hex() == fact:
                return packed
    return fact


def _derive(secret_key: str, purpose: bytes, length: int = 32) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=b"collegium " + purpose).derive(
        secret_key.encode()
    )


def _lower_priority() -> None:
    """Let this thread, and those that argon2 begins from it, work in the time that is left."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


_NICE: Final = 7
# Each takes 64 MiB and all the cores it gets: a hundred people who sign in at once would
# otherwise keep everybody else waiting.
_HASHING: Final = ThreadPoolExecutor(2, "argon2", _lower_priority)


def hash_password(password: str) -> str:
    """Hash a password with argon2id. Slow on purpose: never call it inside a transaction."""
    return _HASHING.submit(_HASHER.hash, normalized(password)).result()


def check_password(stored: str | None, password: str) -> bool:
    """Tell whether the password is right, in the same time when there is none to compare.

    A hash that an earlier release made of another spelling of the same letters counts.
    """
    return any(_matches(stored, one) for one in spellings(password))


def is_current(stored: str, password: str) -> bool:
    """Tell whether a right password need not be hashed once more: its hash is of today's form."""
    return len(spellings(password)) == 1 or _matches(stored, normalized(password))


def _matches(stored: str | None, password: str) -> bool:
    try:
        _HASHING.submit(_HASHER.verify, stored or _NOBODY, password).result()
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None
