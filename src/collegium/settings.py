"""The settings: read once, checked together, immutable.

One field is one setting. Its environment variable is ``COLLEGIUM_`` and the field's name in
capitals. The type of a field says how its text is read. A value that must not appear in a log has
``repr=False``. This module opens no database and imports only modules that parse values.
"""

import difflib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Final, get_type_hints
from urllib.parse import unquote

from collegium.setting_types import (
    KEY_LENGTH,
    Count,
    Countries,
    DatabaseUrl,
    Duration,
    Endpoint,
    Flag,
    Folder,
    Hosts,
    InternalHosts,
    Line,
    Link,
    LogFormat,
    LogLevel,
    Mailbox,
    MailUrl,
    MaybeDuration,
    MaybeOwnUrl,
    Networks,
    OnlyTrue,
    Origins,
    OwnUrl,
    Picture,
    ProfileChanges,
    ProfileChangesJson,
    SecretKey,
    SettingType,
    Size,
    Text,
    TwoFactorRequired,
    UnfitError,
    WebUrl,
    Words,
)

PREFIX = "COLLEGIUM_"
CONFIG = "COLLEGIUM_CONFIG"  # names a TOML file with the same keys; the environment overrides it

_COUNTRIES = (
    "AL AT BA BE BG CH CY CZ DE DK EE ES EU FI FR GB GE GR HR HU "
    "IE IS IT LT LU LV MC MK MT NL NO PL PT RO RS SE SI SK UA"
)


class SettingsError(Exception):
    """The settings are wrong. The message has one line for each problem."""


THREADS: Final = 256
"""Maximum number of requests that a worker process handles at once."""


@dataclass(frozen=True)
class Settings:
    """Every setting. Durations are in seconds."""

    # The service itself.

    # sqlite:///relative.db, sqlite:////absolute.db or postgresql://user:password@host/name
    database_url: DatabaseUrl = field(default="sqlite:///var/collegium.db", repr=False)
    # Signs links and encrypts tokens. None on SQLite: a key is created once and kept beside the
    # database.
    secret_key: SecretKey = field(default=None, repr=False)
    # Public URL of the service, perhaps with a path. Links in e-mails begin with it.
    base_url: OwnUrl = "http://127.0.0.1:8000"
    # Public URL of a separate front end. Links in e-mails then lead there.
    homeport_url: MaybeOwnUrl = None
    # Serve what Waldur's official front end (HomePort) needs to start, as with HOMEPORT_URL.
    compat_homeport: Flag = False
    # Origins whose pages may call the APIs from a browser, besides that of HOMEPORT_URL.
    cors_allowed_origins: Origins = ()
    # file:folder (one .eml for each e-mail), smtp://[user:password@]host:port or smtps://…. With a
    # user STARTTLS is required unless ?starttls=0 follows. Without a user ?starttls=1 requires it.
    mail_url: MailUrl = field(default="file:var/mail", repr=False)
    mail_from: Mailbox = "Collegium <no-reply@localhost>"
    # Host names that are accepted besides that of BASE_URL; * accepts any. When neither is set, any
    # name is accepted on a loopback address.
    allowed_hosts: Hosts = ()
    # Addresses and networks of proxies whose X-Forwarded-For, -Host and -Proto are trusted.
    trusted_proxies: Networks = ()
    # Hosts of OpenID providers, each as host or host:port, whose addresses may be internal
    # (loopback, private networks); on loopback plain http is accepted too. Staff enter their URLs,
    # so others are refused. The services that settings name need no entry.
    outgoing_internal_hosts: InternalHosts = ()
    rate_limits: Flag = True
    # A folder whose files replace our e-mail templates of the same name.
    templates: Folder = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    # Export traces by OpenTelemetry, which needs the extra "otel". Where to is said by its own
    # variables, such as OTEL_EXPORTER_OTLP_ENDPOINT.
    tracing: Flag = False

    # How long an e-mail is kept after it was sent or became obsolete. A failed one is kept until
    # staff retry or discard it.
    outbox_retention: Duration = 30 * 86400

    # The largest file with people to invite: rows, and bytes. How long an import is kept after it
    # was finished, with the names and addresses that the file had.
    import_max_rows: Count = 20_000
    import_max_size: Size = 5_000_000
    import_retention: Duration = 30 * 86400

    # Texts in e-mails and on pages.

    site_name: Line = "Collegium"
    # A picture file that front ends show as the logo.
    site_logo: Picture = None
    common_footer_text: Text = ""
    common_footer_html: Text = ""

    # Sign-in and tokens.

    # Password sign-in is enabled if LOCAL_SIGNIN is among them.
    authentication_methods: Words = ("LOCAL_SIGNIN",)
    # How long a new account's token lives after its last use; None: for ever.
    token_lifetime: MaybeDuration = 3600
    # Maximum age of a token, whether it is used or not; None: no limit.
    token_max_age: MaybeDuration = None
    # Longest lifetime that people can choose for their own API token. Only staff and the command
    # line can set a longer one, or an unlimited one.
    token_lifetime_max: Duration = 365 * 86400
    # Lifetime of a device token, whether it is used or not, unless the program asks for another
    # one; and the longest lifetime that it may ask for.
    device_token_lifetime: Duration = 90 * 86400
    device_token_lifetime_max: Duration = 365 * 86400
    # Maximum number of sessions, and of token pairs of programs that sign in with a password, of
    # one account. Beyond it the least recently used one is signed out.
    max_sessions: Count = 100
    # Maximum number of personal and device tokens of one account.
    max_personal_tokens: Count = 100
    # Maximum number of sign-ins of one account in ten minutes, unless RATE_LIMITS is off.
    max_logins: Count = 60
    # Who must use two-factor authentication: nobody, staff (and support) or everybody.
    two_factor_required: TwoFactorRequired = "nobody"
    local_idp_name: Line = "Local DB"
    local_idp_label: Line = "Local DB"
    local_idp_management_url: Link = ""
    # Fields of a profile that people with a local account cannot change.
    local_idp_protected_fields: Words = ()
    # New OpenID providers create accounts for invited people only, unless staff choose otherwise.
    oidc_block_creation_of_uninvited_users: Flag = True
    # Sign-in with a password on the BrainSTEM API; never for accounts with two-factor
    # authentication.
    brainstem_password_login: Flag = True
    # The public portal of the BrainSTEM API: show groups and the names of their members to
    # everybody, without an account.
    brainstem_public_portal: Flag = False
    # Show the members' e-mail addresses in the public portal too.
    brainstem_public_emails: Flag = False
    # Whether GET can change something on the BrainSTEM API, as its clients expect.
    brainstem_get_actions: Flag = True

    # Accounts.

    email_change_max_age: Duration = 86400
    # Accounts registered by these methods cannot change their details here.
    protect_user_details_for_registration_methods: Words = ()
    # New accounts count as having agreed to the terms of the service.
    auto_approve_user_tos: Flag = False
    user_data_access_logging_enabled: Flag = False  # record who looks at profiles
    # How long it is kept who has looked at a profile.
    view_records_retention: Duration = 365 * 86400
    user_mandatory_fields: Words = ("first_name", "last_name", "email")  # front ends ask for these
    native_name_enabled: Flag = False  # show the native name in profiles; front ends read it too
    # Which changes of a profile are notified, and to which addresses.
    notifications_profile_changes: ProfileChangesJson = field(default=ProfileChanges())

    # Maximum number of SSH keys of one account.
    max_keys: Count = 100
    # Maximum number of hooks of one account.
    max_hooks_per_account: Count = 20
    # Maximum number of existing groups that one account has created.
    max_groups: Count = 200

    # Organisations and projects.

    # Maximum number of projects in one organisation. Staff can create more.
    max_projects: Count = 1000
    create_default_project_on_organization_creation: Flag = False
    # Country codes that an organisation may have.
    countries: Countries = field(default=tuple(_COUNTRIES.split()))
    oecd_fos_2007_code_mandatory: Flag = False

    # Invitations and join requests.

    # Maximum number of open invite links of one organisation, project or group.
    max_invite_links: Count = 200
    # How long after the last review of its roles, or its creation, a scope is reviewed again;
    # None: never.
    review_interval: MaybeDuration = None
    # Whether people are e-mailed about their roles; see ``memberships.notices``.
    role_notifications: Flag = True
    # Maximum number of pending join requests of one account.
    max_join_requests: Count = 100
    invitations_enabled: Flag = True  # front ends read it; the server does not
    invitation_lifetime: Duration = 7 * 86400
    # Of an invite link, which the Waldur API calls a group invitation.
    group_invitation_lifetime: Duration = 7 * 86400
    # Maximum number of invitation e-mails and address confirmations to one e-mail address in 24
    # hours, from all senders together, while it accepts none of them.
    recipient_mail_limit: Count = 20
    # How long the links work by which staff approve or reject an invitation; None: as long as the
    # invitation.
    invitation_max_age: MaybeDuration = 7 * 86400
    # An invitation can be seen and accepted by the account with the invited address only, not by
    # everybody who has its link or UUID.
    validate_invitation_email: Flag = False
    # Only an account with the invited address can accept.
    enable_strict_check_accepting_invitation: Flag = False
    # An account that has a role anywhere cannot accept another one.
    invitation_disable_multiple_roles: Flag = False
    # Invitations by everyone but staff need the approval of staff.
    only_staff_can_invite_users: Flag = False
    invitation_create_missing_user: Flag = False
    # Send invitations to a webhook of the operator instead of e-mailing them.
    invitation_use_webhooks: Flag = False
    invitation_webhook_url: Endpoint = field(default="", repr=False)
    invitation_webhook_token_url: Endpoint = field(default="", repr=False)
    invitation_webhook_token_client_id: Text = ""
    invitation_webhook_token_secret: Text = field(default="", repr=False)
    invitation_civil_number_label: Line = ""
    invitation_tax_number_label: Line = ""

    # eduTEAMS, from which the details of remote accounts are fetched.

    remote_eduteams_enabled: Flag = False
    remote_eduteams_token_url: WebUrl = "https://proxy.acc.researcher-access.org/OIDC/token"  # noqa: S105 - a URL, not a token
    remote_eduteams_userinfo_url: WebUrl = "https://proxy.acc.researcher-access.org/api/userinfo"
    remote_eduteams_client_id: Text = ""
    remote_eduteams_secret: Text = field(default="", repr=False)
    remote_eduteams_refresh_token: Text = field(default="", repr=False)
    remote_eduteams_ssh_api_url: Link = ""
    remote_eduteams_ssh_api_username: Text = ""
    remote_eduteams_ssh_api_password: Text = field(default="", repr=False)

    # Part of the Waldur API, but not a choice here: an action always succeeds or fails as a whole.

    use_atomic_transaction: OnlyTrue = True

    @property
    def serves_homeport(self) -> bool:
        """Whether Waldur's official front end is served, which needs more than a client."""
        return self.compat_homeport or self.homeport_url is not None

    @property
    def database_is_sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self.database_url.startswith("sqlite:")

    @property
    def database_path(self) -> Path | None:
        """The path of the SQLite file; None on PostgreSQL."""
        # The driver decodes percent escapes too: %20 is a space.
        path = unquote(self.database_url[len("sqlite:///") :])
        return Path(path) if self.database_is_sqlite else None


DEFAULTS: Final = Settings()
"""The settings when nothing is configured."""


_FIELDS: dict[str, Field[object]] = {PREFIX + f.name.upper(): f for f in fields(Settings)}
_KINDS: dict[str, SettingType] = {
    PREFIX + name.upper(): hint.__metadata__[0]
    for name, hint in get_type_hints(Settings, include_extras=True).items()
}
# Checks that concern several settings: the setting to name, whether it is wrong, what to do.
_TOGETHER: tuple[tuple[str, Callable[[Settings], bool], str], ...] = (
    (
        PREFIX + "SECRET_KEY",
        lambda s: not s.database_is_sqlite and s.secret_key is None,
        f"is required on PostgreSQL: at least {KEY_LENGTH} characters, the same on every node",
    ),
    (
        PREFIX + "INVITATION_WEBHOOK_URL",
        lambda s: s.invitation_use_webhooks and not s.invitation_webhook_url,
        "is required while COLLEGIUM_INVITATION_USE_WEBHOOKS is true",
    ),
)


def load(environ: Mapping[str, str]) -> Settings:
    """Return the settings of the environment, which override those of the file in COLLEGIUM_CONFIG.

    Raises:
        SettingsError: At least one setting is wrong. The message lists every problem.
    """
    problems: dict[str, str] = {}
    given: dict[str, str] = {}
    if environ.get(CONFIG):
        try:
            given.update(_from_file(Path(environ[CONFIG])))
        except (OSError, ValueError) as error:
            problems[CONFIG] = f"names a file that cannot be read: {error}"
    given.update(
        (name, text)
        for name, text in environ.items()
        if name.startswith(PREFIX) and name != CONFIG and (text.strip() or name not in _FIELDS)
    )
    # An empty value means that a template or a form left it open, so the default applies.
    given = {name: text for name, text in given.items() if text.strip() or name not in _FIELDS}
    values: dict[str, object] = {}
    for name, text in given.items():
        try:
            values[_FIELDS[name].name] = _KINDS[name].read(text.strip())
        except UnfitError as unfit:
            problems[name] = f"must be {_KINDS[name].expected}; {unfit}"
        except (LookupError, TypeError, ValueError, AttributeError):
            problems[name] = _remedy(name, text)
    settings = Settings(**values)  # type: ignore[arg-type]  # a SettingType reads what its field holds
    for name, is_wrong, remedy in _TOGETHER:
        if is_wrong(settings):
            problems.setdefault(name, remedy)
    if problems:
        lines = (f"{name} {remedy}" for name, remedy in sorted(problems.items()))
        raise SettingsError("\n".join(lines))
    return settings


def _from_file(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the settings of the TOML file as the environment would spell them.

    Raises:
        ValueError: The file is not valid TOML, or it sets a name twice.
        OSError: The file cannot be read.
    """
    seen = set()
    for key, value in tomllib.loads(path.read_text("utf-8")).items():
        name = PREFIX + key.upper().removeprefix(PREFIX)
        if name in seen:
            raise ValueError(f"it gives {name} twice")
        seen.add(name)
        yield name, value if isinstance(value, str) else json.dumps(value, default=str)


def _remedy(name: str, text: str) -> str:
    if name not in _FIELDS:
        nearest = difflib.get_close_matches(name.upper(), _FIELDS, n=1, cutoff=0)[0]
        return f"is not a setting; the nearest is {nearest}"
    shown = f", not {text[:60]!r}" if _FIELDS[name].repr else ""
    return f"must be {_KINDS[name].expected}{shown}"
