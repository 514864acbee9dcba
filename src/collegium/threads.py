"""The priority of threads that work in the background."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import Final

_NICENESS: Final = 7


def lower_priority() -> None:
    """Let other threads of the service go first, and those of other programs.

    It lowers the priority of the present thread, and of the threads that it starts.
    """
    if sys.platform == "linux":  # only there a thread has its own priority
        thread = threading.get_native_id()
        with suppress(OSError):
            niceness = max(os.getpriority(os.PRIO_PROCESS, thread), _NICENESS)
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
