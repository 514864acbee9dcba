"""Pictures of accounts: upload, sanitising, display, removal."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from collegium.accounts.pictures.encoding import PIXELS, SIDE
from collegium.accounts.pictures.rules import BYTES
from collegium.db.statements import Statement
from collegium.db.tables import pictures
from tests.support.site import Site
from tests.support.world import Person, World

BAD = "Upload a valid image. The file you uploaded was either not an image or a corrupted image."


@pytest.fixture
def ada(world: World) -> Person:
    return world.person("ada")


def image(kind: str = "PNG", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "teal").save(file, kind, **options)
    return file.getvalue()


def bitmap(side: int) -> bytes:
    """Return a large picture, which takes a second less to draw than one with colours."""
    file = BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


def upload(site: Site, person: Person, content: bytes, name: str | None = "me.png") -> Any:
    parts = [
        ("image", (name, content, "image/png")),
        ("agree_with_policy", (None, b"True", "text/plain")),
    ]
    return site.request("PATCH", f"/api/users/{person.uuid}/", person, files=parts)


def stored_pictures(world: World) -> int:
    with world.database.read() as tx:
        return len(tx.fetch_all(Statement(select(pictures.c.uuid))))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_picture_is_uploaded_served_replaced_and_removed(
    site: Site, world: World, ada: Person, kind: str
) -> None:
    url = upload(site, ada, image(kind)).json()["image"]
    served = site.get(url)
    assert served.status_code == 200
    assert served.headers["content-type"] in {"image/png", "image/jpeg"}
    assert served.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in served.headers["content-security-policy"]
    assert "immutable" in served.headers["cache-control"]
    assert Image.open(BytesIO(served.content)).size == (40, 30)
    assert site.get("/api/users/me/", ada).json()["image"] == url
    second_url = upload(site, ada, image(kind, (20, 20))).json()["image"]
    assert second_url != url
    assert site.get(url).status_code == 404
    removed = site.request("PATCH", f"/api/users/{ada.uuid}/", ada, json={"image": None})
    assert removed.json()["image"] is None
    assert site.get(second_url).status_code == 404
    assert stored_pictures(world) == 0


def test_uploaded_file_needs_no_name(site: Site, ada: Person) -> None:
    assert upload(site, ada, image(), None).status_code == 200


def test_picture_is_stored_without_metadata_and_trailing_data(site: Site, ada: Person) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    content = image("JPEG", exif=exif) + b"<script>alert(1)</script>"
    served = site.get(upload(site, ada, content).json()["image"]).content
    assert b"taken at home" not in served
    assert b"script" not in served


def test_large_picture_is_scaled_down(site: Site, ada: Person) -> None:
    url = upload(site, ada, image(size=(3000, 1500))).json()["image"]
    assert Image.open(BytesIO(site.get(url).content)).size == (SIDE, SIDE // 2)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"not a picture", BAD),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", BAD),
        (image()[:60], BAD),
        (image("BMP"), BAD),
        (bitmap(int(PIXELS**0.5) + 10), BAD),
        (b"", "The submitted file is empty."),
        (b"x" * (BYTES + 1), f"The submitted file is larger than {BYTES} bytes."),
    ],
    ids=["text", "svg", "cut_off", "another_kind", "bomb", "empty", "too_large"],
)
def test_file_that_is_no_picture_is_refused(
    site: Site, world: World, ada: Person, content: bytes, text: str
) -> None:
    response = upload(site, ada, content)
    assert (response.status_code, response.json()) == (400, {"image": [text]})
    assert stored_pictures(world) == 0


def test_picture_must_be_uploaded_as_a_file(site: Site, ada: Person) -> None:
    response = site.request("PATCH", f"/api/users/{ada.uuid}/", ada, json={"image": "me.png"})
    assert response.json() == {
        "image": ["The submitted data was not a file. Check the encoding type on the form."]
    }


def test_picture_is_shown_in_invitations_and_member_lists(
    site: Site, world: World, ada: Person
) -> None:
    project = world.project(world.organisation(owner=ada))
    world.give_role(ada, "PROJECT.MANAGER", project)
    url = upload(site, ada, image()).json()["image"]
    uuid = world.invite(ada, "somebody@example.org", "PROJECT.MEMBER", project)
    assert site.get(f"/api/user-invitations/{uuid}/", ada).json()["created_by_image"] == url
    (member,) = site.get(f"{project.path}list_users/", ada).json()
    assert member["user_image"] == url


def test_picture_is_deleted_with_its_account(site: Site, world: World, ada: Person) -> None:
    upload(site, ada, image())
    assert site.request("DELETE", f"/api/users/{ada.uuid}/", world.staff).status_code == 204
    assert stored_pictures(world) == 0
