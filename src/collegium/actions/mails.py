"""Every mail there is: a class each, with its name and what it is about.

A new kind of mail is one class here, one loader in ``post/mails.py`` and three templates in
``post/templates``; a test fails while one of them is missing.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail owed to somebody, before there is a word of it.

    Args:
        recipient: the address it goes to.
    """

    kind: ClassVar[str]
    recipient: str

    def facts(self) -> dict[str, Any]:
        """Give what the mail is about, for JSON: all fields but the recipient; never a secret."""
        about = [field.name for field in fields(self) if field.name != "recipient"]
        return {name: getattr(self, name) for name in about}


@dataclass(frozen=True, slots=True)
class InvitationCreated(Mail):
    """You are invited: to the invited address.

    Args:
        invitation: number of the row; the link is made when the mail is written.
    """

    kind: ClassVar[str] = "invitation_created"
    invitation: int


@dataclass(frozen=True, slots=True)
class ChangeEmailRequest(Mail):
    """Confirm that this address is yours: to the new address.

    Args:
        account: number of the row.
        asked: the moment it was asked for, ISO 8601; with it the code is derived again.
    """

    kind: ClassVar[str] = "change_email_request"
    account: int
    asked: str


@dataclass(frozen=True, slots=True)
class EmailChanged(Mail):
    """Your account has another address now: to the old one.

    Args:
        account: number of the row.
        email: the new address.
    """

    kind: ClassVar[str] = "email_changed"
    account: int
    email: str
