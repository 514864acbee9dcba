"""What a password's hash costs; this process has made it cheap, so the module is loaded anew."""

from __future__ import annotations

import hashlib
import runpy
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY
from itsdangerous import URLSafeSerializer

from collegium.store import vault

PASSWORD = "a quiet harbour"


@pytest.fixture
def true() -> dict[str, Any]:
    return runpy.run_path(vault.__file__)


def test_a_hash_costs_what_is_recommended(true: dict[str, Any]) -> None:
    stored = true["hash_password"](PASSWORD)
    assert extract_parameters(stored) == RFC_9106_LOW_MEMORY
    assert true["check_password"](stored, PASSWORD)
    assert not true["check_password"](stored, "another harbour")


def test_to_be_unknown_takes_as_long_as_to_err_in_the_password(true: dict[str, Any]) -> None:
    nobody = true["_NOBODY"]
    assert extract_parameters(nobody) == RFC_9106_LOW_MEMORY
    # Well formed to the end: it is compared, not turned away at first sight.
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(nobody, PASSWORD)
    assert not true["check_password"](None, PASSWORD)


def test_a_link_is_signed_with_sha_256(true: dict[str, Any]) -> None:
    link = true["Vault"]("k" * 32).link("for this", "ada", 7)
    signature = link.rpartition(".")[2]
    assert len(urlsafe_b64decode(signature + "=")) == hashlib.sha256().digest_size
    assert true["Vault"]("k" * 32).follow("for this", link) == ["ada", 7]
    assert true["Vault"]("k" * 32).follow("for that", link) is None
    assert true["Vault"]("l" * 32).follow("for this", link) is None
    # What was signed in the library's own way is no link of ours.
    old = URLSafeSerializer(true["Vault"]("k" * 32)._sign, salt="for this").dumps(["ada", 7])
    assert true["Vault"]("k" * 32).follow("for this", old) is None
