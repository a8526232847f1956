"""`graywave up`: everything on one machine, on embedded defaults, until it is interrupted; the data folder stays."""

import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import click

from cli.client import make_client, open_signers, read_chain
from cli.demo import WORKSPACE, publish_demo, read_question
from cli.embedded import EmbeddedRedisError, PrivateRedis
from cli.exit import CommandError, Exit
from cli.home import DEFAULT_FOLDER, FINGERPRINT_KEY_ID, Home, take_home
from cli.http import ask
from cli.keys import DAY_S, make_fingerprint_key, make_keys
from cli.process import end, start_bound, take_stops
from cli.publishing import open_publisher
from container import ConfigError
from trust import ClientClaim, TrustError

DEFAULT_PORT: Final = 8080
ROOT_LIFE_S = 3650 * DAY_S
START_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.2
TOKEN_BYTES = 24
PROJECT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class _Server:
    """A server that was started, and where it writes what it does."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def check(self) -> None:
        """Returns while it runs; raises CommandError with the last that it said."""
        code = self.process.poll()
        if code is not None:
            raise CommandError(f"the {self.name} ended with code {code}: {self.read_last()} (see {self.log})")

    def read_last(self) -> str:
        """Returns the last line that it wrote."""
        return self.log.read_text("utf-8", "backslashreplace").strip().rpartition("\n")[2]


@click.command(short_help="Run everything on this machine, until interrupted.")
@click.option(
    "--port", envvar="GRAYWAVE_PORT", default=DEFAULT_PORT, show_default=True, show_envvar=True,
    type=click.IntRange(1, 65_533), help="The edge's port; admin listener and publisher take the next two.",
)  # fmt: skip
@click.option(
    "--redis", envvar="GRAYWAVE_REDIS", show_envvar=True, help="Address of a Redis.  [default: a private one]"
)
@click.option("--demo/--no-demo", "has_demo", default=True, help="Publish the demo programs.")
@take_home
def up(port: int, redis: str | None, home: Home, *, has_demo: bool) -> None:
    """Run a private Redis, a publisher and an edge, with demo programs, until interrupted."""
    take_stops()
    with ExitStack() as stack:
        try:
            servers = _start(port, redis, home, stack, has_demo=has_demo)
            _say_ready(port, home, has_demo=has_demo)
            while True:
                for server in servers:
                    server.check()
                time.sleep(LOOK_EVERY_S)
        except KeyboardInterrupt:
            click.echo("stopping", err=True)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a second one would leave something running


def _start(port: int, redis: str | None, home: Home, stack: ExitStack, *, has_demo: bool) -> Sequence[_Server]:
    """Starts everything, to be stopped by the stack, and returns when devices are answered."""
    _refuse_taken_ports(port)
    stack.enter_context(_hold(home))
    stack.callback(home.addresses.unlink, missing_ok=True)
    _prepare(home, port)
    address = redis or stack.enter_context(_run_redis(home))
    publisher = stack.enter_context(_run_server("publisher", _set_publisher(home, port, address), home))
    _wait(f"http://127.0.0.1:{port + 2}/healthz", publisher)
    edge = stack.enter_context(_run_server("edge", _set_edge(home, port, address), home))
    # With nothing published yet there is nothing to be ready with; devices are heard all the same, and files served.
    _wait(f"http://127.0.0.1:{port + 1}/healthz", edge)
    if has_demo:
        revision = publish_demo(home, open_publisher(home, None, None))  # which fetches the files from the edge
        _wait(f"http://127.0.0.1:{port + 1}/readyz", edge)
        _wait(f"http://127.0.0.1:{port + 1}/status", edge, lambda status: has_reached(status, revision))
    return publisher, edge


@contextmanager
def _hold(home: Home) -> Iterator[None]:
    """Makes the data folder and keeps others from starting in it: two publishers would share one store."""
    try:
        home.store.mkdir(parents=True, exist_ok=True)
        lock = (home.folder / "lock").open("ab")
    except OSError as error:
        raise CommandError(f"cannot use the data folder {home.folder}: {error}", Exit.USAGE) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another graywave up runs in {home.folder}: choose another folder with GRAYWAVE_DATA"
            raise CommandError(message, Exit.USAGE) from None
        yield


def _prepare(home: Home, port: int) -> None:
    """Makes what a first start needs: keys, token, and where the servers listen."""
    # Each is made under another name first: an interrupt leaves nothing that a later start would take for whole.
    if not home.keys.exists():
        fresh = home.folder / "keys.new"
        shutil.rmtree(fresh, ignore_errors=True)
        make_keys(fresh, WORKSPACE, int(time.time()) + ROOT_LIFE_S)
        fresh.rename(home.keys)
    if not home.fingerprint_key.exists():  # a folder made by an earlier version has none
        fresh = home.folder / "fingerprint.new"
        fresh.unlink(missing_ok=True)
        make_fingerprint_key(fresh)
        fresh.rename(home.fingerprint_key)
    if not home.token.exists():
        fresh = home.folder / "token.new"
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(TOKEN_BYTES) + "\n", "utf-8")
        fresh.rename(home.token)
    addresses = {"edge": port, "admin": port + 1, "publisher": port + 2}
    addresses_text = json.dumps({name: f"http://127.0.0.1:{number}" for name, number in addresses.items()})
    home.addresses.write_text(addresses_text, "utf-8")
    _make_client(home, f"http://127.0.0.1:{port}")


def _make_client(home: Home, edge: str) -> None:
    """Writes client.json for this edge; where root keys have been taken away, the one that is there stays."""
    chain, root = read_chain(home.keys)
    claim = ClientClaim(workspace=root.workspace, issued=int(time.time()), edges=(edge,))
    try:
        home.client.write_bytes(make_client(claim, chain, open_signers(home.keys, (), root)))
    except (CommandError, ConfigError, TrustError) as error:
        click.echo(f"{home.client} stays as it is, cannot make another: {error}", err=True)


def _refuse_taken_ports(port: int) -> None:
    for number in (port, port + 1, port + 2):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                message = f"port {number} of 127.0.0.1 is taken: choose others with GRAYWAVE_PORT"
                raise CommandError(message, Exit.USAGE) from None


@contextmanager
def _run_redis(home: Home) -> Iterator[str]:
    try:
        server = PrivateRedis(home.redis)
        server.start()
    except EmbeddedRedisError as error:
        raise CommandError(f"no private Redis: {error}, or name one with GRAYWAVE_REDIS") from None
    try:
        yield server.url
    finally:
        server.stop()


def _set_publisher(home: Home, port: int, redis: str) -> dict[str, str]:
    settings = {
        "LISTEN": f"127.0.0.1:{port + 2}",
        "WORKSPACE": WORKSPACE,
        "REDIS": redis,
        "FOLDER": home.publisher,
        "ROOT": home.keys / "root.json",
        "OFFER_KEY": home.keys / "offer.key",
        "CHANNEL_KEY": home.keys / "channel.key",
        "TOKEN_FILE": home.token,
        "FILES": f"http://127.0.0.1:{port}",
        "FINGERPRINT_KEYS": _name_fingerprint_key(home),
    }
    return {f"GRAYWAVE_PUBLISHER_{name}": str(value) for name, value in settings.items()}


def _set_edge(home: Home, port: int, redis: str) -> dict[str, str]:
    settings = {
        "LISTEN": f"127.0.0.1:{port}",
        "ADMIN": f"127.0.0.1:{port + 1}",
        "REDIS": redis,
        "DATA": home.edge,
        "STORE": home.store,
        "ADMIN_TOKEN_FILE": home.token,
        "WORKSPACES": f"{WORKSPACE}={home.keys / 'root.json'}",
        "FINGERPRINT_KEYS": _name_fingerprint_key(home),
    }
    return {f"GRAYWAVE_EDGE_{name}": str(value) for name, value in settings.items()}


def _name_fingerprint_key(home: Home) -> str:
    return f"{FINGERPRINT_KEY_ID}={home.fingerprint_key}"


@contextmanager
def _run_server(name: str, settings: dict[str, str], home: Home) -> Iterator[_Server]:
    path = home.folder / f"{name}.log"
    with path.open("ab") as log:
        process = start_bound([sys.executable, "-m", "cli", name], log, os.environ | settings)
    try:
        yield _Server(name, process, path)
    finally:
        end(process)


def has_reached(status: Any, revision: int) -> bool:
    """Says whether an edge, by its /status, has a revision of the workspace in each worker."""
    return status["workspaces"][WORKSPACE]["revision"] >= revision and all(
        worker["cursor"] >= status["row"] for worker in status["workers"]
    )


def _wait(url: str, server: _Server, is_there: Callable[[Any], bool] = bool) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        server.check()
        try:
            answer = ask("GET", url, allow=(HTTPStatus.SERVICE_UNAVAILABLE,))
            if answer.status == HTTPStatus.OK and is_there(answer.body):
                return
        except CommandError as error:
            if error.exit_code != Exit.UNREACHABLE:
                raise
        time.sleep(0.05)
    message = f"the {server.name} was not ready within {START_TIMEOUT_S:.0f} s: {server.read_last()} (see {server.log})"
    raise CommandError(message)


def _say_ready(port: int, home: Home, *, has_demo: bool) -> None:
    url = f"http://127.0.0.1:{port}"
    lines = [f"ready {url}"]
    if has_demo:
        question = json.dumps(read_question(), ensure_ascii=False, separators=(",", ":"))
        lines += ["", "ask as a phone would:"]
        lines += [f"  curl {url}/v1/check -H 'Content-Type: application/json' -d {shlex.quote(question)}"]
        lines += ["", "change a release, and see the answer change:", f"  {_name_command()} demo{_name_folder(home)}"]
    click.echo("\n".join(lines))  # at once: who waits for the first line finds the others


def _name_command() -> str:
    """The command to paste: short where it is started as the README has it, else one that works from anywhere."""
    script = PROJECT / "scripts" / "graywave"
    if Path.cwd() == PROJECT:
        return "scripts/graywave"
    return shlex.quote(str(script)) if script.exists() else "graywave"


def _name_folder(home: Home) -> str:
    is_default = home.folder == DEFAULT_FOLDER and Path.cwd() == PROJECT
    return "" if is_default else f" --data {shlex.quote(str(home.folder.absolute()))}"
