"""Organisations: top-level scopes with projects."""
