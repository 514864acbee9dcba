"""What an SSH public key is: one line of OpenSSH, and what can be read off it."""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from collegium.refusals import Conflict, Invalid

MIRRORED_MAX: Final = 100
"""Keys that a remote directory gives one account at most; more of them are passed over."""

NAME_MAX: Final = 150
LENGTH_MAX: Final = 2000


def check_key_quota(count: int, most: int) -> None:
    """Let an account have another key only while it has few enough.

    Refuses: Conflict ``key.too_many``.
    """
    if count >= most:
        raise Conflict("key.too_many", most=most)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that was understood.

    Args:
        text: the line as it was written.
        kind: its first word, ``ssh-ed25519``.
        comment: what follows the key itself, which many people use to name it.
        md5: fingerprint, 16 pairs of hex digits between colons.
        sha256: fingerprint as ``ssh-keygen`` writes it; the same key has the same one,
            whatever its comment.
        sha512: the same with the longer digest.
    """

    text: str
    kind: str
    comment: str
    md5: str
    sha256: str
    sha512: str


def parse(text: str) -> PublicKey:
    """Read a public key.

    DSA keys are none any more, to OpenSSH itself; certificates are something else.

    Refuses: Invalid ``key.lines`` when it has several lines, ``key.invalid`` when it is no key.
    """
    text = text.strip()
    if len(text.splitlines()) > 1:
        raise Invalid("key.lines", field="public_key")
    # ASCII white space parts the words of a key, and nothing else does.
    kind, _, rest = text.replace("\t", " ").partition(" ")
    body, _, comment = rest.lstrip(" ").partition(" ")
    try:
        blob = b64decode(body, validate=True)
        found = load_ssh_public_identity(f"{kind} {body}".encode())
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise Invalid("key.invalid", field="public_key") from error
    if isinstance(found, SSHCertificate) or len(text) > LENGTH_MAX:
        raise Invalid("key.invalid", field="public_key")
    return PublicKey(
        text=text,
        kind=kind,
        comment=comment.strip(),
        md5=hashlib.md5(blob, usedforsecurity=False).digest().hex(":"),
        sha256="SHA256:" + _unpadded(hashlib.sha256(blob).digest()),
        sha512="SHA512:" + _unpadded(hashlib.sha512(blob).digest()),
    )


def _unpadded(digest: bytes) -> str:
    return b64encode(digest).decode().rstrip("=")
