"""Pictures that are small files and large in memory, many at once, on a real server."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest
from PIL import Image

from collegium.accounts.pictures.encoding import SCANS, sanitise_image
from collegium.accounts.pictures.rules import BYTES, InvalidImageError
from collegium.api import pictures
from collegium.api.pictures import QUEUE_SECONDS
from tests.hostile.conftest import Running, memory_of
from tests.hostile.raw import request, say
from tests.hostile.values import IS_LONG
from tests.support.browser import Browser
from tests.support.serving import Service
from tests.support.site import Site
from tests.support.world import Person, World

LARGE: Final = (6000, 4000)
MEMORY: Final = 400 * 1024 * 1024
UPLOADS: Final = 20
FEW_UPLOADS: Final = 6
"""Uploads of the other kinds: all kinds wait in the same queue."""


def draw(kind: str, mode: str = "RGB", size: tuple[int, int] = LARGE, **options: Any) -> bytes:
    file = BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def repeat_scan(size: tuple[int, int], count: int) -> bytes:
    """Return a progressive JPEG with a repeated last scan."""
    data = draw("JPEG", "L", size, progressive=True)
    begin, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[begin:end] * count + data[end:]


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[tuple[Service, str]]:
    """Start a new server and yield it with a token."""
    settings = {
        "database_url": f"sqlite:///{tmp_path / 'collegium.db'}",
        "mail_url": f"file:{tmp_path / 'mail'}",
        "secret_key": "a key for tests, long enough to pass for one",
    }
    service = Service(tmp_path, settings, is_forked=False)  # memory is measured
    service.start()
    yield service, service.staff()
    service.stop()


@pytest.mark.parametrize(
    "kind", ["PNG", "clear PNG", "JPEG", "progressive JPEG", "full JPEG", "WEBP"]
)
def test_many_pictures_at_once_stay_under_400_megabytes(
    own_server: tuple[Service, str], kind: str
) -> None:
    service, token = own_server
    uploads = UPLOADS if IS_LONG or kind == "clear PNG" else FEW_UPLOADS
    data = {
        "PNG": lambda: draw("PNG"),
        "clear PNG": lambda: draw("PNG", "RGBA"),
        "JPEG": lambda: draw("JPEG"),
        "progressive JPEG": lambda: draw("JPEG", progressive=True),
        "full JPEG": lambda: draw("JPEG", size=(4000, 4000), progressive=True, subsampling=0),
        "WEBP": lambda: draw("WEBP", "RGBA", (4000, 2000), lossless=True),
    }[kind]()
    assert len(data) <= BYTES
    me = json.loads(say(service.port, request("GET", "/api/users/me/", token=token)).body)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        + data
        + b"\r\n--b--\r\n"
    )
    parts = "Content-Type: multipart/form-data; boundary=b"
    upload = request("PATCH", f"/api/users/{me['uuid']}/", parts, body=body, token=token)
    running: Any = Running(service, None, token)  # type: ignore[arg-type]
    processes = running.processes
    peak, finished = 0, Event()

    def watch() -> None:
        nonlocal peak
        while not finished.is_set():
            peak = max(peak, memory_of(processes))
            time.sleep(0.02)  # finding a size takes a millisecond of a processor

    with ThreadPoolExecutor(uploads + 1) as threads:
        threads.submit(watch)

        def send(_: int) -> tuple[int, bool]:
            start = time.monotonic()
            status = say(service.port, upload, seconds=100).status
            return status, time.monotonic() - start >= QUEUE_SECONDS

        results = list(threads.map(send, range(uploads)))
        finished.set()
    # They are processed one by one. On a slow machine the last ones wait too long and get 503.
    assert set(results) <= {(200, False), (200, True), (503, True)}
    assert [status for status, _ in results].count(200) >= uploads // 4
    assert peak < MEMORY, f"{peak // 1024**2} MB"
    assert say(service.port, request("GET", "/api/users/me/", token=token)).status == 200


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_one_picture_is_decoded_at_a_time_and_32_wait(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = draw("PNG", size=(9, 7))
    people = [world.person() for _ in range(33)]

    def upload(person: Person) -> int:
        path, files = f"/api/users/{person.uuid}/", {"image": ("me.png", picture, "image/png")}
        data = {"agree_with_policy": "true"}
        return site.request("PATCH", path, person, data=data, files=files).status_code

    decoded = Event()
    pictures._decoder.submit(decoded.wait)  # a picture that takes long
    with ThreadPoolExecutor(33) as threads:
        uploads = [threads.submit(upload, person) for person in people]
        try:
            finished, waiting = wait(uploads, 30, FIRST_COMPLETED)
            assert [one.result() for one in finished] == [503]
            assert not wait(waiting, 0.5, FIRST_COMPLETED).done
        finally:
            decoded.set()
        assert sorted(one.result() for one in uploads) == [200] * 32 + [503]
    # An upload that waits too long gets 503 as well, and leaves the queue.
    decoded.clear()
    pictures._decoder.submit(decoded.wait)
    monkeypatch.setattr(pictures, "QUEUE_SECONDS", 0.01)
    start = time.monotonic()
    try:
        for person in people:
            assert upload(person) == 503
            assert time.monotonic() - start < 20
    finally:
        decoded.set()
    monkeypatch.undo()
    assert upload(people[0]) == 200


def test_jpeg_with_many_scans_is_refused() -> None:
    for size, count in (((2000, 2000), 4000), ((100, 100), SCANS), (LARGE, 14)):
        picture, seconds = repeat_scan(size, count), []
        # The shortest of three counts: beside other tests a thread shares its core.
        for _ in range(3):
            start = time.thread_time()
            with pytest.raises(InvalidImageError):
                sanitise_image(picture)
            seconds.append(time.thread_time() - start)
        assert min(seconds) < 0.2
    # Pictures of cameras and editors are accepted.
    assert sanitise_image(draw("JPEG", progressive=True))[0] == "image/jpeg"
    assert sanitise_image(repeat_scan((2000, 2000), 10))[0] == "image/jpeg"


def test_jpeg_with_several_scans_and_too_many_samples_is_refused() -> None:
    """Also if it holds several pictures, as some cameras write it."""
    large = Image.new("RGB", (4000, 4001))
    for options in ({}, {"save_all": True, "append_images": [Image.new("RGB", (9, 7))]}):
        kind = "MPO" if options else "JPEG"
        for many in ({"subsampling": 0, "progressive": True}, {"subsampling": 0}):
            file = BytesIO()
            large.save(file, kind, **options, **many)
            several = len(many) + len(options) > 1  # MPO: the marker is found in both pictures
            with pytest.raises(InvalidImageError) if several else nullcontext():
                sanitise_image(file.getvalue())


def test_jpeg_without_samples_is_refused() -> None:
    data = bytearray(draw("JPEG", size=(9, 7), progressive=True))
    frame = data.index(b"\xff\xc2")
    for colour in range(3):
        data[frame + 11 + 3 * colour] = 0
    with pytest.raises(InvalidImageError):
        sanitise_image(bytes(data))


def test_largest_picture_is_processed_quickly() -> None:
    for data in (repeat_scan(LARGE, 9), draw("PNG", "RGBA"), draw("PNG", "I;16")):
        start = time.thread_time()
        assert sanitise_image(data)
        assert time.thread_time() - start < 4  # two seconds on an idle machine


def test_page_and_api_have_the_same_size_limit(site: Site, world: World) -> None:
    ada = world.person("ada")
    browser = Browser(site).sign_in(world, ada)
    browser.open("/account/profile/")
    valid = draw("PNG", size=(9, 7))
    for size, statuses in ((BYTES, (303, 200)), (BYTES + 1, (422, 400))):
        data = valid + b"\0" * (size - len(valid))
        files = {"picture": ("me.png", data, "image/png")}
        form = {"csrf": browser.csrf, "agree_with_policy": "yes"}
        page = browser.call("POST", "/account/picture/", data=form, files=files)
        files = {"image": ("me.png", data, "image/png")}
        agrees = {"agree_with_policy": "true"}
        response = site.request("PATCH", f"/api/users/{ada.uuid}/", ada, data=agrees, files=files)
        assert (page.status_code, response.status_code) == statuses
    assert "1024 KiB" in page.text
    assert response.json() == {"image": [f"The submitted file is larger than {BYTES} bytes."]}
