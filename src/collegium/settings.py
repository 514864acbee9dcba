"""The settings: read once, checked at once, frozen.

One field a setting; its environment name is ``COLLEGIUM_`` and the field's name in capitals.
A field's type says how its text is read; what must not be seen in a log has ``repr=False``.
This module is a leaf: it opens no database and knows nothing of the rooms.
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
    OwnUrl,
    ProfileChanges,
    ProfileChangesJson,
    SecretKey,
    SettingType,
    Text,
    UnfitError,
    WebUrl,
    Words,
)

PREFIX = "COLLEGIUM_"
CONFIG = "COLLEGIUM_CONFIG"  # names a TOML file with the same keys; the environment wins over it

_COUNTRIES = (
    "AL AT BA BE BG CH CY CZ DE DK EE ES EU FI FR GB GE GR HR HU "
    "IE IS IT LT LU LV MC MK MT NL NO PL PT RO RS SE SI SK UA"
)


class SettingsError(Exception):
    """What is wrong with the settings, one line a problem."""


THREADS: Final = 256
"""Requests that a worker process is at work on at most."""


@dataclass(frozen=True)
class Settings:
    """Every setting. Durations are seconds."""

    # The service itself.

    # sqlite:///relative.db, sqlite:////absolute.db or postgresql://user:password@host/name
    database_url: DatabaseUrl = field(default="sqlite:///var/collegium.db", repr=False)
    # Signs links and seals tokens. None on SQLite: made once and kept beside the database.
    secret_key: SecretKey = field(default=None, repr=False)
    # Where people reach us, perhaps with a path; links in mails begin with it.
    base_url: OwnUrl = "http://127.0.0.1:8000"
    # Where a front end of its own is reached; links in mails then lead there.
    homeport_url: MaybeOwnUrl = None
    # file:folder (one .eml a mail), smtp://[user:password@]host:port or smtps://…; with a user
    # STARTTLS is required, unless ?starttls=0 follows; without one ?starttls=1 asks for it.
    mail_url: MailUrl = field(default="file:var/mail", repr=False)
    mail_from: Mailbox = "Collegium <no-reply@localhost>"
    # Host names we answer to besides that of BASE_URL; * for any. Without both: any on loopback.
    allowed_hosts: Hosts = ()
    # Addresses and networks of proxies whose X-Forwarded-For, -Host and -Proto are believed.
    trusted_proxies: Networks = ()
    rate_limits: Flag = True
    # A folder whose files replace our mail templates of the same name.
    templates: Folder = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"

    # How long a mail is kept after it was sent; what could not be sent is kept.
    outbox_retention: Duration = 30 * 86400

    # What mails and pages say.

    site_name: Line = "Collegium"
    common_footer_text: Text = ""
    common_footer_html: Text = ""

    # Signing in, tokens.

    # Password login is on while LOCAL_SIGNIN is among them.
    authentication_methods: Words = ("LOCAL_SIGNIN",)
    # How long a new account's token lives after its last use; None: for ever.
    token_lifetime: MaybeDuration = 3600
    # How long a token lives at most, used or not; None: no limit.
    token_max_age: MaybeDuration = None
    # The longest lifetime that people give their own API token; only staff and the command line
    # give a longer one, or an endless one.
    token_lifetime_max: Duration = 365 * 86400
    # How long the token of a program lives that is let in from a browser, used or not, unless it
    # asks for another time; and the longest time that it may ask for.
    device_token_lifetime: Duration = 90 * 86400
    device_token_lifetime_max: Duration = 365 * 86400
    # How many browsers, and how many programs that log in with a password, one account may be
    # signed in with; beyond it the one that was not used for longest is signed out.
    max_sessions: Count = 100
    # How many tokens for programs one account may have, personal ones and those of devices.
    max_personal_tokens: Count = 100
    # How often one account may log in within ten minutes, unless RATE_LIMITS is off.
    max_logins: Count = 60
    local_idp_name: Line = "Local DB"
    local_idp_label: Line = "Local DB"
    local_idp_management_url: Link = ""
    # Fields of a profile that people with a local account cannot change.
    local_idp_protected_fields: Words = ()
    # Logging in on the BrainSTEM wire with a password; never to accounts with a second factor.
    brainstem_password_login: Flag = True
    # Whether the public portal of the BrainSTEM wire shows addresses.
    # Show groups, and the names of their people, to everybody without an account.
    brainstem_public_portal: Flag = False
    # Show their addresses there as well.
    brainstem_public_emails: Flag = False
    # Whether deeds of the BrainSTEM wire can be done by GET, as its clients do.
    brainstem_get_actions: Flag = True

    # Accounts.

    email_change_max_age: Duration = 86400
    # Accounts registered by these methods cannot change their details here.
    protect_user_details_for_registration_methods: Words = ()
    user_mandatory_fields: Words = ("first_name", "last_name", "email")  # for front ends to ask
    native_name_enabled: Flag = False  # for front ends to show
    # Which changes of a profile are told, and to whom.
    notifications_profile_changes: ProfileChangesJson = field(default=ProfileChanges())

    # How many SSH keys one account may have.
    max_keys: Count = 100
    # How many groups one account may have founded that still exist.
    max_groups: Count = 200

    # Organisations and projects.

    # How many projects there are in one organisation at most; staff make more.
    max_projects: Count = 1000
    create_default_project_on_organization_creation: Flag = False
    # Codes that an organisation's country may have.
    countries: Countries = field(default=tuple(_COUNTRIES.split()))
    oecd_fos_2007_code_mandatory: Flag = False

    # Invitations and requests.

    # How many invite links of one organisation, project or group are open at once.
    max_invite_links: Count = 200
    # How many join requests of one account wait to be decided.
    max_join_requests: Count = 100
    invitations_enabled: Flag = True  # for front ends to show; the server does not ask
    invitation_lifetime: Duration = 7 * 86400
    group_invitation_lifetime: Duration = 7 * 86400
    # Mails of invitations, and of new addresses to confirm, that one address gets in 24 hours from
    # all senders together while it accepts none of them.
    recipient_mail_limit: Count = 20
    # How long a link to approve or reject an invitation works; None: as long as the invitation.
    invitation_max_age: MaybeDuration = 7 * 86400
    # Only invitations to the account's own address count as its own.
    validate_invitation_email: Flag = False
    # Accepting needs the invited address.
    enable_strict_check_accepting_invitation: Flag = False
    # Nobody with a role in a scope accepts another role there.
    invitation_disable_multiple_roles: Flag = False
    # Invitations of everyone else wait for a member of staff.
    only_staff_can_invite_users: Flag = False
    invitation_create_missing_user: Flag = False
    # Hand invitations to a service of one's own instead of mailing them.
    invitation_use_webhooks: Flag = False
    invitation_webhook_url: Endpoint = field(default="", repr=False)
    invitation_webhook_token_url: Endpoint = field(default="", repr=False)
    invitation_webhook_token_client_id: Text = ""
    invitation_webhook_token_secret: Text = field(default="", repr=False)
    invitation_civil_number_label: Line = ""
    invitation_tax_number_label: Line = ""

    # eduTEAMS, asked for the details of remote users.

    remote_eduteams_enabled: Flag = False
    remote_eduteams_token_url: WebUrl = "https://proxy.acc.researcher-access.org/OIDC/token"  # noqa: S105 - an address, no token
    remote_eduteams_userinfo_url: WebUrl = "https://proxy.acc.researcher-access.org/api/userinfo"
    remote_eduteams_client_id: Text = ""
    remote_eduteams_secret: Text = field(default="", repr=False)
    remote_eduteams_refresh_token: Text = field(default="", repr=False)
    remote_eduteams_ssh_api_url: Link = ""
    remote_eduteams_ssh_api_username: Text = ""
    remote_eduteams_ssh_api_password: Text = field(default="", repr=False)

    # Named by the Waldur contract, and not a choice here: a deed happens as a whole or not at all.

    use_atomic_transaction: OnlyTrue = True

    @property
    def database_is_sqlite(self) -> bool:
        """Whether the database is a file of ours."""
        return self.database_url.startswith("sqlite:")

    @property
    def database_path(self) -> Path | None:
        """The SQLite file; None on PostgreSQL."""
        # Spelled as the driver reads it: %20 is a space.
        path = unquote(self.database_url[len("sqlite:///") :])
        return Path(path) if self.database_is_sqlite else None


DEFAULTS: Final = Settings()
"""What holds where nobody has set anything."""


_FIELDS: dict[str, Field[object]] = {PREFIX + f.name.upper(): f for f in fields(Settings)}
_KINDS: dict[str, SettingType] = {
    PREFIX + name.upper(): hint.__metadata__[0]
    for name, hint in get_type_hints(Settings, include_extras=True).items()
}
# What only shows when settings are seen together: whose line it is, when it is wrong, what to do.
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
    """Read the settings from the environment, over the file that ``COLLEGIUM_CONFIG`` names.

    Raises SettingsError with every problem there is.
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
    # An empty value was left open, by a template or a form: the default stands.
    given = {name: text for name, text in given.items() if text.strip() or name not in _FIELDS}
    values: dict[str, object] = {}
    for name, text in given.items():
        try:
            values[_FIELDS[name].name] = _KINDS[name].read(text.strip())
        except UnfitError as unfit:
            problems[name] = f"must be {_KINDS[name].expected}; {unfit}"
        except (LookupError, TypeError, ValueError, AttributeError):
            problems[name] = _remedy(name, text)
    settings = Settings(**values)  # type: ignore[arg-type]  # a Kind reads what its field holds
    for name, is_wrong, remedy in _TOGETHER:
        if is_wrong(settings):
            problems.setdefault(name, remedy)
    if problems:
        lines = (f"{name} {remedy}" for name, remedy in sorted(problems.items()))
        raise SettingsError("\n".join(lines))
    return settings


def _from_file(path: Path) -> Iterator[tuple[str, str]]:
    """The file's settings as the environment would spell them."""
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
