"""Organisations: the scopes that hold projects."""
