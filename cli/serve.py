"""`graywave edge` and `graywave publisher`: the servers, each from its settings; wrong settings end with code 2."""

import logging
import os
from pathlib import Path

import click

from channel import ChannelError
from cli.exit import CommandError, Exit
from settings import SettingsError, describe
from trust import TrustError


class _Server(click.Command):
    """A command whose help ends with its settings, read from the dataclass that reads them."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        cls, prefix, section = SETTINGS[self.name or ""]()
        with formatter.section(f"Settings (variables; in the file, keys of [{section}] in small letters)"):
            formatter.write_dl([(prefix + row.name.upper(), f"{row.help} ({row.default})") for row in describe(cls)])


def _find_edge() -> tuple[type, str, str]:
    from edge.settings import PREFIX, SECTION, EdgeSettings  # noqa: PLC0415 - each server imports what it needs alone

    return EdgeSettings, PREFIX, SECTION


def _find_publisher() -> tuple[type, str, str]:
    from publisher import PREFIX, SECTION, Settings  # noqa: PLC0415 - as above

    return Settings, PREFIX, SECTION


SETTINGS = {"edge": _find_edge, "publisher": _find_publisher}


@click.command(cls=_Server, short_help="Run an edge, from its settings.")
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML file of settings.")
def edge(config: Path | None) -> None:
    """Run an edge: tell devices which packages they should have."""
    from edge import read_settings, run_edge  # noqa: PLC0415 - as above

    logging.basicConfig(level=logging.INFO, format="%(asctime)s edge %(levelname)s %(message)s")
    try:
        run_edge(read_settings(config, os.environ), config)
    except SettingsError as error:
        raise CommandError(f"the edge's settings are wrong:\n{error}", Exit.USAGE) from None
    except (OSError, TrustError, ValueError) as error:
        raise CommandError(f"the edge cannot start: {error}") from None


@click.command(cls=_Server, short_help="Run a workspace's publisher, from its settings.")
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML file of settings.")
def publisher(config: Path | None) -> None:
    """Run the publisher of a workspace: sign what the control plane decides, and distribute it."""
    from publisher import PREFIX, SECTION, PublisherError, Settings  # noqa: PLC0415 - as above
    from publisher.main import main  # noqa: PLC0415
    from settings import read  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s publisher %(levelname)s %(message)s")
    try:
        main(read(Settings, SECTION, config, os.environ, PREFIX))
    except SettingsError as error:
        raise CommandError(f"the publisher's settings are wrong:\n{error}", Exit.USAGE) from None
    except (OSError, TrustError, ChannelError, PublisherError, ValueError) as error:
        raise CommandError(f"the publisher cannot start: {error}") from None
