"""The settings: read once, checked together, immutable.

One field is one setting. Its environment variable is ``COLLEGIUM_`` and the field's name in
capitals. The type of a field says how its text is read. A value that must not appear in a log has
``repr=False``. The string under a field is its meaning in ``docs/reference/settings.md``, which
``script/docs reference`` writes: Markdown, with links that begin at ``docs/``. This module opens no
database and imports only modules that parse values.
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
    Colour,
    Count,
    Countries,
    DatabaseUrl,
    Duration,
    Endpoint,
    Flag,
    Folder,
    Hosts,
    InternalHosts,
    Language,
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

    # Service

    database_url: DatabaseUrl = field(default="sqlite:///var/collegium.db", repr=False)
    """`sqlite:///relative.db`, `sqlite:////absolute.db` or
    `postgresql://user:password@host/name`."""
    secret_key: SecretKey = field(default=None, repr=False)
    """Signs links and encrypts tokens. 32 characters or more. Required on PostgreSQL, the same on
    every node. On SQLite it is created once, in a file beside the database (`collegium.db.key`)."""
    base_url: OwnUrl = "http://127.0.0.1:8000"
    """URL under which people reach the service, path included. Links in e-mails begin with it."""
    homeport_url: MaybeOwnUrl = None
    """URL of a front end of your own, such as Waldur's HomePort. Links in e-mails then lead there,
    except those for credentials and addresses. See [waldur.md](waldur.md#homeport)."""
    compat_homeport: Flag = False
    """Serves what Waldur's official front end (HomePort) needs to start. `HOMEPORT_URL` does so
    too."""
    cors_allowed_origins: Origins = ()
    """Origins whose pages may call the APIs from a browser:
    `https://portal.example.org,http://localhost:8001`. That of `HOMEPORT_URL` may without being
    listed."""
    allowed_hosts: Hosts = ()
    """Other host names that are answered, without scheme and port. `*` answers any."""
    trusted_proxies: Networks = ()
    """Addresses and networks of your proxies: `127.0.0.1,10.0.0.0/8`."""
    outgoing_internal_hosts: InternalHosts = ()
    """Hosts of OpenID providers, each as `host` or `host:port`, whose address may be internal:
    `login.lan,10.0.0.5:8443`. On loopback plain http is accepted too. See [Outgoing
    requests](operating.md#outgoing-requests)."""
    rate_limits: Flag = True
    """`false` turns rate limits and the e-mail limit for recipients off."""
    log_level: LogLevel = "info"
    """`debug`, `info`, `warning` or `error`."""
    log_format: LogFormat = "text"
    """`text` or `json`."""
    tracing: Flag = False
    """Exports traces; see [Traces](operating.md#traces)."""

    # E-mails

    mail_url: MailUrl = field(default="file:var/mail", repr=False)
    """`file:folder`, `smtp://[user:password@]host:port` or `smtps://…`. See [Worker and
    e-mails](operating.md#worker-and-e-mails)."""
    mail_from: Mailbox = "Collegium <no-reply@localhost>"
    """Sender of every e-mail."""
    templates: Folder = None
    """Folder whose files replace our e-mail templates of the same name."""
    outbox_retention: Duration = 30 * 86400
    """How long delivered e-mails are kept. Failed ones are kept until staff retry or discard
    them."""
    import_max_rows: Count = 20_000
    """Maximum number of rows of an [import](imports.md)."""
    import_max_size: Size = 5_000_000
    """Maximum size of the file of an import, in bytes."""
    import_retention: Duration = 30 * 86400
    """How long an import is kept after it was finished, or uploaded and never started, with the
    names and addresses of its file. A change of many rows is kept as long."""
    recipient_mail_limit: Count = 20
    """E-mails with invitations and confirmations of a new address to one address in 24 hours, from
    all senders, while none is accepted."""
    role_notifications: Flag = True
    """`false` sends no [e-mails about roles](operating.md#e-mails-about-roles), neither to members
    nor to those who manage them."""
    site_name: Line = "Collegium"
    """Name of the service on pages and in e-mails. The name from the set-up page counts while this
    is not set."""
    language: Language = "en"
    """Language of pages for people who have not chosen one, and whose browser asks for
    none that is available."""
    site_logo: Picture = None
    """Picture file (PNG, SVG, …, 1 MiB at most) that our pages and front ends show as the logo."""
    site_colour: Colour = None
    """Colour of links and buttons on our pages: `#1d5aa6`. It is made darker or lighter where it
    could not be read."""
    common_footer_text: Text = ""
    """Footer of e-mails, as text."""
    common_footer_html: Text = ""
    """Footer of e-mails, as HTML."""

    # Sign-in, sessions and tokens

    authentication_methods: Words = ("LOCAL_SIGNIN",)
    """Signing in with a password works while `LOCAL_SIGNIN` is in the list."""
    token_lifetime: MaybeDuration = 3600
    """How long the API token of a new account lives after its last use. `none`: for ever."""
    token_max_age: MaybeDuration = None
    """How long any token lives at most."""
    token_lifetime_max: Duration = 365 * 86400
    """Longest lifetime that people set for their own API token."""
    device_token_lifetime: Duration = 90 * 86400
    """Lifetime of a token for a program that was approved in the browser."""
    device_token_lifetime_max: Duration = 365 * 86400
    """Longest lifetime that such a program may ask for."""
    max_sessions: Count = 100
    """Browser sessions of one account, and programs signed in with its password, each. The one
    unused for longest ends."""
    max_personal_tokens: Count = 100
    """Personal and device tokens of one account."""
    two_factor_required: TwoFactorRequired = "nobody"
    """Who must use two-factor authentication: `nobody`, `staff` (staff and support) or `everybody`.
    They set it up on their next page, and nothing else works before, on pages and APIs."""
    max_logins: Count = 60
    """Successful sign-ins of one account in ten minutes."""
    local_idp_name: Line = "Local DB"
    """How front ends name local accounts: the name of their provider."""
    local_idp_label: Line = "Local DB"
    """How front ends name local accounts: the text that people read."""
    local_idp_management_url: Link = ""
    """Where front ends send people to manage their account."""
    local_idp_protected_fields: Words = ()
    """Profile fields that people with a local account cannot change."""
    oidc_block_creation_of_uninvited_users: Flag = True
    """Whether a new OpenID provider creates accounts for invited people only (`registration` of the
    provider; staff can choose otherwise for each)."""
    brainstem_password_login: Flag = True
    """Signing in with a password on the BrainSTEM API."""
    brainstem_get_actions: Flag = True
    """GET requests of the BrainSTEM API that change something, as its clients send them."""
    brainstem_public_portal: Flag = False
    """`true` shows groups and the names of their members to everybody. Otherwise `/api/public/`
    does not exist."""
    brainstem_public_emails: Flag = False
    """`true` shows their e-mail addresses there as well."""

    # Accounts

    email_change_max_age: Duration = 86400
    """How long the link that confirms a new address works."""
    protect_user_details_for_registration_methods: Words = ()
    """Accounts registered by these methods cannot change their details here."""
    auto_approve_user_tos: Flag = False
    """New accounts count as having agreed to the terms, without which HomePort locks its pages.
    Texts that are published here are asked for all the same."""
    user_mandatory_fields: Words = ("first_name", "last_name", "email")
    """Asked for by front ends and by our pages *My account* and *Profile*, as far as these have
    them: names, institution, job title, phone number, e-mail address.
    `/api/users/profile_completeness/` tells people which of them are missing in their profile;
    [nothing is refused](waldur.md#users)."""
    user_data_access_logging_enabled: Flag = False
    """Record who opens the profile of another person, in the APIs or on the pages for staff: once
    an hour, in the audit log. People read it in `/api/users/{uuid}/data_access_history/`, without
    names. Lists are not recorded."""
    view_records_retention: Duration = 365 * 86400
    """How long these records are kept. The worker deletes older ones, a few hundred in a
    transaction; nothing else of the audit log is deleted."""
    native_name_enabled: Flag = False
    """Shows the name in a person's own script on our pages. Published for front ends."""
    notifications_profile_changes: ProfileChangesJson = field(default=ProfileChanges())
    """JSON: which profile changes are reported, and to whom."""
    max_keys: Count = 100
    """SSH keys of one account."""
    max_hooks_per_account: Count = 20
    """Hooks of one account."""
    hook_mail_limit: Count = 100
    """E-mails of the hooks of one account in 24 hours."""
    max_groups: Count = 200
    """Groups that one account has created and that still exist."""

    # Organisations and projects

    max_projects: Count = 1000
    """Projects of one organisation. Staff may create more."""
    create_default_project_on_organization_creation: Flag = False
    """Creates a project with every organisation."""
    countries: Countries = field(default=tuple(_COUNTRIES.split()))
    """Country codes that an organisation may have."""
    oecd_fos_2007_code_mandatory: Flag = False
    """Published for front ends."""

    # Invitations and join requests

    invitation_lifetime: Duration = 7 * 86400
    """How long an invitation is valid."""
    group_invitation_lifetime: Duration = 7 * 86400
    """How long an invite link is valid."""
    invitation_max_age: MaybeDuration = 7 * 86400
    """How long a link to approve or reject an invitation works. `none`: as long as the
    invitation."""
    review_interval: MaybeDuration = None
    """How long after its creation, or after its last review was closed, the roles in an
    organisation, project or group are reviewed again, for example `365d`; see [Reviews of
    roles](operating.md#reviews-of-roles)."""
    max_invite_links: Count = 200
    """Open invite links of one organisation, project or group."""
    max_join_requests: Count = 100
    """Pending join requests of one account."""
    invitations_enabled: Flag = True
    """Published for front ends. The server does not check it."""
    validate_invitation_email: Flag = False
    """Accepting requires the invited address. Accounts with another address do not find the
    invitation."""
    enable_strict_check_accepting_invitation: Flag = False
    """Accepting requires the invited address. Accounts with another address are told so."""
    invitation_disable_multiple_roles: Flag = False
    """Nobody with a role in a scope accepts another role there."""
    only_staff_can_invite_users: Flag = False
    """Invitations by others wait for the approval of staff."""
    invitation_create_missing_user: Flag = False
    """Creates an account for an invited address that has none."""
    invitation_civil_number_label: Line = ""
    """Label of the civil number, published for front ends."""
    invitation_tax_number_label: Line = ""
    """Label of the tax number, published for front ends."""
    invitation_use_webhooks: Flag = False
    """Sends invitations to a webhook instead of mailing them."""
    invitation_webhook_url: Endpoint = field(default="", repr=False)
    """The webhook. Required with `INVITATION_USE_WEBHOOKS`."""
    invitation_webhook_token_url: Endpoint = field(default="", repr=False)
    """Where the access token for the webhook comes from (OAuth 2 client credentials)."""
    invitation_webhook_token_client_id: Text = ""
    """Client id for this token."""
    invitation_webhook_token_secret: Text = field(default="", repr=False)
    """Client secret for this token."""

    # eduTEAMS

    remote_eduteams_enabled: Flag = False
    """Reads details of remote accounts from eduTEAMS, 75 accounts every five minutes."""
    remote_eduteams_token_url: WebUrl = "https://proxy.acc.researcher-access.org/OIDC/token"  # noqa: S105 - a URL, not a token
    """Token endpoint."""
    remote_eduteams_userinfo_url: WebUrl = "https://proxy.acc.researcher-access.org/api/userinfo"
    """User information endpoint."""
    remote_eduteams_client_id: Text = ""
    """Client id at eduTEAMS."""
    remote_eduteams_secret: Text = field(default="", repr=False)
    """Client secret at eduTEAMS."""
    remote_eduteams_refresh_token: Text = field(default="", repr=False)
    """Refresh token for eduTEAMS."""
    remote_eduteams_ssh_api_url: Link = ""
    """Source of SSH keys, read every three minutes."""
    remote_eduteams_ssh_api_username: Text = ""
    """User name for this source."""
    remote_eduteams_ssh_api_password: Text = field(default="", repr=False)
    """Password for this source."""

    # Part of the Waldur API

    use_atomic_transaction: OnlyTrue = True
    """Exists for Waldur's sake. It accepts no other value."""

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
