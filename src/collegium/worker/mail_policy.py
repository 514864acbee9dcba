"""How e-mails are built and written: the policy of the standard library, made faster.

The standard library parses each header when it is set, and once more when it is written. Most of
the headers of our e-mails are always the same, so they are kept.
"""

from __future__ import annotations

from email.headerregistry import HeaderRegistry
from email.policy import EmailPolicy
from functools import lru_cache
from typing import Any, Final

_CONSTANT: Final = frozenset(
    {
        "auto-submitted",
        "content-transfer-encoding",
        "content-type",
        "from",
        "list-unsubscribe-post",
        "mime-version",
        "x-auto-response-suppress",
        "x-collegium-mail",
    }
)
"""Headers whose values are few."""

_WRITTEN: Final = frozenset({"content-language", "date", "list-unsubscribe", "message-id"})
"""Headers whose values are made in the form in which they are written."""

BOUNDARY: Final = "=_part_of_a_message_of_collegium_="
"""Between the parts of a message, unless one of them contains it.

The standard library looks for another one in each message, with a pattern that it compiles.
"""

_KEPT: Final = 256


class _Registry(HeaderRegistry):
    """Makes the class of each kind of header once."""

    def __init__(self) -> None:
        super().__init__()
        self._classes: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        known = self._classes.get(name)
        if known is None:
            known = super().__getitem__(name)
            if name.lower() in _CONSTANT | {"to", "subject"}:
                self._classes[name] = known
        return known


class _Policy(EmailPolicy):
    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        """Return a header as it is stored."""
        if _is_constant(name, value):
            return name, _parsed(name, value)
        # As a string it is parsed when somebody asks for it, and folded only if it is too long.
        if name.lower() in _WRITTEN and isinstance(value, str) and value.isprintable():
            return name, value
        return super().header_store_parse(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        """Return a header as it is written."""
        if _is_constant(name, value):
            return _folded(name, value, self.utf8)
        return super().fold_binary(name, value)


POLICY: Final = _Policy(header_factory=_Registry())
"""Headers are ASCII."""

POLICY_UTF8: Final = POLICY.clone(utf8=True)
"""Headers are UTF-8 where an address cannot be written in ASCII, as in SMTP (RFC 6532)."""


def _is_constant(name: str, value: Any) -> bool:
    if name.lower() not in _CONSTANT or not isinstance(value, str):
        return False
    # Another boundary is a new one each time.
    return "boundary" not in value or BOUNDARY in value


@lru_cache(_KEPT)
def _parsed(name: str, value: str) -> Any:
    return EmailPolicy.header_store_parse(POLICY, name, value)[1]


@lru_cache(_KEPT)
def _folded(name: str, value: Any, utf8: bool) -> bytes:
    return EmailPolicy.fold_binary(POLICY_UTF8 if utf8 else POLICY, name, value)
