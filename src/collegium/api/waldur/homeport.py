"""Support for the official front end (HomePort): what it asks for and this service does not have.

HomePort asks on every page for what a cloud marketplace has, and shows an error where it gets
none. With ``HOMEPORT_URL`` or ``COMPAT_HOMEPORT`` the paths in ``EMPTY`` answer that there is
nothing. Otherwise they do not exist. They are not in the OpenAPI document: no client needs them.
"""

from __future__ import annotations

from typing import Any, Final

from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import lists, schemas
from collegium.api.waldur.icons import LOGOS
from collegium.db.database import ReadTransaction

_LISTS: Final = (
    "admin-announcements",
    "broadcast-messages",
    "customer-credits",
    "database-stats",
    "invoice-items/costs",
    "invoices",
    "marketplace-categories",
    "marketplace-category-groups",
    "marketplace-checklists",
    "marketplace-global-categories",
    "marketplace-offering-users",
    "marketplace-orders",
    "marketplace-project-estimated-cost-policies",
    "marketplace-project-update-requests",
    "marketplace-provider-offerings",
    "marketplace-resources",
    "notification-messages",
    "organization-groups",
    "project-credits",
)
_OBJECTS: Final = ("override-settings",)

EMPTY: Final[dict[str, Any]] = {
    **{f"/api/{name}/": [] for name in _LISTS},
    **{f"/api/{name}/": {} for name in _OBJECTS},
}
"""Path to its empty response."""


def _show_nothing(context: RequestContext, _tx: ReadTransaction) -> Response:
    path = f"{context.path.rstrip('/')}/"
    return lists.empty(context) if EMPTY[path] == [] else Response(200, schemas.encode({}))


_ENDPOINT: Final = Endpoint(_show_nothing, "Tell the official front end that there is nothing.")

ROUTES: Routes = {path: {"GET": _ENDPOINT} for path in EMPTY}

LANGUAGES: Final = {
    "en": "English",
    "et": "Eesti",
    "lt": "Lietuvių",
    "lv": "Latviešu",
    "ru": "Русский",
    "it": "Italiano",
    "de": "Deutsch",
    "da": "Dansk",
    "sv": "Svenska",
    "es": "Español",
    "fr": "Français",
    "nb": "Norsk",
    "ar": "العربية",
    "cs": "Čeština",
}
"""Languages of HomePort: code to the name in the language itself."""

FEATURES: Final[dict[str, dict[str, bool]]] = {
    "customer": {
        "payments_for_staff_only": True,
        "show_banking_data": False,
        "show_domain": True,
        "show_permission_reviews": "/api/customer-permissions-reviews/" not in EMPTY,
    },
    "deployment": {
        "application_portal_only": False,
        "enable_cookie_notice": False,
        "send_metrics": False,
    },
    "invitations": {
        "civil_number_required": False,
        "conceal_civil_number": False,
        "require_user_details": False,
        "show_course_accounts": False,
        "show_service_accounts": False,
        "show_tax_number": False,
        "tax_number_required": False,
    },
    "marketplace": {
        "allow_display_of_images_in_markdown": False,
        "call_only": False,
        "catalogue_only": False,
        "conceal_prices": True,
        "display_offering_partitions": False,
        "display_software_catalog": False,
        "display_user_tos": False,
        "import_resources": False,
        "lexis_links": False,
        "show_call_management_functionality": False,
        "show_experimental_ui_components": False,
        "show_managed_projects": False,
        "show_resource_end_date": False,
    },
    "openstack": {"hide_volume_type_selector": False, "show_migrations": False},
    "project": {
        "estimated_cost": False,
        "mandatory_end_date": False,
        "mandatory_start_date": False,
        "oecd_fos_2007_code": True,
        "show_credit_in_create_dialog": False,
        "show_description_in_create_dialog": True,
        "show_end_date_in_create_dialog": True,
        "show_image_in_create_dialog": False,
        "show_industry_flag": True,
        "show_kind_in_create_dialog": True,
        "show_permission_reviews": "/api/project-permissions-reviews/" not in EMPTY,
        "show_start_date_in_create_dialog": True,
        "show_type_in_create_dialog": False,
    },
    "rancher": {"apps": False, "volume_mount_point": False},
    "slurm": {"jobs": False},
    "support": {
        "conceal_change_request": True,
        "pricelist": False,
        "shared_providers": False,
        "users": True,
        "vm_type_overview": False,
    },
    "telemetry": {"send_metrics": False},
    "user": {
        "allow_user_creation": True,
        "credentials": False,
        "disable_long_tokens": False,
        "disable_user_termination": True,
        "minimal_user_profile": False,
        "notifications": "/api/hooks/" not in EMPTY,
        "permission_requests": True,
        "preferred_language": True,
        "show_slug": True,
        "show_username": True,
        "ssh_keys": True,
    },
}
"""Every feature of HomePort: whether this service has it. HomePort shows some that are absent."""

PLUGINS: Final = (
    "WALDUR_AUTH_SAML2",
    "WALDUR_AUTH_VALIMO",
    "WALDUR_FREEIPA",
    "WALDUR_HPC",
    "WALDUR_INVOICES",
    "WALDUR_MARKETPLACE",
    "WALDUR_MARKETPLACE_OPENSTACK",
    "WALDUR_MARKETPLACE_SCRIPT",
    "WALDUR_OPENPORTAL",
    "WALDUR_OPENSTACK",
    "WALDUR_OPENSTACK_TENANT",
    "WALDUR_PAYPAL",
    "WALDUR_PID",
    "WALDUR_RANCHER",
    "WALDUR_SLURM",
)
"""Plugins of the reference server whose settings HomePort reads; all are empty here."""


def configuration(site_name: str, base: str, *, has_logo: bool) -> dict[str, Any]:
    """Return what HomePort needs in the public configuration before it shows a page.

    Args:
        site_name: name of the service, for the titles of its pages.
        base: base URL of the service, as the caller reaches it.
        has_logo: whether the operator has a logo, which HomePort shows in place of the name.
    """
    return {
        "LANGUAGES": list(LANGUAGES.items()),
        "LANGUAGE_CODE": "en",
        "FEATURES": FEATURES,
        "WALDUR_CORE": {
            "LANGUAGE_CHOICES": list(LANGUAGES),
            "FULL_PAGE_TITLE": site_name,
            "SHORT_PAGE_TITLE": site_name,
            **({name.upper(): f"{base}/api/icons/{name}/" for name in LOGOS} if has_logo else {}),
        },
        "WALDUR_SUPPORT": {"ENABLED": False},
        **{plugin: {} for plugin in PLUGINS},
    }
