"""Parse SSH public keys in the one-line format of OpenSSH."""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from collegium.refusals import Invalid

SYNCED_MAX: Final = 100
"""Maximum number of keys from a remote directory per account. Further ones are ignored."""

NAME_MAX: Final = 150
LENGTH_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A parsed public key.

    Args:
        text: the line as it was written.
        kind: its first word, such as ``ssh-ed25519``.
        comment: the text after the key, which many people use as its name.
        md5: fingerprint, 16 pairs of hex digits between colons.
        sha256: fingerprint as ``ssh-keygen`` prints it. It does not depend on the comment.
        sha512: fingerprint with the longer digest.
    """

    text: str
    kind: str
    comment: str
    md5: str
    sha256: str
    sha512: str


def parse(text: str) -> PublicKey:
    """Parse a public key.

    DSA keys are refused, as OpenSSH itself no longer supports them. Certificates are refused too.

    Raises:
        Invalid: ``key.lines``: the text has several lines. ``key.invalid``: it is no public key, or
            too long.
    """
    text = text.strip()
    if len(text.splitlines()) > 1:
        raise Invalid("key.lines", field="public_key")
    # Only ASCII white space separates the words of a key.
    kind, _, rest = text.replace("\t", " ").partition(" ")
    body, _, comment = rest.lstrip(" ").partition(" ")
    try:
        blob = b64decode(body, validate=True)
        key = load_ssh_public_identity(f"{kind} {body}".encode())
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise Invalid("key.invalid", field="public_key") from error
    if isinstance(key, SSHCertificate) or len(text) > LENGTH_MAX:
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
