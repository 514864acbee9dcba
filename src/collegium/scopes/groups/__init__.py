"""Groups: scopes without a parent."""
