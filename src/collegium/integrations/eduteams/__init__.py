"""Accounts kept in step with the eduTEAMS directory."""
