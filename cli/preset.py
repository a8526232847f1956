"""`graywave preset`: packages for a host app to ship, so that it starts offline: fetched, verified, and tried once.

What a preset looks like, and what is believed of it, is `container.preset`'s to know.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from bundle import BundleError, replace_file
from cli.device import take_device
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.progress import Show, make_progress
from cli.update import choose_exit
from container import (
    Config,
    Container,
    ContainerError,
    Device,
    HttpFetcher,
    NetworkError,
    NoEvents,
    Response,
    load_config,
)
from container.errors import Reason
from container.patient import HiddenError, Parcel, Patient
from container.preset import PRESET_NAME, encode_preset

# Keys of sealed packages are in it.
PRIVATE_MODE = 0o600


@click.command(short_help="Export packages for a host app to ship.")
@click.option("--programs", required=True, metavar="ID,ID…", help="The programs to export.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="New or empty folder.")
@click.option("--config", type=click.Path(path_type=Path), help="client.json.  [default: DATA/client.json]")
@take_device
@take_json
@take_home
def preset(programs: str, out: Path, config: Path | None, device: Device, home: Home, *, as_json: bool) -> None:
    """Export the versions that a device should have now, for a host app to ship.

    The SDK installs from the folder, offline, where nothing or an older version is installed: Container(…, preset=…).
    Every signature and byte is verified, and a container is started from the result alone. Sealed packages stay
    sealed, and preset.json, which only its owner can read (mode 0600), holds the keys that open them: whoever has the
    host app has these packages, too.
    """
    wanted = [part.strip() for part in programs.split(",") if part.strip()]
    if not wanted:
        raise CommandError(f"expected --programs ID,ID, got {programs!r}", Exit.USAGE)
    try:
        parcels = _export(load_config(config or home.client), out, device, wanted)
    except ContainerError as error:
        raise CommandError(str(error), choose_exit(error)) from None
    except (OSError, BundleError) as error:
        raise CommandError(f"cannot write {out}: {error}") from None
    if as_json:
        click.echo(json.dumps({"folder": str(out), "programs": [_tell(parcel) for parcel in parcels]}))
        return
    for parcel in parcels:
        click.echo(f"{parcel.update.program} {parcel.update.version}: {parcel.transfer.size} bytes")
    click.echo(f"exported {out}")


def _export(config: Config, out: Path, device: Device, programs: list[str]) -> list[Parcel]:
    """Writes a preset beside `out`, tries it, and puts it in its place: nobody ships half of one."""
    if out.exists() and any(out.iterdir()):
        raise CommandError(f"expected a new or empty folder, got {out} with files in it", Exit.USAGE)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".preset-") as folder:
        patient = Patient(config, Path(folder) / "nothing", device, programs, fetcher=HttpFetcher(), now=time.time)
        parcels = _find_parcels(patient)
        fresh = Path(folder) / "preset"
        fresh.mkdir()
        show = make_progress()
        for parcel in parcels:
            replace_file(fresh / parcel.transfer.sha256, _watch(parcel, patient.carry(parcel), show))
        updates = [msgspec.structs.replace(parcel.update, transfers=(parcel.transfer,)) for parcel in parcels]
        replace_file(fresh / PRESET_NAME, [encode_preset(config.workspace, updates)], mode=PRIVATE_MODE)
        _try(config, fresh, Path(folder) / "trial", device, programs)
        fresh.replace(out)
    return parcels


def _find_parcels(patient: Patient) -> list[Parcel]:
    try:
        parcels = patient.parcels
    except HiddenError:
        raise next(heard.error for heard in patient.heard if heard.error is not None) from None
    offered = [parcel.update.program for parcel in parcels]
    missing = [program for program in patient.asked if program not in offered]
    if missing:
        message = f"expected an install of each program for this device, got none of {', '.join(missing)}"
        raise CommandError(message, Exit.REFUSED)
    return parcels


def _watch(parcel: Parcel, chunks: Iterator[bytes], show: Show | None) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        done += len(chunk)
        if show:
            show(parcel.update.program, done, parcel.transfer.size)
        yield chunk


def _tell(parcel: Parcel) -> dict[str, Any]:
    update, transfer = parcel.update, parcel.transfer
    return {"program": update.program, "version": update.version, "sha256": transfer.sha256, "bytes": transfer.size}


class _Offline:
    """No network: what a container does with it, it does from the preset alone."""

    def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Response:
        """See `Fetcher`."""
        del method, headers, body, timeout
        raise NetworkError(f"{url}: expected a preset to need no network, got a request")


class _Failures(NoEvents):
    """What failed, by program."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def failed(self, program: str, reason: Reason) -> None:
        """See `Events`."""
        self.reasons[program] = reason


def _try(config: Config, preset: Path, folder: Path, device: Device, programs: list[str]) -> None:
    """Starts a container from the preset alone, as the host app will."""
    failures = _Failures()
    installed = Container(config, folder, device, fetcher=_Offline(), preset=preset, events=failures).installed()
    for program in programs:
        if program not in installed:
            reason = failures.reasons.get(program, "nothing")
            message = f"{program}: expected a container to start from the preset and client.json alone, got {reason}"
            raise CommandError(message, Exit.UNVERIFIED)
