"""What an old link, a renewed invitation's UUID and the log give away: nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import pytest

from collegium.db.database import Database
from collegium.invitations import actions as invitation_actions
from collegium.refusals import NotFound
from collegium.settings import Settings
from collegium.sign_in.passwords import actions as password_actions
from collegium.worker.transport import open_transport
from collegium.worker.worker import Worker
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, Place, World

ADDRESS = "ines@example.org"
LINK = re.compile(r"http://[^\s\"'<>]+")


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("olga")


@pytest.fixture
def project(world: World, owner: Person) -> Place:
    return world.project(world.organisation("Initech", owner=owner), "Atlas")


def mails(world: World, folder: Path) -> str:
    """Send what is due, and return everything that was sent so far."""
    Worker(world.database, world.settings, world.vault, open_transport(f"file:{folder}")).once()
    found = (path.read_text() for path in sorted(folder.glob("*.eml")))
    return "\n".join(one.replace("=\n", "").replace("=3D", "=") for one in found)


def mailed_link(world: World, folder: Path, page: str) -> str:
    return str(re.findall(rf"/{page}/[\w.~-]+/", mails(world, folder))[-1])


def readings(part: str) -> list[bytes]:
    """What somebody who has a link reads in one of its segments."""
    found = [part.encode()]
    for decode in (base64.urlsafe_b64decode, base64.b32decode, base64.b85decode, bytes.fromhex):
        for piece in (part, *re.split(r"[._~-]", part)):
            for padding in ("", "=", "==", "==="):
                try:
                    found.append(decode(piece + padding))
                except ValueError:
                    continue
    return found


def test_links_in_mails_carry_no_uuid_in_any_readable_form(
    make_settings: Callable[..., Settings],
    database: Database,
    world: World,
    owner: Person,
    project: Place,
    tmp_path: Path,
    site: Site,
) -> None:
    asking = world.person("asker")
    plain = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    world.settings = make_settings(only_staff_can_invite_users="true")
    waiting = world.invite(owner, "wanda@example.org", "PROJECT.ADMIN", project)
    with database.write() as tx:
        password_actions.request_reset(tx, asking.email, "192.0.2.1")
    path = f"/api/users/{asking.uuid}/change_email/"
    assert site.post(path, asking, json={"email": "new@example.org"}).status_code == 200
    secrets = [plain, waiting, asking.uuid, world.staff.uuid]
    told = mails(world, tmp_path)
    kinds = {re.sub(r"^http://[^/]+/", "", one).split("/")[0] for one in LINK.findall(told)}
    pages = {"invitation", "invitation_approve", "invitation_reject", "password_reset"}
    assert pages | {"user_email_change"} <= kinds
    for link in LINK.findall(told):
        parts = link.split("/")[3:]
        if not parts or parts[0] not in pages:
            continue
        for reading in readings(parts[1]):
            for uuid in map(UUID, secrets):
                for form in (uuid.hex.encode(), str(uuid).encode(), uuid.bytes):
                    assert form not in reading, link
    # Nor is a link that opens nothing any more a way to one.
    assert not any(one in told for secret in secrets for one in (secret, str(UUID(secret))))


def renewed(world: World, owner: Person, uuid: str) -> None:
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, uuid)
    with world.database.write() as tx:
        invitation_actions.send(tx, owner.actor, world.settings, uuid)


def test_the_uuid_of_a_renewed_invitation_opens_nothing_for_who_merely_knows_it(
    world: World, site: Site, owner: Person, project: Place
) -> None:
    ines, stranger = world.person("ines"), world.person("sam")
    uuid = world.invite(owner, ines.email, "PROJECT.ADMIN", project)
    path = f"/api/user-invitations/{uuid}/"
    assert site.get(f"{path}details/", stranger).status_code == 200  # as the official flow has it
    assert site.post(f"{path}check/").status_code == 200
    renewed(world, owner, uuid)
    for spelled in (uuid, str(UUID(uuid)), uuid.upper()):
        path = f"/api/user-invitations/{spelled}/"
        for who in (stranger, owner):
            answer = site.post(f"{path}accept/", who)
            assert answer.status_code == 404
        assert site.get(f"{path}details/", stranger).status_code == 404
        assert site.post(f"{path}check/").status_code == 404
        assert site.post(f"{path}check/", stranger).status_code == 404
    assert site.post(f"{path}check/", ines).json()["email"] == ines.email
    assert site.get(f"{path}details/", ines).status_code == 200
    assert site.post(f"{path}accept/", ines).status_code == 200
    assert [row.username for row in world.grants_in(project)] == ["ines"]


def test_an_invitation_that_was_only_sent_again_is_accepted_by_its_uuid(
    world: World, site: Site, owner: Person, project: Place
) -> None:
    sam = world.person("sam")
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    assert site.post(f"/api/user-invitations/{uuid}/send/", owner).status_code == 200
    assert site.post(f"/api/user-invitations/{uuid}/check/").status_code == 200
    assert site.post(f"/api/user-invitations/{uuid}/accept/", sam).status_code == 200


def test_an_expired_invitation_that_is_renewed_is_not_accepted_by_its_uuid_alone(
    world: World, site: Site, owner: Person, project: Place
) -> None:
    sam = world.person("sam")
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project, long_ago)
    assert site.post(f"/api/user-invitations/{uuid}/send/", owner).status_code == 200
    assert site.post(f"/api/user-invitations/{uuid}/accept/", sam).status_code == 404


def test_a_renewed_invitation_is_accepted_by_its_new_link_and_not_by_its_old_one(
    browser: Browser,
    world: World,
    owner: Person,
    project: Place,
    tmp_path: Path,
) -> None:
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    old = mailed_link(world, tmp_path, "invitation")
    renewed(world, owner, uuid)
    new = mailed_link(world, tmp_path, "invitation")
    assert new != old
    browser.sign_in(world, world.person("sam"))
    assert browser.open(old).status_code == 404
    assert browser.send(old).status_code == 404
    assert browser.open(new).status_code == 200
    assert "Welcome!" in text(browser.follow(browser.send(new)))


def test_a_link_that_dies_between_page_and_button_accepts_nothing(
    browser: Browser, world: World, owner: Person, project: Place, tmp_path: Path
) -> None:
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    old = mailed_link(world, tmp_path, "invitation")
    browser.sign_in(world, world.person("sam"))
    browser.open(old)
    renewed(world, owner, uuid)
    tim = world.person("tim")
    with world.database.write() as tx, pytest.raises(NotFound):
        invitation_actions.accept(tx, tim.actor, world.settings, uuid, link_version=1)
    assert browser.send(old).status_code == 404
    assert not world.grants_in(project)


def test_a_front_end_of_its_own_can_still_check_a_renewed_invitation(
    make_settings: Callable[..., Settings],
    database: Database,
    world: World,
    owner: Person,
    project: Place,
    tmp_path: Path,
) -> None:
    world.settings = make_settings(homeport_url="https://portal.example.org")
    site = Site(world.settings, database, world.vault)
    ines, sam = world.person("ines"), world.person("sam")
    uuid = world.invite(owner, ines.email, "PROJECT.ADMIN", project)
    renewed(world, owner, uuid)
    assert f"https://portal.example.org/invitation/{uuid}/" in mails(world, tmp_path)
    assert site.post(f"/api/user-invitations/{uuid}/check/").json()["email"] == ines.email
    assert site.post(f"/api/user-invitations/{uuid}/accept/", sam).status_code == 404
    assert site.post(f"/api/user-invitations/{uuid}/accept/", ines).status_code == 200
    site.close()


def test_no_spelling_of_a_path_brings_an_invitation_into_the_log(
    site: Site, world: World, owner: Person, project: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    token = world.vault.sign("invitation", uuid, 1)
    spelled = [uuid, uuid.upper(), str(UUID(uuid)), f"{{{uuid}}}", f"urn:uuid:{uuid}", token]
    spelled += [f"{uuid};x", f"{uuid}.json", f" {uuid}", f"%7B{uuid}"]
    capsys.readouterr()
    for key in spelled:
        for path in (
            f"/api/user-invitations/{key}/",
            f"/api/user-invitations/{key}/accept/",
            f"/api/user-invitations/{key}",
            f"/api//user-invitations//{key}//accept/",
            f"//api/user-invitations/{key}/check/",
            f"/API/User-Invitations/{key}/check/",
            f"/api/user-invitations%2F{key}/check/",
            f"/api/user-invitations/%5C{key}/check/",
            f"/api/user-group-invitations/{key}/",
            f"/api/private/users/groupmembershipinvitation/{key}/accept/",
            f"/api/private/users/group_membership_invitation/{key}/reject",
            f"/invitation/{key}/",
            f"/portal/invitation/{key}/decline/",
            f"/open_invitation/{key}/",
            f"/project/{project.uuid}/invitations/{key}/",
            f"/project/{project.uuid}/links/{key}/",
        ):
            for method in ("GET", "POST"):
                site.request(method, path)
    log = capsys.readouterr().err
    assert log.count("event=request") == 2 * 16 * len(spelled)
    flat = log.lower().replace("-", "")
    assert uuid not in flat
    assert token.lower().replace("-", "") not in flat
    # What is no key is still told.
    assert "/api/user-invitations/…/accept/" in log


def test_no_misspelled_name_brings_an_invitation_into_the_log(
    site: Site, world: World, owner: Person, project: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    token = world.vault.sign("invitation", uuid, 1)
    spelled = [
        uuid,
        uuid.upper(),
        str(UUID(uuid)),
        f"urn:uuid:{uuid}",
        token,
        f"{token}.",
        f"?{uuid}",
    ]
    names = ("user-invitatons", "user-invites", "inv/itation", "user\xadinvita\u200btions", uuid)
    capsys.readouterr()
    for key in spelled:
        for name in names:
            site.get(f"/api/{name}/{quote(key)}/accept/")
            site.get(f"/{name}/{quote(key)}")
    site.get(f"/api/users/{owner.uuid}/", owner)
    site.get("/api/v2/users/")
    log = capsys.readouterr().err
    assert log.count("event=request") == 2 * len(names) * len(spelled) + 2
    flat = log.lower().replace("-", "")
    assert uuid not in flat
    assert token.lower().replace("-", "") not in flat
    # What a route of ours has, and what is no key, is still told.
    assert f"/api/users/{owner.uuid}/" in log
    assert "/api/v2/users/" in log
    assert "/api/user-invitatons/…/accept/" in log
