"""Set up a service that has no account: its link, its first account, its name."""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountWithPassword
from collegium.db.database import Database, ReadTransaction, WriteTransaction
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import MailTest
from collegium.refusals import NotFound
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.site import queries as site_queries

_PURPOSE: Final = "setup"


def setup_path(database: Database, vault: Vault) -> str | None:
    """Return the path of the set-up page, the same on every node; None if there is an account.

    The database has a random key of which the link is made with the secret key, so neither is
    enough to make it.
    """
    with database.read() as tx:
        found = site_queries.state(tx)
    if found.setup_key is None and not found.has_accounts:
        with database.write() as tx:
            site_queries.add_key(tx, secrets.token_hex(16))
            found = site_queries.state(tx)
    elif found.setup_key is not None and found.has_accounts:
        with database.write() as tx:
            site_queries.void_key(tx)
    if found.setup_key is None or found.has_accounts:
        return None
    return f"/setup/{vault.sign(_PURPOSE, found.setup_key)}/"


def read_link(tx: ReadTransaction, vault: Vault, token: str) -> str:
    """Return the key of a set-up link.

    Raises:
        NotFound: ``setup.over``: the link is wrong or used up, or there is an account.
    """
    found = site_queries.state(tx)
    match vault.unsign(_PURPOSE, token):
        case [str(key)] if (
            found.setup_key is not None
            and not found.has_accounts
            and hmac.compare_digest(key, found.setup_key)
        ):
            return key
    raise NotFound("setup.over")


def set_up(
    tx: WriteTransaction,
    settings: Settings,
    vault: Vault,
    token: str,
    username: str,
    email: str,
    password_hash: str,
    site_name: str,
) -> tuple[AccountWithPassword, int]:
    """Create the first staff account, name the service and queue a test e-mail.

    Return the account and the id of the e-mail.

    Raises:
        NotFound: ``setup.over``, see ``read_link``; also if another browser was faster.
    """
    if not site_queries.use_key(tx, read_link(tx, vault, token), site_name):
        raise NotFound("setup.over")
    values = {"username": username, "email": email, "is_staff": True}
    account_id = account_actions.create(tx, None, settings, vault, values)
    account_actions.set_password(tx, None, account_id, password_hash, notify=False)
    mail_id = outbox_queries.enqueue(tx, MailTest(email, account_id))
    uuid = account_queries.existing(tx, account_id).uuid
    account = account_queries.with_password_by_uuid(tx, uuid)
    assert account is not None  # noqa: S101 - made a few lines above
    return account, mail_id
