"""Share compiled templates between the processes of a run.

To compile a template takes ten times as long as to render it.
"""

import os
import tempfile
from functools import partialmethod
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemBytecodeCache

_VARIABLE: Final = "PYTEST_COMPILED_TEMPLATES"
"""Names the folder to the workers of the run and to the programs that they start."""


def make_folder(parent: Path | None) -> Path:
    """Create the folder of this run, for this process and those that it starts."""
    folder = Path(tempfile.mkdtemp(prefix="collegium-templates-", dir=parent))
    os.environ[_VARIABLE] = str(folder)
    return folder


def share() -> None:
    """Keep the templates of this process in the folder of the run, if there is one.

    A compiled template is used only for the text from which it was made.
    """
    if folder := os.environ.get(_VARIABLE):
        cache = FileSystemBytecodeCache(folder)
        Environment.__init__ = partialmethod(Environment.__init__, bytecode_cache=cache)  # type: ignore[method-assign,assignment]
