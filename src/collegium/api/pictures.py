"""Decode and re-encode uploaded pictures, one at a time per process.

Decoding a picture can need 200 MB. One thread does it for all requests, so that the memory is
needed once: other uploads wait, and the freed memory serves the next picture.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import BoundedSemaphore
from typing import Final

from falcon import HTTPServiceUnavailable

QUEUE_MAX: Final = 32
"""Maximum number of waiting pictures; each blocks a thread of the server."""

QUEUE_SECONDS: Final = 30
"""Maximum wait for a picture in seconds, including the pictures before it in the queue."""

_decoder: Final = ThreadPoolExecutor(1, "pictures")
_queue_slots: Final = BoundedSemaphore(QUEUE_MAX)


def sanitise(data: bytes) -> tuple[str, bytes]:
    """Re-encode an uploaded picture and return its media type and bytes.

    Raises:
        InvalidImageError: as ``accounts.pictures.encoding.sanitise_image`` does;
            ``ImageTooLargeError`` if the file is too large.
        HTTPServiceUnavailable: if too many pictures are waiting or the wait took too long.
    """
    from collegium.accounts.pictures.encoding import sanitise_image  # noqa: PLC0415 - loads Pillow

    if not _queue_slots.acquire(blocking=False):
        raise HTTPServiceUnavailable
    try:
        job: Future[tuple[str, bytes]] = _decoder.submit(sanitise_image, data)
        try:
            return job.result(QUEUE_SECONDS)
        except FutureTimeoutError:
            job.cancel()
            raise HTTPServiceUnavailable from None
    finally:
        _queue_slots.release()
