"""`graywave backup` and `restore`: what a workspace's publisher cannot do without, in one file, and back from it."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from cli.exit import CommandError, Exit
from cli.process import take_stops
from custody import CustodyError
from publisher import PREFIX, SECTION, PublisherError, Settings
from publisher.backup import restore_backup, write_backup
from settings import SettingsError, read

_Function = TypeVar("_Function", bound=Callable[..., Any])
# The longest honest file of an identity, in bytes: age-keygen writes three lines.
MAX_IDENTITY_BYTES = 4096


def _take_config(function: _Function) -> _Function:
    return click.option(
        "--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The publisher's TOML file."
    )(function)


@click.command(short_help="Back up a workspace's publisher.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--recipient", "recipients", multiple=True, metavar="age1…", help="Encrypt to this age key; several.")
@_take_config
def backup(file: Path, recipients: Sequence[str], config: Path | None) -> None:
    """Write the store and the roots of a publisher to FILE, which may not exist; with --recipient its secrets too.

    The publisher's own settings say where everything is; it may run meanwhile. With --recipient the file is encrypted
    and has the private keys, fingerprint keys and the token, as far as they are files. Without, it has none of them; it
    is a secret all the same, since documents hold the keys of sealed packages.
    """
    take_stops()  # so that nothing unpacked is left behind
    settings = _read_settings(config)
    if file.exists():
        raise CommandError(f"{file} is there already", Exit.REFUSED)
    with _reporting(), tempfile.TemporaryFile(dir=file.parent) as plain:
        manifest, elsewhere = write_backup(settings, plain, int(time.time()), has_secrets=bool(recipients))
        plain.seek(0)
        _write(plain, file, recipients)
    kept = f"{len(manifest.files)} files of workspace {manifest.workspace} at {manifest.position}"
    click.echo(f"{file} has {kept}, {'encrypted' if recipients else 'without its keys and token'}")
    for address in elsewhere:
        click.echo(f"not in it, for no file holds it: the key {address.partition('?')[0]}", err=True)


@click.command(short_help="Put a publisher's backup back.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--identity", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="File of the age key.")
@_take_config
def restore(file: Path, identity: Path | None, config: Path | None) -> None:
    """Put FILE back to where the publisher's settings say; nothing that is there and differs is overwritten.

    Afterwards, before the publisher starts: where Redis is lost too, fill it with `graywave republish --edge`, so that
    the publisher learns from it what was published after the backup. docs/operations.md has the order.
    """
    take_stops()
    settings = _read_settings(config)
    with _reporting(), file.open("rb") as source, tempfile.TemporaryFile(dir=file.parent) as plain:
        if identity:
            _decrypt(source, plain, identity)
            plain.seek(0)
        done = restore_backup(settings, plain if identity else source)
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(done.manifest.made))
    click.echo(f"workspace {done.manifest.workspace} is back at {done.manifest.position}, as of {made}")
    for path in done.missing:
        click.echo(f"not in the backup, and not there: {path}", err=True)


def _read_settings(config: Path | None) -> Settings:
    try:
        return read(Settings, SECTION, config, os.environ, PREFIX)
    except SettingsError as error:
        raise CommandError(f"the publisher's settings are wrong:\n{error}", Exit.USAGE) from None


@contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except PublisherError as error:
        raise CommandError(f"{error}", Exit.REFUSED) from None
    except (CustodyError, OSError) as error:
        raise CommandError(f"{error}") from None


def _write(plain: IO[bytes], file: Path, recipients: Sequence[str]) -> None:
    """Writes the file wholly or not at all, for nobody else to read."""
    partial = file.with_name(f"{file.name}.part")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    try:
        with partial.open("wb") as target:
            if recipients:
                _encrypt(plain, target, recipients)
            else:
                shutil.copyfileobj(plain, target)
            os.fsync(target.fileno())
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)


def _load_age() -> Any:
    try:
        import pyrage  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise CommandError(f"encryption is not part of this installation: it lacks {error.name}", Exit.USAGE) from None
    return pyrage


def _encrypt(source: IO[bytes], target: IO[bytes], recipients: Sequence[str]) -> None:
    pyrage = _load_age()
    try:
        parsed = [pyrage.x25519.Recipient.from_str(one) for one in recipients]
    except pyrage.RecipientError:
        raise CommandError("expected recipients as age-keygen writes them, age1…, got another", Exit.USAGE) from None
    pyrage.encrypt_io(source, target, parsed)


def _decrypt(source: IO[bytes], target: IO[bytes], identity: Path) -> None:
    pyrage = _load_age()
    text = identity.read_bytes()[:MAX_IDENTITY_BYTES].decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-")]
    try:
        pyrage.decrypt_io(source, target, [pyrage.x25519.Identity.from_str(line) for line in lines])
    except (pyrage.IdentityError, pyrage.DecryptError, OSError):
        # Without what they say: it may hold a line of the file.
        raise CommandError(f"{identity} does not open the backup, or it is damaged", Exit.UNVERIFIED) from None
