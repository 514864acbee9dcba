"""Public settings and version: ``/api/configuration/`` and ``/api/version/``.

A front end reads them before anything else.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, Struct, UnsetType

from collegium import __version__
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import homeport, schemas
from collegium.db.database import ReadTransaction

# Everybody can read these settings, so no secret, no personal address and no internal service may
# be among them. A new setting is published only after it is added here.
_PUBLIC: Final = {
    "WALDUR_CORE": (
        "authentication_methods",
        "countries",
        "create_default_project_on_organization_creation",
        "enable_strict_check_accepting_invitation",
        "invitations_enabled",
        "invitation_civil_number_label",
        "invitation_create_missing_user",
        "invitation_disable_multiple_roles",
        "invitation_tax_number_label",
        "invitation_use_webhooks",
        "local_idp_label",
        "local_idp_management_url",
        "local_idp_name",
        "local_idp_protected_fields",
        "native_name_enabled",
        "oecd_fos_2007_code_mandatory",
        "only_staff_can_invite_users",
        "protect_user_details_for_registration_methods",
        "site_name",
        "user_mandatory_fields",
        "validate_invitation_email",
    ),
    "WALDUR_AUTH_SOCIAL": ("remote_eduteams_enabled",),
}


class Version(Struct, frozen=True):
    """The installed version; no check for a newer one is made."""

    version: str
    latest_version: str | UnsetType = UNSET


def _configuration(context: RequestContext, _tx: ReadTransaction | None = None) -> Response:
    if context.app.awaits_setup:
        with context.read() as tx:
            context.finish_setup(tx)
    settings = context.settings
    published: dict[str, dict[str, object]] = {
        section: {name.upper(): getattr(settings, name) for name in names}
        for section, names in _PUBLIC.items()
    }
    published["WALDUR_CORE"]["HOMEPORT_URL"] = settings.homeport_url or settings.base_url
    # A front end has more features than we support. Features that are not listed are off.
    published["FEATURES"] = {}
    if settings.serves_homeport:
        more = homeport.configuration(
            settings.site_name, context.base, has_logo=settings.site_logo is not None
        )
        published["WALDUR_CORE"] |= more.pop("WALDUR_CORE")
        published |= more
    return Response(200, schemas.encode(published))


def _version(_context: RequestContext, _tx: ReadTransaction) -> Response:
    return Response(200, schemas.encode(Version(__version__)))


ROUTES: Routes = {
    "/api/configuration/": {
        "GET": Endpoint(_configuration, "Show the settings that a front end needs.", public=True),
    },
    "/api/version/": {
        "GET": Endpoint(_version, "Show the version.", response_type=Version),
    },
}
