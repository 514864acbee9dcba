"""Show the text of a user agreement as HTML.

Texts come from front ends too, whose editors write HTML. Only a few harmless elements are kept, and
of attributes only the address of a link.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

from markupsafe import Markup, escape

_KEPT: Final = {
    **dict.fromkeys(("h1", "h2"), "h3"),
    **dict.fromkeys(("h3", "h4", "h5", "h6"), "h4"),
    **{name: name for name in ("p", "ul", "ol", "li", "blockquote", "strong", "em", "code")},
    "b": "strong",
    "i": "em",
    "a": "a",
}
"""Element to the element that is shown. The page itself has the headings above."""

_DROPPED: Final = frozenset({"script", "style", "template", "title"})
"""Elements whose content is not text."""

_LINKS: Final = ("https://", "http://", "mailto:")
_DEPTH_MAX: Final = 50


class _Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._open: list[str] = []
        self._dropped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropped += 1
        if self._dropped:
            return
        if tag == "br":
            self.parts.append("<br>")
        if tag not in _KEPT or len(self._open) >= _DEPTH_MAX:
            return
        target = next((value or "" for name, value in attrs if name == "href"), "").strip()
        if tag == "a" and not target.lower().startswith(_LINKS):
            return
        shown = _KEPT[tag]
        link = f' href="{escape(target)}" rel="noreferrer"' if tag == "a" else ""
        self.parts.append(f"<{shown}{link}>")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropped = max(0, self._dropped - 1)
        elif not self._dropped and tag in self._open:
            # Elements that were left open inside are closed first.
            while self._close() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self.parts.append(str(escape(data)))

    def close(self) -> None:
        super().close()
        while self._open:
            self._close()

    def _close(self) -> str:
        tag = self._open.pop()
        self.parts.append(f"</{_KEPT[tag]}>")
        return tag


def render(content: str) -> Markup:
    """Return a text for a page.

    Args:
        content: plain text, whose paragraphs have empty lines between them, or HTML.
    """
    if "</" not in content and "<br" not in content.lower():
        paragraphs = (part.strip() for part in content.replace("\r\n", "\n").split("\n\n"))
        return Markup().join(
            Markup("<p>{}</p>").format(Markup("<br>").join(part.split("\n")))
            for part in paragraphs
            if part
        )
    cleaner = _Cleaner()
    cleaner.feed(content)
    cleaner.close()
    return Markup("".join(cleaner.parts))  # noqa: S704 - every part is escaped or from _KEPT
