"""The ways to say no.

A refusal carries a stable, dotted code and facts; never a sentence, never an HTTP status.
Each dialect owns one table that turns kind and code into its own words.
"""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """Something was asked that is not to be had.

    Args:
        code: dotted and stable, ``noun.reason``.
        facts: what a dialect may need to word it; shown to the caller, so never a secret.
    """

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


class Unauthenticated(Refusal):
    """The credentials are missing, wrong or no longer valid."""


class NotFound(Refusal):
    """There is no such thing, or the actor may not even know of it: the same answer for both."""


class Forbidden(Refusal):
    """The actor may see the thing, but not do this to it."""


class Conflict(Refusal):
    """The thing is not in a state in which this can be done."""


class Invalid(Refusal):
    """A value cannot be taken; ``facts["field"]`` names it where there is one."""


class Limited(Refusal):
    """Too many tries; ``facts["seconds"]`` says when to come back."""
