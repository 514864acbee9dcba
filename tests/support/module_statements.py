"""Print the SQL texts of all statements that the modules of the program make, as a JSON list.

In a process of its own: the other tests make thousands of statements, and to look for those of the
modules among them took 20 seconds.
"""

import gc
import importlib
import json
import pkgutil
import sys
from contextlib import suppress

from sqlalchemy.dialects import postgresql, sqlite

import collegium
from collegium.db.statements import Statement


def texts() -> set[str]:
    """Return the text of each statement in each database."""
    for module in pkgutil.walk_packages(collegium.__path__, "collegium."):
        if "migrations" not in module.name:
            importlib.import_module(module.name)
    found = set()
    dialects = (sqlite.dialect(), postgresql.dialect())  # type: ignore[no-untyped-call]
    for statement in [one for one in gc.get_objects() if isinstance(one, Statement)]:
        for dialect in dialects:
            with suppress(AttributeError):  # an upsert of the other database
                found.add(str(statement.statement.compile(dialect=dialect)))
    return found


if __name__ == "__main__":
    json.dump(sorted(texts()), sys.stdout)
