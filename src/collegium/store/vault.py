"""What turns a secret into something that may rest in the database.

Three keys are derived from ``SECRET_KEY``: one to look tokens up, one to seal the tokens that a
wire must give back, one to sign the links in mails. Passwords need no key: argon2id.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadSignature, URLSafeSerializer

_NONCE: Final = 12
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

    def new_token(self) -> str:
        """Make a token of 40 hex digits, as the Waldur wire has them."""
        return secrets.token_hex(20)

    def new_personal(self) -> str:
        """Make a token for a person's programs, which one recognises where it should not be."""
        return "clg_" + secrets.token_urlsafe(30)

    def new_user_code(self) -> str:
        """Make a code that a person can type; without letters that are taken for others."""
        letters = "".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(4))
        return f"{letters}-{secrets.randbelow(10_000):04}"

    def digest(self, token: str) -> bytes:
        """Give the 32 bytes under which a token is found."""
        return hmac.digest(self._lookup, token.encode(), hashlib.sha256)

    def seal(self, token: str) -> bytes:
        """Encrypt a token; bound to its digest, so that rows cannot be exchanged."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._seal.encrypt(nonce, token.encode(), self.digest(token))

    def unseal(self, sealed: bytes, digest: bytes) -> str:
        """Decrypt a token that the wire must give back."""
        return self._seal.decrypt(sealed[:_NONCE], sealed[_NONCE:], digest).decode()

    def code(self, *facts: str | int) -> str:
        """Derive a code of 32 hex digits from facts: nobody can guess it, and it rests nowhere."""
        text = "\x1f".join(map(str, facts)).encode()
        return UUID(bytes=hmac.digest(self._sign, b"code\x1f" + text, "sha256")[:16], version=4).hex

    def link(self, purpose: str, *facts: str | int) -> str:
        """Sign facts for a URL; what is signed for one purpose is worthless for another."""
        return str(self._signer(purpose).dumps(list(facts)))

    def follow(self, purpose: str, link: str) -> list[str | int] | None:
        """Give the facts of a signed link, or None when it is not ours or not for this."""
        try:
            facts = self._signer(purpose).loads(link)
        except (BadSignature, UnicodeError):
            return None
        return facts if isinstance(facts, list) else None

    def _signer(self, purpose: str) -> URLSafeSerializer:
        # By itself the library signs with SHA-1: good enough for that, and told to go all the same.
        kinds = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        return URLSafeSerializer(self._sign, salt=purpose, signer_kwargs=kinds)


def _derive(secret_key: str, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"collegium " + purpose).derive(secret_key.encode())


def _step_back() -> None:
    """Let this thread, and those that argon2 begins from it, work in the time that is left."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


_NICE: Final = 7
# Each takes 64 MiB and all the cores it gets: a hundred people who sign in at once would
# otherwise keep everybody else waiting.
_HASHING: Final = ThreadPoolExecutor(2, "argon2", _step_back)


def hash_password(password: str) -> str:
    """Hash a password with argon2id. Slow on purpose: never call it inside a transaction."""
    return _HASHING.submit(_HASHER.hash, password).result()


def check_password(stored: str | None, password: str) -> bool:
    """Tell whether the password is right, in the same time when there is none to compare."""
    try:
        _HASHING.submit(_HASHER.verify, stored or _NOBODY, password).result()
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None
