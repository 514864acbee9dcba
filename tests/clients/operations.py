"""The operations of Waldur's client of release 8.1.3 that each script uses."""

from __future__ import annotations

from typing import Final

_NAMES: Final = {
    "users.py": {
        "users": (
            "cancel_change_email change_email change_password confirm_email count "
            "create destroy list me_retrieve partial_update pull_remote_user "
            "refresh_token retrieve token_retrieve update"
        ),
    },
    "users_newer.py": {
        "users": (
            "dashboard_general_stats_retrieve data_access_history_list "
            "data_access_retrieve history_at_retrieve history_list me_count "
            "profile_completeness_count profile_completeness_retrieve remove_password "
            "user_active_status_count_count user_active_status_count_list "
            "user_language_count_count user_language_count_list "
            "user_registration_trend_count user_registration_trend_list"
        ),
    },
    "memberships.py": {
        "customers": ("add_user create delete_user list_users_count list_users_list update_user"),
        "projects": (
            "add_user create delete_user list list_users_count list_users_list update_user"
        ),
        "roles": "count list",
        "user_group_invitations": (
            "cancel count create destroy list partial_update projects_list retrieve "
            "submit_request update"
        ),
        "user_invitations": (
            "accept approve cancel check check_duplicates count create delete destroy "
            "details_retrieve list partial_update reject retrieve send update"
        ),
        "user_permission_requests": "approve cancel_request count destroy list reject retrieve",
        "user_permissions": "count list restore retrieve revoke",
    },
    "scopes.py": {
        "customers": (
            "contact countries_count countries_list destroy history_at_retrieve "
            "history_list partial_update retrieve stats_retrieve update users_count "
            "users_list"
        ),
        "projects": (
            "destroy move_project other_users_count other_users_list partial_update "
            "recover retrieve set_slug stats_retrieve sync_user_roles update"
        ),
        "roles": (
            "clone_to_customer create destroy disable enable hygiene_report_count "
            "hygiene_report_retrieve partial_update retrieve update "
            "update_descriptions_update"
        ),
    },
    "keys_and_tokens.py": {
        "keys": "count create destroy list retrieve",
    },
    "agreements.py": {
        "user_agreements": "count create destroy list partial_update retrieve update",
    },
    "reviews.py": {
        "customer_permissions_reviews": "close count list retrieve",
        "project_permissions_reviews": "close count list retrieve",
    },
    "hooks.py": {
        "hooks": "count list",
        "hooks_email": "count create destroy list partial_update retrieve update",
        "hooks_web": "count create destroy list partial_update retrieve update",
    },
    "lists_filters.py": {
        "customers": "count list",
        "projects": "count",
    },
}

DRIVEN: Final = {
    script: frozenset(
        f"{folder}.{folder}_{name}" for folder, names in table.items() for name in names.split()
    )
    for script, table in _NAMES.items()
}
"""Script to the operations, each as folder and module. ``Official.run`` checks that it is so."""
