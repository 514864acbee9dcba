"""Synchronisation of accounts with the eduTEAMS directory."""
