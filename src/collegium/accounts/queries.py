"""SQL of accounts, and who may see whom."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    union,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from collegium.access.queries import is_active, lock_account, viewer_params, visible_scopes
from collegium.access.rules import Actor
from collegium.accounts.erasure.rules import neutral_name
from collegium.db.database import ReadTransaction, UniqueViolationError, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, UtcDateTime, any_of, as_dict
from collegium.db.tables import (
    API_TOKEN,
    BigInt,
    account_texts,
    accounts,
    agreement_acceptances,
    claim_rule_grants,
    devices,
    email_changes,
    grants,
    identities,
    invitations,
    mail_preferences,
    passkey_ceremonies,
    passkeys,
    provider_sign_ins,
    recovery_codes,
    role_notices,
    ssh_keys,
    tokens,
    two_factor,
)
from collegium.db.writing import insert_row, update_row
from collegium.invitations.rules import State
from collegium.lists import account_search
from collegium.lists.listing import Listing, VisibleKeys, restricted
from collegium.lists.row_counts import stored_count
from collegium.lists.sql_hints import no_index
from collegium.refusals import Conflict, Invalid, or_not_found
from collegium.text.email_addresses import comparable_address
from collegium.text.names import sort_key

_NOT_SHOWN: Final = {"password", "search", "profile", "email_comparable"}
_ADDRESS_LOCKS: Final = 628412
"""Seed that tells these locks from others of the database."""

_USERNAMES_BATCH: Final = 100
_COLUMNS = [c for c in accounts.c if c.name not in _NOT_SHOWN and not c.name.endswith("_sort")]


class SharedAccount:
    """An account that stays as it is until the transaction ends."""

    id: int
    email: str
    is_active: bool


class PersonName:
    """The names of a person."""

    first_name: str
    last_name: str


class Person(PersonName):
    """Whom an account belongs to."""

    id: int
    uuid: str
    username: str
    email: str


class Identity(Person, SharedAccount):
    """Who an account is, and what it may do."""

    civil_number: str | None
    is_staff: bool
    is_support: bool
    is_identity_manager: bool


class AccountSource:
    """Where an account comes from."""

    id: int
    registration_method: str
    identity_source: str


class AccountRow(Identity, AccountSource):
    """An account."""

    token_lifetime: int | None
    credentials_version: int
    organization: str


class AccountWithPassword(AccountRow):
    """An account, with the password hash."""

    last_login_at: datetime | None
    password: str | None


class AccountDetails(AccountRow):
    """An account, with its API token and pending address change."""

    affiliations: list[str]
    attribute_sources: dict[str, dict[str, str]]
    preferred_language: str
    agreed_at: datetime | None
    must_agree: bool
    deactivation_reason: str
    picture: str | None
    deleted_at: datetime | None
    token_last_used_at: datetime | None


class ListedAccount(Person):
    """An account in a list."""

    slug: str
    registration_method: str
    attribute_sources: dict[str, dict[str, str]]


class LocalAccount:
    """An account that may have a local password."""

    id: int
    email: str
    username: str


class _ActiveAccount(AccountRow):
    email_comparable: str


_passkey_count = (
    select(func.count())
    .where(passkeys.c.account_id == accounts.c.id, passkeys.c.revoked_at.is_(None))
    .correlate(accounts)
    .scalar_subquery()
)


def select_with_token(source: FromClause, *columns: ColumnElement[Any]) -> Select[Any]:
    """Select accounts with the columns that lists and pages show.

    Args:
        source: the accounts, or a join that contains them.
        columns: further columns.
    """
    return (
        select(
            *_COLUMNS,
            accounts.c.password.is_not(None).label("has_usable_password"),
            tokens.c.created_at.label("token_created_at"),
            tokens.c.last_used_at.label("token_last_used_at"),
            email_changes.c.email.label("requested_email"),
            _passkey_count.label("passkey_count"),
            *columns,
        )
        .select_from(source)
        .outerjoin(tokens, and_(tokens.c.account_id == accounts.c.id, no_index(API_TOKEN)))
        .outerjoin(email_changes, email_changes.c.account_id == accounts.c.id)
    )


_rows = select_with_token(accounts)


def _visible_ids() -> CompoundSelect[Any]:
    """Select the ids of the actor and of the holders of grants in scopes that the actor sees."""
    # One set of ids, so that the planner starts from it. An OR over the table would read all
    # accounts.
    return union(
        select(bindparam("actor", type_=BigInt)),
        select(grants.c.account_id).where(is_active(), grants.c.scope_id.in_(visible_scopes())),
    )


# Means active and not staff. In this form SQLite does not use an index on either column, which
# would fetch all such accounts.
_is_shown = or_(account_search.is_actor, accounts.c.is_active > accounts.c.is_staff)


def visible() -> ColumnElement[bool]:
    """Return the condition that an ordinary actor may see an account.

    True for the actor, and for active accounts, staff excluded, with a grant in a scope that the
    actor sees.
    """
    return and_(accounts.c.id.in_(_visible_ids()), _is_shown)


# A deleted account is hidden from everybody. Only the audit log still refers to its id.
_not_deleted = accounts.c.deleted_at.is_(None)

listing = Listing[ListedAccount](
    rows=_rows.where(_not_deleted),
    visible=visible,
    visible_keys=VisibleKeys(_visible_ids, _is_shown),
    stored_count=stored_count(accounts),
    key=accounts.c.id,
    count_query=select(accounts.c.id).where(_not_deleted),
    filters_fit_count_query=True,
    filters={
        "is_active": account_search.IS_ACTIVE,
        "is_staff": restricted("is_staff", account_search.flag("is_staff", accounts.c.is_staff)),
        "is_support": restricted(
            "is_support", account_search.flag("is_support", accounts.c.is_support)
        ),
        "query": account_search.QUERY,
        "user_keyword": account_search.KEYWORD,
    },
    search_table=account_search.TEXTS,
    tiebreaker=accounts.c.username,
    default="username",
    orders={
        "email": (accounts.c.email,),
        "full_name": (accounts.c.first_name_sort, accounts.c.last_name_sort),
        "organization": (accounts.c.organization_sort,),
        "username": (accounts.c.username,),
    },
)


@lru_cache(maxsize=2)
def _by_uuid(*, sees_all: bool) -> Statement[AccountDetails]:
    return Statement[AccountDetails](
        _rows.where(
            accounts.c.uuid == bindparam("uuid"), _not_deleted, true() if sees_all else visible()
        )
    )


_BY_ID = Statement[AccountDetails](_rows.where(accounts.c.id == bindparam("id")))
_SHARED = Statement[SharedAccount](
    Relations(accounts)
    .select(SharedAccount)
    .where(accounts.c.id == bindparam("id"))
    .with_for_update(of=accounts, read=True)
)
_BY_USERNAME = Statement[AccountWithPassword](
    select(*_COLUMNS, accounts.c.password).where(
        accounts.c.username == bindparam("username"), _not_deleted
    )
)
_BY_UUID = Statement[AccountRow](
    select(*_COLUMNS).where(accounts.c.uuid == bindparam("uuid"), _not_deleted)
)
_BY_SLUG = Statement[int](select(accounts.c.id).where(accounts.c.slug == bindparam("slug")))
_ANY = Statement[bool](select(exists(select(accounts.c.id)).label("any")))
_has_email = accounts.c.email_comparable == bindparam("email_comparable")
LANGUAGE: Final = select(accounts.c.preferred_language).where(
    accounts.c.id == bindparam("account"), _not_deleted
)
"""Selects the language that the owner of the account ``account`` prefers."""


def language_at_email(email_comparable: ColumnElement[str]) -> Select[tuple[str]]:
    """Select the language that the person at an address prefers."""
    person = accounts.alias("person")
    return (
        select(person.c.preferred_language)
        .where(person.c.email_comparable == email_comparable, person.c.deleted_at.is_(None))
        .order_by(person.c.is_active.desc(), person.c.id)
        .limit(1)
    )


_rows_with_password = select(*_COLUMNS, accounts.c.password).where(_not_deleted)
_WITH_PASSWORD = {
    "civil_number": Statement[AccountWithPassword](
        _rows_with_password.where(accounts.c.civil_number == bindparam("civil_number"))
    ),
    "email": Statement[AccountWithPassword](
        _rows_with_password.where(_has_email)
        .order_by(accounts.c.is_active.desc(), accounts.c.id)
        .limit(1)
    ),
    "username": _BY_USERNAME,
    "id": Statement[AccountWithPassword](
        _rows_with_password.where(accounts.c.id == bindparam("id"))
    ),
}
_WITH_PASSWORD_BY_UUID = Statement[AccountWithPassword](
    _rows_with_password.where(accounts.c.uuid == bindparam("uuid"))
)
# Local accounts that can sign in with a password. A few may share an address; more are ignored.
_LOCAL_BY_EMAIL = Statement[LocalAccount](
    Relations(accounts)
    .select(LocalAccount)
    .where(
        _has_email,
        accounts.c.is_active,
        accounts.c.registration_method == "default",
        _not_deleted,
    )
    .order_by(accounts.c.id)
    .limit(5)
)
# Two tell that an address is ambiguous.


class _AddressLock(FunctionElement[int]):
    """A lock on a text until the transaction ends; SQLite has one writer anyway."""

    inherit_cache = True
    name = "address_lock"


@compiles(_AddressLock, "sqlite")
def _address_lock_sqlite(element: _AddressLock, compiler: SQLCompiler, **kw: Any) -> str:
    return f"length({compiler.process(element.clauses, **kw)})"


@compiles(_AddressLock, "postgresql")
def _address_lock_postgresql(element: _AddressLock, compiler: SQLCompiler, **kw: Any) -> str:
    text = compiler.process(element.clauses, **kw)
    return f"pg_advisory_xact_lock(hashtextextended({text}, {_ADDRESS_LOCKS}))"


_AT_EMAIL = Statement[AccountRow](
    select(*_COLUMNS).where(_has_email, _not_deleted).order_by(accounts.c.id).limit(2)
)
_LOCK_ADDRESS = Statement(
    select(_AddressLock(bindparam("email_comparable", type_=String())).label("locked"))
)
_ACTIVE_BY_EMAIL = Statement[_ActiveAccount](
    select(*_COLUMNS, accounts.c.email_comparable)
    .where(any_of(accounts.c.email_comparable, "emails"), accounts.c.is_active, _not_deleted)
    .order_by(accounts.c.id)
)
_email_differs = invitations.c.email_comparable != bindparam("email_comparable", type_=String())
_invites_account = invitations.c.account_id == bindparam("account", type_=BigInt)
_UPDATE_INVITATION_EMAILS = Statement(
    update(invitations)
    .where(
        _invites_account,
        or_(
            invitations.c.state == State.PENDING.value,
            invitations.c.state == State.HELD.value,
            invitations.c.state == State.REQUESTED.value,
        ),
    )
    .values(
        {name: bindparam(name) for name in ("email", "email_comparable", "email_search")}
        # The approval by staff was for the earlier address.
        | {"approved_by": case((_email_differs, null()), else_=invitations.c.approved_by)}
    )
)
_RESET_APPROVALS = Statement[int](
    update(invitations)
    .where(
        _invites_account,
        _email_differs,
        or_(
            invitations.c.state == State.REQUESTED.value,
            and_(
                invitations.c.approved_by.is_not(None),
                or_(
                    invitations.c.state == State.HELD.value,
                    and_(
                        invitations.c.state == State.PENDING.value,
                        invitations.c.expires_at > bindparam("now", type_=UtcDateTime),
                    ),
                ),
            ),
        ),
    )
    .values(
        state=State.REQUESTED.value,
        link_version=invitations.c.link_version + 1,
        reminded_at=null(),
    )
    .returning(invitations.c.id)
)
_HAS_DEACTIVATED = Statement[bool](
    select(
        exists(
            select(accounts.c.id).where(_has_email, accounts.c.is_active.is_(False), _not_deleted)
        ).label("deactivated")
    )
)
_TAKEN_USERNAMES = Statement[str](
    select(accounts.c.username).where(any_of(accounts.c.username, "usernames"))
)


# What erasure keeps of an account. Every other column, also one that is added later, is emptied.
_KEPT: Final = frozenset(
    {
        *("id", "uuid", "credentials_version", "notifications_enabled", "token_lifetime"),
        *("registration_method", "joined_at", "agreed_at", "disabled_by_staff"),
    }
)


_LISTS: Final = frozenset(
    {"affiliations", "nationalities", "eduperson_assurance", "managed_isds", "active_isds"}
)


def _empty(column: Column[Any]) -> Any:
    if column.nullable:
        return None
    if isinstance(column.type, JSON):
        return literal([] if column.name in _LISTS else {}, type_=column.type)
    return False if isinstance(column.type, Boolean) else ""


# No user name can start with this character, so the name cannot be taken.
_neutral_username = literal("~deleted-").concat(cast(accounts.c.id, String))
_ANONYMOUS_VALUES = Statement(
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(
        {column.name: _empty(column) for column in accounts.c if column.name not in _KEPT}
        | {
            "username": _neutral_username,
            "slug": _neutral_username,
            "first_name": bindparam("name"),
            "first_name_sort": bindparam("sort"),
            "modified_at": bindparam("moment", type_=UtcDateTime),
            "deleted_at": bindparam("moment", type_=UtcDateTime),
        }
    )
)
# The account's own row comes last, because updating it blocks transactions that reference it. A
# transaction that revokes a token of the account locks the token's row first and then writes an
# event that references the account; the other order could deadlock.
_ANONYMISE = (
    *(
        Statement(delete(table).where(table.c.account_id == bindparam("account")))
        for table in (
            account_texts,
            tokens,
            claim_rule_grants,
            identities,
            provider_sign_ins,
            ssh_keys,
            devices,
            email_changes,
            recovery_codes,
            two_factor,
            passkeys,
            passkey_ceremonies,
            agreement_acceptances,
            mail_preferences,
            role_notices,
        )
    ),
    _ANONYMOUS_VALUES,
)
_TEXTS = [column for column in account_texts.c if column is not account_search.TEXTS.key]
_INSERT_TEXTS = Statement(
    insert(account_texts).values(
        account_id=bindparam("account"), **{c.name: bindparam(c.name) for c in _TEXTS}
    )
)
_UPDATE_TEXTS = Statement(
    update(account_texts)
    .where(account_texts.c.account_id == bindparam("account"))
    .values({c: bindparam(c.name) for c in _TEXTS})
)


_INVALIDATE_CREDENTIALS = Statement(
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(credentials_version=accounts.c.credentials_version + 1)
)


def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> AccountDetails:
    """Load an account that the actor may see.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``account.unknown``: there is no such account, or it is hidden from the actor.
    """
    row = tx.fetch_one(_by_uuid(sees_all=actor.sees_all), uuid=uuid, **viewer_params(tx, actor))
    return or_not_found(row, "account.unknown")


def lock_account_and_recheck(
    tx: WriteTransaction, actor: Actor, account: AccountRow
) -> AccountDetails:
    """Lock an account that was loaded before, and return it as it is under the lock.

    While another action held the lock, the account may have been changed, hidden or deleted.

    Raises:
        NotFound: ``account.unknown``: the account is gone or no longer visible.
    """
    lock_account(tx, account.id)
    return get_visible(tx, actor, account.uuid)


def own(tx: ReadTransaction, actor: Actor) -> AccountDetails:
    """Load the account of the actor."""
    return tx.fetch_only(_BY_ID, id=actor.id)


def by_username(tx: ReadTransaction, username: str) -> AccountWithPassword | None:
    """Return an account for sign-in, including the password hash; None if there is none."""
    return tx.fetch_one(_BY_USERNAME, username=username)


def by_uuid(tx: ReadTransaction, uuid: str) -> AccountRow | None:
    """Return an account without a visibility check, for actions on a person named by a manager."""
    return tx.fetch_one(_BY_UUID, uuid=uuid)


def by_id(tx: ReadTransaction, account_id: int) -> AccountDetails | None:
    """Return an account by its id, without a visibility check."""
    return tx.fetch_one(_BY_ID, id=account_id)


def existing(tx: ReadTransaction, account_id: int) -> AccountDetails:
    """Return an account that exists, possibly deleted, by its id, without a visibility check."""
    return tx.fetch_only(_BY_ID, id=account_id)


def by_id_shared(tx: WriteTransaction, account_id: int) -> SharedAccount | None:
    """Return an account that stays as it is until this transaction ends.

    Several transactions can hold this lock at the same time. Actions that change the account wait.
    """
    return tx.fetch_one(_SHARED, id=account_id)


def any_exist(tx: ReadTransaction) -> bool:
    """Return whether the database has any account."""
    return tx.fetch_only(_ANY)


def is_username_taken(tx: ReadTransaction, username: str | None) -> bool:
    """Return whether a user name is taken, by an active or inactive account."""
    return username is not None and tx.fetch_one(_BY_USERNAME, username=username) is not None


def is_slug_taken(tx: ReadTransaction, slug: str) -> bool:
    """Return whether an account has a slug."""
    return tx.fetch_one(_BY_SLUG, slug=slug) is not None


def with_password(tx: ReadTransaction, **criteria: Any) -> AccountWithPassword | None:
    """Return an account, including the password hash, by the first of several facts that matches.

    Args:
        criteria: any of ``civil_number email username id``. Empty values match nobody.
    """
    for name, value in criteria.items():
        if not value:
            continue
        parameters = {name: value}
        if name == "email":
            parameters = {"email_comparable": comparable_address(value)}
        if (row := tx.fetch_one(_WITH_PASSWORD[name], **parameters)) is not None:
            return row
    return None


def with_password_by_uuid(tx: ReadTransaction, uuid: str) -> AccountWithPassword | None:
    """Return an account, including the password hash, without a visibility check."""
    return tx.fetch_one(_WITH_PASSWORD_BY_UUID, uuid=uuid)


def local_by_email(tx: ReadTransaction, email: str) -> list[LocalAccount]:
    """Return the accounts at an address that may have a local password."""
    return (
        tx.fetch_all(_LOCAL_BY_EMAIL, email_comparable=comparable_address(email)) if email else []
    )


def at_email(tx: ReadTransaction, email: str) -> list[AccountRow]:
    """Return the accounts at an address, active or not; at most two."""
    return tx.fetch_all(_AT_EMAIL, email_comparable=comparable_address(email)) if email else []


def lock_address(tx: WriteTransaction, email: str) -> None:
    """Let other transactions that give an account this address wait for the end of this one.

    It comes after scopes and accounts, and before budgets of e-mails. What others have committed
    can be seen afterwards.
    """
    tx.fetch_one(_LOCK_ADDRESS, email_comparable=comparable_address(email))


def free_username(tx: ReadTransaction, usernames: Iterator[str]) -> str:
    """Return the first of the user names that no account has."""
    while True:
        batch = list(islice(usernames, _USERNAMES_BATCH))
        taken = taken_usernames(tx, batch)
        for username in batch:
            if username not in taken:
                return username


def active_by_email(tx: ReadTransaction, emails: Collection[str]) -> dict[str, AccountRow]:
    """Return the active account at each address, by comparable address.

    If several share an address, the oldest is returned.
    """
    by_email: dict[str, AccountRow] = {}
    keys = sorted({comparable_address(email) for email in emails if email})
    for row in tx.fetch_all(_ACTIVE_BY_EMAIL, emails=keys) if keys else ():
        by_email.setdefault(row.email_comparable, row)
    return by_email


def is_email_deactivated(tx: ReadTransaction, email: str) -> bool:
    """Return whether a deactivated account has this address."""
    return bool(email) and tx.fetch_only(
        _HAS_DEACTIVATED, email_comparable=comparable_address(email)
    )


def taken_usernames(tx: ReadTransaction, usernames: Collection[str]) -> set[str]:
    """Return those of the user names that are taken."""
    return set(tx.fetch_all(_TAKEN_USERNAMES, usernames=list(usernames)))


def add(tx: WriteTransaction, values: Mapping[str, Any]) -> int:
    """Insert an account. Return its id.

    Raises:
        Invalid: ``account.username_taken`` or ``account.slug_taken``. Unique constraints decide, so
            of two concurrent inserts only one succeeds.
        Conflict: ``account.duplicate``: another unique value is taken.
    """
    values = {**with_derived_columns(values), "search": account_search.text_of(values)}
    try:
        with tx.savepoint():
            account = insert_row(tx, accounts, values)
    except UniqueViolationError as error:
        raise _conflict_of(error) from error
    tx.execute(_INSERT_TEXTS, account=account, **account_search.texts_of(values))
    return account


def change(tx: WriteTransaction, account: int, values: Mapping[str, Any]) -> list[int]:
    """Update the given columns of an account.

    Invitations to groups follow the account to its new address. Return the ids of the invitations
    that staff must approve again, because the approval, or the request for it, was for the earlier
    address.

    Raises:
        Invalid: ``account.username_taken`` or ``account.slug_taken``.
        Conflict: ``account.duplicate``: another unique value is taken.
    """
    values = with_derived_columns(values)
    if not account_search.COLUMNS.isdisjoint(values):
        # Concurrent updates of different columns must not put each other's old values into the
        # search text.
        lock_account(tx, account)
        row = tx.fetch_only(_BY_ID, id=account)
        new_row = {**as_dict(row), **values}
        values = {**values, "search": account_search.text_of(new_row)}
        tx.execute(_UPDATE_TEXTS, account=account, **account_search.texts_of(new_row))
    try:
        with tx.savepoint():
            update_row(tx, accounts, account, values)
    except UniqueViolationError as error:
        raise _conflict_of(error) from error
    if "email" not in values:
        return []
    comparable = values["email_comparable"]
    to_approve = tx.fetch_all(
        _RESET_APPROVALS, account=account, email_comparable=comparable, now=tx.now
    )
    tx.execute(
        _UPDATE_INVITATION_EMAILS,
        account=account,
        email=values["email"],
        email_comparable=comparable,
        email_search=account_search.addresses_of(values["email"]),
    )
    return to_approve


_COLUMNS_WITH_SORT_KEY: Final = ("first_name", "last_name", "native_name", "organization")


def with_derived_columns(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the columns that are derived from given columns, for comparing and sorting."""
    derived = {
        f"{name}_sort": sort_key(values[name] or "")
        for name in _COLUMNS_WITH_SORT_KEY
        if name in values
    }
    if "email" in values:
        derived["email_comparable"] = comparable_address(values["email"])
    return {**values, **derived}


def _conflict_of(error: UniqueViolationError) -> Invalid | Conflict:
    # SQLite names the column in its message; PostgreSQL names the constraint, which contains the
    # column.
    text = str(error)
    for column in ("username", "slug"):
        if column in text.split("DETAIL", maxsplit=1)[0]:
            return Invalid(f"account.{column}_taken", field=column)
    return Conflict("account.duplicate")


def anonymise(tx: WriteTransaction, account: int) -> None:
    """Remove all personal data from an account, and set a neutral name."""
    name = neutral_name(account)
    for statement in _ANONYMISE:
        parameters = {"moment": tx.now, "name": name, "sort": sort_key(name)}
        tx.execute(
            statement, account=account, **(parameters if statement is _ANONYMOUS_VALUES else {})
        )


def invalidate_credentials(tx: WriteTransaction, account: int) -> None:
    """Invalidate sign-ins that were verified before this transaction but are not yet written."""
    tx.execute(_INVALIDATE_CREDENTIALS, account=account)


def full_name(row: PersonName) -> str:
    """Return first and last name as one text."""
    return join_names(row.first_name, row.last_name)


def join_names(first: str | None, last: str | None) -> str:
    """Return first and last name as one text; empty if there are none."""
    return f"{first or ''} {last or ''}".strip()
