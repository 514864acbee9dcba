"""Start the command line: ``collegium``, or ``python -m collegium``."""

import gc

_COLLECT_AFTER = 20_000


def main() -> None:
    """Run the command line."""
    # Loading modules leaves no cyclic garbage. Looking for it took a tenth of the time of a start.
    gc.set_threshold(_COLLECT_AFTER)
    from collegium.cli import main as run  # noqa: PLC0415 - after the line above

    run()


if __name__ == "__main__":
    main()
