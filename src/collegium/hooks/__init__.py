"""Hooks: where people want the events that they can see to be sent."""
