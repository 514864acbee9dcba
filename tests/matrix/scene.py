"""Two tenants of the same shape in one database, which is restored after each action."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from argon2 import PasswordHasher
from sqlalchemy import bindparam, select, update

from collegium.access.rules import ScopeKind
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.mail_preferences.rules import UNSUBSCRIBE
from collegium.agreements import actions as agreement_actions
from collegium.agreements import queries as agreement_queries
from collegium.bulk_changes.rules import Change
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts as account_table
from collegium.db.tables import grants, invitations, metadata, pictures, tokens
from collegium.db.tables import groups as group_table
from collegium.events import queries as event_queries
from collegium.hooks.rules import Kind
from collegium.invitations import approvals, links
from collegium.memberships import queries as membership_queries
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import MailTest
from collegium.reviews import queries as review_queries
from collegium.reviews import rules as review_rules
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups.actions import MemberChange
from collegium.security.crypto import Vault
from collegium.settings import load
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.passwords import actions as password_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import sessions as session_actions
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from tests.access.test_visibility import add_role
from tests.bulk_changes.scene import choose
from tests.claim_rules.scene import add_rule
from tests.conftest import KEY, open_database
from tests.imports.scene import add_import
from tests.roles.scene import add_availability
from tests.support.hooks import add_hook
from tests.support.openid.hostile import HostileProvider
from tests.support.passkeys import add_passkey
from tests.support.remote import new_key
from tests.support.site import Site
from tests.support.world import Person, Place, World

PASSWORD: Final = "purple tram lifts nine"
COLUMNS: Final = (
    *("nobody", "stranger", "sibling", "invitee", "member", "manager", "owner", "support", "staff"),
)
CALLERS: Final = {name: (name,) for name in COLUMNS} | {
    "stranger": ("stranger", "former", "lapsed")
}
"""The callers of each column. An account whose grants have ended is a stranger."""

OUTSIDE: Final = frozenset({"nobody", "stranger", "former", "lapsed", "support", "staff"})
"""Callers without a tenant."""


@dataclass
class Tenant:
    """An organisation with its members, a group with others, and their objects by name."""

    name: str
    organisation: Place
    project: Place
    sibling_project: Place
    tree: dict[str, Person]
    group: dict[str, Person]
    objects: dict[str, str] = field(
        default_factory=lambda: {"provider": "campus", "unknown provider": "unknown"}
    )

    def person(self, name: str, *, in_group: bool) -> Person:
        return (self.group if in_group else self.tree)[name]


class Scene:
    """The tenants, their sessions, and the other callers."""

    backup: "_SQLiteBackup | _PostgreSQLBackup"

    def __init__(self, url: str) -> None:
        self._running = HostileProvider().running()
        self.openid = next(self._running)
        self.settings = load(
            {
                "COLLEGIUM_OUTGOING_INTERNAL_HOSTS": self.openid.host,
                "COLLEGIUM_DATABASE_URL": url,
                "COLLEGIUM_SECRET_KEY": KEY,
                "COLLEGIUM_RATE_LIMITS": "false",
            }
        )
        self.database, self.vault = open_database(url), Vault(KEY)
        self.site = Site(self.settings, self.database, self.vault)
        self.world = World(self.database, self.settings, self.vault)
        # Hundreds of cells sign in.
        self._hashed = PasswordHasher(1, 8, 1).hash(PASSWORD)
        self.outside: dict[str, Person | None] = {
            "nobody": None,
            "stranger": self._person("stranger"),
            "former": self._person("former"),
            "lapsed": self._person("lapsed"),
            "support": self._person("support", is_support=True),
            "staff": self._person("chief", is_staff=True),
        }
        with self.database.write() as tx:
            add_role(tx, "CUSTOM.UNUSED", ScopeKind.PROJECT, ())
        self.world.provider()
        self.objects = {
            "role": self.world.role("CUSTOM.UNUSED").uuid,
            "mail template": uuid5(NAMESPACE_URL, "users/invitation_created_message.html").hex,
            "mail": self._test_mail(),
            "rule": add_rule(self.world, self.world.organisation("Rules"), "CUSTOMER.OWNER"),
        }
        """Objects without a tenant by name."""
        self.tenants = [self._tenant(name) for name in ("amber", "basalt")]
        self.sessions = {
            person.uuid: self._session(person) for person in self.everybody() if person is not None
        }
        # Published after the sign-ins, so that nobody is asked to agree before anything else.
        with self.database.write() as tx:
            text = {"kind": "privacy", "content": "We keep little."}
            uuid = agreement_actions.publish(tx, self.world.staff.actor, text)
            self.agreement = agreement_queries.current(tx)[0].id
        for tenant in self.tenants:
            tenant.objects["agreement"] = uuid
        # The last use of a token must not change during the tests.
        self._update(tokens, last_used_at=datetime.now(UTC) + timedelta(hours=1))
        self._update(account_table, modified_at=datetime.now(UTC))
        self._url = url
        self.keep()

    def close(self) -> None:
        next(self._running, None)
        self.backup.close()
        self.database.close()

    def everybody(self) -> Iterable[Person | None]:
        yield from self.outside.values()
        for tenant in self.tenants:
            yield from (*tenant.tree.values(), *tenant.group.values())

    def caller(self, name: str, *, in_group: bool) -> Person | None:
        """Return a caller; those with a tenant belong to the first."""
        if name in OUTSIDE:
            return self.outside[name]
        return self.tenants[0].person(name, in_group=in_group)

    def cookies(self, caller: Person | None) -> tuple[dict[str, str], str]:
        """Return the cookies of a browser, and the token of its forms."""
        if caller is not None:
            secret = self.sessions[caller.uuid]
            return {"collegium_session": secret}, self.vault.derive_code("form", secret)
        secret = self.vault.sign("form", uuid4().hex, int(datetime.now(UTC).timestamp()))
        return {"collegium_form": secret}, self.vault.derive_code("form", secret)

    def contents(self, tables: Iterable[str] = ()) -> dict[str, list[Any]]:
        """Return the rows of some tables, or of all, by table."""
        with self.database.read() as tx:
            return {name: tx.fetch_all(_ALL_ROWS[name]) for name in tables or _ALL_ROWS}

    def has_changed(self) -> bool:
        return self.backup.touched() and self.backup.has_changed()

    def restore(self) -> None:
        self.backup.restore()

    def keep(self) -> None:
        """Save the current rows for `restore`."""
        is_sqlite = self.database.is_sqlite
        if "backup" in vars(self):
            self.backup.close()
        self.backup = _SQLiteBackup(self._url) if is_sqlite else _PostgreSQLBackup(self.database)

    def _person(self, name: str, **values: Any) -> Person:
        return self.world.person(name, password=self._hashed, **values)

    def _test_mail(self) -> str:
        staff = self.world.staff.actor
        with self.database.write() as tx:
            return str(outbox_queries.enqueue(tx, MailTest(staff.email, staff.id)))

    def _session(self, person: Person) -> str:
        with self.database.write() as tx:
            return session_actions.begin(tx, self.vault, person.actor, "password", "a test")

    def seen(self, tenant: Tenant, role: str) -> str:
        """Return what the page of a review has shown, in the scope of a role."""
        scope = {
            "GROUP.MEMBER": int(tenant.objects["group"]),
            "CUSTOMER.OWNER": tenant.organisation.id,
            "PROJECT.MEMBER": tenant.project.id,
        }[role]
        with self.database.read() as tx:
            return review_rules.fingerprint(review_queries.current_roles(tx, scope))

    def _update(self, table: Any, **values: Any) -> None:
        with self.database.write() as tx:
            tx.execute(Statement(update(table).values(**values)))

    def _tenant(self, name: str) -> Tenant:
        world = self.world
        roles_of = ("owner", "coowner", "manager", "member", "colleague", "sibling", "invitee")
        tree = {role: self._person(f"{name}{role}") for role in roles_of}
        group = {role: self._person(f"{name}club{role}") for role in roles_of}
        organisation = world.organisation(f"{name.title()} Society", owner=tree["owner"])
        project = world.project(organisation, f"{name.title()} Engine")
        sibling = world.project(organisation, f"{name.title()} Garden")
        for caller, role, place in (
            ("coowner", "CUSTOMER.OWNER", organisation),
            ("manager", "PROJECT.MANAGER", project),
            ("member", "PROJECT.MEMBER", project),
            ("colleague", "PROJECT.MEMBER", project),
            ("sibling", "PROJECT.MEMBER", sibling),
        ):
            world.give_role(tree[caller], role, place)
        for caller in ("former", "lapsed"):
            person = self.outside[caller]
            assert person is not None
            for role, place in (("CUSTOMER.OWNER", organisation), ("PROJECT.MANAGER", project)):
                world.give_role(person, role, place)
                if caller == "former":
                    world.remove_role(person, role, place)
                else:
                    self._lapse(person)
        tenant = Tenant(name, organisation, project, sibling, tree, group)
        self._fill(tenant)
        self._fill_group(tenant)
        return tenant

    def _lapse(self, person: Person) -> None:
        """End the grants of an account by their date, before a worker records it."""
        ended = datetime.now(UTC) - timedelta(microseconds=1)
        with self.database.write() as tx:
            tx.execute(_LAPSE, account=person.id, at=ended)

    def _fill(self, tenant: Tenant) -> None:
        world, tree, objects = self.world, tenant.tree, tenant.objects
        owner, colleague, invitee = tree["owner"], tree["colleague"], tree["invitee"]
        project, organisation = tenant.project, tenant.organisation
        objects |= {
            "organisation": organisation.uuid,
            "project": project.uuid,
            "account": colleague.uuid,
            "account number": str(colleague.id),
            "invitation": world.invite(owner, invitee.email, "PROJECT.ADMIN", project),
            "ownership": world.invite(world.staff, invitee.email, "CUSTOMER.OWNER", organisation),
            "link": world.create_link(owner, "PROJECT.ADMIN", project),
            "organisation's link": world.create_link(world.staff, "CUSTOMER.OWNER", organisation),
            "grant": self._grant(colleague, project),
            "organisation's grant": self._grant(tree["coowner"], organisation),
            "deleted project": world.deleted_project(organisation),
        }
        objects["availability"], objects["concealment"] = add_availability(
            world, tenant.organisation
        )
        objects["request"] = world.ask(invitee, objects["link"], f"{tenant.name} message")
        for person in (*tree.values(), *filter(None, self.outside.values())):
            if person.uuid not in objects:
                with self.database.write() as tx:
                    own = ssh_key_actions.create(tx, person.actor, parse(new_key()), tenant.name)
                    hooks = {kind: add_hook(tx, person, kind) for kind in Kind}
                objects[f"key of {person.uuid}"] = own
                for kind, uuid in hooks.items():
                    objects[f"{kind} hook of {person.uuid}"] = uuid
        for name in ("key", *(f"{kind} hook" for kind in Kind)):
            objects[name] = objects[f"{name} of {colleague.uuid}"]
        objects["organisation's import"] = add_import(
            world, world.staff, organisation, "judged", "xowner"
        )
        for state in ("done", "running", "judged"):
            objects[f"{state} import"] = add_import(world, owner, project, state, f"x{state}")
        staff = self.outside["staff"]
        assert staff is not None
        objects["organisation's bulk change"] = choose(
            world, staff, organisation, Change.CANCEL, [objects["ownership"]]
        )
        objects["bulk change"] = choose(
            world, owner, project, Change.CANCEL, [objects["invitation"]]
        )
        with self.database.write() as tx:
            for name, place in (("", project), ("organisation's ", organisation)):
                objects[f"{name}review"] = str(review_queries.add(tx, place.id))
            filters = {"related": colleague.uuid, "project": project.uuid}
            (event,) = event_queries.listing.page(tx, world.staff.actor, filters, (), 2, 0)
            objects["event"] = event.uuid
            _, number = token_actions.issue_personal(tx, self.vault, colleague.actor, tenant.name)
            objects["token"] = str(number)
            objects["passkey"] = add_passkey(tx, tree["coowner"].id)
            objects["refresh"] = token_actions.log_in_with_refresh(
                tx, self.vault, colleague.actor, "password"
            ).refresh
            waiting = device_actions.begin(tx, self.vault, tenant.name)
            objects |= {"device": waiting.uuid, "device code": waiting.device_code}
            new = f"{tenant.name}.new@example.org"
            email_change_actions.request_change(
                tx, colleague.actor, self.settings, self.vault, colleague.uuid, new
            )
            objects["address code"] = self.vault.derive_code(colleague.id, new, tx.now.isoformat())
            objects["address cancel code"] = email_change_actions.cancel_code(
                self.vault, colleague.id, colleague.email, 0
            )
            picture = uuid4().hex
            tx.execute(
                Statement(pictures.insert()),
                uuid=picture,
                media_type="image/png",
                data=b"a picture",
                created_at=tx.now,
            )
            account_queries.change(tx, colleague.id, {"picture": picture})
            objects["picture"] = picture
            account = account_queries.with_password(tx, id=colleague.id)
            assert account is not None
            objects["password link"] = password_actions.link(self.vault, account, tx.now)
        objects["unsubscribe link"] = self.vault.sign(UNSUBSCRIBE, colleague.uuid, "role_granted")
        objects["mailed link"] = self.vault.sign(links.MAILED, objects["invitation"], 1)
        objects["waiting"] = self._waiting(tenant)
        for purpose in (approvals.APPROVE, approvals.REJECT):
            now = int(datetime.now(UTC).timestamp())
            objects[purpose] = self.vault.sign(
                purpose, world.staff.uuid, objects["waiting"], 1, now
            )

    def _waiting(self, tenant: Tenant) -> str:
        """Create an invitation that needs approval."""
        world, settings = self.world, self.world.settings
        world.settings = replace(settings, only_staff_can_invite_users=True)
        address = f"{tenant.name}.waiting@example.org"
        uuid = world.invite(tenant.tree["owner"], address, "PROJECT.MEMBER", tenant.project)
        world.settings = settings
        return uuid

    def _fill_group(self, tenant: Tenant) -> None:
        people, objects = tenant.group, tenant.objects
        former, lapsed = self.outside["former"], self.outside["lapsed"]
        assert former is not None
        assert lapsed is not None
        with self.database.write() as tx:
            number = group_actions.create(tx, people["owner"].actor, f"{tenant.name.title()} Club")
            other = group_actions.create(tx, people["sibling"].actor, f"{tenant.name} annex")
            objects |= {"group": str(number), "other group": str(other)}
            objects["group's review"] = str(review_queries.add(tx, number))
            for person, role in (
                (people["coowner"], "GROUP.OWNER"),
                (people["manager"], "GROUP.MANAGER"),
                (people["member"], "GROUP.MEMBER"),
                (people["colleague"], "GROUP.MEMBER"),
                (former, "GROUP.LEAD"),
            ):
                row: Any = role_queries.by_name_or_uuid(tx, role, None, {"group"})
                membership_queries.grant(tx, uuid4().hex, person.id, row.id, number, None, None)
            held: Any = membership_queries.grant_in_scope(tx, former.id, number)
            membership_queries.end(tx, held.id, None)
            invitee = people["invitee"]
            objects["group's request"] = str(
                UUID(str(group_actions.join(tx, invitee.actor, number)[0].uuid))
            )
            reached = group_actions.lock_group_and_authorise(tx, people["owner"].actor, number)
            wish = [MemberChange(invitee.email)]
            group_actions.change(tx, people["owner"].actor, self.settings, reached, None, wish)
            uuid = tx.fetch_only(_INVITED, email=invitee.email)
            objects["group's invitation"] = str(UUID(str(uuid)))
            held = membership_queries.grant_in_scope(tx, people["colleague"].id, number)
            objects["group's grant"] = str(held.uuid)
            objects["group member's number"] = str(people["colleague"].id)
        objects["group's bulk change"] = choose(
            self.world, people["owner"], number, Change.REMOVE, [objects["group's grant"]]
        )
        now = datetime.now(UTC)
        with self.database.write(now - timedelta(days=2)) as tx:
            lead: Any = role_queries.by_name_or_uuid(tx, "GROUP.LEAD", None, {"group"})
            ended = now - timedelta(days=1)
            membership_queries.grant(tx, uuid4().hex, lapsed.id, lead.id, number, ended, None)

    def _grant(self, person: Person, place: Place) -> str:
        with self.database.read() as tx:
            return next(
                str(row.uuid)
                for row in membership_queries.of_account(tx, person.id)
                if row.scope_id == place.id
            )

    @cached_property
    def grants(self) -> dict[str, str]:
        """The first grant of each account."""
        uuids = {}
        with self.database.read() as tx:
            for person in filter(None, self.everybody()):
                rows = membership_queries.of_account(tx, person.id)
                if rows:
                    uuids[person.uuid] = str(rows[0].uuid)
        return uuids


_LAPSE = Statement(
    update(grants)
    .where(grants.c.account_id == bindparam("account"), grants.c.ended_at.is_(None))
    .values(valid_until=bindparam("at"))
)
_INVITED = Statement[str](
    select(invitations.c.uuid)
    .join(group_table, group_table.c.scope_id == invitations.c.scope_id)
    .where(invitations.c.email == bindparam("email"))
)
_COMPARED: Final = {
    table.name: [c.name for c in table.c if (table.name, c.name) != ("tokens", "last_used_at")]
    for table in metadata.sorted_tables
    if table.name != "rate_limits"
}
"""Names of the columns that are compared, by table."""
_ALL_ROWS = {
    name: Statement(
        select(*(metadata.tables[name].c[column] for column in columns)).order_by(
            *metadata.tables[name].primary_key.columns
        )
    )
    for name, columns in _COMPARED.items()
}


def _copy_of(table: str) -> str:
    return f"copy_{table}"


def _is_replaced(table: str) -> str:
    """Return a condition for the rows of a table of SQLite that differ from the copies."""
    columns = metadata.tables[table].primary_key.columns if table in metadata.tables else ()
    if not columns:
        return "true"
    key = ", ".join(column.name for column in columns)
    changed = f"SELECT * FROM main.{table} EXCEPT SELECT * FROM copies.{_copy_of(table)}"
    return f"({key}) IN (SELECT {key} FROM ({changed}))"


def _differs(table: str, columns: str = "*") -> str:
    """Return SQL with a row if a table of SQLite differs from its copy."""
    copy = f"copies.{_copy_of(table)}"
    return f"""
        SELECT 1 WHERE (SELECT count(*) FROM main.{table}) <> (SELECT count(*) FROM {copy})
        OR EXISTS (SELECT {columns} FROM main.{table} EXCEPT SELECT {columns} FROM {copy})
    """


class _SQLiteBackup:
    """Copies of the tables in memory.

    Only rows that differ are written back: a copy of the whole file would make every connection
    read the schema and plan its statements anew. Triggers note the tables that are written, because
    most requests write few of them and to compare all takes as long as a request.
    """

    _NOTED: Final = [
        # Row counts last: the triggers of the others change them.
        *(table.name for table in metadata.sorted_tables if table.name != "row_counts"),
        "row_counts",
    ]
    _TABLES: Final = [*_NOTED, "sqlite_sequence"]

    def __init__(self, url: str) -> None:
        path = url.removeprefix("sqlite:///")
        self._live = sqlite3.connect(
            path, check_same_thread=False, isolation_level=None, cached_statements=500
        )
        self._run("PRAGMA synchronous = OFF")
        self._run("ATTACH ':memory:' AS copies")
        self._run("BEGIN IMMEDIATE")
        self._run("CREATE TABLE IF NOT EXISTS main.written (name TEXT PRIMARY KEY) WITHOUT ROWID")
        for name in self._NOTED:
            for action in ("INSERT", "UPDATE", "DELETE"):
                self._run(_NOTE.format(name=name, action=action))
        for name in self._TABLES:
            self._run(f"CREATE TABLE copies.{_copy_of(name)} AS SELECT * FROM main.{name}")
        self._run("DELETE FROM main.written")
        self._run("COMMIT")
        self._seen = self._version()

    def close(self) -> None:
        self._live.close()

    def _run(self, text: str) -> sqlite3.Cursor:
        return self._live.execute(text)

    def _version(self) -> int:
        return int(self._run("PRAGMA data_version").fetchone()[0])

    def _written(self) -> set[str]:
        """Return the names of the tables that were written since the last restore."""
        return {name for (name,) in self._run("SELECT name FROM main.written")}

    def touched(self) -> bool:
        """Return whether a transaction has written since the last call."""
        before, self._seen = self._seen, self._version()
        return before != self._seen

    def has_changed(self) -> bool:
        """Return whether compared rows differ from the copies."""
        return any(
            self._run(_differs(name, ", ".join(_COMPARED[name]))).fetchone()
            for name in self._written() & _COMPARED.keys()
        )

    def restore(self) -> None:
        self._run("BEGIN IMMEDIATE")
        written = self._written() | {"row_counts", "sqlite_sequence"}
        for name in [name for name in self._TABLES if name in written]:
            if self._run(_differs(name)).fetchone():
                self._run(f"DELETE FROM main.{name} WHERE {_is_replaced(name)}")
                copied = f"SELECT * FROM copies.{_copy_of(name)}"
                self._run(f"INSERT OR IGNORE INTO main.{name} {copied}")
        self._run("DELETE FROM main.written")
        self._run("COMMIT")
        self._seen = self._version()


_NOTE: Final = """
    CREATE TRIGGER IF NOT EXISTS main.written_{name}_{action} AFTER {action} ON {name}
    WHEN NOT EXISTS (SELECT 1 FROM written WHERE name = '{name}')
    BEGIN INSERT INTO written VALUES ('{name}'); END
"""
"""``OR IGNORE`` would not do: the statement that fires a trigger decides about its conflicts."""


_CHANGED: Final = """
    IF (SELECT count(*) FROM public.{name}) <> (SELECT count(*) FROM stage.{name}) OR EXISTS (
        SELECT ROW({columns})::text FROM public.{name} WHERE xmin::text::bigint > kept
        EXCEPT SELECT ROW({columns})::text FROM stage.{name}
    )
    THEN
        RETURN true;
    END IF;
"""
_RESTORED: Final = """
    IF (SELECT count(*) <> (SELECT count(*) FROM stage.{name})
        OR coalesce(bool_or({changed}), false) FROM public.{name})
    THEN
        DELETE FROM public.{name} WHERE {replaced};
        INSERT INTO public.{name} SELECT * FROM stage.{name} ON CONFLICT DO NOTHING;
    END IF;
"""
"""A row that was written since the last time has the number of a later transaction.

Only such rows are replaced: every replaced row is one more dead row that later queries read.
"""


class _PostgreSQLBackup:
    """Copies of the tables in another schema."""

    def __init__(self, database: Database) -> None:
        self._connection = database.engine.raw_connection()
        self._cursor = self._connection.cursor()
        # Once: a connection that changes this forgets all plans.
        self._run("SET session_replication_role = replica")
        self._run("DROP SCHEMA IF EXISTS stage CASCADE")
        self._run("CREATE SCHEMA stage")
        for table in metadata.sorted_tables:
            self._run(f"CREATE TABLE stage.{table.name} AS TABLE public.{table.name}")
        restored = "".join(
            _RESTORED.format(
                name=table.name,
                changed="xmin::text::bigint > kept",
                replaced="xmin::text::bigint > kept" if table.primary_key.columns else "true",
            )
            for table in metadata.sorted_tables
        )
        changed = "".join(
            _CHANGED.format(name=name, columns=", ".join(columns))
            for name, columns in _COMPARED.items()
        )
        # Without foreign keys the order of tables does not matter.
        self._run(
            f"""
            CREATE TABLE stage.last AS SELECT pg_current_xact_id()::text::bigint AS number;
            CREATE FUNCTION stage.restore() RETURNS void LANGUAGE plpgsql AS $$
            DECLARE kept bigint := (SELECT number FROM stage.last);
            BEGIN
                {restored}
                UPDATE stage.last SET number = pg_current_xact_id()::text::bigint;
            END $$;
            CREATE FUNCTION stage.has_changed() RETURNS boolean LANGUAGE plpgsql AS $$
            DECLARE kept bigint := (SELECT number FROM stage.last);
            BEGIN
                {changed}
                RETURN false;
            END $$
            """
        )
        self._seen = self._version()

    def close(self) -> None:
        self._connection.close()

    def _run(self, text: str) -> None:
        self._cursor.execute(text)

    def _version(self) -> str:
        # Only a transaction that writes takes a number.
        self._run("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
        return str(self._cursor.fetchone())

    def touched(self) -> bool:
        before, self._seen = self._seen, self._version()
        return before != self._seen

    def has_changed(self) -> bool:
        self._run("SELECT stage.has_changed()")
        return self._cursor.fetchone() == (True,)

    def restore(self) -> None:
        self._run("SELECT stage.restore()")
        self._seen = self._version()
