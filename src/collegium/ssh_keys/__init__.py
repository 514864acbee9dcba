"""SSH public keys of accounts."""
