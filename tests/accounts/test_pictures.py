"""Pictures of people: taken, made harmless, shown, cleared."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from collegium.accounts.pictures.rules import BYTES, PIXELS, SIDE
from collegium.db.statements import Statement
from collegium.db.tables import pictures
from tests.support.site import Site
from tests.support.world import Person, World

BAD = "Upload a valid image. The file you uploaded was either not an image or a corrupted image."


def drawn(kind: str = "PNG", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "teal").save(file, kind, **options)
    return file.getvalue()


def send(site: Site, who: Person, data: bytes, name: str | None = "me.png") -> Any:
    parts = [
        ("image", (name, data, "image/png")),
        ("agree_with_policy", (None, b"True", "text/plain")),
    ]
    return site.request("PATCH", f"/api/users/{who.uuid}/", who, files=parts)


def kept(world: World) -> int:
    with world.database.read() as tx:
        return len(tx.fetch_all(Statement(select(pictures.c.uuid))))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_is_taken_shown_to_anybody_and_cleared(
    site: Site, world: World, kind: str
) -> None:
    ada = world.person("ada")
    url = send(site, ada, drawn(kind)).json()["image"]
    shown = site.get(url)
    assert shown.status_code == 200
    assert shown.headers["content-type"] in {"image/png", "image/jpeg"}
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert "immutable" in shown.headers["cache-control"]
    assert Image.open(BytesIO(shown.content)).size == (40, 30)
    assert site.get("/api/users/me/", ada).json()["image"] == url
    other = send(site, ada, drawn(kind, (20, 20))).json()["image"]
    assert other != url
    assert site.get(url).status_code == 404
    cleared = site.request("PATCH", f"/api/users/{ada.uuid}/", ada, json={"image": None})
    assert cleared.json()["image"] is None
    assert site.get(other).status_code == 404
    assert kept(world) == 0


def test_a_file_without_a_name_is_a_file_all_the_same(site: Site, world: World) -> None:
    assert send(site, world.person("ada"), drawn(), None).status_code == 200


def test_nothing_but_what_is_seen_survives(site: Site, world: World) -> None:
    ada = world.person("ada")
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    data = drawn("JPEG", exif=exif) + b"<script>alert(1)</script>"
    url = send(site, ada, data).json()["image"]
    shown = site.get(url).content
    assert b"taken at home" not in shown
    assert b"script" not in shown


def test_a_large_picture_is_made_smaller(site: Site, world: World) -> None:
    url = send(site, world.person("ada"), drawn(size=(3000, 1500))).json()["image"]
    assert Image.open(BytesIO(site.get(url).content)).size == (SIDE, SIDE // 2)


def bomb() -> bytes:
    side = int(PIXELS**0.5) + 10
    return drawn(size=(side, side))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"not a picture", BAD),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", BAD),
        (drawn()[:60], BAD),
        (drawn("BMP"), BAD),
        (bomb(), BAD),
        (b"", "The submitted file is empty."),
        (b"x" * (BYTES + 1), f"The submitted file is larger than {BYTES} bytes."),
    ],
    ids=["text", "svg", "cut off", "another kind", "bomb", "empty", "too large"],
)
def test_what_is_no_picture_is_refused(site: Site, world: World, data: bytes, text: str) -> None:
    answer = send(site, world.person("ada"), data)
    assert (answer.status_code, answer.json()) == (400, {"image": [text]})
    assert kept(world) == 0


def test_a_picture_must_be_a_file(site: Site, world: World) -> None:
    ada = world.person("ada")
    answer = site.request("PATCH", f"/api/users/{ada.uuid}/", ada, json={"image": "me.png"})
    assert answer.json() == {
        "image": ["The submitted data was not a file. Check the encoding type on the form."]
    }


def test_a_picture_shows_wherever_the_person_does(site: Site, world: World) -> None:
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    world.seat(owner, "PROJECT.MANAGER", place)
    url = send(site, owner, drawn()).json()["image"]
    uuid = world.invite(owner, "somebody@example.org", "PROJECT.MEMBER", place)
    assert site.get(f"/api/user-invitations/{uuid}/", owner).json()["created_by_image"] == url
    (member,) = site.get(f"{place.path}list_users/", owner).json()
    assert member["user_image"] == url


def test_a_deleted_account_takes_its_picture_with_it(site: Site, world: World) -> None:
    ada = world.person("ada")
    send(site, ada, drawn())
    assert site.request("DELETE", f"/api/users/{ada.uuid}/", world.staff).status_code == 204
    assert kept(world) == 0
