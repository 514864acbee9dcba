"""What a picture must be, and what is left of it; without a database."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from collegium.accounts.pictures.rules import InvalidImageError, sanitise_image

ORIENTATION, ARTIST = 0x0112, 0x013B


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def kept(data: bytes) -> tuple[str, Image.Image]:
    """The media type that is told, and the picture; the two must agree."""
    told, made = sanitise_image(data)
    image = Image.open(BytesIO(made))
    assert told == f"image/{str(image.format).lower()}"
    return told, image


def halves(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    return image


def tables_of(image: Image.Image) -> Any:
    """By what a JPEG was rounded: its quality."""
    assert isinstance(image, JpegImageFile)
    return image.quantization


def looks_like(found: Any, colour: tuple[int, ...]) -> bool:
    return all(abs(one - other) < 40 for one, other in zip(found, colour, strict=True))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_these_kinds_are_taken_and_look_the_same(kind: str) -> None:
    told, image = kept(saved(halves(), kind))
    assert (told, image.size, image.mode) == ("image/jpeg", (40, 20), "RGB")
    assert looks_like(image.getpixel((5, 10)), (255, 0, 0))
    assert looks_like(image.getpixel((35, 10)), (0, 0, 255))


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO"])
def test_other_kinds_are_not(kind: str) -> None:
    with pytest.raises(InvalidImageError):
        sanitise_image(saved(halves(), kind))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "I;16"])
def test_a_picture_of_any_mode_becomes_one_that_every_browser_shows(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    told, image = kept(saved(Image.new(mode, (9, 7)), kind))
    assert (told, image.size, image.mode) == ("image/jpeg", (9, 7), "RGB")
    assert looks_like(image.getpixel((4, 3)), (255,) * 3 if mode == "CMYK" else (0,) * 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_clear_stays_clear(mode: str) -> None:
    image = Image.new("RGBA", (20, 10), (255, 255, 255, 255))
    image.paste((0, 0, 0, 0), (0, 0, 10, 10))
    if mode == "P":
        flat = image.convert("RGB").convert("P")
        clear = flat.getpixel((0, 0))
        data = saved(flat, "PNG", transparency=clear)
    else:
        data = saved(image.convert(mode))
    told, found = kept(data)
    assert (told, found.mode, found.size) == ("image/png", "RGBA", (20, 10))
    alpha = found.getchannel("A")
    assert [alpha.getpixel(at) for at in ((2, 5), (17, 5))] == [0, 255]


def test_pictures_are_kept_small_and_good() -> None:
    noise = Image.effect_noise((200, 200), 60)
    _, photo = kept(saved(noise))
    expected = Image.open(BytesIO(saved(noise.convert("RGB"), "JPEG", quality=88)))
    assert tables_of(photo) == tables_of(expected)
    clear = Image.merge("LA", (Image.linear_gradient("L"), Image.radial_gradient("L")))
    assert len(sanitise_image(saved(clear))[1]) < len(saved(clear.convert("RGBA")))


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((3000, 1500), (1024, 512)),
        ((1500, 3000), (512, 1024)),
        ((1025, 1025), (1024, 1024)),
        ((1024, 1024), (1024, 1024)),
        ((300, 1024), (300, 1024)),
        ((1, 1), (1, 1)),
    ],
)
def test_a_large_picture_is_made_smaller_and_a_small_one_left(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    assert kept(saved(Image.new("L", size)))[1].size == shown


def test_a_picture_that_lies_on_its_side_is_set_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # a quarter turn to the right makes it upright
    _, image = kept(saved(halves(), "JPEG", exif=exif))
    assert image.size == (20, 40)
    assert looks_like(image.getpixel((10, 5)), (255, 0, 0))
    assert looks_like(image.getpixel((10, 35)), (0, 0, 255))
    assert not image.getexif()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_nothing_but_what_is_seen_survives(kind: str) -> None:
    exif = Image.Exif()
    exif[ARTIST] = "taken at home"
    image = Image.new("RGBA" if kind == "PNG" else "RGB", (9, 7), "teal")
    made = sanitise_image(saved(image, kind, exif=exif) + b"<script>alert(1)</script>")[1]
    assert b"home" not in made
    assert b"script" not in made


def test_of_an_animation_the_first_picture_is_left() -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    _, image = kept(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert getattr(image, "n_frames", 1) == 1
    assert looks_like(image.getpixel((4, 3)), (255, 0, 0))


def test_so_many_pixels_and_not_one_more() -> None:
    assert kept(saved(Image.new("1", (24_000_000, 1))))[1].size == (1024, 1)
    for size in ((24_000_001, 1), (5_000, 4_801)):
        with pytest.raises(InvalidImageError):
            sanitise_image(saved(Image.new("1", size)))


def chunk(kind: bytes, body: bytes) -> bytes:
    """A part of a PNG."""
    named = kind + body
    return struct.pack(">I", len(body)) + named + struct.pack(">I", zlib.crc32(named))


HEAD = 33  # signs of a PNG up to and with its first part
FAULTY = {
    "exif": saved(halves(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0"),
    "animation": saved(halves())[:HEAD] + chunk(b"acTL", bytes(8)) + saved(halves())[HEAD:],
}


@pytest.mark.parametrize("part", FAULTY)
def test_a_fault_in_what_is_not_seen_does_no_harm(part: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert kept(FAULTY[part])[1].size == (40, 20)


def claims_to_be(width: int, height: int) -> bytes:
    """The head of a PNG, whose pixels nobody would want to unpack."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)


@pytest.mark.parametrize("side", [5_000, 10_000, 20_000, 2**31 - 1])
def test_what_claims_to_be_huge_is_refused_without_a_word(side: int) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(InvalidImageError):
            sanitise_image(claims_to_be(side, side))
    assert said == []


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", saved(halves())[:60]],
    ids=["nothing", "text", "svg", "cut_off"],
)
def test_what_cannot_be_read_is_no_picture(data: bytes) -> None:
    with pytest.raises(InvalidImageError):
        sanitise_image(data)
