"""For which addresses passkeys work, and who must be verified by the device."""

from __future__ import annotations

import pytest

from collegium.sign_in.passkeys.rules import (
    CEREMONY_SECONDS,
    NAME_MAX,
    PASSKEYS_MAX,
    REASON_MAX,
    Purpose,
    RelyingParty,
    needs_verification,
    relying_party,
)


@pytest.mark.parametrize(
    ("base_url", "homeport_url", "origins"),
    [
        ("https://Example.org:8443/x/", None, ["https://example.org:8443"]),
        (
            "https://example.org",
            "https://portal.example.org/",
            ["https://example.org", "https://portal.example.org"],
        ),
        ("http://localhost:8000", "", ["http://localhost:8000"]),
    ],
)
def test_passkeys_are_bound_to_the_domain(
    base_url: str, homeport_url: str | None, origins: list[str]
) -> None:
    party = relying_party(base_url, homeport_url, "Collegium")
    domain = origins[0].partition("://")[2].partition(":")[0]
    assert party == RelyingParty(domain, "Collegium", origins)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://[::1]/", "https:///x", ""])
def test_passkeys_need_a_domain(url: str) -> None:
    assert relying_party(url, None, "Collegium") is None


@pytest.mark.parametrize(
    ("purpose", "needed"),
    [("registration", False), ("sign_in", True), ("second_factor", False), ("confirm", False)],
)
def test_device_verifies_who_signs_in_with_nothing_else(purpose: str, *, needed: bool) -> None:
    assert needs_verification(purpose, is_user_verified=False) is needed
    # A passkey that has once verified its person always does.
    assert needs_verification(purpose, is_user_verified=True)


def test_names_of_purposes_are_stored() -> None:
    assert " ".join(Purpose) == "registration sign_in second_factor confirm"


def test_number_of_passkeys_is_limited() -> None:
    assert PASSKEYS_MAX == 20


def test_ceremony_ends_after_five_minutes_and_texts_have_a_maximum() -> None:
    assert (CEREMONY_SECONDS, NAME_MAX, REASON_MAX) == (300, 150, 500)
