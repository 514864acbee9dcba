"""Invitations: an e-mail that invites one person to a role."""
