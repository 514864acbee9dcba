"""What a picture must be, and the harmless form in which it is kept."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Final

from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

FORMATS: Final = ("PNG", "GIF", "JPEG", "WEBP")
BYTES: Final = 1024 * 1024
"""Size of the largest file."""
PIXELS: Final = 24_000_000
"""More than any camera in a pocket makes; what claims more is refused before it is unpacked."""
PIXELS_WEBP: Final = 8_000_000
"""The same for WebP, whose decoder holds four copies of the picture at once."""
SCANS: Final = 64
"""Passes over a progressive JPEG; usual ones have ten."""
SIDE: Final = 1024
"""Pixels of the longer side, at most, as kept."""

_WORK: Final = 16 * PIXELS
"""Pixels that all scans of a JPEG may pass over together, which takes a second."""

_STRIP: Final = 1_000_000
"""Pixels that are shrunk at once."""

_SCAN: Final = b"\xff\xda"
"""Where a scan of a JPEG begins; nothing within a scan looks like it."""

# What is written in a PNG beside the pixels is unpacked as well, and thrown away.
PngImagePlugin.MAX_TEXT_CHUNK = 64 * 1024
PngImagePlugin.MAX_TEXT_MEMORY = BYTES


class InvalidImageError(Exception):
    """The bytes are no picture that we take."""


class ImageTooLargeError(InvalidImageError):
    """The file has more than ``BYTES`` bytes."""


def sanitise_image(data: bytes) -> tuple[str, bytes]:
    """Make a picture anew from what is seen in it; give its media type and bytes.

    Nothing of the sent file survives but the pixels: no place where it was taken,
    no second file hidden behind the first, no animation. Holds up to six bytes a pixel of the
    sent picture, and takes up to two seconds of processor time.

    Raises NoPicture for what cannot be read, is of another kind, or is too large.
    """
    if len(data) > BYTES:
        raise ImageTooLargeError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                _check_cost(image, data)
                return _encoded(image)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        OSError,
        SyntaxError,
        ValueError,
        MemoryError,
    ) as error:
        raise InvalidImageError from error


def _check_cost(image: Image.Image, data: bytes) -> None:
    """Refuse what would take too long or hold too much; judged before a pixel is unpacked."""
    pixels = image.width * image.height
    if pixels > (PIXELS_WEBP if image.format == "WEBP" else PIXELS):
        raise InvalidImageError
    if image.format == "JPEG":
        scans = data.count(_SCAN)
        if scans > SCANS or scans * pixels > _WORK:
            raise InvalidImageError


def _downscaled(image: Image.Image, times: int) -> Image.Image:
    """Shrink what is partly clear by a whole number, in strips.

    To shrink it, a copy is made in which clear pixels count less: one of a strip, not of all.
    """
    if image.mode not in {"RGBA", "LA"} or times <= 1:
        return image
    image.load()
    small = Image.new(image.mode, (-(-image.width // times), -(-image.height // times)))
    small.info = image.info
    rows = times * (_STRIP // image.width // times + 1)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        small.paste(strip.reduce(times), (0, top // times))
    return small


def _encoded(image: Image.Image) -> tuple[str, bytes]:
    largest = max(image.size)
    if largest > SIDE:
        # A JPEG is unpacked no larger than is needed for a good picture of the wanted size.
        wanted = (2 * SIDE * image.width // largest or 1, 2 * SIDE * image.height // largest or 1)
        image.draft(None, wanted)
        image = _downscaled(image, largest // (2 * SIDE))
        # The whole is shrunk, in place, before it is turned upright: each step copies it.
        image.thumbnail((SIDE, SIDE), reducing_gap=None if largest < 4 * SIDE else 3.0)
    shown = ImageOps.exif_transpose(image)
    clear = shown.mode in {"RGBA", "LA"} or "transparency" in shown.info
    made = BytesIO()
    if clear:
        shown.convert("RGBA").save(made, "PNG", optimize=True)
        return "image/png", made.getvalue()
    shown.convert("RGB").save(made, "JPEG", quality=88)
    return "image/jpeg", made.getvalue()
