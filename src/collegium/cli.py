"""The command line: serve, migrate, staff, worker, import, doctor, demo.

An error before the command runs is reported in one line that says what to do.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import click
import structlog

from collegium import bootstrap, logs, tracing
from collegium.db import schema
from collegium.db.database import Database, StorageFullError, UnavailableError
from collegium.security.crypto import Vault
from collegium.setting_types import duration
from collegium.settings import Settings, SettingsError, load

_PIPED_MAX: Final = 4096
"""Maximum number of bytes that are read as a password from standard input."""

_NEWER: Final = (
    "the database belongs to a newer release of Collegium. Install that release or a newer one."
)

_FOREIGN_KEY: Final = (
    "the secret key does not belong to this database. Restore COLLEGIUM_SECRET_KEY, "
    'or the key file beside the database. Without it, follow "Replace the secret key" in '
    "docs/operating.md."
)

NOT_EMPTY: Final = 3
"""Exit code of ``demo`` on a database that already has accounts."""


def _stop(text: str, code: int = 1) -> NoReturn:
    click.echo(f"collegium: {text}", err=True)
    raise SystemExit(code)


def _renamed(old: str, new: str) -> None:
    """Warn that an old name on the command line works for one more release only."""
    click.echo(
        f"collegium: {old} is now {new}. The old name will be removed in the next release.",
        err=True,
    )


def _settings() -> Settings:
    try:
        settings = load(os.environ)
    except SettingsError as error:
        _stop(str(error).replace("\n", "\ncollegium: "), 2)
    logs.configure(settings)
    return settings


@contextmanager
def _app_context(settings: Settings, *, migrated: bool = True) -> Iterator[tuple[Database, Vault]]:
    """Open the database and the ``Vault``. An error ends the command with one line.

    Args:
        migrated: Whether to require a current schema; on SQLite it is migrated first.
    """
    try:
        database, vault = bootstrap.load_settings(settings)
        try:
            if migrated:
                _bring_up_to_date(settings, database)
                if not bootstrap.key_fits(database, vault):
                    _stop(_FOREIGN_KEY, 2)
            yield database, vault
        finally:
            database.close()
    except SettingsError as error:
        _stop(str(error), 2)
    except StorageFullError as error:
        _stop(f"the disk of the database is full: {error}. Free some space.")
    except UnavailableError as error:
        remedy = bootstrap.database_remedy(settings, error)
        _stop(f"the database cannot be reached: {error}. {remedy}")


def _usable_status(database: Database) -> schema.SchemaStatus:
    """Return the status of the schema; stop if this version can neither use nor migrate it."""
    match status := schema.status(database):
        case schema.SchemaStatus.AHEAD:
            _stop(_NEWER)
        case schema.SchemaStatus.UNRELEASED:
            _stop(
                "the database was made by a development version of Collegium and cannot be "
                "migrated. Create a new database."
            )
        case _:
            return status


def _bring_up_to_date(settings: Settings, database: Database) -> None:
    match _usable_status(database):
        case schema.SchemaStatus.EMPTY | schema.SchemaStatus.BEHIND:
            if not settings.database_is_sqlite:
                _stop("the schema is not up to date. Run: collegium migrate")
            schema.migrate_in_child(database)
        case _:
            pass


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="collegium", prog_name="collegium")
def main() -> None:
    """Manage members of organisations, projects and groups."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port to listen on.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Number of server processes.",
)
@click.option(
    "--no-worker", is_flag=True, help="Do not deliver e-mails; run `collegium worker` for that."
)
@click.option("--no-post", is_flag=True, hidden=True)
def serve(host: str, port: int, workers: int, *, no_worker: bool, no_post: bool) -> None:
    """Run the service.

    On SQLite it migrates the schema first and delivers the outbox in the background.
    On PostgreSQL run `collegium migrate` before it and `collegium worker` beside it.
    """
    if no_post:
        _renamed("--no-post", "--no-worker")
    from collegium import server  # noqa: PLC0415 - no other command needs it

    settings = _settings()
    from collegium.site import actions as site_actions  # noqa: PLC0415 - the same

    with _app_context(settings) as (database, vault):
        setup_path = site_actions.setup_path(database, vault)
    address = _resolved(host)
    _check_free(address, port)
    if urlsplit(settings.base_url).path:
        from collegium import app  # noqa: PLC0415 - only `serve` needs it

        try:
            app.check_path(settings)
        except SettingsError as error:
            _stop(str(error), 2)
    os.environ.pop(bootstrap.BASE_IS_GUESSED, None)
    base_url = settings.base_url.rstrip("/")
    if bootstrap.is_guessed(settings):
        # BASE_URL is not set, so links lead to the address that we listen on.
        os.environ[bootstrap.BASE_IS_GUESSED] = "1"
        shown = "127.0.0.1" if address in {"0.0.0.0", "::"} else host.strip("[]")  # noqa: S104 - compared
        shown = f"[{shown}]" if ":" in shown else shown
        base_url = f"http://{shown}:{port}"
        os.environ["COLLEGIUM_BASE_URL"] = base_url
    os.environ[bootstrap.SERVE_HOST] = host
    if settings.database_is_sqlite and not (no_worker or no_post):
        os.environ[bootstrap.RUNS_WORKER] = "1"
    else:
        os.environ.pop(bootstrap.RUNS_WORKER, None)
    if setup_path is not None:
        # A name such as "link" would be masked.
        event = "no account exists yet: open this page to set the service up"
        structlog.get_logger().warning(event, page=base_url + setup_path)
    server.run(address, port, workers)


def _resolved(host: str) -> str:
    """Return the address to listen on: the first one of a name, IPv4 before IPv6."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        _stop(f"cannot listen on {host}: this host name has no address. Choose another --host.")
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    return str(found[0][4][0])


def _check_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the server does: a port whose old connections are in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            _stop(f"cannot listen on {host}:{port}: {error.strerror}. Choose another --port.")


@main.command()
def migrate() -> None:
    """Bring the schema up to date."""
    with _app_context(_settings(), migrated=False) as (database, _vault):
        before = _usable_status(database)
        encoding = schema.encoding(database)
        if before is schema.SchemaStatus.EMPTY and encoding != "UTF8":
            _stop(
                f"the database has the encoding {encoding}, which lacks most characters. Create "
                "another one: createdb --encoding=UTF8 --template=template0"
            )
        schema.migrate(database)
        done = "was up to date" if before is schema.SchemaStatus.CURRENT else "is up to date now"
        click.echo(f"The schema {done}.")


def _asked_password(*, required: bool) -> str | None:
    """Ask for a password at the terminal twice, without showing it; None for an empty one.

    Args:
        required: Whether an empty password is refused.
    """
    hint = "" if required else " (leave empty to use only the token)"
    while True:
        first = click.prompt(
            f"Password{hint}", hide_input=True, default="", show_default=False, err=True
        )
        if not first and not required:
            return None
        second = click.prompt(
            "Password again", hide_input=True, default="", show_default=False, err=True
        )
        if first and first == second:
            return str(first)
        click.echo("The passwords do not match." if first else "Please enter a password.", err=True)


def _piped_password() -> str:
    """Read a password from standard input: one line, without its line end."""
    raw = sys.stdin.buffer.read(_PIPED_MAX)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        if len(raw) == _PIPED_MAX:
            _stop("the password on standard input is too long (maximum 128 characters).", 2)
        _stop("the password on standard input is not UTF-8.", 2)
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        _stop("there is no password on standard input.", 2)
    if "\n" in text or "\r" in text:
        _stop("standard input must contain one line, the password.", 2)
    return text


@main.command()
@click.argument("username")
@click.option("--email", required=True, help="E-mail address of the account.")
@click.option(
    "--password", help="Password of the account. Other users of this machine can read it."
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print username, uuid and token as JSON.")
@click.option(
    "--token-lifetime",
    help="Time after the last use until the token expires: 1h, 7d, or none for no expiry.",
)
@click.option("--promote", is_flag=True, help="Allow an account that an invited person created.")
def staff(
    username: str,
    email: str,
    password: str | None,
    token_lifetime: str | None,
    *,
    password_stdin: bool,
    as_json: bool,
    promote: bool,
) -> None:
    """Create a staff account, or make an existing account staff; print its token.

    At a terminal it asks for the password. Without one only the token works.
    """
    from collegium import staff_command  # noqa: PLC0415 - keeps --help fast

    settings = _settings()
    lifetime = ... if token_lifetime is None else _lifetime(token_lifetime)
    if password is not None:
        if password_stdin:
            _stop("use either --password or --password-stdin, not both.", 2)
        click.echo(
            "Warning: every user of this machine can read what --password says while the command "
            "runs. Use --password-stdin instead.",
            err=True,
        )
    elif sys.stdin.isatty() and sys.stderr.isatty():
        password = _asked_password(required=password_stdin)
    elif password_stdin:
        password = _piped_password()
    with _app_context(settings) as (database, vault):
        try:
            uuid, token = staff_command.ensure_staff(
                database,
                settings,
                vault,
                username,
                email,
                password,
                allow_promotion=promote,
                lifetime=lifetime,
            )
        except staff_command.UnfitAccountError as error:
            _stop(str(error), 2)
    if as_json:
        click.echo(json.dumps({"username": username, "uuid": uuid, "token": token}))
    else:
        click.echo(token)


def _lifetime(text: str) -> int | None:
    """Return the lifetime of a token in seconds; None when it never expires."""
    if text.strip().lower() == "none":
        return None
    try:
        seconds = duration(text.strip())
    except (ValueError, LookupError):
        seconds = 0
    if not 60 <= seconds < 2**31:  # noqa: PLR2004 - limit of the column
        _stop("--token-lifetime must be at least one minute, such as 1h or 7d, or none", 2)
    return seconds


@main.command()
@click.option("--once", is_flag=True, help="Do all work that is due, then exit.")
def worker(*, once: bool) -> None:
    """Deliver e-mails and run the schedule. Any number of workers may run on PostgreSQL."""
    _work(once=once)


@main.command(hidden=True)
@click.option("--once", is_flag=True)
def post(*, once: bool) -> None:
    """Run `worker`, under its old name."""
    _renamed("collegium post", "collegium worker")
    _work(once=once)


def _work(*, once: bool) -> None:
    from collegium.worker import presence  # noqa: PLC0415 - keeps --help fast
    from collegium.worker.worker import Worker  # noqa: PLC0415 - only `worker` needs it

    settings = _settings()
    with _app_context(settings) as (database, vault):
        presence.take_over(database, settings.database_path)
        running = Worker(database, settings, vault)
        stop_tracing = tracing.start(settings)
        if once:
            running.once()
            stop_tracing()
            return
        stop = threading.Event()

        def _end(_number: int, _frame: Any) -> None:
            stop.set()
            running.wake()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
        running.run(stop)
        stop_tracing()


@main.group()
def provider() -> None:
    """Manage OpenID providers, with which people sign in."""


@provider.command("add")
@click.argument("name")
@click.option("--label", required=True, help="Text of the button on the sign-in page.")
@click.option("--url", required=True, help="Issuer of the provider, or the URL of its metadata.")
@click.option("--client-id", required=True, help="Client ID that the provider shows.")
@click.option(
    "--client-secret-stdin", is_flag=True, help="Read the client secret from standard input."
)
@click.option(
    "--registration",
    type=click.Choice(["off", "invited", "open"]),
    help="Who gets an account at the first sign-in: nobody, invited people, or everybody.",
)
def add_provider(
    name: str,
    label: str,
    url: str,
    client_id: str,
    registration: str | None,
    *,
    client_secret_stdin: bool,
) -> None:
    """Add a provider. Everything but the options is read from its metadata.

    At a terminal it asks for the client secret. Without one it is a public client.
    """
    from collegium import provider_command  # noqa: PLC0415 - keeps --help fast

    settings = _settings()
    secret = ""
    if client_secret_stdin:
        secret = _piped_password()
    elif sys.stdin.isatty() and sys.stderr.isatty():
        secret = click.prompt(
            "Client secret (leave empty for a public client)",
            hide_input=True,
            default="",
            show_default=False,
            err=True,
        )
    values = {"name": name, "label": label, "client_id": client_id, "client_secret": secret}
    if registration is not None:
        values["registration"] = registration
    with _app_context(settings) as (database, vault):
        try:
            redirect_uri = provider_command.add(database, settings, vault, url, values)
        except provider_command.UnfitProviderError as error:
            _stop(str(error), 2)
    click.echo(redirect_uri)


@provider.command("list")
def list_providers() -> None:
    """List the providers: name, label, issuer, and whether each is active."""
    from collegium import provider_command  # noqa: PLC0415 - keeps --help fast

    with _app_context(_settings()) as (database, _vault):
        for line in provider_command.lines(database):
            click.echo(line)


@provider.command("check")
@click.argument("names", nargs=-1)
def check_providers(names: tuple[str, ...]) -> None:
    """Ask providers for their metadata and keys; all of them without NAMES.

    Exit with 1 if one of them cannot be used.
    """
    from collegium import provider_command  # noqa: PLC0415 - keeps --help fast

    settings = _settings()
    is_well = True
    with _app_context(settings) as (database, vault):
        try:
            for row, checks in provider_command.checked(database, settings, vault, names):
                for check in checks:
                    sign = "warn" if check.warns else "ok  " if check.is_well else "BAD "
                    click.echo(f"{sign} {row.name}: {check.text}")
                    is_well = is_well and check.is_well
        except provider_command.UnfitProviderError as error:
            _stop(str(error), 2)
    if not is_well:
        raise SystemExit(1)


@provider.command("unlink")
@click.argument("name")
@click.argument("username")
@click.option("--force", is_flag=True, help="Also remove the only way to sign in.")
def unlink_person(name: str, username: str, *, force: bool) -> None:
    """Remove the sign-in methods of the account USERNAME at the provider NAME.

    It is for a person whom the provider does not recognise any more, because it calls them by
    another identifier now. Sessions that came of them end. Exit with 1 if there is none, and with 2
    if it is their only way to sign in.
    """
    from collegium import provider_command  # noqa: PLC0415 - keeps --help fast

    settings = _settings()
    with _app_context(settings) as (database, _vault):
        try:
            number = provider_command.unlink(database, settings, name, username, force=force)
        except provider_command.UnfitProviderError as error:
            _stop(str(error), 2)
    if not number:
        _stop(f"{username} has no sign-in method at {name}.", 1)
    click.echo(f"Removed. {username} is recognised again at the next sign-in.")


@main.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--scope", required=True, help="UUID or URL of the organisation or project.")
@click.option("--as", "username", required=True, help="User name of the account that invites.")
@click.option("--role", default="", help="Role of rows that name none.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Name or number of the column of a field, such as email=3; several times.",
)
@click.option("--dry-run", is_flag=True, help="Judge the file and change nothing.")
def import_people(
    file: Path, scope: str, username: str, role: str, columns: tuple[str, ...], *, dry_run: bool
) -> None:
    """Invite the people of a CSV or XLSX file, and report what cannot be done.

    The same file again invites nobody twice, and goes on where it was stopped.
    Exit with 1 if rows were malformed or refused, or if somebody stopped the import; with 2 if
    nothing could be done.
    """
    from collegium import import_command  # noqa: PLC0415 - keeps --help fast

    settings = _settings()
    mapping: dict[str, str | int] = {}
    for text in columns:
        field, separator, column = text.partition("=")
        if not separator:
            _stop(f"--column must be like email=3, not {text}", 2)
        mapping[field] = int(column) if column.isascii() and column.isdigit() else column
    with _app_context(settings) as (database, _vault):
        try:
            actor, judged = import_command.judge(
                database, settings, file, username, scope, role, mapping
            )
            for line in import_command.details(judged.rows):
                click.echo(line)
            found = import_command.counts(judged.rows)
            if not dry_run:
                found = import_command.run(database, settings, actor, judged, _show_progress)
        except import_command.UnfitImportError as error:
            _stop(str(error), 2)
    for line in import_command.summary(found):
        click.echo(line)
    if not dry_run and import_command.is_stopped(found):
        _stop("the import was stopped. The same command goes on with it.", 1)
    if import_command.has_faults(found):
        raise SystemExit(1)


def _show_progress(found: Mapping[str, int]) -> None:
    """Show at a terminal how many people are invited."""
    if sys.stderr.isatty():
        done, waiting = found.get("created", 0), found.get("waiting", 0)
        end = "" if waiting else "\n"
        click.echo(f"\r{done} of {done + waiting} invited", err=True, nl=False)
        click.echo(end, err=True, nl=False)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(*, as_json: bool) -> None:
    """Check the installation, one line for each check. Exit with 1 if a check fails."""
    from collegium import doctor as examination  # noqa: PLC0415 - only `doctor` needs it

    findings = examination.examine(os.environ)
    is_well = all(finding.well for finding in findings)
    if as_json:
        checks = [
            {"check": finding.what, "result": finding.result, "text": finding.text}
            for finding in findings
        ]
        click.echo(json.dumps({"well": is_well, "checks": checks}, ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.result:<4} {finding.what}: {finding.text}")
    if not is_well:
        raise SystemExit(1)


@main.command()
def demo() -> None:
    """Fill an empty database with a small, realistic data set.

    Exit with 3 if it has accounts already.
    """
    from collegium import demo as demo_data  # noqa: PLC0415 - only `demo` needs it

    settings = _settings()
    with _app_context(settings) as (database, vault):
        try:
            data = demo_data.fill(database, settings, vault)
        except demo_data.NotEmptyError:
            _stop(
                "the database already has accounts. Demo data needs an empty database.", NOT_EMPTY
            )
    click.echo(demo_data.hint(settings.base_url, data))
