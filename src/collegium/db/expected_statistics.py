"""Planner statistics for a database that has not been analysed yet.

They come from the benchmark database with ten thousand accounts. Tables that are empty there are
estimated. Each index needs a line here; ``tests/db/test_young.py`` checks this.
"""

from __future__ import annotations

from typing import Final

SQLITE: Final[dict[str, dict[str, str]]] = {
    "account_texts": {
        "": "9990",
    },
    "accounts": {
        "ix_accounts_agreed_at": "10000 2",
        "ix_accounts_description": "10000 10 1",
        "ix_accounts_email": "10000 1 1",
        "ix_accounts_email_comparable": "10000 1",
        "ix_accounts_is_active": "10000 5000 1 1",
        "ix_accounts_is_staff": "10000 5000 1 1",
        "ix_accounts_is_support": "10000 5000 1 1",
        "ix_accounts_job_title": "10000 4 1",
        "ix_accounts_joined_at": "10000 1",
        "ix_accounts_last_synced_at": "10000 10000",
        "ix_accounts_modified_at": "10000 1",
        "ix_accounts_name": "10000 21 1 1",
        "ix_accounts_native_name": "10000 50 1",
        "ix_accounts_organization": "10000 2 1",
        "ix_accounts_phone_number": "10000 1 1",
        "ix_accounts_registration_method": "10000 5000 1 1",
        "ix_accounts_username": "10000 1 1",
        "sqlite_autoindex_accounts_1": "10000 2",
        "sqlite_autoindex_accounts_2": "10000 1",
        "sqlite_autoindex_accounts_3": "10000 1",
        "sqlite_autoindex_accounts_4": "10000 1",
    },
    "agreement_acceptances": {
        "ix_agreement_acceptances_agreement_id": "20000 5000",
        "sqlite_autoindex_agreement_acceptances_1": "20000 2 1",
    },
    "agreements": {
        "uq_agreements_current": "4 2 1",
        "uq_agreements_uuid": "4 1",
    },
    "bulk_change_rows": {
        "ix_bulk_change_rows_grant_id": "20000 1",
        "ix_bulk_change_rows_invitation_id": "40000 1",
        "ix_bulk_change_rows_state": "60000 3000 1000 1",
        "sqlite_autoindex_bulk_change_rows_1": "60000 3000 1",
    },
    "bulk_changes": {
        "ix_bulk_changes_busy": "1 1",
        "ix_bulk_changes_created_at": "20 1",
        "ix_bulk_changes_created_by": "20 2",
        "ix_bulk_changes_impersonator_id": "20 20",
        "ix_bulk_changes_scope_id": "20 2",
        "sqlite_autoindex_bulk_changes_1": "20 1",
    },
    "claim_rule_grants": {
        "ix_claim_rule_grants_grant_id": "2000 1",
        "ix_claim_rule_grants_role_id": "2000 400",
        "ix_claim_rule_grants_rule_id": "2000 200",
        "ix_claim_rule_grants_scope_id": "2000 200",
        "sqlite_autoindex_claim_rule_grants_1": "2000 2 1 1 1",
    },
    "claim_rules": {
        "ix_claim_rules_organisation_id": "10 2",
        "ix_claim_rules_organisation_role_id": "10 5",
        "ix_claim_rules_project_id": "10 2",
        "ix_claim_rules_project_role_id": "10 5",
        "sqlite_autoindex_claim_rules_1": "10 1",
    },
    "denied_ranges": {
        "sqlite_autoindex_denied_ranges_1": "50 2 1",
    },
    "devices": {
        "ix_devices_account_id": "500 2",
        "ix_devices_expires_at": "500 1",
        "sqlite_autoindex_devices_1": "500 1",
        "sqlite_autoindex_devices_2": "500 1",
        "sqlite_autoindex_devices_3": "500 1",
    },
    "email_changes": {
        "ix_email_changes_email_comparable": "50 1",
        "sqlite_autoindex_email_changes_1": "50 1",
        "uq_email_changes_cancel_code_hash": "50 1",
    },
    "events": {
        "ix_events_account_id": "50000 5 1 1",
        "ix_events_actor_id": "50000 10 1 1",
        "ix_events_created_at": "50000 1 1",
        "ix_events_kind": "50000 10 1 1",
        "ix_events_scope_id": "50000 10 1 1",
        "uq_events_uuid": "50000 1",
    },
    "grants": {
        "ix_grants_account_id": "19980 2 1 1",
        "ix_grants_reminders": "1998 1000 2",
        "ix_grants_role_id": "19980 4995 1 1 1 1",
        "ix_grants_scope_active": "19980 40 1 1",
        "ix_grants_scope_ended": "1998 4 1 1 1 1",
        "ix_grants_valid_from": "19980 2 1",
        "ix_grants_valid_from_active": "19980 2 1",
        "ix_grants_valid_until_active": "1998 2",
        "sqlite_autoindex_grants_1": "19980 1",
        "uq_grants_active": "19980 2 1 1",
    },
    "groups": {
        "ix_groups_founder_id": "100 2",
        "sqlite_autoindex_groups_1": "100 1",
    },
    "import_rows": {
        "ix_import_rows_email_comparable": "60000 2",
        "ix_import_rows_invitation_id": "50000 1",
        "ix_import_rows_state": "60000 3000 600 1",
        "sqlite_autoindex_import_rows_1": "60000 3000 1",
    },
    "imports": {
        "ix_imports_busy": "1 1",
        "ix_imports_created_at": "20 1 1",
        "ix_imports_created_by": "20 2",
        "ix_imports_impersonator_id": "20 20",
        "ix_imports_scope_id": "20 2 1",
        "ix_imports_started_by": "20 2",
        "sqlite_autoindex_imports_1": "20 2 1",
        "sqlite_autoindex_imports_2": "20 1",
    },
    "invitations": {
        "ix_invitations_accepted_at": "300 1 1",
        "ix_invitations_account_id": "50 2",
        "ix_invitations_civil_number": "50 1",
        "ix_invitations_created_at": "500 1 1",
        "ix_invitations_email_comparable": "500 1",
        "ix_invitations_expiring": "98 2",
        "ix_invitations_held": "10 2",
        "ix_invitations_mail_id": "500 1",
        "ix_invitations_role_id": "500 250 1 1",
        "ix_invitations_scope_id": "500 17 1",
        "ix_invitations_state": "500 167 1 1",
        "sqlite_autoindex_invitations_1": "500 1",
    },
    "ssh_keys": {
        "ix_ssh_keys_fingerprint_md5": "2000 1",
        "ix_ssh_keys_fingerprint_sha256": "2000 1",
        "ix_ssh_keys_fingerprint_sha512": "2000 1",
        "ix_ssh_keys_name": "2000 2 1",
        "ix_ssh_keys_shared": "20 1",
        "sqlite_autoindex_ssh_keys_1": "2000 2 1",
        "sqlite_autoindex_ssh_keys_2": "2000 1",
    },
    "mail_preferences": {
        "ix_mail_preferences_next_at": "50 10 1",
        "sqlite_autoindex_mail_preferences_1": "500 2 1",
    },
    "role_notices": {
        "ix_role_notices_account_id": "500 2",
        "ix_role_notices_actor_id": "500 50",
        "ix_role_notices_created_at": "500 10 1",
        "ix_role_notices_former_id": "500 250",
        "ix_role_notices_grant_id": "500 2",
    },
    "mail_budgets": {
        "ix_mail_budgets_last_at": "500 1",
        "sqlite_autoindex_mail_budgets_1": "500 1",
    },
    "invite_links": {
        "ix_invite_links_created_at": "40 1 1",
        "ix_invite_links_public": "40 1 1",
        "ix_invite_links_role_id": "40 40",
        "ix_invite_links_scope_id": "40 1 1",
        "sqlite_autoindex_invite_links_1": "40 1",
    },
    "organisations": {
        "": "100",
    },
    "hooks": {
        "ix_hooks_account_id": "100 2 1",
        "ix_hooks_active": "80 1",
        "ix_hooks_created_at": "100 1 1",
        "ix_hooks_due": "10 2 1",
        "ix_hooks_email": "10 2",
        "sqlite_autoindex_hooks_1": "100 1",
    },
    "outbox": {
        "ix_outbox_account_id": "100 2",
        "ix_outbox_delivered": "500 1",
        "ix_outbox_failed": "10 1 1",
        "ix_outbox_hook_id": "100 20 1",
        "ix_outbox_hook_queue": "50 10 1",
        "ix_outbox_queued": "10 2",
        "ix_outbox_recipient": "500 1",
        "ix_outbox_urgent": "3 1",
    },
    "pictures": {
        "sqlite_autoindex_pictures_1": "1000 1",
    },
    "projects": {
        "": "400",
    },
    "recovery_codes": {
        "sqlite_autoindex_recovery_codes_1": "5000 10 1",
    },
    "join_requests": {
        "ix_join_requests_account_id": "500 2 1",
        "ix_join_requests_created_at": "500 1 1",
        "ix_join_requests_decided_at": "402 1",
        "ix_join_requests_invite_link_id": "500 13",
        "ix_join_requests_pending": "98 1 1",
        "ix_join_requests_role_id": "500 500",
        "ix_join_requests_scope_id": "500 13 1",
        "sqlite_autoindex_join_requests_1": "500 1",
        "uq_join_requests_exclusive_key": "98 2 1 1",
    },
    "role_permissions": {
        "sqlite_autoindex_role_permissions_1": "30 6 1",
    },
    "reviewed_grants": {
        "ix_reviewed_grants_grant_id": "20000 2",
        "sqlite_autoindex_reviewed_grants_1": "20000 20 1",
    },
    "reviews": {
        "ix_reviews_closed_by": "2000 20",
        "ix_reviews_created_at": "2000 1 1",
        "ix_reviews_scope_id": "2000 2 1",
        "sqlite_autoindex_reviews_1": "2000 1",
        "uq_reviews_pending": "500 1",
    },
    "organisation_roles": {
        "ix_organisation_roles_template_id": "20 5",
        "sqlite_autoindex_organisation_roles_1": "20 1",
        "sqlite_autoindex_organisation_roles_2": "20 2 1",
    },
    "role_concealments": {
        "ix_role_concealments_role_id": "20 5",
        "sqlite_autoindex_role_concealments_1": "20 1",
        "sqlite_autoindex_role_concealments_2": "20 2 1",
    },
    "roles": {
        "sqlite_autoindex_roles_1": "10 1",
        "sqlite_autoindex_roles_2": "10 1",
    },
    "scopes": {
        "ix_scopes_kind_deleted_at": "500 250 245",
        "ix_scopes_kind_name": "500 250 1 1",
        "ix_scopes_kind_name_sort": "500 250 1 1",
        "ix_scopes_parent_id": "500 5",
        "sqlite_autoindex_scopes_1": "500 250 1",
        "sqlite_autoindex_scopes_2": "500 1",
    },
    "two_factor": {
        "": "500",
    },
    "slugs": {
        "sqlite_autoindex_slugs_1": "500 1",
    },
    "idempotency_keys": {
        "ix_idempotency_keys_created_at": "500 1",
        "sqlite_autoindex_idempotency_keys_1": "500 1",
    },
    "row_counts": {
        "": "3",
    },
    "tokens": {
        "ix_tokens_account_id": "10000 1 1",
        "sqlite_autoindex_tokens_1": "10000 1",
        "uq_tokens_api": "10000 1",
    },
    "rate_limits": {
        "ix_rate_limits_last_attempt_at": "500 1",
        "sqlite_autoindex_rate_limits_1": "500 1",
    },
    "exchange_codes": {
        "ix_exchange_codes_expires_at": "50 1",
        "ix_exchange_codes_identity_id": "50 1",
        "sqlite_autoindex_exchange_codes_1": "50 1",
    },
    "identities": {
        "ix_identities_account_id": "5000 2 1",
        "ix_identities_provider_id": "5000 1700",
        "sqlite_autoindex_identities_1": "5000 1700 1",
        "sqlite_autoindex_identities_2": "5000 1",
    },
    "identity_providers": {
        "sqlite_autoindex_identity_providers_1": "3 1",
        "sqlite_autoindex_identity_providers_2": "3 1",
    },
    "identity_sessions": {
        "ix_identity_sessions_identity_id": "5000 2 1",
    },
    "passkey_ceremonies": {
        "ix_passkey_ceremonies_account_id": "50 2",
        "ix_passkey_ceremonies_expires_at": "50 1",
        "sqlite_autoindex_passkey_ceremonies_1": "50 1",
    },
    "passkeys": {
        "ix_passkeys_account_id": "500 2 2",
        "ix_passkeys_revoked_by_id": "500 500",
        "sqlite_autoindex_passkeys_1": "500 1",
        "sqlite_autoindex_passkeys_2": "500 1",
    },
    "provider_sign_ins": {
        "ix_provider_sign_ins_account_id": "50 50",
        "ix_provider_sign_ins_expires_at": "50 1",
        "ix_provider_sign_ins_provider_id": "50 17",
        "sqlite_autoindex_provider_sign_ins_1": "50 1",
    },
    "used_logout_tokens": {
        "ix_used_logout_tokens_expires_at": "100 1",
        "sqlite_autoindex_used_logout_tokens_1": "100 1",
    },
}
"""Rows of ``sqlite_stat1`` by table and index (an empty name stands for the table itself).

The first number is the number of rows. The others say how many rows share the same value of the
first column of the index, of the first two columns, and so on.
"""

POSTGRESQL: Final[dict[str, str]] = {
    "account_texts": """
        account_id 0 8 -1
        civil_number 0 6 -0.5
        email 0 33 -1
        first_name 0 6 -0.048
        full_name 0 4 -0.271
        job_title 0 4 -0.25
        last_name 0 8 -0.673
        native_name 0 1 -0.0201
        organization 0 16 -0.665
        people 0 63 -1
        plain_name 0 13 -0.999
        username 0 15 -1
    """,
    "accounts": """
        active_isds 0 5 1
        address 0 1 1
        affiliations 0 5 1
        agreed_at 0.333 8 -0.667
        attribute_sources 0 5 1
        birth_date 1 4 0
        can_use_personal_access_tokens 0 1 1
        civil_number 0.5 12 -0.5
        country_of_residence 0 1 20
        credentials_version 0 4 1
        deactivation_reason 0 1 1
        deleted_at 0.999 8 -0.001
        description 0 2 -0.1
        details 0 5 1
        disabled_by_staff 0 1 1
        eduperson_assurance 0 5 1
        email 0 33 -1
        email_comparable 0 33 -1
        first_name 0 6 -0.048
        first_name_sort 0 5 -0.048
        gender 0 1 4
        id 0 8 -1
        identity_source 0 1 1
        is_active 0 1 2 {t,f} {0.9951,0.0049}
        is_identity_manager 0 1 1
        is_staff 0 1 2 {f} {0.9999}
        is_support 0 1 2 {f,t} {0.9998,0.0002}
        job_title 0 4 -0.25
        joined_at 0 8 -1
        last_login_at 0.2 8 -0.8
        last_name 0 8 -0.673
        last_name_sort 0 7 -0.673
        last_synced_at 1 8 0
        managed_isds 0 5 1
        modified_at 0 8 -1
        must_agree 0 1 1
        nationalities 0 5 1
        nationality 0 1 20
        native_name 0 1 -0.0201
        native_name_sort 0 1 -0.0201
        notifications_enabled 0 1 1
        organization 0 16 -0.665
        organization_address 0 1 1
        organization_country 0 1 20
        organization_registry_code 0 1 1
        organization_sort 0 15 -0.665
        organization_type 0 1 1
        organization_vat_code 0 1 1
        password 0.2 98 -0.8
        personal_title 0 1 4
        phone_number 0 13 -1
        picture 1 16 0
        place_of_birth 0 1 1
        preferred_language 0 1 1
        primary_gid 1 8 0
        profile 0 5 1
        registration_method 0 7 2 {default,saml2} {0.9996,0.0004}
        reviews_mailed_at 1 8 0
        search 0 123 -1
        slug 0 9 -1
        token_lifetime 0 4 1
        uid_number 1 8 0
        username 0 15 -1
        uuid 0 16 -1
    """,
    "grants": """
        account_id 0 8 -0.5
        end_reason 0 1 1
        ended_at 0.9 8 -0.1
        ended_by 1 8 0
        granted_by 0 8 -0.00501
        id 0 8 -1
        reminders_done 0 4 3
        role_id 0 8 4
        scope_id 0 8 -0.025
        source 0 10 5
        uuid 0 16 -1
        valid_from 0 8 -0.5
        valid_until 0.9 8 -0.05
    """,
    "invitations": """
        accepted_at 1 8 0
        accepted_by 0.392 8 -0.608
        account_id 1 8 0
        approved_by 1 8 0
        civil_number 0 1 1
        created_at 0 8 -1
        created_by 0 8 -0.02
        email 0 20 -1
        email_comparable 0 20 -1
        email_search 0 20 -1
        expires_at 0 8 -1
        expiry_notified_at 1 8 0
        extra_text 0 1 1
        full_name 0 9 -1
        grant_until 1 8 0
        id 0 8 -1
        invitee_deactivated_at 1 8 0
        job_title 0 1 1
        language 0 1 1
        link_version 0 4 1
        mail_id 0 8 -1
        mailed_at 1 8 0
        native_name 0 1 1
        organization 0 9 -0.67
        phone_number 0 1 1
        reminded_at 1 8 0
        renewal_requested_version 1 4 0
        role_id 0 8 2
        scope_id 0 8 -0.06
        sponsor_id 0 8 -0.02
        state 0 8 3 {accepted,canceled,pending} {0.608,0.196,0.196}
        uuid 0 16 -1
    """,
    "invite_links": """
        canceled_at 1 8 0
        created_by 0 8 -0.25
        id 0 8 -1
        is_public 0 1 1
        role_id 0 8 1
        scope_id 0 8 -1
        template 1 0 0
        uuid 0 16 -1
    """,
    "organisations": """
        archived 0 1 1
        blocked 0 1 1
        scope_id 0 8 -1
    """,
    "outbox": """
        account_id 1 8 0
        attempts 0 4 1
        created_at 0 8 -1
        error 0 1 1
        finished_at 0 8 -1
        id 0 8 -1
        is_bulk 0 1 2 {f,t} {0.7,0.3}
        kind 0 19 1
        locked_until 1 8 0
        next_attempt_at 0 8 -1
        payload 0 33 -1
        recipient 0 20 -1
        state 0 4 3 {sent} {0.99}
    """,
    "projects": """
        scope_id 0 8 -1
        start_date 1 4 0
    """,
    "join_requests": """
        account_id 0 8 -0.5
        comment 0.8 9 1
        created_at 0 8 -1
        custom_project_description 0 1 1
        custom_project_name 0 1 1
        decided_at 0.196 8 -0.804
        decided_by 0.196 8 -0.02
        exclusive_key 1 8 0
        id 0 8 -1
        invite_link_id 0 8 -0.08
        is_automatic 0 1 1
        message 0 1 1
        project_id 1 8 0
        role_id 0 8 1
        scope_id 0 8 -0.08
        state 0 8 3 {approved,pending,rejected} {0.608,0.196,0.196}
        uuid 0 16 -1
    """,
    "role_permissions": """
        permission 0 20 -0.633
        role_id 0 8 -0.167
    """,
    "roles": """
        description 0 16 -1
        descriptions 0 5 1
        id 0 8 -1
        is_active 0 1 -0.2 {t,f} {0.8,0.2}
        is_system 0 1 1
        kind 0 8 -0.3 {group,organisation,project} {0.4,0.3,0.3}
        name 0 14 -1
        name_sort 0 14 -1
        uuid 0 16 -1
    """,
    "scopes": """
        created_at 0 8 -1
        deleted_at 0.99 8 -0.01
        description 0 1 1
        id 0 8 -1
        kind 0 9 2 {project,organisation} {0.8,0.2}
        name 0 11 -1
        name_sort 0 11 -1
        parent_id 0.2 8 -0.2
        slug 0 12 -1
        uuid 0 16 -1
    """,
    "tokens": """
        account_id 0 8 -1
        created_at 0 8 -1
        expires_at 1 8 0
        family 1 16 0
        id 0 8 -1
        kind 0 4 4 {api} {0.9}
        last_used_at 0 8 -1
        lifetime 1 4 0
        name 0 1 1
        token_encrypted 0 69 -1
        token_hash 0 33 -1
    """,
}
"""One line for each column, by table, with the values of ``pg_stats``.

The values are the name, the share of nulls, the average width and the number of distinct values
(negative: times the number of rows). For columns whose conditions name one of a few values, the
most common values and their shares follow.
"""

ORDERED: Final = frozenset({("grants", "account_id")})
"""Tables and columns whose values mostly grow in the order of the rows (correlation 1).

Without this, PostgreSQL expects that the grants of some accounts are far apart.
"""
