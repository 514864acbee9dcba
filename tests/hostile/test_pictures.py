"""Pictures that are small as files and large in memory, many at once, to a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest
from PIL import Image

from collegium.accounts.pictures.rules import BYTES, SCANS, InvalidImageError, sanitise_image
from tests.hostile.conftest import Running
from tests.hostile.raw import request, say
from tests.support.browser import Browser
from tests.support.serving import Service
from tests.support.site import Site
from tests.support.world import World

LARGE: Final = (6000, 4000)
MEMORY: Final = 400 * 1024 * 1024
UPLOADS: Final = 20


def drawn(kind: str, mode: str = "RGB", size: tuple[int, int] = LARGE, **options: Any) -> bytes:
    file = BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def scans(size: tuple[int, int], many: int) -> bytes:
    """A progressive JPEG whose last scan is sent again and again."""
    data = drawn("JPEG", "L", size, progressive=True)
    begin, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[begin:end] * many + data[end:]


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[tuple[Service, str]]:
    """A server that has done nothing yet, and the token of somebody there."""
    given = {
        "database_url": f"sqlite:///{tmp_path / 'collegium.db'}",
        "mail_url": f"file:{tmp_path / 'mail'}",
        "secret_key": "a key for tests, long enough to pass for one",
    }
    service = Service(tmp_path, given)
    service.start()
    yield service, service.staff()
    service.stop()


@pytest.mark.parametrize("kind", ["PNG", "clear PNG", "JPEG", "progressive JPEG", "WEBP"])
def test_twenty_pictures_at_once_stay_under_400_megabytes(
    own_server: tuple[Service, str], kind: str
) -> None:
    service, token = own_server
    data = {
        "PNG": lambda: drawn("PNG"),
        "clear PNG": lambda: drawn("PNG", "RGBA"),
        "JPEG": lambda: drawn("JPEG"),
        "progressive JPEG": lambda: drawn("JPEG", progressive=True, subsampling=0),
        "WEBP": lambda: drawn("WEBP", "RGBA", (4000, 2000), lossless=True),
    }[kind]()
    assert len(data) <= BYTES
    me = json.loads(say(service.port, request("GET", "/api/users/me/", token=token)).body)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        + data
        + b"\r\n--b--\r\n"
    )
    parts = "Content-Type: multipart/form-data; boundary=b"
    sent = request("PATCH", f"/api/users/{me['uuid']}/", parts, body=body, token=token)
    running: Any = Running(service, None, token)  # type: ignore[arg-type]
    peak, over = 0, Event()

    def watch() -> None:
        nonlocal peak
        while not over.is_set():
            peak = max(peak, running.memory)
            time.sleep(0.005)

    with ThreadPoolExecutor(UPLOADS + 1) as threads:
        threads.submit(watch)
        said = list(threads.map(lambda _: say(service.port, sent, seconds=100), range(UPLOADS)))
        over.set()
    # One after the other they are made; on a slow machine the last ones are told to come again.
    assert {one.status for one in said} <= {200, 503}
    assert [one.status for one in said].count(200) >= 1
    assert peak < MEMORY, f"{peak // 1024**2} MB"
    assert say(service.port, request("GET", "/api/users/me/", token=token)).status == 200


def test_scans_of_a_jpeg_are_bounded() -> None:
    for size, many in (((2000, 2000), 4000), ((100, 100), SCANS), (LARGE, 14)):
        began = time.thread_time()
        with pytest.raises(InvalidImageError):
            sanitise_image(scans(size, many))
        assert time.thread_time() - began < 0.2
    # What a camera or an editor makes is taken.
    assert sanitise_image(drawn("JPEG", progressive=True))[0] == "image/jpeg"
    assert sanitise_image(scans((2000, 2000), 10))[0] == "image/jpeg"


def test_the_largest_picture_takes_no_more_than_two_seconds() -> None:
    for data in (scans(LARGE, 9), drawn("PNG", "RGBA"), drawn("PNG", "I;16")):
        began = time.thread_time()
        assert sanitise_image(data)
        assert time.thread_time() - began < 4  # twice that, for a machine under load


def test_one_size_counts_for_the_page_and_the_wire(site: Site, world: World) -> None:
    ada = world.person("ada")
    browser = Browser(site).sign_in(world, ada)
    browser.open("/account/profile/")
    good = drawn("PNG", size=(9, 7))
    for size, statuses in ((BYTES, (303, 200)), (BYTES + 1, (422, 400))):
        data = good + b"\0" * (size - len(good))
        files = {"picture": ("me.png", data, "image/png")}
        sent = {"csrf": browser.csrf, "agree_with_policy": "yes"}
        page = browser.call("POST", "/account/picture/", data=sent, files=files)
        files = {"image": ("me.png", data, "image/png")}
        agrees = {"agree_with_policy": "true"}
        wire = site.request("PATCH", f"/api/users/{ada.uuid}/", ada, data=agrees, files=files)
        assert (page.status_code, wire.status_code) == statuses
    assert "1024 KiB" in page.text
    assert wire.json() == {"image": [f"The submitted file is larger than {BYTES} bytes."]}
