"""The engine of imports: judge, create, resume, cancel, undo, on both databases."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from collegium.access import queries as access_queries
from collegium.access.labels import role_label
from collegium.access.rules import Actor
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.database import WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import invitations, outbox
from collegium.imports import actions as import_actions
from collegium.imports import judging, readers
from collegium.imports import queries as import_queries
from collegium.imports.actions import WORK_BATCH
from collegium.imports.reasons import reason
from collegium.invitations import actions as invitation_actions
from collegium.refusals import Conflict, Forbidden, Invalid, NotFound
from collegium.scopes.projects import actions as project_actions
from collegium.sign_in.passwords import actions as password_actions
from collegium.text import languages
from collegium.worker.worker import BATCH, Worker
from tests.imports.scene import (
    MALFORMED,
    REPEATED,
    csv_file,
    state,
    states,
    table,
    upload,
    work,
)
from tests.support.mails import sent_mails
from tests.support.world import Person, Place, World
from tests.worker.scene import Recorder

_COUNT = Statement[int](select(func.count().label("number")).select_from(invitations))
_MAILED = Statement[int](
    select(func.count(func.distinct(outbox.c.recipient)).label("number")).where(
        outbox.c.kind == "invitation_created"
    )
)
SIZE = 250


def begin(world: World, person: Person, uuid: str, numbers: list[int] | None = None) -> None:
    with world.database.write() as tx:
        import_actions.start(tx, person.actor, uuid, numbers)


def begin_all(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    import_actions.start(tx, actor, uuid, None)


def count(world: World, statement: Statement[int] = _COUNT) -> int:
    with world.database.read() as tx:
        return tx.fetch_only(statement)


def rows(world: World, uuid: str, *row_states: str) -> list[Any]:
    with world.database.read() as tx:
        row = import_queries.get_visible(tx, world.staff.actor, uuid)
        filters = {"import_id": row.id} | ({"state": list(row_states)} if row_states else {})
        return import_queries.rows_of.page(tx, world.staff.actor, filters, (), 300, 0)


def test_every_row_is_judged_and_nothing_changes(
    world: World, owner: Person, project: Place
) -> None:
    world.give_role(
        world.person("person2", email="PERSON2@uni.example"), "PROJECT.MANAGER", project
    )
    world.invite(owner, "person3@uni.example", "PROJECT.MANAGER", project)
    before = count(world)
    uuid = upload(world, owner, project, csv_file(SIZE))
    assert states(world, uuid) == {
        "ready": SIZE - MALFORMED - REPEATED - 2,
        "malformed": MALFORMED,
        "repeated": REPEATED,
        "member": 1,
        "invited": 1,
    }
    wrong = [
        (each.number, each.problem["field"], each.problem["code"])
        for each in rows(world, uuid, "malformed")
    ]
    # As a spreadsheet program counts; the header is row 1.
    assert wrong == [
        (11, "email", "blank"),
        (21, "email", "email"),
        (31, "role", "import.unknown_role"),
        (41, "until", "date"),
        (51, "language", "import.language"),
    ]
    assert count(world) == before
    assert work(world) == 0, "nothing was started"


def test_statements_do_not_depend_on_the_number_of_rows(
    world: World, owner: Person, project: Place
) -> None:
    counts = []
    for size in (60, 240):
        read = readers.read(csv_file(size), 1000)
        with world.database.read() as tx:
            access = access_queries.get_visible(tx, owner.actor, project.kind, project.uuid)
            before = tx.statements
            roles = judging.Roles(tx, owner.actor, access)
            judging.judge(tx, owner.actor, world.settings, access, roles, read.rows)
            counts.append(tx.statements - before)
    assert counts[0] == counts[1] < 15


def test_ready_rows_become_invitations_with_everything_that_they_say(
    world: World, owner: Person, project: Place
) -> None:
    uuid = upload(world, owner, project, csv_file(SIZE))
    begin(world, owner, uuid)
    assert state(world, uuid) == "running"
    work(world)
    assert state(world, uuid) == "done"
    ready = SIZE - MALFORMED - REPEATED
    assert states(world, uuid)["created"] == count(world) == count(world, _MAILED) == ready
    by_number = {each.number: each for each in rows(world, uuid, "created")}
    given = table(SIZE)[1]
    made = world.invitation(by_number[2].invitation_uuid)
    assert (made.email, made.full_name) == (given[2], f"{given[0]} {given[1]}")
    assert (made.role_name, made.state, made.language) == ("PROJECT.MANAGER", "pending", "de")
    assert made.extra_text == given[5]
    assert made.grant_until == datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert made.creator_username == "olga"


def test_exactly_the_chosen_rows_are_done(world: World, owner: Person, project: Place) -> None:
    uuid = upload(world, owner, project, csv_file(60))
    with pytest.raises(Invalid, match=r"import\.not_ready") as refused:
        begin(world, owner, uuid, [2, 11, 999])
    assert refused.value.facts["wrong"] == ["11", "999"]
    begin(world, owner, uuid, [2, 3])
    work(world)
    assert [each.number for each in rows(world, uuid, "created")] == [2, 3]
    # The others can follow.
    begin(world, owner, uuid)
    work(world)
    assert states(world, uuid)["created"] == 60 - MALFORMED - REPEATED


def test_a_row_is_judged_again_when_it_is_done(world: World, owner: Person, project: Place) -> None:
    uuid = upload(world, owner, project, csv_file(60))
    world.invite(owner, "person1@uni.example", "PROJECT.MANAGER", project)
    world.give_role(world.person("p2", email="person2@uni.example"), "PROJECT.MANAGER", project)
    begin(world, owner, uuid)
    work(world)
    assert [each.state for each in rows(world, uuid)[:2]] == ["invited", "member"]


def test_a_lost_right_refuses_the_rest(world: World, owner: Person, project: Place) -> None:
    size = 2 * WORK_BATCH
    uuid = upload(world, owner, project, csv_file(size))
    begin(world, owner, uuid)
    work(world, 1)
    with world.database.read() as tx:
        access = access_queries.get_visible(tx, world.staff.actor, project.kind, project.uuid)
    organisation = replace(project, id=access.scope.parent_id or 0)
    world.remove_role(owner, "CUSTOMER.OWNER", organisation)
    work(world)
    assert state(world, uuid) == "done"
    assert states(world, uuid)["created"] == count(world) == WORK_BATCH
    assert states(world, uuid)["refused"] == size - MALFORMED - REPEATED - WORK_BATCH


def test_the_role_ceiling_and_the_budget_refuse_rows(
    world: World, owner: Person, project: Place
) -> None:
    world.settings = replace(world.settings, rate_limits=True, recipient_mail_limit=1)
    manager = world.person("mona")
    world.give_role(manager, "PROJECT.MANAGER", project)
    other = world.project(world.organisation("Globex", owner=owner), "Orion")
    world.invite(owner, "spent@uni.example", "PROJECT.ADMIN", other)
    content = (
        b"mail,role\nspent@uni.example,PROJECT.ADMIN\nnew@uni.example,admin\n"
        b"own@uni.example,project manager\n"
    )
    uuid = upload(world, manager, project, content)
    assert [(each.state, each.problem.get("code")) for each in rows(world, uuid)] == [
        ("refused", "mail_budget.spent"),
        ("ready", None),
        ("ready", None),
    ]
    organisation = world.organisation("Hooli")
    helper = world.person("hella")
    world.give_role(helper, "CUSTOMER.OWNER", organisation)
    with pytest.raises((Forbidden, NotFound)):
        upload(world, helper, project, content)


def test_roles_are_named_as_on_the_pages_of_every_language(
    world: World, owner: Person, project: Place
) -> None:
    role = world.role("PROJECT.MANAGER")
    labels = []
    for language in languages.available():
        with languages.using(language):
            labels.append(role_label(role.description, role.name))
    assert len(set(labels)) > 3
    lines = (f"p{number}@uni.example,{label}" for number, label in enumerate(labels))
    uuid = upload(world, owner, project, "\n".join(["email,role", *lines]).encode())
    assert {(each.state, each.role_uuid) for each in rows(world, uuid)} == {("ready", role.uuid)}


def test_killed_between_two_batches_nothing_is_lost_or_done_twice(
    world: World, owner: Person, project: Place
) -> None:
    uuid = upload(world, owner, project, csv_file(SIZE))
    begin(world, owner, uuid)
    work(world, 1)
    with suppress(KeyboardInterrupt), world.database.write() as tx:
        import_actions.run_next(tx, world.settings)
        raise KeyboardInterrupt
    assert states(world, uuid)["created"] == count(world) == WORK_BATCH
    work(world)
    ready = SIZE - MALFORMED - REPEATED
    assert states(world, uuid)["created"] == count(world) == count(world, _MAILED) == ready


def test_the_same_file_is_the_same_import(world: World, owner: Person, project: Place) -> None:
    first = upload(world, owner, project, csv_file(60))
    world.invite(owner, "person1@uni.example", "PROJECT.MANAGER", project)
    assert upload(world, owner, project, csv_file(60)) == first
    assert states(world, first)["invited"] == 1, "it was judged anew"
    begin(world, owner, first)
    assert upload(world, owner, project, csv_file(60)) == first
    assert state(world, first) == "running"
    work(world)
    assert upload(world, owner, project, csv_file(60)) == first
    assert state(world, first) == "done"
    with pytest.raises(Conflict, match=r"import\.nothing_ready"):
        begin(world, owner, first)
    assert upload(world, owner, project, csv_file(61)) != first


def test_a_canceled_import_goes_on_where_it_stopped(
    world: World, owner: Person, project: Place
) -> None:
    uuid = upload(world, owner, project, csv_file(SIZE))
    with pytest.raises(Conflict, match=r"import\.wrong_state"), world.database.write() as tx:
        import_actions.cancel(tx, owner.actor, uuid)
    begin(world, owner, uuid)
    work(world, 1)
    with world.database.write() as tx:
        import_actions.cancel(tx, owner.actor, uuid)
    assert work(world) == 0
    assert (state(world, uuid), count(world)) == ("canceled", WORK_BATCH)
    begin(world, owner, uuid)
    work(world)
    assert count(world) == SIZE - MALFORMED - REPEATED


def test_undo_withdraws_what_was_not_accepted(world: World, owner: Person, project: Place) -> None:
    uuid = upload(world, owner, project, csv_file(SIZE))
    with pytest.raises(Conflict, match=r"import\.wrong_state"), world.database.write() as tx:
        import_actions.undo(tx, owner.actor, uuid)
    begin(world, owner, uuid)
    work(world)
    accepted = rows(world, uuid, "created")[0]
    invitee = world.person("invitee", email=accepted.cells["email"])
    with world.database.write() as tx:
        invitation_actions.accept(tx, invitee.actor, world.settings, accepted.invitation_uuid)
    with world.database.write() as tx:
        import_actions.undo(tx, owner.actor, uuid)
    work(world)
    assert state(world, uuid) == "undone"
    ready = SIZE - MALFORMED - REPEATED
    assert states(world, uuid)["withdrawn"] == ready - 1
    (left,) = rows(world, uuid, "created")
    assert (left.number, left.invitation_state) == (accepted.number, "accepted")
    assert {each.invitation_state for each in rows(world, uuid, "withdrawn")} == {"canceled"}
    # The same file can be done again, without the person who is a member now.
    assert upload(world, owner, project, csv_file(SIZE)) == uuid
    begin(world, owner, uuid)
    work(world)
    assert states(world, uuid)["created"] == ready


def test_only_those_who_may_invite_see_an_import(
    world: World, owner: Person, project: Place
) -> None:
    uuid = upload(world, owner, project, csv_file(60))
    admin, support = world.person("adam"), world.person("susi", is_support=True)
    world.give_role(admin, "PROJECT.ADMIN", project)
    manager = world.person("mona")
    world.give_role(manager, "PROJECT.MANAGER", project)
    otto = world.person("otto")
    with world.database.read() as tx:
        for one in (owner, manager, world.staff, support):
            assert import_queries.get_visible(tx, one.actor, uuid).uuid == uuid
            assert import_queries.listing.count(tx, one.actor, {}) == 1
        for one in (admin, otto):
            assert import_queries.listing.count(tx, one.actor, {}) == 0
            with pytest.raises(NotFound, match=r"import\.unknown"):
                import_queries.get_visible(tx, one.actor, uuid)
    for action in (import_actions.cancel, import_actions.undo, begin_all):
        with pytest.raises(Forbidden), world.database.write() as tx:
            action(tx, support.actor, uuid)


def test_the_role_ends_when_the_file_says(world: World, owner: Person, project: Place) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    uuid = upload(
        world, owner, project, f"email,role,until\na@uni.example,admin,{tomorrow}\n".encode()
    )
    begin(world, owner, uuid)
    work(world)
    (row,) = rows(world, uuid, "created")
    made = world.invitation(row.invitation_uuid)
    assert made.expires_at == made.grant_until
    ann = world.person("ann", email="a@uni.example")
    with world.database.write() as tx:
        invitation_actions.accept(tx, ann.actor, world.settings, row.invitation_uuid)
    (grant,) = [each for each in world.grants_in(project) if each.username == "ann"]
    assert grant.valid_until == made.grant_until


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_role_that_ends_before_its_project_starts_is_refused(
    world: World, owner: Person, project: Place
) -> None:
    start = (datetime.now(UTC) + timedelta(days=9)).date()

    def move(days: int) -> None:
        with world.database.write() as tx:
            later = {"start_date": start + timedelta(days=days)}
            access = access_queries.get_visible(tx, owner.actor, project.kind, project.uuid)
            project_actions.update(tx, owner.actor, access, later)

    move(0)
    ends = {name: start + timedelta(days=days) for days, name in enumerate("abc", start=-1)}
    lines = "".join(f"{name}@uni.example,admin,{end}\n" for name, end in ends.items())
    uuid = upload(world, owner, project, f"email,role,until\n{lines}".encode())
    assert states(world, uuid) == {"refused": 1, "ready": 2}
    move(1)
    begin(world, owner, uuid)
    work(world)
    assert states(world, uuid) == {"refused": 2, "created": 1}
    for row, first_day in zip(rows(world, uuid, "refused"), (start, ends["c"]), strict=True):
        assert row.problem == {
            "field": "until",
            "code": "invitation.ends_before_start",
            "facts": {"start": first_day.isoformat()},
        }
        text = f"The role would end before the project starts, on {first_day}."
        assert reason(row.problem) == text
    # The project starts still later: the invitation cannot begin again.
    (row,) = rows(world, uuid, "created")
    invitation = row.invitation_uuid
    move(2)
    with world.database.write() as tx:
        changed = invitation_actions.lock_to_change(tx, owner.actor, invitation)
        with pytest.raises(Conflict, match=r"invitation\.ends_before_start"):
            invitation_actions.change(tx, owner.actor, world.settings, changed, "d@b.example", None)
        invitation_actions.cancel(tx, owner.actor, invitation)
        with pytest.raises(Conflict, match=r"invitation\.ends_before_start"):
            invitation_actions.send(tx, owner.actor, world.settings, invitation)


def test_an_invitation_to_a_role_that_has_ended_is_not_renewed(
    world: World, owner: Person, project: Place
) -> None:
    now = datetime.now(UTC)
    uuid = world.invite(
        owner,
        "a@uni.example",
        "PROJECT.ADMIN",
        project,
        now - timedelta(days=3),
        grant_until=now - timedelta(days=1),
    )
    with pytest.raises(Conflict, match=r"invitation\.role_ended"), world.database.write() as tx:
        invitation_actions.send(tx, owner.actor, world.settings, uuid)


def test_old_imports_are_deleted(world: World, owner: Person, project: Place) -> None:
    uuid = upload(world, owner, project, csv_file(60))
    later = datetime.now(UTC) + timedelta(seconds=world.settings.import_retention)
    for now, deleted in ((later - timedelta(hours=1), 0), (later + timedelta(hours=1), 1)):
        with world.database.write(now) as tx:
            assert import_actions.purge(tx, world.settings, 5) == deleted
    with world.database.read() as tx, pytest.raises(NotFound):
        import_queries.get_visible(tx, owner.actor, uuid)


def test_the_worker_does_started_imports_and_sends_their_mails(
    world: World, owner: Person, project: Place
) -> None:
    uuid = upload(world, owner, project, csv_file(8))
    begin(world, owner, uuid)
    mails = sent_mails(world, "invitation_created")
    assert (state(world, uuid), states(world, uuid)["created"]) == ("done", 6)
    assert sorted(str(mail["To"]) for mail in mails) == [
        f"person{number}@uni.example" for number in (1, 2, 3, 4, 6, 8)
    ]


def test_mail_that_somebody_waits_for_overtakes_those_of_an_import(
    world: World, owner: Person, project: Place
) -> None:
    begin(world, owner, upload(world, owner, project, csv_file(60)))
    work(world)  # as the command line does
    recorder = Recorder()

    def reset_password() -> None:
        if len(recorder.sent) == 1:
            with world.database.write() as tx:
                password_actions.request_reset(tx, owner.email, "")

    recorder.before = reset_password
    Worker(world.database, world.settings, world.vault, recorder).once()
    kinds = [mail["X-Collegium-Mail"] for mail in recorder.sent]
    # The import was done before: its e-mails were queued first.
    assert kinds.count("invitation_created") == 60 - MALFORMED - REPEATED
    # It waits for its batch at most. The second e-mail begins one where the first takes long.
    assert kinds.index("password_reset") <= 1 + BATCH


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_two_nodes_do_not_do_the_same_import_at_once(
    world: World, owner: Person, project: Place
) -> None:
    uuid = upload(world, owner, project, csv_file(WORK_BATCH))
    begin(world, owner, uuid)
    with world.database.write() as one:
        assert import_actions.run_next(one, world.settings)
        with world.database.write() as other:
            assert not import_actions.run_next(other, world.settings)
    work(world)
    assert count(world) == states(world, uuid)["created"] == WORK_BATCH - MALFORMED - REPEATED


def test_a_deactivated_account_invites_nobody(world: World, owner: Person, project: Place) -> None:
    uuid = upload(world, owner, project, csv_file(20))
    begin(world, owner, uuid)
    with world.database.write() as tx:
        account_queries.change(tx, owner.id, {"is_active": False})
    work(world)
    assert (state(world, uuid), count(world)) == ("canceled", 0)


def test_erasure_empties_the_rows_of_a_person_and_deletes_their_imports(
    world: World, owner: Person, project: Place
) -> None:
    other = world.person("mona")
    world.give_role(other, "PROJECT.MANAGER", project)
    invitee = world.person("ivy", email="person1@uni.example")
    kept = upload(world, owner, project, csv_file(20))
    gone = upload(world, other, project, csv_file(21))
    for person in (invitee, other):
        with world.database.write() as tx:
            account_actions.delete(tx, world.staff.actor, person.uuid)
    (first, second) = rows(world, kept)[:2]
    assert (first.cells, first.state) == ({}, "refused")
    assert (second.cells["email"], second.state) == ("person2@uni.example", "ready")
    with world.database.read() as tx, pytest.raises(NotFound):
        import_queries.get_visible(tx, world.staff.actor, gone)
