"""Invitations: an e-mail asks one person in."""
