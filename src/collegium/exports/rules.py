"""What can be downloaded of a scope, and in which formats."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Subject(StrEnum):
    """What is downloaded."""

    MEMBERS = "members"
    INVITATIONS = "invitations"
    HISTORY = "history"


class Format(StrEnum):
    """The format of a file."""

    CSV = "csv"
    JSON = "json"


COLUMNS: Final = {
    Subject.MEMBERS: ("name", "email", "role", "since", "until", "added_by"),
    Subject.INVITATIONS: (*("email", "name", "role", "state", "expires", "invited_by", "invited"),),
    Subject.HISTORY: ("time", "event", "scope", "actor", "impersonator", "person", "details"),
}
"""The columns of a CSV file, and the keys of each object of a JSON file."""

MEDIA: Final = {Format.CSV: "text/csv", Format.JSON: "application/json"}
"""Media type of each format."""
