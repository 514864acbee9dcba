"""Passkeys: sign in with a device or a security key instead of a password (WebAuthn, level 3)."""
