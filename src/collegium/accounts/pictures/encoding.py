"""Check uploaded pictures, and convert them to the safe form that is stored.

Only the first upload loads this module, because Pillow takes 3 MB of memory.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Final

from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from collegium.accounts.pictures import rules
from collegium.accounts.pictures.rules import ImageTooLargeError, InvalidImageError

FORMATS: Final = ("PNG", "GIF", "JPEG", "WEBP")
PIXELS: Final = 24_000_000
"""Maximum number of pixels: more than a phone camera has. Checked before decoding."""
PIXELS_WEBP: Final = 8_000_000
"""The same for WebP, whose decoder holds four copies of the picture at once."""
SCANS: Final = 64
"""Maximum number of scans of a progressive JPEG. Usual files have ten."""
SIDE: Final = 1024
"""Maximum number of pixels of the longer side of a stored picture."""

_JPEG_PIXELS: Final = 16 * PIXELS
"""Maximum number of pixels in all scans of a JPEG together; decoding them takes a second."""

_JPEG_SAMPLES: Final = 2 * PIXELS
"""Maximum number of samples of a JPEG with several scans. Its decoder holds two bytes for each.

With halved colour, as cameras write it, ``PIXELS`` fit. With full colour, two thirds of them.
"""

_STRIP_PIXELS: Final = 1_000_000
"""Number of pixels that are scaled down at once."""

_SCAN_MARKER: Final = b"\xff\xda"
"""Marker at the start of a JPEG scan. It cannot occur inside a scan."""

# Pillow also decompresses text chunks of a PNG, although they are discarded here.
PngImagePlugin.MAX_TEXT_CHUNK = 64 * 1024
PngImagePlugin.MAX_TEXT_MEMORY = rules.BYTES


def sanitise_image(data: bytes) -> tuple[str, bytes]:
    """Re-encode a picture from its pixels. Return its media type and bytes.

    Only the pixels of the uploaded file survive: no location data, no second file hidden behind the
    picture, no animation. Needs up to five bytes of memory for each pixel of the upload, and up to
    two seconds of processor time.

    Raises:
        InvalidImageError: the data cannot be decoded, has another format, or has too many pixels.
        ImageTooLargeError: the file is larger than ``rules.BYTES``.
    """
    if len(data) > rules.BYTES:
        raise ImageTooLargeError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                _check_cost(image, data)
                return _encode(image)
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
    """Refuse pictures that need too much time or memory, before any pixel is decoded."""
    pixels = image.width * image.height
    if pixels > (PIXELS_WEBP if image.format == "WEBP" else PIXELS):
        raise InvalidImageError
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        scans = data.count(_SCAN_MARKER)
        if scans > SCANS or scans * pixels > _JPEG_PIXELS:
            raise InvalidImageError
        if scans > 1 and _samples(image) > _JPEG_SAMPLES:
            raise InvalidImageError


def _samples(image: JpegImagePlugin.JpegImageFile) -> int:
    """Return the number of samples of all colours; a colour can have fewer than there are pixels.

    Args:
        image: Picture whose ``layer`` names the sampling factors of each colour.

    Raises:
        InvalidImageError: A sampling factor is zero.
    """
    factors = [(wide, high) for _colour, wide, high, _table in image.layer]
    largest = max(wide for wide, _ in factors) * max(high for _, high in factors)
    if not largest:
        raise InvalidImageError
    return image.width * image.height * sum(wide * high for wide, high in factors) // largest


def _downscale(image: Image.Image, factor: int) -> Image.Image:
    """Scale a picture with transparency down by an integer factor, in strips.

    Scaling makes a copy in which transparent pixels count less. In strips, that copy is small.
    """
    if image.mode not in {"RGBA", "LA"} or factor < 2:  # noqa: PLR2004 - 1 changes nothing
        return image
    image.load()
    small = Image.new(image.mode, (-(-image.width // factor), -(-image.height // factor)))
    small.info = image.info
    rows = factor * max(1, _STRIP_PIXELS // image.width // factor)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        small.paste(strip.reduce(factor), (0, top // factor))
    return small


def _encode(image: Image.Image) -> tuple[str, bytes]:
    largest = max(image.size)
    # Let the JPEG decoder scale down while decoding, to no more than a good result needs.
    width, height = (max(1, 2 * SIDE * side // largest) for side in image.size)
    image.draft(None, (width, height))
    image = _downscale(image, largest // (2 * SIDE))
    # Scale down in place before rotating, because each step copies the picture.
    image.thumbnail((SIDE, SIDE), reducing_gap=None if largest < 4 * SIDE else 3.0)
    upright = ImageOps.exif_transpose(image)
    has_transparency = upright.mode in {"RGBA", "LA"} or "transparency" in upright.info
    output = BytesIO()
    if has_transparency:
        upright.convert("RGBA").save(output, "PNG", optimize=True)
        return "image/png", output.getvalue()
    upright.convert("RGB").save(output, "JPEG", quality=88)
    return "image/jpeg", output.getvalue()
