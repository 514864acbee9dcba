"""Two-factor authentication: authenticator codes and recovery codes."""
