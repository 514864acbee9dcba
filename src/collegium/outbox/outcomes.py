"""What can come of a mail besides its being sent."""


class ObsoleteError(Exception):
    """There is nothing left to say; ``reason`` is a short sentence for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UndeliverableError(Exception):
    """A mail did not go out.

    Args:
        reason: a short sentence for people.
        permanent: whether it would be the same another time.
    """

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class UnreachableError(UndeliverableError):
    """No mail goes out this way at present: the reason has nothing to do with this one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, permanent=False)
