"""Parsing of SSH public keys."""

from __future__ import annotations

import warnings
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
)

from collegium.refusals import Invalid
from collegium.ssh_keys.rules import LENGTH_MAX, NAME_MAX, SYNCED_MAX, parse
from tests.rules.refusing import refused

BODY: Final = "AAAAC3NzaC1lZDI1NTE5AAAAICeB+l/IE2p7oBozHnnWHqKU45R67r5r9CxLAAFZ5xmB"
LINE: Final = f"ssh-ed25519 {BODY}"
# As printed by `ssh-keygen -l -E`.
MD5: Final = "2e:39:dd:cf:99:c2:fb:40:a9:8b:0e:46:bb:93:59:37"
SHA256: Final = "SHA256:Jqj9pekVbKbD1iNjpv6E5EOzWURItwLgHw/hLpVRH7Q"
SHA512: Final = (
    "SHA512:7+T2ihMPGI/620/ASNnH+HRzOv7dBAOrmtg9wjklC/qX9IRKr+p7fo0SOhFCw5HIbnhcXo0/fUCMVlXJIPmXhw"
)


@pytest.mark.parametrize(
    ("line", "comment"),
    [
        (LINE, ""),
        (f"{LINE} ada@laptop", "ada@laptop"),
        (f"  {LINE} ada's  laptop \n", "ada's  laptop"),
        (f"ssh-ed25519   {BODY}   spaced", "spaced"),
        (f"ssh-ed25519\t{BODY}\tada's\tlaptop", "ada's laptop"),
        (f"ssh-ed25519 \t {BODY} \t ada", "ada"),
    ],
)
def test_key_is_kept_as_written_with_the_fingerprints_of_openssh(line: str, comment: str) -> None:
    key = parse(line)
    assert (key.text, key.kind, key.comment) == (line.strip(), "ssh-ed25519", comment)
    assert (key.md5, key.sha256, key.sha512) == (MD5, SHA256, SHA512)


def test_key_is_immutable() -> None:
    key, name = parse(LINE), "sha256"
    with pytest.raises(AttributeError):
        setattr(key, name, "")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no key at all",
        BODY,
        f"{BODY} ssh-ed25519",
        f"ssh-rsa {BODY}",
        f"ssh-best {BODY}",
        f"SSH-ED25519 {BODY}",
        f"no-pty {LINE}",
        f"ssh-ed25519 {BODY[:-8]}",
        f"ssh-ed25519 {BODY[:-1]}",
        f"ssh-ed25519 {BODY[:9]}!!{BODY[9:]}",
        f"ssh-ed25519 Ä{BODY[1:]}",
        # Not white space to OpenSSH.
        f"ssh-ed25519\N{NO-BREAK SPACE}{BODY}",
        f"ssh-ed25519 \N{NO-BREAK SPACE}{BODY}",
        f"ssh-ed25519 X{BODY}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_invalid_key_is_refused(line: str) -> None:
    with refused(Invalid, "key.invalid", {"field": "public_key"}):
        parse(line)


@pytest.mark.parametrize(
    "line",
    [f"{LINE}\n{LINE}", f"{LINE}\rx", LINE.replace(" ", "\n"), f"{LINE}\N{LINE SEPARATOR}x"],
)
def test_key_must_be_one_line(line: str) -> None:
    with refused(Invalid, "key.lines", {"field": "public_key"}):
        parse(line)


def test_key_has_a_maximum_length() -> None:
    line = f"{LINE} "
    longest = line + "x" * (2000 - len(line))
    assert parse(f" {longest}\n").text == longest
    with refused(Invalid, "key.invalid", {"field": "public_key"}):
        parse(f"{longest}x")
    assert (LENGTH_MAX, NAME_MAX) == (2000, 150)


def test_certificate_is_refused() -> None:
    authority = Ed25519PrivateKey.generate()
    certificate = (
        SSHCertificateBuilder()
        .public_key(Ed25519PrivateKey.generate().public_key())
        .type(SSHCertificateType.USER)
        .valid_principals([b"ada"])
        .valid_after(0)
        .valid_before(2**40)
        .sign(authority)
    )
    with refused(Invalid, "key.invalid", {"field": "public_key"}):
        parse(certificate.public_bytes().decode())


def test_dsa_key_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        public = dsa.generate_private_key(1024).public_key()  # noqa: S505 - weak on purpose
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with refused(Invalid, "key.invalid"):
        parse(line)


def test_number_of_synced_keys_is_limited() -> None:
    assert SYNCED_MAX == 100
