"""Tests: what has been promised, and nothing about how it is kept."""
