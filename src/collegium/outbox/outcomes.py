"""What can come of a mail besides its being sent."""


class Void(Exception):  # noqa: N818 - says what is the case
    """There is nothing left to say; ``reason`` is a short sentence for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Undeliverable(Exception):  # noqa: N818 - says what is the case
    """A mail did not go out.

    Args:
        reason: a short sentence for people.
        permanent: whether it would be the same another time.
    """

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class Unreachable(Undeliverable):
    """No mail goes out this way at present: the reason has nothing to do with this one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, permanent=False)
