"""`graywave edge` and `graywave publisher`: the servers, each from its settings; wrong settings end with code 2."""

import logging
import os
from pathlib import Path

import click

from channel import ChannelError
from cli.exit import CommandError, Exit
from settings import SettingsError, describe
from trust import TrustError

# The new code reads the settings and loads edge.db meanwhile; the parent gives up before this.
RELOAD_TIMEOUT_S = 120.0


class _Server(click.Command):
    """A command whose help ends with its settings, read from the dataclass that reads them."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        cls, prefix, section = SETTINGS[self.name or ""]()
        with formatter.section(f"Settings (variables; in the file, keys of [{section}] in small letters)"):
            formatter.write_dl([(prefix + row.name.upper(), f"{row.help} ({row.default})") for row in describe(cls)])


class _Host(_Server, click.Group):
    """A server that also has commands of its own, for the one that runs."""


def _find_edge() -> tuple[type, str, str]:
    from edge.settings import PREFIX, SECTION, EdgeSettings

    return EdgeSettings, PREFIX, SECTION


def _find_publisher() -> tuple[type, str, str]:
    from publisher import PREFIX, SECTION, Settings

    return Settings, PREFIX, SECTION


SETTINGS = {"edge": _find_edge, "publisher": _find_publisher}


@click.group(cls=_Host, invoke_without_command=True, short_help="Run an edge, from its settings.")
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML file of settings.")
@click.pass_context
def edge(context: click.Context, config: Path | None) -> None:
    """Run an edge: tell devices which packages they should have."""
    if context.invoked_subcommand is not None:
        context.obj = config
        return
    from edge import read_settings, run_edge

    logging.basicConfig(level=logging.INFO, format="%(asctime)s edge %(levelname)s %(message)s")
    try:
        run_edge(read_settings(config, os.environ), config)
    except SettingsError as error:
        raise CommandError(f"the edge's settings are wrong:\n{error}", Exit.USAGE) from None
    except (OSError, TrustError, ValueError) as error:
        raise CommandError(f"the edge cannot start: {error}") from None


@edge.command(short_help="Let the edge of a data folder take up new code and settings.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Its data folder.  [default: as set]")
@click.pass_obj
def reload(config: Path | None, data: Path | None) -> None:
    """Let the edge that runs take up the code and the settings that are there now.

    No device is refused or cut off. Where something is wrong with them everything stays as it is, and this command
    says what. The running edge reads its own settings file and environment; --config is only for where its data is.
    """
    from edge.control import ask_reload
    from edge.settings import find_data

    folder = data or find_data(config, os.environ)
    if folder is None:
        raise CommandError("name the edge's data folder: --data, GRAYWAVE_EDGE_DATA or --config", Exit.USAGE)
    try:
        is_done, said = ask_reload(folder, RELOAD_TIMEOUT_S)
    except OSError as error:
        message = f"no edge answers in {folder}: {error.strerror or error}"
        raise CommandError(message, Exit.UNREACHABLE) from None
    if not is_done:
        raise CommandError(f"the edge refused to reload, and goes on as before:\n{said}", Exit.REFUSED)
    click.echo(said)


@click.command(cls=_Server, short_help="Run a workspace's publisher, from its settings.")
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML file of settings.")
def publisher(config: Path | None) -> None:
    """Run the publisher of a workspace: sign what the control plane decides, and distribute it."""
    from publisher import PREFIX, SECTION, PublisherError, Settings
    from publisher.main import main
    from settings import read

    logging.basicConfig(level=logging.INFO, format="%(asctime)s publisher %(levelname)s %(message)s")
    try:
        main(read(Settings, SECTION, config, os.environ, PREFIX))
    except SettingsError as error:
        raise CommandError(f"the publisher's settings are wrong:\n{error}", Exit.USAGE) from None
    except (OSError, TrustError, ChannelError, PublisherError, ValueError) as error:
        raise CommandError(f"the publisher cannot start: {error}") from None
