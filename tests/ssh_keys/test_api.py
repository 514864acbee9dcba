"""SSH keys in the API: validation, unique names, shared keys, filters."""

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
from sqlalchemy import select, update

from collegium.db.statements import Statement
from collegium.db.tables import events, ssh_keys
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from tests.support.remote import new_key
from tests.support.site import BASE, Site
from tests.support.world import Person, World

KEYS = "/api/keys/"
UNIQUE = ["This field must be unique."]


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")


def post(site: Site, person: Person, **body: Any) -> httpx.Response:
    return site.post(KEYS, person, json={"name": "laptop", "public_key": new_key(), **body})


def add(site: Site, person: Person, name: str = "laptop") -> str:
    """Add a key; return its UUID."""
    response = post(site, person, name=name)
    assert response.status_code == 201, response.text
    return str(response.json()["uuid"])


def share(world: World, uuid: str) -> None:
    """Share a key with everybody, as only an operator can."""
    same = update(ssh_keys).where(ssh_keys.c.uuid == uuid)
    with world.database.write() as tx:
        tx.execute(Statement[Any](same.values(is_shared=True)))


def names(site: Site, person: Person, **query: Any) -> list[str]:
    """Return the names of the listed keys."""
    response = site.get(KEYS, person, params=query)
    assert response.status_code == 200, response.text
    assert response.headers["X-Result-Count"] == str(len(response.json()))
    return [key["name"] for key in response.json()]


def recorded(world: World) -> list[tuple[str, Any]]:
    """Return kind and payload of the events of keys."""
    query = select(events).where(events.c.kind.like("key.%")).order_by(events.c.id)
    with world.database.read() as tx:
        return [(row.kind, row.payload) for row in tx.fetch_all(Statement[Any](query))]


def openssh_fingerprint(line: str, kind: str, tmp_path: Path) -> str:
    path = tmp_path / "key.pub"
    path.write_text(line)
    process = subprocess.run(
        ["ssh-keygen", "-l", "-E", kind, "-f", path],  # noqa: S607 - wherever it is installed
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.split()[1]


def openssh_line(public: Any) -> str:
    return str(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def test_key_is_returned_with_type_and_fingerprints(site: Site, world: World, ada: Person) -> None:
    line = new_key("ada@laptop")
    response = post(site, ada, name=" laptop ", public_key=f"  {line}\n")
    assert response.status_code == 201
    body, key = response.json(), parse(line)
    uuid = body["uuid"]
    assert body == {
        "url": f"{BASE}/api/keys/{uuid}/",
        "uuid": uuid,
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
    assert site.get(f"{KEYS}{UUID(uuid)}/", ada).json() == body
    assert site.get(KEYS, ada).json() == [body]
    sparse = site.get(KEYS, ada, params={"field": ["name", "type", "unknown"]}).json()
    assert sparse == [{"name": "laptop", "type": "ssh-ed25519"}]
    assert site.get(f"{KEYS}{uuid}/?field=uuid", ada).json() == {"uuid": uuid}
    payload = {"key": uuid, "name": "laptop", "fingerprint": key.sha256}
    assert recorded(world) == [("key.created", payload)]


PUBLIC_KEYS: dict[str, Callable[[], Any]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048).public_key(),
    "nistp256": lambda: ec.generate_private_key(ec.SECP256R1()).public_key(),
    "nistp521": lambda: ec.generate_private_key(ec.SECP521R1()).public_key(),
}


@pytest.mark.parametrize("kind", [*PUBLIC_KEYS, "ed25519"])
def test_fingerprints_are_those_of_openssh(kind: str, tmp_path: Path) -> None:
    line = openssh_line(PUBLIC_KEYS[kind]()) if kind in PUBLIC_KEYS else new_key("a comment")
    key = parse(line)
    assert key.kind == line.split()[0]
    assert f"MD5:{key.md5}" == openssh_fingerprint(line, "md5", tmp_path)
    assert key.sha256 == openssh_fingerprint(line, "sha256", tmp_path)
    assert key.sha512 == openssh_fingerprint(line, "sha512", tmp_path)


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
def test_invalid_key_is_refused_with_all_errors(site: Site, world: World, case: str) -> None:
    value, errors = BAD_KEYS[case]
    body = {"name": "x" * 151} | ({} if value is ... else {"public_key": value})
    response = site.post(KEYS, world.staff, json=body)
    assert response.status_code == 400
    too_long = ["Ensure this field has no more than 150 characters."]
    assert response.json() == {"public_key": errors, "name": too_long}
    assert names(site, world.staff) == []


def test_key_type_that_openssh_has_removed_is_invalid(site: Site, ada: Person) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        line = openssh_line(dsa.generate_private_key(1024).public_key())  # noqa: S505 - a DSA key
    response = post(site, ada, public_key=line)
    assert (response.status_code, response.json()) == (400, {"public_key": INVALID})


def test_comment_is_the_name_of_a_key_without_a_name(site: Site, ada: Person) -> None:
    for comment, body, expected in (
        ("ada at home", {}, "ada at home"),
        ("ada at home", {}, UNIQUE),
        ("x" * 200, {}, "x" * 150),
        ("", {}, ""),
        ("another", {"name": " "}, UNIQUE),
        ("another", {"name": "given"}, "given"),
    ):
        response = site.post(KEYS, ada, json={"public_key": new_key(comment), **body})
        assert response.status_code == (400 if expected is UNIQUE else 201)
        assert response.json()["name"] == expected


def test_key_name_is_unique_for_each_account(site: Site, world: World, ada: Person) -> None:
    add(site, ada)
    add(site, world.person("bob"))
    add(site, ada, "Laptop")
    response = post(site, ada, public_key="none")
    assert response.status_code == 400
    assert response.json() == {"public_key": INVALID, "name": UNIQUE}


def test_concurrent_requests_create_one_key_of_a_name(site: Site, ada: Person) -> None:
    with ThreadPoolExecutor(4) as pool:
        for round_ in range(5):
            responses = list(pool.map(lambda name: post(site, ada, name=name), [f"{round_}"] * 4))
            assert sorted(each.status_code for each in responses) == [201, 400, 400, 400]
            refused = [each.json() for each in responses if each.status_code == 400]
            assert refused == [{"name": UNIQUE}] * 3
    assert len(names(site, ada)) == 5


@pytest.mark.parametrize(
    ("name", "status"),
    [("staff", 204), ("support", 403), ("owner", 403), ("stranger", 403), ("anonymous", 401)],
)
def test_everybody_sees_a_shared_key_and_only_staff_delete_it(
    site: Site, world: World, ada: Person, name: str, status: int
) -> None:
    callers = {
        "staff": world.staff,
        "support": world.person("support", is_support=True),
        "owner": ada,
        "stranger": world.person("stranger"),
        "anonymous": None,
    }
    path = f"{KEYS}{add(site, ada)}/"
    share(world, path.split("/")[-2])
    assert site.get(path, callers[name]).status_code == (401 if status == 401 else 200)
    response = site.request("DELETE", path, callers[name])
    assert response.status_code == status, response.text
    if status == 403:
        message = "Only staff users are allowed to delete shared SSH public key."
        assert response.json() == {"detail": message}
    if status == 204:
        assert site.request("DELETE", path, callers[name]).status_code == 404
        assert recorded(world)[-1][0] == "key.deleted"
    assert names(site, world.staff) == ([] if status == 204 else ["laptop"])


def test_list_has_own_and_shared_keys(site: Site, world: World, ada: Person) -> None:
    bob = world.person("bob")
    add(site, ada, "of ada")
    share(world, add(site, ada, "of all"))
    add(site, bob, "of bob")
    everything = ["of ada", "of all", "of bob"]
    for person, expected in (
        (ada, ["of ada", "of all"]),
        (bob, ["of all", "of bob"]),
        (world.person("eve"), ["of all"]),
        (world.staff, everything),
        (world.person("support", is_support=True), everything),
    ):
        assert names(site, person) == expected
    assert names(site, bob, user_uuid=ada.uuid) == ["of all"]
    assert names(site, world.staff, o="-name") == ["of bob", "of all", "of ada"]
    assert site.request("HEAD", KEYS, bob).headers["X-Result-Count"] == "2"
    assert site.get(KEYS, bob, params={"o": "uuid"}).status_code == 400


def test_each_filter_finds_the_expected_keys(site: Site, world: World, ada: Person) -> None:
    staff, now = world.staff, datetime.now(UTC)
    old = "Old_Laptop 50%"
    with world.database.write(now - timedelta(days=9)) as tx:
        uuid = ssh_key_actions.create(tx, ada.actor, parse(new_key()), old)
    add(site, staff, "other")
    share(world, uuid)
    key = site.get(f"{KEYS}{uuid}/", ada).json()
    fingerprints = {name: value for name, value in key.items() if name.startswith("fingerprint")}
    found: dict[str, list[Any]] = {
        "name": ["LAPTOP", "_l", "50%"],
        "name_exact": [old, f" {old} "],
        "uuid": [uuid, str(UUID(uuid)), uuid.upper()],
        "user_uuid": [ada.uuid, f"{{{UUID(ada.uuid)}}}"],
        "is_shared": ["true", "True", "1"],
        **{name: [value] for name, value in fingerprints.items()},
    }
    missed: dict[str, list[Any]] = {
        "name": ["lap top", "__"],
        "name_exact": ["old_laptop 50%", "Old"],
        "uuid": [uuid4().hex],
        "user_uuid": [uuid4().hex],
        **{name: [value.lower()[:-1]] for name, value in fingerprints.items()},
    }
    for name, values in found.items():
        for value in values:
            assert names(site, staff, **{name: value}) == [old], (name, value)
    for name, values in missed.items():
        for value in values:
            assert old not in names(site, staff, **{name: value}), (name, value)
    assert names(site, staff, is_shared="false") == ["other"]
    for name in ("created", "modified"):
        for days, expected in ((10, [old, "other"]), (8, ["other"]), (-1, [])):
            since = (now - timedelta(days=days)).isoformat()
            assert names(site, staff, **{name: since}) == expected
    assert names(site, staff, name="laptop", is_shared="false") == []
    for ignored in ({"is_shared": "perhaps"}, {"uuid": ""}, {"created": " "}, {"unknown": "x"}):
        assert len(names(site, staff, **ignored)) == 2
    wrong = site.get(KEYS, ada, params={"uuid": "x", "user_uuid": "1", "created": "today"})
    assert wrong.status_code == 400
    assert wrong.json() == {
        "uuid": ["Enter a valid UUID."],
        "user_uuid": ["Enter a valid UUID."],
        "created": ["Enter a valid date/time."],
    }


def test_keys_of_a_deleted_account_are_deleted(site: Site, world: World, ada: Person) -> None:
    add(site, ada)
    assert site.request("DELETE", f"/api/users/{ada.uuid}/", world.staff).status_code == 204
    assert names(site, world.staff) == []
