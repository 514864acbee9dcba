"""Generate the reference pages (``reference``), or the sources of the site (``site FOLDER``)."""

from __future__ import annotations

import click

from docgen import reference


@click.group()
def main() -> None:
    """Generate documentation."""


@main.command("reference")
def _reference() -> None:
    """Write the reference pages into docs/reference/."""
    reference.write()


if __name__ == "__main__":
    main()
