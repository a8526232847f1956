"""The `graywave` command: its list of subcommands, each imported when it is used."""

import importlib
from typing import Final

import click

# Where each subcommand is: module, function.
COMMANDS: Final = {
    "up": ("cli.up", "up"),
    "demo": ("cli.demo", "demo"),
    "keys": ("cli.keys", "keys"),
    "pack": ("cli.pack", "pack"),
    "release": ("cli.release", "release"),
    "document": ("cli.document", "document"),
    "check": ("cli.check", "check"),
    "update": ("cli.update", "update"),
    "edge": ("cli.serve", "edge"),
    "publisher": ("cli.serve", "publisher"),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), function)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="graywave", message="%(version)s")
def main() -> None:
    """Release mini programs to the devices that should have them.

    Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 refused, 4 unreachable, 5 not to be believed.
    """
