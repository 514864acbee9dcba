"""Values of sign-ins at providers: with what somebody arrives, and who came back."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from collegium.access.rules import Actor

METHOD: Final = "identity provider"
"""How the audit log says that somebody signed in."""


class Arrival(NamedTuple):
    """With what somebody arrives: the invitation or invite link that led to the sign-in.

    Anybody can make an address that begins a sign-in and leads to an invitation. So only a pressed
    button accepts something.

    Args:
        invitation: UUID of an invitation.
        link_version: of the link to the invitation that was followed.
        is_mailed: whether that link was only mailed to the invited address, and so proves it.
        invite_link: UUID of an invite link.
        accepts: whether the person pressed a button that accepts it; if there is neither invitation
            nor invite link, the button that signs in.
        agreements: ids of the current texts that the page with the button has shown.
        agrees: whether it has shown every kind of text that is current.
    """

    invitation: str | None = None
    link_version: int = 0
    is_mailed: bool = False
    invite_link: str | None = None
    accepts: bool = False
    agreements: tuple[int, ...] = ()
    agrees: bool = False

    @property
    def names_offer(self) -> bool:
        """Whether there is an invitation or an invite link."""
        return self.invitation is not None or self.invite_link is not None


NOWHERE: Final = Arrival()


class CodeKind(StrEnum):
    """For what alone a one-time code can be used."""

    EXCHANGE = "exchange"
    """A front end gets a token for it."""
    SECOND_FACTOR = "second factor"
    """The browser gets a session for it, with a code of the second factor."""


class Origin(NamedTuple):
    """From where a token came.

    Args:
        identity: id of the identity.
        sid_hash: digest of the provider's name of its session; None if it names none.
        id_token_encrypted: the ID token, which the provider gets back at the sign-out.
        has_second_factor: whether this sign-in showed a second factor, there or here.
    """

    identity: int
    sid_hash: bytes | None
    id_token_encrypted: bytes | None
    has_second_factor: bool = False


class SignedIn(NamedTuple):
    """Who came back from a provider.

    Args:
        actor: the person, with the version of the credentials.
        identity: id of the identity.
        is_new: whether the account was created just now.
        has_second_factor: whether the provider has shown that it asked for a second factor.
        accepted: UUIDs of what gave a role: the invitations, or the invite link.
        asked: UUID of the invite link through which the person asked to join; empty if none.
        refused: code of the refusal of an invitation that could not be accepted; empty otherwise.
        unconfirmed: the address of a new account that an e-mail asks to confirm; empty if none.
        stated: what the provider states, if the profile waits for a code: ``profiles.to_text``.
    """

    actor: Actor
    identity: int
    is_new: bool = False
    has_second_factor: bool = False
    accepted: tuple[str, ...] = ()
    asked: str = ""
    refused: str = ""
    unconfirmed: str = ""
    stated: str = ""
