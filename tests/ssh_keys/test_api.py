"""SSH keys: whose they are, who sees them, and that a name is given once."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import bindparam, select, update

from collegium.db.statements import Statement
from collegium.db.tables import events
from collegium.db.tables import ssh_keys as key_rows
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from tests.support.remote import new_key
from tests.support.site import BASE, Site
from tests.support.world import Person, World

KEYS = "/api/keys/"
DENIED = {"detail": "You do not have permission to perform this action."}


def add(site: Site, who: Person, name: str = "laptop", **others: Any) -> str:
    answer = site.post(KEYS, who, json={"name": name, "public_key": new_key(), **others})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["uuid"])


def share(world: World, uuid: str) -> None:
    """Make a key everybody's, as only an operator can."""
    with world.database.write() as tx:
        statement = update(key_rows).where(key_rows.c.uuid == bindparam("key"))
        tx.execute(
            Statement(statement.values(is_shared=bindparam("shared"))), key=uuid, shared=True
        )


def listed(site: Site, who: Person, **query: Any) -> list[str]:
    answer = site.get(KEYS, who, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Result-Count"] == str(len(answer.json()))
    return [one["name"] for one in answer.json()]


def history(world: World) -> list[tuple[str, Any]]:
    with world.database.read() as tx:
        rows = tx.fetch_all(
            Statement(select(events.c.kind, events.c.payload).order_by(events.c.id))
        )
    return [(row.kind, row.payload) for row in rows if row.kind.startswith("key.")]


def fingerprint(line: str, kind: str, tmp_path: Path) -> str:
    """What OpenSSH itself says."""
    path = tmp_path / "key.pub"
    path.write_text(line)
    done = subprocess.run(
        ["ssh-keygen", "-l", "-E", kind, "-f", path],  # noqa: S607 - wherever it is installed
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[1]


def test_a_key_is_shown_with_all_that_can_be_read_off_it(site: Site, world: World) -> None:
    ada, line = world.person("ada"), new_key("ada@laptop")
    answer = site.post(KEYS, ada, json={"name": " laptop ", "public_key": f"  {line}\n"})
    assert answer.status_code == 201
    shown = answer.json()
    key = parse(line)
    assert shown == {
        "url": f"{BASE}/api/keys/{shown['uuid']}/",
        "uuid": shown["uuid"],
        "name": "laptop",
        "public_key": line,
        "fingerprint_md5": key.md5,
        "fingerprint_sha256": key.sha256,
        "fingerprint_sha512": key.sha512,
        "user_uuid": ada.uuid,
        "is_shared": False,
        "type": "ssh-ed25519",
    }
    assert len(key.md5) == 47
    assert site.get(f"/api/keys/{UUID(shown['uuid'])}/", ada).json() == shown
    assert site.get(KEYS, ada).json() == [shown]
    few = site.get(KEYS, ada, params={"field": ["name", "type", "unknown"]}).json()
    assert few == [{"name": "laptop", "type": "ssh-ed25519"}]
    assert site.get(f"/api/keys/{shown['uuid']}/?field=uuid", ada).json() == {"uuid": shown["uuid"]}
    facts = {"key": shown["uuid"], "name": "laptop", "fingerprint": key.sha256}
    assert history(world) == [("key.created", facts)]


@pytest.mark.parametrize("kind", ["rsa", "nistp256", "nistp521", "ed25519"])
def test_fingerprints_are_those_of_openssh(kind: str, tmp_path: Path) -> None:
    line = new_key("a comment")
    if kind != "ed25519":
        make: dict[str, Callable[[], Any]] = {
            "rsa": lambda: rsa.generate_private_key(65537, 2048).public_key(),
            "nistp256": lambda: ec.generate_private_key(ec.SECP256R1()).public_key(),
            "nistp521": lambda: ec.generate_private_key(ec.SECP521R1()).public_key(),
        }
        public = make[kind]()
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    key = parse(line)
    assert key.kind == line.split()[0]
    assert f"MD5:{key.md5}" == fingerprint(line, "md5", tmp_path)
    assert key.sha256 == fingerprint(line, "sha256", tmp_path)
    assert key.sha512 == fingerprint(line, "sha512", tmp_path)


INVALID = ["Invalid SSH public key."]
LINES = ["Key is not valid: it should be single line."]
GOOD = new_key()
BAD_KEYS: dict[str, tuple[Any, list[str]]] = {
    "missing": (..., ["This field is required."]),
    "null": (None, ["This field may not be null."]),
    "blank": ("  \n ", ["This field may not be blank."]),
    "list": ([GOOD], ["Not a valid string."]),
    "words": ("no key at all", INVALID),
    "one-word": (GOOD.split()[1], INVALID),
    "other-kind": (GOOD.replace("ssh-ed25519", "ssh-rsa"), INVALID),
    "unknown-kind": (GOOD.replace("ssh-ed25519", "ssh-best"), INVALID),
    "half": (GOOD[:-8], INVALID),
    "dirty": (GOOD.replace("AAAAC3", "AAAA!!C3"), INVALID),
    "letters": (GOOD.replace("AAAAC3", "ÄAAAC3"), INVALID),
    "with-options": (f"no-pty {GOOD}", INVALID),
    "private": ("-----BEGIN OPENSSH PRIVATE KEY-----", INVALID),
    "two-lines": (f"{GOOD}\n{GOOD}", LINES),
    "two-lines-of-old": (f"{GOOD}\rx", LINES),
    "broken": (GOOD.replace(" ", "\n"), LINES),
    "long": (GOOD + " x" * 1000, ["Ensure this field has no more than 2000 characters."]),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_what_is_no_key_is_refused_with_everything_that_is_wrong(
    site: Site, world: World, case: str
) -> None:
    value, texts = BAD_KEYS[case]
    body = {"name": "x" * 151} | ({} if value is ... else {"public_key": value})
    answer = site.post(KEYS, world.staff, json=body)
    assert answer.status_code == 400
    long = ["Ensure this field has no more than 150 characters."]
    assert answer.json() == {"public_key": texts, "name": long}
    assert listed(site, world.staff) == []


def test_a_kind_that_openssh_has_given_up_is_no_key(site: Site, world: World) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        public = dsa.generate_private_key(1024).public_key()  # noqa: S505 - that is the point
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    answer = site.post(KEYS, world.staff, json={"public_key": line})
    assert (answer.status_code, answer.json()) == (400, {"public_key": INVALID})


def test_a_key_without_a_name_is_called_by_its_comment(site: Site, world: World) -> None:
    ada = world.person("ada")

    def named(comment: str, **name: str) -> tuple[int, Any]:
        answer = site.post(KEYS, ada, json={"public_key": new_key(comment), **name})
        return answer.status_code, answer.json().get("name")

    taken = (400, ["This field must be unique."])
    assert named("ada at home") == (201, "ada at home")
    assert named("ada at home") == taken
    assert named("x" * 200) == (201, "x" * 150)
    assert named("") == (201, "")
    assert named("another", name=" ") == taken
    assert named("another", name="given") == (201, "given")


def test_a_name_is_given_once_to_each(site: Site, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    add(site, ada)
    add(site, bob)
    add(site, ada, "Laptop")
    answer = site.post(KEYS, ada, json={"name": "laptop", "public_key": "none"})
    assert answer.status_code == 400
    assert answer.json() == {"public_key": INVALID, "name": ["This field must be unique."]}


def test_of_those_who_take_one_name_at_one_moment_one_has_it(site: Site, world: World) -> None:
    ada = world.person("ada")

    def create(name: str) -> httpx.Response:
        return site.post(KEYS, ada, json={"name": name, "public_key": new_key()})

    with ThreadPoolExecutor(4) as pool:
        for turn in range(5):
            answers = list(pool.map(create, [f"turn {turn}"] * 4))
            assert sorted(one.status_code for one in answers) == [201, 400, 400, 400]
            refused = {one.text for one in answers if one.status_code == 400}
            assert refused == {'{"name":["This field must be unique."]}'}
    assert len(listed(site, ada)) == 5


RIGHTS = """
           staff support owner stranger nobody
see        200   200     200   404      401
delete     204   403     204   404      401
see_shared 200   200     200   200      401
del_shared 204   403     403   403      401
change     405   405     405   405      401
"""
CELLS = [
    (line.split()[0], who, int(status))
    for line in RIGHTS.strip().splitlines()[1:]
    for who, status in zip(RIGHTS.split("\n")[1].split(), line.split()[1:], strict=True)
]


@pytest.mark.parametrize(("action", "who", "status"), CELLS, ids=[f"{d}-{w}" for d, w, _ in CELLS])
def test_who_may_do_what_with_a_key(
    site: Site, world: World, action: str, who: str, status: int
) -> None:
    owner = world.person("owner")
    people = {
        "staff": world.staff,
        "support": world.person("support", is_support=True),
        "owner": owner,
        "stranger": world.person("stranger"),
        "nobody": None,
    }
    uuid = add(site, owner)
    if action.endswith("shared"):
        share(world, uuid)
    for method in {"s": ["GET"], "d": ["DELETE"], "c": ["PUT", "PATCH"]}[action[0]]:
        answer = site.request(method, f"/api/keys/{uuid}/", people[who])
        assert answer.status_code == status, answer.text
        if status == 404:
            unknown = site.request(method, f"/api/keys/{uuid4().hex}/", people[who])
            assert (unknown.status_code, unknown.content) == (404, answer.content)
        if status == 403:
            shared = {"detail": "Only staff users are allowed to delete shared SSH public key."}
            assert answer.json() == (shared if action == "del_shared" else DENIED)
        if status == 204:
            assert site.request(method, f"/api/keys/{uuid}/", people[who]).status_code == 404
            assert history(world)[-1][0] == "key.deleted"
    gone = action in {"delete", "del_shared"} and status == 204
    assert listed(site, world.staff) == ([] if gone else ["laptop"])


def test_a_list_shows_ones_own_and_the_shared_ones(site: Site, world: World) -> None:
    ada, bob = world.person("ada"), world.person("bob")
    add(site, ada, "of ada")
    share(world, add(site, ada, "of all"))
    add(site, bob, "of bob")
    assert listed(site, ada) == ["of ada", "of all"]
    assert listed(site, bob) == ["of all", "of bob"]
    assert listed(site, world.person("eve")) == ["of all"]
    for who in (world.staff, world.person("support", is_support=True)):
        assert listed(site, who) == ["of ada", "of all", "of bob"]
    assert listed(site, bob, user_uuid=ada.uuid) == ["of all"]
    assert listed(site, world.staff, o="-name") == ["of bob", "of all", "of ada"]
    assert site.request("HEAD", KEYS, bob).headers["X-Result-Count"] == "2"
    assert site.get(KEYS, bob, params={"o": "uuid"}).status_code == 400
    assert site.get(KEYS).status_code == 401


def test_each_filter_finds_what_it_names_and_nothing_else(site: Site, world: World) -> None:
    ada = world.person("ada")
    now = datetime.now(UTC)
    with world.database.write(now - timedelta(days=9)) as tx:
        uuid = ssh_key_actions.create(tx, ada.actor, parse(new_key()), "Old_Laptop 50%")
    add(site, world.staff, "other")
    share(world, uuid)
    one = site.get(f"/api/keys/{uuid}/", ada).json()
    old = ["Old_Laptop 50%"]
    found: dict[str, list[Any]] = {
        "name": ["LAPTOP", "_l", "50%"],
        "name_exact": [old[0], f" {old[0]} "],
        "uuid": [uuid, str(UUID(uuid)), uuid.upper()],
        "user_uuid": [ada.uuid, f"{{{UUID(ada.uuid)}}}"],
        "is_shared": ["true", "True", "1"],
        **{name: [one[name]] for name in one if name.startswith("fingerprint")},
    }
    missed: dict[str, list[Any]] = {
        "name": ["%", "lap top", "__"],
        "name_exact": ["old_laptop 50%", "Old"],
        "uuid": [uuid4().hex],
        "user_uuid": [uuid4().hex],
        **{name: [one[name].lower()[:-1]] for name in one if name.startswith("fingerprint")},
    }
    for name, values in found.items():
        for value in values:
            assert listed(site, world.staff, **{name: value}) == old, (name, value)
    for name, values in missed.items():
        for value in values:
            assert old[0] not in listed(site, world.staff, **{name: value}) or value == "%"
    assert listed(site, world.staff, is_shared="false") == ["other"]
    for name in ("created", "modified"):
        for days, expected in ((10, [*old, "other"]), (8, ["other"]), (-1, [])):
            since = (now - timedelta(days=days)).isoformat()
            assert listed(site, world.staff, **{name: since}) == expected
    assert listed(site, world.staff, name="laptop", is_shared="false") == []
    for ignored in ({"is_shared": "perhaps"}, {"uuid": ""}, {"created": " "}, {"unknown": "x"}):
        assert len(listed(site, world.staff, **ignored)) == 2
    wrong = site.get(KEYS, ada, params={"uuid": "x", "user_uuid": "1", "created": "today"})
    assert wrong.status_code == 400
    assert wrong.json() == {
        "uuid": ["Enter a valid UUID."],
        "user_uuid": ["Enter a valid UUID."],
        "created": ["Enter a valid date/time."],
    }


def test_a_deleted_account_has_no_keys(site: Site, world: World) -> None:
    ada = world.person("ada")
    add(site, ada)
    assert site.request("DELETE", f"/api/users/{ada.uuid}/", world.staff).status_code == 204
    assert listed(site, world.staff) == []
