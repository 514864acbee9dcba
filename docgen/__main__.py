"""Generate the reference pages, generate the sources of the site, or check a built site."""

from __future__ import annotations

from pathlib import Path

import click

from docgen import reference


@click.group()
def main() -> None:
    """Generate documentation."""


@main.command("reference")
def _reference() -> None:
    """Write the reference pages into docs/reference/."""
    reference.write()


@main.command("site")
@click.argument("folder", type=click.Path(path_type=Path))
def _site(folder: Path) -> None:
    """Write the sources of the site into FOLDER."""
    from docgen.site import Stage  # noqa: PLC0415 - loads all routes

    Stage(folder).fill()


@main.command("check")
@click.argument("site", type=click.Path(path_type=Path, exists=True))
def _check(site: Path) -> None:
    """Fail if a page of the built SITE asks another server."""
    from docgen.site import external_requests  # noqa: PLC0415 - loads all routes

    found = external_requests(site)
    if found:
        raise click.ClickException("\n".join(["pages ask other servers:", *found]))


if __name__ == "__main__":
    main()
