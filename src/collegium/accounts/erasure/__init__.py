"""Erasure: which personal data is removed when an account is deleted."""
