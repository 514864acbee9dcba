"""Run a command on the catalogues: ``update`` or ``check``."""

import sys

from translating.catalogues import problems, update


def main(command: str) -> int:
    """Run a command. Return its exit status."""
    if command == "update":
        update()
        return 0
    if command == "check":
        found = [*problems()]
        sys.stderr.write("".join(f"{line}\n" for line in found))
        return 1 if found else 0
    sys.stderr.write("Commands: update, check\n")
    return 2


sys.exit(main(*sys.argv[1:2] or ["update"]))
