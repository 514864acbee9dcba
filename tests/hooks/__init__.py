"""Hooks: events that are sent on."""
