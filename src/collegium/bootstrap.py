"""Opening the database and the vault that the settings name.

Apart from ``app`` so that a command which serves nothing loads nothing of the web.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import SettingsError

if TYPE_CHECKING:
    from collegium.settings import Settings

BASE_IS_GUESSED: Final = "_COLLEGIUM_BASE_IS_GUESSED"
"""How ``serve`` tells its workers that nobody has set BASE_URL."""

SERVE_HOST: Final = "_COLLEGIUM_SERVE_HOST"
"""How ``serve`` tells its workers the address they listen on."""

RUNS_WORKER: Final = "_COLLEGIUM_PAYS_POST"
"""How ``serve`` tells its workers to pay the outbox."""

PARENT: Final = "_COLLEGIUM_PARENT"
"""How ``serve`` tells its workers who to outlive in no case."""


def is_guessed(settings: Settings) -> bool:
    """Tell whether nobody has said where people reach us."""
    return bool(os.environ.get(BASE_IS_GUESSED)) or settings.base_url == type(settings).base_url


def load_settings(settings: Settings) -> tuple[Database, Vault]:
    """Give the database and the vault that the settings name.

    Raises SettingsError when the key beside a SQLite database cannot be kept.
    """
    path = settings.database_path
    if path is None:
        # The settings have made sure of it.
        return Database(settings.database_url), Vault(settings.secret_key or "")
    try:
        _adopt(settings, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Names and addresses of people: nobody else on the machine needs to read them.
        path.touch(mode=0o600)
        key = settings.secret_key or _kept_key(path.with_name(path.name + ".key"))
    except OSError as error:
        message = f"COLLEGIUM_DATABASE_URL names a place that cannot be used: {error}"
        raise SettingsError(message) from error
    return Database(settings.database_url), Vault(key)


def _adopt(settings: Settings, path: Path) -> None:
    """Take over the key of a database whose URL has escapes: it lay beside the name as written."""
    written = Path(settings.database_url.removeprefix("sqlite:///"))
    key = written.with_name(written.name + ".key")
    mine = path.with_name(path.name + ".key")
    if written != path and key.exists() and not mine.exists():
        key.replace(mine)
    if path.exists() and written != path:
        path.chmod(0o600)
        if written.exists() and not written.stat().st_size:
            written.unlink()


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
