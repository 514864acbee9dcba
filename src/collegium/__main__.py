"""Start the command line: ``collegium``, or ``python -m collegium``."""

import errno
import gc
import os

_COLLECT_AFTER = 20_000
_NO_OUTPUT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def main() -> None:
    """Run the command line."""
    # Loading modules leaves no cyclic garbage. Looking for it took a tenth of the time of a start.
    gc.set_threshold(_COLLECT_AFTER)
    from collegium.cli import main as run  # noqa: PLC0415 - after the line above

    try:
        run()
    except OSError as error:
        # Commands report errors of their own files. Click handles the end of a pipe.
        if error.errno not in _NO_OUTPUT or error.filename:
            raise
        reason = f"collegium: standard output cannot be written: {error.strerror}\n"
        os.write(2, reason.encode())
        # A normal exit would try to write the rest once more.
        os._exit(1)


if __name__ == "__main__":
    main()
