"""Where a front end gets the result of a sign-in at a provider."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from collegium.settings import Settings


def completed(settings: Settings, provider: str, return_to: str, facts: dict[str, str]) -> str:
    """Return the address of a front end to which somebody returns who has signed in.

    Args:
        provider: name of the provider.
        return_to: the address that the front end has named.
        facts: parameters: the code or the token.
    """
    if _is_homeport(settings, return_to):
        return f"{return_to.rstrip('/')}/oauth_login_completed/{provider}/?{urlencode(facts)}"
    return _with_query(return_to, facts)


def failed(settings: Settings, return_to: str, code: str, message: str) -> str:
    """Return the address of a front end to which somebody returns who has not signed in.

    Args:
        return_to: the address that the front end has named.
        code: code of the problem.
        message: the problem in a sentence, without a word of the provider.
    """
    if _is_homeport(settings, return_to):
        facts = {"message": message, "error": code}
        return f"{return_to.rstrip('/')}/login_failed/?{urlencode(facts)}"
    return _with_query(return_to, {"error": code})


def _is_homeport(settings: Settings, return_to: str) -> bool:
    """Return whether an address is that of Waldur's official front end, which names no page of it.

    Its pages for the result of a sign-in have fixed paths below that address.
    """
    return settings.serves_homeport and (
        urlsplit(return_to).path in {"", "/"}
        or return_to.rstrip("/") == (settings.homeport_url or "").rstrip("/")
    )


def _with_query(url: str, facts: dict[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(facts)}"
