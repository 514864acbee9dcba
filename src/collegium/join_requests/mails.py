"""Contents of the e-mails about join requests."""

from collections.abc import Callable
from typing import Any, Final

from collegium.access.labels import role_label
from collegium.access.queries import permissions_in_scope
from collegium.access.rules import ScopeKind, may_grant
from collegium.accounts.mails import load_account, name_of
from collegium.accounts.queries import AccountDetails
from collegium.db.database import ReadTransaction
from collegium.invite_links.queries import offer_of
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests.queries import JoinRequestRow
from collegium.join_requests.rules import State
from collegium.memberships.offers import permissions_to_grant
from collegium.outbox.mails import (
    JoinRequestApproved,
    JoinRequestRejected,
    JoinRequestSubmitted,
)
from collegium.outbox.outcomes import ObsoleteError
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import actor_of
from collegium.text.plain import name_line, paragraph

Loader = Callable[[ReadTransaction, Settings, Vault, dict[str, Any]], dict[str, Any]]


def _load_request(tx: ReadTransaction, request_id: int, state: State) -> JoinRequestRow:
    request = join_request_queries.by_id(tx, request_id)
    if request is None or request.scope_deleted_at is not None:
        raise ObsoleteError("The request no longer exists.")
    if request.state != state:
        raise ObsoleteError(f"The request is no longer {state}: it is {request.state}.")
    return request


def _load_for_requester(tx: ReadTransaction, request_id: int, state: State) -> JoinRequestRow:
    """Load a request for an e-mail to the person who sent it."""
    request = _load_request(tx, request_id, state)
    load_account(tx, request.account_id)
    return request


def _common_values(settings: Settings, request: JoinRequestRow) -> dict[str, Any]:
    """Return the values that all of these templates use."""
    in_organisation = request.scope_kind == "project"
    return {
        "name": name_of(request),
        "email": name_line(request.email),
        "role": name_line(role_label(request.role_description, request.role_name)),
        "scope_kind": request.scope_kind,
        "scope_name": name_line(request.scope_name),
        "organisation_name": name_line(request.organisation_name) if in_organisation else "",
        "project_name": name_line(request.project_name or ""),
        "comment": paragraph(request.comment or ""),
        "link": (settings.homeport_url or settings.base_url).rstrip("/") + "/",
    }


def _load_submitted(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    request = _load_request(tx, payload["request"], State.PENDING)
    decider = load_account(tx, payload["account"])
    if not _may_decide(tx, decider, request):
        raise ObsoleteError("The recipient can no longer decide the request.")
    return _common_values(settings, request) | {
        "message": paragraph(request.message),
        "requests_link": _requests_link(settings, request),
    }


def _may_decide(tx: ReadTransaction, decider: AccountDetails, request: JoinRequestRow) -> bool:
    """Return whether an account may still grant what a request asks for."""
    actor = actor_of(decider)
    access = permissions_in_scope(tx, actor, request.scope_id)
    return (
        decider.is_active
        and access is not None
        and may_grant(
            request.scope_kind,
            access.permissions,
            permissions_to_grant(tx, offer_of(request)),
            is_staff=actor.is_staff,
        )
    )


def _requests_link(settings: Settings, request: JoinRequestRow) -> str:
    """Return the URL of the page where the request can be decided."""
    if settings.homeport_url and request.scope_kind != ScopeKind.GROUP:
        front_end = settings.homeport_url.rstrip("/")
        return f"{front_end}/organizations/{request.organisation_uuid}/group-invitations/"
    # The official front end does not show groups.
    return f"{settings.base_url.rstrip('/')}/requests/"


def _load_rejected(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    return _common_values(settings, _load_for_requester(tx, payload["request"], State.REJECTED))


def _load_approved(
    tx: ReadTransaction, settings: Settings, _vault: Vault, payload: dict[str, Any]
) -> dict[str, Any]:
    return _common_values(settings, _load_for_requester(tx, payload["request"], State.APPROVED))


LOADERS: Final[dict[str, Loader]] = {
    JoinRequestSubmitted.kind: _load_submitted,
    JoinRequestRejected.kind: _load_rejected,
    JoinRequestApproved.kind: _load_approved,
}
