"""Scopes: organisations, projects and groups."""
