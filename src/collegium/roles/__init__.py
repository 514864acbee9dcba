"""Roles: named sets of permissions, each for one kind of scope."""
