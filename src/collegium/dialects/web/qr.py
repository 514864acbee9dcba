"""A link as a picture, for whoever has it on another screen."""

from __future__ import annotations

import segno
from markupsafe import Markup


def draw(link: str, title: str) -> Markup:
    """Draw a QR code as SVG.

    Args:
        title: what a reader of screens says instead; a text of ours.
    """
    drawn = segno.make(link, error="m").svg_inline(
        border=4, light="#fff", dark="#000", omitsize=True, title=title
    )
    # Drawn by us from nothing but dots: the text of the link is not in it.
    return Markup(drawn.replace("<svg ", '<svg role="img" ', 1))  # noqa: S704 - ours
