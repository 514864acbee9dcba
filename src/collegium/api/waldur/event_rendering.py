"""How this API shows an event: its type, its message and its context, as one reader sees them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from collegium.access.rules import Actor, ScopeKind
from collegium.api.waldur import schemas
from collegium.events.queries import EventRow
from collegium.events.types import BY_KIND
from collegium.events.visibility import View
from collegium.text import languages
from collegium.text.languages import mark


class Event(Struct, frozen=True):
    """A recorded event. The official clients request single events by ``id``."""

    id: int
    uuid: str
    created: datetime
    event_type: str
    message: str
    context: dict[str, Any]


EVENTS: Final = {event.waldur_type: event for event in BY_KIND.values() if event.message}
"""Event type of this API → our class. The events of groups are not in this API."""

_SAME: Final = (
    "username slug email first_name last_name native_name job_title phone_number organization "
    "registration_method identity_source notifications_enabled preferred_language affiliations "
    "civil_number birth_date description is_staff is_support is_active token_lifetime "
    "gender personal_title place_of_birth address country_of_residence nationality nationalities "
    "organization_country organization_type organization_registry_code organization_vat_code "
    "organization_address eduperson_assurance uid_number primary_gid managed_isds active_isds "
    "is_identity_manager can_use_personal_access_tokens deactivation_reason"
)
_ACCOUNT_FIELDS: Final = {
    **{name: name for name in _SAME.split()},
    "agreed_at": "agreement_date",
    "picture": "image",
}
"""Columns of an account whose changes are shown, with their names in this API."""

_HIDDEN_FIELDS: Final = frozenset({"token_lifetime", "picture"})
"""Columns among these whose values are never shown."""

ACCOUNT_FIELDS: Final = {
    name: column for column, name in _ACCOUNT_FIELDS.items() if column not in _HIDDEN_FIELDS
}
"""Fields of an account in this API whose changes are shown with their values, with their columns.
"""

_OTHER_FIELDS: Final = {
    "accounting_started_at": "accounting_start_date",
    "event_kinds": "event_types",
}
"""Columns of an organisation, a project or a hook that have other names in this API."""


def _context(view: View, row: EventRow) -> dict[str, Any]:
    context: dict[str, Any] = {}
    if view.has_scope:
        context |= _scope(row)
    if view.has_account and row.account_id is not None:
        context |= _affected(row, with_name=view.has_full_name)
    if view.has_actor and row.actor_name:
        context |= _account("user", row.actor_uuid, row.actor_deleted_at, row.actor_username)
        context["user_full_name"] = row.actor_name
    if view.has_origin:
        origin = {"ip_address": row.ip_address, "request_id": row.request_id}
        context |= {key: value for key, value in origin.items() if value}
    if view.impersonator:
        context["impersonated_by_full_name"] = view.impersonator
    for name, value in view.facts.items():
        if name == "changes" and row.account_id is not None:
            context |= _changes(value)
        elif name == "fields":
            context["fields"] = [_OTHER_FIELDS.get(field, field) for field in value]
        else:
            context[view.event.facts[name].key] = value
    return context


def _scope(row: EventRow) -> dict[str, Any]:
    context = {
        "scope_type": schemas.KINDS[ScopeKind(row.scope_kind or "")],
        "scope_uuid": row.scope_uuid,
        "scope_name": row.scope_name,
        "customer_uuid": row.organisation_uuid,
        "customer_name": row.organisation_name,
    }
    if row.scope_kind == ScopeKind.PROJECT:
        context |= {"project_uuid": row.scope_uuid, "project_name": row.scope_name}
    return context


def _affected(row: EventRow, *, with_name: bool) -> dict[str, Any]:
    name = f"{row.account_first_name} {row.account_last_name}".strip()
    return {
        **_account("affected_user", row.account_uuid, row.account_deleted_at, row.account_username),
        **({"affected_user_full_name": name} if with_name and name else {}),
    }


def _account(
    prefix: str, uuid: str | None, deleted: datetime | None, name: str | None
) -> dict[str, Any]:
    if uuid is None:
        return {}
    # A deleted account has no user name any more. Its former user name is among the facts.
    username = {f"{prefix}_username": name} if deleted is None else {}
    return {f"{prefix}_uuid": uuid, **username}


def _changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    names = {name: _ACCOUNT_FIELDS[name] for name in changes if name in _ACCOUNT_FIELDS}
    return {
        "fields": sorted(names.values()),
        "changes": {
            key: changes[name] for name, key in names.items() if name not in _HIDDEN_FIELDS
        },
    }


_UNKNOWN: Final = mark("unknown")
_OPTIONAL: Final = re.compile(r"\[([^\]]*)\]")
_KEY: Final = re.compile(r"{(\w+)}")


def _message(
    template: str,
    context: Mapping[str, Any],
    clean: Callable[[str], str] = lambda text: text,
    unknown: str = "unknown",
) -> str:
    """Return a message filled from a context.

    Missing keys become the text ``unknown``; a bracketed part with a missing key is left out.

    Args:
        clean: makes each value safe for the place where the message is shown.
    """

    def text_of(key: str) -> str:
        value = context.get(key)
        values = value if isinstance(value, list) else [value or ""]
        return ", ".join(clean(str(one)) if one else "" for one in values)

    def fill_optional(match: re.Match[str]) -> str:
        return match[1] if all(text_of(key) for key in _KEY.findall(match[1])) else ""

    return _KEY.sub(
        lambda match: text_of(match[1]) or unknown, _OPTIONAL.sub(fill_optional, template)
    )


def render_message(reader: Actor, row: EventRow, clean: Callable[[str], str]) -> str:
    """Return only the message of an event, in the language of the e-mail that has it.

    Args:
        row: read for this reader.
        clean: makes each value safe for the place where the message is shown.
    """
    view = View(reader, row)
    template = languages.gettext(view.event.message)
    return _message(template, _context(view, row), clean, languages.gettext(_UNKNOWN))


def render(reader: Actor, row: EventRow) -> Event:
    """Return an event as a reader sees it.

    Args:
        row: read for this reader.
    """
    view = View(reader, row)
    context = _context(view, row)
    return Event(
        id=row.id,
        uuid=row.uuid,
        created=row.created_at,
        event_type=view.event.waldur_type or row.kind.replace(".", "_"),
        message=_message(view.event.message, context),
        context=context,
    )
