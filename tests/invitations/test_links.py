"""What earlier links, the UUID of a renewed invitation and the log reveal: nothing."""

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
from tests.groups.scene import Groups
from tests.support.browser import Browser, text
from tests.support.site import Site
from tests.support.world import Person, Place, World

ADDRESS = "ines@example.org"
PATH = re.compile(r"http://[^/\s]+/([^\s\"'<>]+)")


def mails(world: World, folder: Path) -> str:
    """Send due e-mails, and return the text of everything sent so far."""
    Worker(world.database, world.settings, world.vault, open_transport(f"file:{folder}")).once()
    texts = (path.read_text() for path in sorted(folder.glob("*.eml")))
    return "\n".join(mail.replace("=\n", "").replace("=3D", "=") for mail in texts)


def mailed_link(world: World, folder: Path) -> str:
    """Return the newest invitation link."""
    return str(re.findall(r"/invitation/[\w.~-]+/", mails(world, folder))[-1])


def decodings(segment: str) -> list[bytes]:
    """Return a segment of a URL, and all that common encodings read in it."""
    values = [segment.encode()]
    for decode in (base64.urlsafe_b64decode, base64.b32decode, base64.b85decode, bytes.fromhex):
        for piece in (segment, *re.split(r"[._~-]", segment)):
            for padding in ("", "=", "==", "==="):
                try:
                    values.append(decode(piece + padding))
                except ValueError:
                    continue
    return values


def test_links_in_emails_contain_no_readable_uuid(
    make_settings: Callable[..., Settings],
    database: Database,
    world: World,
    owner: Person,
    project: Place,
    tmp_path: Path,
    site: Site,
) -> None:
    ada = world.person("ada")
    pending = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    link = world.create_link(owner, "PROJECT.ADMIN", project)
    asked = world.ask(ada, link)
    groups, bob = Groups(world, site), world.person("bob")
    group = groups.create(owner)
    invited, asked_group = groups.invite(group, owner, bob), groups.ask(group, ada)
    world.settings = make_settings(only_staff_can_invite_users="true")
    requested = world.invite(owner, "wanda@example.org", "PROJECT.ADMIN", project)
    with database.write() as tx:
        password_actions.request_reset(tx, ada.email, "192.0.2.1")
    path = f"/api/users/{ada.uuid}/change_email/"
    assert site.post(path, ada, json={"email": "new@example.org"}).status_code == 200
    secrets = [UUID(uuid) for uuid in (pending, requested, link, asked, invited, asked_group)]
    secrets += [UUID(person.uuid) for person in (ada, bob, owner, world.staff)]
    sent = mails(world, tmp_path)
    assert sent.count("X-Collegium-Mail: permission_request_submitted") == 2
    assert sent.count("To: bob@example.org") == 1
    segments = [path.split("/") for path in PATH.findall(sent)]
    pages = {"invitation", "invitation_approve", "invitation_reject", "password_reset"}
    assert pages | {"user_email_change"} <= {page for page, *_ in segments}
    for decoded in map(decodings, {segment for path in segments for segment in path}):
        for uuid in secrets:
            for form in (uuid.hex.encode(), str(uuid).encode(), uuid.bytes):
                assert not any(form in one for one in decoded), decoded[0]
    assert not any(form in sent for uuid in secrets for form in (uuid.hex, str(uuid)))


def renew(world: World, owner: Person, uuid: str) -> None:
    with world.database.write() as tx:
        invitation_actions.cancel(tx, owner.actor, uuid)
    with world.database.write() as tx:
        invitation_actions.send(tx, owner.actor, world.settings, uuid)


def test_uuid_of_a_renewed_invitation_is_usable_only_by_the_invitee(
    world: World, site: Site, owner: Person, project: Place
) -> None:
    ines, stranger = world.person("ines"), world.person("sam")
    uuid = world.invite(owner, ines.email, "PROJECT.ADMIN", project)
    path = f"/api/user-invitations/{uuid}/"
    # Until it is renewed, the UUID is enough.
    assert site.get(f"{path}details/", stranger).status_code == 200
    assert site.post(f"{path}check/").status_code == 200
    renew(world, owner, uuid)
    for spelling in (uuid, str(UUID(uuid)), uuid.upper()):
        path = f"/api/user-invitations/{spelling}/"
        for person in (stranger, owner):
            assert site.post(f"{path}accept/", person).status_code == 404
        assert site.get(f"{path}details/", stranger).status_code == 404
        assert site.post(f"{path}check/").status_code == 404
        assert site.post(f"{path}check/", stranger).status_code == 404
    assert site.post(f"{path}check/", ines).json()["email"] == ines.email
    assert site.get(f"{path}details/", ines).status_code == 200
    assert site.post(f"{path}accept/", ines).status_code == 200
    assert [row.username for row in world.grants_in(project)] == ["ines"]


@pytest.mark.parametrize(("is_renewed", "status"), [(False, 200), (True, 404)])
def test_uuid_accepts_a_resent_but_not_a_renewed_invitation(
    world: World, site: Site, owner: Person, project: Place, is_renewed: bool, status: int
) -> None:
    created = datetime(2020, 1, 1, tzinfo=UTC) if is_renewed else None  # sending renews an expired
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project, created)
    path = f"/api/user-invitations/{uuid}/"
    assert site.post(f"{path}send/", owner).status_code == 200
    assert site.post(f"{path}check/").status_code == status
    assert site.post(f"{path}accept/", world.person("sam")).status_code == status


def test_renewed_invitation_is_accepted_by_its_new_link_only(
    browser: Browser, world: World, owner: Person, project: Place, tmp_path: Path
) -> None:
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    old = mailed_link(world, tmp_path)
    renew(world, owner, uuid)
    new = mailed_link(world, tmp_path)
    assert new != old
    browser.sign_in(world, world.person("sam"))
    assert browser.open(old).status_code == 404
    assert browser.send(old).status_code == 404
    assert browser.open(new).status_code == 200
    assert "Welcome!" in text(browser.follow(browser.send(new)))


def test_link_replaced_after_the_page_was_opened_cannot_accept(
    browser: Browser, world: World, owner: Person, project: Place, tmp_path: Path
) -> None:
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    old = mailed_link(world, tmp_path)
    browser.sign_in(world, world.person("sam")).open(old)
    renew(world, owner, uuid)
    tim = world.person("tim")
    with world.database.write() as tx, pytest.raises(NotFound):
        invitation_actions.accept(tx, tim.actor, world.settings, uuid, link_version=1)
    assert browser.send(old).status_code == 404
    assert not world.grants_in(project)


def test_external_front_end_can_check_a_renewed_invitation(
    make_settings: Callable[..., Settings],
    make_site: Callable[[Settings], Site],
    world: World,
    owner: Person,
    project: Place,
    tmp_path: Path,
) -> None:
    world.settings = make_settings(homeport_url="https://portal.example.org")
    site = make_site(world.settings)
    ines, sam = world.person("ines"), world.person("sam")
    uuid = world.invite(owner, ines.email, "PROJECT.ADMIN", project)
    renew(world, owner, uuid)
    assert f"https://portal.example.org/invitation/{uuid}/" in mails(world, tmp_path)
    path = f"/api/user-invitations/{uuid}/"
    assert site.post(f"{path}check/").json()["email"] == ines.email
    assert site.post(f"{path}accept/", sam).status_code == 404
    assert site.post(f"{path}accept/", ines).status_code == 200


@pytest.fixture
def secrets(world: World, owner: Person, project: Place) -> tuple[str, str]:
    """Return the UUID and the token of an invitation."""
    uuid = world.invite(owner, ADDRESS, "PROJECT.ADMIN", project)
    return uuid, world.vault.sign("invitation", uuid, 1)


def read_log(capsys: pytest.CaptureFixture[str], secrets: tuple[str, str], requests: int) -> str:
    """Return the log of so many requests, after checking that no secret is in it."""
    log = capsys.readouterr().err
    assert log.count("event=request") == requests
    for secret in secrets:
        assert secret.lower().replace("-", "") not in log.lower().replace("-", "")
    return log


def test_no_spelling_of_a_path_puts_an_invitation_into_the_log(
    site: Site, secrets: tuple[str, str], project: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    uuid, token = secrets
    keys = [uuid, uuid.upper(), str(UUID(uuid)), f"{{{uuid}}}", f"urn:uuid:{uuid}", token]
    keys += [f"{uuid};x", f"{uuid}.json", f" {uuid}", f"%7B{uuid}"]
    capsys.readouterr()
    for key in keys:
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
    # The rest of the path is logged.
    assert "/api/user-invitations/…/accept/" in read_log(capsys, secrets, 2 * 16 * len(keys))


def test_no_misspelled_route_puts_an_invitation_into_the_log(
    site: Site, secrets: tuple[str, str], owner: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    uuid, token = secrets
    keys = [uuid, uuid.upper(), str(UUID(uuid)), f"urn:uuid:{uuid}"]
    keys += [token, f"{token}.", f"?{uuid}"]
    names = ("user-invitatons", "user-invites", "inv/itation", "user\xadinvita\u200btions", uuid)
    capsys.readouterr()
    for key in keys:
        for name in names:
            site.get(f"/api/{name}/{quote(key)}/accept/")
            site.get(f"/{name}/{quote(key)}")
    site.get(f"/api/users/{owner.uuid}/", owner)
    site.get("/api/v2/users/")
    log = read_log(capsys, secrets, 2 * len(names) * len(keys) + 2)
    # Keys of known routes and other parts of paths are logged.
    for path in (f"/api/users/{owner.uuid}/", "/api/v2/users/", "/api/user-invitatons/…/accept/"):
        assert path in log
