"""Passkeys without a device, for tests that only look at their rows."""

from __future__ import annotations

import secrets

from collegium.db.database import WriteTransaction
from collegium.sign_in.passkeys import queries as passkey_queries


def add_passkey(tx: WriteTransaction, account: int, name: str = "my phone") -> str:
    """Add a passkey that no device has; return its UUID."""
    return passkey_queries.add(
        tx,
        account,
        name,
        "collegium.test",
        credential_id=secrets.token_bytes(16),
        public_key=b"key",
        sign_count=0,
        aaguid="00000000-0000-0000-0000-000000000000",
        transports=["internal"],
        attachment="platform",
        is_backup_eligible=True,
        is_backed_up=False,
        is_discoverable=True,
        is_user_verified=True,
    )
