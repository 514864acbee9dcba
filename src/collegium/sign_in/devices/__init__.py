"""Device sign-in: programs that a person approves in a browser (RFC 8628)."""
