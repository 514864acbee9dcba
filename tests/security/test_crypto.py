"""Signed links, and the cost of password hashes: loaded anew, since tests use cheap hashes."""

from __future__ import annotations

import runpy
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from collegium.security import crypto
from collegium.security.crypto import Vault

PASSWORD = "a quiet harbour"


@pytest.fixture
def module() -> dict[str, Any]:
    return runpy.run_path(crypto.__file__)


@pytest.mark.slow
def test_password_hash_has_the_recommended_cost(module: dict[str, Any]) -> None:
    stored = module["hash_password"](PASSWORD)
    assert extract_parameters(stored) == RFC_9106_LOW_MEMORY
    assert module["check_password"](stored, PASSWORD)
    assert not module["check_password"](stored, "another harbour")


@pytest.mark.slow
def test_unknown_account_takes_as_long_as_a_wrong_password(module: dict[str, Any]) -> None:
    stored = module["_FAKE_HASH"]
    assert extract_parameters(stored) == RFC_9106_LOW_MEMORY
    # The hash is well formed, so it is really compared.
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(stored, PASSWORD)
    assert not module["check_password"](None, PASSWORD)


def test_signed_link_is_encrypted_and_bound_to_its_purpose() -> None:
    uuid = "0f" * 16
    vault = Vault("k" * 32)
    link = vault.sign("for this", "ada", uuid, 7)
    assert vault.unsign("for this", link) == ["ada", uuid, 7]
    assert vault.sign("for this", "ada", uuid, 7) == link  # an e-mail sent again is the same
    decoded = urlsafe_b64decode(link + "=" * (-len(link) % 4))
    assert b"ada" not in decoded
    assert bytes.fromhex(uuid) not in decoded
    assert vault.unsign("for that", link) is None
    assert Vault("l" * 32).unsign("for this", link) is None


def test_signed_link_has_exactly_one_spelling() -> None:
    vault = Vault("k" * 32)
    link = vault.sign("for this", "ada", 7)
    last = "A" if link[-1] != "A" else "B"
    for wrong in ("", "a", link[:-1], link + "=", link + "\n", "!" + link, link[:-1] + last):
        assert vault.unsign("for this", wrong) is None
    assert vault.unsign("for this", "ä" + link) is None
    assert vault.unsign("for this", "A" * 100_000) is None
