"""Collegium keeps the roll: who belongs where, in which role, until when, and who let them in."""

__version__ = "0.1.0"
