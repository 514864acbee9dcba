"""Memberships: grants of roles in scopes."""
