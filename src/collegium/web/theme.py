"""The colour of the operator, in shades that can be read in each theme of the style sheet."""

from __future__ import annotations

from typing import Final

Colour = tuple[float, float, float]
"""Red, green and blue, each from 0 to 1."""

_STEPS: Final = 50
_WHITE: Final = (1.0, 1.0, 1.0)
_BLACK: Final = (0.0, 0.0, 0.0)
_PAPER: Final = (0.92, 0.94, 0.97)
"""Darkest ground on which the light theme writes in the colour, apart from its own wash."""

_NIGHT: Final = (0.13, 0.16, 0.21)
"""Lightest ground on which the dark theme does."""

_WASH: Final = 0.1
"""Share of the colour in the ground of what stands out."""

_READABLE: Final = 4.5
_CLEAR: Final = 7.0
"""Contrast of text that WCAG 2.2 wants at levels AA and AAA."""


def accents(code: str) -> str:
    """Return style rules that replace the accent colour of each theme.

    Args:
        code: ``#rrggbb``. It is made darker or lighter until text in it can be read.
    """
    colour = _read(code)
    themes = (
        ("", _PAPER, _BLACK, _WHITE, _READABLE),
        ("(prefers-color-scheme: dark)", _NIGHT, _WHITE, _BLACK, _READABLE),
        ("(prefers-contrast: more)", _PAPER, _BLACK, _WHITE, _CLEAR),
        (
            "(prefers-contrast: more) and (prefers-color-scheme: dark)",
            *(_NIGHT, _WHITE, _BLACK, _CLEAR),
        ),
    )
    return "".join(
        _rule(media, readable(colour, ground, towards, ratio), ground, on)
        for media, ground, towards, on, ratio in themes
    )


def readable(colour: Colour, ground: Colour, towards: Colour, ratio: float) -> Colour:
    """Return a colour that can be read on a ground, and on that ground washed with itself.

    Args:
        towards: black or white; the colour is mixed with it as little as needed.
        ratio: contrast to reach.
    """
    for step in range(_STEPS + 1):
        mixed = mix(colour, towards, step / _STEPS)
        if min(contrast(mixed, ground), contrast(mixed, mix(ground, mixed, _WASH))) >= ratio:
            return mixed
    return towards


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.2, contrast ratio)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return a mixture of two colours.

    Args:
        share: that of the second colour, from 0 to 1.
    """
    red, green, blue = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return red, green, blue


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 - WCAG
        for part in colour
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _rule(media: str, colour: Colour, ground: Colour, on: Colour) -> str:
    tokens = {"accent": colour, "on-accent": on, "wash": mix(ground, colour, _WASH)}
    rule = f":root {{ {' '.join(f'--{name}: {_code(one)};' for name, one in tokens.items())} }}"
    return f"@media {media} {{ {rule} }}\n" if media else f"{rule}\n"


def _read(code: str) -> Colour:
    red, green, blue = (int(code[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def _code(colour: Colour) -> str:
    return "#" + "".join(f"{round(part * 255):02x}" for part in colour)
