"""Pictures of the service for front ends, by name: ``/api/icons/``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.db.database import ReadTransaction
from collegium.setting_types import PICTURE_TYPES

LOGOS: Final = (
    *("favicon", "login_logo", "sidebar_logo", "sidebar_logo_dark", "sidebar_logo_mobile"),
    *("site_logo", "powered_by_logo"),
)
"""Names for which the operator's logo is shown."""

_OTHERS: Final = (
    *("call_management_hero_image", "disclaimer_area_logo", "hero_image", "keycloak_icon"),
    *("marketplace_hero_image", "offering_logo_placeholder"),
)

# Three people of a group; and a plain background.
_NEUTRAL: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">'
    b'<rect width="64" height="64" rx="12" fill="#1d4ed8"/><g fill="#fff">'
    b'<circle cx="32" cy="22" r="8"/><circle cx="15" cy="30" r="5"/><circle cx="49" cy="30" r="5"/>'
    b'<path d="M18 50a14 14 0 0 1 28 0zM6 48a9 9 0 0 1 10-9 18 18 0 0 0-4 9zM58 48a9 9 0 0 0-10-9 '
    b'18 18 0 0 1 4 9z"/></g></svg>'
)
_BACKGROUND: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1600 900" width="1600" height="900">'
    b'<rect width="1600" height="900" fill="#e1e7f5"/></svg>'
)
_SVG: Final = "image/svg+xml"


@lru_cache(maxsize=4)
def _logo(path: Path) -> bytes:
    return path.read_bytes()


def _show_logo(context: RequestContext, _tx: ReadTransaction | None = None) -> Response:
    logo = context.settings.site_logo
    if logo is None:
        return _picture(_NEUTRAL, _SVG)
    return _picture(_logo(logo), PICTURE_TYPES[logo.suffix.lower()])


def _show_background(_context: RequestContext, _tx: ReadTransaction | None = None) -> Response:
    return _picture(_BACKGROUND, _SVG)


def _picture(body: bytes, media_type: str) -> Response:
    return Response(200, body, {"Cache-Control": "public, max-age=3600"}, media_type)


_LOGO: Final = Endpoint(_show_logo, "Return the logo of the service.", public=True)
_OTHER: Final = Endpoint(_show_background, "Return a neutral picture.", public=True)

ROUTES: Routes = {
    **{f"/api/icons/{name}/": {"GET": _LOGO} for name in LOGOS},
    **{f"/api/icons/{name}/": {"GET": _OTHER} for name in _OTHERS},
}
"""They show nothing but pictures, so they are in no description of the API."""
