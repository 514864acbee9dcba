"""Opening the database and the vault that the settings name.

Apart from ``app`` so that a command which serves nothing loads nothing of the web.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from collegium.settings import SettingsError
from collegium.store.db import Database
from collegium.store.vault import Vault

if TYPE_CHECKING:
    from pathlib import Path

    from collegium.settings import Settings

SERVE_HOST: Final = "_COLLEGIUM_SERVE_HOST"
"""How ``serve`` tells its workers the address they listen on."""

PAYS_POST: Final = "_COLLEGIUM_PAYS_POST"
"""How ``serve`` tells its workers to pay the outbox."""

PARENT: Final = "_COLLEGIUM_PARENT"
"""How ``serve`` tells its workers who to outlive in no case."""


def assemble(settings: Settings) -> tuple[Database, Vault]:
    """Give the database and the vault that the settings name.

    Raises SettingsError when the key beside a SQLite database cannot be kept.
    """
    path = settings.database_path
    if path is None:
        # The settings have made sure of it.
        return Database(settings.database_url), Vault(settings.secret_key or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Names and addresses of people: nobody else on the machine needs to read them.
        path.touch(mode=0o600)
        key = settings.secret_key or _kept_key(path.with_name(path.name + ".key"))
    except OSError as error:
        message = f"COLLEGIUM_DATABASE_URL names a place that cannot be used: {error}"
        raise SettingsError(message) from error
    return Database(settings.database_url), Vault(key)


def _kept_key(path: Path) -> str:
    """Read the secret key beside the database, or make it once, readable to us alone."""
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        kept = path.read_bytes().strip()
        if not kept or not kept.isascii():
            fault = "is no key" if kept else "is empty"
            message = f"COLLEGIUM_SECRET_KEY: the file {path} {fault}; restore it, or remove it"
            raise SettingsError(message) from None
        return kept.decode("ascii")
    key = secrets.token_urlsafe(48)
    with os.fdopen(made, "w", encoding="ascii") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key
