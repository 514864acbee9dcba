"""What a picture must be, and the harmless form in which it is kept."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS: Final = ("PNG", "GIF", "JPEG", "WEBP")
PIXELS: Final = 24_000_000
"""More than any camera in a pocket makes; what claims more is refused before it is unpacked."""
SIDE: Final = 1024
"""Pixels of the longer side, at most, as kept."""


class NoPicture(Exception):  # noqa: N818 - says what is the case
    """The bytes are no picture that we take."""


def harmless(data: bytes) -> tuple[str, bytes]:
    """Make a picture anew from what is seen in it; give its media type and bytes.

    Nothing of the sent file survives but the pixels: no place where it was taken,
    no second file hidden behind the first, no animation.

    Raises NoPicture for what cannot be read, is of another kind, or is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > PIXELS:
                    raise NoPicture
                shown = ImageOps.exif_transpose(image)
                shown.thumbnail((SIDE, SIDE))
                clear = shown.mode in {"RGBA", "LA"} or "transparency" in shown.info
                made = BytesIO()
                if clear:
                    shown.convert("RGBA").save(made, "PNG", optimize=True)
                    return "image/png", made.getvalue()
                shown.convert("RGB").save(made, "JPEG", quality=88)
                return "image/jpeg", made.getvalue()
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        OSError,
        SyntaxError,
        ValueError,
        MemoryError,
    ) as error:
        raise NoPicture from error
