"""The `graywave` command: its list of subcommands, each imported when it is used."""

import importlib
from typing import Final

import click

from cli.exit import CommandError, Exit

# As in pyproject.toml; a checkout is not installed, so that no metadata tells.
VERSION: Final = "0.1.0"
# Where each subcommand is: module, function.
COMMANDS: Final = {
    "up": ("cli.up", "up"),
    "demo": ("cli.demo", "demo"),
    "keys": ("cli.keys", "keys"),
    "pack": ("cli.pack", "pack"),
    "release": ("cli.release", "release"),
    "trial": ("cli.trial", "trial"),
    "delta": ("cli.delta", "delta"),
    "audience": ("cli.audience", "audience"),
    "windows": ("cli.window", "windows"),
    "refine": ("cli.refine", "refine"),
    "reseal": ("cli.reseal", "reseal"),
    "gc": ("cli.gc", "gc"),
    "document": ("cli.document", "document"),
    "check": ("cli.check", "check"),
    "explain": ("cli.explain", "explain"),
    "simulate": ("cli.simulate", "simulate_change"),
    "samples": ("cli.samples", "samples"),
    "update": ("cli.update", "update"),
    "doctor": ("cli.doctor", "doctor"),
    "preset": ("cli.preset", "preset"),
    "client": ("cli.client", "client"),
    "edge": ("cli.serve", "edge"),
    "publisher": ("cli.serve", "publisher"),
    "backup": ("cli.backup", "backup"),
    "restore": ("cli.backup", "restore"),
    "republish": ("cli.republish", "republish"),
    "reference": ("cli.reference", "reference"),
}


def _load(name: str) -> click.Command:
    """Returns a subcommand; one whose libraries are not installed says so when it is run, and breaks no other."""
    module, function = COMMANDS[name]
    try:
        command: click.Command = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        return _stand_in(name, f"graywave {name} is not part of this installation: it lacks {error.name}")
    return command


def _stand_in(name: str, message: str) -> click.Command:
    @click.command(name, hidden=True, add_help_option=False, context_settings={"ignore_unknown_options": True})
    @click.argument("_", nargs=-1)
    def refuse(_: tuple[str, ...]) -> None:
        raise CommandError(message, Exit.USAGE)

    return refuse


class _Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(cmd_name) if cmd_name in COMMANDS else None


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="%(version)s")
def main() -> None:
    """Release mini programs to the devices that should have them.

    Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 refused, 4 unreachable, 5 not to be believed.
    """
