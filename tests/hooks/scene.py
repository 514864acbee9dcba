"""Shared by the tests of hooks: an endpoint, and a worker whose clock the test moves."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import select, update

from collegium.db.statements import Statement
from collegium.db.tables import accounts, hooks, outbox
from collegium.hooks import queries as hook_queries
from collegium.hooks.queries import Delivery, HookRow
from collegium.settings import Settings
from collegium.text.email_addresses import comparable_address
from collegium.worker.worker import Worker
from tests.support.remote import SECRET, Answering, Asked, Temper, says
from tests.support.site import Site
from tests.support.world import Person, Place, World
from tests.worker.scene import Clock, Recorder

WEB: Final = "/api/hooks-web/"
EMAIL: Final = "/api/hooks-email/"
HOOKS: Final = "/api/hooks/"


class Endpoint(Answering):
    """The program of somebody that gets events; ``reply`` answers."""

    def __init__(self) -> None:
        super().__init__()
        self.reply: Temper = says({}, 204)
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.was_called = threading.Event()

    @property
    def url(self) -> str:
        return f"{self.base}/hook?token={SECRET}"

    @property
    def documents(self) -> list[Any]:
        return [json.loads(body) for body in self.bodies]

    def answer(self, asked: Asked) -> None:
        assert (asked.command, asked.path) == ("POST", f"/{SECRET}/hook?token={SECRET}")
        self.headers.append(dict(asked.headers.items()))
        self.bodies.append(asked.body)
        self.was_called.set()
        self.reply(asked)


class Scene:
    """An organisation with its people, an endpoint, and the worker.

    Args:
        settings: they name the endpoint as one that may be internal.
    """

    def __init__(self, world: World, site: Site, settings: Settings, endpoint: Endpoint) -> None:
        self.world, self.site, self.endpoint = world, site, endpoint
        self.settings = settings
        self.clock = Clock(datetime.now(UTC))
        self.recorder = Recorder()
        self.worker = Worker(world.database, settings, world.vault, self.recorder, clock=self.clock)
        self.owner = world.person("owner")
        self.member = world.person("member")
        self.stranger = world.person("stranger")
        self.organisation = world.organisation("Royal Society", owner=self.owner)
        self.project = world.project(self.organisation, "Analytical Engines")
        world.give_role(self.member, "PROJECT.MEMBER", self.project)

    def add_web(self, person: Person, *groups: str, **values: Any) -> Any:
        body = {"destination_url": self.endpoint.url, "event_groups": list(groups), **values}
        response = self.site.post(WEB, person, json=body)
        assert response.status_code == 201, response.text
        return response.json()

    def add_email(self, person: Person, *groups: str, **values: Any) -> Any:
        body = {"email": person.email, "event_groups": list(groups), **values}
        response = self.site.post(EMAIL, person, json=body)
        assert response.status_code == 201, response.text
        return response.json()

    def invite(self, email: str = "bob@example.org") -> str:
        return self.world.invite(self.owner, email, "PROJECT.MEMBER", self.project)

    def rename(self, place: Place, name: str) -> None:
        response = self.site.request("PATCH", place.path, self.world.staff, json={"name": name})
        assert response.status_code == 200, response.text

    def change_address(self, person: Person, email: str) -> None:
        values = {"email": email, "email_comparable": comparable_address(email)}
        with self.world.database.write() as tx:
            tx.execute(Statement(update(accounts).where(accounts.c.id == person.id).values(values)))

    def run(self, **passed: float) -> int:
        """Let time pass, then run the worker once."""
        self.clock.now = max(self.clock.now, datetime.now(UTC))
        self.clock.forward(**passed)
        return self.worker.once()

    def row(self, uuid: str) -> HookRow:
        with self.world.database.read() as tx:
            number = tx.fetch_only(Statement[int](select(hooks.c.id).where(hooks.c.uuid == uuid)))
            row = hook_queries.by_id(tx, number)
        assert row is not None
        return row

    def deliveries(self, uuid: str) -> list[Delivery]:
        """Return the deliveries of a hook, the oldest first."""
        number = self.row(uuid).id
        with self.world.database.read() as tx:
            return hook_queries.deliveries(tx, number, 100)[::-1]

    def entries(self) -> list[Any]:
        with self.world.database.read() as tx:
            return tx.fetch_all(Statement[Any](select(outbox).order_by(outbox.c.id)))

    def mails(self, kind: str) -> list[Any]:
        return [mail for mail in self.recorder.sent if mail["X-Collegium-Mail"] == kind]
