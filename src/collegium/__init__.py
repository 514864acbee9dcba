"""Collegium, a membership service: who holds which role in which scope, until when, by whom."""

__version__ = "0.1.0"
