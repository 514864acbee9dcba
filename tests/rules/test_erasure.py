"""The audit log keeps what says nothing about the person, under a neutral name."""

from __future__ import annotations

import pytest

from collegium.accounts.erasure.rules import (
    KEPT_FIELDS,
    neutral_name,
    neutral_username,
    without_personal_data,
)
from collegium.accounts.rules import username_from


def test_neutral_names_say_only_the_id_of_the_account() -> None:
    assert neutral_name(7) == "Deleted account 7"
    assert neutral_username(7) == "~deleted-7"


def test_neutral_username_cannot_be_chosen() -> None:
    assert username_from(neutral_username(7)) != neutral_username(7)


@pytest.mark.parametrize("name", sorted(KEPT_FIELDS))
def test_impersonal_data_of_an_event_is_kept(name: str) -> None:
    assert without_personal_data({name: "value"}, 7) == {name: "value"}


def test_kept_data_is_exactly_what_was_decided() -> None:
    assert sorted(KEPT_FIELDS) == [
        *("agreement", "agreement_kind", "agreements", "because", "claims", "codes"),
        *("export_filters", "export_format", "fields"),
        *("former_organisation", "hook", "hook_kind", "impersonated_by", "impersonator"),
        *("import_rows", "import_uuid"),
        *("invitation", "issuer", "keeps_members", "key", "language", "mail", "mails", "method"),
        *("organisation", "permissions"),
        *("permissions_added", "permissions_removed", "provider", "reason", "request_uuid"),
        *("review", "role", "role_uuid", "roles", "rule", "scope_name", "until", "version"),
        "viewer",
    ]


@pytest.mark.parametrize("name", ["email", "full_name", "address", "anything", "Role", ""])
def test_personal_data_of_an_event_is_removed(name: str) -> None:
    assert without_personal_data({name: "Ada", "role": "PROJECT.MEMBER"}, 7) == {
        "role": "PROJECT.MEMBER"
    }


def test_username_becomes_neutral_and_appears_only_where_there_was_one() -> None:
    assert without_personal_data({"username": "ada"}, 7) == {"username": "~deleted-7"}
    assert without_personal_data({}, 7) == {}


def test_changed_fields_keep_their_names_and_lose_their_values() -> None:
    payload = {"changes": {"email": ["a@example.org", "b@example.org"], "first_name": ["", "Ada"]}}
    assert without_personal_data(payload, 7) == {
        "changes": {"email": [None, None], "first_name": [None, None]}
    }
    assert without_personal_data({"changes": "email"}, 7) == {}
