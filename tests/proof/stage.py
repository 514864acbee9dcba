"""The same accounts and scopes in the model and in the database, and their comparison."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, event, func, select

from collegium.accounts.mail_preferences.rules import OPTIONAL
from collegium.db import tables
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import BigInt
from collegium.invitations import queries as invitation_queries
from collegium.join_requests import queries as join_request_queries
from collegium.scopes.groups import actions as group_actions
from collegium.security.crypto import Vault, hash_password
from collegium.settings import Settings
from collegium.worker.scheduler import Scheduler
from tests.proof.model import DAY, Roll
from tests.support.world import Person, World

PASSWORD = "correct horse battery staple"
START = datetime(2031, 3, 1, tzinfo=UTC)
PEOPLE = ("olga", "otto", "mia", "ada", "bob", "sue")
SCOPES = ("lab", "pro", "later", "band")
ROLES = {
    "lab": ("CUSTOMER.OWNER",),
    "pro": ("PROJECT.MANAGER", "PROJECT.MEMBER"),
    "later": ("PROJECT.MEMBER",),
    "band": ("GROUP.OWNER", "GROUP.MANAGER", "GROUP.MEMBER"),
}
STARTS = 12
"""The day on which the project ``later`` begins."""


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class KeptClock(Clock):
    """A clock that is written to a file, for a program to read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "now":
            # Renamed, because a reader must not see a part of it.
            new = self._path.with_suffix(".new")
            new.write_text(value.isoformat(), "ascii")
            new.replace(self._path)


class TrueClock:
    """The real clock."""

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


class LateClock(TrueClock):
    """The real clock, set forward."""

    later = 0.0
    """Seconds."""

    @property
    def now(self) -> datetime:
        return super().now + timedelta(seconds=self.later)


class Timed(Database):
    """A database with the clock of the test."""

    def __init__(self, url: str, clock: Clock | TrueClock) -> None:
        super().__init__(url, size=4)
        self._clock = clock
        if self.is_sqlite:
            # Durability is not tested here and costs time.
            pragma = "PRAGMA synchronous=OFF"
            event.listen(self.engine, "connect", lambda raw, _: raw.execute(pragma))

    def read(self, now: datetime | None = None) -> Any:
        return super().read(now or self._clock())

    def write(self, now: datetime | None = None) -> Any:
        return super().write(now or self._clock())


_newest = {
    name: Statement[int](
        select(func.coalesce(func.max(tables.metadata.tables[name].c.id), 0).label("id"))
    )
    for name in ("outbox", "scopes")
}
_scope = bindparam("scope", type_=BigInt)
_GRANTS = Statement[Any](
    select(
        tables.grants.c.account_id,
        tables.grants.c.scope_id,
        tables.grants.c.valid_until,
        tables.roles.c.name,
    )
    .join(tables.roles, tables.roles.c.id == tables.grants.c.role_id)
    .where(tables.grants.c.ended_at.is_(None), tables.grants.c.scope_id > _scope)
)
_INVITATIONS = Statement[Any](
    select(tables.invitations, tables.roles.c.name)
    .join(tables.roles, tables.roles.c.id == tables.invitations.c.role_id)
    .where(tables.invitations.c.scope_id > _scope)
)
_LINKS = Statement[Any](select(tables.invite_links).where(tables.invite_links.c.scope_id > _scope))
_REQUESTS = Statement[Any](
    select(tables.join_requests).where(tables.join_requests.c.scope_id > _scope)
)
_MAILS = Statement[Any](
    select(tables.outbox.c.kind, tables.outbox.c.recipient).where(
        tables.outbox.c.id > bindparam("mail", type_=BigInt)
    )
)
_TOKENS = Statement[Any](
    select(tables.tokens.c.account_id, tables.tokens.c.last_used_at).where(tables.API_TOKEN)
)


@dataclass
class Names:
    """The objects by their names in the model."""

    people: dict[str, Person] = field(default_factory=dict)
    scopes: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    invitations: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    in_groups: set[str] = field(default_factory=set)
    """The invitations and requests of a group."""


class Stage:
    """One database for many runs, each with its own accounts."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        vault: Vault,
        clock: Clock | TrueClock | None = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.vault = vault
        self.clock = clock or TrueClock()
        self.world = World(database, settings, vault)
        self.password = hash_password(PASSWORD)
        tree = ("CUSTOMER.OWNER", "PROJECT.MANAGER", "PROJECT.MEMBER")
        self.roles = {name: self.world.role(name).uuid for name in tree}
        self._pieces = count(1)

    def begin(self) -> Piece:
        """Start a new run, after the schedule has finished all earlier ones."""
        clock = self.clock
        if isinstance(clock, Clock):
            for _ in range(2):
                clock.now += timedelta(days=30)
                Scheduler(self.database, self.settings, clock).run()
            midnight = clock.now.replace(hour=0, minute=0, second=0, microsecond=0)
            clock.now = midnight + timedelta(days=1)
        return Piece(self, next(self._pieces))


class Piece:
    """The accounts and scopes of one run, in the model and in the database."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.stage = stage
        self.began = stage.clock.now
        self.model = Roll(staff_decide=stage.settings.only_staff_can_invite_users)
        self.names = Names()
        with stage.database.read() as tx:
            self._marks = {name: tx.fetch_only(statement) for name, statement in _newest.items()}
        self._cast(number)

    def _cast(self, number: int) -> None:
        world, model, names = self.stage.world, self.model, self.names
        names.people["staff"] = world.staff
        for name in PEOPLE:
            names.people[name] = world.person(
                f"{name}{number}", is_support=name == "sue", password=self.stage.password
            )
        for name in names.people:
            is_staff, is_support = name == "staff", name == "sue"
            model.people[name] = {"staff": is_staff, "support": is_support, "active": True}
        olga, otto, mia = (names.people[name] for name in ("olga", "otto", "mia"))
        lab = world.organisation(f"Lab {number}", owner=olga)
        starts = (self.began + timedelta(days=STARTS)).date()
        later = world.project(lab, start_date=starts)
        names.scopes = {"lab": lab, "pro": world.project(lab), "later": later}
        world.give_role(otto, "CUSTOMER.OWNER", lab)
        world.give_role(mia, "PROJECT.MANAGER", names.scopes["pro"])
        with self.stage.database.write() as tx:
            names.groups["band"] = group_actions.create(tx, olga.actor, f"Band {number}")
        for name, kind, parent in (
            ("lab", "organisation", None),
            ("pro", "project", "lab"),
            ("later", "project", "lab"),
            ("band", "group", None),
        ):
            start = STARTS if name == "later" else None
            model.scopes[name] = {"kind": kind, "parent": parent, "starts": start, "blocked": False}
        model.grants = {
            ("olga", "CUSTOMER.OWNER", "lab"): None,
            ("otto", "CUSTOMER.OWNER", "lab"): None,
            ("mia", "PROJECT.MANAGER", "pro"): None,
            ("olga", "GROUP.LEAD", "band"): None,
        }
        model.tokens = dict.fromkeys(PEOPLE, 0)

    def forward(self, seconds: int) -> None:
        """Move the clocks of both."""
        self.model.now += seconds
        assert isinstance(self.stage.clock, Clock)
        self.stage.clock.now = self.began + timedelta(seconds=self.model.now)

    def _seconds(self, moment: datetime | None) -> int | None:
        return None if moment is None else round((moment - self.began).total_seconds())

    def told(self, model: Roll | None = None) -> dict[str, Any]:
        """Return the state of the model."""
        model = model or self.model
        return {
            "grants": dict(model.grants),
            "invitations": {
                name: (
                    *(row[key] for key in ("state", "role", "voucher", "generation", "expires")),
                    *(row["told"], row["reminded"]),
                )
                for name, row in model.invitations.items()
            },
            "links": {name: row["closed"] for name, row in model.links.items()},
            "requests": {name: row["state"] for name, row in model.requests.items()},
            "mails": Counter(model.mails),
            "tokens": dict(model.tokens),
        }

    def current_state(self) -> dict[str, Any]:
        """Return the state of the database, in the form of ``told``."""
        names = self.names
        people = {person.id: name for name, person in names.people.items()}
        addresses = {person.email: name for name, person in names.people.items()}
        scopes = {place.id: name for name, place in names.scopes.items()}
        scopes |= {number: name for name, number in names.groups.items()}
        known = {
            uuid: name
            for uuids in (names.invitations, names.links, names.requests)
            for name, uuid in uuids.items()
        }
        with self.stage.database.read() as tx:
            mark = self._marks["scopes"]
            grants = tx.fetch_all(_GRANTS, scope=mark)
            rows = tx.fetch_all(_INVITATIONS, scope=mark)
            links = tx.fetch_all(_LINKS, scope=mark)
            requests = tx.fetch_all(_REQUESTS, scope=mark)
            mails = tx.fetch_all(_MAILS, mail=self._marks["outbox"])
            tokens = tx.fetch_all(_TOKENS)
        return {
            "grants": {
                (people[row.account_id], row.name, scopes[row.scope_id]): self._seconds(
                    row.valid_until
                )
                for row in grants
            },
            "invitations": {
                known.get(row.uuid, row.uuid): (
                    row.state,
                    row.name,
                    people.get(row.sponsor_id),
                    row.link_version,
                    self._seconds(row.expires_at),
                    row.expiry_notified_at is not None,
                    row.reminded_at is not None,
                )
                for row in rows
            },
            "links": {known.get(row.uuid, row.uuid): row.canceled_at is not None for row in links},
            "requests": {known.get(row.uuid, row.uuid): row.state for row in requests},
            "mails": Counter(
                (row.kind, addresses.get(row.recipient, row.recipient))
                for row in mails
                # The model does not know when notices about roles become e-mails.
                if row.kind not in OPTIONAL
            ),
            "tokens": {
                people[row.account_id]: self._seconds(row.last_used_at)
                for row in tokens
                if people.get(row.account_id, "staff") != "staff"
            },
        }

    def shown_to(self, who: str) -> set[str]:
        """Return the invitations and requests that the service lists for an account."""
        actor = self.names.people[who].actor
        known = {uuid: name for name, uuid in self.names.invitations.items()}
        known |= {uuid: name for name, uuid in self.names.requests.items()}
        with self.stage.database.read() as tx:
            rows = [
                row
                for listing in (
                    invitation_queries.listing,
                    invitation_queries.group_listing,
                    join_request_queries.listing,
                    join_request_queries.group_listing,
                )
                for row in listing.page(tx, actor, {}, (), 1000, 0)
            ]
        return {known[row.uuid] for row in rows if row.uuid in known}

    def to_be_shown_to(self, who: str) -> set[str]:
        """Return what the model lists for an account; of groups, only what is pending."""
        model = self.model
        names = set()
        for name, row in model.invitations.items():
            listed = model.scopes[row["scope"]]["kind"] != "group" or model.state(name) == "pending"
            if listed and model.sees_invitation(who, name):
                names.add(name)
        for name, row in model.requests.items():
            listed = model.scopes[row["scope"]]["kind"] != "group" or row["state"] == "pending"
            if listed and model.sees_request(who, name):
                names.add(name)
        return names


def check_end(days: int | None, clock: Clock | TrueClock) -> datetime | None:
    """Return the end of a grant of some days, or None."""
    return None if days is None else clock() + timedelta(seconds=days * DAY)
