"""Signing in: passwords, tokens and sessions, two-factor authentication, devices."""
