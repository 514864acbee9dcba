"""The refusals: exceptions by which an action or a rule says no.

A refusal carries a stable, dotted code and facts. It carries neither a sentence nor an HTTP status.
Each protocol has one table that turns kind and code into its own words.
"""

from __future__ import annotations

from typing import TypeVar

Found = TypeVar("Found")


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """The request was refused. Raise one of the subclasses.

    Args:
        code: Stable code in the form ``noun.reason``.
        facts: Values that a protocol may need for its sentence. The caller sees them, so they hold
            no secret.
    """

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


class Unauthenticated(Refusal):
    """The credentials are missing, wrong or no longer valid."""


class NotFound(Refusal):
    """The object does not exist, or the actor may not know of it. Both get the same answer."""


class Forbidden(Refusal):
    """The actor may see the object, but may not do this to it."""


class Conflict(Refusal):
    """The object is in a state in which this cannot be done."""


class Invalid(Refusal):
    """A value is not accepted. ``facts["field"]`` names its field, if there is one."""


class Limited(Refusal):
    """A rate limit is exceeded. ``facts["seconds"]`` says how long the caller must wait."""


def check_quota(count: int, limit: int, code: str) -> None:
    """Require that there are fewer things than the limit, before another is added.

    Args:
        count: present number.
        limit: maximum number.

    Raises:
        Conflict: with this code, and the limit as ``most``.
    """
    if count >= limit:
        raise Conflict(code, most=limit)


def or_not_found(found: Found | None, code: str) -> Found:
    """Return what was looked for.

    Raises:
        NotFound: with this code, if it is None.
    """
    if found is None:
        raise NotFound(code)
    return found
