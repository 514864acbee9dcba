"""A link as a picture, for whoever has it on another screen."""

from __future__ import annotations

from typing import Final

import segno
from markupsafe import Markup

MASK: Final = 3
"""Any does for a link, which has no pattern of its own; to try them all takes four times longer."""


def draw(link: str, title: str, mask: int | None = None) -> Markup:
    """Draw a QR code as SVG.

    Args:
        mask: which to lay over it; None: the one that is best to read.
        title: what a reader of screens says instead; a text of ours.
    """
    drawn = segno.make(link, error="m", mask=mask).svg_inline(
        border=4, light="#fff", dark="#000", omitsize=True, title=title
    )
    # Drawn by us from nothing but dots: the text of the link is not in it.
    return Markup(drawn.replace("<svg ", '<svg role="img" ', 1))  # noqa: S704 - ours
