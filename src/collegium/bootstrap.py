"""Open the database and load the keys that the settings name.

This is separate from ``app``, so that a command that serves nothing does not load the web packages.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag

from collegium import tracing
from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import Settings, SettingsError
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.two_factor import queries as two_factor_queries

BASE_IS_GUESSED: Final = "_COLLEGIUM_BASE_IS_GUESSED"
"""Environment variable by which ``serve`` tells its workers that BASE_URL is not set."""

SERVE_HOST: Final = "_COLLEGIUM_SERVE_HOST"
"""Environment variable by which ``serve`` tells its workers the address they listen on."""

RUNS_WORKER: Final = "_COLLEGIUM_RUNS_WORKER"
"""Environment variable by which ``serve`` tells its workers to deliver the outbox."""

PARENT: Final = "_COLLEGIUM_PARENT"
"""Environment variable by which ``serve`` tells its workers its process id; they end with it."""


def is_guessed(settings: Settings) -> bool:
    """Tell whether BASE_URL is unset, so that the public address of the service is unknown."""
    return bool(os.environ.get(BASE_IS_GUESSED)) or settings.base_url == type(settings).base_url


def load_settings(settings: Settings) -> tuple[Database, Vault]:
    """Return the database and the ``Vault`` that the settings name.

    On SQLite the file and its folder are created, and a secret key is created beside it unless
    SECRET_KEY is set.

    Raises:
        SettingsError: The folder, the database file or the key file is unusable, or the libraries
            for TRACING are not installed.
    """
    tracing.check(settings)
    path = settings.database_path
    if path is None:
        # ``settings.load`` requires SECRET_KEY on PostgreSQL.
        return Database(settings.database_url), Vault(settings.secret_key or "")
    try:
        _move_key_file(settings, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The file holds personal data, so other users of the machine cannot read it.
        path.touch(mode=0o600)
        key = settings.secret_key or _load_or_create_key(path.with_name(path.name + ".key"))
    except OSError as error:
        file = error.filename or path
        message = f"COLLEGIUM_DATABASE_URL cannot be used: {file}: {error.strerror}"
        if isinstance(error, PermissionError):
            message += ". Run this as the user of the service"
        raise SettingsError(message) from error
    return Database(settings.database_url), Vault(key)


def database_remedy(settings: Settings, error: Exception) -> str:
    """Return what to do about a database that cannot be used, as a sentence.

    Args:
        error: what the database says.
    """
    if "permission denied for" in str(error):
        return "The role in COLLEGIUM_DATABASE_URL must own the tables and the schema."
    if not settings.database_is_sqlite:
        return "Check COLLEGIUM_DATABASE_URL, and that PostgreSQL is running."
    if "malformed" in str(error) or "not a database" in str(error):
        return 'The file is damaged, or no database. Follow "Restore" in docs/operating.md.'
    if "readonly" in str(error):
        return "Run this as the user of the service, who must own the file and its folder."
    if "locked" in str(error):
        return "Another program is writing to it. Try again."
    return "Check COLLEGIUM_DATABASE_URL, and the permissions of the file and its folder."


def key_fits(database: Database, vault: Vault) -> bool:
    """Tell whether the secret key is the one that this database was used with.

    It decrypts the newest stored token and the newest authenticator secret. Signatures and links
    use the same key, so they need no check of their own.
    """
    with database.read() as tx:
        rows = (token_queries.any_encrypted(tx), two_factor_queries.any_encrypted(tx))
    try:
        for row in rows:
            if row is not None:
                vault.decrypt(row.encrypted, row.hash)
    except InvalidTag:
        return False
    return True


def _move_key_file(settings: Settings, path: Path) -> None:
    """Move the key file of a database whose URL has percent escapes.

    Earlier versions stored the key beside the name as written in the URL.
    """
    literal_path = Path(settings.database_url.removeprefix("sqlite:///"))
    key = literal_path.with_name(literal_path.name + ".key")
    current_key = path.with_name(path.name + ".key")
    if literal_path != path and key.exists() and not current_key.exists():
        key.replace(current_key)
    if path.exists() and literal_path != path:
        path.chmod(0o600)
        if literal_path.exists() and not literal_path.stat().st_size:
            literal_path.unlink()


def _load_or_create_key(path: Path) -> str:
    """Return the secret key beside the database. Create it once, readable by this user only.

    Raises:
        SettingsError: The key file is empty or is not ASCII.
        OSError: The file cannot be read or written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        content = path.read_bytes().strip()
        if not content or not content.isascii():
            problem = "is not a key" if content else "is empty"
            message = (
                f"COLLEGIUM_SECRET_KEY: the file {path} {problem}. Restore the file or remove it"
            )
            raise SettingsError(message) from None
        return content.decode("ascii")
    key = secrets.token_urlsafe(48)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key
