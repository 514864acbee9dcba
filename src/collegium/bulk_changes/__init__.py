"""Bulk changes: one change of many rows of a list, of invitations or of members."""
