"""Rules of uploaded pictures: their maximum size, and the errors of files that are none."""

from __future__ import annotations

from typing import Final

BYTES: Final = 1024 * 1024
"""Maximum size of a file in bytes."""


class InvalidImageError(Exception):
    """The data is no picture in an accepted format."""


class ImageTooLargeError(InvalidImageError):
    """The file is larger than ``BYTES``."""
