"""Roles of a single organisation, and roles that an organisation does not use."""
