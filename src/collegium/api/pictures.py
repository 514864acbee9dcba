"""Pictures that people send: checked and made anew, one at a time in the whole process.

Unpacking one may hold two hundred megabytes. One thread does it for all: who sends another
picture meanwhile waits, and what the thread has freed serves the next one.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from threading import BoundedSemaphore
from typing import Final

from falcon import HTTPServiceUnavailable

from collegium.accounts.pictures.rules import sanitise_image

QUEUE_MAX: Final = 32
"""Pictures that wait at most; each of them holds a thread of the server."""

QUEUE_SECONDS: Final = 30
"""The longest wait for a picture, all that came before it included."""

_decoder: Final = ThreadPoolExecutor(1, "pictures")
_waiting: Final = BoundedSemaphore(QUEUE_MAX)


def sanitise(data: bytes) -> tuple[str, bytes]:
    """Make a picture anew from what somebody sent; give its media type and bytes.

    Raises NoPicture and TooLarge as ``rules.pictures.harmless`` does, HTTPServiceUnavailable when
    too many pictures wait already.
    """
    if not _waiting.acquire(blocking=False):
        raise HTTPServiceUnavailable
    try:
        job: Future[tuple[str, bytes]] = _decoder.submit(sanitise_image, data)
        try:
            return job.result(QUEUE_SECONDS)
        except Late:
            job.cancel()
            raise HTTPServiceUnavailable from None
    finally:
        _waiting.release()
