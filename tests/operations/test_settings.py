"""Settings: allowed values, and errors for wrong ones."""

import dataclasses
from ipaddress import ip_network
from pathlib import Path

import pytest

from collegium.setting_types import ProfileChanges
from collegium.settings import Settings, SettingsError, load

KEY = "k" * 32
POSTGRESQL = "postgresql://ada:pa55word@db.example.org/roll"


def field_names() -> list[str]:
    return [field.name for field in dataclasses.fields(Settings)]


def errors(environ: dict[str, str]) -> list[str]:
    """Return the lines of the error that these settings raise."""
    with pytest.raises(SettingsError) as caught:
        load(environ)
    return str(caught.value).splitlines()


def test_settings_have_the_documented_defaults() -> None:
    settings = load({"HOME": "/root", "PATH": "/bin"})
    assert settings == Settings()
    assert settings.database_path == Path("var/collegium.db")
    assert (settings.token_lifetime, settings.invitation_max_age) == (3600, 7 * 86400)
    assert (settings.token_max_age, settings.homeport_url, settings.secret_key) == (None,) * 3
    assert settings.authentication_methods == ("LOCAL_SIGNIN",)
    assert len(settings.countries) == len(set(settings.countries)) == 39
    assert settings.brainstem_public_emails is False


@pytest.mark.parametrize("name", field_names())
def test_every_default_can_be_set_explicitly(name: str) -> None:
    default = getattr(Settings(), name)
    texts = {
        "secret_key": None,  # made by the service
        "countries": ",".join(Settings().countries),
        "authentication_methods": "LOCAL_SIGNIN",
        "user_mandatory_fields": "first_name,last_name,email",
        "notifications_profile_changes": '{"fields": ["email", "phone_number", "job_title"]}',
    }
    text = texts.get(name, "" if default in {None, ()} else str(default))
    if text is not None:
        assert getattr(load({f"COLLEGIUM_{name.upper()}": text}), name) == default


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("TOKEN_LIFETIME", "90", 90),
        ("TOKEN_LIFETIME", "30s", 30),
        ("TOKEN_LIFETIME", "90m", 5400),
        ("TOKEN_LIFETIME", "1h", 3600),
        ("TOKEN_LIFETIME", "7d", 604800),
        ("TOKEN_LIFETIME", "2w", 1209600),
        ("TOKEN_LIFETIME", "0", None),
        ("TOKEN_LIFETIME", "", 3600),
        ("TOKEN_LIFETIME", "none", None),
        ("INVITATION_MAX_AGE", "none", None),
        ("RATE_LIMITS", "FALSE", False),
        ("RATE_LIMITS", "0", False),
        ("ONLY_STAFF_CAN_INVITE_USERS", "1", True),
        ("ALLOWED_HOSTS", " a.example , b.example ,", ("a.example", "b.example")),
        ("ALLOWED_HOSTS", '["a.example", "b.example"]', ("a.example", "b.example")),
        ("COUNTRIES", "ee,fi", ("EE", "FI")),
        (
            "TRUSTED_PROXIES",
            "10.0.0.5, 192.168.1.0/24, ::1",
            (ip_network("10.0.0.5"), ip_network("192.168.1.0/24"), ip_network("::1")),
        ),
        (
            "CORS_ALLOWED_ORIGINS",
            "https://A.example:443/, http://[::1]:8001",
            ("https://a.example", "http://[::1]:8001"),
        ),
        ("ALLOWED_HOSTS", "Members.Example.org., 10.0.0.5", ("members.example.org", "10.0.0.5")),
        (
            "ALLOWED_HOSTS",
            "MÜNCHEN.example,::1,[::1]",
            ("xn--mnchen-3ya.example", "[::1]", "[::1]"),
        ),
        ("ALLOWED_HOSTS", "*", ("*",)),
        (
            "OUTGOING_INTERNAL_HOSTS",
            "Login.LAN:8443, 10.0.0.5, ::1, [::1]:8080",
            ("login.lan:8443", "10.0.0.5", "[::1]", "[::1]:8080"),
        ),
        ("TRUSTED_PROXIES", "::ffff:10.0.0.5,[::1]", (ip_network("10.0.0.5"), ip_network("::1"))),
        ("TRUSTED_PROXIES", "::ffff:10.0.0.0/104", (ip_network("10.0.0.0/8"),)),
        ("BASE_URL", "https://roll.example.org/", "https://roll.example.org"),
        ("BASE_URL", "HTTPS://Roll.Example.org:443/", "https://roll.example.org"),
        ("BASE_URL", "http://roll.example.org:80", "http://roll.example.org"),
        ("BASE_URL", "http://roll.example.org:443", "http://roll.example.org:443"),
        ("BASE_URL", "https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("BASE_URL", "http://[0:0:0:0:0:0:0:1]:8000", "http://[::1]:8000"),
        ("BASE_URL", "https://Roll.example.org/Members/", "https://roll.example.org/Members"),
        ("HOMEPORT_URL", "https://portal.example.org/app/", "https://portal.example.org/app"),
        ("HOMEPORT_URL", "", None),
        ("INVITATION_WEBHOOK_URL", "https://h.example.org/a/?b=1", "https://h.example.org/a/?b=1"),
        ("INVITATION_WEBHOOK_TOKEN_URL", "https://h.example.org/", "https://h.example.org/"),
        ("LOG_LEVEL", "DEBUG", "debug"),
        ("MAIL_URL", "smtp://mx:25?starttls=1", "smtp://mx:25?starttls=1"),
        ("MAIL_URL", "smtps://u:p@mx.example.org", "smtps://u:p@mx.example.org"),
        ("MAIL_URL", "file:/srv/mail", "file:/srv/mail"),
        ("MAIL_FROM", "Roll <roll@example.org>", "Roll <roll@example.org>"),
        ("MAIL_FROM", "Roll <roll@box.home.arpa>", "Roll <roll@box.home.arpa>"),
        ("MAIL_FROM", "roll@printer.local", "roll@printer.local"),
        ("MAIL_FROM", "roll@intranet", "roll@intranet"),
        (
            "NOTIFICATIONS_PROFILE_CHANGES",
            '{"FIELDS": ["email"], "OPERATOR_NOTIFICATION_EMAILS": ["ops@example.org"]}',
            ProfileChanges(("email",), operator_notification_emails=("ops@example.org",)),
        ),
    ],
)
def test_valid_value_is_parsed(name: str, text: str, value: object) -> None:
    assert getattr(load({f"COLLEGIUM_{name}": text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TOKEN_LIFETIME", "soon"),
        ("TOKEN_LIFETIME", "-1"),
        ("TOKEN_LIFETIME", "1.5h"),
        ("TOKEN_LIFETIME", "1y"),
        ("TOKEN_LIFETIME", "9999999999w"),
        ("INVITATION_LIFETIME", "0"),
        ("RATE_LIMITS", "yes"),
        ("USE_ATOMIC_TRANSACTION", "false"),
        ("ALLOWED_HOSTS", '["a", 1]'),
        ("ALLOWED_HOSTS", '["a"'),
        ("COUNTRIES", "EE,Finland"),
        ("TRUSTED_PROXIES", "proxy.example.org"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("ALLOWED_HOSTS", "roll.example.org:8000"),
        ("ALLOWED_HOSTS", "https://roll.example.org"),
        ("ALLOWED_HOSTS", "*.example.org"),
        ("ALLOWED_HOSTS", ".example.org"),
        ("ALLOWED_HOSTS", "[::1]:8000"),
        ("ALLOWED_HOSTS", "roll.example.org/app"),
        ("OUTGOING_INTERNAL_HOSTS", "https://login.lan"),
        ("OUTGOING_INTERNAL_HOSTS", "10.0.0.0/8"),
        ("OUTGOING_INTERNAL_HOSTS", "*"),
        ("OUTGOING_INTERNAL_HOSTS", "login.lan:"),
        ("ALLOWED_HOSTS", "a b"),
        ("TRUSTED_PROXIES", "10.0.0.1:80"),
        ("TRUSTED_PROXIES", "*"),
        ("BASE_URL", "https://roll.example.org/a//b"),
        ("BASE_URL", "https://roll.example.org/a/../b"),
        ("BASE_URL", "https://roll.example.org/a%20b"),
        ("BASE_URL", "https://*.example.org"),
        ("BASE_URL", "https://a b.example.org"),
        ("BASE_URL", "roll.example.org"),
        ("BASE_URL", "ftp://roll.example.org"),
        ("BASE_URL", "https://roll.example.org/?a=b"),
        ("BASE_URL", "https://u:p@roll.example.org"),
        ("BASE_URL", "https://roll.example.org:99999"),
        ("HOMEPORT_URL", "/app"),
        ("INVITATION_WEBHOOK_URL", "ftp://h.example.org/"),
        ("INVITATION_WEBHOOK_URL", "https://u:p@h.example.org/"),
        ("INVITATION_WEBHOOK_TOKEN_URL", "https://h.example.org/#a"),
        ("DATABASE_URL", "mysql://u:p@db/roll"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "sqlite://var/collegium.db"),
        ("DATABASE_URL", "postgresql://db.example.org"),
        ("DATABASE_URL", "postgresql://u:p[@db/roll"),
        ("SECRET_KEY", "k" * 31),
        ("MAIL_URL", "file:"),
        ("MAIL_URL", "file://var/mail"),
        ("MAIL_URL", "smtp://"),
        ("MAIL_URL", "smtp://mx:0"),
        ("MAIL_URL", "smtp://mx?tls=1"),
        ("MAIL_URL", "http://mx"),
        ("MAIL_FROM", "Collegium"),
        ("MAIL_FROM", "Roll <roll@mail.invalid>"),
        ("MAIL_FROM", "roll@exa_mple.org"),
        ("NOTIFICATIONS_PROFILE_CHANGES", '{"OPERATOR_NOTIFICATION_EMAILS": ["ops@@example.org"]}'),
        ("MAIL_FROM", "a@example.org\r\nBcc: b@example.org"),
        ("SITE_NAME", "two\nlines"),
        ("TEMPLATES", "/nowhere/at/all"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("NOTIFICATIONS_PROFILE_CHANGES", "email"),
        ("NOTIFICATIONS_PROFILE_CHANGES", "[]"),
        ("NOTIFICATIONS_PROFILE_CHANGES", '{"FIELD": ["email"]}'),
        ("NOTIFICATIONS_PROFILE_CHANGES", '{"FIELDS": 3}'),
        ("NOTIFICATIONS_PROFILE_CHANGES", '{"ENABLE_OPERATOR_OWNER_NOTIFICATIONS": "no"}'),
    ],
)
def test_invalid_value_is_a_one_line_error(name: str, text: str) -> None:
    (line,) = errors({f"COLLEGIUM_{name}": text})
    assert line.startswith(f"COLLEGIUM_{name} must be ")


def test_all_errors_are_reported_at_once() -> None:
    wrong = {"COLLEGIUM_TOKEN_LIFETIME": "soon", "COLLEGIUM_RATE_LIMIT": "true"}
    lines = errors(wrong | {"COLLEGIUM_DATABASE_URL": POSTGRESQL})
    names = ("COLLEGIUM_RATE_LIMIT", "COLLEGIUM_SECRET_KEY", "COLLEGIUM_TOKEN_LIFETIME")
    assert tuple(line.split()[0] for line in lines) == names


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("COLLEGIUM_INVITATION_LIFE_TIME", "COLLEGIUM_INVITATION_LIFETIME"),
        ("COLLEGIUM_BASEURL", "COLLEGIUM_BASE_URL"),
        ("COLLEGIUM_BASE_URI", "COLLEGIUM_BASE_URL"),
        ("COLLEGIUM_base_url", "COLLEGIUM_BASE_URL"),
        ("COLLEGIUM_", "COLLEGIUM_"),
    ],
)
def test_unknown_setting_is_an_error_that_names_the_nearest(wrong: str, nearest: str) -> None:
    for value in ("x", ""):
        (line,) = errors({wrong: value})
        assert line.startswith(f"{wrong} is not a setting; the nearest is {nearest}")


def test_secret_key_is_required_on_postgresql_only() -> None:
    (line,) = errors({"COLLEGIUM_DATABASE_URL": POSTGRESQL})
    assert line.startswith("COLLEGIUM_SECRET_KEY is required on PostgreSQL")
    load({"COLLEGIUM_DATABASE_URL": POSTGRESQL, "COLLEGIUM_SECRET_KEY": KEY})


def test_webhooks_require_a_url() -> None:
    (line,) = errors({"COLLEGIUM_INVITATION_USE_WEBHOOKS": "true"})
    assert line.startswith("COLLEGIUM_INVITATION_WEBHOOK_URL is required")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///var/collegium.db", Path("var/collegium.db")),
        ("sqlite:////srv/collegium.db", Path("/srv/collegium.db")),
        ("SQLite:///roll.db", Path("roll.db")),
        (POSTGRESQL, None),
        ("postgresql:///roll?host=/run/postgresql", None),
    ],
)
def test_database_url_names_a_file_or_a_server(url: str, path: Path | None) -> None:
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY})
    assert settings.database_path == path
    assert settings.database_is_sqlite is (path is not None)


def test_postgres_is_accepted_for_postgresql() -> None:
    url = POSTGRESQL.replace("postgresql", "postgres")
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY})
    assert settings.database_url == POSTGRESQL


def test_repr_contains_no_secret() -> None:
    secrets = {
        "COLLEGIUM_DATABASE_URL": "postgresql://ada:hidden-1@db/roll",
        "COLLEGIUM_SECRET_KEY": "hidden-2".ljust(40, "x"),
        "COLLEGIUM_MAIL_URL": "smtps://ada:hidden-3@mx",
        "COLLEGIUM_INVITATION_WEBHOOK_TOKEN_SECRET": "hidden-4",
        "COLLEGIUM_REMOTE_EDUTEAMS_SECRET": "hidden-5",
        "COLLEGIUM_REMOTE_EDUTEAMS_REFRESH_TOKEN": "hidden-6",
        "COLLEGIUM_REMOTE_EDUTEAMS_SSH_API_PASSWORD": "hidden-7",
    }
    assert "hidden" not in repr(load(secrets))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DATABASE_URL", "mysql://ada:hidden@db/roll"),
        ("DATABASE_URL", "postgresql://ada:hidden\uff0f@db/roll"),
        ("SECRET_KEY", "hidden"),
        ("MAIL_URL", "smtp://ada:hidden[@mx"),
    ],
)
def test_error_contains_no_secret(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({f"COLLEGIUM_{name}": text})
    assert "hidden" not in str(caught.value)


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    """Keys have the prefix or not, in any case; values may be TOML types."""
    file = tmp_path / "collegium.toml"
    file.write_text(
        """
        site_name = "Rolle"
        COLLEGIUM_TOKEN_LIFETIME = "2h"
        invitation_lifetime = 60
        RATE_LIMITS = false
        allowed_hosts = ["a.example", "b.example"]
        [notifications_profile_changes]
        FIELDS = ["email"]
        ENABLE_OPERATOR_OWNER_NOTIFICATIONS = true
        """,
        "utf-8",
    )
    settings = load({"COLLEGIUM_CONFIG": str(file), "COLLEGIUM_SITE_NAME": "Roll"})
    assert settings == Settings(
        site_name="Roll",
        token_lifetime=7200,
        invitation_lifetime=60,
        rate_limits=False,
        allowed_hosts=("a.example", "b.example"),
        notifications_profile_changes=ProfileChanges(
            fields=("email",), enable_operator_owner_notifications=True
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "site_name = ",
        "site_name = 'a'\nSITE_NAME = 'b'",
        "token_lifetime = 1979-05-27",
        "nonsense = 1",
    ],
)
def test_file_with_an_error_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "collegium.toml"
    file.write_text(text, "utf-8")
    assert len(errors({"COLLEGIUM_CONFIG": str(file)})) == 1


def test_missing_file_is_refused(tmp_path: Path) -> None:
    (line,) = errors({"COLLEGIUM_CONFIG": str(tmp_path / "none.toml")})
    assert line.startswith("COLLEGIUM_CONFIG names a file that cannot be read")


def test_settings_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().site_name = "Other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("ALLOWED_HOSTS", "https://Roll.example.org:8000/", "write roll.example.org"),
        ("ALLOWED_HOSTS", "roll.example.org:8000", "write roll.example.org"),
        ("ALLOWED_HOSTS", "*.example.org", "write each name, or only * for any"),
        ("TRUSTED_PROXIES", "10.1.2.3/8", "write 10.0.0.0/8"),
        ("TRUSTED_PROXIES", "10.1.2.3:443", "write 10.1.2.3"),
    ],
)
def test_setting_that_can_never_match_is_an_error_with_a_remedy(
    name: str, text: str, remedy: str
) -> None:
    (line,) = errors({f"COLLEGIUM_{name}": text})
    assert line.endswith(remedy)


@pytest.mark.parametrize("name", field_names())
def test_empty_variable_means_the_default(name: str) -> None:
    for text in ("", "  "):
        assert load({f"COLLEGIUM_{name.upper()}": text}) == Settings()


def test_empty_variable_keeps_the_value_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "collegium.toml"
    file.write_text('site_name = "Roll"\ntoken_lifetime = ""\n')
    settings = load({"COLLEGIUM_CONFIG": str(file), "COLLEGIUM_SITE_NAME": ""})
    assert (settings.site_name, settings.token_lifetime) == ("Roll", 3600)
