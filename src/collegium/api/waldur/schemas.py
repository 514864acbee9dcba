"""Small responses of this API that are no resources, and its names for kinds and states."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from collegium.access.rules import ScopeKind
from collegium.accounts.queries import AccountDetails
from collegium.invitations.rules import State
from collegium.refusals import NotFound

encode = msgspec.json.Encoder().encode

KINDS: Final = {ScopeKind.ORGANISATION: "customer", ScopeKind.PROJECT: "project"}
"""Our kinds of scope to their names in this API."""

STATES: Final = {state: ("project" if state is State.HELD else state.value) for state in State}
"""Our states of an invitation to their names in this API."""

LANGUAGES: Final = tuple("en et lt lv ru it de da sv es fr nb ar cs hr km".split())  # noqa: SIM905 - one line instead of sixteen


class InvitationCheck(Struct, frozen=True, gc=False):
    """The part of an invitation that is shown for its UUID before sign-in."""

    email: str
    civil_number_required: bool | UnsetType = UNSET


class DuplicateInvitation(Struct, frozen=True, gc=False):
    """A planned invitation that exists already.

    The UUID is null if an earlier item of the same list is the same.
    """

    email: str
    role: str
    existing_invitation_uuid: str | None


class ExistingRole(Struct, frozen=True, gc=False):
    """A role that an invited person has in the scope already."""

    email: str
    role: str
    existing_role: str
    existing_role_name: str
    existing_role_description: str
    is_same_role: bool


class DuplicateInvitations(Struct, frozen=True):
    """Which planned invitations exist already, and which roles their people have."""

    duplicates: list[DuplicateInvitation]
    existing_roles: list[ExistingRole]


class Detail(Struct, frozen=True, gc=False):
    """One sentence."""

    detail: str


class Status(Struct, frozen=True, gc=False):
    """The result of an action, in a few words."""

    status: str


class Token(Struct, frozen=True, gc=False):
    """A new token."""

    token: str


class UserToken(Struct, frozen=True, gc=False):
    """A token and its owner."""

    created: datetime
    user_first_name: str
    user_last_name: str
    user_username: str
    user_is_active: bool
    user_token_lifetime: int | None
    token: str


class Expiry(Struct, frozen=True, gc=False):
    """The end of a grant."""

    expiration_time: datetime | None


def or_empty(value: str | None) -> str:
    """Return a text, which is empty for None."""
    return value or ""


def user_token(row: AccountDetails, token: str) -> UserToken:
    """Return a token and its owner as this API shows them.

    Raises:
        NotFound: ``token.none``.
    """
    if row.token_last_used_at is None:
        raise NotFound("token.none")
    return UserToken(
        created=row.token_last_used_at,
        user_first_name=row.first_name,
        user_last_name=row.last_name,
        user_username=row.username,
        user_is_active=row.is_active,
        user_token_lifetime=row.token_lifetime,
        token=token,
    )
