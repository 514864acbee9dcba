"""Collegium, a membership service: who holds which role in which scope, until when, by whom."""

import sys

__version__ = "0.1.0"


def _import_structlog() -> None:
    """Import structlog without rich, even where rich is installed.

    structlog imports rich for coloured tracebacks, which we never write. With all that rich imports
    it takes 5 MB in every process.
    """
    absent = object()
    rich = sys.modules.get("rich", absent)
    sys.modules["rich"] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        import structlog.dev  # noqa: F401, PLC0415 - the modules that use it import it again
    finally:
        if rich is absent:
            del sys.modules["rich"]
        else:
            sys.modules["rich"] = rich  # type: ignore[assignment]


if "structlog" not in sys.modules:
    _import_structlog()
