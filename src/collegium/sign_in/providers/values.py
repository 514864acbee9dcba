"""What an OpenID provider says, as checked values: its metadata, a person's claims, its refusals.

``integrations.openid`` makes them of responses. They stand here because actions use them too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"


class Problem(StrEnum):
    """Why a provider, or what it answered, cannot be used."""

    # The provider as a whole.
    UNREACHABLE = "unreachable"
    """No usable response: down, too slow, too large, a redirect, another status than 200."""
    UNREADABLE = "unreadable"
    """The response is not what the protocol describes, for example a page in HTML."""
    INSECURE = "insecure"
    """A URL is not https, or leads to an internal address."""
    WRONG_ISSUER = "wrong_issuer"
    """The issuer in the metadata, in the response or in a token is another one."""
    UNSUPPORTED = "unsupported"
    """The provider lacks the code flow, a usable signature or client authentication."""
    CLIENT_REFUSED = "client_refused"
    """The provider does not accept our client id and secret."""
    # One sign-in.
    CODE_REFUSED = "code_refused"
    """The provider does not accept the code: it is spent, expired or of somebody else."""
    WRONG_ALGORITHM = "wrong_algorithm"
    """The token is not signed, or by an algorithm that is not allowed."""
    UNKNOWN_KEY = "unknown_key"
    """The token is signed with a key that the provider does not publish."""
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_AUDIENCE = "wrong_audience"
    """The token was issued to another client."""
    EXPIRED = "expired"
    """The token has expired, or it will be issued in the future."""
    WRONG_NONCE = "wrong_nonce"
    """The token belongs to another sign-in."""
    WRONG_ACCESS_TOKEN = "wrong_access_token"  # noqa: S105 - a code, not a token
    """The ID token was issued with another access token."""
    NOT_RECENT = "not_recent"
    """The person signed in at the provider longer ago than was asked for."""
    WRONG_SUBJECT = "wrong_subject"
    """No subject, or userinfo describes somebody else."""
    WRONG_LOGOUT = "wrong_logout"
    """The token is no logout token."""


class ProviderError(Exception):
    """A provider cannot be used. The text is the problem, nothing that the provider answered.

    Args:
        problem: What is wrong; pages, the audit log and ``check`` have a sentence for it.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Provider:
    """What the client needs to know of a provider.

    Args:
        name: short name, for logs.
        issuer: the issuer that was stored when the provider was set up.
        client_secret: empty for a public client.
        internal_hosts: ``OUTGOING_INTERNAL_HOSTS``.
        verify_tls: whether its certificate must be valid (``verify_ssl`` of the Waldur API).
    """

    name: str
    discovery_url: str
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    internal_hosts: Collection[str] = ()
    verify_tls: bool = True


class Metadata(msgspec.Struct, frozen=True):
    """Metadata of a provider (OpenID Connect Discovery 1.0, section 3; RFC 8414).

    Every URL is https, or http on a loopback host that ``OUTGOING_INTERNAL_HOSTS`` names. Optional
    URLs are empty when they are missing.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    response_types_supported: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()
    claims_supported: tuple[str, ...] = ()
    acr_values_supported: tuple[str, ...] = ()
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    code_challenge_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False
    backchannel_logout_supported: bool = False
    backchannel_logout_session_supported: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """A person as a provider describes them, after every check.

    Args:
        subject: the provider's id of the person, 1 to 255 characters; unique together with issuer.
        claims: claims about the person, of the ID token and of userinfo, which has precedence.
            ``email_verified`` comes from where ``email`` comes from.
        acr: how the person was authenticated (authentication context class).
        amr: by which methods.
        authenticated_at: when the person signed in at the provider, if it says so.
        sid: the provider's name of its session; empty if it has none.
        id_token: the ID token itself, for the hint when the person signs out; keep it encrypted.
    """

    issuer: str
    subject: str
    claims: Mapping[str, Any]
    acr: str = ""
    amr: tuple[str, ...] = ()
    authenticated_at: datetime | None = None
    sid: str = ""
    id_token: str = field(default="", repr=False)

    @property
    def verified_email(self) -> str:
        """The e-mail address if the provider has verified it; else empty."""
        email = self.claims.get("email")
        # Some providers write the boolean as a string.
        verified = self.claims.get("email_verified")
        is_verified = verified is True or verified == "true"
        return email if isinstance(email, str) and is_verified else ""


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A provider's request to end sessions (OpenID Connect Back-Channel Logout 1.0).

    Args:
        subject: the person; empty if only a session is named.
        sid: the session; empty if all sessions of the person end.
        jti: its id, under which it is used once.
        expires_at: until then the id must be remembered.
    """

    issuer: str
    subject: str
    sid: str
    jti: str
    expires_at: datetime


def to_discovery_url(url: str) -> str:
    """Return the URL of the metadata of a provider, given that URL or the issuer's."""
    if url.endswith(DISCOVERY_PATH):
        return url
    return url.removesuffix("/") + DISCOVERY_PATH
