"""Erasure: what goes, and what stays under a neutral name, when an account is deleted."""
