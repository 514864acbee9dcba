"""The database schema: tables, indexes and the constraints that enforce rules in the database."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import JSONB

from collegium.access import rules as access_rules
from collegium.db.statements import UtcDateTime, UuidHex
from collegium.invitations.rules import STORED
from collegium.join_requests.rules import STORED as DECIDABLE
from collegium.sign_in.devices import rules as device_rules
from collegium.sign_in.tokens import rules as token_rules

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigInt = BigInteger().with_variant(Integer(), "sqlite")
JsonColumn = JSON().with_variant(JSONB(), "postgresql")


def _id() -> Column[int]:
    return Column("id", BigInt, primary_key=True, autoincrement=True)


def _one_of(column: str, values: object) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)  # type: ignore[attr-defined]
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _text(name: str, length: int | None = None) -> Column[str]:
    """Return a text column that is never null. The empty text means no value."""
    kind = Text() if length is None else String(length)
    return Column(name, kind, nullable=False, server_default="")


def _sort(name: str) -> Column[str]:
    """Return the column for the ``sort_key`` of a name, by which lists sort.

    The collation makes both databases sort by code points.
    """
    kind = Text(collation="C").with_variant(Text(), "sqlite")
    return Column(f"{name}_sort", kind, nullable=False, server_default="")


def _flag(name: str, *, default: bool = False) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default="1" if default else "0")


def _account(name: str, **options: object) -> Column[int]:
    return Column(name, BigInt, ForeignKey("accounts.id", ondelete="SET NULL"), **options)  # type: ignore[arg-type]


# ``sqlite_autoincrement`` marks tables whose ids appear in an API or in e-mails. Such an id must
# not be used again after a deletion. Without this option SQLite reuses the highest freed id.
# Sequences of PostgreSQL never reuse ids.

accounts = Table(
    "accounts",
    metadata,
    _id(),
    Column("uuid", UuidHex, nullable=False, unique=True),
    Column("username", String(128), nullable=False, unique=True),
    Column("slug", String(64), nullable=False, unique=True),
    Column("password", String(255)),
    # Increased by everything that ends all sign-ins of the account. A sign-in that was verified at
    # an earlier version is refused when it is written.
    Column("credentials_version", Integer, nullable=False, server_default="0"),
    Column("email", String(320), nullable=False),
    # The comparable form of the address; see ``collegium.text.email_addresses``.
    _text("email_comparable"),
    _text("first_name", 100),
    _text("last_name", 100),
    _text("native_name", 100),
    _text("job_title", 120),
    _text("phone_number", 255),
    _text("organization", 255),
    Column("civil_number", String(50), unique=True),
    _text("description", 2000),
    Column("birth_date", Date),
    _text("preferred_language", 10),
    _flag("is_active", default=True),
    _flag("is_staff"),
    _flag("is_support"),
    _flag("is_identity_manager"),
    _flag("notifications_enabled", default=True),
    Column("token_lifetime", Integer),
    Column("registration_method", String(50), nullable=False, server_default="default"),
    _text("identity_source", 50),
    Column("affiliations", JsonColumn, nullable=False),
    Column("joined", UtcDateTime, nullable=False),
    Column("modified", UtcDateTime, nullable=False),
    Column("agreed", UtcDateTime),
    Column("last_login", UtcDateTime),
    Column("last_synced", UtcDateTime),
    # Data from a remote directory that the service stores unchanged and does not use.
    Column("details", JsonColumn, nullable=False, server_default="{}"),
    # Deactivated by staff. A remote directory must not activate the account again.
    _flag("is_barred"),
    Column("picture", UuidHex),
    # When the account was deleted. The row keeps its id and a name, so that the audit log stays
    # readable.
    Column("deleted", UtcDateTime),
    # What people show about their work: web pages, ids on other services, preferences.
    Column("profile", JsonColumn, nullable=False, server_default="{}"),
    # All searchable fields in one text, case-folded; see ``collegium.lists.account_search``.
    _text("search"),
    *map(_sort, ("first_name", "last_name", "native_name", "organization")),
    CheckConstraint("token_lifetime IS NULL OR token_lifetime >= 60", name="token_lifetime"),
    sqlite_autoincrement=True,
)
Index("ix_accounts_email_comparable", accounts.c.email_comparable)
# Indexes for sorting lists. Each ends with the column that breaks ties. Where many rows may be
# counted or skipped, the index also contains ``deleted`` and the id, so that the index alone
# answers the query. On SQLite every index contains the row's key anyway.
for _name, *_columns in (
    ("username", "username"),
    *((one, one, "username") for one in ("is_active", "is_staff", "is_support")),
    ("registration_method", "registration_method", "username"),
):
    Index(
        f"ix_accounts_{_name}",
        *(accounts.c[one] for one in (*_columns, "deleted")),
        postgresql_include=["id"],
    )
for _name in ("email", "job_title", "phone_number"):
    Index(f"ix_accounts_{_name}", accounts.c[_name], accounts.c.username)
for _name in ("native_name", "organization"):
    Index(f"ix_accounts_{_name}", accounts.c[f"{_name}_sort"], accounts.c.username)
Index(
    "ix_accounts_name",
    accounts.c.first_name_sort,
    accounts.c.last_name_sort,
    accounts.c.username,
)
Index("ix_accounts_joined", accounts.c.joined)
Index("ix_accounts_modified", accounts.c.modified)
Index("ix_accounts_agreed", accounts.c.agreed)
Index("ix_accounts_description", func.substr(accounts.c.description, 1, 500), accounts.c.username)
Index("ix_accounts_last_synced", accounts.c.last_synced)

# The searchable fields of accounts that are not deleted, once more and one column each. The rows
# are so narrow that a search can scan the whole table.
account_texts = Table(
    "account_texts",
    metadata,
    Column(
        "account_id",
        BigInt,
        ForeignKey("accounts.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    _text("people"),
    _text("username"),
    _text("email"),
    _text("civil_number"),
    _text("first_name"),
    _text("last_name"),
    _text("plain_name"),
    _text("full_name"),
    _text("native_name"),
    _text("organization"),
    _text("job_title"),
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    Column("account_id", BigInt, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    # The encrypted token. Kept only for API tokens, which the Waldur API must show again.
    Column("sealed", LargeBinary),
    Column("issued", UtcDateTime, nullable=False),
    Column("used", UtcDateTime, nullable=False),
    Column("kind", String(16), nullable=False, server_default="api"),
    _text("name", 150),
    # Seconds that the token lives after its last use. For the kind ``api`` the account decides.
    Column("lifetime", Integer),
    Column("ends", UtcDateTime),
    # Shared by an access token and a refresh token that were issued together, and their successors.
    Column("family", UuidHex),
    _one_of("kind", token_rules.TokenKind),
    sqlite_autoincrement=True,
)
# Written into the SQL text as a literal, so that a statement with the same text can use the partial
# index.
API_TOKEN = tokens.c.kind == literal_column("'api'")
Index(
    "uq_tokens_api",
    tokens.c.account_id,
    unique=True,
    sqlite_where=API_TOKEN,
    postgresql_where=API_TOKEN,
)
Index("ix_tokens_account_id", tokens.c.account_id, tokens.c.kind)

second_factors = Table(
    "second_factors",
    metadata,
    Column(
        "account_id",
        BigInt,
        ForeignKey("accounts.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("digest", LargeBinary(32), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    # When the first correct code was entered. Until then sign-in does not ask for a code, because
    # it is not certain that the authenticator works.
    Column("confirmed", UtcDateTime),
    # The latest time step whose code was accepted. So no code can be used twice.
    Column("step", BigInt, nullable=False, server_default="0"),
    # Wrong codes since the last correct one, however long ago they were entered.
    Column("wrong_codes", Integer, nullable=False, server_default="0"),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column(
        "account_id",
        BigInt,
        ForeignKey("accounts.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("digest", LargeBinary(32), primary_key=True),
)

# Device sign-ins: programs that wait until a person approves them in a browser.
devices = Table(
    "devices",
    metadata,
    _id(),
    # Part of the address that the browser opens. It opens the page but authorises nothing.
    Column("uuid", UuidHex, nullable=False, unique=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("user_digest", LargeBinary(32), nullable=False, unique=True),
    # The code that the person compares with the device. Null in rows of an earlier release.
    Column("user_code_sealed", LargeBinary),
    _text("name", 150),
    # The network address of the program.
    _text("address", 64),
    # Lifetime of the token in seconds. Null in rows of an earlier release.
    Column("lifetime", Integer),
    Column("state", String(16), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
    Column("account_id", BigInt, ForeignKey("accounts.id", ondelete="CASCADE"), index=True),
    _one_of("state", device_rules.State),
)

email_changes = Table(
    "email_changes",
    metadata,
    Column(
        "account_id",
        BigInt,
        ForeignKey("accounts.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("email", String(320), nullable=False),
    _text("email_comparable"),
    # Digest of the confirmation code. The code itself is only in the e-mail.
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    # Digest of the code that went to the old address and cancels the change. Null in changes from a
    # release without such codes.
    Column("cancel_digest", LargeBinary(32)),
    Column("created", UtcDateTime, nullable=False),
)
Index("ix_email_changes_email_comparable", email_changes.c.email_comparable)
Index("uq_email_changes_cancel_digest", email_changes.c.cancel_digest, unique=True)

pictures = Table(
    "pictures",
    metadata,
    Column("uuid", UuidHex, primary_key=True),
    Column("media", String(32), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("created", UtcDateTime, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    _id(),
    Column("uuid", UuidHex, nullable=False, unique=True),
    Column("account_id", BigInt, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    _text("name", 150),
    Column("public_key", String(2000), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("fingerprint_md5", String(47), nullable=False, index=True),
    Column("fingerprint_sha256", String(64), nullable=False, index=True),
    Column("fingerprint_sha512", String(128), nullable=False, index=True),
    _flag("is_shared"),
    Column("created", UtcDateTime, nullable=False),
    Column("modified", UtcDateTime, nullable=False),
    _sort("name"),
    UniqueConstraint("account_id", "name"),
)
Index(
    "ix_keys_shared",
    keys.c.id,
    sqlite_where=keys.c.is_shared,
    postgresql_where=keys.c.is_shared,
)
Index("ix_keys_name", keys.c.name_sort, keys.c.id)

tries = Table(
    "tries",
    metadata,
    # What is limited, such as ``login address 192.0.2.1``. A digest where it would identify a
    # person.
    Column("subject", String(128), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("last", UtcDateTime, nullable=False),
    Column("until", UtcDateTime, nullable=False),
)
Index("ix_tries_last", tries.c.last)

# The times at which invitation e-mails were sent to an address in the last day, or will be sent.
mail_budgets = Table(
    "mail_budgets",
    metadata,
    # Digest of the comparable form of the address.
    Column("recipient", String(64), primary_key=True),
    # Unix times in seconds, separated by spaces.
    _text("sent_at"),
    Column("last_at", UtcDateTime, nullable=False),
)
Index("ix_mail_budgets_last_at", mail_budgets.c.last_at)

scopes = Table(
    "scopes",
    metadata,
    _id(),
    Column("uuid", UuidHex, nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("parent_id", BigInt, ForeignKey("scopes.id"), index=True),
    Column("name", String(500), nullable=False),
    Column("slug", String(64), nullable=False),
    _text("description"),
    Column("created", UtcDateTime, nullable=False),
    Column("removed", UtcDateTime),
    _sort("name"),
    _one_of("kind", access_rules.ScopeKind),
    CheckConstraint("(kind = 'project') = (parent_id IS NOT NULL)", name="parent"),
    UniqueConstraint("kind", "slug"),
    sqlite_autoincrement=True,
)
Index("ix_scopes_kind_name", scopes.c.kind, scopes.c.name, scopes.c.id)
Index("ix_scopes_kind_name_sort", scopes.c.kind, scopes.c.name_sort, scopes.c.id)

organisations = Table(
    "organisations",
    metadata,
    Column("scope_id", BigInt, ForeignKey("scopes.id", ondelete="CASCADE"), primary_key=True),
    _text("native_name", 160),
    _text("abbreviation", 12),
    _text("contact_details", 500),
    _text("agreement_number", 160),
    _text("registration_code", 160),
    _text("email", 75),
    _text("phone_number", 255),
    _text("access_subnets", 140),
    _text("homepage", 255),
    _text("domain", 255),
    _text("vat_code", 20),
    _text("postal", 20),
    _text("address", 300),
    _text("bank_name", 150),
    _text("bank_account", 50),
    Column("latitude", Float),
    Column("longitude", Float),
    _text("country", 2),
    _text("backend_id", 255),
    _flag("blocked"),
    _flag("archived"),
    Column("default_tax_percent", String(8), nullable=False, server_default="0.00"),
    Column("accounting_started", UtcDateTime),
    Column("sponsor_number", Integer),
    Column("max_service_accounts", Integer),
    Column("grace_period_days", Integer),
    _text("notification_emails"),
    _flag("display_billing_info_in_projects", default=True),
    *map(_sort, ("native_name", "abbreviation")),
)

# The address ranges from which access subnets hide an organisation; see
# ``collegium.access.subnets.rules``.
closed_ranges = Table(
    "closed_ranges",
    metadata,
    Column(
        "scope_id",
        BigInt,
        ForeignKey("scopes.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("low", LargeBinary(16), primary_key=True),
    Column("high", LargeBinary(16), nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("scope_id", BigInt, ForeignKey("scopes.id", ondelete="CASCADE"), primary_key=True),
    _text("backend_id", 255),
    Column("starts", Date),
    Column("ends", Date),
    _account("ends_requested_by"),
    _text("oecd_fos_2007_code", 80),
    _flag("is_industry"),
    Column("kind", String(16), nullable=False, server_default="default"),
    Column("max_service_accounts", Integer),
    Column("grace_period_days", Integer),
    _text("staff_notes"),
    _one_of("kind", ("default", "course", "public")),
)

groups = Table(
    "groups",
    metadata,
    Column("scope_id", BigInt, ForeignKey("scopes.id", ondelete="CASCADE"), primary_key=True),
    # The case-folded name, which makes names of groups unique. A deleted group releases its name.
    Column("folded", String(500), unique=True),
    _account("founder_id", index=True),
)

slugs = Table(
    "slugs",
    metadata,
    Column("prefix", String(64), primary_key=True),
    Column("last", Integer, nullable=False),
)

roles = Table(
    "roles",
    metadata,
    _id(),
    Column("uuid", UuidHex, nullable=False, unique=True),
    Column("name", String(150), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    _text("description"),
    Column("descriptions", JsonColumn, nullable=False),
    _flag("is_system"),
    _flag("is_active", default=True),
    _sort("name"),
    _one_of("kind", access_rules.ScopeKind),
)

role_permissions = Table(
    "role_permissions",
    metadata,
    Column("role_id", BigInt, ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True),
    Column("permission", String(64), primary_key=True),
)

grants = Table(
    "grants",
    metadata,
    _id(),
    Column("uuid", UuidHex, nullable=False, unique=True),
    # The account always exists, because deleting an account keeps its row.
    Column("account_id", BigInt, ForeignKey("accounts.id"), nullable=False),
    Column("role_id", BigInt, ForeignKey("roles.id"), nullable=False),
    Column("scope_id", BigInt, ForeignKey("scopes.id"), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),
    _account("given_by"),
    Column("ended", UtcDateTime),
    _account("ended_by"),
    CheckConstraint("ended IS NULL OR ended >= since", name="ended"),
)
Index(
    "uq_grants_active",
    grants.c.account_id,
    grants.c.scope_id,
    grants.c.role_id,
    unique=True,
    sqlite_where=grants.c.ended.is_(None),
    postgresql_where=grants.c.ended.is_(None),
)
Index(
    "ix_grants_scope_active",
    grants.c.scope_id,
    grants.c.account_id,
    # Includes the end of the grant, so that the index alone answers visibility checks.
    grants.c.until,
    sqlite_where=grants.c.ended.is_(None),
    postgresql_where=grants.c.ended.is_(None),
)
Index(
    "ix_grants_since_active",
    grants.c.since,
    grants.c.id,
    sqlite_where=grants.c.ended.is_(None),
    postgresql_where=grants.c.ended.is_(None),
)
# The index alone answers who holds a role, and whether the grant is active.
Index(
    "ix_grants_role_id",
    grants.c.role_id,
    grants.c.account_id,
    grants.c.scope_id,
    grants.c.until,
    grants.c.ended,
)
Index(
    "ix_grants_until_active",
    grants.c.until,
    sqlite_where=and_(grants.c.ended.is_(None), grants.c.until.is_not(None)),
    postgresql_where=and_(grants.c.ended.is_(None), grants.c.until.is_not(None)),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("kind", String(64), nullable=False),
    Column("recipient", String(320), nullable=False),
    # Data for rendering the e-mail. It never contains a secret: links are created when the e-mail
    # is rendered.
    Column("facts", JsonColumn, nullable=False),
    Column("state", String(16), nullable=False, server_default="owed"),
    Column("created", UtcDateTime, nullable=False),
    Column("due", UtcDateTime, nullable=False),
    Column("leased", UtcDateTime),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _text("error"),
    Column("settled", UtcDateTime),
    # The account that the e-mail is about, so that its e-mails are found when the account is
    # deleted. There is no foreign key, because SQLite cannot add one to an existing table.
    Column("account_id", BigInt),
    _one_of("state", ("owed", "sent", "void", "abandoned")),
    sqlite_autoincrement=True,
)
Index(
    "ix_outbox_owed",
    outbox.c.due,
    sqlite_where=outbox.c.state == "owed",
    postgresql_where=outbox.c.state == "owed",
)
Index(
    "ix_outbox_abandoned",
    outbox.c.settled,
    outbox.c.id,
    sqlite_where=outbox.c.state == "abandoned",
    postgresql_where=outbox.c.state == "abandoned",
)
# Delivered and obsolete entries, which the worker deletes after some time. The states are literals
# in the SQL text, so that a statement with the same text can use the partial index.
DELIVERED = outbox.c.state.in_([literal_column("'sent'"), literal_column("'void'")])
Index(
    "ix_outbox_delivered",
    outbox.c.settled,
    sqlite_where=DELIVERED,
    postgresql_where=DELIVERED,
)
Index("ix_outbox_recipient", outbox.c.recipient)
_ABOUT = outbox.c.account_id.is_not(None)
Index("ix_outbox_account_id", outbox.c.account_id, sqlite_where=_ABOUT, postgresql_where=_ABOUT)

invitations = Table(
    "invitations",
    metadata,
    _id(),
    Column("uuid", UuidHex, nullable=False, unique=True),
    Column("scope_id", BigInt, ForeignKey("scopes.id"), nullable=False),
    Column("role_id", BigInt, ForeignKey("roles.id"), nullable=False),
    Column("email", String(320), nullable=False),
    _text("email_comparable"),
    # The spellings of the address in one text, for substring search with a trigram index.
    _text("email_search"),
    _text("full_name", 100),
    _text("native_name", 100),
    _text("phone_number", 255),
    _text("organization", 255),
    _text("job_title", 120),
    _text("civil_number", 50),
    _text("extra_text"),
    Column("state", String(16), nullable=False),
    # Version of the link. Renewing an invitation increases it, which makes the links in earlier
    # e-mails invalid.
    Column("generation", Integer, nullable=False, server_default="1"),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False),
    _account("created_by"),
    # The person who sent the invitation last is its sponsor. Their permission is checked again at
    # acceptance.
    _account("vouched_by"),
    _account("approved_by"),
    _account("accepted_by"),
    # The invited account, whatever its address. Set for invitations to groups, which invite
    # accounts; null for the others, which invite addresses. There is no foreign key: rows of
    # accounts are never deleted.
    Column("account_id", BigInt),
    Column("accepted", UtcDateTime),
    Column("mail_id", BigInt, ForeignKey("outbox.id", ondelete="SET NULL")),
    # When that e-mail was queued. Kept after the e-mail has been deleted.
    Column("mailed_at", UtcDateTime),
    # When the invitee was reminded, and when the inviter was notified of the expiry.
    Column("reminded", UtcDateTime),
    Column("told", UtcDateTime),
    # The link version for which the invitee asked for a new link.
    Column("wished", Integer),
    # When the invitee could not accept, because the account with the address is deactivated.
    Column("turned_away_at", UtcDateTime),
    _one_of("state", STORED),
)
Index("ix_invitations_scope_id", invitations.c.scope_id, invitations.c.created)
# Deleting an e-mail looks its id up here.
_MAILED = invitations.c.mail_id.is_not(None)
Index(
    "ix_invitations_mail_id",
    invitations.c.mail_id,
    sqlite_where=_MAILED,
    postgresql_where=_MAILED,
)
Index("ix_invitations_email_comparable", invitations.c.email_comparable)
Index("ix_invitations_created", invitations.c.created, invitations.c.id)
Index("ix_invitations_state", invitations.c.state, invitations.c.created, invitations.c.id)
_NUMBERED = invitations.c.civil_number != literal_column("''")
Index(
    "ix_invitations_civil_number",
    invitations.c.civil_number,
    sqlite_where=_NUMBERED,
    postgresql_where=_NUMBERED,
)
# Invitations for which the worker acts at a certain time. The states are literals in the SQL text,
# so that a statement with the same text can use the partial index whatever its parameters are.
_PENDING = invitations.c.state == literal_column("'pending'")
_NOT_NOTIFIED = and_(_PENDING, invitations.c.told.is_(None))
_HELD = invitations.c.state == literal_column("'held'")
Index(
    "ix_invitations_untold",
    invitations.c.expires,
    sqlite_where=_NOT_NOTIFIED,
    postgresql_where=_NOT_NOTIFIED,
)
Index("ix_invitations_held", invitations.c.scope_id, sqlite_where=_HELD, postgresql_where=_HELD)
_ACCOUNTS = invitations.c.account_id.is_not(None)
Index(
    "ix_invitations_account_id",
    invitations.c.account_id,
    sqlite_where=_ACCOUNTS,
    postgresql_where=_ACCOUNTS,
)
Index("ix_invitations_role_id", invitations.c.role_id, invitations.c.created, invitations.c.id)
# The index alone answers how many invitations were accepted on a day, and how long that took.
Index(
    "ix_invitations_accepted",
    invitations.c.accepted,
    invitations.c.created,
    sqlite_where=invitations.c.accepted.is_not(None),
    postgresql_where=invitations.c.accepted.is_not(None),
)

open_invitations = Table(
    "open_invitations",
    metadata,
    _id(),
    Column("uuid", UuidHex, nullable=False, unique=True),
    Column("scope_id", BigInt, ForeignKey("scopes.id"), nullable=False),
    Column("role_id", BigInt, ForeignKey("roles.id"), nullable=False, index=True),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False),
    _account("created_by"),
    Column("canceled", UtcDateTime),
    _flag("is_public"),
    _flag("auto_approve"),
    _flag("auto_create_project"),
    Column("template", String(255)),
    Column("project_role_id", BigInt, ForeignKey("roles.id")),
    _flag("allow_multiple_requests"),
    _text("custom_text"),
    Column("affiliations", JsonColumn, nullable=False),
    Column("email_patterns", JsonColumn, nullable=False),
    # The person who created the link, or the last one who made it admit more people. Automatic
    # approval requires that this person may still grant the role, checked at each join request.
    # There is no foreign key, because SQLite cannot add one to an existing table; rows of accounts
    # are never deleted.
    Column("sponsor_id", BigInt),
)
Index("ix_open_invitations_scope_id", open_invitations.c.scope_id, open_invitations.c.created)
Index("ix_open_invitations_created", open_invitations.c.created, open_invitations.c.id)
Index(
    "ix_open_invitations_public",
    open_invitations.c.created,
    open_invitations.c.id,
    sqlite_where=open_invitations.c.is_public,
    postgresql_where=open_invitations.c.is_public,
)

requests = Table(
    "requests",
    metadata,
    _id(),
    Column("uuid", UuidHex, nullable=False, unique=True),
    # The invite link that was used. Null for requests made at the scope itself.
    Column("open_invitation_id", BigInt, ForeignKey("open_invitations.id"), index=True),
    Column("scope_id", BigInt, ForeignKey("scopes.id"), nullable=False),
    Column("role_id", BigInt, ForeignKey("roles.id"), nullable=False, index=True),
    # The account always exists, because deleting an account keeps its row.
    Column("account_id", BigInt, ForeignKey("accounts.id"), nullable=False),
    Column("state", String(16), nullable=False),
    _text("message"),
    Column("created", UtcDateTime, nullable=False),
    Column("decided", UtcDateTime),
    _account("decided_by"),
    Column("comment", Text),
    _flag("is_automatic"),
    # The project that was created for the requester.
    Column("project_id", BigInt, ForeignKey("scopes.id")),
    # Allows one pending request per account and scope for each value: the id of the invite link, or
    # 0 for requests at the scope itself. Null allows any number.
    Column("sole", BigInt),
    _one_of("state", DECIDABLE),
)
_WAITING = requests.c.state == literal_column("'pending'")
Index(
    "uq_requests_sole",
    requests.c.account_id,
    requests.c.scope_id,
    requests.c.sole,
    unique=True,
    sqlite_where=_WAITING,
    postgresql_where=_WAITING,
)
Index(
    "ix_requests_waiting",
    requests.c.created,
    requests.c.id,
    sqlite_where=_WAITING,
    postgresql_where=_WAITING,
)
Index("ix_requests_account_id", requests.c.account_id, requests.c.created)
Index("ix_requests_scope_id", requests.c.scope_id, requests.c.created)
Index("ix_requests_created", requests.c.created, requests.c.id)
Index(
    "ix_requests_decided",
    requests.c.decided,
    sqlite_where=requests.c.decided.is_not(None),
    postgresql_where=requests.c.decided.is_not(None),
)

events = Table(
    "events",
    metadata,
    _id(),
    # The default was in rows of earlier releases, until a migration set their UUIDs.
    Column("uuid", UuidHex, nullable=False, server_default="0" * 32),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(64), nullable=False),
    _account("actor_id"),
    # The names at the time of the event. The audit log stays readable after a name has changed.
    _text("actor_name"),
    _text("address", 64),
    _text("request", 64),
    Column("scope_id", BigInt, ForeignKey("scopes.id", ondelete="SET NULL")),
    _account("account_id"),
    Column("facts", JsonColumn, nullable=False),
    sqlite_autoincrement=True,
)
Index("uq_events_uuid", events.c.uuid, unique=True)
Index("ix_events_at", events.c.at, events.c.id)
for _name in ("kind", "actor_id", "account_id", "scope_id"):
    Index(f"ix_events_{_name}", events.c[_name], events.c.at, events.c.id)

# Submitted forms that create something, with the response to the first submission.
submissions = Table(
    "submissions",
    metadata,
    # Digest of the session, the path, the one-time number and all other submitted values.
    Column("key_hash", String(64), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    # Encrypted, because it may contain names, or a token that is shown only this once. Null until
    # the action is complete.
    Column("answer", Text),
)

tallies = Table(
    "tallies",
    metadata,
    # There is no key: on PostgreSQL a count is the sum of many rows, see
    # ``collegium.lists.row_counts``.
    Column("name", String(20), nullable=False),
    Column("n", BigInt, nullable=False),
)
