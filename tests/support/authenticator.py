"""A device that makes and uses passkeys, in Python (WebAuthn, section 6)."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

MODEL = UUID("01020304-0506-0708-090a-0b0c0d0e0f10")
PRESENT, VERIFIED, WITH_KEY = 0x01, 0x04, 0x40


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """A device with one passkey. Change a field to let it lie.

    Args:
        origin: of the page that asks.
        id: id of the passkey.
        verifies: whether it verifies the person.
        counts: what it adds to its counter at each use.
    """

    origin: str
    id: bytes = b"a passkey of a test"
    verifies: bool = True
    counts: int = 1
    rp_id: str = ""
    challenge: str = ""
    handle: bytes | None = b""
    count: int = 0

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Make the passkey; return the answer to the options of a registration."""
        assert {"type": "public-key", "alg": -7} in options["pubKeyCredParams"]
        self.handle = decode(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        key = {
            1: 2,
            3: -7,
            -1: 1,
            -2: numbers.x.to_bytes(32, "big"),
            -3: numbers.y.to_bytes(32, "big"),
        }
        attested = MODEL.bytes + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(key)
        data = self._data(options["rp"]["id"], WITH_KEY) + attested
        made = {"fmt": "none", "attStmt": {}, "authData": data}
        return self._answer(
            {
                "clientDataJSON": encode(self._client_data("webauthn.create", options)),
                "attestationObject": encode(cbor2.dumps(made)),
                "transports": ["internal"],
            }
        )

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """Use the passkey; return the answer to the options of a sign-in."""
        allowed = options["allowCredentials"]
        assert not allowed or encode(self.id) in {one["id"] for one in allowed}
        self.count += self.counts
        client_data = self._client_data("webauthn.get", options)
        data = self._data(options["rpId"])
        signed = data + hashlib.sha256(client_data).digest()
        response = {
            "clientDataJSON": encode(client_data),
            "authenticatorData": encode(data),
            "signature": encode(self.key.sign(signed, ec.ECDSA(SHA256()))),
        }
        if self.handle is not None:
            response["userHandle"] = encode(self.handle)
        return self._answer(response)

    def _data(self, rp_id: str, flags: int = 0) -> bytes:
        flags |= PRESENT | (VERIFIED if self.verifies else 0)
        rp_hash = hashlib.sha256((self.rp_id or rp_id).encode()).digest()
        return rp_hash + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client_data(self, kind: str, options: dict[str, Any]) -> bytes:
        challenge = self.challenge or options["challenge"]
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _answer(self, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": encode(self.id),
            "rawId": encode(self.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {"credProps": {"rk": True}},
            "response": response,
        }
