"""Encryption and signing, password strength, rate limits."""
