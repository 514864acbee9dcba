"""Imports of two nodes, and what others do to an import while a worker is at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from collegium.access import queries as access_queries
from collegium.accounts import actions as account_actions
from collegium.db.database import Database, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import imports, invitations
from collegium.imports import actions as import_actions
from collegium.imports import queries as import_queries
from tests.imports.scene import state, states, upload, work
from tests.races.conftest import outcome
from tests.races.test_waiting import _all_wait, overlap
from tests.support.world import Person, Place, World

FILE = "email,role\n" + "".join(f"p{number}@uni.example,project member\n" for number in range(9))

_INVITED = Statement[str](select(invitations.c.email))
_IMPORTS = Statement[int](select(imports.c.id))


@pytest.fixture
def manager(world: World) -> Person:
    return world.person("mona")


@pytest.fixture
def project(world: World, manager: Person) -> Place:
    project = world.project(world.organisation(owner=world.person("olga")))
    world.give_role(manager, "PROJECT.MANAGER", project)
    return project


def start(world: World, who: Person, project: Place, content: str = FILE) -> str:
    uuid = upload(world, who, project, content.encode())
    with world.database.write() as tx:
        import_actions.start(tx, who.actor, uuid, None)
    return uuid


def run_beside_worker(world: World, other: Callable[[WriteTransaction], Any]) -> Any:
    """Run a batch of the worker; when it has its import, begin another action, which waits."""
    database: Database = world.database

    def do() -> Any:
        with database.write() as tx:
            return other(tx)

    with ThreadPoolExecutor(1) as pool:
        with database.write() as tx:
            assert import_queries.jobs.lock_next_busy(tx) is not None
            later = pool.submit(outcome, do)
            end = time.monotonic() + 5
            while not _all_wait(database, [later]) and time.monotonic() < end:
                time.sleep(0.01)
            assert import_actions.run_next(tx, world.settings)
        return later.result(timeout=20)


def test_two_imports_of_the_same_people_invite_each_once(
    world: World, manager: Person, project: Place
) -> None:
    first = start(world, manager, project)
    second = start(world, manager, project, f"{FILE}more@uni.example,project member\n")
    run_next = partial(import_actions.run_next, settings=world.settings)
    assert overlap(world.database, run_next, run_next) == [True]
    work(world)
    with world.database.read() as tx:
        invited = tx.fetch_all(_INVITED)
    assert len(invited) == len(set(invited)) == 10
    assert states(world, first) == {"created": 9}
    assert states(world, second) == {"invited": 9, "created": 1}


def test_upload_waits_for_the_undo_of_its_import(
    world: World, manager: Person, project: Place
) -> None:
    uuid = start(world, manager, project)
    work(world)
    with world.database.read() as tx:
        access = access_queries.get_visible(tx, manager.actor, project.kind, project.uuid)
    judged = import_actions.judge_file(
        world.database.read, manager.actor, world.settings, access, FILE.encode()
    )
    with world.database.write() as tx:
        import_actions.undo(tx, manager.actor, uuid)
    store = partial(import_actions.store, actor=manager.actor, judged=judged)
    assert run_beside_worker(world, store) == (uuid, False)
    assert state(world, uuid) == "judged"


def test_deletion_of_the_importer_waits_for_the_batch(
    world: World, manager: Person, project: Place
) -> None:
    start(world, manager, project)
    delete = partial(account_actions.delete, actor=world.staff.actor, uuid=manager.uuid)
    assert run_beside_worker(world, delete) is None
    with world.database.read() as tx:
        assert tx.fetch_all(_IMPORTS) == []
        assert len(tx.fetch_all(_INVITED)) == 9
