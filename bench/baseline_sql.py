"""Queries of the baseline, written by hand for both databases.

``= ANY(:name)`` binds a list; on SQLite it becomes a JSON array.
"""

from __future__ import annotations

from typing import Final

_LIVE: Final = "g.ended_at IS NULL AND (g.valid_until IS NULL OR g.valid_until > :now)"
# Organisations that the address of the caller may not access.
_OPEN: Final = """NOT EXISTS (
    SELECT 1 FROM scopes AS s JOIN denied_ranges AS c
        ON c.scope_id = coalesce(s.parent_id, s.id)
    WHERE s.id = g.scope_id AND c.low <= :address AND c.high >= :address)"""
_MINE: Final = f"g.account_id = :actor AND {_LIVE} AND {_OPEN}"

WHO: Final = """
SELECT a.id, a.is_active, a.is_staff, a.is_support, a.email, a.token_lifetime,
    t.kind, t.created_at, t.last_used_at, t.lifetime, t.expires_at
FROM tokens AS t JOIN accounts AS a ON a.id = t.account_id WHERE t.token_hash = :digest"""

_USER: Final = """
a.id, a.uuid, a.username, a.slug, a.first_name, a.last_name, a.native_name, a.job_title, a.email,
a.phone_number, a.organization, a.registration_method, a.identity_source, a.joined_at, a.agreed_at,
a.notifications_enabled, a.preferred_language, a.affiliations, a.picture, a.civil_number,
a.birth_date, a.description, a.is_staff, a.is_active, a.is_support, a.token_lifetime,
k.created_at, k.last_used_at, k.token_hash, k.token_encrypted, e.email"""
_OF_USER: Final = """
LEFT JOIN tokens AS k ON k.account_id = a.id AND k.kind = 'api'
LEFT JOIN email_changes AS e ON e.account_id = a.id"""

ME: Final = f"""
SELECT t.kind, t.created_at, t.last_used_at, t.lifetime, t.expires_at, {_USER}
FROM tokens AS t JOIN accounts AS a ON a.id = t.account_id {_OF_USER}
WHERE t.token_hash = :digest"""
USER: Final = f"""
SELECT {_USER} FROM accounts AS a {_OF_USER} WHERE a.uuid = :uuid AND a.deleted_at IS NULL"""
USERS: Final = f"""
SELECT {_USER} FROM accounts AS a {_OF_USER} WHERE a.deleted_at IS NULL
ORDER BY a.username"""
USERS_COUNT: Final = "SELECT sum(count) FROM row_counts WHERE name = 'accounts'"

SCOPES: Final = f"""
SELECT g.scope_id FROM grants AS g WHERE {_MINE}
UNION SELECT s.parent_id FROM grants AS g JOIN scopes AS s ON s.id = g.scope_id
    WHERE {_MINE} AND s.parent_id IS NOT NULL
UNION SELECT s.id FROM grants AS g JOIN scopes AS s ON s.parent_id = g.scope_id WHERE {_MINE}"""
_IN_SIGHT: Final = f"""a.deleted_at IS NULL AND a.id IN (
    SELECT :actor UNION SELECT g.account_id FROM grants AS g
    WHERE {_LIVE} AND g.scope_id = ANY(:scopes)
) AND (a.id = :actor OR a.is_active > a.is_staff)"""
USERS_SEEN: Final = f"""
SELECT {_USER} FROM accounts AS a {_OF_USER} WHERE {_IN_SIGHT}
ORDER BY a.username"""
USERS_SEEN_COUNT: Final = f"SELECT count(*) FROM accounts AS a WHERE {_IN_SIGHT}"

_GRANTS: Final = f"""
SELECT g.account_id, g.valid_from, g.valid_until, r.name, r.description, r.uuid, s.kind, s.uuid,
    s.name, o.uuid, o.name, b.first_name, b.last_name, b.username
FROM grants AS g JOIN roles AS r ON r.id = g.role_id JOIN scopes AS s ON s.id = g.scope_id
JOIN scopes AS o ON o.id = coalesce(s.parent_id, s.id)
LEFT JOIN accounts AS b ON b.id = g.granted_by
WHERE {_LIVE} AND s.deleted_at IS NULL AND s.kind <> 'group'"""
GRANTS_OF_ONE: Final = f"{_GRANTS} AND g.account_id = :actor ORDER BY g.valid_from, g.id"
GRANTS: Final = f"{_GRANTS} AND g.account_id = ANY(:accounts) ORDER BY g.valid_from, g.id"
GRANTS_SEEN: Final = f"""{_GRANTS} AND g.account_id = ANY(:accounts)
AND (g.account_id = :actor OR g.scope_id = ANY(:scopes)) ORDER BY g.valid_from, g.id"""

_INVITATION: Final = """
SELECT i.id, i.uuid, i.created_at, i.expires_at, i.full_name, i.native_name, i.phone_number,
    i.organization, i.job_title, i.civil_number, i.extra_text, i.email, i.state, i.role_id,
    i.scope_id, i.sponsor_id, m.state, m.locked_until, m.error, s.uuid, s.name, s.description,
    s.kind, o.id, o.uuid, o.name, r.uuid, r.name, r.description, b.first_name, b.last_name,
    b.username,
    b.picture, v.is_active, v.is_staff
FROM invitations AS i JOIN scopes AS s ON s.id = i.scope_id
JOIN scopes AS o ON o.id = coalesce(s.parent_id, s.id) JOIN roles AS r ON r.id = i.role_id
LEFT JOIN accounts AS b ON b.id = i.created_by LEFT JOIN accounts AS v ON v.id = i.sponsor_id
LEFT JOIN outbox AS m ON m.id = i.mail_id"""
_NEWEST: Final = "ORDER BY i.created_at DESC, i.id DESC"
INVITATIONS: Final = f"{_INVITATION} WHERE s.kind <> 'group' {_NEWEST}"
_IN_TREE: Final = "i.scope_id NOT IN (SELECT id FROM scopes WHERE kind = 'group')"
INVITATIONS_COUNT: Final = "SELECT sum(count) FROM row_counts WHERE name = 'invitations'"
# Scopes in which the caller may read invitations, directly or by a role in the organisation.
_READS: Final = """(p.permission = 'INVITATION.LIST'
    OR p.permission = 'CUSTOMER.CREATE_PERMISSION' AND s.kind = 'organisation'
    OR p.permission = 'PROJECT.CREATE_PERMISSION' AND s.kind = 'project')"""
_HELD: Final = f"""
SELECT s.id FROM grants AS g JOIN role_permissions AS p ON p.role_id = g.role_id
    JOIN scopes AS s ON s.id = g.scope_id WHERE {_MINE} AND {{needed}}
UNION SELECT s.id FROM grants AS g JOIN role_permissions AS p ON p.role_id = g.role_id
    JOIN scopes AS s ON s.parent_id = g.scope_id WHERE {_MINE} AND {{needed}}"""
READ_SCOPES: Final = _HELD.format(needed=_READS)
_SENT: Final = """i.id IN (
    SELECT id FROM invitations WHERE scope_id = ANY(:scopes)
    UNION SELECT id FROM invitations WHERE email_comparable = :email
        AND (state = 'held' OR state = 'pending' AND expires_at > :now))"""
INVITATIONS_SEEN: Final = f"{_INVITATION} WHERE s.kind <> 'group' AND {_SENT} {_NEWEST}"
INVITATIONS_SEEN_COUNT: Final = (
    f"SELECT count(*) FROM invitations AS i WHERE {_IN_TREE} AND {_SENT}"
)
HELD_BY: Final = f"""
SELECT g.account_id, g.scope_id, p.permission
FROM grants AS g JOIN role_permissions AS p ON p.role_id = g.role_id
WHERE g.account_id = ANY(:accounts) AND g.scope_id = ANY(:scopes) AND {_LIVE}"""
CARRIED: Final = "SELECT role_id, permission FROM role_permissions WHERE role_id = ANY(:roles)"

_REQUEST: Final = """
SELECT q.uuid, l.uuid, q.state, q.created_at, a.first_name, a.last_name, a.username, a.email,
    d.first_name, d.last_name, d.username, q.decided_at, q.comment, s.uuid, s.name, o.uuid, o.name,
    r.name, r.description, l.template
FROM join_requests AS q JOIN scopes AS s ON s.id = q.scope_id
JOIN scopes AS o ON o.id = coalesce(s.parent_id, s.id) JOIN roles AS r ON r.id = q.role_id
JOIN accounts AS a ON a.id = q.account_id LEFT JOIN accounts AS d ON d.id = q.decided_by
LEFT JOIN invite_links AS l ON l.id = q.invite_link_id"""
_LATEST: Final = "ORDER BY q.created_at DESC, q.id DESC"
REQUESTS: Final = f"{_REQUEST} WHERE s.kind <> 'group' {_LATEST}"
_COUNTED: Final = "q.scope_id NOT IN (SELECT id FROM scopes WHERE kind = 'group')"
REQUESTS_COUNT: Final = "SELECT sum(count) FROM row_counts WHERE name = 'join_requests'"
_GIVES: Final = """(p.permission = 'CUSTOMER.CREATE_PERMISSION' AND s.kind = 'organisation'
    OR p.permission = 'PROJECT.CREATE_PERMISSION' AND s.kind = 'project')"""
DECIDED_SCOPES: Final = f"""{_HELD.format(needed=_GIVES)}
UNION SELECT s.id FROM grants AS g JOIN scopes AS s ON s.id = g.scope_id
    WHERE {_MINE} AND s.kind = 'organisation'
UNION SELECT s.id FROM grants AS g JOIN scopes AS s ON s.parent_id = g.scope_id WHERE {_MINE}"""
_ASKED: Final = """q.id IN (
    SELECT id FROM join_requests WHERE account_id = :actor
    UNION SELECT id FROM join_requests WHERE scope_id = ANY(:scopes))"""
REQUESTS_SEEN: Final = f"{_REQUEST} WHERE s.kind <> 'group' AND {_ASKED} {_LATEST}"
REQUESTS_SEEN_COUNT: Final = (
    f"SELECT count(*) FROM join_requests AS q WHERE {_COUNTED} AND {_ASKED}"
)
