"""The checks of ``collegium doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import func, select

from collegium import bootstrap, hosts
from collegium.accounts.rules import DETAILS, PROFILE_FIELDS
from collegium.api import limits
from collegium.claim_rules import granting
from collegium.claim_rules import queries as claim_rule_queries
from collegium.claim_rules import rules as claim_rule_rules
from collegium.db import schema
from collegium.db.database import Database, StorageFullError, UnavailableError
from collegium.db.statements import Statement
from collegium.events import queries as event_queries
from collegium.integrations import provider_setup
from collegium.outbox import queries as outbox_queries
from collegium.outbox.outcomes import UnreachableError
from collegium.security.crypto import Vault
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.settings import Settings, SettingsError, load
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.worker.retries import MAX_ATTEMPTS
from collegium.worker.transport import open_transport

_DRIFT_MAX: Final = timedelta(seconds=5)
_NAMES_MAX: Final = 5
"""Number of user names that a finding lists."""

_WORDS_MAX: Final = 200
"""Number of characters of a setting that a finding repeats."""

_DATABASE_TIME: Final = Statement[datetime](select(func.now().label("moment")))


class Finding(NamedTuple):
    """The result of one check."""

    well: bool
    what: str
    text: str
    warns: bool = False
    """Whether this may be wrong, so that the operator should look at it."""

    @property
    def result(self) -> str:
        """``ok``, ``warn`` or ``BAD``."""
        return "warn" if self.warns else "ok" if self.well else "BAD"


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Run all checks and return their findings; stop when the later ones cannot be run."""
    return list(_examine(environ))


def _examine(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        settings = load(environ)
        database, vault = bootstrap.load_settings(settings)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield Finding(well=False, what="configuration", text=line)
        return
    path_error = _base_path_error(settings)
    if path_error:
        yield Finding(well=False, what="configuration", text=path_error)
        database.close()
        return
    yield Finding(well=True, what="configuration", text="all settings are valid")
    yield _check_field_names(settings)
    yield _check_address(settings)
    try:
        yield from _check_database(database, vault, settings)
        if schema.status(database) is schema.SchemaStatus.CURRENT:
            yield from _check_providers(database, vault, settings)
            yield from _check_claim_rules(database)
    except StorageFullError as error:
        yield Finding(
            well=False, what="database", text=f"the disk is full: {error}. Free some space"
        )
    except UnavailableError as error:
        remedy = bootstrap.database_remedy(settings, error).removesuffix(".")
        text = f"cannot be reached: {error}. {remedy}"
        yield Finding(well=False, what="database", text=text)
    finally:
        database.close()
    yield _check_mail_server(settings.mail_url)


def _check_database(database: Database, vault: Vault, settings: Settings) -> Iterator[Finding]:
    status = schema.status(database)
    current = status is schema.SchemaStatus.CURRENT
    remedy = "" if current else ". Run: collegium migrate"
    if status is schema.SchemaStatus.AHEAD:
        remedy = ". Install the newer release that created it"
    if status is schema.SchemaStatus.UNRELEASED:
        remedy = ". Create a new database; a development version made this one"
    yield Finding(current, "schema", f"{status}{remedy}")
    if not current:
        return
    yield _check_writing(database, settings)
    yield _check_key(database, vault)
    with database.read() as tx:
        counts = outbox_queries.counts(tx)
        yield Finding(
            counts.overdue == 0,
            "queued e-mails",
            f"{counts.queued} queued, {counts.overdue} overdue"
            + (". Check that `collegium worker` runs" if counts.overdue else ""),
        )
        yield Finding(
            counts.failed == 0,
            "failed e-mails",
            f"{counts.failed} failed, refused permanently or after {MAX_ATTEMPTS} attempts"
            + (". Retry or discard them at /staff/mails/" if counts.failed else ""),
        )
        yield _check_proxies(
            settings, rate_limit_queries.latest_subjects(tx, limits.UNTRUSTED_PROXY)
        )
        yield _check_two_factor(settings, two_factor_queries.staff_without(tx, _NAMES_MAX + 1))
        yield _check_clock(database, tx.fetch_only(_DATABASE_TIME), event_queries.latest(tx))


def _check_providers(database: Database, vault: Vault, settings: Settings) -> Iterator[Finding]:
    """Ask the OpenID providers for their metadata and keys; inactive ones are not asked."""
    if not bootstrap.key_fits(database, vault):
        return
    with database.read() as tx:
        providers = provider_queries.active(tx)
        yield _check_sign_in(settings, len(providers))
        compared = claim_rule_rules.compared_claims(claim_rule_queries.all_rules(tx))
    for provider in providers:
        for check in provider_setup.check(settings, vault, provider, compared):
            yield Finding(check.is_well, f"provider {provider.name}", check.text, warns=check.warns)


def _check_sign_in(settings: Settings, providers: int) -> Finding:
    """Report how people sign in. The setting takes any words, because front ends read them too."""
    ways = ["passwords"] if "LOCAL_SIGNIN" in settings.authentication_methods else []
    if providers:
        ways.append(f"{providers} active OpenID provider{'s' if providers > 1 else ''}")
    if not ways:
        text = (
            "nobody can sign in: COLLEGIUM_AUTHENTICATION_METHODS has no LOCAL_SIGNIN, "
            "and no provider is active"
        )
        return Finding(well=False, what="sign-in", text=text)
    return Finding(well=True, what="sign-in", text=f"with {' and '.join(ways)}")


def _check_claim_rules(database: Database) -> Iterator[Finding]:
    """Name the claim rules that can give nothing, and why."""
    with database.read() as tx:
        rules = claim_rule_queries.all_rules(tx)
        providers = provider_queries.active(tx) if rules else []
        kept = identity_rules.comparable_claims(providers)
    for rule in rules:
        problems = [
            *granting.obstacles(rule),
            *(f"claim.{name}" for name in claim_rule_rules.missing_claims(rule, kept)),
        ]
        text = "; ".join(map(_rule_problem, problems))
        yield Finding(True, f"claim rule {rule.name}", text or "can be applied", bool(text))


def _rule_problem(code: str) -> str:
    claim = code.removeprefix("claim.")
    if claim != code:
        return f"no active provider keeps the claim {claim} and vouches for it"
    return {
        "organisation.unknown": "its organisation was deleted",
        "organisation.unavailable": "its organisation is blocked or archived",
        "project.unknown": "its project was deleted",
        "role.inactive": "its role is disabled",
    }[code]


def _base_path_error(settings: Settings) -> str:
    """Return what is wrong with the path in BASE_URL; empty when nothing is."""
    if not urlsplit(settings.base_url).path:
        return ""
    from collegium import app  # noqa: PLC0415 - loads all routes, for one question

    try:
        app.check_path(settings)
    except SettingsError as error:
        return str(error)
    return ""


def _check_field_names(settings: Settings) -> Finding:
    """Report words that are no field of a profile, where a setting lists such fields."""
    listed = (
        ("LOCAL_IDP_PROTECTED_FIELDS", settings.local_idp_protected_fields, PROFILE_FIELDS),
        ("NOTIFICATIONS_PROFILE_CHANGES", settings.notifications_profile_changes.fields, DETAILS),
        ("USER_MANDATORY_FIELDS", settings.user_mandatory_fields, PROFILE_FIELDS),
    )
    wrong = [
        f"{', '.join(unknown)[:_WORDS_MAX]} in COLLEGIUM_{name}"
        for name, words, known in listed
        if (unknown := [word for word in words if word not in known])
    ]
    if wrong:
        text = f"no field of a profile: {'; '.join(wrong)}"
        return Finding(well=True, what="field names", text=text, warns=True)
    return Finding(well=True, what="field names", text="settings name fields that exist")


def _check_address(settings: Settings) -> Finding:
    """Report the public address of the service and the other host names that it accepts."""
    name = urlsplit(settings.base_url).hostname or ""
    other_hosts = [host for host in settings.allowed_hosts if host.strip("[]") != name]
    text = f"the public URL is {settings.base_url}"
    if settings.base_url == type(settings).base_url:
        text += ", because COLLEGIUM_BASE_URL is not set"
    text += f"; also answers to {', '.join(other_hosts)}" if other_hosts else ""
    if settings.base_url.startswith("http:") and not hosts.is_loopback(name):
        text += ", without TLS: passwords can be read on the network"
        return Finding(well=True, what="address", text=text, warns=True)
    return Finding(well=True, what="address", text=text)


def _check_proxies(settings: Settings, recorded: Mapping[str, datetime]) -> Finding:
    """Report the addresses whose forwarding headers were ignored and are still not trusted."""
    ignored = [
        f"{address} (last {seen_at:%Y-%m-%d %H:%M} UTC)"
        for address, seen_at in recorded.items()
        if not hosts.is_within(address, settings.trusted_proxies)
    ]
    if ignored:
        text = (
            f"ignored X-Forwarded-… or Forwarded headers from {', '.join(ignored)}. If this is "
            "your proxy, add it to COLLEGIUM_TRUSTED_PROXIES"
        )
        return Finding(well=True, what="proxies", text=text, warns=True)
    trusted = ", ".join(map(str, settings.trusted_proxies))
    return Finding(well=True, what="proxies", text=f"trusted: {trusted or 'none'}")


def _check_two_factor(settings: Settings, names: list[str]) -> Finding:
    """Report whether staff have two-factor authentication."""
    text = f"required of {settings.two_factor_required}"
    if names:
        shown = ", ".join(names[:_NAMES_MAX]) + (" and more" if len(names) > _NAMES_MAX else "")
        text += f"; staff or support without it: {shown}"
    if names and settings.two_factor_required == "nobody":
        text += ". Ask them to set it up, or set COLLEGIUM_TWO_FACTOR_REQUIRED=staff"
    return Finding(well=True, what="two-factor", text=text, warns=bool(names))


def _check_writing(database: Database, settings: Settings) -> Finding:
    try:
        database.check_writable()
        database.check_free_space(now=True)
    except StorageFullError as error:
        return Finding(
            well=False, what="database", text=f"the disk is full: {error}. Free some space"
        )
    except UnavailableError as error:
        remedy = bootstrap.database_remedy(settings, error).removesuffix(".")
        text = f"cannot be written: {error}. {remedy}"
        return Finding(well=False, what="database", text=text)
    encoding = schema.encoding(database)
    if encoding != "UTF8":
        text = (
            f"has the encoding {encoding}, which lacks most characters. Restore a backup into "
            "another one: createdb --encoding=UTF8 --template=template0"
        )
        return Finding(well=False, what="database", text=text)
    return Finding(well=True, what="database", text="can be read and written")


def _check_key(database: Database, vault: Vault) -> Finding:
    if not bootstrap.key_fits(database, vault):
        text = (
            "does not belong to this database: no token and no link is valid. "
            "Restore COLLEGIUM_SECRET_KEY, or the key file beside the database"
        )
        return Finding(well=False, what="secret key", text=text)
    return Finding(well=True, what="secret key", text="belongs to this database")


def _check_mail_server(url: str) -> Finding:
    transport = open_transport(url)
    try:
        transport.check()
    except UnreachableError as error:
        return Finding(well=False, what="mail", text=f"{error.reason} Check COLLEGIUM_MAIL_URL")
    finally:
        transport.close()
    return Finding(well=True, what="mail", text="the mail server or folder is reachable")


def _check_clock(database: Database, database_time: object, latest: datetime | None) -> Finding:
    own_time = datetime.now(UTC)
    if latest is not None and latest - own_time >= _DRIFT_MAX:
        ahead = (latest - own_time).total_seconds()
        text = (
            f"the newest event is {ahead:.0f} s in the future: the clock was set back. Correct it"
        )
        return Finding(well=False, what="clock", text=text)
    if database.is_sqlite or not isinstance(database_time, datetime):
        return Finding(well=True, what="clock", text=f"{own_time:%Y-%m-%d %H:%M:%S} UTC")
    drift = abs(own_time - database_time)
    text = f"{drift.total_seconds():.1f} s difference to the clock of the database"
    if drift < _DRIFT_MAX:
        return Finding(well=True, what="clock", text=text)
    return Finding(well=False, what="clock", text=f"{text}. Synchronise both, such as with NTP")
