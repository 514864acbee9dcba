"""Secrets at rest."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError

from collegium.store import vault


def test_to_be_unknown_takes_as_long_as_to_err_in_the_password() -> None:
    known = vault.hash_password("a quiet harbour")
    assert extract_parameters(vault._NOBODY) == extract_parameters(known)
    # Well formed to the end: it is compared, not turned away at first sight.
    for stored in (vault._NOBODY, known):
        with pytest.raises(VerifyMismatchError):
            PasswordHasher().verify(stored, "another harbour")
    assert not vault.check_password(None, "a quiet harbour")
