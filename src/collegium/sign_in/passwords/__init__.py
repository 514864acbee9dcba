"""Passwords: change and reset."""
