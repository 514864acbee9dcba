"""Downloads of members, invitations and the audit log."""
