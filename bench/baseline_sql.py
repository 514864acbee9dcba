"""SQL of the baseline, written by hand for both databases.

Columns are named like the fields of the response and have their order; NULL stands for a field
that the program computes. ``= ANY(:name)`` binds a list; on SQLite it becomes a JSON array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_ACTIVE: Final = "g.ended_at IS NULL AND (g.valid_until IS NULL OR g.valid_until > :now)"
# Without organisations that the address of the caller may not access.
_ALLOWED: Final = """NOT EXISTS (
    SELECT 1 FROM scopes AS c JOIN denied_ranges AS d ON d.scope_id = coalesce(c.parent_id, c.id)
    WHERE c.id = g.scope_id AND d.low <= :address AND d.high >= :address)"""
_MINE: Final = f"g.account_id = :actor AND {_ACTIVE} AND {_ALLOWED}"


def _may_grant(whose: str) -> str:
    """Return the condition that somebody may give role ``r`` in scope ``s`` of organisation ``o``.

    Args:
        whose: condition of the grants ``g`` that the person holds.
    """
    held = f"""(SELECT p.permission FROM grants AS g
        JOIN role_permissions AS p ON p.role_id = g.role_id
        WHERE g.scope_id IN (s.id, o.id) AND {whose})"""
    return f"""CASE s.kind WHEN 'project' THEN 'PROJECT.CREATE_PERMISSION'
            ELSE 'CUSTOMER.CREATE_PERMISSION' END IN {held}
        AND NOT EXISTS (SELECT 1 FROM role_permissions AS n
            WHERE n.role_id = r.id AND n.permission NOT IN {held})"""


CALLER_COLUMNS: Final = {
    "actor": "a.id",
    "actor_email": "a.email",
    "actor_name": "a.first_name || ' ' || a.last_name",
    "actor_is_active": "a.is_active",
    "actor_sees_all": "a.is_staff OR a.is_support",
    "token_kind": "t.kind",
    "token_used_at": "t.last_used_at",
    "token_ends_at": "t.expires_at",
    "used_token_lifetime": "CASE t.kind WHEN 'api' THEN a.token_lifetime ELSE t.lifetime END",
}
_CALLER: Final = ", ".join(f"{value} AS {name}" for name, value in CALLER_COLUMNS.items())
CALLER: Final = f"""
SELECT {_CALLER} FROM tokens AS t JOIN accounts AS a ON a.id = t.account_id
WHERE t.token_hash = :token_hash"""

_USER: Final = """
a.id, a.uuid AS url, a.uuid, a.username, a.slug, NULL AS full_name, a.native_name, a.job_title,
a.email, a.phone_number, a.organization, a.registration_method, a.identity_source,
a.joined_at AS date_joined, a.agreed_at AS agreement_date, a.notifications_enabled,
a.preferred_language, NULL AS permissions, a.affiliations, a.first_name, a.last_name,
NULL AS identity_provider_name, NULL AS identity_provider_label,
'' AS identity_provider_management_url, NULL AS identity_provider_fields,
a.personal_title, a.organization_country, a.organization_type,
FALSE AS should_protect_user_details,
k.last_used_at AS token_expires_at, a.picture AS image, a.civil_number, a.birth_date,
e.email AS requested_email, a.gender, a.place_of_birth, a.address, a.country_of_residence,
a.nationality, a.nationalities, a.organization_registry_code, a.organization_vat_code,
a.organization_address, a.eduperson_assurance, a.uid_number, a.primary_gid,
a.password IS NOT NULL AS has_usable_password, 0 AS has_passkey,
(SELECT count(*) FROM passkeys AS p WHERE p.account_id = a.id AND p.revoked_at IS NULL)
AS passkey_count, a.is_identity_manager,
a.can_use_personal_access_tokens, a.attribute_sources, a.managed_isds, a.active_isds, a.details,
a.description, a.is_staff, a.is_active, a.is_support, a.deactivation_reason,
a.disabled_by_staff AS is_admin_deactivated, NULL AS has_active_session,
k.token_encrypted AS token, a.token_lifetime, NULL AS ip_address,
NULL AS profile_completeness, k.token_hash"""
USER_DOCUMENTS: Final = (
    *("nationalities", "eduperson_assurance", "attribute_sources", "managed_isds", "active_isds"),
    "details",
)
"""Columns of JSON, which SQLite returns as text."""
USER_FLAGS: Final = (
    *("has_usable_password", "has_passkey", "is_identity_manager"),
    "can_use_personal_access_tokens",
)
"""Flags, which SQLite returns as numbers."""
USER_PRIVILEGED: Final = (
    *("description", "is_staff", "is_active", "is_support", "deactivation_reason"),
    "is_admin_deactivated",
)
"""What only staff and support see."""
USER_PERSONAL: Final = (
    *("civil_number", "birth_date", "requested_email", "gender", "place_of_birth", "address"),
    *("country_of_residence", "nationality", "organization_registry_code"),
    *("organization_vat_code", "organization_address", "uid_number", "primary_gid"),
    *("passkey_count", *USER_DOCUMENTS, *USER_FLAGS),
)
"""What only the account, staff and support see."""
_OF_USER: Final = """
LEFT JOIN tokens AS k ON k.account_id = a.id AND k.kind = 'api'
LEFT JOIN email_changes AS e ON e.account_id = a.id"""
ME: Final = f"""
SELECT {_CALLER}, {_USER} FROM tokens AS t JOIN accounts AS a ON a.id = t.account_id {_OF_USER}
WHERE t.token_hash = :token_hash"""
USER: Final = f"""
SELECT {_USER} FROM accounts AS a {_OF_USER} WHERE a.uuid = :uuid AND a.deleted_at IS NULL"""

_GRANTS: Final = f"""
SELECT g.account_id, NULL AS user_uuid, NULL AS user_name, NULL AS user_slug,
    g.valid_from AS created, g.valid_until AS expiration_time, r.name AS role_name,
    r.description AS role_description, r.uuid AS role_uuid,
    CASE s.kind WHEN 'organisation' THEN 'customer' ELSE s.kind END AS scope_type,
    s.uuid AS scope_uuid, s.name AS scope_name, o.uuid AS customer_uuid, o.name AS customer_name,
    b.first_name || ' ' || b.last_name AS created_by_full_name,
    b.username AS created_by_username
FROM grants AS g JOIN roles AS r ON r.id = g.role_id JOIN scopes AS s ON s.id = g.scope_id
JOIN scopes AS o ON o.id = coalesce(s.parent_id, s.id)
LEFT JOIN accounts AS b ON b.id = g.granted_by
WHERE {_ACTIVE} AND s.deleted_at IS NULL AND s.kind <> 'group'"""
GRANTS_OF_ONE: Final = f"{_GRANTS} AND g.account_id = :account ORDER BY g.valid_from, g.id"
GRANTS: Final = f"{_GRANTS} AND g.account_id = ANY(:accounts) ORDER BY g.valid_from, g.id"
GRANTS_SEEN: Final = f"""{_GRANTS} AND g.account_id = ANY(:accounts)
AND (g.account_id = :actor OR g.scope_id = ANY(:scopes)) ORDER BY g.valid_from, g.id"""


@dataclass(frozen=True)
class Listing:
    """The statements of a list: for staff, and for others, who see rows in some scopes.

    Args:
        scopes: the scopes in which the caller sees rows.
    """

    count: str
    page: str
    scopes: str
    count_seen: str
    page_seen: str


_NOT_DELETED: Final = "a.deleted_at IS NULL"
_USER_SEEN: Final = f"""{_NOT_DELETED} AND a.id IN (
    SELECT :actor UNION SELECT g.account_id FROM grants AS g
    WHERE {_ACTIVE} AND g.scope_id = ANY(:scopes)
) AND (a.id = :actor OR a.is_active > a.is_staff)"""
_USERS: Final = f"SELECT {_USER} FROM accounts AS a {_OF_USER} WHERE"
USERS: Final = Listing(
    count="SELECT sum(count) AS count FROM row_counts WHERE name = 'accounts'",
    page=f"{_USERS} {_NOT_DELETED} ORDER BY a.username",
    scopes=f"""
SELECT g.scope_id FROM grants AS g WHERE {_MINE}
UNION SELECT s.parent_id FROM grants AS g JOIN scopes AS s ON s.id = g.scope_id
    WHERE {_MINE} AND s.parent_id IS NOT NULL
UNION SELECT s.id FROM grants AS g JOIN scopes AS s ON s.parent_id = g.scope_id WHERE {_MINE}""",
    count_seen=f"SELECT count(*) AS count FROM accounts AS a WHERE {_USER_SEEN}",
    page_seen=f"{_USERS} {_USER_SEEN} ORDER BY a.username",
)

_INVITATION: Final = """
SELECT i.uuid AS url, i.uuid, r.uuid AS role, i.created_at AS created,
    i.expires_at AS expires, i.full_name, i.native_name, i.phone_number, i.organization,
    i.job_title, i.civil_number, i.extra_text AS extra_invitation_text, i.email,
    CASE WHEN i.state = 'held' THEN 'project'
        WHEN i.state = 'pending' AND i.expires_at <= :now THEN 'expired' ELSE i.state END AS state,
    CASE WHEN m.state = 'sent' THEN 'OK' WHEN m.state <> 'queued' THEN 'Erred'
        WHEN m.locked_until > :now THEN 'Processing' WHEN m.error <> '' THEN 'Erred'
        ELSE 'Scheduled' END AS execution_state,
    CASE WHEN m.state = 'sent' OR m.state = 'queued' AND m.locked_until > :now THEN ''
        ELSE coalesce(m.error, '') END AS error_message,
    s.uuid AS scope_uuid, s.name AS scope_name, s.description AS scope_description,
    CASE s.kind WHEN 'organisation' THEN 'customer' ELSE s.kind END AS scope_type,
    o.uuid AS customer_uuid, o.name AS customer_name, r.name AS role_name,
    r.description AS role_description,
    coalesce(b.first_name || ' ' || b.last_name, '') AS created_by_full_name,
    coalesce(b.username, '') AS created_by_username, b.picture AS created_by_image,
    i.role_id, i.scope_id, s.parent_id, i.sponsor_id, v.is_active AS sponsor_is_active,
    v.is_staff AS sponsor_is_staff
FROM invitations AS i JOIN scopes AS s ON s.id = i.scope_id
JOIN scopes AS o ON o.id = coalesce(s.parent_id, s.id) JOIN roles AS r ON r.id = i.role_id
LEFT JOIN accounts AS b ON b.id = i.created_by LEFT JOIN accounts AS v ON v.id = i.sponsor_id
LEFT JOIN outbox AS m ON m.id = i.mail_id"""
INVITATION: Final = f"{_INVITATION} WHERE i.id = :invitation"
PERMISSIONS: Final = f"""
SELECT g.account_id, g.scope_id, p.permission
FROM grants AS g JOIN role_permissions AS p ON p.role_id = g.role_id
WHERE g.account_id = ANY(:accounts) AND g.scope_id = ANY(:scopes) AND {_ACTIVE}"""
ROLE_PERMISSIONS: Final = """
SELECT role_id, permission FROM role_permissions WHERE role_id = ANY(:roles)"""
_HELD: Final = f"""
SELECT s.id AS scope_id FROM grants AS g JOIN role_permissions AS p ON p.role_id = g.role_id
    JOIN scopes AS s ON s.id = g.scope_id WHERE {_MINE} AND {{permission}}
UNION SELECT s.id FROM grants AS g JOIN role_permissions AS p ON p.role_id = g.role_id
    JOIN scopes AS s ON s.parent_id = g.scope_id WHERE {_MINE} AND {{permission}}"""
_GIVES: Final = """(p.permission = 'CUSTOMER.CREATE_PERMISSION' AND s.kind = 'organisation'
    OR p.permission = 'PROJECT.CREATE_PERMISSION' AND s.kind = 'project')"""
_SENT: Final = """i.id IN (
    SELECT id FROM invitations WHERE scope_id = ANY(:scopes)
    UNION SELECT id FROM invitations WHERE email_comparable = :email
        AND (state = 'held' OR state = 'pending' AND expires_at > :now))"""
_NEWEST_SENT: Final = "ORDER BY i.created_at DESC, i.id DESC"
INVITATIONS: Final = Listing(
    count="SELECT sum(count) AS count FROM row_counts WHERE name = 'invitations'",
    page=f"{_INVITATION} WHERE s.kind <> 'group' {_NEWEST_SENT}",
    scopes=_HELD.format(permission=f"(p.permission = 'INVITATION.LIST' OR {_GIVES})"),
    count_seen=f"""SELECT count(*) AS count FROM invitations AS i
WHERE i.scope_id NOT IN (SELECT id FROM scopes WHERE kind = 'group') AND {_SENT}""",
    page_seen=f"{_INVITATION} WHERE s.kind <> 'group' AND {_SENT} {_NEWEST_SENT}",
)

_REQUEST: Final = """
SELECT q.uuid AS url, q.uuid, l.uuid AS invitation, q.state, q.created_at AS created,
    a.first_name || ' ' || a.last_name AS created_by_full_name,
    a.username AS created_by_username, a.email AS created_by_email,
    d.first_name || ' ' || d.last_name AS reviewed_by_full_name,
    d.username AS reviewed_by_username,
    CASE WHEN q.state <> 'canceled' THEN q.decided_at END AS reviewed_at,
    q.comment AS review_comment, s.uuid AS scope_uuid, s.name AS scope_name,
    o.uuid AS customer_uuid, o.name AS customer_name, r.name AS role_name,
    r.description AS role_description, coalesce(l.template, '') AS project_name_template,
    q.custom_project_name AS project_name, q.custom_project_description AS project_description
FROM join_requests AS q JOIN scopes AS s ON s.id = q.scope_id
JOIN scopes AS o ON o.id = coalesce(s.parent_id, s.id) JOIN roles AS r ON r.id = q.role_id
JOIN accounts AS a ON a.id = q.account_id
LEFT JOIN accounts AS d ON d.id = q.decided_by AND q.state <> 'canceled'
LEFT JOIN invite_links AS l ON l.id = q.invite_link_id"""
_ASKED: Final = """q.id IN (
    SELECT id FROM join_requests WHERE account_id = :actor
    UNION SELECT id FROM join_requests WHERE scope_id = ANY(:scopes))"""
_NEWEST_ASKED: Final = "ORDER BY q.created_at DESC, q.id DESC"
REQUESTS: Final = Listing(
    count="SELECT sum(count) AS count FROM row_counts WHERE name = 'join_requests'",
    page=f"{_REQUEST} WHERE s.kind <> 'group' {_NEWEST_ASKED}",
    scopes=f"""{_HELD.format(permission=_GIVES)}
UNION SELECT s.id FROM grants AS g JOIN scopes AS s ON s.id = g.scope_id
    WHERE {_MINE} AND s.kind = 'organisation'
UNION SELECT s.id FROM grants AS g JOIN scopes AS s ON s.parent_id = g.scope_id WHERE {_MINE}""",
    count_seen=f"""SELECT count(*) AS count FROM join_requests AS q
WHERE q.scope_id NOT IN (SELECT id FROM scopes WHERE kind = 'group') AND {_ASKED}""",
    page_seen=f"{_REQUEST} WHERE s.kind <> 'group' AND {_ASKED} {_NEWEST_ASKED}",
)

# Rights are part of the statement that finds the row: no row, no right. On PostgreSQL it takes the
# locks of the service.
TO_CREATE: Final = f"""
SELECT s.id AS scope, r.id AS role FROM scopes AS s
JOIN scopes AS o ON o.id = coalesce(s.parent_id, s.id) JOIN roles AS r ON r.kind = s.kind
WHERE s.uuid = :scope_uuid AND s.deleted_at IS NULL AND r.uuid = :role_uuid AND r.is_active
    AND {_may_grant(_MINE)} FOR SHARE OF s, o"""
TO_ACCEPT: Final = f"""
SELECT i.id AS invitation, s.id AS scope, s.name AS scope_name, r.id AS role, r.name AS role_name,
    v.id AS granted_by, v.email AS recipient, a.id AS account, a.username
FROM invitations AS i JOIN scopes AS s ON s.id = i.scope_id
JOIN scopes AS o ON o.id = coalesce(s.parent_id, s.id) JOIN roles AS r ON r.id = i.role_id
JOIN accounts AS v ON v.id = i.sponsor_id JOIN accounts AS a ON a.id = :actor
WHERE i.uuid = :uuid AND i.state = 'pending' AND i.expires_at > :now AND s.deleted_at IS NULL
    AND r.is_active AND v.is_active
    AND (v.is_staff OR {_may_grant(f"g.account_id = v.id AND {_ACTIVE}")})
    FOR NO KEY UPDATE OF s"""
TO_APPROVE: Final = f"""
SELECT q.id AS request, s.id AS scope, s.name AS scope_name, r.id AS role, r.name AS role_name,
    a.id AS account, a.username, a.email AS recipient, :actor AS granted_by
FROM join_requests AS q JOIN scopes AS s ON s.id = q.scope_id
JOIN scopes AS o ON o.id = coalesce(s.parent_id, s.id) JOIN roles AS r ON r.id = q.role_id
JOIN accounts AS a ON a.id = q.account_id
WHERE q.uuid = :uuid AND q.state = 'pending' AND s.deleted_at IS NULL AND r.is_active
    AND a.is_active AND {_may_grant(_MINE)} FOR NO KEY UPDATE OF s, o"""

INVITE: Final = """
INSERT INTO invitations (uuid, scope_id, role_id, email, email_comparable, email_search, full_name,
    state, created_at, expires_at, created_by, sponsor_id)
VALUES (:uuid, :scope, :role, :recipient, :comparable_email, :comparable_email, :full_name,
    'pending', :now, :expires_at, :actor, :actor) RETURNING id AS invitation"""
MAILED: Final = "UPDATE invitations SET mail_id = :mail, mailed_at = :now WHERE id = :invitation"
ACCEPT: Final = """
UPDATE invitations SET state = 'accepted', accepted_by = :actor, accepted_at = :now
WHERE id = :invitation AND state = 'pending' RETURNING id"""
APPROVE: Final = """
UPDATE join_requests SET state = 'approved', decided_by = :actor, decided_at = :now
WHERE id = :request AND state = 'pending' RETURNING id"""
GRANT: Final = """
INSERT INTO grants (uuid, account_id, role_id, scope_id, valid_from, granted_by, source)
VALUES (:grant, :account, :role, :scope, :now, :granted_by, :source)"""
EVENT: Final = """
INSERT INTO events (uuid, created_at, kind, actor_id, actor_name, ip_address, request_id, scope_id,
    account_id, payload)
VALUES (:event, :now, :kind, :actor, :actor_name, :ip_address, :request_id, :scope, :account,
    :payload)"""
MAIL: Final = """
INSERT INTO outbox (kind, recipient, payload, created_at, next_attempt_at)
VALUES (:kind, :recipient, :payload, :now, :now) RETURNING id AS mail"""
