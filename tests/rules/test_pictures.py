"""Images are validated, converted and stripped of metadata."""

from __future__ import annotations

import struct
import warnings
import zlib
from contextlib import nullcontext
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngInfo

from collegium.accounts.pictures import encoding
from collegium.accounts.pictures import rules as picture_rules
from collegium.accounts.pictures.encoding import sanitise_image
from collegium.accounts.pictures.rules import InvalidImageError

ORIENTATION, ARTIST = 0x0112, 0x013B


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def sanitise(data: bytes) -> tuple[str, Image.Image]:
    """Return the media type and the image; they agree."""
    media_type, encoded = sanitise_image(data)
    image = Image.open(BytesIO(encoded))
    assert media_type == f"image/{str(image.format).lower()}"
    return media_type, image


def halves() -> Image.Image:
    """Return an image, red on the left and blue on the right."""
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    return image


def quality_of(image: Image.Image) -> Any:
    assert isinstance(image, JpegImageFile)
    return image.quantization


def looks_like(pixel: Any, colour: tuple[int, ...]) -> bool:
    return all(abs(one - other) < 40 for one, other in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_image_formats_are_converted_faithfully(kind: str) -> None:
    media_type, image = sanitise(encode(halves(), kind))
    assert (media_type, image.size, image.mode) == ("image/jpeg", (40, 20), "RGB")
    assert looks_like(image.getpixel((5, 10)), (255, 0, 0))
    assert looks_like(image.getpixel((35, 10)), (0, 0, 255))


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO"])
def test_other_image_formats_are_refused(kind: str) -> None:
    with pytest.raises(InvalidImageError):
        sanitise_image(encode(halves(), kind))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "I;16"])
def test_image_of_any_mode_becomes_a_rgb_jpeg(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    media_type, image = sanitise(encode(Image.new(mode, (9, 7)), kind))
    assert (media_type, image.size, image.mode) == ("image/jpeg", (9, 7), "RGB")
    assert looks_like(image.getpixel((4, 3)), (255,) * 3 if mode == "CMYK" else (0,) * 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_kept(mode: str) -> None:
    image = Image.new("RGBA", (20, 10), (255, 255, 255, 255))
    image.paste((0, 0, 0, 0), (0, 0, 10, 10))
    if mode == "P":
        flat = image.convert("RGB").convert("P")
        data = encode(flat, "PNG", transparency=flat.getpixel((0, 0)))
    else:
        data = encode(image.convert(mode))
    media_type, sanitised = sanitise(data)
    assert (media_type, sanitised.mode, sanitised.size) == ("image/png", "RGBA", (20, 10))
    alpha = sanitised.getchannel("A")
    assert [alpha.getpixel(point) for point in ((2, 5), (17, 5))] == [0, 255]


def test_images_are_compressed_well() -> None:
    noise = Image.effect_noise((200, 200), 60)
    _, photo = sanitise(encode(noise))
    expected = Image.open(BytesIO(encode(noise.convert("RGB"), "JPEG", quality=88)))
    assert quality_of(photo) == quality_of(expected)
    clear = Image.merge("LA", (Image.linear_gradient("L"), Image.radial_gradient("L")))
    assert len(sanitise_image(encode(clear))[1]) < len(encode(clear.convert("RGBA")))


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((3000, 1500), (1024, 512)),
        ((1500, 3000), (512, 1024)),
        ((1025, 1025), (1024, 1024)),
        ((1024, 1024), (1024, 1024)),
        ((300, 1024), (300, 1024)),
        ((1, 1), (1, 1)),
    ],
)
def test_large_image_is_scaled_down(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert sanitise(encode(Image.new("L", size)))[1].size == scaled


def test_image_is_rotated_as_its_exif_data_say() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # rotate by 90 degrees clockwise
    _, image = sanitise(encode(halves(), "JPEG", exif=exif))
    assert image.size == (20, 40)
    assert looks_like(image.getpixel((10, 5)), (255, 0, 0))
    assert looks_like(image.getpixel((10, 35)), (0, 0, 255))
    assert not image.getexif()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_metadata_is_removed(kind: str) -> None:
    exif = Image.Exif()
    exif[ARTIST] = "taken at home"
    image = Image.new("RGBA" if kind == "PNG" else "RGB", (9, 7), "teal")
    encoded = sanitise_image(encode(image, kind, exif=exif) + b"<script>alert(1)</script>")[1]
    assert b"home" not in encoded
    assert b"script" not in encoded


def test_first_frame_of_an_animation_is_kept() -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    _, image = sanitise(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert getattr(image, "n_frames", 1) == 1
    assert looks_like(image.getpixel((4, 3)), (255, 0, 0))


def test_number_of_pixels_is_limited() -> None:
    assert sanitise(encode(Image.new("1", (24_000_000, 1))))[1].size == (1024, 1)
    for size in ((24_000_001, 1), (5_000, 4_801)):
        with pytest.raises(InvalidImageError):
            sanitise_image(encode(Image.new("1", size)))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    content = kind + body
    return struct.pack(">I", len(body)) + content + struct.pack(">I", zlib.crc32(content))


HEAD = 33  # bytes of a PNG up to the end of its first png_chunk
INVALID_METADATA = {
    "exif": encode(halves(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0"),
    "animation": encode(halves())[:HEAD] + png_chunk(b"acTL", bytes(8)) + encode(halves())[HEAD:],
}


@pytest.mark.parametrize("part", INVALID_METADATA)
def test_invalid_metadata_is_ignored(part: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sanitise(INVALID_METADATA[part])[1].size == (40, 20)


@pytest.mark.parametrize("side", [5_000, 10_000, 20_000, 2**31 - 1])
def test_huge_image_is_refused_without_a_warning(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(InvalidImageError):
            sanitise_image(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header))
    assert caught == []


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", encode(halves())[:60]],
)
def test_unreadable_data_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImageError):
        sanitise_image(data)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_large_transparent_image_is_scaled_down_like_a_whole(mode: str) -> None:
    """It is scaled in strips, of which the last is not full."""
    tile = Image.effect_noise((97, 89), 90).convert("L")
    image = Image.new(mode, (4101, 1001))
    bands = [tile.rotate(90 * turn, expand=True) for turn in range(len(mode))]
    pattern = Image.merge(mode, [band.resize((97, 89)) for band in bands])
    for left in range(0, image.width, 97):
        for top in range(0, image.height, 89):
            image.paste(pattern, (left, top))
    media_type, scaled = sanitise(encode(image))
    expected = image.reduce(2)
    expected.thumbnail((1024, 1024), reducing_gap=3.0)
    assert (media_type, scaled.size) == ("image/png", (1024, 250))
    assert scaled.tobytes() == expected.convert("RGBA").tobytes()


@pytest.mark.parametrize(
    ("kind", "size", "decoded", "gap"),
    [
        ("JPEG", (4095, 64), (4095, 64), None),
        ("JPEG", (4096, 64), (2048, 32), 3.0),
        ("JPEG", (8200, 1000), (2050, 250), 3.0),
        ("JPEG", (6140, 5), (3070, 3), 3.0),
        ("JPEG", (5, 6140), (3, 3070), 3.0),
        ("JPEG", (8192, 7), (2048, 2), 3.0),
        ("PNG", (4096, 64), (4096, 64), 3.0),
    ],
)
def test_large_jpeg_is_decoded_at_a_smaller_size(
    kind: str, size: tuple[int, int], decoded: Any, gap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is scaled to the final size, a very large one in two steps."""
    seen = []
    thumbnail = Image.Image.thumbnail

    def spy(image: Image.Image, to: Any, **options: Any) -> None:
        seen.append((image.size, options["reducing_gap"]))
        thumbnail(image, to, **options)

    monkeypatch.setattr(Image.Image, "thumbnail", spy)
    assert max(sanitise(encode(Image.new("RGB", size), kind))[1].size) == 1024
    assert seen == [(decoded, gap)]


@pytest.mark.parametrize(
    ("kind", "limit", "most"),
    [
        ("PNG", "PIXELS", 800),
        ("WEBP", "PIXELS_WEBP", 800),
        ("JPEG", "SCANS", 10),
        ("JPEG", "_JPEG_PIXELS", 8000),
        ("JPEG", "_JPEG_SAMPLES", 1200),
    ],
)
def test_cost_of_decoding_is_limited_by_format(
    kind: str, limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = PngInfo()
    marked.add(b"ruSt", b"\xff\xda" * 99)  # means nothing in this format
    images = {
        "PNG": encode(halves(), pnginfo=marked),
        "WEBP": encode(halves(), "WEBP"),
        "JPEG": encode(halves(), "JPEG", progressive=True),
    }
    assert images["JPEG"].count(b"\xff\xda") == 10
    monkeypatch.setattr(encoding, limit, most)
    sanitise(images[kind])
    monkeypatch.setattr(encoding, limit, most - 1)
    with pytest.raises(InvalidImageError):
        sanitise_image(images[kind])
    if limit != "PIXELS":
        for other in images.keys() - {kind}:
            sanitise(images[other])


def test_samples_are_counted_from_the_second_scan_on(monkeypatch: pytest.MonkeyPatch) -> None:
    once, twice = encode(halves(), "JPEG"), encode(halves(), "JPEG", comment=b"\xff\xda")
    assert [data.count(b"\xff\xda") for data in (once, twice)] == [1, 2]
    monkeypatch.setattr(encoding, "_JPEG_SAMPLES", 1199)
    sanitise(once)
    with pytest.raises(InvalidImageError):
        sanitise_image(twice)
    # Nine pixels with a quarter of the colour have 13.5 samples.
    monkeypatch.setattr(encoding, "_JPEG_SAMPLES", 13)
    sanitise(encode(Image.new("RGB", (3, 3)), "JPEG", progressive=True))


def test_limits_of_formats() -> None:
    assert picture_rules.BYTES == 1_048_576
    assert encoding.PIXELS_WEBP == 8_000_000
    assert (encoding.SCANS, encoding._JPEG_PIXELS) == (64, 384_000_000)
    assert encoding._JPEG_SAMPLES == 48_000_000


def test_text_of_a_picture_has_a_maximum_size() -> None:
    for length, allowed in ((64 * 1024, True), (64 * 1024 + 1, False)):
        text = PngInfo()
        text.add_text("Comment", "x" * length, zip=True)
        with nullcontext() if allowed else pytest.raises(InvalidImageError):
            sanitise(encode(halves(), pnginfo=text))


def test_file_of_the_maximum_size_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(halves())
    monkeypatch.setattr(picture_rules, "BYTES", len(data))
    sanitise(data)
    with pytest.raises(picture_rules.ImageTooLargeError):
        sanitise_image(data + b" ")
