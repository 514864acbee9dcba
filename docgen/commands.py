"""The page of the commands, from ``collegium.cli``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

import click

from collegium.cli import main
from docgen import markdown
from docgen.markdown import code, table

_INTRODUCTION: Final = """Every command has `--help`, and reads the [settings](settings.md). Exit \
status 2 means wrong settings or arguments. Exit
status 1 means that the command could not do its work, for example because the database cannot be \
reached. The reason is one line on
standard error."""


def page() -> str:
    """Return the page."""
    return markdown.page("Commands", "src/collegium/cli.py", _INTRODUCTION, *_commands(main))


def _commands(group: click.Group, above: str = "collegium") -> Iterator[str]:
    """Yield what each command of a group does; those under an old name are left out."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        path = f"{above} {name}"
        if isinstance(command, click.Group):
            yield from _commands(command, path)
            continue
        context = click.Context(command, info_name=path)
        yield f"## {path}"
        yield f"```\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```"
        yield inspect.cleandoc(command.help or "")
        options = [one for one in command.params if isinstance(one, click.Option)]
        rows = [_option(one, context) for one in options if not one.hidden]
        if rows:
            yield table(("option", "meaning", "default"), rows)


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    names, meaning = option.get_help_record(context) or ("", "")
    meaning = meaning.partition("  [")[0]  # without the default and the range
    default = str(option.default) if option.show_default else ""
    return code(names), meaning + (" Required." if option.required else ""), code(default)
