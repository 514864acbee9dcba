"""What a password's hash costs; this process has made it cheap, so the module is loaded anew."""

from __future__ import annotations

import runpy
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from collegium.security import crypto

PASSWORD = "a quiet harbour"


@pytest.fixture
def true() -> dict[str, Any]:
    return runpy.run_path(crypto.__file__)


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


def test_a_link_can_be_read_by_us_alone_and_for_its_purpose_alone(true: dict[str, Any]) -> None:
    uuid = "0f" * 16
    vault = true["Vault"]("k" * 32)
    link = vault.sign("for this", "ada", uuid, 7)
    assert vault.unsign("for this", link) == ["ada", uuid, 7]
    # A mail that is sent twice says the same.
    assert vault.sign("for this", "ada", uuid, 7) == link
    read = urlsafe_b64decode(link + "=" * (-len(link) % 4))
    assert b"ada" not in read
    assert bytes.fromhex(uuid) not in read
    assert vault.unsign("for that", link) is None
    assert true["Vault"]("l" * 32).unsign("for this", link) is None


def test_a_link_has_one_spelling(true: dict[str, Any]) -> None:
    vault = true["Vault"]("k" * 32)
    link = vault.sign("for this", "ada", 7)
    other = "A" if link[-1] != "A" else "B"
    for wrong in ("", "a", link[:-1], link + "=", link + "\n", "!" + link, link[:-1] + other):
        assert vault.unsign("for this", wrong) is None
    assert vault.unsign("for this", "ä" + link) is None
    assert vault.unsign("for this", "A" * 100_000) is None
