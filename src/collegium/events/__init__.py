"""Events: the audit log."""
