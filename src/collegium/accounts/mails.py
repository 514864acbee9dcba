"""The account that an e-mail goes to or is about."""

from typing import Protocol

from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountDetails
from collegium.db.database import ReadTransaction
from collegium.outbox.outcomes import ObsoleteError
from collegium.text.plain import name_line


class Named(Protocol):
    """A person with the columns of an account."""

    first_name: str
    last_name: str
    username: str


def name_of(person: Named) -> str:
    """Return the name of a person for a sentence in an e-mail: the full one, or the user name."""
    name = account_queries.join_names(person.first_name, person.last_name)
    return name_line(name) or name_line(person.username)


def load_account(tx: ReadTransaction, account_id: int | None) -> AccountDetails:
    """Load an account that still exists.

    Deleting an account deletes its queued e-mails, but not one that another transaction queues at
    the same moment.

    Raises:
        ObsoleteError: the account was deleted.
    """
    account = None if account_id is None else account_queries.by_id(tx, account_id)
    if account is None or account.deleted_at is not None:
        raise ObsoleteError("The account no longer exists.")
    return account
