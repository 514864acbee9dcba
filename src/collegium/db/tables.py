"""The database schema: tables, indexes and the constraints that enforce rules in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
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
    not_,
    or_,
)
from sqlalchemy.dialects.postgresql import JSONB

from collegium.access import rules as access_rules
from collegium.agreements import rules as agreement_rules
from collegium.bulk_changes import rules as bulk_change_rules
from collegium.claim_rules import rules as claim_rule_rules
from collegium.db.statements import UtcDateTime, UuidHex
from collegium.hooks import rules as hook_rules
from collegium.imports import rules as import_rules
from collegium.invitations.rules import STORED
from collegium.join_requests.rules import STORED as DECIDABLE
from collegium.sign_in.devices import rules as device_rules
from collegium.sign_in.passkeys import rules as passkey_rules
from collegium.sign_in.providers import rules as provider_rules
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


def _uuid() -> Column[str]:
    return Column("uuid", UuidHex, nullable=False, unique=True)


def _created_at(*, index: bool | None = None) -> Column[datetime]:
    return Column("created_at", UtcDateTime, nullable=False, index=index)


def _one_of(column: str, values: object) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)  # type: ignore[attr-defined]  # an enum's values
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


def _list(name: str) -> Column[Any]:
    return Column(name, JsonColumn, nullable=False, server_default="[]")


def _mapping(name: str) -> Column[Any]:
    return Column(name, JsonColumn, nullable=False, server_default="{}")


def _admission() -> tuple[Column[Any], ...]:
    """Return the columns that say who may have a role in an organisation or project.

    One match is enough; three empty lists admit everybody.
    """
    return tuple(map(_list, ("email_patterns", "affiliations", "identity_sources")))


def _reference(name: str, table: str, ondelete: str | None = None, **options: Any) -> Column[int]:
    return Column(name, BigInt, ForeignKey(f"{table}.id", ondelete=ondelete), **options)


def _key(name: str, table: str) -> Column[int]:
    """Return a key that is the id of a row of another table."""
    return _reference(name, table, "CASCADE", primary_key=True, autoincrement=False)


def _account(name: str, **options: Any) -> Column[int]:
    """Return the column of an account that did something."""
    return _reference(name, "accounts", "SET NULL", **options)


def _partial_index(
    name: str, *columns: Column[Any], where: ColumnElement[bool], unique: bool = False
) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


# ``sqlite_autoincrement`` marks tables whose ids appear in an API or in e-mails. Such an id must
# not be used again after a deletion. Without this option SQLite reuses the highest freed id.
# Sequences of PostgreSQL never reuse ids.

accounts = Table(
    "accounts",
    metadata,
    _id(),
    _uuid(),
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
    # Further facts about the person and the institution, as identity providers release them.
    Column("gender", String(10)),
    _text("personal_title", 50),
    _text("place_of_birth", 255),
    _text("address", 255),
    _text("country_of_residence", 2),
    _text("nationality", 2),
    _list("nationalities"),
    _text("organization_country", 2),
    _text("organization_type", 255),
    _text("organization_registry_code", 255),
    _text("organization_vat_code", 20),
    _text("organization_address", 255),
    _list("eduperson_assurance"),
    Column("uid_number", BigInteger),
    Column("primary_gid", BigInteger),
    # Which provider said a field last, and when: field to ``{"source": …, "timestamp": …}``.
    _mapping("attribute_sources"),
    # Identity source domains that the account manages, and that know the account. Stored for
    # clients; no rule uses them.
    _list("managed_isds"),
    _list("active_isds"),
    _flag("can_use_personal_access_tokens"),
    _flag("is_active", default=True),
    _flag("is_staff"),
    _flag("is_support"),
    _flag("is_identity_manager"),
    _flag("notifications_enabled", default=True),
    Column("token_lifetime", Integer),
    Column("registration_method", String(50), nullable=False, server_default="default"),
    _text("identity_source", 50),
    Column("affiliations", JsonColumn, nullable=False),
    Column("joined_at", UtcDateTime, nullable=False),
    Column("modified_at", UtcDateTime, nullable=False),
    Column("agreed_at", UtcDateTime),
    # Set at a sign-in: there are agreements to which the account has not agreed. Pages then show
    # them first.
    _flag("must_agree"),
    # When the person last got an e-mail about pending reviews of roles.
    Column("reviews_mailed_at", UtcDateTime),
    Column("last_login_at", UtcDateTime),
    Column("last_synced_at", UtcDateTime),
    # Data from a remote directory that the service stores unchanged and does not use.
    _mapping("details"),
    # Deactivated by staff. A remote directory must not activate the account again.
    _flag("disabled_by_staff"),
    _text("deactivation_reason", 255),
    Column("picture", UuidHex),
    # When the account was deleted. The row keeps its id and a name, so that the audit log stays
    # readable.
    Column("deleted_at", UtcDateTime),
    # What people show about their work: web pages, ids on other services, preferences.
    _mapping("profile"),
    # All searchable fields in one text, case-folded; see ``collegium.lists.account_search``.
    _text("search"),
    *map(_sort, ("first_name", "last_name", "native_name", "organization")),
    CheckConstraint("token_lifetime IS NULL OR token_lifetime >= 60", name="token_lifetime"),
    sqlite_autoincrement=True,
)
Index("ix_accounts_email_comparable", accounts.c.email_comparable)
# Indexes for sorting lists. Each ends with the column that breaks ties. Where many rows may be
# counted or skipped, the index also contains ``deleted_at`` and the id, so that the index alone
# answers the query. On SQLite every index contains the row's key anyway.
for _name, *_columns in (
    ("username", "username"),
    *((one, one, "username") for one in ("is_active", "is_staff", "is_support")),
    ("registration_method", "registration_method", "username"),
):
    Index(
        f"ix_accounts_{_name}",
        *(accounts.c[one] for one in (*_columns, "deleted_at")),
        postgresql_include=["id"],
    )
for _name in ("email", "job_title", "phone_number"):
    Index(f"ix_accounts_{_name}", accounts.c[_name], accounts.c.username)
for _name in ("native_name", "organization"):
    Index(f"ix_accounts_{_name}", accounts.c[f"{_name}_sort"], accounts.c.username)
Index(
    "ix_accounts_name", accounts.c.first_name_sort, accounts.c.last_name_sort, accounts.c.username
)
Index("ix_accounts_joined_at", accounts.c.joined_at)
Index("ix_accounts_modified_at", accounts.c.modified_at)
Index("ix_accounts_agreed_at", accounts.c.agreed_at)
Index("ix_accounts_description", func.substr(accounts.c.description, 1, 500), accounts.c.username)
Index("ix_accounts_last_synced_at", accounts.c.last_synced_at)

# The searchable fields of accounts that are not deleted, once more and one column each. The rows
# are so narrow that a search can scan the whole table.
account_texts = Table(
    "account_texts",
    metadata,
    _key("account_id", "accounts"),
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
    _reference("account_id", "accounts", "CASCADE", nullable=False),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True),
    # The encrypted token. Kept only for API tokens, which the Waldur API must show again.
    Column("token_encrypted", LargeBinary),
    _created_at(),
    Column("last_used_at", UtcDateTime, nullable=False),
    Column("kind", String(16), nullable=False, server_default="api"),
    _text("name", 150),
    # Seconds that the token lives after its last use. For the kind ``api`` the account decides.
    Column("lifetime", Integer),
    Column("expires_at", UtcDateTime),
    # Shared by an access token and a refresh token that were issued together, and their successors.
    Column("family", UuidHex),
    # When the person last proved in this browser session who they are: at the sign-in or later.
    Column("confirmed_at", UtcDateTime),
    # Whether the sign-in that led to this token needed more than a password.
    _flag("has_second_factor"),
    _one_of("kind", token_rules.TokenKind),
    sqlite_autoincrement=True,
)
# Written into the SQL text as a literal, so that a statement with the same text can use the partial
# index.
API_TOKEN = tokens.c.kind == literal_column("'api'")
_partial_index("uq_tokens_api", tokens.c.account_id, unique=True, where=API_TOKEN)
Index("ix_tokens_account_id", tokens.c.account_id, tokens.c.kind)

two_factor = Table(
    "two_factor",
    metadata,
    _key("account_id", "accounts"),
    Column("secret_hash", LargeBinary(32), nullable=False),
    Column("secret_encrypted", LargeBinary, nullable=False),
    _created_at(),
    # When the first correct code was entered. Until then sign-in does not ask for a code, because
    # it is not certain that the authenticator works.
    Column("confirmed_at", UtcDateTime),
    # The latest time step whose code was accepted. So no code can be used twice.
    Column("last_step", BigInt, nullable=False, server_default="0"),
    # Wrong codes since the last correct one, however long ago they were entered.
    Column("wrong_codes", Integer, nullable=False, server_default="0"),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    _key("account_id", "accounts"),
    Column("code_hash", LargeBinary(32), primary_key=True),
)

# Passkeys: devices and security keys that sign in instead of a password (WebAuthn).
passkeys = Table(
    "passkeys",
    metadata,
    _id(),
    _uuid(),
    _reference("account_id", "accounts", "CASCADE", nullable=False),
    # The id that the device gave it, and its public key in the format of COSE.
    Column("credential_id", LargeBinary(1023), nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),
    # How often the device says that it was used. A lower number means a copy of the passkey.
    Column("sign_count", BigInt, nullable=False),
    # Model of the device.
    _text("aaguid", 36),
    _list("transports"),
    _text("attachment", 16),
    # The domain that it is bound to.
    _text("rp_id", 255),
    _flag("is_backup_eligible"),
    _flag("is_backed_up"),
    _flag("is_discoverable"),
    _flag("is_user_verified"),
    _text("name", 150),
    _created_at(),
    Column("last_used_at", UtcDateTime),
    Column("use_count", Integer, nullable=False, server_default="0"),
    Column("revoked_at", UtcDateTime),
    _account("revoked_by_id"),
    _text("revocation_reason", 500),
    sqlite_autoincrement=True,
)
Index("ix_passkeys_account_id", passkeys.c.account_id, passkeys.c.revoked_at)
Index("ix_passkeys_revoked_by_id", passkeys.c.revoked_by_id)

# Ceremonies of passkeys that were begun.
passkey_ceremonies = Table(
    "passkey_ceremonies",
    metadata,
    # The row is deleted when it is used.
    Column("uuid", UuidHex, primary_key=True),
    # The random bytes that the device signs.
    Column("challenge", LargeBinary(32), nullable=False),
    Column("purpose", String(16), nullable=False),
    _reference("account_id", "accounts", "CASCADE", index=True),
    # Digest of a cookie, so that no other browser can complete it; null on the API.
    Column("browser_hash", LargeBinary(32)),
    # That of the account when its password was verified.
    Column("credentials_version", Integer),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    _one_of("purpose", passkey_rules.Purpose),
)

# Device sign-ins: programs that wait until a person approves them in a browser.
devices = Table(
    "devices",
    metadata,
    _id(),
    # Part of the address that the browser opens. It opens the page but authorises nothing.
    _uuid(),
    Column("device_code_hash", LargeBinary(32), nullable=False, unique=True),
    Column("user_code_hash", LargeBinary(32), nullable=False, unique=True),
    # The code that the person compares with the device.
    Column("user_code_encrypted", LargeBinary, nullable=False),
    _text("name", 150),
    # The network address of the program.
    _text("ip_address", 64),
    # Lifetime of the token in seconds.
    Column("lifetime", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    _created_at(),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    _reference("account_id", "accounts", "CASCADE", index=True),
    # Whether the session that approved it had a second factor.
    _flag("has_second_factor"),
    _one_of("state", device_rules.State),
)

# Organisations whose accounts people sign in with: OpenID providers.
identity_providers = Table(
    "identity_providers",
    metadata,
    _id(),
    _uuid(),
    # Short name, part of the address that a sign-in returns to.
    Column("name", String(50), nullable=False, unique=True),
    _text("label", 255),
    _flag("is_active", default=True),
    # Where the sign-in page leads at once, instead of showing its form.
    _flag("is_default"),
    _text("client_id", 255),
    Column("client_secret_encrypted", LargeBinary),
    _text("discovery_url", 2000),
    # The issuer as the provider names itself in its metadata, and those metadata.
    _text("issuer", 2000),
    _mapping("metadata"),
    _flag("verify_ssl", default=True),
    _text("management_url", 2000),
    # Scopes to request besides openid, profile and email; space-separated.
    _text("extra_scope", 1000),
    # Waldur's way to recognise people: the field of an account that equals a claim. Both empty:
    # only identities count.
    _text("user_field", 50),
    _text("user_claim", 100),
    # Field of the account → claim.
    _mapping("attribute_mapping"),
    _text("extra_fields", 1000),
    _list("protected_fields"),
    # Exact addresses of front ends to which a sign-in may return.
    _list("allowed_redirects"),
    _flag("enable_post_logout_redirect"),
    # Whether old front ends get the token in the address instead of a code.
    _flag("token_in_url"),
    Column("registration", String(16), nullable=False, server_default="invited"),
    # E-mail domains for which the provider's word proves an address.
    _list("trusted_domains"),
    # Values of ``acr`` and ``amr`` that mean a second factor.
    _list("second_factor_values"),
    # Claims that the provider assigns, which claim rules may compare.
    _list("vouched_claims"),
    _created_at(),
    Column("modified_at", UtcDateTime, nullable=False),
    _one_of("registration", provider_rules.Registration),
)

# Accounts at providers: who signs in with which account there.
identities = Table(
    "identities",
    metadata,
    _id(),
    _uuid(),
    _reference("account_id", "accounts", "CASCADE", nullable=False),
    # Null after the provider was removed. The identity works again when a provider with the same
    # issuer is added.
    _reference("provider_id", "identity_providers", "SET NULL", index=True),
    Column("issuer", String(2000), nullable=False),
    Column("subject", String(255), nullable=False),
    _text("email", 320),
    # What the provider said about the person at the latest sign-in.
    _mapping("claims"),
    _created_at(),
    Column("last_used_at", UtcDateTime, nullable=False),
    UniqueConstraint("issuer", "subject"),
    sqlite_autoincrement=True,
)
Index("ix_identities_account_id", identities.c.account_id, identities.c.created_at)

# Identities whose provider was removed, until what it vouched for is taken back.
released_identities = Table(
    "released_identities",
    metadata,
    _reference("identity_id", "identities", "CASCADE", primary_key=True),
)

# Sign-ins that a browser has begun at a provider.
provider_sign_ins = Table(
    "provider_sign_ins",
    metadata,
    # Digest of the parameter ``state``. The row is deleted when it is used.
    Column("state_hash", LargeBinary(32), primary_key=True),
    # Digest of a cookie, so that no other browser can complete the sign-in.
    Column("browser_hash", LargeBinary(32), nullable=False),
    _reference("provider_id", "identity_providers", "CASCADE", nullable=False, index=True),
    Column("nonce_hash", LargeBinary(32), nullable=False),
    Column("code_verifier_encrypted", LargeBinary, nullable=False),
    Column("purpose", String(16), nullable=False),
    # Who links an identity or confirms to be present; null for a sign-in.
    _reference("account_id", "accounts", "CASCADE", index=True),
    # The token of the session in which it began.
    Column("token_id", BigInt),
    # Where to continue: a path here, or an allowed address of a front end.
    _text("return_to", 2000),
    _created_at(),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    _one_of("purpose", provider_rules.Purpose),
)

# Which tokens came of which identity, so that the provider can end them.
identity_sessions = Table(
    "identity_sessions",
    metadata,
    _key("token_id", "tokens"),
    _reference("identity_id", "identities", "CASCADE", nullable=False),
    # The provider's name of its session, as a digest; null when it names none.
    Column("sid_hash", LargeBinary(32)),
    # Sent back to the provider when the person signs out there too.
    Column("id_token_encrypted", LargeBinary),
    _created_at(),
)
Index(
    "ix_identity_sessions_identity_id",
    identity_sessions.c.identity_id,
    identity_sessions.c.sid_hash,
)

# Codes that a front end exchanges for a token after a sign-in at a provider.
exchange_codes = Table(
    "exchange_codes",
    metadata,
    Column("code_hash", LargeBinary(32), primary_key=True),
    _reference("identity_id", "identities", "CASCADE", nullable=False, index=True),
    Column("credentials_version", Integer, nullable=False),
    Column("sid_hash", LargeBinary(32)),
    Column("id_token_encrypted", LargeBinary),
    # Whether the sign-in showed a second factor.
    _flag("has_second_factor"),
    # What the provider states about a person who has yet to enter a code.
    Column("stated_encrypted", LargeBinary),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

# Logout tokens of providers that were used; each works once.
used_logout_tokens = Table(
    "used_logout_tokens",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

email_changes = Table(
    "email_changes",
    metadata,
    _key("account_id", "accounts"),
    Column("email", String(320), nullable=False),
    _text("email_comparable"),
    # Digest of the confirmation code. The code itself is only in the e-mail.
    Column("code_hash", LargeBinary(32), nullable=False, unique=True),
    # Digest of the code that went to the old address and cancels the change.
    Column("cancel_code_hash", LargeBinary(32), nullable=False),
    _created_at(),
)
Index("ix_email_changes_email_comparable", email_changes.c.email_comparable)
Index("uq_email_changes_cancel_code_hash", email_changes.c.cancel_code_hash, unique=True)

pictures = Table(
    "pictures",
    metadata,
    Column("uuid", UuidHex, primary_key=True),
    Column("media_type", String(32), nullable=False),
    Column("data", LargeBinary, nullable=False),
    _created_at(),
)

ssh_keys = Table(
    "ssh_keys",
    metadata,
    _id(),
    _uuid(),
    _reference("account_id", "accounts", "CASCADE", nullable=False),
    _text("name", 150),
    Column("public_key", String(2000), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("fingerprint_md5", String(47), nullable=False, index=True),
    Column("fingerprint_sha256", String(64), nullable=False, index=True),
    Column("fingerprint_sha512", String(128), nullable=False, index=True),
    _flag("is_shared"),
    _created_at(),
    Column("modified_at", UtcDateTime, nullable=False),
    _sort("name"),
    UniqueConstraint("account_id", "name"),
)
_partial_index("ix_ssh_keys_shared", ssh_keys.c.id, where=ssh_keys.c.is_shared)
Index("ix_ssh_keys_name", ssh_keys.c.name_sort, ssh_keys.c.id)

rate_limits = Table(
    "rate_limits",
    metadata,
    # What is limited, such as ``login address 192.0.2.1``. A digest where it would identify a
    # person.
    Column("subject", String(128), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("last_attempt_at", UtcDateTime, nullable=False),
    Column("blocked_until", UtcDateTime, nullable=False),
)
Index("ix_rate_limits_last_attempt_at", rate_limits.c.last_attempt_at)

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
    _uuid(),
    Column("kind", String(16), nullable=False),
    _reference("parent_id", "scopes", index=True),
    Column("name", String(500), nullable=False),
    Column("slug", String(64), nullable=False),
    _text("description"),
    _created_at(),
    Column("deleted_at", UtcDateTime),
    _sort("name"),
    _one_of("kind", access_rules.ScopeKind),
    CheckConstraint("(kind = 'project') = (parent_id IS NOT NULL)", name="parent"),
    UniqueConstraint("kind", "slug"),
    sqlite_autoincrement=True,
)
Index("ix_scopes_kind_name", scopes.c.kind, scopes.c.name, scopes.c.id)
Index("ix_scopes_kind_name_sort", scopes.c.kind, scopes.c.name_sort, scopes.c.id)
# Lists of those who see all count the scopes of a kind.
Index("ix_scopes_kind_deleted_at", scopes.c.kind, scopes.c.deleted_at)

organisations = Table(
    "organisations",
    metadata,
    _reference("scope_id", "scopes", "CASCADE", primary_key=True),
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
    Column("accounting_started_at", UtcDateTime),
    Column("sponsor_number", Integer),
    Column("max_service_accounts", Integer),
    Column("grace_period_days", Integer),
    _text("notification_emails"),
    _flag("display_billing_info_in_projects", default=True),
    *map(_sort, ("native_name", "abbreviation")),
    *_admission(),
    *(_text(name, 255) for name in ("city", "state", "parish", "street")),
    *(_text(name, 255) for name in ("house_nr", "apartment_nr", "household")),
    # Of its e-mails to people who have not chosen a language.
    _text("language", 10),
)

# The address ranges from which access subnets hide an organisation; see
# ``collegium.access.subnets.rules``.
denied_ranges = Table(
    "denied_ranges",
    metadata,
    _key("scope_id", "scopes"),
    Column("low", LargeBinary(16), primary_key=True),
    Column("high", LargeBinary(16), nullable=False),
)

projects = Table(
    "projects",
    metadata,
    _reference("scope_id", "scopes", "CASCADE", primary_key=True),
    _text("backend_id", 255),
    Column("start_date", Date),
    Column("end_date", Date),
    _account("end_date_requested_by"),
    _text("oecd_fos_2007_code", 80),
    _flag("is_industry"),
    Column("kind", String(16), nullable=False, server_default="default"),
    Column("max_service_accounts", Integer),
    Column("grace_period_days", Integer),
    _text("staff_notes"),
    # When the end date was changed the last time.
    Column("end_date_changed_at", UtcDateTime),
    *_admission(),
    _one_of("kind", ("default", "course", "public")),
)

groups = Table(
    "groups",
    metadata,
    _reference("scope_id", "scopes", "CASCADE", primary_key=True),
    # The case-folded name, which makes names of groups unique. A deleted group releases its name.
    Column("name_casefolded", String(500), unique=True),
    _account("founder_id", index=True),
)

slugs = Table(
    "slugs",
    metadata,
    Column("prefix", String(64), primary_key=True),
    Column("last_number", Integer, nullable=False),
)

roles = Table(
    "roles",
    metadata,
    _id(),
    _uuid(),
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
    _reference("role_id", "roles", "CASCADE", primary_key=True),
    Column("permission", String(64), primary_key=True),
)

# Roles that exist only in one organisation and its projects. All others exist everywhere.
organisation_roles = Table(
    "organisation_roles",
    metadata,
    _key("role_id", "roles"),
    _uuid(),
    _reference("organisation_id", "scopes", nullable=False),
    # The role that it was copied from.
    _reference("template_id", "roles", "SET NULL", index=True),
    UniqueConstraint("organisation_id", "template_id"),
)

# Roles that an organisation and its projects do not use. Members who have one keep it.
role_concealments = Table(
    "role_concealments",
    metadata,
    _id(),
    _uuid(),
    _reference("organisation_id", "scopes", nullable=False),
    _reference("role_id", "roles", "CASCADE", nullable=False),
    UniqueConstraint("organisation_id", "role_id"),
)
Index("ix_role_concealments_role_id", role_concealments.c.role_id)

grants = Table(
    "grants",
    metadata,
    _id(),
    _uuid(),
    # The account always exists, because deleting an account keeps its row.
    _reference("account_id", "accounts", nullable=False),
    _reference("role_id", "roles", nullable=False),
    _reference("scope_id", "scopes", nullable=False),
    Column("valid_from", UtcDateTime, nullable=False),
    Column("valid_until", UtcDateTime),
    _account("granted_by"),
    Column("ended_at", UtcDateTime),
    _account("ended_by"),
    # A ``memberships.rules.GrantSource``; empty if nobody knows.
    _text("source", 32),
    # Why somebody ended the grant, in their words.
    _text("end_reason"),
    # How many reminders of the end are done or not needed; see ``memberships.notices.rules``.
    Column("reminders_done", Integer, nullable=False, server_default="0"),
    CheckConstraint("ended_at IS NULL OR ended_at >= valid_from", name="ended_at"),
)
# The history of an account, and of everybody, with the grants that have ended.
Index("ix_grants_account_id", grants.c.account_id, grants.c.valid_from, grants.c.id)
Index("ix_grants_valid_from", grants.c.valid_from, grants.c.id)
_partial_index(
    "uq_grants_active",
    grants.c.account_id,
    grants.c.scope_id,
    grants.c.role_id,
    unique=True,
    where=grants.c.ended_at.is_(None),
)
_partial_index(
    "ix_grants_scope_active",
    grants.c.scope_id,
    grants.c.account_id,
    # Includes the end of the grant, so that the index alone answers visibility checks.
    grants.c.valid_until,
    where=grants.c.ended_at.is_(None),
)
# The index alone answers who had a role in a scope in the last weeks.
_partial_index(
    "ix_grants_scope_ended",
    grants.c.scope_id,
    grants.c.ended_at,
    grants.c.account_id,
    grants.c.valid_from,
    grants.c.valid_until,
    where=grants.c.ended_at.is_not(None),
)
_partial_index(
    "ix_grants_valid_from_active",
    grants.c.valid_from,
    grants.c.id,
    where=grants.c.ended_at.is_(None),
)
# The index alone answers who holds a role, and whether the grant is active.
Index(
    "ix_grants_role_id",
    grants.c.role_id,
    grants.c.account_id,
    grants.c.scope_id,
    grants.c.valid_until,
    grants.c.ended_at,
)
_HAS_END = and_(grants.c.ended_at.is_(None), grants.c.valid_until.is_not(None))
_partial_index("ix_grants_valid_until_active", grants.c.valid_until, where=_HAS_END)
# What the worker reminds of.
_partial_index("ix_grants_reminders", grants.c.reminders_done, grants.c.valid_until, where=_HAS_END)

# What people have not been told yet about their roles. The worker makes e-mails of it.
role_notices = Table(
    "role_notices",
    metadata,
    _id(),
    _reference("account_id", "accounts", nullable=False, index=True),
    _reference("grant_id", "grants", nullable=False, index=True),
    Column("kind", String(64), nullable=False),
    # The grant that this one replaces.
    _reference("former_id", "grants"),
    # Who did it, if the person may learn that; null for rules and impersonations.
    _account("actor_id"),
    # The scope may be hidden from the person soon, and renamed after that.
    _text("scope_name"),
    _created_at(),
)
Index("ix_role_notices_created_at", role_notices.c.created_at, role_notices.c.id)
Index("ix_role_notices_former_id", role_notices.c.former_id)
Index("ix_role_notices_actor_id", role_notices.c.actor_id)

# Which e-mails people want, where they have chosen.
mail_preferences = Table(
    "mail_preferences",
    metadata,
    _reference("account_id", "accounts", primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("is_wanted", Boolean, nullable=False),
    # Of an e-mail that comes at intervals.
    Column("next_at", UtcDateTime),
)
_IS_PLANNED = mail_preferences.c.next_at.is_not(None)
_partial_index(
    "ix_mail_preferences_next_at",
    mail_preferences.c.next_at,
    mail_preferences.c.account_id,
    where=_IS_PLANNED,
)

# Rules that give roles to people by what identity providers say about them.
claim_rules = Table(
    "claim_rules",
    metadata,
    _id(),
    _uuid(),
    _text("name", 150),
    _reference("organisation_id", "scopes", nullable=False),
    # At least one of the two roles.
    _reference("organisation_role_id", "roles"),
    _reference("project_role_id", "roles"),
    # Whether the role in a project is given, and what the project is called. A name with
    # placeholders stands for a project of each person's own.
    _flag("creates_project"),
    _text("template", 255),
    # The project for everybody, once it was found by its name or created.
    _reference("project_id", "scopes"),
    # Whether a role ends when its holder does not meet the conditions any more.
    _flag("revokes"),
    # The conditions. Empty ones do not count; all others must be met.
    *(_list(name) for name in claim_rule_rules.LENGTHS),
    _mapping("claims"),
    _created_at(),
    Column("modified_at", UtcDateTime, nullable=False),
)
for _name in ("organisation_id", "organisation_role_id", "project_role_id", "project_id"):
    Index(f"ix_claim_rules_{_name}", claim_rules.c[_name])

# The roles that rules have given. A role that somebody has taken away is not given again as long as
# the person meets the conditions.
claim_rule_grants = Table(
    "claim_rule_grants",
    metadata,
    _reference("account_id", "accounts", "CASCADE", primary_key=True),
    _reference("rule_id", "claim_rules", "CASCADE", primary_key=True, index=True),
    _reference("scope_id", "scopes", primary_key=True, index=True),
    _reference("role_id", "roles", primary_key=True, index=True),
    # The latest grant.
    _reference("grant_id", "grants", nullable=False, index=True),
    # Whether the scope is a project that the rule created for this person alone.
    _flag("is_own_project"),
    # Whether the person has stopped meeting the conditions, so that the role may be given again.
    _flag("is_released"),
)

# Reviews of the roles in a scope.
reviews = Table(
    "reviews",
    metadata,
    _id(),
    _uuid(),
    _reference("scope_id", "scopes", nullable=False),
    _created_at(),
    Column("reminded_at", UtcDateTime, nullable=False),
    # Null while the review is pending.
    Column("closed_at", UtcDateTime),
    _account("closed_by", index=True),
    sqlite_autoincrement=True,
)
_IS_PENDING_REVIEW = reviews.c.closed_at.is_(None)
_partial_index("uq_reviews_pending", reviews.c.scope_id, unique=True, where=_IS_PENDING_REVIEW)
Index("ix_reviews_scope_id", reviews.c.scope_id, reviews.c.created_at)
Index("ix_reviews_created_at", reviews.c.created_at, reviews.c.id)

# The grants that a reviewer has looked at, with their end as it was then.
reviewed_grants = Table(
    "reviewed_grants",
    metadata,
    _reference("review_id", "reviews", "CASCADE", primary_key=True),
    _reference("grant_id", "grants", primary_key=True, index=True),
    Column("valid_until", UtcDateTime),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("kind", String(64), nullable=False),
    Column("recipient", String(320), nullable=False),
    # Data for rendering the e-mail. It never contains a secret: links are created when the e-mail
    # is rendered.
    Column("payload", JsonColumn, nullable=False),
    Column("state", String(16), nullable=False, server_default="queued"),
    _created_at(),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    # Whether it is sent after all e-mails that people wait for.
    _flag("is_bulk"),
    Column("locked_until", UtcDateTime),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _text("error"),
    Column("finished_at", UtcDateTime),
    # The account that the e-mail is about, so that its e-mails are found when the account is
    # deleted. There is no foreign key: rows of accounts are never deleted.
    Column("account_id", BigInt),
    # The hook for which it is sent.
    _reference("hook_id", "hooks", "CASCADE"),
    # HTTP status that a web hook was answered with.
    Column("response_status", Integer),
    _one_of("state", ("queued", "sent", "obsolete", "failed")),
    sqlite_autoincrement=True,
)
# Calls of web hooks are not in the index of e-mails, so that many of them do not slow e-mails down.
# The kind is a literal in the SQL text: only a statement with the same text uses a partial index.
IS_CALL = outbox.c.kind == literal_column(f"'{hook_rules.CALL}'")
IS_MAIL = outbox.c.kind != literal_column(f"'{hook_rules.CALL}'")
_QUEUED_MAIL = and_(outbox.c.state == "queued", IS_MAIL)
_partial_index("ix_outbox_queued", outbox.c.next_attempt_at, where=_QUEUED_MAIL)
_URGENT = and_(_QUEUED_MAIL, not_(outbox.c.is_bulk))
_partial_index("ix_outbox_urgent", outbox.c.next_attempt_at, where=_URGENT)
# What is queued for a hook: calls, and e-mails.
_QUEUED_FOR_HOOK = and_(outbox.c.state == "queued", outbox.c.hook_id.is_not(None))
_partial_index(
    "ix_outbox_hook_queue", outbox.c.hook_id, outbox.c.next_attempt_at, where=_QUEUED_FOR_HOOK
)
_partial_index(
    "ix_outbox_hook_id", outbox.c.hook_id, outbox.c.id, where=outbox.c.hook_id.is_not(None)
)
_partial_index(
    "ix_outbox_failed", outbox.c.finished_at, outbox.c.id, where=outbox.c.state == "failed"
)
# Delivered and obsolete entries, which the worker deletes after some time. The states are literals
# in the SQL text, so that a statement with the same text can use the partial index.
FINISHED = outbox.c.state.in_([literal_column("'sent'"), literal_column("'obsolete'")])
_partial_index("ix_outbox_delivered", outbox.c.finished_at, where=FINISHED)
Index("ix_outbox_recipient", outbox.c.recipient)
_WITH_ACCOUNT = outbox.c.account_id.is_not(None)
_partial_index("ix_outbox_account_id", outbox.c.account_id, where=_WITH_ACCOUNT)

invitations = Table(
    "invitations",
    metadata,
    _id(),
    _uuid(),
    _reference("scope_id", "scopes", nullable=False),
    _reference("role_id", "roles", nullable=False),
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
    Column("link_version", Integer, nullable=False, server_default="1"),
    _created_at(),
    Column("expires_at", UtcDateTime, nullable=False),
    _account("created_by"),
    # The person who sent the invitation last is its sponsor. Their permission is checked again at
    # acceptance.
    _account("sponsor_id"),
    _account("approved_by"),
    _account("accepted_by"),
    # The invited account, whatever its address. Set for invitations to groups, which invite
    # accounts; null for the others, which invite addresses.
    _account("account_id"),
    Column("accepted_at", UtcDateTime),
    _reference("mail_id", "outbox", "SET NULL"),
    # When that e-mail was queued. Kept after the e-mail has been deleted.
    Column("mailed_at", UtcDateTime),
    # When the invitee was reminded, and when the inviter was notified of the expiry.
    Column("reminded_at", UtcDateTime),
    Column("expiry_notified_at", UtcDateTime),
    # The link version for which the invitee asked for a new link.
    Column("renewal_requested_version", Integer),
    # When the invitee could not accept, because the account with the address is deactivated.
    Column("invitee_deactivated_at", UtcDateTime),
    # The end of the role that is offered; null for none. The invitation expires no later.
    Column("grant_until", UtcDateTime),
    # The language of the person, as far as the inviter knows it: that of an account that is created
    # for the invitation.
    _text("language", 10),
    _one_of("state", STORED),
)
Index("ix_invitations_scope_id", invitations.c.scope_id, invitations.c.created_at)
# Deleting an e-mail looks its id up here.
_MAILED = invitations.c.mail_id.is_not(None)
_partial_index("ix_invitations_mail_id", invitations.c.mail_id, where=_MAILED)
Index("ix_invitations_email_comparable", invitations.c.email_comparable)
Index("ix_invitations_created_at", invitations.c.created_at, invitations.c.id)
Index("ix_invitations_state", invitations.c.state, invitations.c.created_at, invitations.c.id)
_NUMBERED = invitations.c.civil_number != literal_column("''")
_partial_index("ix_invitations_civil_number", invitations.c.civil_number, where=_NUMBERED)
# Invitations for which the worker acts at a certain time. The states are literals in the SQL text,
# so that a statement with the same text can use the partial index whatever its parameters are.
_PENDING = invitations.c.state == literal_column("'pending'")
_NOT_NOTIFIED = and_(_PENDING, invitations.c.expiry_notified_at.is_(None))
_SCHEDULED = invitations.c.state == literal_column("'held'")
_partial_index("ix_invitations_expiring", invitations.c.expires_at, where=_NOT_NOTIFIED)
_partial_index("ix_invitations_held", invitations.c.scope_id, where=_SCHEDULED)
_ACCOUNTS = invitations.c.account_id.is_not(None)
_partial_index("ix_invitations_account_id", invitations.c.account_id, where=_ACCOUNTS)
Index("ix_invitations_role_id", invitations.c.role_id, invitations.c.created_at, invitations.c.id)
# The index alone answers how many invitations were accepted on a day, and how long that took.
_partial_index(
    "ix_invitations_accepted_at",
    invitations.c.accepted_at,
    invitations.c.created_at,
    where=invitations.c.accepted_at.is_not(None),
)

# Files with people to invite.
imports = Table(
    "imports",
    metadata,
    _id(),
    _uuid(),
    _reference("scope_id", "scopes", nullable=False),
    # Of the file, and of how it is read. The same file again is the same import.
    Column("digest", String(64), nullable=False),
    _text("file_name", 255),
    # The columns of the file: their names, and what they were taken for.
    Column("columns", JsonColumn, nullable=False),
    Column("state", String(16), nullable=False),
    _created_at(),
    _account("created_by", index=True),
    # Who started or undid it last, in whose name the worker acts, and from where.
    _account("started_by", index=True),
    _account("impersonator_id", index=True),
    _text("ip_address", 64),
    _text("request_id", 64),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    _one_of("state", import_rules.State),
    UniqueConstraint("scope_id", "digest"),
    sqlite_autoincrement=True,
)
Index("ix_imports_scope_id", imports.c.scope_id, imports.c.created_at)
Index("ix_imports_created_at", imports.c.created_at, imports.c.id)
_IS_BUSY = or_(*(imports.c.state == state.value for state in sorted(import_rules.BUSY)))
_partial_index("ix_imports_busy", imports.c.id, where=_IS_BUSY)

import_rows = Table(
    "import_rows",
    metadata,
    _reference("import_id", "imports", "CASCADE", primary_key=True),
    # As a spreadsheet program counts.
    Column("number", Integer, primary_key=True, autoincrement=False),
    # What the row says, as it was written, by field.
    Column("cells", JsonColumn, nullable=False),
    # Empty for a row without a valid address.
    _text("email_comparable"),
    # The role that the row means. There is no foreign key: it is looked up again.
    Column("role_uuid", UuidHex),
    Column("state", String(16), nullable=False),
    # Why the row is not ready: field, code and facts; empty if it is.
    _mapping("problem"),
    _reference("invitation_id", "invitations", "SET NULL"),
    _one_of("state", import_rules.RowState),
)
Index("ix_import_rows_state", import_rows.c.import_id, import_rows.c.state, import_rows.c.number)
Index("ix_import_rows_email_comparable", import_rows.c.email_comparable)
_IS_CREATED = import_rows.c.invitation_id.is_not(None)
_partial_index("ix_import_rows_invitation_id", import_rows.c.invitation_id, where=_IS_CREATED)


bulk_changes = Table(
    "bulk_changes",
    metadata,
    _id(),
    _uuid(),
    _reference("scope_id", "scopes", nullable=False, index=True),
    Column("change", String(16), nullable=False),
    # The end that roles get; None for no end, or if it is not about roles.
    Column("valid_until", UtcDateTime),
    Column("state", String(16), nullable=False),
    _created_at(index=True),
    # In whose name the worker acts, and from where.
    _account("created_by", index=True),
    _account("impersonator_id", index=True),
    _text("ip_address", 64),
    _text("request_id", 64),
    Column("finished_at", UtcDateTime),
    _one_of("change", bulk_change_rules.Change),
    _one_of("state", bulk_change_rules.State),
    sqlite_autoincrement=True,
)
_IS_BUSY = or_(*(bulk_changes.c.state == state.value for state in sorted(bulk_change_rules.BUSY)))
_partial_index("ix_bulk_changes_busy", bulk_changes.c.id, where=_IS_BUSY)

bulk_change_rows = Table(
    "bulk_change_rows",
    metadata,
    _reference("bulk_change_id", "bulk_changes", "CASCADE", primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _reference("invitation_id", "invitations", "SET NULL"),
    _reference("grant_id", "grants", "SET NULL"),
    # What the row was when it was judged. A row that has changed since is not touched.
    _text("version", 100),
    Column("state", String(16), nullable=False),
    # Why the row is refused: class, code and facts; empty if it is not.
    _mapping("problem"),
    _one_of("state", bulk_change_rules.RowState),
)
Index(
    "ix_bulk_change_rows_state",
    bulk_change_rows.c.bulk_change_id,
    bulk_change_rows.c.state,
    bulk_change_rows.c.number,
)
for _column in (bulk_change_rows.c.invitation_id, bulk_change_rows.c.grant_id):
    _partial_index(f"ix_bulk_change_rows_{_column.name}", _column, where=_column.is_not(None))


invite_links = Table(
    "invite_links",
    metadata,
    _id(),
    _uuid(),
    _reference("scope_id", "scopes", nullable=False),
    _reference("role_id", "roles", nullable=False, index=True),
    _created_at(),
    Column("expires_at", UtcDateTime, nullable=False),
    _account("created_by"),
    Column("canceled_at", UtcDateTime),
    _flag("is_public"),
    _flag("auto_approve"),
    _flag("auto_create_project"),
    Column("template", String(255)),
    _reference("project_role_id", "roles"),
    _flag("allow_multiple_requests"),
    _text("custom_text"),
    Column("affiliations", JsonColumn, nullable=False),
    Column("email_patterns", JsonColumn, nullable=False),
    _list("identity_sources"),
    # Values by claim, which a provider must state about a requester.
    _mapping("claims"),
    # Whether requesters name and describe the project that is created for them.
    _flag("allow_custom_project_details"),
    # The person who created the link, or the last one who made it admit more people. Automatic
    # approval requires that this person may still grant the role, checked at each join request.
    _account("sponsor_id"),
)
Index("ix_invite_links_scope_id", invite_links.c.scope_id, invite_links.c.created_at)
Index("ix_invite_links_created_at", invite_links.c.created_at, invite_links.c.id)
_partial_index(
    "ix_invite_links_public",
    invite_links.c.created_at,
    invite_links.c.id,
    where=invite_links.c.is_public,
)

join_requests = Table(
    "join_requests",
    metadata,
    _id(),
    _uuid(),
    # The invite link that was used. Null for requests made at the scope itself.
    _reference("invite_link_id", "invite_links", index=True),
    _reference("scope_id", "scopes", nullable=False),
    _reference("role_id", "roles", nullable=False, index=True),
    # The account always exists, because deleting an account keeps its row.
    _reference("account_id", "accounts", nullable=False),
    Column("state", String(16), nullable=False),
    _text("message"),
    _created_at(),
    Column("decided_at", UtcDateTime),
    _account("decided_by"),
    Column("comment", Text),
    _flag("is_automatic"),
    # What the requester wants to call the project. Empty: what the template of the link says.
    _text("custom_project_name", 500),
    _text("custom_project_description"),
    # The project that was created for the requester.
    _reference("project_id", "scopes"),
    # Allows one pending request per account and scope for each value: the id of the invite link, or
    # 0 for requests at the scope itself. Null allows any number.
    Column("exclusive_key", BigInt),
    _one_of("state", DECIDABLE),
)
_PENDING_REQUESTS = join_requests.c.state == literal_column("'pending'")
_partial_index(
    "uq_join_requests_exclusive_key",
    join_requests.c.account_id,
    join_requests.c.scope_id,
    join_requests.c.exclusive_key,
    unique=True,
    where=_PENDING_REQUESTS,
)
_partial_index(
    "ix_join_requests_pending",
    join_requests.c.created_at,
    join_requests.c.id,
    where=_PENDING_REQUESTS,
)
Index("ix_join_requests_account_id", join_requests.c.account_id, join_requests.c.created_at)
Index("ix_join_requests_scope_id", join_requests.c.scope_id, join_requests.c.created_at)
Index("ix_join_requests_created_at", join_requests.c.created_at, join_requests.c.id)
_partial_index(
    "ix_join_requests_decided_at",
    join_requests.c.decided_at,
    where=join_requests.c.decided_at.is_not(None),
)

events = Table(
    "events",
    metadata,
    _id(),
    Column("uuid", UuidHex, nullable=False),
    _created_at(),
    Column("kind", String(64), nullable=False),
    _account("actor_id"),
    # The names at the time of the event. The audit log stays readable after a name has changed.
    _text("actor_name"),
    _text("ip_address", 64),
    _text("request_id", 64),
    _reference("scope_id", "scopes", "SET NULL"),
    _account("account_id"),
    Column("payload", JsonColumn, nullable=False),
    sqlite_autoincrement=True,
)
Index("uq_events_uuid", events.c.uuid, unique=True)
Index("ix_events_created_at", events.c.created_at, events.c.id)
for _name in ("kind", "actor_id", "account_id"):
    Index(f"ix_events_{_name}", events.c[_name], events.c.created_at, events.c.id)
# The audit log of a scope filters and counts all its events. The last columns spare it their rows.
Index(
    "ix_events_scope_id",
    *(
        events.c[name]
        for name in ("scope_id", "created_at", "id", "kind", "actor_id", "account_id")
    ),
)

# Where somebody wants events to be sent.
hooks = Table(
    "hooks",
    metadata,
    _id(),
    _uuid(),
    _reference("account_id", "accounts", "CASCADE", nullable=False),
    Column("kind", String(16), nullable=False),
    _flag("is_active", default=True),
    # Stored names of events, and groups of them; the hook gets the events of both.
    _list("event_kinds"),
    _list("event_groups"),
    # Of a web hook. The URL may contain a secret.
    _text("destination_url", hook_rules.URL_MAX),
    _text("content_type", 16),
    # Of an e-mail hook, if staff entered the address of somebody else. Otherwise the e-mails go to
    # the address that the account has when they are sent.
    _text("email", 320),
    _created_at(),
    Column("modified_at", UtcDateTime, nullable=False),
    # Earlier events are not sent.
    Column("activated_at", UtcDateTime, nullable=False),
    # Time of the first of the latest failures; null after a success.
    Column("first_failed_at", UtcDateTime),
    # Failed attempts since the last success.
    Column("failures", Integer, nullable=False, server_default="0"),
    # Of a web hook: when its next call may be made; null while none is queued. Of an e-mail hook:
    # when its next e-mail may be sent.
    Column("next_attempt_at", UtcDateTime),
    # While a call is in flight: when its worker is given up.
    Column("locked_until", UtcDateTime),
    Column("last_sent_at", UtcDateTime),
    # Events that were not queued because too many were waiting, since the hook was activated.
    Column("dropped", Integer, nullable=False, server_default="0"),
    Column("dropped_at", UtcDateTime),
    _one_of("kind", hook_rules.Kind),
    sqlite_autoincrement=True,
)
Index("ix_hooks_account_id", hooks.c.account_id, hooks.c.id)
Index("ix_hooks_created_at", hooks.c.created_at, hooks.c.id)
_OTHER_ADDRESS = hooks.c.email != ""
_partial_index("ix_hooks_email", hooks.c.email, where=_OTHER_ADDRESS)
# The kind is a literal in the SQL text, as above.
IS_WEB_HOOK = hooks.c.kind == literal_column(f"'{hook_rules.Kind.WEB}'")
_DUE = and_(IS_WEB_HOOK, hooks.c.next_attempt_at.is_not(None))
_partial_index("ix_hooks_due", hooks.c.next_attempt_at, hooks.c.id, where=_DUE)
_partial_index("ix_hooks_active", hooks.c.id, where=hooks.c.is_active)

# One row: the event up to which the deliveries of hooks are queued.
hook_marks = Table(
    "hook_marks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("event_id", BigInt, nullable=False),
)

# One row for each version of a text. The version that people agreed to stays when it is replaced.
agreements = Table(
    "agreements",
    metadata,
    _id(),
    # The same for all versions of a text.
    Column("uuid", UuidHex, nullable=False),
    Column("kind", String(16), nullable=False),
    # Empty for the default text.
    _text("language", agreement_rules.LANGUAGE_MAX),
    Column("version", Integer, nullable=False, server_default="1"),
    _text("content"),
    _created_at(),
    Column("modified_at", UtcDateTime, nullable=False),
    # When it was replaced or removed.
    Column("superseded_at", UtcDateTime),
    _one_of("kind", agreement_rules.Kind),
    sqlite_autoincrement=True,
)
_CURRENT_AGREEMENTS = agreements.c.superseded_at.is_(None)
for _name, *_columns in (("current", "kind", "language"), ("uuid", "uuid")):
    _partial_index(
        f"uq_agreements_{_name}",
        *(agreements.c[one] for one in _columns),
        unique=True,
        where=_CURRENT_AGREEMENTS,
    )

agreement_acceptances = Table(
    "agreement_acceptances",
    metadata,
    _reference("account_id", "accounts", "CASCADE", primary_key=True),
    _reference("agreement_id", "agreements", primary_key=True, index=True),
    Column("accepted_at", UtcDateTime, nullable=False),
)

# Submitted forms that create something, with the response to the first submission.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    # Digest of the session, the path, the one-time number and all other submitted values.
    Column("key_hash", String(64), primary_key=True),
    _created_at(index=True),
    # Encrypted, because it may contain names, or a token that is shown only this once. Null until
    # the action is complete.
    Column("response", Text),
)

# One row for the service itself, once it was started without an account.
site = Table(
    "site",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # Chosen on the set-up page. Empty if the settings name the service.
    _text("name", 80),
    # Random. The set-up link is made of it and the secret key. Null once an account exists.
    Column("setup_key", String(32)),
    Column("set_up_at", UtcDateTime),
    CheckConstraint("id = 1", name="one_row"),
)

# One row: the statistics of the whole service, which the worker counts once an hour.
site_statistics = Table(
    "site_statistics",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("counted_at", UtcDateTime, nullable=False),
    # A ``statistics.rules.SiteStatistics``. It names scopes by their ids, and no people.
    Column("data", JsonColumn, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

row_counts = Table(
    "row_counts",
    metadata,
    # There is no key: on PostgreSQL a count is the sum of many rows, see
    # ``collegium.lists.row_counts``.
    Column("name", String(20), nullable=False),
    Column("count", BigInt, nullable=False),
)
