"""QR codes of links, for people who have the link on another screen."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

MASK: Final = 3
"""Mask for links: any mask is fine for them, and trying all of them takes four times longer."""


def draw(link: str, title: str, mask: int | None = None) -> Markup:
    """Return a QR code as SVG.

    Args:
        title: Text for screen readers. It must be ours, because it becomes markup.
        mask: Number of the mask; None chooses the most readable one.
    """
    import segno  # noqa: PLC0415 - takes memory, and few workers draw one

    svg = segno.make(link, error="m", mask=mask).svg_inline(
        border=4, light="#fff", dark="#000", omitsize=True, title=title
    )
    # The SVG has only shapes and our title. The text of the link is not in it.
    return Markup(svg.replace("<svg ", '<svg role="img" ', 1))  # noqa: S704 - ours
