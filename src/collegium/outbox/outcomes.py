"""Exceptions for e-mails that are not sent."""


class ObsoleteError(Exception):
    """The e-mail is obsolete; ``reason`` is a short sentence for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UndeliverableError(Exception):
    """An e-mail was not delivered.

    Args:
        reason: a short sentence for people.
        permanent: whether another attempt would fail as well.
    """

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class UnreachableError(UndeliverableError):
    """The transport delivers nothing at present; the reason is unrelated to this e-mail."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, permanent=False)
