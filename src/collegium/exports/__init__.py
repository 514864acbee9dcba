"""Downloads: the members, invitations and audit log of a scope as CSV and JSON."""
