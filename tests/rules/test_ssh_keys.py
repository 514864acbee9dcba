"""What an SSH public key is, and what is read off it; without a database."""

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
from collegium.ssh_keys.rules import LENGTH_MAX, NAME_MAX, parse

BODY: Final = "AAAAC3NzaC1lZDI1NTE5AAAAICeB+l/IE2p7oBozHnnWHqKU45R67r5r9CxLAAFZ5xmB"
LINE: Final = f"ssh-ed25519 {BODY}"
# As ssh-keygen -l -E writes them.
MD5: Final = "2e:39:dd:cf:99:c2:fb:40:a9:8b:0e:46:bb:93:59:37"
SHA256: Final = "SHA256:Jqj9pekVbKbD1iNjpv6E5EOzWURItwLgHw/hLpVRH7Q"
SHA512: Final = (
    "SHA512:7+T2ihMPGI/620/ASNnH+HRzOv7dBAOrmtg9wjklC/qX9IRKr+p7fo0SOhFCw5HIbnhcXo0/fUCMVlXJIPmXhw"
)


@pytest.mark.parametrize(
    ("line", "kept", "comment"),
    [
        (LINE, LINE, ""),
        (f"{LINE} ada@laptop", f"{LINE} ada@laptop", "ada@laptop"),
        (f"  {LINE} ada's  laptop \n", f"{LINE} ada's  laptop", "ada's  laptop"),
        (f"ssh-ed25519   {BODY}   spaced", f"ssh-ed25519   {BODY}   spaced", "spaced"),
        (
            f"ssh-ed25519\t{BODY}\tada's\tlaptop",
            f"ssh-ed25519\t{BODY}\tada's\tlaptop",
            "ada's laptop",
        ),
        (f"ssh-ed25519 \t {BODY} \t ada", f"ssh-ed25519 \t {BODY} \t ada", "ada"),
    ],
    ids=["bare", "comment", "around", "spaces", "tabs", "both"],
)
def test_a_key_is_kept_as_written_and_known_by_what_openssh_says_of_it(
    line: str, kept: str, comment: str
) -> None:
    key = parse(line)
    assert (key.text, key.kind, key.comment) == (kept, "ssh-ed25519", comment)
    assert (key.md5, key.sha256, key.sha512) == (MD5, SHA256, SHA512)


def test_a_key_that_was_understood_does_not_change() -> None:
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
        # A blank that is no white space to OpenSSH.
        f"ssh-ed25519\N{NO-BREAK SPACE}{BODY}",
        f"ssh-ed25519 \N{NO-BREAK SPACE}{BODY}",
        f"ssh-ed25519 X{BODY}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_what_is_no_key_is_refused(line: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(line)
    assert refused.value.code in {"key.invalid", "key.lines"}
    assert refused.value.facts == {"field": "public_key"}


@pytest.mark.parametrize(
    "line",
    [f"{LINE}\n{LINE}", f"{LINE}\rx", LINE.replace(" ", "\n"), f"{LINE}\N{LINE SEPARATOR}x"],
    ids=["two", "of_old", "broken", "separator"],
)
def test_a_key_is_one_line(line: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(line)
    assert refused.value.code == "key.lines"
    assert refused.value.facts == {"field": "public_key"}


def test_a_line_is_no_longer_than_it_may_be() -> None:
    line = f"{LINE} "
    longest = line + "x" * (2000 - len(line))
    assert parse(f" {longest}\n").text == longest
    with pytest.raises(Invalid) as refused:
        parse(f"{longest}x")
    assert refused.value.code == "key.invalid"
    assert refused.value.facts == {"field": "public_key"}
    assert (LENGTH_MAX, NAME_MAX) == (2000, 150)


def test_a_certificate_is_something_else() -> None:
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
    with pytest.raises(Invalid) as refused:
        parse(certificate.public_bytes().decode())
    assert refused.value.code == "key.invalid"
    assert refused.value.facts == {"field": "public_key"}


def test_a_kind_that_openssh_has_given_up_is_no_key() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        public = dsa.generate_private_key(1024).public_key()  # noqa: S505 - that is the point
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with pytest.raises(Invalid) as refused:
        parse(line)
    assert refused.value.code == "key.invalid"
