"""Claim rules: roles that follow from what identity providers say about people."""
