"""An OpenID provider of our own that is correct until it is told to give a wrong answer."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from collegium.sign_in.providers.values import DISCOVERY_PATH, Provider
from tests.support.remote import SECRET, Answering, Asked, Temper, says

CLIENT_ID: Final = "collegium"
CLIENT_SECRET: Final = f"client-{SECRET}-long-enough-for-hs256"

Key = RSAKey | ECKey | OKPKey


class _AnyAlgorithm(JWSRegistry):
    """Sign by whatever algorithm and with whatever header a test wants."""

    def check_header(self, header: Any) -> None:
        """Accept every header."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


def sign(claims: dict[str, Any], key: Key | OctKey | None, algorithm: str, **header: Any) -> str:
    """Return a signed token.

    Args:
        header: further header fields, without those that are None.
    """
    fields = {name: value for name, value in header.items() if value is not None}
    registry = _AnyAlgorithm(strict_check_header=False)
    body = json.dumps(claims)
    return jws.serialize_compact({"alg": algorithm, **fields}, body, key, registry=registry)


def _digest(text: str, size: int | None = None) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return urlsafe_b64encode(digest[:size]).rstrip(b"=").decode()


class HostileProvider(Answering):
    """A provider whose every answer can be replaced or changed.

    ``tempers`` maps a path (``/jwks``, ``/token``, ``/userinfo``, ``DISCOVERY_PATH``) to a handler
    of ``tests.support.remote`` that answers instead: ``hangs``, ``floods``, ``says(b"<html>")`` …

    Other attributes change the correct answer; a claim or a field that is None is left out:

    * ``person``: claims about the person who signs in, in both the ID token and userinfo.
    * ``id_token``, ``userinfo``, ``metadata``, ``response``, ``tokens``, ``header``: changes of the
      ID token's claims, of userinfo, of the metadata, of the parameters sent back to us (``iss``,
      ``state``, ``error``), of the response with the tokens, of the ID token's header.
    * ``algorithm`` and ``key``: how the ID token is signed; ``sign_with`` overrides the key.
    * ``published``: the keys at ``/jwks``, by id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tempers: dict[str, Temper] = {}
        self.person: dict[str, Any] = {
            "sub": "ada-0001",
            "email": "ada@example.org",
            "email_verified": True,
            "given_name": "Ada",
            "family_name": "Lovelace",
        }
        self.id_token: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.response: dict[str, Any] = {}
        self.tokens: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.algorithm = "ES256"
        self.key: Key = ECKey.generate_key("P-256")
        self.kid = "key-1"
        self.published: dict[str, Key] = {self.kid: self.key}
        self.sign_with: Key | OctKey | None = None
        self.sid = "session-1"
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._access_tokens: set[str] = set()

    @property
    def issuer(self) -> str:
        return self.base

    @property
    def discovery_url(self) -> str:
        return self.base + DISCOVERY_PATH

    @property
    def host(self) -> str:
        """``host:port``, for ``OUTGOING_INTERNAL_HOSTS``."""
        return urlsplit(self.base).netloc

    def provider(self, **changes: Any) -> Provider:
        """Return this provider as the client needs it."""
        values: dict[str, Any] = {
            "name": "hostile",
            "discovery_url": self.discovery_url,
            "issuer": self.issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "internal_hosts": (self.host,),
        }
        return Provider(**values | changes)

    def rotate(self, *, keep: bool = False) -> None:
        """Sign with a new key.

        Args:
            keep: whether the old key stays published.
        """
        self.kid, self.key = f"key-{secrets.token_hex(4)}", ECKey.generate_key("P-256")
        self.published = ({**self.published} if keep else {}) | {self.kid: self.key}

    def authorize(self, url: str) -> str:
        """Sign the person in, as their browser does at the authorization URL.

        Returns:
            The URL to which the browser is sent back.
        """
        asked = {name: one[0] for name, one in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{self.base}/authorize?")
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        given = {"code": code, "state": asked["state"], "iss": self.issuer} | self.response
        if given.get("error"):
            given["code"] = None
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return f"{asked['redirect_uri']}?{query}"

    def logout_token(
        self, *, algorithm: str = "", key: Key | OctKey | None = None, **changes: Any
    ) -> str:
        """Return a logout token; a claim that is None is left out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "sub": self.person["sub"],
            "sid": self.sid,
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        } | changes
        return sign(
            {name: value for name, value in claims.items() if value is not None},
            key or self.key,
            algorithm or self.algorithm,
            **{"kid": self.kid, "typ": "logout+jwt"} | self.header,
        )

    def answer(self, asked: Asked) -> None:
        path = urlsplit(asked.path).path.removeprefix(f"/{SECRET}")
        self.asked.append(path)
        routes: dict[str, Callable[[Asked], None]] = {
            DISCOVERY_PATH: self._send_metadata,
            "/jwks": self._send_keys,
            "/authorize": self._redirect,
            "/token": self._send_tokens,
            "/userinfo": self._send_userinfo,
            "/logout": lambda asked: asked.send(200, b"signed out"),
        }
        handler = self.tempers.get(path) or routes.get(path)
        handler(asked) if handler else asked.send(404, SECRET.encode())

    def _send_metadata(self, asked: Asked) -> None:
        self._send(
            asked,
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": f"{self.base}/token",
                "userinfo_endpoint": f"{self.base}/userinfo",
                "jwks_uri": f"{self.base}/jwks",
                "end_session_endpoint": f"{self.base}/logout",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "scopes_supported": ["openid", "profile", "email"],
                "claims_supported": ["sub", "email", "given_name", "family_name"],
                "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA", "HS256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                "backchannel_logout_supported": True,
                "backchannel_logout_session_supported": True,
            }
            | self.metadata,
        )

    def _send_keys(self, asked: Asked) -> None:
        keys = [
            {**key.as_dict(private=False), "kid": kid, "use": "sig"}
            for kid, key in self.published.items()
        ]
        says({"keys": keys})(asked)

    def _redirect(self, asked: Asked) -> None:
        asked.send(
            302, b"", Location=self.authorize(self.base + asked.path.removeprefix(f"/{SECRET}"))
        )

    def _send_tokens(self, asked: Asked) -> None:
        form = {name: one[0] for name, one in asked.form.items()}
        if not self._is_our_client(asked, form):
            says({"error": "invalid_client", "error_description": SECRET}, 401)(asked)
            return
        begun = self._codes.pop(form.get("code", ""), None)
        if (
            begun is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != begun["redirect_uri"]
            or _digest(form.get("code_verifier", "")) != begun["code_challenge"]
        ):
            says({"error": "invalid_grant", "error_description": SECRET}, 400)(asked)
            return
        access_token = f"access-{secrets.token_urlsafe(16)}-{SECRET}"
        self._access_tokens.add(access_token)
        id_token = self._id_token(begun["nonce"], access_token)
        tokens = {"token_type": "Bearer", "access_token": access_token, "id_token": id_token}
        self._send(asked, tokens | self.tokens)

    def _is_our_client(self, asked: Asked, form: dict[str, str]) -> bool:
        scheme, _, credentials = asked.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, password = b64decode(credentials).decode().partition(":")
            given = unquote_plus(name), unquote_plus(password)
        else:
            given = form.get("client_id", ""), form.get("client_secret", "")
        return given == (CLIENT_ID, CLIENT_SECRET)

    def _id_token(self, nonce: str, access_token: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "exp": now + 300,
            "iat": now,
            "auth_time": now,
            "nonce": nonce,
            "at_hash": _digest(access_token, 16),
            "sid": self.sid,
            **self.person,
        } | self.id_token
        return sign(
            {name: value for name, value in claims.items() if value is not None},
            self.sign_with or self.key,
            self.algorithm,
            **{"kid": self.kid, "typ": "JWT"} | self.header,
        )

    def _send_userinfo(self, asked: Asked) -> None:
        scheme, _, token = asked.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._access_tokens:
            asked.send(401, SECRET.encode())
        else:
            self._send(asked, self.person | self.userinfo)

    @staticmethod
    def _send(asked: Asked, value: dict[str, Any]) -> None:
        says({name: one for name, one in value.items() if one is not None})(asked)
